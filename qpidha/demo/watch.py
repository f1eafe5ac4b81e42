"""Summarises the status of all brokers: which is primary, which are in sync, how far behind the others are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

STREAM: Final = "work"
"""The queue of the example broker through which the stream goes. There are others, which clients declare."""

Status = Mapping[str, Any]


class Phase(str, Enum):
    """The role of one node in the cluster, as the display names it."""

    DOWN = "down"
    CATCHING_UP = "catching up"
    IN_SYNC = "in sync"
    PRIMARY = "primary"


@dataclass(frozen=True, slots=True)
class View:
    """One look at all nodes. Where they disagree, the highest generation is right."""

    statuses: Mapping[str, Status | None]
    phases: Mapping[str, Phase]
    primary: str | None
    generation: int
    members: tuple[str, ...]
    behind: Mapping[str, int]
    """Operations that each backup has not acknowledged."""
    depth: int
    queue_bytes: int

    @property
    def all_in_sync(self) -> bool:
        """There is a primary whose every node is a member and follows it."""
        return self.primary is not None and all(
            phase in (Phase.PRIMARY, Phase.IN_SYNC) for phase in self.phases.values()
        )


def look(statuses: Mapping[str, Status | None]) -> View:
    """Make one picture of what the nodes say."""
    primaries = [s for s in statuses.values() if s and s["role"] in ("active", "recovering")]
    leader = max(primaries, key=lambda s: int(s["generation"]), default=None)
    members = tuple(leader["members"]) if leader else ()
    queues = [q for q in leader["queues"] if q["name"] == STREAM] if leader else []
    return View(
        statuses=statuses,
        phases={name: phase_of(name, status, leader) for name, status in statuses.items()},
        primary=leader["node"] if leader else None,
        generation=leader["generation"] if leader else 0,
        members=members,
        behind={s["node"]: s["behind"] for s in leader["sessions"]} if leader else {},
        depth=sum(q["depth"] for q in queues),
        queue_bytes=sum(q["bytes"] for q in queues),
    )


def phase_of(name: str, status: Status | None, leader: Status | None) -> Phase:
    """A backup is in sync if the primary counts on it *and* it follows the stream: not just by record."""
    if status is None:
        return Phase.DOWN
    if leader is not None and name == leader["node"]:
        return Phase.PRIMARY
    if leader is None or name not in leader["members"]:
        return Phase.CATCHING_UP
    states = [s["state"] for s in leader["sessions"] if s["node"] == name]
    ready = status["role"] == "ready" and status["generation"] == leader["generation"]
    return Phase.IN_SYNC if ready and "streaming" in states else Phase.CATCHING_UP


@dataclass(slots=True)
class Resync:
    """What one life of a node received to catch up."""

    messages: int
    nbytes: int


@dataclass(slots=True)
class Totals:
    """Counters that begin at 0 with every life of a process, summed over all lives."""

    seen: dict[tuple[str, int], Resync] = field(default_factory=dict)

    def note(self, name: str, life: int, status: Status) -> Resync:
        """Take the present counters of this life; they only grow."""
        self.seen[name, life] = Resync(status["resync_messages"], status["resync_bytes"])
        return self.seen[name, life]

    @property
    def messages(self) -> int:
        """How many messages were received."""
        return sum(r.messages for r in self.seen.values())

    @property
    def nbytes(self) -> int:
        """How many bytes were received."""
        return sum(r.nbytes for r in self.seen.values())
