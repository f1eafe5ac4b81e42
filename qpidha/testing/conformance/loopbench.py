"""The bench of the checks of loops: a core whose calls are recorded, and surroundings that record their calls."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from uuid import UUID

from qpidha.core import (
    Answer,
    Applied,
    CloseLink,
    CompareAndSet,
    Completion,
    Lost,
    Notice,
    Read,
    Ready,
    Replica,
    Request,
)
from qpidha.core.ready import needs_no_disk
from qpidha.errors import StoreFailed
from qpidha.journal import Change, Quarantine, StoreImage, StoreStatus
from qpidha.seq import SequenceSet
from qpidha.testing.conformance.check import Trial
from qpidha.testing.conformance.looppeer import LINK, B, Peer
from qpidha.testing.conformance.surroundings import MakeLoop
from qpidha.types import Fate, Member, QueueId, Record, Versioned
from qpidha.wire import Frame
from qpidha.wire.batch import Batch

CLUSTER, BOOT, GONE = UUID(int=1), UUID(int=2), UUID(int=3)
A = Member("a", UUID(int=4))
RECORD = Record(cluster=CLUSTER, generation=1, primary=None, members=frozenset({A}))

QUIET_S = 0.15
"""Time without any call after which a step is over."""
PATIENCE_S = 20.0
"""Limit of a step."""
FENCE_S = 5.0
"""Limit of the time that the loop takes for one call."""
WATCHED = (
    "link_opened", "received", "link_closed", "link_failed", "record_seen", "answered", "tick", "promote", "demote",
    "declare", "enqueue", "dequeue", "move", "skip", "handed_over", "hand_over_failed", "stop",
)  # fmt: skip


class WatchedReplica(Replica):
    """A core that reports every call to its bench. A call takes 2 ms, so that overlapping calls are noticed."""

    bench: LoopBench | None = None

    @contextmanager
    def call(self, name: str, *arguments: object) -> Iterator[LoopBench | None]:
        """Log a call from outside and report a fault if another thread is in the core; yields the bench."""
        bench = self.bench
        if bench is None or bench.caller == threading.get_ident():
            yield None  # Not watched yet, or a call of the core to itself.
            return
        if bench.caller is not None:
            bench.fault("overlap", f"{name} while another thread is in the core")
        bench.caller = threading.get_ident()
        bench.log.append((name, arguments))
        if name not in ("tick", "ready", "performed"):
            bench.note_activity()
        try:
            time.sleep(0.002)
            yield bench
        finally:
            bench.caller = None

    def ready(self, now: float) -> Ready:
        """Take the next effects, and show them to the bench."""
        with self.call("ready", now) as bench:
            ready = super().ready(now)
            if bench is not None:
                bench.taken(ready)
            return ready

    def performed(self, now: float) -> None:
        """Tell the bench, then the core, that the last effects are performed."""
        with self.call("performed", now) as bench:
            if bench is not None:
                bench.performed()
            super().performed(now)


def _watched(name: str) -> Callable[..., Any]:
    method = getattr(Replica, name)

    def call(self: WatchedReplica, *args: Any, **kwargs: Any) -> Any:
        with self.call(name, *args):
            return method(self, *args, **kwargs)

    return call


for _name in WATCHED:
    setattr(WatchedReplica, _name, _watched(_name))


class LoopBench(Trial):
    """Node a, driven by the loop under trial. The bench is its peer b, its cluster manager and its disk."""

    @property
    def queue(self) -> QueueId:
        """The queue that the loop's primary has declared."""
        found = self.replica.find("q")
        assert found is not None
        return found

    def __init__(self, make: MakeLoop, **trial: Any) -> None:
        super().__init__(**trial)
        self.lock = threading.RLock()
        self.caller: int | None = None
        self.log: list[tuple[str, tuple[Any, ...]]] = []
        """Calls of the core, in order."""
        self.faults: list[tuple[str, str]] = []
        """What was wrong: (kind, text)."""
        self.effects: list[object] = []
        """Effects that the loop performed, in order."""
        self.fails = False
        """Whether the next commit fails."""
        self.dead = False
        """Whether a commit has failed."""
        self.ended: list[BaseException] = []
        """Arguments of `failed`."""
        self._active_at = time.monotonic()
        self._left: list[list[object]] | None = None
        """Of the `Ready` under way, what is not performed yet: frames, request, completions, notices."""
        self._undurable = self._early = False
        self._gone: set[int] = set()
        self._todo: list[Callable[[], None]] = []
        self._held: list[Frame] | None = None
        self.record = Versioned(RECORD, 1)
        self.peer: Peer | None = None
        kept = Quarantine(GONE, "q", 1, SequenceSet.from_range(1, 1), Batch.pack([b"undone"]), Fate.REWOUND)
        status = StoreStatus(node="a", epoch=A.epoch, cluster=CLUSTER, generation=1)
        self.replica = WatchedReplica(
            node="a", boot=BOOT, image=StoreImage(status, quarantine=(kept,)), now=self.clock()
        )
        self.replica.bench = self
        self.loop = make(self)

    async def release(self) -> None:
        """Stop the loop under trial."""
        self.loop.stop()

    def clock(self) -> float:
        """Return the monotonic time in seconds."""
        return time.monotonic()

    def note_activity(self) -> None:
        """Remember the time of the last call, for `until_quiet`."""
        self._active_at = time.monotonic()

    def fault(self, kind: str, words: str) -> None:
        """Record a fault of this kind."""
        self.faults.append((kind, words))

    def none_of(self, *kinds: str) -> None:
        """Raise `RuleBroken` if there were faults of these kinds."""
        found = [words for kind, words in self.faults if kind in kinds]
        self.true(not found, "no such fault", "; ".join(found[:3]))

    def calls(self, name: str) -> list[tuple[Any, ...]]:
        """Return the arguments of each call of this method of the core, in order."""
        return [arguments for called, arguments in self.log if called == name]

    # --- the Ready under way -----------------------------------------------------------------------

    def taken(self, ready: Ready) -> None:
        """Remember what a `Ready` asks for; a fault if the last one is not performed yet."""
        if self._left is not None and not self.dead:
            self.fault("performed", "the next Ready was taken before `performed` was called for the last one")
        if self.dead or not ready:
            return
        request = [] if ready.request is None else [ready.request]
        self._left = [list(ready.send), [*request], list(ready.complete), list(ready.notify)]
        self._undurable, self._early = bool(ready.persist), ready.early

    def performed(self) -> None:
        """Check that everything the last `Ready` asked for was done."""
        left = (
            [] if self._left is None else [e for stage in self._left for e in stage if not self._is_void(e)]
        )
        if self._left is None:
            self.fault("performed", "`performed` was called without a Ready")
        elif left or self._undurable:
            self.fault("whole", f"`performed` was called, and this was not done: {left or 'the transaction'}")
        self._left = None

    def _is_void(self, effect: object) -> bool:
        return isinstance(effect, tuple) and effect[0] in self._gone

    def _perform(self, stage: int, effect: object) -> None:
        with self.lock:
            self.note_activity()
            self.effects.append(effect)
            if self.dead:
                if not needs_no_disk(effect):
                    self.fault("dead", f"after the store had failed: {effect!r}")
                return
            if self._undurable and not (stage == 0 and self._early):
                self.fault("durable", f"before its transaction was durable: {effect!r}")
            left = self._left or [[], [], [], []]
            if effect not in left[stage]:
                self.fault("whole", f"twice, or without a Ready that asks for it: {effect!r}")
                return
            before = left[stage][: left[stage].index(effect)]
            if stage == 0 and isinstance(effect, tuple):  # Links are independent of each other.
                before = [e for e in before if isinstance(e, tuple) and e[0] == effect[0]]
            waiting = [e for earlier in left[:stage] for e in earlier if not self._is_void(e)]
            if before or waiting:
                self.fault("order", f"{effect!r} before {(waiting + before)[0]!r}")
            left[stage].remove(effect)

    # --- surroundings ------------------------------------------------------------------------------

    def commit(self, changes: list[Change]) -> None:
        """Make the transaction durable. Raises `StoreFailed` if ``fails`` is set."""
        with self.lock:
            self.note_activity()
            if self.dead:
                self.fault("dead", "a commit after the store had failed")
            elif not self._undurable:
                self.fault("durable", "a commit that no Ready asks for, or twice")
        time.sleep(0.02)  # Time for other threads to make a mistake.
        with self.lock:
            self.note_activity()
            if self.fails:
                self.dead = True
                raise StoreFailed("the disk of the check is full")
            self._undurable = False

    def send(self, link: int, frame: Frame) -> None:
        """Check that the frame is due now, and pass it to the peer later."""
        self._perform(0, (link, frame))
        self._todo.append(lambda: self._to_peer(link, frame))

    def request(self, request: Request) -> None:
        """Check that the request is due now, and answer it later."""
        self._perform(1, request)
        self._todo.append(lambda: self._answer(request))

    def complete(self, completion: Completion) -> None:
        """Check that the completion is due now."""
        self._perform(2, completion)

    def notify(self, notice: Notice) -> None:
        """Check that the notice is due now."""
        self._perform(3, notice)

    def close(self, link: int) -> None:
        """Check that closing this link is due now, and report it closed later."""
        with self.lock:
            left = self._left[3] if self._left is not None else []
            asked = next((e for e in left if isinstance(e, CloseLink) and e.link == link), None)
        self._perform(3, CloseLink(link, "closed by the loop") if asked is None else asked)
        self._todo.append(lambda: self.close_link(link))

    def failed(self, error: BaseException) -> None:
        """Keep the error with which the loop ended."""
        self.note_activity()
        self.ended.append(error)

    # --- peer and cluster manager ------------------------------------------------------------------

    def close_link(self, link: int) -> None:
        """Report to the loop that a link is closed, once."""
        if link not in self._gone:
            self._gone.add(link)
            self.loop.closed(link)

    def _to_peer(self, link: int, frame: Frame) -> None:
        if self.peer is not None and link == LINK:
            self.peer.received(frame)

    def _answer(self, request: Request) -> None:
        answer: Answer
        if not isinstance(request, CompareAndSet):
            answer = Read(self.record)
        elif request.expected != self.record.version:
            answer = Lost(self.record)
        else:
            self.record = Versioned(request.new, self.record.version + 1)
            answer = Applied(self.record)
        self.loop.answered(request, answer)
        self.loop.record_seen(self.record)
        if self.peer is not None:
            self.peer.show_record(self.record)

    def until_quiet(self) -> None:
        """Deliver frames and answers until the loop makes no more calls."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            while self._todo:
                self._todo.pop(0)()
                self.note_activity()
            self._fence()
            if not self._todo and time.monotonic() - self._active_at > QUIET_S:
                return
            time.sleep(0.01)

    def _fence(self) -> None:
        """Wait until the loop has handled all that arrived before, unless its store failed."""
        if not self.dead:
            reached = threading.Event()
            self.loop.call(reached.set)
            reached.wait(FENCE_S)

    def lead(self) -> None:
        """Promote a, and check that it is primary."""
        self.did("a is promoted")
        self.loop.record_seen(self.record)
        self.loop.call(lambda: self.replica.promote(found_as=CLUSTER))
        self.until_quiet()
        self.true(self.replica.role.is_primary, "a is primary", self.replica.role)

    def join(self) -> None:
        """Let b open a link, catch up and become a member."""
        self.did("b joins")
        self.peer = Peer(self.record, self.peers_say, self.clock)
        self.loop.opened(LINK, None)
        self.peer.open()
        self.until_quiet()
        self.true(B in self.record.record.members, "b is a member", self.record.record)

    def peers_say(self, frames: Iterable[Frame]) -> None:
        """Let frames of b arrive later, or keep them while `held_frames` lasts."""
        if self._held is not None:
            self._held += frames
            return
        for frame in frames:
            self._todo.append(partial(self.loop.received, LINK, frame))

    @contextmanager
    def held_frames(self) -> Iterator[list[Frame]]:
        """While this lasts, frames of b are put into the list instead of arriving."""
        self._held = []
        try:
            yield self._held
        finally:
            self._held = None
