"""What is searched, and what the numbers in a state stand for.

A state of the whole cluster is one tuple of numbers, so that millions can be kept, compared and hashed:

    state     (nodes, links, record, requests, clients, budget)
    nodes     the number of each node's state (`qpidha.testing.explorer.nodes`)
    links     (number, frames to who accepted it, frames to who opened it); None: that end is closed
    record    by number
    requests  (node, request, SENT, 0), (node, request, GIVEN_UP, 0) or (node, request, ANSWERED, answer)
    clients   (published, waiting, settles, names, acked, consumed, confirmed, dead); messages are bits
    budget    how often each of `LIMITED` may still happen
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import UUID

from qpidha.core.manager import Answer, Applied, Lost
from qpidha.core.ready import Request
from qpidha.settings import Settings
from qpidha.testing.explorer.life import SMALLEST
from qpidha.testing.explorer.nodes import Nodes
from qpidha.testing.explorer.tables import Table
from qpidha.types import Versioned

Queued: TypeAlias = "tuple[int, ...] | None"
State: TypeAlias = tuple[Any, ...]
Action: TypeAlias = tuple[Any, ...]
"""What happens, and to what: ("deliver", link, to who accepted it?), ("commit", node), …"""

FIN = 0
"""Stands among the frames of a link: the other end closed, or its process died."""
SENT, GIVEN_UP, ANSWERED = range(3)
LIMITED = ("publish", "accept", "move", "promote", "demote", "connect", "fault")
PUBLISH, ACCEPT, MOVE, PROMOTE, DEMOTE, CONNECT, FAULT = range(7)
PUBLISHED, WAITING, SETTLES, NAMES, ACKED, CONSUMED, CONFIRMED, DEAD = range(8)


@dataclass(frozen=True)
class Scope:
    """How large the cluster is, and how often things happen to it."""

    nodes: tuple[str, ...] = ("P", "B1", "B2")
    queues: int = 2
    publish: int = 3
    """Message n goes to queue n modulo ``queues``."""
    accept: int = 1
    move: int = 0
    promote: int = 2
    """Tries; each that is won is one more generation."""
    demote: int = 0
    connect: int = 3
    """Links that backups open, beyond those that are open at the beginning."""
    fault: int = 3
    """Crashes, cut links, time-outs, and answers of the manager that are waited for in vain."""
    settings: Settings = SMALLEST

    @property
    def budget(self) -> tuple[int, ...]:
        """Return how often each of `LIMITED` may happen."""
        return tuple(int(getattr(self, name)) for name in LIMITED)


class Tables:
    """Everything that has a number."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.count = len(scope.nodes)
        self.cluster = UUID(int=1)
        self.queues = tuple(UUID(int=10 + n) for n in range(scope.queues))
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
        """Who opened a link and who accepted it: its number says so."""
        return (link - 1) % self.count**2 // self.count, (link - 1) % self.count

    def free_link(self, opener: int, acceptor: int, taken: Container[int]) -> int:
        """Return the lowest number of a link between these nodes that is not taken."""
        link = 1 + opener * self.count + acceptor
        while link in taken:
            link += self.count**2
        return link

    def answer(self, number: int) -> Answer:
        """Positive: the request was applied, and this is the record now. Else it was refused."""
        current = self.records.values[abs(number)]
        if number > 0:
            assert current is not None
            return Applied(current)
        return Lost(current)
