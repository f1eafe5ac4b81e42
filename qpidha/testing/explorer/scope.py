"""The scope of a search, and what the numbers in a state stand for.

A state of the whole cluster is one tuple of numbers, so that millions can be kept, compared and hashed:

    state     (nodes, links, record, requests, clients, budget)
    nodes     the number of each node's state (`qpidha.testing.explorer.nodes`)
    links     (number, frames to its acceptor, frames to its opener); None: that end is closed
    record    by number
    requests  (node, request, SENT, 0), (node, request, GIVEN_UP, 0) or (node, request, ANSWERED, answer)
    clients   (published, waiting, settles, names, acked, consumed, confirmed, dead, puts, object, marks, have, gone,
              deleting, commits, produced, kept, forgotten, fanned); messages, marks and queues are bits
    budget    how often each of `LIMITED` may still happen
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import UUID

from qpidha.core.births import born, configuration_id
from qpidha.core.manager import Answer, Applied, Lost
from qpidha.core.ready import Request
from qpidha.settings import Settings
from qpidha.testing.explorer.nodes import Nodes
from qpidha.testing.explorer.running_node import SMALLEST
from qpidha.testing.explorer.tables import Table
from qpidha.types import Entry, Versioned

Queued: TypeAlias = "tuple[int, ...] | None"
State: TypeAlias = tuple[Any, ...]
Action: TypeAlias = tuple[Any, ...]
"""An action and its arguments: ("deliver", link, whether to its acceptor), ("commit", node), …"""

FIN = 0
"""The end of a link, among its frames: the other end closed, or its process died."""
SENT, GIVEN_UP, ANSWERED = range(3)
LIMITED = (
    "publish", "accept", "move", "promote", "demote", "connect", "fault", "commit", "update", "delete", "declare", "put",
    "produce", "repeat", "keep", "give_up", "forget", "fan_out",
)  # fmt: skip
(
    PUBLISH,
    ACCEPT,
    MOVE,
    PROMOTE,
    DEMOTE,
    CONNECT,
    FAULT,
    COMMIT,
    UPDATE,
    DELETE,
    DECLARE,
    PUT,
    PRODUCE,
    REPEAT,
    KEEP,
    GIVE_UP,
    FORGET,
    FAN_OUT,
) = range(18)
PUBLISHED, WAITING, SETTLES, NAMES, ACKED, CONSUMED, CONFIRMED, DEAD = range(8)
PUTS, OBJECT, MARKS, HAVE, GONE, DELETING, COMMITS, PRODUCED = range(8, 16)
KEPT, FORGOTTEN, FANNED = range(16, 19)


@dataclass(frozen=True)
class Scope:
    """The size of the cluster, and how often each of `LIMITED` may happen."""

    nodes: tuple[str, ...] = ("P", "B1", "B2")
    queues: int = 2
    publish: int = 3
    """Message n goes to queue n modulo ``queues``."""
    accept: int = 1
    move: int = 0
    promote: int = 2
    """Attempts; each that succeeds is one more generation."""
    demote: int = 0
    connect: int = 3
    """Links that backups open, beyond those of the initial state."""
    fault: int = 3
    """Crashes, cut links, time-outs, and answers of the manager that do not come in time."""
    commit: int = 0
    """Commits of a publish, an object and the accept of a message, if there is one."""
    update: int = 0
    delete: int = 0
    """Deletions of a queue; what it holds goes with it, or to another queue."""
    declare: int = 0
    """Declarations of a queue whose name is free: it was deleted, or never declared."""
    put: int = 0
    """Puts of one object, always with the same key."""
    produce: int = 0
    """Publishes of a producer, which is registered in the initial state."""
    repeat: int = 0
    """Repetitions of its last publish, on whatever node believes it is primary."""
    keep: int = 0
    """Puts of an object of one node alone, always with the same key."""
    give_up: int = 0
    """Sequences of the producer that it uses for nothing."""
    forget: int = 0
    """Removals of the producer."""
    fan_out: int = 0
    """Publishes to the first two queues at once."""
    settings: Settings = SMALLEST

    @property
    def budget(self) -> tuple[int, ...]:
        """Return how often each of `LIMITED` may happen."""
        return tuple(int(getattr(self, name)) for name in LIMITED)


class Tables:
    """The values that numbers in states stand for."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.count = len(scope.nodes)
        self.cluster = UUID(int=1)
        self.queues = [born(1, 1 + n) for n in range(scope.queues)]
        """By number. Queues that are declared in the search are added at the end."""
        self.configuration = configuration_id(self.cluster)
        self.epoch: Entry = (0, 0)
        """Of the producer, once it is registered."""
        self.nodes = Nodes(scope.nodes, self.queues, scope.settings)
        self.frames = Table(b"")
        self.records = Table[Versioned | None](None)
        self.requests = Table[Request | None](None)

    def version(self, record: int) -> int:
        """Return the version of a record; 0 if there is none."""
        current = self.records.values[record]
        return current.version if current else 0

    def members(self, record: int) -> list[int]:
        """Return the numbers of the members that a record names."""
        current = self.records.values[record]
        names = self.scope.nodes
        return [names.index(m.node) for m in current.record.members] if current else []

    def ends(self, link: int) -> tuple[int, int]:
        """Return the nodes (opener, acceptor) of a link, which its number encodes."""
        return (link - 1) % self.count**2 // self.count, (link - 1) % self.count

    def free_link(self, opener: int, acceptor: int, taken: Container[int]) -> int:
        """Return the lowest number of a link between these nodes that is not taken."""
        link = 1 + opener * self.count + acceptor
        while link in taken:
            link += self.count**2
        return link

    def answer(self, number: int) -> Answer:
        """Return an answer by number: a positive one was applied and is the record now, else it was refused."""
        current = self.records.values[abs(number)]
        if number > 0:
            assert current is not None
            return Applied(current)
        return Lost(current)
