"""What transactions changed on a simulated disk: its checks look at no more than this."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Touched:
    """What transactions changed on a disk since its checks looked, so that they look at no more than this."""

    values: set[str] = field(default_factory=set)
    """Values of replicated messages that came or went."""
    keys: set[bytes] = field(default_factory=set)
    """Keys of entries that came or went, in any keyed queue."""
    whole: bool = False
    """The disk became a copy: everything may have changed."""
