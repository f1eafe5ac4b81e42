"""SequenceSet keeps its promises at the edges: of 64 bits, of its blocks, of memory, of its encoding.

Method: one test per promise, named after it. The comparison with a plain set under random operations is in
tests/property/test_sequence_set_model.py.
"""

from __future__ import annotations

import copy
import operator
import pickle
import random
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from qpidha import _seq
from qpidha.seq import SequenceDecodeError, SequenceError, SequenceSet

LAST = 2**64 - 2
FULL = SequenceSet.from_range(0, LAST)


@pytest.fixture(params=[4, 5, 8, 512], ids=lambda n: f"blocks-of-{n}")
def capacity(request: pytest.FixtureRequest) -> Iterator[int]:
    before = _seq._set_block_capacity(request.param)
    yield request.param
    _seq._set_block_capacity(before)


def evens(runs: int, start: int = 0) -> SequenceSet:
    return SequenceSet(range(start, start + 2 * runs, 2))


# --- construction and plain questions -----------------------------------------------------------


def test_empty() -> None:
    s = SequenceSet()
    assert not s and len(s) == 0 and s.run_count == 0 and list(s) == [] and list(s.runs()) == []
    assert 0 not in s and s.ceiling(0) is None and s.floor(LAST) is None and s.count() == s.count(0, 9) == 0
    for edge in ("first", "last"):
        with pytest.raises(IndexError, match="empty set"):
            getattr(s, edge)
    s.discard(5)
    s.discard(0, LAST)
    s.check()
    assert s == SequenceSet() and repr(s) == "SequenceSet({})"


@pytest.mark.parametrize(
    "items",
    [
        [1, 2, 3, 7],
        [7, 3, 2, 1, 1],
        [(1, 3), 7],
        [[1, 3], (7, 7)],
        SequenceSet([1, 2, 3, 7]),
        {7, 1, 2, 3},
        iter([(1, 2), (2, 3), 7]),
    ],
)
def test_constructor_takes_ids_pairs_and_sets(items: object) -> None:
    s = SequenceSet(items)  # type: ignore[arg-type]
    s.check()
    assert list(s.runs()) == [(1, 3), (7, 7)]


def test_constructor_takes_huge_and_stepped_ranges() -> None:
    assert list(SequenceSet(range(5, 2**60)).runs()) == [(5, 2**60 - 1)]
    assert list(SequenceSet(range(9, 0, -4)).runs()) == [(1, 1), (5, 5), (9, 9)]
    assert not SequenceSet(range(3, 3))


def test_constructor_starts_from_nothing_each_time() -> None:
    s = SequenceSet([1, 2])
    s.__init__([9])
    assert list(s) == [9]


def test_the_whole_space() -> None:
    assert FULL.count() == LAST + 1
    assert FULL.first == 0 and FULL.last == LAST and LAST in FULL and 0 in FULL
    with pytest.raises(OverflowError):
        len(FULL)
    s = SequenceSet.from_range(0, sys.maxsize - 1)
    assert len(s) == sys.maxsize
    holes = FULL.copy()
    holes.discard(0)
    holes.discard(LAST)
    holes.discard(2**63)
    holes.check()
    assert list(holes.runs()) == [(1, 2**63 - 1), (2**63 + 1, LAST - 1)]
    assert list(FULL - holes) == list(FULL ^ holes) == [0, 2**63, LAST]
    holes |= FULL
    assert holes == FULL
    holes -= FULL
    assert not holes


@pytest.mark.parametrize("wrong", [-1, 2**64 - 1, 2**64, -(2**80)])
def test_what_is_not_an_id_is_refused_by_changes(wrong: int) -> None:
    s = SequenceSet([5])
    for call in (s.add, s.discard, lambda id: s.add(0, id), lambda id: SequenceSet.from_range(0, id)):
        with pytest.raises(SequenceError):
            call(wrong)
    with pytest.raises(ValueError, match="not a sequence id"):
        SequenceSet([wrong])
    assert list(s) == [5]


