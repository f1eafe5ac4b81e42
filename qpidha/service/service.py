"""`Service`: tells the service manager about a node, from the node's event loop, and hands over before it stops.

starting    EXTEND_TIMEOUT_USEC with each beat: to wait for others may take any time; a loop that hangs is killed
READY       once: when it serves, or as a backup is in sync. So a restart node by node waits for each of them
STATUS      role and reason, whenever they change
WATCHDOG    with each beat, as long as the node is alive. A hung loop has no beats
STOPPING    when it begins to stop
"""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import TYPE_CHECKING

from qpidha.checks import instance_of, number, optional
from qpidha.errors import QpidhaError
from qpidha.node import Node
from qpidha.node.health import liveness, readiness
from qpidha.service.notify import Notifier

if TYPE_CHECKING:
    from typing_extensions import Self

BEAT_S = 1.0
"""Between two beats; less if the watchdog's time is short."""
BEATS_A_WATCHDOG = 4
EXTENSION_S = 30.0
"""A loop that hangs for so long during the start or the stop is taken to be dead."""
HAND_OVER_S = 5.0


class Service:
    """What a service manager hears of one node. An asynchronous context manager around the node's start and stop."""

    def __init__(
        self, node: Node, *, notifier: Notifier | None = None, hand_over_s: float = HAND_OVER_S
    ) -> None:
        """Nothing is said before `start`.

        Args:
            node: May not be started yet.
            notifier: Where to say it; by default where the environment of the process says.
            hand_over_s: How long `leave` waits for another node to take over.

        Raises:
            ArgumentError: This is no node, or a wrong time.
        """
        instance_of(Node)("node", node)
        optional(instance_of(Notifier))("notifier", notifier)
        number(0.0, 3600.0)("hand_over_s", hand_over_s)
        self._node = node
        self._notifier = notifier or Notifier()
        self._hand_over_s = hand_over_s
        self._task: asyncio.Task[None] | None = None
        self._ready = self._leaving = False
        self._said = ""

    async def start(self) -> None:
        """Begin to tell. Does nothing without a service manager."""
        if self._notifier.managed and self._task is None:
            self._beat()
            self._task = asyncio.create_task(self._run(), name="qpidha-service")

    async def stop(self) -> None:
        """Tell no more. May be called twice."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def leave(self) -> None:
        """The process is to stop: say so, and hand over if the node is primary and another member lives.

        Bounded by ``hand_over_s``. Never raises: what cannot be handed over is taken over when the node has stopped.
        """
        self._leaving = True
        self._notifier.tell(STOPPING=1, STATUS="stopping", EXTEND_TIMEOUT_USEC=_usec(EXTENSION_S))
        status = self._node.status(queues_max=0)
        heirs = set(status.members) & set(status.live) - {status.node}
        if status.broker == "serving" and heirs and self._hand_over_s > 0:
            self._notifier.tell(STATUS="stopping: hands over")
            with contextlib.suppress(QpidhaError):
                await self._node.demote(timeout_s=self._hand_over_s)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _run(self) -> None:
        watchdog_s = self._notifier.watchdog_s
        beat_s = BEAT_S if watchdog_s is None else min(BEAT_S, watchdog_s / BEATS_A_WATCHDOG)
        while True:
            await asyncio.sleep(beat_s)
            self._beat()

    def _beat(self) -> None:
        """Say what there is to say. About 50 µs."""
        status = self._node.status(queues_max=0)
        state: dict[str, str | int] = {}
        alive, ready = liveness(status), readiness(status)
        if alive.ok:
            state["WATCHDOG"] = 1
        if not self._ready or self._leaving:
            state["EXTEND_TIMEOUT_USEC"] = _usec(EXTENSION_S)
        if ready.ok and not self._ready and not self._leaving:
            self._ready = True
            state["READY"] = 1
        starting = status.role == "stopped" and alive.ok
        text = "starting" if starting else f"{status.role}: {ready.why}"
        if text != self._said and not self._leaving:
            self._said = state["STATUS"] = text
        if state:
            self._notifier.tell(**state)


def _usec(seconds: float) -> int:
    return int(seconds * 1e6)
