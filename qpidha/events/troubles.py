"""Troubles of a node: with the cluster manager, with its links, with the broker that embeds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from qpidha.events.base import HOLE, Trouble
from qpidha.types import NodeId

# --- the cluster manager -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SessionTrouble(Trouble):
    """The session with the cluster manager is lost or cannot be opened. Other nodes may assume that this node is gone."""

    name: ClassVar = "session"
    reason: str

    @property
    def detail(self) -> str:
        """See `NodeEvent.detail`."""
        return self.reason


@dataclass(frozen=True, slots=True)
class ClusterManagerTrouble(Trouble):
    """The record could not be read or written. A primary serves on, unless a member has to be removed."""

    name: ClassVar = "cluster manager"
    reason: str

    @property
    def detail(self) -> str:
        """See `NodeEvent.detail`."""
        return self.reason


@dataclass(frozen=True, slots=True)
class RecordUnwatched(Trouble):
    """The watch of the record has ended. Until there is another, the node learns of changes late."""

    name: ClassVar = "record"
    reason: str

    @property
    def detail(self) -> str:
        """See `NodeEvent.detail`."""
        return self.reason


@dataclass(frozen=True, slots=True)
class LiveNodesUnwatched(Trouble):
    """The watch of the live nodes has ended. Until there is another, the node learns late which nodes live."""

    name: ClassVar = "live nodes"
    reason: str

    @property
    def detail(self) -> str:
        """See `NodeEvent.detail`."""
        return self.reason


@dataclass(frozen=True, slots=True)
class DecisionRefused(Trouble):
    """The promoter decided to promote or demote this node, and that was refused."""

    name: ClassVar = f"{HOLE} refused"
    fades: ClassVar = True
    decision: str
    """``promote`` or ``demote``."""
    reason: str

    @property
    def subject(self) -> str:
        """See `Trouble.subject`."""
        return self.decision

    @property
    def detail(self) -> str:
        """See `NodeEvent.detail`."""
        return self.reason


@dataclass(frozen=True, slots=True)
class PlaceGivenUp(Trouble):
    """The node cannot work: it keeps no session until it can work again, and as primary it hands over."""

    name: ClassVar = "place given up"
    reason: str

    @property
    def detail(self) -> str:
        """See `NodeEvent.detail`."""
        return self.reason


# --- links ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NoLinkToPrimary(Trouble):
    """This backup cannot connect to the primary, or the link ended. It is not in sync until it follows again."""

    name: ClassVar = "link to the primary"
    primary: NodeId
    reason: str

    @property
    def detail(self) -> str:
        """See `NodeEvent.detail`."""
        return f"{self.primary}: {self.reason}"


@dataclass(frozen=True, slots=True)
class LinkFromPeerFailed(Trouble):
    """A link that a peer opened failed: before its handshake was done, or because of what the peer or this node said."""

    name: ClassVar = f"link from {HOLE}"
    fades: ClassVar = True
    peer: str
    """The node if it said or proved which, else its host."""
    reason: str

    @property
    def subject(self) -> str:
        """See `Trouble.subject`."""
        return self.peer

    @property
    def detail(self) -> str:
        """See `NodeEvent.detail`."""
        return self.reason


@dataclass(frozen=True, slots=True)
class ProbeFailed(Trouble):
    """The transport's ``refuses`` raised an error, which is a bug of it. Whether that process has ended is not known."""

    name: ClassVar = f"probe of {HOLE}"
    fades: ClassVar = True
    address: str
    reason: str

    @property
    def subject(self) -> str:
        """See `Trouble.subject`."""
        return self.address

    @property
    def detail(self) -> str:
        """See `NodeEvent.detail`."""
        return self.reason


@dataclass(frozen=True, slots=True)
class CertificateExpires(Trouble):
    """The TLS certificate of this node expires soon or has expired. Reported once for each threshold."""

    name: ClassVar = "certificate"
    once: ClassVar = True
    certificate: str
    """Path of the file."""
    days_left: int
    """Less than so many days; 0: it has expired."""
    expires: str
    """When, in UTC, for people."""

    @property
    def detail(self) -> str:
        """See `NodeEvent.detail`."""
        if not self.days_left:
            return f"{self.certificate} has expired at {self.expires}: no new link can be opened with it"
        days = "1 day" if self.days_left == 1 else f"{self.days_left} days"
        return f"{self.certificate} expires in less than {days}, at {self.expires}"


@dataclass(frozen=True, slots=True)
class RenewedCertificateUnusable(Trouble):
    """The certificate files were replaced, and the new ones cannot be used. The old ones stay in use."""

    name: ClassVar = "renewed certificate"
    reason: str

    @property
    def detail(self) -> str:
        """See `NodeEvent.detail`."""
        return self.reason


# --- the broker ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BrokerMethodFailed(Trouble):
    """A method of the broker raised an error or did not return in time."""

    name: ClassVar = f"broker: {HOLE}"
    fades: ClassVar = True
    method: str
    reason: str

    @property
    def subject(self) -> str:
        """See `Trouble.subject`."""
        return self.method

    @property
    def detail(self) -> str:
        """See `NodeEvent.detail`."""
        return self.reason


@dataclass(frozen=True, slots=True)
class ListenerCutOff(Trouble):
    """A queue listener raised an error and is not called any more. The queue itself goes on, here and elsewhere."""

    name: ClassVar = f"listener of queue {HOLE}"
    queue: str
    """The name of the queue."""
    method: str
    error: str

    @property
    def subject(self) -> str:
        """See `Trouble.subject`."""
        return self.queue

    @property
    def detail(self) -> str:
        """See `NodeEvent.detail`."""
        return f"cut off: {self.method} raised {self.error}"