def test_a_number_that_is_no_id_is_no_member_and_may_be_a_bound() -> None:
    s = SequenceSet([(0, 5), LAST])
    assert -1 not in s and 2**64 - 1 not in s and 2**90 not in s
    assert s.count(-(2**90), 2**90) == s.count() == 7
    assert s.slice(-5, 2**64) == s
    assert not s.slice(2**64, 2**65) and not s.slice(-9, -1) and not s.slice(5, 4)
    assert s.count(5, 4) == s.count(2**64) == s.count(None, -1) == 0
    assert s.ceiling(-3) == 0 and s.floor(2**70) == LAST
    assert s.ceiling(2**64 - 1) is None and s.floor(-1) is None
    assert s.take(2**80) == s
    with pytest.raises(SequenceError):
        s.take(-1)


def test_reversed_ranges_are_refused_by_changes() -> None:
    s = SequenceSet([5])
    for call in (s.add, s.discard, SequenceSet.from_range):
        with pytest.raises(SequenceError, match="not a range"):
            call(6, 5)
    assert list(s) == [5]


@pytest.mark.parametrize("wrong", ["1", 1.5, None, b"", (1,), (1, 2, 3)])
def test_only_integers(wrong: Any) -> None:
    s = SequenceSet([5])
    with pytest.raises((TypeError, ValueError)):
        SequenceSet([wrong])
    for call in (s.add, s.discard, s.ceiling, s.floor, s.take, s.__contains__):
        with pytest.raises(TypeError):
            call(wrong)


def test_anything_with_an_index_is_an_integer() -> None:
    class Five:
        def __index__(self) -> int:
            return 5

    s = SequenceSet([Five()])
    assert Five() in s and s.count(Five(), Five()) == 1 and True not in s


def test_repr_is_short() -> None:
    assert repr(SequenceSet([(1, 5), 9])) == "SequenceSet({1-5, 9})"
    assert repr(evens(8)) == "SequenceSet({0, 2, 4, 6, 8, 10, 12, 14})"
    assert repr(evens(10_000)) == "SequenceSet({0, 2, 4, 6, 8, 10, 12, 14, ... 9992 more runs})"


def test_not_hashable_and_only_comparable_with_its_like() -> None:
    s = SequenceSet([1])
    with pytest.raises(TypeError):
        hash(s)
    assert s != {1}
    assert s != 1
    for operation in (
        lambda: s | {1},  # type: ignore[operator]
        lambda: {1} - s,  # type: ignore[operator]
        lambda: s <= {1},  # type: ignore[operator]
        lambda: s.isdisjoint({1}),  # type: ignore[arg-type]
        lambda: s.issubset(None),  # type: ignore[arg-type]
    ):
        with pytest.raises(TypeError):
            operation()


def test_subset_order() -> None:
    small, large = SequenceSet([(2, 3)]), SequenceSet([(1, 5), 9])
    assert small < large and small <= large and large > small and large >= small and small.issubset(large)
    assert not large <= small and not small < small and small <= small and SequenceSet() < small
    assert not SequenceSet([(5, 6)]) <= large


def test_copies_are_independent() -> None:
    s = evens(2000)
    for twin in (s.copy(), SequenceSet(s), copy.copy(s), copy.deepcopy(s), pickle.loads(pickle.dumps(s))):
        assert twin == s and twin is not s
        twin.check()
        twin.discard(100, 3000)
        assert 200 in s


