"""What all events of a node have in common: a name, a level and a line for the log."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

HOLE = "…"
"""Stands in the name of a trouble for its subject: one trouble for each."""


class EventLevel(IntEnum):
    """How urgent an event is. The numbers are those of ``logging``."""

    INFO = 20
    """Part of normal work: a role, a resynchronisation, the end of a trouble."""
    WARNING = 30
    """Something is wrong; the node works on it or around it."""
    ERROR = 40
    """Something has failed for good: a node stops, or it could not stop cleanly."""


@dataclass(frozen=True, slots=True)
class NodeEvent:
    """Something that happened to a node and that an operator may want to know.

    Every kind of event has its own frozen class. Match on the class and read the fields; ``line`` is made from
    them for people and may change.
    """

    name: ClassVar[str]
    """The same for all events of one kind, in all releases (V5): for logs, metrics and `NodeStatus.troubles`."""
    level: ClassVar[EventLevel] = EventLevel.INFO

    @property
    def detail(self) -> str:
        """The fields in words. It may repeat what a peer sent: unprintable characters and all."""
        raise NotImplementedError

    @property
    def line(self) -> str:
        """One line for a log: the name and the detail."""
        return f"{self.name}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Trouble(NodeEvent):
    """Something that is wrong for a while: reported at each attempt that fails, until it is over.

    `NodeStatus.troubles` shows those that last. The log has a line when one begins, when its reason changes and when it
    ends, and reminders in between.
    """

    level: ClassVar[EventLevel] = EventLevel.WARNING
    fades: ClassVar[bool] = False
    """True: it ends when it is not reported again for a while. False: the node sees when it ends."""
    once: ClassVar[bool] = False
    """True: the log has no reminders of it."""

    @property
    def subject(self) -> str:
        """What it is about where there may be several: a peer, a queue, a method. Else empty."""
        return ""

    @property
    def cause(self) -> str:
        """The name with its subject: what `TroubleStatus.cause` says."""
        return self.cause_of(self.subject)

    @classmethod
    def cause_of(cls, subject: str = "") -> str:
        """The ``cause`` of troubles of this kind with this subject."""
        return cls.name.replace(HOLE, subject)

    @property
    def line(self) -> str:
        """One line for a log: the cause and the detail."""
        return f"{self.cause}: {self.detail}"
