"""Changes of the role on request, and waits for a state: `Node.promote`, `Node.demote`, `Node.wait_serving` and so on."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from qpidha.errors import ClusterError, LocalProtocolError, NodeStopped, WaitTimeout
from qpidha.node.parts import Parts
from qpidha.node.waits import Reached
from qpidha.system.within import Limit

LOOK_S = 0.005
"""Interval between two checks of the role; also how long ``on_promote`` has to fail before success is reported."""


class Roles:
    """Promotes and demotes one node, and waits until that is done."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._runtime = parts.runtime

    async def promote(self, *, timeout_s: float = 10.0) -> None:
        """See `qpidha.Node.promote`."""
        parts, runtime = self._parts, self._runtime
        self._require_running("promote")
        if (method := parts.notifier.inside) is not None:
            raise LocalProtocolError(f"promote inside the broker's {method}, which has to return first")
        before = runtime.replica.generation
        await parts.cluster.refresh(timeout_s)  # With an outdated record the compare-and-set would be lost.
        parts.place.claim()
        runtime.replica.promote(found_as=uuid4())
        runtime.poke()
        await self._until(
            lambda: runtime.replica.generation > before and (runtime.serving or self._failed_to_open()),
            timeout_s,
            "promotion",
        )

    def give_place_away(self, why: str) -> None:
        """See `qpidha.Node.give_place_away`."""
        self._require_running("give_place_away")
        self._parts.place.give_up(why)

    def _failed_to_open(self) -> bool:
        notifier = self._parts.notifier
        if notifier.phase == "failed":
            raise ClusterError(f"this node became primary, but its broker did not open: {notifier.error}")
        return False

    async def demote(self, *, timeout_s: float = 10.0) -> None:
        """See `qpidha.Node.demote`."""
        place, runtime = self._parts.place, self._runtime
        self._require_running("demote")
        deadline = runtime.now() + timeout_s
        await place.await_successor(timeout_s)
        primary = runtime.replica.primary  # Of this term: the place may come back before the next look.
        place.hand_over()
        left_s = max(deadline - runtime.now(), runtime.settings.record_timeout_s)
        await self._until(lambda: runtime.replica.primary is not primary, left_s, "hand-over")

    def _require_running(self, what: str) -> None:
        if not self._runtime.running:
            stopped = self._runtime.stop_reason
            raise LocalProtocolError(
                f"{what} on a node that {'is stopped' if stopped else 'has not started'}"
            )

    def is_open(self) -> bool:
        """This node serves, and ``on_promote`` has returned."""
        return self._runtime.serving and self._parts.notifier.opened == self._runtime.serving_generation

    def is_in_sync(self) -> bool:
        """This node is a member of the record."""
        return self._runtime.replica.in_sync

    async def wait(self, what: str, reached: Reached, timeout_s: float | None) -> None:
        """Wait for a state. Raises `qpidha.errors.NodeStopped` or `WaitTimeout`."""
        runtime = self._runtime

        def reached_or_stopped() -> bool:
            if runtime.stop_reason is not None:
                raise NodeStopped(f"node {runtime.id!r} is stopped: {runtime.stop_reason}")
            return reached()

        if not await runtime.waits.until(reached_or_stopped, timeout_s):
            raise WaitTimeout(f"node {runtime.id!r} was not {what} within {timeout_s} s")

    async def _until(self, reached: Reached, timeout_s: float, what: str) -> None:
        limit = Limit(self._runtime.now, timeout_s)
        while not reached():
            if limit.is_over:
                raise ClusterError(f"no {what} within {timeout_s} s")
            if self._runtime.replica.stopped:
                raise ClusterError(f"the node stopped during the {what}: {self._runtime.stop_reason}")
            await asyncio.sleep(LOOK_S)
