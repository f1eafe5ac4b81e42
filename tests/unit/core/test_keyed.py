"""A keyed queue holds one message for each key, through puts, deletions, rewinds and loading (Q1)."""

from __future__ import annotations

from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet
from qpidha.core.keyed import TABLE, KeyedQueue
from qpidha.errors import InvariantError
from qpidha.types import QueueSpec

QUEUE = UUID(int=1)
SPEC = QueueSpec(name="retained", kind=TABLE)


def table() -> KeyedQueue:
    return KeyedQueue(QUEUE, SPEC, ((1, 1),), 1)


def put(queue: KeyedQueue, key: bytes, value: bytes) -> None:
    """As a primary does it: the new message, then the old one goes."""
    before = queue.id_of(key)
    queue.append(Batch.pack([value], props=[key]))
    if before is not None:
        queue.remove(SequenceSet([before]))


def test_a_put_replaces_the_value_of_its_key() -> None:
    made = table()
    put(made, b"a", b"1")
    put(made, b"b", b"2")
    put(made, b"a", b"3")
    assert list(made.items()) == [(b"b", b"2"), (b"a", b"3")]
    assert (made.get(b"a"), made.get(b"b"), made.get(b"c")) == (b"3", b"2", None)
    assert (sorted(made.keys()), made.id_of(b"a"), made.id_of(b"c")) == ([b"a", b"b"], 3, None)
    made.check()


def test_a_key_is_gone_with_its_last_message() -> None:
    made = table()
    put(made, b"a", b"1")
    assert made.remove(SequenceSet([1, 9])) == SequenceSet([1])
    assert made.get(b"a") is None and list(made.keys()) == []
    made.check()


def test_keys_that_changed_are_taken_once() -> None:
    made = table()
    put(made, b"a", b"1")
    put(made, b"b", b"1")
    assert made.take_touched() == (b"a", b"b")
    put(made, b"b", b"2")
    made.remove(SequenceSet([1]))
    assert made.take_touched() == (b"b", b"a")
    assert made.take_touched() == ()


def test_a_rewind_that_gives_the_same_id_to_another_key() -> None:
    """As a flip does it: what goes goes first, then next falls, then what comes is inserted (C5)."""
    made = table()
    put(made, b"a", b"1")
    made.remove(SequenceSet([1]))
    made.next = 1
    made.insert(SequenceSet([1]), Batch.pack([b"2"], props=[b"b"]))
    assert list(made.items()) == [(b"b", b"2")]
    made.check()


def test_two_messages_of_one_key_break_an_invariant() -> None:
    made = table()
    made.append(Batch.pack([b"1", b"2"], props=[b"a", b"a"]))
    with pytest.raises(InvariantError, match="several messages"):
        made.check()