def test_adding_nothing_new_is_no_change_for_iterators() -> None:
    s = SequenceSet([(1, 5)])
    seen = []
    for id in s:
        s.add(id)
        s.discard(77)
        seen.append(id)
    assert seen == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.add(100),
        lambda s: s.add(6),
        lambda s: s.discard(1),
        lambda s: s.discard(3),
        lambda s: s.clear(),
        lambda s: s.__iand__(SequenceSet([5])),
        lambda s: s.__ior__(SequenceSet([50])),
    ],
)
@pytest.mark.parametrize("walk", [iter, SequenceSet.runs])
def test_changing_while_iterating_is_an_error(
    change: Callable[[SequenceSet], object], walk: Callable[[SequenceSet], Iterator[object]]
) -> None:
    s = SequenceSet([(1, 5), 9, 12])
    walker = walk(s)
    next(walker)
    change(s)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="changed during iteration"):
            next(walker)


def test_iterators_keep_their_set_alive_and_stay_finished() -> None:
    walker = iter(SequenceSet([1, 3]))
    assert iter(walker) is walker
    assert list(walker) == [1, 3]
    with pytest.raises(StopIteration):
        next(walker)


# --- blocks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["ascending", "descending", "random", "inside out"])
def test_any_order_of_adding_and_removing(capacity: int, order: str) -> None:
    ids = list(range(0, 6 * capacity + 200, 2))
    if order == "descending":
        ids.reverse()
    elif order == "random":
        random.Random(7).shuffle(ids)
    elif order == "inside out":
        ids.sort(key=lambda id: abs(id - len(ids)))
    s = SequenceSet()
    for n, id in enumerate(ids, 1):
        s.add(id)
        if n % 7 == 0:
            s.check()
        assert s.run_count == n
    assert list(s) == sorted(ids)
    for n, id in enumerate(ids, 1):
        s.discard(id)
        if n % 7 == 0:
            s.check()
        assert s.run_count == len(ids) - n and id not in s
    assert not s


def test_one_range_swallows_many_blocks(capacity: int) -> None:
    s = evens(10 * capacity)
    s.add(3, 18 * capacity)
    s.check()
    assert list(s.runs())[:3] == [(0, 0), (2, 18 * capacity), (18 * capacity + 2, 18 * capacity + 2)]
    s.discard(1, 19 * capacity)
    s.check()
    assert list(s) == [0, *(id for id in range(0, 20 * capacity, 2) if id > 19 * capacity)]
    s.add(0, 100 * capacity)
    s.check()
    assert list(s.runs()) == [(0, 100 * capacity)]


def test_a_queue_that_moves_on_for_long_stays_small(capacity: int) -> None:
    s = SequenceSet()
    for id in range(0, 40_000, 2):
        s.add(id)
        s.discard(id - 200 if id >= 200 else id + 1)
    s.check()
    assert s.run_count == 100
    assert sys.getsizeof(s) < 200 + 16 * (8 * max(capacity, 100))


def test_removing_all_but_a_few_gives_memory_back() -> None:
    s = evens(100_000)
    full = sys.getsizeof(s)
    for id in range(0, 200_000, 2):
        if id % 2000:
            s.discard(id)
    s.check()
    assert s.run_count == 100
    assert sys.getsizeof(s) < full / 10


def test_small_sets_are_small() -> None:
    assert sys.getsizeof(SequenceSet()) < 150
    assert sys.getsizeof(SequenceSet([1, 5])) < 400


def test_sets_of_different_block_sizes_work_together() -> None:
    large = evens(1500)
    before = _seq._set_block_capacity(4)
    try:
        small = evens(1500, start=1)
        assert list((large | small).runs()) == [(0, 2999)]
        for id in range(1, 3000, 4):
            large.add(id)
        large.discard(100, 1200)
        large.check()
    finally:
        _seq._set_block_capacity(before)
    small |= large
    for id in range(5000, 9000, 2):
        small.add(id)
    small.check()


def test_block_capacity_has_a_least_value() -> None:
    with pytest.raises(ValueError, match="4 runs or more"):
        _seq._set_block_capacity(3)


