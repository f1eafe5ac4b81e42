"""The default promoter: when the primary is gone, the best of the live members tries.

It uses hints only, so it may be wrong, late, or disagree with other promoters: the record's compare-and-set lets
only one candidate win, and only a member (rule P1). The promoter decides which node tries first, and how soon.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TypeVar
from uuid import UUID

from qpidha.checks import FLAG, SCORE, SECONDS_OR_ZERO
from qpidha.errors import ClusterError, SettingsError
from qpidha.interfaces import ClusterView, Decision
from qpidha.types import NodeId, Record, Versioned
from qpidha.wire.info import decode_info

T = TypeVar("T")

REPEAT_S_MIN = 0.1
REPEAT_S_SPREAD = 0.1
"""Decisions repeat at intervals between these, different for each node so that they do not collide."""

PAUSE_S = 1.0
"""A node that wakes up this much too late was paused, maybe with the whole machine: its information is outdated."""
FRESH_ROUND_S = 1.0
"""After such a pause no node counts as gone for this time: others may not have renewed their sessions yet (T42)."""


class PriorityPromoter:
    """A `Promoter`. Among live members the highest score tries; of equal ones, the greatest node id."""

    def __init__(
        self,
        priority: int = 0,
        *,
        settle_s: float = 0.0,
        patience_s: float = 3.0,
        trust_refusals: bool = True,
    ) -> None:
        """Decide with these weights and delays.

        Args:
            priority: This node's score, as it publishes it in its `NodeInfo`.
            settle_s: How long the primary must be gone before the first try.
            patience_s: How long a better candidate may fail to become primary before this node tries too:
                a node that is alive but cannot serve must not keep the cluster down.
            trust_refusals: A primary whose machine refuses connections is gone, though its session still stands: its
                process was killed. False: wait until the session expires, for networks where a firewall or proxy refuses
                connections to processes that live.

        Raises:
            SettingsError: An argument has a wrong type or is out of range.
        """
        SCORE("priority", priority, SettingsError)
        SECONDS_OR_ZERO("settle_s", settle_s, SettingsError)
        SECONDS_OR_ZERO("patience_s", patience_s, SettingsError)
        FLAG("trust_refusals", trust_refusals, SettingsError)
        self.priority = priority
        self.settle_s = settle_s
        self.patience_s = patience_s
        self.trust_refusals = trust_refusals

    async def decisions(self, view: ClusterView) -> AsyncIterator[Decision]:
        """Yields "promote" every 100 to 200 ms for as long as this node should try.

        Close the iterator (``contextlib.aclosing``) or cancel the task that waits in it.
        """
        loop = asyncio.get_running_loop()
        repeat_s = REPEAT_S_MIN + REPEAT_S_SPREAD * zlib.crc32(view.node.encode()) / 2**32
        seen = Seen(repeat_s)
        name = f"qpidha-promoter-{view.node}"
        tasks = [
            loop.create_task(seen.follow(view.records.watch, seen.set_record), name=name),
            loop.create_task(seen.follow(view.records.watch_live, seen.set_live), name=name),
        ]
        if self.trust_refusals and (watch := getattr(view, "watch_ended", None)):
            tasks.append(loop.create_task(seen.follow(watch, seen.set_ended), name=name))
        gone_since: float | None = None
        fresh_until = 0.0
        try:
            while True:
                seen.changed.clear()
                if not view.eligible or not seen.complete or seen.primary_lives():
                    gone_since = None
                elif loop.time() >= fresh_until:
                    gone_since = loop.time() if gone_since is None else gone_since
                    if self._shall_try(view.node, seen, loop.time() - gone_since):
                        yield "promote"
                waits_since = loop.time()
                await seen.wait(repeat_s)
                if loop.time() - waits_since > repeat_s + PAUSE_S:
                    gone_since, fresh_until = None, loop.time() + FRESH_ROUND_S
        finally:
            for task in tasks:
                task.cancel()

    def _shall_try(self, node: NodeId, seen: Seen, gone_s: float) -> bool:
        if gone_s < self.settle_s:
            return False
        return gone_s >= self.settle_s + self.patience_s or not self._somebody_better(node, seen)

    def _somebody_better(self, node: NodeId, seen: Seen) -> bool:
        scores = candidates(seen.record, seen.alive())
        own = (scores.pop(node, self.priority), node)  # As published, since the others compare with that.
        return any((score, other) > own for other, score in scores.items())


class Seen:
    """The record and the live nodes as last seen by two watches."""

    def __init__(self, retry_s: float) -> None:
        self.changed = asyncio.Event()
        self.record: Record | None = None
        self.live: Mapping[NodeId, bytes] = {}
        self._retry_s = retry_s
        self._ended: Mapping[NodeId, UUID] = {}
        self._unseen = {"record", "live"}

    @property
    def complete(self) -> bool:
        """Whether both were seen at least once."""
        return not self._unseen

    def set_record(self, found: Versioned | None) -> None:
        """Take in the record that a watch saw; None: there is none."""
        self.record = None if found is None else found.record
        self._unseen.discard("record")
        self.changed.set()

    def set_live(self, live: Mapping[NodeId, bytes]) -> None:
        """Take in the live nodes that a watch saw, with their info."""
        self.live = live
        self._unseen.discard("live")
        self.changed.set()

    def set_ended(self, ended: Mapping[NodeId, UUID]) -> None:
        """Take in the processes that have ended though their session may still stand."""
        self._ended = ended
        self.changed.set()

    def alive(self) -> Mapping[NodeId, bytes]:
        """The live nodes, without the sessions of processes that have ended."""
        return {node: raw for node, raw in self.live.items() if not self._has_ended(node, raw)}

    def primary_lives(self) -> bool:
        """Whether the process that the record names as primary is alive."""
        return primary_lives(self.record, self.alive())

    def _has_ended(self, node: NodeId, raw: bytes) -> bool:
        ended = self._ended.get(node)
        info = decode_info(raw) if ended is not None else None
        return info is not None and info.boot == ended

    async def follow(self, watch: Callable[[], AsyncIterator[T]], use: Callable[[T], None]) -> None:
        """Pass on the values of a watch; open it again when it ends or fails."""
        while True:
            try:
                async for value in watch():
                    use(value)
            except ClusterError:
                self.changed.set()  # The node has watches of its own, and reports the failure.
            await asyncio.sleep(self._retry_s)

    async def wait(self, timeout_s: float) -> None:
        """Wait for a change, or until the timeout."""
        # Before Python 3.12 `asyncio.wait_for` loses a cancellation that comes in the turn of the change.
        waiting = asyncio.ensure_future(self.changed.wait())
        try:
            await asyncio.wait({waiting}, timeout=timeout_s)
        finally:
            waiting.cancel()


def primary_lives(record: Record | None, live: Mapping[NodeId, bytes]) -> bool:
    """Whether the process that the record names as primary is alive. A restarted one is another process (P2)."""
    if record is None or record.primary is None or record.primary[0] not in live:
        return False
    node, boot = record.primary
    info = decode_info(live[node])
    return info is None or info.boot == boot  # None: it is alive, its info unreadable.


def candidates(record: Record | None, live: Mapping[NodeId, bytes]) -> dict[NodeId, int]:
    """The scores of the live nodes that may be promoted; before there is a record, any node may found one."""
    scores: dict[NodeId, int] = {}
    for node, raw in live.items():
        info = decode_info(raw)
        if info is not None and info.score is not None and (record is None or record.member(node)):
            scores[node] = info.score
    return scores
