"""Coverage of events: many walks without a fencing prove nothing about fencing.

Counted from outside, by an `Observer`: frames on the wire, roles, events and refusals, requests to the manager and
their answers, changes of the record, fates of discarded messages, answers to clients. Faults are counted by
the world itself (`World.counts`), when they hit something.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from qpidha.core.manager import Answer
from qpidha.core.ready import HandOver, Notice, Request, RoleChanged
from qpidha.core.refusals import NOT_PRIMARY, STEPPED_DOWN, TAKEN_OVER
from qpidha.errors import FrameTooLarge, MalformedFrame, VersionMismatch
from qpidha.events import (
    CompareAndSetLost,
    DuplicateNodeId,
    FencedByPeer,
    NodeEvent,
    PublishersSlowed,
    RefusedByPrimary,
    RemovingMembers,
    Resynchronised,
    StalePrimaryFenced,
    SteppedDown,
    TooFewMembers,
    UnrecordedPrimary,
)
from qpidha.testing.sim.clients import TOO_FEW
from qpidha.testing.sim.manager import Fault
from qpidha.testing.sim.observer import Observer
from qpidha.testing.walks.changes import CHANGED
from qpidha.testing.walks.faults import FAULTS
from qpidha.testing.walks.levels import DRAWN
from qpidha.testing.walks.ownentries import DRAWN as OWN_DRAWN
from qpidha.testing.walks.producers import COUNTED
from qpidha.testing.walks.profile import ORDINARY, Profile
from qpidha.types import Generation, Record
from qpidha.wire.events import Frame, PlanDrop, Refused
from qpidha.wire.groups import GroupsDiffer, SubscribeGroups

if TYPE_CHECKING:
    from qpidha.testing.sim.link import End
    from qpidha.testing.sim.node import SimNode
    from qpidha.testing.sim.world import World


class Sightings(Observer):
    """Counts the events of one or more runs."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._roles: dict[tuple[str, int], str] = {}
        """The last role, by host and boot."""
        self._record: Record | None = None
        self._groups: dict[End, int] = {}
        """How many groups a backup has sent digests of, by the primary's end of the link."""
        self._unserved: set[Generation] = set()
        """Generations after the first of a run whose primary has not answered anybody yet."""

    def watch(self, world: World) -> None:
        """Count the run of this world, from now on."""
        self._roles = {}
        self._record = None
        self._groups = {}
        self._unserved = set()
        self.counts["runs"] += 1
        world.observers.append(self)

    def said(self, line: str) -> None:
        """Count a step of a walk."""
        if line.startswith("* "):
            self.counts[f"step {line[2:]}"] += 1

    def recorded(self, record: Record) -> None:
        """Count a change of the record by its kind (`change_of`)."""
        change = change_of(self._record, record)
        self.counts[f"record {change}"] += 1
        if change == "promotion" and record.generation > FIRST:
            self._unserved.add(record.generation)
        self._record = record

    def let_go(self) -> None:
        """Keep nothing of the last world: what was counted goes to another process."""
        self._groups = {}

    def _serves(self, node: SimNode) -> None:
        """Count a failover when the node serves its generation for the first time."""
        generation = node.replica.generation
        if generation in self._unserved:
            self._unserved.discard(generation)
            self.counts["failover"] += 1

    def arrived(self, end: End, frame: Frame) -> None:
        """Count a frame by its type, its refusal or what it drops."""
        self.counts[f"frame {type(frame.event).__name__}"] += 1
        if isinstance(frame.event, Refused):
            self.counts[f"refusal {frame.event.code}"] += 1
        elif isinstance(frame.event, PlanDrop):
            self.counts[f"plan drops {'staged' if frame.event.staged else 'held'}"] += 1
        elif isinstance(frame.event, SubscribeGroups):
            self._groups[end] = len(frame.event.digests)
        elif isinstance(frame.event, GroupsDiffer):
            differing = len(frame.event.groups)
            self.counts["groups different"] += differing
            self.counts["groups equal"] += self._groups.pop(end.other) - differing

    def noticed(self, node: SimNode, notice: Notice) -> None:
        """Count a change of role, an event or the fates of discarded messages."""
        match notice:
            case RoleChanged(role, _):
                life = (node.host, node.boots)
                before = self._roles.get(life, "joining")
                self._roles[life] = role.value
                self.counts[f"role {before} > {role.value}"] += 1
            case NodeEvent():
                self.counts[f"event {type(notice).__name__}"] += 1
            case HandOver(messages):
                for message in messages:
                    self.counts[f"fate {message.fate.value}"] += 1
                self._serves(node)
            case _:
                pass

    def answered(self, node: SimNode, request: Request, answer: Answer) -> None:
        """Count a request to the cluster manager by its answer."""
        self.counts[f"{type(request).__name__} {type(answer).__name__}"] += 1

    def client(self, node: SimNode | None, what: str, values: Sequence[str]) -> None:
        """Count an action of a client or its answer."""
        self.counts[f"client {what}"] += 1
        if node is not None and what == "answers ok":
            self._serves(node)

    @property
    def failovers(self) -> int:
        """The number of promotions, after the first of each run, that resumed the service.

        That is: in their generation a publish was answered OK, or what the flip to it had discarded was handed over. Both
        happen only once all members have its history.
        """
        return self.counts["failover"]

    def never(self, profile: Profile = ORDINARY) -> list[str]:
        """Return the names that walks of this profile must count, and that were never counted."""
        return [name for name in complete(profile).expected if not self.counts[name]]