def test_self_as_the_other_operand(capacity: int) -> None:
    s = evens(3 * capacity)
    twin = s.copy()
    s |= s
    s &= s
    assert s == twin and s | s == s & s == twin and s <= s and not s < s
    assert not s - s and not s ^ s
    s -= s
    assert not s
    s ^= twin
    assert s == twin
    s ^= s
    assert not s


# --- memory -------------------------------------------------------------------------------------


def test_no_memory_is_lost() -> None:
    def work() -> None:
        s = evens(5000)
        t = SequenceSet(range(0, 20_000, 3))
        for result in (s | t, s & t, s - t, s ^ t, s.copy(), s.slice(50, 9000), s.take(99)):
            result.clear()
            result.add(4)
        for id in range(0, 10_000, 2):
            s.discard(id)
        s |= t
        s &= t
        SequenceSet.decode(s.encode())
        for bad in (t.encode()[:-1], t.encode() + b"\0"):
            with pytest.raises(SequenceDecodeError):
                SequenceSet.decode(bad)
        t.__init__([1])

    tracemalloc.start()
    try:
        work()
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(5):
            work()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 8192  # One block of 512 runs is larger than that.


def test_a_failed_allocation_changes_nothing() -> None:
    before = _seq._set_block_capacity(4)
    rng = random.Random(11)
    failures = 0
    s = SequenceSet()
    model: set[int] = set()
    try:
        for step in range(4000):
            # The set is let grow, then shrink, again and again.
            adding = rng.random() < (0.8 if step % 1000 < 500 else 0.2)
            first = rng.randrange(600)
            last = first + rng.choice([0, 0, 0, 3])
            _seq._set_allocation_limit(rng.choice([0, 0, 1]))
            try:
                (s.add if adding else s.discard)(first, last)
            except MemoryError:
                failures += 1
            else:
                ids = range(first, last + 1)
                model.update(ids) if adding else model.difference_update(ids)
            finally:
                _seq._set_allocation_limit(None)
            s.check()
            assert list(s) == sorted(model)
    finally:
        _seq._set_block_capacity(before)
    assert failures > 100


@pytest.mark.parametrize(
    "operation",
    [
        lambda s, t: s | t,
        lambda s, t: s - t,
        lambda s, t: s & t,
        lambda s, t: s ^ t,
        lambda s, t: s.copy(),
        lambda s, t: s.slice(3, 3000),
        lambda s, t: SequenceSet.decode(s.encode()),
        lambda s, t: s.__ior__(t),
        lambda s, t: s.__isub__(t),
    ],
)
def test_a_failed_operation_leaks_nothing_and_keeps_its_operands(
    operation: Callable[[SequenceSet, SequenceSet], object],
) -> None:
    s, t = evens(3000), SequenceSet(range(0, 4000, 3))
    wanted = s.copy()

    def starve() -> None:
        nonlocal s
        for limit in range(12):
            _seq._set_allocation_limit(limit)
            try:
                with pytest.raises(MemoryError):
                    for _ in range(20):
                        operation(s, t)
            finally:
                _seq._set_allocation_limit(None)
            s.check()
            t.check()
            if s != wanted:  # An in-place operation came through before memory ended.
                s = wanted.copy()

    tracemalloc.start()
    try:
        starve()
        before, _ = tracemalloc.get_traced_memory()
        starve()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 8192


# --- encoding -----------------------------------------------------------------------------------


@pytest.mark.parametrize("runs", [0, 1, 2, 127, 128, 8191, 8192, 65_536, 65_537])
@pytest.mark.parametrize("base", [0, 2**31 - 100, 2**32 - 100, 2**63 - 100, LAST - 2 * 65_537])
def test_round_trip_with_any_number_of_runs(runs: int, base: int) -> None:
    s = evens(runs, start=base)
    data = s.encode()
    assert len(data) <= 20 + 2 * runs
    back = SequenceSet.decode(data)
    back.check()
    assert back == s and back.run_count == runs
    assert SequenceSet.decode(data, max_runs=runs) == s
    if runs:
        with pytest.raises(SequenceDecodeError, match="allowed"):
            SequenceSet.decode(data, max_runs=runs - 1)


