"""The sections of a message that a broker looks at (AMQP 1.0, 3.2). The body is never opened.

A message is kept as its publisher encoded it. Only the number of failed deliveries, in the header, is
changed, when it is delivered again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from amqp_broker.codec import FALSE, NULL, TRUE, DecodeError, decode, described, listed, ubyte, uint

HEADER, DELIVERY_ANNOTATIONS, MESSAGE_ANNOTATIONS, PROPERTIES, APPLICATION = 0x70, 0x71, 0x72, 0x73, 0x74
NAMES = {
    "amqp:header:list": HEADER,
    "amqp:delivery-annotations:map": DELIVERY_ANNOTATIONS,
    "amqp:message-annotations:map": MESSAGE_ANNOTATIONS,
    "amqp:properties:list": PROPERTIES,
    "amqp:application-properties:map": APPLICATION,
}
SECTIONS_BYTES_MAX = 256 * 1024
"""Before the body. Reading them takes time in which the broker does nothing else."""
DEFAULT_PRIORITY = 4
PUBLISHER = "x-opt-publisher"
NUMBER = "x-opt-number"
"""Message annotations: who numbers its messages, and the number of this one (from 1, without gaps)."""


@dataclass(slots=True)
class Sections:
    """What the sections before the body say."""

    header: list[Any] = field(default_factory=list)
    """durable, priority, ttl, first-acquirer, delivery-count; what is missing at the end has its default."""
    header_end: int = 0
    """Where the header ends; 0: there is none."""
    annotations: dict[Any, Any] = field(default_factory=dict)
    properties: list[Any] = field(default_factory=list)
    application: dict[Any, Any] = field(default_factory=dict)

    def _header(self, index: int) -> Any:
        return self.header[index] if index < len(self.header) else None

    def _property(self, index: int) -> Any:
        return self.properties[index] if index < len(self.properties) else None

    @property
    def priority(self) -> int:
        value = self._header(1)
        return DEFAULT_PRIORITY if value is None else int(value)

    @property
    def ttl_ms(self) -> int | None:
        value = self._header(2)
        return None if value is None else int(value)

    @property
    def delivery_count(self) -> int:
        return int(self._header(4) or 0)

    @property
    def to(self) -> str | None:
        value = self._property(2)
        return None if value is None else str(value)

    @property
    def subject(self) -> str:
        """The routing key."""
        return str(self._property(3) or "")

    @property
    def expires_ms(self) -> int | None:
        value = self._property(8)
        return None if value is None else int(value)

    @property
    def group(self) -> bytes | None:
        value = self._property(10)
        return None if value is None else str(value).encode()

    @property
    def number(self) -> tuple[str, int] | None:
        """Publisher and number, if it has both."""
        if PUBLISHER not in self.annotations:
            return None
        publisher, number = self.annotations[PUBLISHER], self.annotations.get(NUMBER)
        if not isinstance(publisher, str) or not isinstance(number, int) or isinstance(number, bool):
            raise DecodeError(f"{PUBLISHER} must be text and {NUMBER} a number")
        return publisher, number


def read(data: bytes) -> Sections:
    """The sections before the body.

    Raises:
        DecodeError: It is no message.
    """
    if len(data) <= SECTIONS_BYTES_MAX:
        return _read(data)
    try:
        return _read(data[:SECTIONS_BYTES_MAX])
    except DecodeError as error:
        raise DecodeError(f"{error}, or has more than {SECTIONS_BYTES_MAX} bytes before its body") from error


def _read(data: bytes) -> Sections:
    found, at, end = Sections(), 0, len(data)
    while at < end:
        if data[at] != 0:
            raise DecodeError("a message consists of sections with a descriptor")
        if end > at + 2 and data[at + 1] == 0x53 and not HEADER <= data[at + 2] <= APPLICATION:
            break  # The body; by far the most frequent form.
        descriptor, start = decode(data, at + 1)
        code = NAMES.get(descriptor, descriptor)
        if code not in range(HEADER, APPLICATION + 1):
            break
        if code == HEADER and at > 0:
            raise DecodeError("the header is not the first section")
        value, at = _section(data, start, code)
        if code == HEADER:
            found.header, found.header_end = value, at
            _check(value, HEADER_FIELDS)
        elif code == MESSAGE_ANNOTATIONS:
            found.annotations = value
        elif code == PROPERTIES:
            found.properties = value
            _check(value, PROPERTY_FIELDS)
        elif code == APPLICATION:
            found.application = value
    return found


def _section(data: bytes, at: int, code: int) -> tuple[Any, int]:
    value, end = decode(data, at)
    if not isinstance(value, list if code in (HEADER, PROPERTIES) else dict):
        raise DecodeError(f"section {code:#x} has another type than the specification says")
    return value, end


U32_MAX = (1 << 32) - 1
HEADER_FIELDS = {1: ("priority", 8), 2: ("ttl", 32), 4: ("delivery-count", 32)}
PROPERTY_FIELDS = {8: ("absolute-expiry-time", 63)}
"""Numbers that the broker uses: their places, names and bits."""


def _check(values: list[Any], fields: dict[int, tuple[str, int]]) -> None:
    """Raise `DecodeError` for a number that the broker could not write again when it delivers the message."""
    for place, (name, bits) in fields.items():
        value = values[place] if place < len(values) else None
        if value is not None and (type(value) is not int or not 0 <= value < 1 << bits):
            raise DecodeError(f"{name} is a number of at most {bits} bits, not {str(value)[:40]!r}")


def with_delivery_count(data: bytes, count: int) -> bytes:
    """The message with another number of failed deliveries in its header."""
    found, count = read(data), min(count, U32_MAX)
    durable, priority, ttl, first = (found._header(n) for n in range(4))
    header = listed(
        NULL if durable is None else TRUE if durable else FALSE,
        NULL if priority is None else ubyte(priority),
        NULL if ttl is None else uint(ttl),
        FALSE if first is None or count else TRUE if first else FALSE,
        uint(count),
    )
    return described(HEADER, header) + data[found.header_end :]
