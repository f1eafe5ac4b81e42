"""SequenceTracker agrees with a plain set of seen ids under every sequence of operations (I2, I3, I4).

Method: drive both with the same calls, with bases near 2**31, 2**32, 2**63 and the ends of 64 bits and a span
limit so small that the guard is met often. Ids given out are collected per generation: a rewind starts a new
one.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from qpidha.seq import SequenceError, SequenceOrderError, SequenceSpanError, SequenceTracker, serial_unwrap

WINDOW = 120
LAST = 2**64 - 2
BASES = st.sampled_from([0, 1, 2**31 - 20, 2**32 - 20, 2**63 - 20, LAST - WINDOW])
OFFSET = st.integers(-10, WINDOW)


class SequenceTrackerMatchesModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.begin(1, 50)

    @initialize(base=BASES, limit=st.sampled_from([2, 10, 50, 2**31]))
    def begin(self, base: int, limit: int) -> None:
        self.start = self.base = self.next = self.live = base
        self.limit = limit
        self.seen: set[int] = set()
        self.given: list[int] = []
        self.duplicates = 0
        self.real = SequenceTracker(base, span_limit=limit)

    def clip(self, offset: int) -> int:
        return max(0, min(LAST, self.start + offset))

    @rule(count=st.integers(1, 12))
    def allocate(self, count: int) -> None:
        if self.next + count > LAST + 1:
            with pytest.raises(OverflowError):
                self.real.allocate(count)
        elif self.next + count - self.live >= self.limit:
            with pytest.raises(SequenceSpanError):
                self.real.allocate(count)
            assert count > self.real.room
        else:
            assert count <= self.real.room
            first = self.real.allocate(count)
            assert first == self.next
            assert not self.given or first > self.given[-1]  # Ids increase (I2).
            assert first not in self.seen
            self.given.extend(range(first, first + count))
            self.seen.update(range(first, first + count))
            self.next += count

    @rule(a=OFFSET, extra=st.sampled_from([0, 0, 1, 7]))
    def receive(self, a: int, extra: int) -> None:
        ids = range(self.clip(a), self.clip(a + extra) + 1)
        new = {id for id in ids if id >= self.base} - self.seen
        assert self.real.receive(ids[0], ids[-1]) == len(new)
        self.duplicates += len(ids) - len(new)
        if new:
            low = max(ids[0], self.base)
            self.live = low if self.live == self.next else min(self.live, low)
            self.next = max(self.next, ids[-1] + 1)
        self.seen |= new

    @rule()
    def receive_next(self) -> None:
        if self.next <= LAST:
            self.receive(self.next - self.start, 0)

    @rule(offset=OFFSET)
    def retain(self, offset: int) -> None:
        live = self.clip(offset)
        if live > self.next:
            with pytest.raises(SequenceError):
                self.real.retain(live)
        else:
            self.real.retain(live)
            self.live = live

    @rule()
    def retain_nothing(self) -> None:
        self.real.retain(self.next)
        self.live = self.next

    @rule(offset=OFFSET)
    def advance(self, offset: int) -> None:
        to = self.clip(offset)
        self.real.advance(to)
        if to > self.next:
            self.live = to if self.live == self.next else self.live
            self.next = to

    @rule(offset=OFFSET)
    def rewind(self, offset: int) -> None:
        to = self.clip(offset)
        if to > self.next:
            with pytest.raises(SequenceError):
                self.real.rewind(to)
            return
        assert list(self.real.rewind(to)) == sorted(id for id in self.seen if id >= to)
        self.seen = {id for id in self.seen if id < to}
        self.next, self.base, self.live = to, min(self.base, to), min(self.live, to)
        self.given = []

    @rule()
    def restart(self) -> None:
        self.real = SequenceTracker.resume(self.real.state(), span_limit=self.limit)

    @invariant()
    def same_answers(self) -> None:
        real = self.real
        real.check()
        gaps = [id for id in range(self.base, self.next) if id not in self.seen]
        assert (real.base, real.next_id, real.lowest_live) == (self.base, self.next, self.live)
        assert list(real.gaps()) == gaps and real.missing == len(gaps)
        assert real.watermark == (gaps[0] if gaps else self.next) - 1
        assert real.duplicates == self.duplicates
        assert all(id < real.next_id for id in self.seen)  # Also those received (I4).
        for id in range(max(0, self.base - 2), min(self.next + 2, LAST)):
            assert (id in real) == (id < self.base or id in self.seen)
        for id in (self.live, self.next - 1):  # Every live id comes back from its wire form.
            if self.live <= id <= LAST:
                assert real.unwrap(real.wrap(id)) == id


SequenceTrackerMatchesModel.TestCase.settings = settings(
    max_examples=80, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestSequenceTracker = SequenceTrackerMatchesModel.TestCase

IDS = st.integers(0, LAST) | st.builds(
    lambda seam, offset: max(0, min(LAST, seam + offset)),
    st.sampled_from([0, 2**31, 2**32, 2**33, 2**63, LAST]),
    st.integers(-(2**32), 2**32) | st.integers(-3, 3),
)


@settings(max_examples=500, deadline=None)
@given(
    reference=IDS,
    offset=st.integers(-(2**31), 2**31) | st.sampled_from([-(2**31), 1 - 2**31, 2**31 - 1, 2**31]),
)
def test_unwrap_finds_the_nearest_id_or_refuses(reference: int, offset: int) -> None:
    id = reference + offset
    if abs(offset) == 2**31 or not 0 <= id <= LAST:
        with pytest.raises(SequenceOrderError):
            serial_unwrap(id % 2**32, reference)
    else:
        assert serial_unwrap(id % 2**32, reference) == id
        assert SequenceTracker().unwrap(id % 2**32, reference) == id