@pytest.mark.parametrize(
    "ids",
    [
        [(0, LAST)],
        [(0, LAST - 2), LAST],
        [0, (2, LAST)],
        [LAST],
        [LAST - 1],
        [0, LAST],
        [(2**32 - 5, 2**32 + 5), 2**63, (2**64 - 10, 2**64 - 3)],
    ],
)
def test_round_trip_at_the_edges(ids: list[int | tuple[int, int]]) -> None:
    s = SequenceSet(ids)
    assert SequenceSet.decode(s.encode()) == s
    assert [SequenceSet.decode(memoryview(bytearray(chunk))) for chunk in s.encode_chunks(99)] == [s]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("", "no count"),
        ("80", "no count"),
        ("8000", "no count"),  # Zero in two bytes.
        ("ffffffffffffffffff02", "no count"),  # 2**64 and more.
        ("ffffffffffffffffffff01", "no count"),
        ("01", "announced"),
        ("ffffffffffffffffff01", "announced"),
        ("ffffffff0f" + "00" * 20, "announced"),
        ("010580", "no valid length"),
        ("018580", "no valid gap"),
        ("01858000", "no valid gap"),
        ("010500" + "00", "after the last run"),
        ("00" + "00", "after the last run"),
        ("01ffffffffffffffffff0100", "beyond the last id"),  # First id 2**64 - 1.
        ("0100ffffffffffffffffff01", "beyond the last id"),
        ("0101feffffffffffffffff01", "beyond the last id"),
        ("02" + "feffffffffffffffff0100" + "0000", "after the last id"),  # Behind 2**64 - 2 ...
        ("02" + "fdffffffffffffffff0100" + "0000", "after the last id"),  # ... and 2**64 - 3.
        ("02" + "fcffffffffffffffff0100" + "0001", "beyond the last id"),
    ],
)
def test_malformed_bytes_are_refused(wrong: str, why: str) -> None:
    with pytest.raises(SequenceDecodeError, match=why):
        SequenceSet.decode(bytes.fromhex(wrong))


def test_the_last_ids_decode() -> None:
    data = bytes.fromhex("02" + "fcffffffffffffffff0100" + "0000")
    assert list(SequenceSet.decode(data)) == [LAST - 2, LAST]


def test_every_cut_and_every_extension_is_refused() -> None:
    data = SequenceSet([5, (300, 100_000), 2**40, (2**63, LAST)]).encode()
    for end in range(len(data)):
        with pytest.raises(SequenceDecodeError):
            SequenceSet.decode(data[:end])
    for more in range(256):
        with pytest.raises(SequenceDecodeError):
            SequenceSet.decode(data + bytes([more]))


def test_decode_takes_bytes_like_objects_only() -> None:
    for wrong in ("01", 5, None, [0]):
        with pytest.raises(TypeError):
            SequenceSet.decode(wrong)  # type: ignore[arg-type]
    with pytest.raises(SequenceError):
        SequenceSet.decode(b"\0", max_runs=-1)
    assert not SequenceSet.decode(b"\0", max_runs=0)
    assert not SequenceSet.decode(b"\0", max_runs=2**80)


