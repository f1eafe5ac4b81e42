"""The only place that performs a `Ready`: persist, then send, request, complete, notify.

The driver owns no socket, thread or clock of its own: it is handed functions. The node gives it
asyncio's; the simulator gives it simulated ones, and so tests the same order of effects.

While a transaction is being made durable, inputs go on changing the core and nothing is performed; the
next `Ready` then carries all of it (group commit). The same holds while a large `Ready` is performed in
slices, in the same order, that leave the loop time for others.

So what was confirmed is on this node's disk (S1), and while no commit is under way memory and disk agree (D8).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeAlias

from qpidha.core.ready import (
    CompareAndSet,
    Completion,
    Doubtful,
    Notice,
    ReadRecord,
    Ready,
    Request,
    Safe,
    Settled,
    is_last_word,
    last_words,
    remainder,
)
from qpidha.core.replica import Replica
from qpidha.errors import QpidhaError
from qpidha.journal import Change
from qpidha.wire.events import Frame, Operations

Done = Callable[[Exception | None], None]
Commit = Callable[[list[Change], Done], None]
"""Make one transaction durable, then call back with None, or with what failed. May call back at once."""

Later = Callable[[Callable[[], None]], None]
"""Call back in a later turn of the loop."""

SLICE_S = 0.02
"""For so long one `Ready` is performed before others have a turn."""
SLICE_MIN = 64
"""So many completions and notices are performed without a look at the clock."""
PORTION = 512
"""So many operations, or other frames, are sent without a look at the clock. Of large batches that is more than a
commit holds, so that they leave together."""

Portion: TypeAlias = list[tuple[int, Frame]]
"""Some frames of one `Ready`, (link, frame)."""
Effect: TypeAlias = Portion | Request | Completion | Notice
"""What the driver performs between two looks at the clock."""


class Effects(Protocol):
    """Who performs the single effects. None of these may raise."""

    def send(self, frames: Sequence[tuple[int, Frame]]) -> None:
        """Frames of one `Ready`, all or the next portion, as (link, frame), in order for each link. Never empty."""

    def request(self, request: Request) -> None: ...
    def complete(self, completion: Completion) -> None: ...
    def notify(self, notice: Notice) -> None: ...
    def store_failed(self, error: BaseException) -> None: ...


class Driver:
    """Takes effects from one core and performs them, one `Ready` at a time.

    Args:
        later: How to have another turn. None: all the core's slices, and each `Ready`, are done in one turn.
    """

    def __init__(
        self,
        replica: Replica,
        commit: Commit,
        effects: Effects,
        clock: Callable[[], float],
        later: Later | None = None,
    ) -> None:
        self.replica = replica
        self.failed: BaseException | None = None
        self._commit = commit
        self._effects = effects
        self._clock = clock
        self._waiting: Ready | None = None
        """What is being made durable."""
        self._bypassing = False
        self._later = later
        self._rest: deque[Effect] = deque()
        """What is left to perform of a large `Ready`."""
        self._sliced = False
        """The core's next slice has its turn already."""
        self._running = False
        self._again = False

    @property
    def idle(self) -> bool:
        """Nothing is being made durable or performed."""
        return self._waiting is None and not self._rest

    def run(self) -> None:
        """Perform whatever there is to perform. Call after every input, or once for several."""
        self._again = True
        if self._running:
            return  # Called from one of our own effects: the loop below goes on.
        self._running = True
        try:
            if self._waiting is not None and self._bypassing:
                self._bypass(self._waiting)
            while self.idle and self.failed is None:
                if not self._again and self.replica.out.empty and not self._next_slice():
                    return  # Nothing came in meanwhile, and one call draws all consequences of what did.
                self._again = False
                ready = self.replica.ready(self._clock())
                if not ready:
                    if self._next_slice():
                        continue
                    return
                if ready.persist:
                    self._persist(ready)
                else:
                    self._perform_all(ready)
        finally:
            self._running = False

    def _next_slice(self) -> bool:
        """The core has more to do (`Replica.unfinished`). True: now, for there are no other turns."""
        if not self.replica.unfinished:
            return False
        if self._later is None:
            return True
        if not self._sliced:
            self._sliced = True
            self._later(self._slice)
        return False

    def _slice(self) -> None:
        self._sliced = False
        self.run()

    def _persist(self, ready: Ready) -> None:
        self._waiting = ready

        def done(error: Exception | None) -> None:
            ready, self._waiting, self._bypassing = self._waiting or Ready(), None, False
            if self.failed is not None:
                self._perform(last_words(ready))  # The node failed meanwhile, for another reason.
            elif error is not None:
                self.fail(error, ready)
            else:
                self._perform_all(ready)
                if not self._running:
                    self.run()

        self._commit(ready.persist, done)

    def bypass(self) -> None:
        """The disk hangs: until it answers, do what needs no disk (`qpidha.core.urgent`).

        For a primary that gives its place away. Once its role is over, what waits for the disk is stored, if it can
        be, but neither sent nor answered any more.
        """
        self._bypassing = self._waiting is not None
        self.run()

    def _bypass(self, waiting: Ready) -> None:
        if self.failed is not None:
            return
        if self.replica.primary is None:
            self._waiting = remainder(waiting)
            self._perform(last_words(waiting))
        elif waiting.request is not None:  # It would keep the hand-over from being asked for (M1).
            request, waiting.request = waiting.request, None
            self._effects.request(request)
        self._perform(self.replica.urgent(self._clock()))

    def _perform_all(self, ready: Ready) -> None:
        """Everything in it is durable now: perform it, in slices if it is large, then tell the core."""
        portions = list(in_portions(ready.send))
        few = len(portions) <= 1 and len(ready.complete) + len(ready.notify) <= SLICE_MIN
        if few or self._later is None:
            self._perform(ready)
            self.replica.performed(self._clock())
            return
        rest = self._rest
        rest.extend(portions)
        if ready.request is not None:
            rest.append(ready.request)
        rest.extend(ready.complete)
        rest.extend(ready.notify)
        self._go_on(self._later)

    def _perform(self, ready: Ready) -> None:
        """All of it, in this turn."""
        effects = self._effects
        if ready.send:
            effects.send(ready.send)
        if ready.request is not None:
            effects.request(ready.request)
        for completion in ready.complete:
            effects.complete(completion)
        for notice in ready.notify:
            effects.notify(notice)

    def _go_on(self, later: Later) -> None:
        """Perform what is left of a large `Ready`, as far as this turn has time for it."""
        rest = self._rest
        until = self._clock() + SLICE_S
        while rest:
            for _ in range(min(SLICE_MIN, len(rest))):
                if not rest:
                    return  # It failed: `fail` has dealt with the rest.
                effect = rest.popleft()
                self._perform_one(effect)
                if isinstance(effect, list):
                    break
            if rest and self._clock() > until:
                later(self._resume)
                return
        self.replica.performed(self._clock())

    def _perform_one(self, effect: Effect) -> None:
        if isinstance(effect, list):
            self._effects.send(effect)
        elif isinstance(effect, (CompareAndSet, ReadRecord)):
            self._effects.request(effect)
        elif isinstance(effect, (Safe, Settled, Doubtful)):
            self._effects.complete(effect)
        else:
            self._effects.notify(effect)

    def _last_rest(self) -> None:
        """Of a large `Ready`, too, nothing is performed any more but its last words."""
        rest = [effect for effect in self._rest if is_last_word(effect)]
        self._rest.clear()
        for effect in rest:
            self._perform_one(effect)

    def _resume(self) -> None:
        """The next turn of a large `Ready`; then whatever came meanwhile."""
        assert self._later is not None
        self._running = True
        try:
            self._go_on(self._later)
        finally:
            self._running = False
        self.run()

    def fail(self, error: BaseException, lost: Ready) -> None:
        """The store, or the core, is dead: nothing in ``lost`` may promise anything any more (D6).

        What still leaves are in-doubt answers, the end of a role and closed links; the rest is dropped. Of
        several failures the first one counts.
        """
        if self.failed is not None:
            return
        self.failed = error
        why = str(error) if isinstance(error, QpidhaError) else repr(error)
        self.replica.stop(f"failed: {why}")
        self._last_rest()
        self._perform(last_words(lost))
        self._perform(last_words(self.replica.ready(self._clock())))
        self._effects.store_failed(error)


def in_portions(frames: Iterable[tuple[int, Frame]]) -> Iterator[Portion]:
    """Cut frames into portions of about `PORTION` operations, in order. A frame is never cut."""
    portion: Portion = []
    weight = 0
    for item in frames:
        event = item[1].event
        portion.append(item)
        weight += len(event.operations) if isinstance(event, Operations) else 1
        if weight >= PORTION:
            yield portion
            portion, weight = [], 0
    if portion:
        yield portion
