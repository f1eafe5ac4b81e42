"""A keyed queue holds one message for each key, through puts, deletions, rewinds and loading (Q1)."""

from __future__ import annotations

from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet
from qpidha.core.keyed import JOINED, JOINED_BYTES_MAX, TABLE, KeyedQueue
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


def filled(count: int) -> KeyedQueue:
    made = table()
    for n in range(count):
        put(made, b"key %d" % n, b"value %d" % n)
    return made


def test_messages_that_came_one_by_one_are_kept_in_few_batches() -> None:
    made = filled(2 * JOINED + 3)
    assert len(made._stored) == 2 + 3
    assert [made.get(b"key %d" % n) for n in range(2 * JOINED + 3)] == [
        b"value %d" % n for n in range(2 * JOINED + 3)
    ]
    made.check()


def test_joined_messages_go_one_by_one() -> None:
    """Every second key has a new value, every third is gone: batches with holes are joined, too."""
    made = filled(JOINED)
    for n in range(0, JOINED, 2):
        put(made, b"key %d" % n, b"new")
    for n in range(0, JOINED, 3):
        made.remove(SequenceSet([made.id_of(b"key %d" % n) or 0]))
    made.check()
    for n in range(JOINED):
        put(made, b"more %d" % n, b"")
    made.check()
    wanted = {b"key %d" % n: b"new" if n % 2 == 0 else b"value %d" % n for n in range(JOINED) if n % 3}
    assert dict(made.items()) == wanted | {b"more %d" % n: b"" for n in range(JOINED)}
    assert len(made._stored) == 2 + JOINED // 2


def test_a_key_that_is_put_again_and_again_takes_no_room() -> None:
    made = table()
    for n in range(3 * JOINED):
        put(made, b"counter", b"%d" % n)
    assert made.get(b"counter") == b"%d" % (3 * JOINED - 1) and len(made._stored) == 1
    assert made.bytes < 2 * Batch.pack([b"191"], props=[b"counter"]).nbytes
    made.check()


@pytest.mark.parametrize("between", ["large", "older ids"])
def test_only_small_messages_at_the_end_are_joined(between: str) -> None:
    """What a resync puts between others, and large values, stay as they came; counting begins anew after them."""
    made = table()
    made.skip(10)
    for n in range(JOINED - 1):
        put(made, b"%d" % n, b"")
    if between == "large":
        put(made, b"large", bytes(JOINED_BYTES_MAX))
    else:
        made.insert(SequenceSet([3]), Batch.pack([b""], props=[b"older"]))
    put(made, b"last", b"")
    assert len(made._stored) == JOINED + 1
    made.check()


def test_nothing_is_joined_where_nothing_is_left() -> None:
    made = table()
    for n in range(JOINED):
        put(made, b"%d" % n, b"")
        if n < JOINED - 1:
            made.remove(SequenceSet([made.next - 1]))
    assert list(made.items()) == [(b"%d" % (JOINED - 1), b"")] and len(made._stored) == 1
    made.check()