@pytest.mark.parametrize("max_runs", [1, 2, 7, 999, 1000, 1001, 2**70])
def test_chunks_are_a_partition(max_runs: int) -> None:
    s = evens(1000, start=2**32 - 900)
    chunks = [SequenceSet.decode(chunk, max_runs=max_runs) for chunk in s.encode_chunks(max_runs)]
    assert len(chunks) == -(-1000 // max_runs)
    union = SequenceSet()
    for chunk in chunks:
        assert chunk and chunk.isdisjoint(union)
        union |= chunk
    assert union == s


def test_chunks_of_nothing_and_of_no_size() -> None:
    assert SequenceSet().encode_chunks(5) == [b"\0"]
    for wrong in (0, -1):
        with pytest.raises(SequenceError, match="one run or more"):
            SequenceSet([1]).encode_chunks(wrong)


# --- whole sets of many runs ----------------------------------------------------------------------


def drawn(
    chance: random.Random, runs: int, length: int, gap: int, *, start: int = 0
) -> list[tuple[int, int]]:
    """Runs of up to so many ids, with gaps of up to so many between them."""
    found, id = [], start
    for _ in range(runs):
        first = id + chance.randint(0 if not found else 2, gap)
        id = first + chance.randint(0, length - 1)
        found.append((first, id))
    return found


def runs_of(ids: set[int]) -> list[tuple[int, int]]:
    found: list[list[int]] = []
    for id in sorted(ids):
        if found and found[-1][1] == id - 1:
            found[-1][1] = id
        else:
            found.append([id, id])
    return [(first, last) for first, last in found]


MANY_RUNS: dict[str, Callable[[random.Random], tuple[list[tuple[int, int]], list[tuple[int, int]]]]] = {
    "unrelated": lambda r: (drawn(r, 2000, 5, 6), drawn(r, 1500, 9, 4)),
    "single ids": lambda r: (drawn(r, 3000, 1, 3), drawn(r, 3000, 1, 3)),
    "touching": lambda r: (
        [(4 * n, 4 * n + 1) for n in range(2000)],
        [(4 * n + 2, 4 * n + 3) for n in range(2000)],
    ),
    "equal": lambda r: (drawn(random.Random(1), 1600, 4, 4), drawn(random.Random(1), 1600, 4, 4)),
    "one after the other": lambda r: (drawn(r, 1024, 3, 5), drawn(r, 1024, 3, 5, start=20_000)),
    "a run of one over many": lambda r: (drawn(r, 400, 60, 9), drawn(r, 3000, 2, 5)),
    "exactly a chunk": lambda r: (drawn(r, 512, 2, 4), drawn(r, 512, 2, 4, start=9000)),
    "one less and one more": lambda r: (drawn(r, 511, 2, 4), drawn(r, 513, 2, 4, start=9000)),
}


@pytest.mark.parametrize("capacity", [64, 512, 700])
@pytest.mark.parametrize("shape", MANY_RUNS)
def test_algebra_of_many_runs_is_that_of_sets(shape: str, capacity: int) -> None:
    """Results are written in chunks of runs: what crosses the border of a chunk is neither lost nor cut."""
    before = _seq._set_block_capacity(capacity)
    try:
        for seed in range(3):
            a, b = MANY_RUNS[shape](random.Random(seed))
            s, t = SequenceSet(a), SequenceSet(b)
            plain = [{id for first, last in runs for id in range(first, last + 1)} for runs in (a, b)]
            for x, y, p, q in ((s, t, *plain), (t, s, *reversed(plain))):
                for combine in (operator.or_, operator.and_, operator.sub, operator.xor):
                    found = combine(x, y)
                    found.check()
                    assert list(found.runs()) == runs_of(combine(p, q)), combine
                    found.add(10**9)  # It is a set like any other: it can be changed.
                    found.discard(0, 1000)
                    found.check()
    finally:
        _seq._set_block_capacity(before)


def test_algebra_at_both_ends_of_the_ids() -> None:
    top = 2**64 - 2
    a = SequenceSet([(0, 0), (5, 5), (top - 4, top - 2), (top, top)])
    b = SequenceSet([(0, 1), (3, 5), (top - 3, top)])
    assert list((a | b).runs()) == [(0, 1), (3, 5), (top - 4, top)]
    assert list((a & b).runs()) == [(0, 0), (5, 5), (top - 3, top - 2), (top, top)]
    assert list((a - b).runs()) == [(top - 4, top - 4)]
    assert list((b - a).runs()) == [(1, 1), (3, 4), (top - 1, top - 1)]
