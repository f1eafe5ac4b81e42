"""Performs each `Ready` of a core in its order: persist, then send, request, complete, notify.

The driver has no sockets, threads or clock: it calls functions that it is given. A node gives it
asyncio's, the simulator gives it simulated ones, and a broker without asyncio its own (``docs/without-asyncio.md``).

While a transaction is being made durable, inputs still change the core but no effects are performed; the
next `Ready` then contains the effects of all these inputs (group commit). The same holds while a large `Ready` is
performed in slices: they keep its order, and the loop does other work between them.

So everything confirmed is on this node's disk (S1), and while no commit is running memory and disk agree (D8).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
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
    Stored,
    needs_no_disk,
    remainder,
    without_disk,
)
from qpidha.core.replica import Replica
from qpidha.errors import QpidhaError, StoreError
from qpidha.journal import Change
from qpidha.wire.events import Frame, Operations

Done = Callable[[Exception | None], None]
Commit = Callable[[list[Change], Done], None]
"""Makes one transaction durable, then calls back with None, or with the error, in the thread of the core.

It may call back before it returns. Only one transaction is under way at a time.
"""

Later = Callable[[Callable[[], None]], None]
"""Calls a function in a later turn of the loop, in the thread of the core."""

SLICE_S = 0.02
"""How long one `Ready` is performed before the loop has a turn for other work."""
SLICE_MIN = 64
"""How many completions and notices are performed before the clock is read."""
PORTION = 512
"""How many operations, or other frames, are sent before the clock is read. A commit of large batches holds fewer
operations, so they are sent together."""

Portion: TypeAlias = list[tuple[int, Frame]]
"""Some frames of one `Ready`, (link, frame)."""
Effect: TypeAlias = Portion | Request | Completion | Notice
"""What the driver performs in one step."""


class Effects(Protocol):
    """Performs single effects. Called in the thread of the core; none of these may block or raise.

    They may give inputs to the core and call `Driver.run`, which then returns at once.
    """

    def send(self, frames: Sequence[tuple[int, Frame]]) -> None:
        """Send frames of one `Ready`, all or the next portion: (link, frame), in order for each link. Never empty.

        A frame for a link that is gone is dropped.
        """

    def request(self, request: Request) -> None:
        """Send a request to the cluster manager. Pass its answer, or its failure, to `Replica.answered`."""

    def complete(self, completion: Completion) -> None:
        """Tell clients what is safe, settled or in doubt."""

    def notify(self, notice: Notice) -> None:
        """Perform a notice: a role, a change of content, messages to hand over, a link to close, a line for the log."""

    def store_failed(self, error: BaseException) -> None:
        """The node has failed: the store, or a bug. Called once, after the last effects."""


class Driver:
    """Takes effects from one core and performs them, one `Ready` at a time.

    All methods are called in the thread of the core.

    Args:
        replica: The core.
        commit: Makes transactions durable.
        effects: Performs everything else.
        clock: Seconds, monotonic; the same clock that the inputs of the core are given.
        later: Schedules another turn of the loop. None: all slices of the core, and each `Ready`, are done in one turn.
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
        """The error that ended the driver; None while it works."""
        self._commit = commit
        self._effects = effects
        self._clock = clock
        self._waiting: Ready | None = None
        """What is being made durable."""
        self._bypassing = False
        self._later = later
        self._rest: deque[Effect] = deque()
        """The rest of a large `Ready`."""
        self._sliced = False
        """The next slice of the core is scheduled."""
        self._running = False
        self._again = False

    @property
    def idle(self) -> bool:
        """Nothing is being made durable or performed."""
        return self._waiting is None and not self._rest

    def run(self) -> None:
        """Perform all effects that are due. Call it after every input, or once after several."""
        self._again = True
        if self._running:
            return  # Called from an effect: the loop below goes on.
        self._running = True
        try:
            if self._waiting is not None and self._bypassing:
                self._bypass(self._waiting)
            while self.idle and self.failed is None:
                if (unreadable := self.replica.unreadable) is not None:
                    self.fail(unreadable, Ready())
                    return
                if not self._again and self.replica.out.empty and not self._next_slice():
                    return  # No input since the last `ready`, which contained all effects of the inputs before it.
                self._again = False
                ready = self.replica.ready(self._clock())
                if not ready:
                    if self._next_slice():
                        continue
                    return
                if ready.persist:
                    if ready.early:
                        self._send_early(ready)
                    self._persist(ready)
                else:
                    self._perform_all(ready)
        finally:
            self._running = False

    def _next_slice(self) -> bool:
        """Schedule the next slice of the core (`Replica.unfinished`). True: do it now, because there is no ``later``."""
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

    def _send_early(self, ready: Ready) -> None:
        """Send what need not wait for the disk (`Ready.early`), unless it is so much that it is sent in slices."""
        if is_portion(ready.send):
            self._effects.send(ready.send)
            ready.send = []

    def _persist(self, ready: Ready) -> None:
        self._waiting = ready

        def done(error: Exception | None) -> None:
            ready, self._waiting, self._bypassing = self._waiting or Ready(), None, False
            if self.failed is not None:
                self._perform(without_disk(ready))  # The node failed meanwhile, for another reason.
            elif error is not None:
                self.fail(error, ready)
            else:
                self._perform_all(ready)
                if not self._running:
                    self.run()

        self._commit(ready.persist, done)

    def bypass(self) -> None:
        """Until the disk answers, perform the effects that need no disk (`Replica.urgent`).

        For a primary that hands over because its disk hangs. Once its role is over, the transaction that waits is
        stored if the disk answers, but nothing in it is sent or confirmed any more.
        """
        self._bypassing = self._waiting is not None
        self.run()

    def _bypass(self, waiting: Ready) -> None:
        if self.failed is not None:
            return
        if self.replica.primary is None:
            self._waiting = remainder(waiting)
            self._perform(without_disk(waiting))
        elif waiting.request is not None:  # One request at a time (M1): this one would delay the hand-over.
            request, waiting.request = waiting.request, None
            self._effects.request(request)
        self._perform(self.replica.urgent(self._clock()))

    def _perform_all(self, ready: Ready) -> None:
        """Perform a `Ready` that is durable, in slices if it is large, then tell the core."""
        few = len(ready.complete) + len(ready.notify) <= SLICE_MIN and is_portion(ready.send)
        if few or self._later is None:
            self._perform(ready)
            self.replica.performed(self._clock())
            return
        rest = self._rest
        rest.extend(in_portions(ready.send))
        if ready.request is not None:
            rest.append(ready.request)
        rest.extend(ready.complete)
        rest.extend(ready.notify)
        self._go_on(self._later)

    def _perform(self, ready: Ready) -> None:
        """Perform all of it in this turn."""
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
        """Perform the rest of a large `Ready` until it is done or the slice is over."""
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
        elif isinstance(effect, (Safe, Settled, Stored, Doubtful)):
            self._effects.complete(effect)
        else:
            self._effects.notify(effect)

    def _last_rest(self) -> None:
        """Drop the rest of a large `Ready`, except for what may be performed after a failure."""
        rest = [effect for effect in self._rest if needs_no_disk(effect)]
        self._rest.clear()
        for effect in rest:
            self._perform_one(effect)

    def _resume(self) -> None:
        """Perform the next slice of a large `Ready`, then what follows from the inputs since."""
        assert self._later is not None
        self._running = True
        try:
            self._go_on(self._later)
        finally:
            self._running = False
        self.run()

    def fail(self, error: BaseException, lost: Ready) -> None:
        """Stop the core: its store failed, or a bug was found. Nothing is sent, stored or confirmed any more (D6).

        In-doubt answers, the end of the role and closed links are still performed; all other effects are dropped. Of
        several failures the first one counts.

        Args:
            error: What failed; given to `Effects.store_failed`.
            lost: A `Ready` that was taken from the core and not performed. Empty: there is none.
        """
        if self.failed is not None:
            return
        self.failed = error
        why = str(error) if isinstance(error, QpidhaError) else repr(error)
        # The store may not give back what the core wants to look at: the rest is done all the same.
        with suppress(StoreError):
            self.replica.stop(f"failed: {why}")
        self._last_rest()
        self._perform(without_disk(lost))
        with suppress(StoreError):
            self._perform(without_disk(self.replica.ready(self._clock())))
        self._effects.store_failed(error)


def is_portion(frames: Iterable[tuple[int, Frame]]) -> bool:
    """Whether `in_portions` would not cut these frames."""
    weight = 0
    for _, frame in frames:
        if weight >= PORTION:
            return False
        event = frame.event
        weight += len(event.operations) if isinstance(event, Operations) else 1
    return True


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
