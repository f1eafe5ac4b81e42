"""What the queue types have to know of a message, and how it is found in its props.

The library does not look into props. A queue type reads them with a `PropertiesFormat`: `MsgpackFormat` for brokers that
have no format yet, or a few lines of your own for one that has.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, Protocol

import msgpack

from qpidha.checks import instance_of, integer, is_integer
from qpidha.errors import ArgumentError


class Traits(NamedTuple):
    """What decides about the place, the delivery and the end of one message."""

    priority: int = 0
    """Higher goes first, in a priority queue."""
    expires_at: float | None = None
    """Seconds since the epoch (UTC). The primary drops the message then; None: never."""
    key: bytes | None = None
    """A newer message of the same key replaces it, in a last-value queue; None: it is never replaced."""
    group: bytes | None = None
    """Messages of one group go to one consumer at a time; None: it is in no group."""
    deliveries: int = 0
    """How many deliveries have failed."""


NO_TRAITS: Final = Traits()


class PropertiesFormat(Protocol):
    """Reads the props of a message. Both methods are pure functions: all nodes must come to the same result."""

    def read(self, props: bytes) -> Traits:
        """The traits of a message with these props. An exception counts as `NO_TRAITS`."""

    def with_deliveries(self, props: bytes, deliveries: int) -> bytes:
        """The same props with another number of failed deliveries."""


class MsgpackFormat:
    """Props that are a msgpack map with text keys. Keys that are not named here are the broker's own.

    >>> MSGPACK.read(MSGPACK.pack(priority=3, colour="red"))
    Traits(priority=3, expires_at=None, key=None, group=None, deliveries=0)
    """

    def pack(
        self,
        *,
        priority: int = 0,
        expires_at: float | None = None,
        key: bytes | None = None,
        group: bytes | None = None,
        deliveries: int = 0,
        **own: object,
    ) -> bytes:
        """Props with these traits, and whatever else the broker has. No props at all if there is nothing to say.

        Raises:
            ArgumentError: A value of a wrong type, or one that msgpack cannot pack.
        """
        traits = checked(Traits(priority, expires_at, key, group, deliveries))._asdict()
        said = {name: value for name, value in traits.items() if value != NO_VALUES[name]} | own
        return _packed(said) if said else b""

    def read(self, props: bytes) -> Traits:
        """See `PropertiesFormat.read`. Raises `ArgumentError` if these are not props of this format."""
        if props == b"":
            return NO_TRAITS
        get = self._unpack(props).get
        return Traits(get("priority", 0), get("expires_at"), get("key"), get("group"), get("deliveries", 0))

    def with_deliveries(self, props: bytes, deliveries: int) -> bytes:
        """See `PropertiesFormat.with_deliveries`. Raises `ArgumentError` as `read` and `pack`."""
        COUNT("deliveries", deliveries)
        values = {} if props == b"" else self._unpack(props)
        return _packed({**values, "deliveries": deliveries})

    def _unpack(self, props: bytes) -> dict[str, Any]:
        BYTES("props", props)
        try:
            values = msgpack.unpackb(props)
        except (ValueError, TypeError, BufferError, msgpack.UnpackException) as error:
            raise ArgumentError(f"props are not msgpack: {error}") from error
        if not isinstance(values, dict):
            raise ArgumentError("props must be a msgpack map with text keys")
        return values


BYTES: Final = instance_of(bytes)
COUNT: Final = integer(0, 2**63 - 1)
NO_VALUES: Final = NO_TRAITS._asdict()
MSGPACK: Final = MsgpackFormat()
"""The format that is used if no other is given."""


def checked(traits: Traits) -> Traits:
    """The same traits, their priority as a plain int. Raises `ArgumentError` if one has a wrong type."""
    priority, expires_at, key, group, deliveries = traits
    if type(priority) is not int and is_integer(priority):  # An IntEnum: priorities often have names.
        return checked(Traits(int(priority), expires_at, key, group, deliveries))
    if (
        type(priority) is not int
        or type(deliveries) is not int
        or not (key is None or type(key) is bytes)
        or not (group is None or type(group) is bytes)
        or not (expires_at is None or type(expires_at) is float or type(expires_at) is int)
    ):
        raise ArgumentError(
            "priority and deliveries must be integers, expires_at a number or None, key and group bytes or None"
        )
    return traits


def _packed(values: dict[str, Any]) -> bytes:
    try:
        packed: bytes = msgpack.packb(values)
    except (ValueError, TypeError, OverflowError, BufferError) as error:
        raise ArgumentError(f"props cannot be packed: {error}") from error
    return packed
