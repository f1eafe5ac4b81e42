"""Events of a node as a process: its role, its links, its event loop, its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from qpidha.events.base import EventLevel, NodeEvent
from qpidha.types import Generation, Role


@dataclass(frozen=True, slots=True)
class RoleEntered(NodeEvent):
    """The node has another role, or the same one in another generation."""

    name: ClassVar = "role"
    role: Role
    generation: Generation

    @property
    def detail(self) -> str:
        """See `NodeEvent.detail`."""
        return f"{self.role.value}, generation {self.generation}"


@dataclass(frozen=True, slots=True)
class LinkClosed(NodeEvent):
    """A backup's link to this node has ended in order: it stopped, will connect again, or this node is no primary now."""

    name: ClassVar = "link closed"
    peer: str
    """The node if it said or proved which, else its host."""
    how: str
    """What is known of the end of the link."""

    @property
    def detail(self) -> str:
        """See `NodeEvent.detail`."""
        return f"{self.peer}: {self.how}"


@dataclass(frozen=True, slots=True)
class BrokerUnfit(NodeEvent):
    """The broker cannot serve as primary, so that this node leaves the place to others for ``unfit_delay_s``."""

    name: ClassVar = "unfit"
    reason: str

    @property
    def detail(self) -> str:
        """See `NodeEvent.detail`."""
        return self.reason


@dataclass(frozen=True, slots=True)
class SessionTimeoutRaised(NodeEvent):
    """The cluster manager grants a longer session time-out than ``session_ttl_s``.

    Other nodes learn later that this one is dead. Reported when the granted time changes.
    """

    name: ClassVar = "session time-out raised"
    level: ClassVar = EventLevel.WARNING
    asked_s: float
    granted_s: float

    @property
    def detail(self) -> str:
        """See `NodeEvent.detail`."""
        return f"{self.granted_s:g} s instead of {self.asked_s:g} s"


@dataclass(frozen=True, slots=True)
class LoopStalled(NodeEvent):
    """The event loop stood still: for that time nothing in this process ran.

    Usually the broker computes or waits in the event loop. A stall longer than ``heartbeat_timeout_s`` costs links.
    """

    name: ClassVar = "event loop stalled"
    worst_s: float
    """The longest stall, in seconds, since the last event of this kind."""
    count: int
    """How many stalls there were since then."""

    @property
    def detail(self) -> str:
        """See `NodeEvent.detail`."""
        more = "" if self.count == 1 else f", the longest of {self.count}"
        return f"{self.worst_s:.2f} s{more}"


@dataclass(frozen=True, slots=True)
class TroubleOver(NodeEvent):
    """A trouble has ended."""

    name: ClassVar = "trouble over"
    cause: str
    """Of the trouble: `Trouble.cause`."""
    attempts: int
    """How often it was reported."""
    lasted_s: float
    """From the first report until now."""
    silent_s: float | None = None
    """It ended because it was not reported for so long. None: the node saw that it ended."""

    @property
    def detail(self) -> str:
        """See `NodeEvent.detail`."""
        how = "in order again" if self.silent_s is None else f"not seen again for {self.silent_s:.0f} s"
        return f"{how}; it happened {times(self.attempts)} in {self.lasted_s:.0f} s"

    @property
    def line(self) -> str:
        """One line for a log: the cause and the detail."""
        return f"{self.cause}: {self.detail}"


def times(count: int) -> str:
    """How often, in words."""
    return "1 time" if count == 1 else f"{count} times"


@dataclass(frozen=True, slots=True)
class NodeFailing(NodeEvent):
    """The node stops because of an error: of its store, of an adapter, or of this library. Others take over."""

    name: ClassVar = "stopping"
    level: ClassVar = EventLevel.ERROR
    error: BaseException

    @property
    def detail(self) -> str:
        """See `NodeEvent.detail`."""
        return repr(self.error)


@dataclass(frozen=True, slots=True)
class ReleaseFailed(NodeEvent):
    """While it stopped, the node could not release something. The log has the traceback."""

    name: ClassVar = "release failed"
    level: ClassVar = EventLevel.ERROR
    what: str
    """The session, the links, the store, the broker or the control socket."""
    error: BaseException

    @property
    def detail(self) -> str:
        """See `NodeEvent.detail`."""
        return f"releasing {self.what}: {self.error!r}"


@dataclass(frozen=True, slots=True)
class NodeStopped(NodeEvent):
    """The node has stopped as it was asked to, and released everything."""

    name: ClassVar = "stopped"
    reason: str

    @property
    def detail(self) -> str:
        """See `NodeEvent.detail`."""
        return self.reason


@dataclass(frozen=True, slots=True)
class NodeFailed(NodeEvent):
    """The node has stopped because of an error, or without having released everything. End its process."""

    name: ClassVar = "failed"
    level: ClassVar = EventLevel.ERROR
    reason: str
    held: tuple[str, ...]
    """What was not released in time. It may still be in use by this process."""

    @property
    def detail(self) -> str:
        """See `NodeEvent.detail`."""
        more = f"; not released in time: {', '.join(self.held)}" if self.held else ""
        return f"{self.reason}{more}"

    @property
    def line(self) -> str:
        """One line for a log. It begins like that of `NodeStopped`: who looks for the end of a node finds both."""
        return f"{NodeStopped.name}: {self.detail}"
