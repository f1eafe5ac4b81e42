"""What the queue types read from props, and what they make of props that they cannot read."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import msgpack
import pytest

from qpidha import ArgumentError
from qpidha.queues import MSGPACK, Traits
from qpidha.queues.properties import NO_TRAITS, checked


def test_what_is_packed_is_read() -> None:
    traits = Traits(priority=3, expires_at=1.5, key=b"k", group=b"g", deliveries=2)
    props = MSGPACK.pack(priority=3, expires_at=1.5, key=b"k", group=b"g", deliveries=2)
    assert MSGPACK.read(props) == traits


@pytest.mark.parametrize("value", [object(), 2**64, {1, 2}])
def test_values_that_msgpack_cannot_pack_are_refused(value: object) -> None:
    with pytest.raises(ArgumentError):
        MSGPACK.pack(own=value)


def test_no_props_say_nothing() -> None:
    assert MSGPACK.pack() == b""
    assert MSGPACK.read(b"") == NO_TRAITS


def test_the_count_of_deliveries_changes_nothing_else() -> None:
    props = MSGPACK.pack(priority=3, colour="red")
    counted = msgpack.unpackb(MSGPACK.with_deliveries(props, 2))
    assert counted == {"priority": 3, "colour": "red", "deliveries": 2}
    assert MSGPACK.read(MSGPACK.with_deliveries(b"", 1)) == Traits(deliveries=1)


def test_props_that_are_no_map_are_refused() -> None:
    with pytest.raises(ArgumentError, match="map"):
        MSGPACK.read(msgpack.packb([1]))


class Level(IntEnum):
    URGENT = 9


def test_a_priority_may_be_an_int_with_a_name() -> None:
    found = checked(Traits(priority=Level.URGENT, key=b"k"))
    assert found == Traits(priority=9, key=b"k") and type(found.priority) is int
    assert MSGPACK.read(MSGPACK.pack(priority=Level.URGENT)) == Traits(priority=9)


@pytest.mark.parametrize(
    "wrong", [{"priority": "high"}, {"priority": True}, {"expires_at": "soon"}, {"key": "k"}, {"group": 1}]
)
def test_traits_of_a_wrong_type_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError):
        checked(Traits(**wrong))
