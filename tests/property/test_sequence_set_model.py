"""SequenceSet agrees with a plain set() under every sequence of operations, and its codec loses nothing (I5).

Method: drive both with the same calls; blocks hold 4 runs, so that splits and joins are common. The base is
drawn near 2**31, 2**32 and both ends of 64 bits, so that most runs cross a seam. Then laws of algebra and
codec on generated sets, and decoding of arbitrary and of damaged bytes.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from qpidha import _seq
from qpidha.seq import SequenceDecodeError, SequenceSet

WINDOW = 96  # Small on purpose: collisions and merges must be common, not lucky.
LAST = 2**64 - 2
BASES = st.sampled_from([0, 2**31 - WINDOW // 2, 2**32 - WINDOW // 2, 2**63 - WINDOW // 2, LAST + 1 - WINDOW])
OFFSET = st.integers(0, WINDOW - 1)
OFFSETS = st.frozensets(OFFSET, max_size=WINDOW)
OPERATORS = st.sampled_from([operator.or_, operator.and_, operator.sub, operator.xor])
IN_PLACE = st.sampled_from([operator.ior, operator.iand, operator.isub, operator.ixor])
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(autouse=True, scope="module")
def small_blocks() -> Iterator[None]:
    before = _seq._set_block_capacity(4)
    yield
    _seq._set_block_capacity(before)


class SequenceSetMatchesModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.base, self.real, self.model = 0, SequenceSet(), set[int]()

    @initialize(base=BASES, offsets=OFFSETS)
    def start(self, base: int, offsets: frozenset[int]) -> None:
        self.base = base
        self.model = {base + offset for offset in offsets}
        self.real = SequenceSet(self.model)

    def range(self, a: int, b: int) -> range:
        return range(self.base + min(a, b), self.base + max(a, b) + 1)

    def other(self, offsets: frozenset[int]) -> tuple[SequenceSet, set[int]]:
        ids = {self.base + offset for offset in offsets}
        return SequenceSet(ids), ids

    @rule(a=OFFSET)
    def add_one(self, a: int) -> None:
        self.real.add(self.base + a)
        self.model.add(self.base + a)

    @rule(a=OFFSET, b=OFFSET)
    def add_range(self, a: int, b: int) -> None:
        ids = self.range(a, b)
        self.real.add(ids[0], ids[-1])
        self.model.update(ids)

    @rule(a=OFFSET)
    def discard_one(self, a: int) -> None:
        self.real.discard(self.base + a)
        self.model.discard(self.base + a)

    @rule(a=OFFSET, b=OFFSET)
    def discard_range(self, a: int, b: int) -> None:
        ids = self.range(a, b)
        self.real.discard(ids[0], ids[-1])
        self.model.difference_update(ids)

    @rule(step=st.integers(2, 5), a=OFFSET)
    def add_comb(self, step: int, a: int) -> None:
        for id in range(self.base + a, self.base + WINDOW, step):
            self.real.add(id)
            self.model.add(id)

    @rule(step=st.integers(2, 5), a=OFFSET)
    def discard_comb(self, step: int, a: int) -> None:
        for id in range(self.base + WINDOW - 1, self.base + a - 1, -step):
            self.real.discard(id)
            self.model.discard(id)

    @rule(n=st.integers(0, 20))
    def consume_from_the_front(self, n: int) -> None:
        taken = self.real.take(n)
        assert list(taken) == sorted(self.model)[:n]
        for first, last in taken.runs():
            self.real.discard(first, last)
        self.model.difference_update(sorted(self.model)[:n])

    @rule(change=IN_PLACE, offsets=OFFSETS)
    def change_in_place(self, change: Callable[[Any, Any], Any], offsets: frozenset[int]) -> None:
        real, model = self.other(offsets)
        self.real = change(self.real, real)
        self.model = change(self.model, model)

    @rule(change=IN_PLACE, offsets=st.frozensets(OFFSET, min_size=1, max_size=2))
    def change_a_little_in_place(self, change: Callable[[Any, Any], Any], offsets: frozenset[int]) -> None:
        self.change_in_place(change, offsets)

    @rule(combine=OPERATORS, offsets=OFFSETS)
    def combine(self, combine: Callable[[Any, Any], Any], offsets: frozenset[int]) -> None:
        real, model = self.other(offsets)
        for result, wanted in (
            (combine(self.real, real), combine(self.model, model)),
            (combine(real, self.real), combine(model, self.model)),
        ):
            result.check()
            assert set(result) == wanted

    @rule(offsets=OFFSETS)
    def compare(self, offsets: frozenset[int]) -> None:
        real, model = self.other(offsets)
        assert (self.real == real) == (self.model == model)
        assert (self.real <= real) == (self.model <= model)
        assert (self.real < real) == (self.model < model)
        assert (self.real >= real) == (self.model >= model)
        assert (self.real > real) == (self.model > model)
        assert self.real.isdisjoint(real) == self.model.isdisjoint(model)
        assert (self.real & real).issubset(self.real)

    @rule(a=OFFSET, b=OFFSET)
    def ask(self, a: int, b: int) -> None:
        low, high = self.range(a, b)[0], self.range(a, b)[-1]
        inside = sorted(id for id in self.model if low <= id <= high)
        assert self.real.count(low, high) == len(inside)
        assert list(self.real.slice(low, high)) == inside
        assert self.real.count(low) == sum(id >= low for id in self.model)
        assert self.real.count(last=high) == sum(id <= high for id in self.model)
        assert self.real.ceiling(low) == min((id for id in self.model if id >= low), default=None)
        assert self.real.floor(high) == max((id for id in self.model if id <= high), default=None)

    @rule(chunk=st.integers(1, 9))
    def encode(self, chunk: int) -> None:
        assert SequenceSet.decode(self.real.encode()) == self.real
        union = SequenceSet()
        for data in self.real.encode_chunks(chunk):
            part = SequenceSet.decode(data, max_runs=chunk)
            assert union.isdisjoint(part)
            union |= part
        assert union == self.real

    @rule()
    def replace_by_copy(self) -> None:
        original, self.real = self.real, self.real.copy()
        original.clear()
        original.check()

    @invariant()
    def same_members(self) -> None:
        self.real.check()
        assert list(self.real) == sorted(self.model)
        assert [id for id in self.range(0, WINDOW - 1) if id in self.real] == sorted(self.model)
        assert len(self.real) == len(self.model) == self.real.count()
        runs = list(self.real.runs())
        assert len(runs) == self.real.run_count
        assert [id for first, last in runs for id in range(first, last + 1)] == sorted(self.model)
        if self.model:
            assert (self.real.first, self.real.last) == (min(self.model), max(self.model))


SequenceSetMatchesModel.TestCase.settings = settings(
    max_examples=80, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestSequenceSet = SequenceSetMatchesModel.TestCase


RUN = st.tuples(st.integers(0, LAST), st.integers(0, 2**40) | st.integers(0, 3))
SETS = st.lists(RUN, max_size=40).map(lambda runs: SequenceSet((a, min(LAST, a + n)) for a, n in runs))


@QUICK
@given(s=SETS)
def test_codec_round_trip_anywhere(s: SequenceSet) -> None:
    s.check()
    back = SequenceSet.decode(s.encode())
    back.check()
    assert back == s and list(back.runs()) == list(s.runs())


@QUICK
@given(a=SETS, b=SETS)
def test_laws_of_algebra(a: SequenceSet, b: SequenceSet) -> None:
    assert (a | b).count() + (a & b).count() == a.count() + b.count()
    assert a ^ b == (a | b) - (a & b) == (a - b) | (b - a)
    assert (a - b).isdisjoint(b) and (a & b) | (a - b) == a
    assert (a <= b) == (not a - b) == (a | b == b) == (a & b == a)
    assert a.isdisjoint(b) == (not a & b)
    for result in (a | b, a & b, a - b, a ^ b):
        result.check()


@QUICK
@given(data=st.binary(max_size=60))
def test_arbitrary_bytes_decode_or_are_refused(data: bytes) -> None:
    try:
        s = SequenceSet.decode(data)
    except SequenceDecodeError:
        return
    s.check()
    assert s.encode() == data  # There is one encoding of a set, and no other is accepted.


@QUICK
@given(s=SETS, where=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_flipped_bit_gives_another_set_or_is_refused(s: SequenceSet, where: int, bit: int) -> None:
    data = bytearray(s.encode())
    data[where % len(data)] ^= 1 << bit
    try:
        damaged = SequenceSet.decode(data)
    except SequenceDecodeError:
        return
    damaged.check()
    assert damaged != s and damaged.encode() == data


@QUICK
@given(numbers=st.lists(st.integers(0, 2**64 - 1) | st.sampled_from([LAST - 2, LAST - 1, LAST]), max_size=9))
def test_well_formed_numbers_decode_or_are_refused(numbers: list[int]) -> None:
    def varint(number: int) -> bytes:
        out = bytearray()
        while number >= 0x80:
            out.append(number & 0x7F | 0x80)
            number >>= 7
        return bytes([*out, number])

    body = b"".join(map(varint, numbers))
    wanted: list[tuple[int, int]] | None = []
    after = 0
    for gap, extra in zip(numbers[::2], numbers[1::2], strict=False):
        assert wanted is not None
        wanted.append((after + gap, after + gap + extra))
        after += gap + extra + 2
        if after - 2 > LAST:
            wanted = None
            break
    if len(numbers) % 2:
        wanted = None
    data = varint(len(numbers) // 2) + body
    if wanted is None:
        with pytest.raises(SequenceDecodeError):
            SequenceSet.decode(data)
    else:
        assert list(SequenceSet.decode(data).runs()) == wanted
