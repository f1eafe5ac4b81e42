"""What an embedder may hand in as bytes, as ids, as addresses; and which thread may call."""

from __future__ import annotations

from typing import Any

import pytest

from qpidha import SequenceSet
from qpidha.errors import ArgumentError, LocalProtocolError, SettingsError, WrongThread
from qpidha.node.caller import FORKED, as_bytes, as_set, check_addresses, checked_score, wrong_thread

HELD = SequenceSet.from_range(1, 9)


@pytest.mark.parametrize("data", [bytearray(b"ab"), memoryview(b"ab")], ids=["bytearray", "memoryview"])
def test_bytes_that_may_change_are_copied(data: Any) -> None:
    found = as_bytes("data", data)
    assert type(found) is bytes and found == b"ab"


def test_bytes_are_taken_as_they_are() -> None:
    data = b"ab"
    assert as_bytes("data", data) is data


def test_text_is_refused_with_a_hint() -> None:
    with pytest.raises(ArgumentError, match=r"encode text with \.encode\(\)"):
        as_bytes("data", "ab")


def test_a_released_view_is_refused() -> None:
    view = memoryview(b"ab")
    view.release()
    with pytest.raises(ArgumentError, match="cannot be read"):
        as_bytes("data", view)


@pytest.mark.parametrize(
    ("ids", "found"),
    [
        (3, [3]),
        (range(2, 5), [2, 3, 4]),
        (range(4, 1, -1), [2, 3, 4]),
        (range(0), []),
        ([5, 2, 5], [2, 5]),
        ({7}, [7]),
        (SequenceSet([1, 9]), [1, 9]),
        ((), []),
    ],
    ids=repr,
)
def test_ids_in_any_form(ids: Any, found: list[int]) -> None:
    assert list(as_set(ids, 10, HELD)) == found


@pytest.mark.parametrize(
    "ids",
    [0, 10, -1, range(3), range(5, 11), [1, 10], [0], "12", b"1", True, [True], [1.0], None, [None]],
    ids=repr,
)
def test_what_is_no_id_or_was_never_given_out_is_refused(ids: Any) -> None:
    with pytest.raises(ArgumentError):
        as_set(ids, 10, HELD)


def test_a_range_with_steps_names_what_is_held() -> None:
    assert list(as_set(range(1, 8, 2), 10, SequenceSet([1, 2, 5]))) == [1, 5, 7]


def test_each_wrong_thread_has_its_error() -> None:
    assert isinstance(wrong_thread("Node.declare", 0), LocalProtocolError)
    assert isinstance(wrong_thread("Node.declare", 99), WrongThread)
    assert "fork" in str(wrong_thread("Node.declare", FORKED))


def test_a_wildcard_needs_an_address_to_advertise() -> None:
    with pytest.raises(SettingsError, match="advertise"):
        check_addresses(("0.0.0.0", 5671), None, None)
    check_addresses(("0.0.0.0", 5671), ("10.0.0.1", 5671), None)


def test_the_score_is_that_of_the_promoter_unless_one_is_given() -> None:
    class Promoter:
        priority = 4

    assert checked_score(None, Promoter()) == 4
    assert checked_score(7, Promoter()) == 7
    assert checked_score(None, None) == 0
    with pytest.raises(SettingsError):
        checked_score("high", None)
