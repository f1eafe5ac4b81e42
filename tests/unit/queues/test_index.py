"""The index of a queue: it agrees with the messages, however they come, change and go."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpidha import Batch, SequenceSet
from qpidha.errors import InvariantError
from qpidha.queues import MSGPACK, MessageIndex, Traits, queue_types
from qpidha.types import QueueSpec


def batch(*props: bytes, order: Sequence[int] | None = None) -> Batch:
    return Batch.pack([b"data"] * len(props), list(props), order)


def index(kind: str = "priority", **arguments: int) -> MessageIndex:
    return queue_types(fifo=True, **arguments)[kind](QueueSpec(name="q", kind=kind))


def places(made: MessageIndex) -> list[list[int]]:
    """By level, the lowest first."""
    return [list(level) for level in made.levels]


def test_messages_are_kept_by_priority() -> None:
    made = index(levels=3)
    made.inserted(SequenceSet([1, 2, 3]), batch(MSGPACK.pack(priority=2), b"", MSGPACK.pack(priority=1)))
    assert places(made) == [[2], [3], [1]]
    assert (len(made), made.nbytes) == (3, 12)


def test_priorities_out_of_range_go_to_the_nearest_level() -> None:
    made = index(levels=2)
    made.inserted(SequenceSet([1, 2]), batch(MSGPACK.pack(priority=99), MSGPACK.pack(priority=-1)))
    assert places(made) == [[2], [1]]


@pytest.mark.parametrize("props", [b"\xc1", b"text", msgpack.packb({"priority": "high"})])
def test_props_that_cannot_be_read_say_nothing(props: bytes) -> None:
    made = index(levels=2)
    made.inserted(SequenceSet([1]), batch(props))
    assert places(made) == [[1], []]
    made.check(SequenceSet([1]), batch(props))


def test_a_batch_without_props_is_not_read() -> None:
    made = index()
    made.inserted(SequenceSet([1, 2]), Batch.pack([b"a", b"bb"]))
    assert (places(made)[0], made.nbytes) == ([1, 2], 3)


def test_a_message_that_replaces_another_one_keeps_its_place() -> None:
    made = index(levels=2)
    made.inserted(SequenceSet([1, 2]), batch(b"", b""))
    made.inserted(SequenceSet([3]), batch(MSGPACK.pack(deliveries=1), order=[1]))
    made.removed(SequenceSet(), 4)  # Of message 1: place 1 is not empty.
    assert places(made) == [[1, 2], []]
    assert not made.moved


def test_a_message_that_gets_another_priority_changes_its_level() -> None:
    made = index(levels=2)
    made.inserted(SequenceSet([1, 2]), batch(b"", b""))
    made.inserted(SequenceSet([3]), batch(MSGPACK.pack(priority=1), order=[1]))
    assert places(made) == [[2], [1]]
    assert made.moved == SequenceSet([1])
    made.removed(SequenceSet([1]), 4)
    assert not made.moved


def test_keys_are_kept_for_last_values_only() -> None:
    keyed, plain = index("last-value"), index("ring")
    for made in (keyed, plain):
        made.inserted(SequenceSet([1, 2]), batch(MSGPACK.pack(key=b"k"), MSGPACK.pack(key=b"k")))
    assert plain.keys is None
    assert keyed.keys is not None and keyed.keys.superseded == SequenceSet([1])
    keyed.removed(SequenceSet([2]), 4)
    assert not keyed.keys.superseded


def test_an_update_can_take_the_key_away() -> None:
    made = index("last-value")
    made.inserted(SequenceSet([1]), batch(MSGPACK.pack(key=b"k")))
    made.inserted(SequenceSet([2]), batch(b"", order=[1]))
    assert made.keys is not None and made.keys.newest(b"k") is None
    made.check(SequenceSet([2]), batch(b"", order=[1]))


def test_times_of_expiry_are_forgotten_with_the_last_message() -> None:
    made = index("fifo")
    made.inserted(SequenceSet([1, 2]), batch(MSGPACK.pack(expires_at=50.0), b""))
    made.removed(SequenceSet([2]), 4)
    assert made.expiry.next_at == 50.0
    made.removed(SequenceSet([1]), 4)
    assert made.expiry.next_at is None


@pytest.mark.parametrize(
    ("told", "held"),
    [
        (batch(MSGPACK.pack(priority=1)), batch(b"")),
        (batch(b""), batch(MSGPACK.pack(expires_at=5.0))),
        (batch(b""), batch(MSGPACK.pack(key=b"k"))),
        (batch(b"", order=[0]), batch(b"", order=[5])),
    ],
)
def test_an_index_that_differs_from_the_messages_breaks_an_invariant(told: Batch, held: Batch) -> None:
    made = MessageIndex(MSGPACK, levels=2, keyed=True)
    made.inserted(SequenceSet([9]), told)
    made.check(SequenceSet([9]), told)
    with pytest.raises(InvariantError):
        made.check(SequenceSet([9]), held)


class Level(IntEnum):
    HIGH = 2


class Named:
    """A format whose priorities have names."""

    def read(self, props: bytes) -> Traits:
        return Traits(Level.HIGH, key=props)

    def with_deliveries(self, props: bytes, deliveries: int) -> bytes:
        return props


def test_a_format_may_give_a_priority_that_has_a_name() -> None:
    made = MessageIndex(Named(), levels=3, keyed=True)
    made.inserted(SequenceSet([9]), batch(b"k"))
    assert made.levels[2] == SequenceSet([9]) and made.keys is not None and made.keys.key_of(9) == b"k"


PROPS = st.builds(
    MSGPACK.pack,
    priority=st.integers(-1, 4),
    key=st.none() | st.sampled_from([b"a", b"b"]),
    expires_at=st.none() | st.floats(0, 100),
)


@given(st.lists(st.one_of(st.lists(PROPS, min_size=1, max_size=5), st.sets(st.integers(1, 30))), max_size=20))
def test_the_index_is_a_function_of_what_is_held(steps: list[list[bytes] | set[int]]) -> None:
    made, held, next_id = MessageIndex(MSGPACK, levels=3, keyed=True), dict[int, bytes](), 1
    for step in steps:
        if isinstance(step, list):
            ids = SequenceSet.from_range(next_id, next_id + len(step) - 1)
            made.inserted(ids, batch(*step))
            held.update(zip(ids, step, strict=True))
            next_id += len(step)
        else:
            gone = SequenceSet([id for id in step if id in held])
            made.removed(gone, 4 * len(gone))
            for id in gone:
                del held[id]
    fresh = MessageIndex(MSGPACK, levels=3, keyed=True)
    for id, props in held.items():
        fresh.inserted(SequenceSet([id]), batch(props))
        made.check(SequenceSet([id]), batch(props))
    assert places(made) == places(fresh)
    assert made.nbytes == 4 * len(held)
    assert made.keys is not None and fresh.keys is not None
    assert made.keys.superseded == fresh.keys.superseded
