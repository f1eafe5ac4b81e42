"""A cluster manager that does nothing by itself: the caller makes requests arrive, answers arrive and nodes give up.

What a node reads, it reads at that moment: an answer that says "refused" comes with the newest record. (An older
one would be a read that is not linearizable; M2 asks for one that is.)
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from qpidha.core.manager import Answer, Applied, Lost, Read, Unknown
from qpidha.core.ready import CompareAndSet, Request
from qpidha.testing.sim.manager import SimManager
from qpidha.testing.sim.node import SimNode


@dataclass(eq=False)
class Asked:
    """A request under way."""

    node: SimNode
    boot: int
    request: Request
    abandoned: bool = False
    """True once the node has stopped waiting for the answer."""


class HeldManager(SimManager):
    """A cluster manager that is stepped by hand; while ``free`` it answers by itself, like its base class."""

    def __init__(self, other: SimManager) -> None:
        super().__init__(other.scheduler, timeout_s=other.timeout_s, delay=other.delay, late=other.late)
        self.nodes, self.on_change = other.nodes, other.on_change
        self.free = True
        self.asked: list[Asked] = []
        self.answers: list[tuple[Asked, Answer]] = []
        self.on_again: Callable[[SimNode, CompareAndSet], None] = lambda node, request: None
        """A node sends a compare-and-set again, because it got no answer (M2)."""
        self._given_up: set[tuple[str, int, Request]] = set()

    def request(self, node: SimNode, request: Request) -> None:
        if self.free:
            super().request(node, request)
            return
        if isinstance(request, CompareAndSet) and (node.name, node.boots, request) in self._given_up:
            self.on_again(node, request)
        self.asked.append(Asked(node, node.boots, request))

    def notify(self) -> None:
        if self.free:
            super().notify()

    # --- steps ---------------------------------------------------------------------------------------

    def arrive(self, asked: Asked) -> bool:
        """Apply a request. Returns whether it changed the record."""
        self.asked.remove(asked)
        answer = self._perform(asked.request)
        if not asked.abandoned:
            self.answers.append((asked, answer))
        return isinstance(answer, Applied)

    def answer(self, index: int) -> None:
        asked, answer = self.answers.pop(index)
        if isinstance(answer, Lost):
            answer = Lost(self.current)
        elif isinstance(answer, Read):
            answer = Read(self.current)
        asked.node.answered(asked.request, answer, asked.boot)

    def give_up(self, node: SimNode, request: CompareAndSet, rnd: random.Random) -> None:
        """Leave the node without an answer; the request may arrive later, or be lost."""
        self.answers = [
            (a, v) for a, v in self.answers if (a.node, a.boot, a.request) != (node, node.boots, request)
        ]
        if rnd.random() < 0.4:
            self.asked = [a for a in self.asked if (a.node, a.boot, a.request) != (node, node.boots, request)]
        for asked in self.asked:
            asked.abandoned |= (asked.node, asked.boot, asked.request) == (node, node.boots, request)
        self._given_up.add((node.name, node.boots, request))
        node.answered(request, Unknown(), node.boots)

    def waiting(self, node: SimNode) -> CompareAndSet | None:
        """The compare-and-set whose answer this node waits for."""
        flight = node.replica.manager.in_flight
        for asked in [*self.asked, *(asked for asked, _ in self.answers)]:
            here = (asked.node, asked.boot, asked.request) == (node, node.boots, flight)
            if here and not asked.abandoned:
                return flight
        return None

    def show(self, node: SimNode) -> None:
        """Show the current record to the node's watch."""
        if self.free:
            super().show(node)
        else:
            node.record_seen(self.current, node.boots)
