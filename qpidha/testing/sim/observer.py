"""Observers get a simulated run as values, not as lines of text: to draw, measure or compare it.

An observer must not change the run, and does not change its hash. Add it to `World.observers` before
the world starts (for a scenario: in `Scenario.on_world`).
"""

from __future__ import annotations

from collections.abc import Sequence

from qpidha.core.manager import Answer
from qpidha.core.ready import Notice, Request
from qpidha.testing.sim.link import End
from qpidha.testing.sim.node import SimNode
from qpidha.types import Record
from qpidha.wire.events import Frame


class Observer:
    """Base class with methods that do nothing; override those you need."""

    def said(self, line: str) -> None:
        """A line of the trace; the next step of a walk starts with a star."""

    def sent(self, end: End, frame: Frame) -> None:
        """The node at this end sends a frame, which may be lost."""

    def arrived(self, end: End, frame: Frame) -> None:
        """A frame arrives at the node of this end, which did not process it yet."""

    def noticed(self, node: SimNode, notice: Notice) -> None:
        """The core of a node emits a notice: a role, an event, a link to close."""

    def recorded(self, record: Record) -> None:
        """The record of the cluster manager changed."""

    def requested(self, node: SimNode, request: Request) -> None:
        """A node sends a request to the cluster manager."""

    def answered(self, node: SimNode, request: Request, answer: Answer) -> None:
        """A node receives the answer to a request, or its failure."""

    def client(self, node: SimNode | None, what: str, values: Sequence[str]) -> None:
        """A client acts at a node (``publishes``, ``is given``, ``accepts``), or gets an answer.

        Answers have the words of the trace: ``answers ok``, ``in doubt``, ``hands over (rewound)``.
        """