def change_of(old: Record | None, new: Record) -> str:
    """Return the kind of the change from one record to the next."""
    if old is None:
        return "founded"
    if new.generation > old.generation:
        return "promotion"
    if new.primary is None and old.primary is not None:
        return "hand-over"
    return "removal" if len(new.members) < len(old.members) else "addition"


FIRST: Final = 1
"""The generation that every cluster begins with."""

EXPECTED: Final = (
    *(f"frame {name}" for name in (
        "Hello", "Welcome", "Refused", "Fenced", "Subscribe", "SubscribeQueue", "SubscribeGroups", "GroupsDiffer",
        "SubscribeRest", "PlanQueue", "PlanDrop", "PlanMessages", "PlanEnd", "Progress", "Resubscribe",
        "Operations", "Acknowledged", "Established",
    )),
    *(f"event {event.__name__}" for event in (
        Resynchronised, DuplicateNodeId, FencedByPeer, CompareAndSetLost, SteppedDown, RemovingMembers,
        PublishersSlowed, RefusedByPrimary, StalePrimaryFenced, TooFewMembers, UnrecordedPrimary,
    )),
    *(f"role {name}" for name in (
        "joining > catch-up", "catch-up > ready", "ready > catch-up", "catch-up > joining", "ready > joining",
        "joining > recovering", "ready > recovering", "ready > active", "recovering > active", "recovering > joining",
        "active > joining", "ready > stopped", "joining > stopped", "joining > active", "catch-up > active",
        "catch-up > recovering",
    )),
    *(kind.counter for kind in FAULTS),
    *(f"compare-and-set {fault.value}" for fault in Fault),
    *(f"refusal {code}" for code in (
        MalformedFrame.code, FrameTooLarge.code, VersionMismatch.code, NOT_PRIMARY, TAKEN_OVER, STEPPED_DOWN,
    )),
    *(f"record {name}" for name in (
        "founded", "promotion", "hand-over", "removal", "addition",
    )),
    *(f"start {name}" for name in (
        "damaged", "may-found", "founder", "wiped", "new", "member", "other-epoch", "not-member",
    )),
    *(f"plan drops {name}" for name in ("held", "staged")),
    *(f"groups {name}" for name in ("equal", "different")),
    *(f"damaged frame found {where}" for where in ("in the frame", "by the transport")),
    *(f"damage {name}" for name in ("found", "harmless")),
    *(f"power cut left {name} of a transaction" for name in ("all", "nothing")),
    *(f"wrong promotion {name}" for name in ("refused", "tried")),
    "older copy corrected by difference",
    "messages read again",
    "staged messages read again",
    "plan adopted from the disk",
    *(f"CompareAndSet {name}" for name in ("Applied", "Lost", "NotSent", "Unknown")),
    *(f"ReadRecord {name}" for name in ("Read", "NotSent", "Unknown")),
    *(f"fate {name}" for name in ("rewound", "undone-move")),
    *(f"client {name}" for name in (
        "answers ok", "in doubt", "confirms settle", "settle in doubt", "is given", "publishes", "accepts", "moves",
        TOO_FEW,
    )),
)  # fmt: skip
"""The counters that some thousand ordinary walks must reach."""


@dataclass(frozen=True, slots=True)
class Complete:
    """What walks of a profile must count, and how many walks that takes."""

    expected: tuple[str, ...]
    runs: int


COMPLETE_RUNS: Final = 3000
"""So many ordinary walks. The rarest, a length that is damaged into one too large, comes in one walk of 400: 3,000
leave it out once in 1,800 times, 5,000 once in 250,000."""
CHANGED_RUNS: Final = 500
"""So many walks of the profile `changes`. The rarest, a plan that is taken back, comes in one of 33."""


def complete(profile: Profile) -> Complete:
    """Return what walks of this profile must count."""
    return (
        Complete((*CHANGED, *DRAWN, *OWN_DRAWN, *COUNTED), CHANGED_RUNS)
        if profile.changes and profile.changing == 1.0
        else Complete(EXPECTED, COMPLETE_RUNS)
    )
