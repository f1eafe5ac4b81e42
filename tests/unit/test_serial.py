"""Serial numbers obey RFC 1982, and a 64-bit id comes back from its 32-bit wire form.

Method: the examples of the RFC, the edges of the 32-bit space, and a search over all pairs of an 8-bit model
scaled to 32 bits; then scenarios T21 (the counter wraps) and T23 (exactly 2**32 ids pass).
"""

from __future__ import annotations

import doctest
import itertools
from types import ModuleType

import pytest

from qpidha import _seq, _serial
from qpidha.seq import (
    SequenceError,
    SequenceOrderError,
    SequenceSet,
    SequenceTracker,
    serial_add,
    serial_compare,
    serial_distance,
    serial_le,
    serial_lt,
    serial_unwrap,
    serial_wrap,
)

TOP = 2**32 - 1
HALF = 2**31
LAST_ID = 2**64 - 2


@pytest.mark.parametrize(("module", "examples"), [(_seq, 15), (_serial, 12)])
def test_doctests_of_the_compiled_modules(module: ModuleType, examples: int) -> None:
    failed, attempted = doctest.testmod(module)
    assert failed == 0
    assert attempted >= examples  # Else the docstrings were not found.


def test_addition_wraps() -> None:
    assert serial_add(0, 0) == 0
    assert serial_add(TOP, 1) == 0
    assert serial_add(TOP, HALF - 1) == HALF - 2


def test_order_across_the_wrap() -> None:
    assert serial_lt(TOP, 0) and not serial_lt(0, TOP)
    assert serial_le(TOP, 0) and serial_le(7, 7) and not serial_lt(7, 7)
    assert [serial_compare(TOP, 0), serial_compare(0, TOP), serial_compare(5, 5)] == [-1, 1, 0]
    assert serial_distance(0, HALF - 1) == HALF - 1
    assert serial_distance(HALF - 1, 0) == -(HALF - 1)


def test_all_pairs_agree_with_the_definition() -> None:
    step = 2**24  # 256 numbers: each pair of them, and so each distance at this scale.
    numbers = range(0, 2**32, step)
    for a, b in itertools.product(numbers, numbers):
        ahead = (b - a) % 2**32
        if ahead == HALF:
            for question in (serial_lt, serial_le, serial_compare, serial_distance):
                with pytest.raises(SequenceOrderError):
                    question(a, b)
            continue
        signed = ahead if ahead < HALF else ahead - 2**32
        assert serial_distance(a, b) == signed
        assert serial_lt(a, b) == (signed > 0)
        assert serial_le(a, b) == (signed >= 0)
        assert serial_compare(a, b) == (signed < 0) - (signed > 0)
        if signed >= 0:
            assert serial_add(a, signed) == b


@pytest.mark.parametrize("a", [0, 1, HALF - 1, HALF, TOP])
def test_one_before_and_one_after_the_undefined_distance(a: int) -> None:
    assert serial_lt(a, (a + HALF - 1) % 2**32)
    assert serial_lt((a + HALF + 1) % 2**32, a)
    with pytest.raises(SequenceOrderError, match="neither is first"):
        serial_lt(a, (a + HALF) % 2**32)


@pytest.mark.parametrize("wrong", [-1, 2**32, 2**64 - 1, 2**64, -(2**70)])
def test_numbers_out_of_range(wrong: int) -> None:
    for call in (serial_add, serial_lt, serial_le, serial_compare, serial_distance):
        with pytest.raises(SequenceError):
            call(wrong, 0)
        with pytest.raises(ValueError, match="32-bit"):
            call(0, wrong)
    with pytest.raises(SequenceError):
        serial_unwrap(wrong, 0)


def test_a_step_of_half_the_space_is_refused() -> None:
    with pytest.raises(SequenceError, match="moves by"):
        serial_add(0, HALF)


@pytest.mark.parametrize("wrong", ["1", 1.0, None, b"1"])
def test_only_integers(wrong: object) -> None:
    with pytest.raises(TypeError):
        serial_lt(wrong, 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        serial_wrap(wrong)  # type: ignore[arg-type]


def test_wrap() -> None:
    assert [serial_wrap(id) for id in (0, TOP, 2**32, LAST_ID)] == [0, TOP, 0, 2**32 - 2]
    for wrong in (-1, LAST_ID + 1, 2**64):
        with pytest.raises(SequenceError, match="not a sequence id"):
            serial_wrap(wrong)


@pytest.mark.parametrize("reference", [HALF, 2**32 - 3, 2**32, 2**32 + 2**31, 2**63, LAST_ID - HALF])
@pytest.mark.parametrize("offset", [0, 1, -1, 1000, -1000, HALF - 1, -(HALF - 1)])
def test_unwrap_inverts_wrap_within_half_the_space(reference: int, offset: int) -> None:
    assert serial_unwrap(serial_wrap(reference + offset), reference) == reference + offset


def test_unwrap_refuses_to_guess() -> None:
    with pytest.raises(SequenceOrderError):  # Two candidates are equally near.
        serial_unwrap(HALF, 2**32)
    with pytest.raises(SequenceOrderError, match="before id 0"):
        serial_unwrap(TOP, 5)
    with pytest.raises(SequenceOrderError, match="after the last id"):
        serial_unwrap(0, LAST_ID)
    assert serial_unwrap(2**32 - 2, LAST_ID) == LAST_ID
    with pytest.raises(SequenceOrderError):
        serial_unwrap(TOP, LAST_ID)  # 2**64 - 1 is not an id.


def test_t21_ids_around_the_wrap_keep_their_order() -> None:
    primary = SequenceTracker(2**32 - 3)
    backup = SequenceTracker(2**32 - 3)
    ids = [primary.allocate() for _ in range(10)]
    wire = [primary.wrap(id) for id in ids]
    assert wire[:5] == [2**32 - 3, 2**32 - 2, 2**32 - 1, 0, 1]
    # The backup was offline meanwhile and now gets them in any order, relative to where it stopped.
    assert sorted(backup.unwrap(number) for number in reversed(wire)) == ids
    for number in reversed(wire):
        assert backup.receive(backup.unwrap(number)) == 1
    assert backup.gaps() == SequenceSet()
    assert backup.watermark == ids[-1] == 2**32 + 6
    assert [backup.unwrap(number) for number in wire] == ids


def test_t23_ids_a_whole_wrap_apart_are_different() -> None:
    backup = SequenceTracker(1)
    backup.receive(1, 100)
    held = SequenceSet.from_range(90, 100)
    primary = SequenceSet.from_range(2**32 + 90, 2**32 + 100)
    assert serial_wrap(held.first) == serial_wrap(primary.first)
    assert held.isdisjoint(primary)
    # The primary tells its 64-bit position; relative to that the same wire numbers are the new messages.
    assert backup.unwrap(95, reference=2**32 + 100) == 2**32 + 95
    assert backup.receive(2**32 + 95) == 1
