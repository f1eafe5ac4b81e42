"""The arguments of a queue: what is fixed at its declaration and decides how it is delivered and limited."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from enum import Enum
from typing import Any, Final

import msgpack

from qpidha.checks import instance_of, integer, optional
from qpidha.errors import ArgumentError

COUNT = optional(integer(1, 2**63 - 1))
NAME = optional(instance_of(str, what="text"))
FLAG = instance_of(bool)


class Overflow(Enum):
    """What happens to a publish that does not fit into a queue with a limit."""

    REFUSE = "refuse"
    """It is refused with `QueueFull`."""
    DROP_OLDEST = "drop-oldest"
    """The oldest messages of the lowest priority are dropped, in the same operation (rule OV1)."""
    DEAD_LETTER = "dead-letter"
    """They are moved to the queue for dead letters, in the same operation."""


OVERFLOW = instance_of(Overflow)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueArguments:
    """How a queue is delivered and limited. Give `encode` to ``Node.declare(arguments=)``.

    Raises:
        ArgumentError: A value has a wrong type or is out of range, or two of them contradict each other.

    >>> QueueArguments.decode(QueueArguments(messages_max=5).encode()).messages_max
    5
    """

    messages_max: int | None = None
    """Messages that it holds at most; None: no limit."""
    bytes_max: int | None = None
    """Bytes of data that it holds at most; None: no limit."""
    overflow: Overflow = Overflow.REFUSE
    """What happens at a limit."""
    delivery_limit: int | None = None
    """A message whose delivery has failed so often is rejected; None: it is delivered for ever."""
    dead_letters: str | None = None
    """The queue that takes rejected and expired messages, and those driven out at a limit; None: they are dropped."""
    fair_share: int | None = None
    """Messages of one level that are delivered before a lower level has its turn; None: the highest level first."""
    expires: bool = True
    """Messages expire in this queue. Give False to a queue for dead letters: what expired elsewhere stays there then."""
    groups: bool = False
    """The messages of one group go to one consumer at a time."""
    own: bytes = b""
    """Arguments that only the broker understands."""

    def __post_init__(self) -> None:
        for name in ("messages_max", "bytes_max", "delivery_limit", "fair_share"):
            COUNT(name, getattr(self, name))
        OVERFLOW("overflow", self.overflow)
        NAME("dead_letters", self.dead_letters)
        FLAG("expires", self.expires)
        FLAG("groups", self.groups)
        instance_of(bytes)("own", self.own)
        if self.overflow is Overflow.DEAD_LETTER and self.dead_letters is None:
            raise ArgumentError("dead_letters must name a queue if overflow is DEAD_LETTER")

    @property
    def limited(self) -> bool:
        """Whether the queue has a limit."""
        return self.messages_max is not None or self.bytes_max is not None

    def encode(self) -> bytes:
        """The arguments as bytes; equal arguments give equal bytes. Defaults take no space."""
        said = {name: value for name, value in asdict(self).items() if value != getattr(DEFAULTS, name)}
        if "overflow" in said:
            said["overflow"] = self.overflow.value
        packed: bytes = msgpack.packb(said) if said else b""
        return packed

    @classmethod
    def decode(cls, arguments: bytes) -> QueueArguments:
        """The inverse of `encode`. Arguments that it does not know, of a later release, are ignored.

        Raises:
            ArgumentError: The bytes are no arguments of this library.
        """
        try:
            values: dict[str, Any] = msgpack.unpackb(arguments) if arguments else {}
            known = {field.name: values[field.name] for field in fields(cls) if field.name in values}
            if "overflow" in known:
                known["overflow"] = Overflow(known["overflow"])
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise ArgumentError(f"these are no arguments of `QueueArguments`: {error}") from error
        return cls(**known)


DEFAULTS: Final = QueueArguments()
