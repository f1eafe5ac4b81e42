"""Message groups: one consumer at a time, in order, and nothing waits for ever."""

from __future__ import annotations

from qpidha.queues.groups import Groups
from qpidha.seq import SequenceSet


def test_a_group_belongs_to_who_has_a_message_of_it() -> None:
    groups = Groups[str]()
    assert groups.take(b"g", 1, "ada") is None
    assert groups.take(b"g", 2, "ada") is None
    assert groups.take(b"g", 3, "bob") == "ada"
    assert groups.take(b"h", 4, "bob") is None


def test_a_group_is_free_when_its_owner_has_none_of_it() -> None:
    groups = Groups[str]()
    groups.take(b"g", 1, "ada")
    groups.take(b"g", 2, "ada")
    groups.take(b"g", 3, "bob")
    assert groups.release(SequenceSet([1])) == SequenceSet()
    assert groups.release(SequenceSet([2])) == SequenceSet([3])
    assert groups.take(b"g", 3, "bob") is None


def test_the_owner_gets_what_waits_for_it_before_it_gets_more() -> None:
    """Else a later message of the group would overtake the one that waits."""
    groups = Groups[str]()
    groups.take(b"g", 1, "ada")
    groups.take(b"g", 2, "bob")
    assert groups.take_waiting("bob") == SequenceSet()
    assert groups.take_waiting("ada") == SequenceSet([2])
    assert groups.take_waiting("ada") == SequenceSet()


def test_messages_without_a_group_are_fine() -> None:
    assert Groups[str]().release(SequenceSet([1])) == SequenceSet()


def test_messages_of_another_group_still_wait_when_one_group_is_free() -> None:
    groups = Groups[str]()
    for place, group in ((1, b"a"), (2, b"b")):
        assert groups.take(group, place, "first") is None
    for place, group in ((3, b"a"), (4, b"b")):
        assert groups.take(group, place, "second") == "first"
    assert groups.release(SequenceSet([1])) == SequenceSet([3])
    assert groups.waits_for("first") and not groups.waits_for("second")
    assert groups.release(SequenceSet([2])) == SequenceSet([4])
    assert not groups.waits_for("first")
