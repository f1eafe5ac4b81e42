"""Whoever wants to see a simulated run as values, not as lines of text: draw it, measure it, compare it.

An observer is told, and changes nothing: neither the run nor its hash. Add it to `World.observers` before
the world starts (for a scenario: in `Scenario.on_world`).
"""

from __future__ import annotations

from collections.abc import Sequence

from qpidha.core.manager import Answer
from qpidha.core.ready import Notice, Request
from qpidha.testing.sim.network import End
from qpidha.testing.sim.node import SimNode
from qpidha.types import Record
from qpidha.wire.events import Frame


class Observer:
    """Override what you want to hear of."""

    def said(self, line: str) -> None:
        """A line of the trace; what a walk does next starts with a star."""

    def sent(self, end: End, frame: Frame) -> None:
        """The node of this end sends; the frame is on its way to the other end, or will never get there."""

    def arrived(self, end: End, frame: Frame) -> None:
        """The node of this end is about to read a frame."""

    def noticed(self, node: SimNode, notice: Notice) -> None:
        """The core tells its embedder something: a role, a note, a link to close."""

    def recorded(self, record: Record) -> None:
        """The cluster manager's record is another one."""

    def requested(self, node: SimNode, request: Request) -> None:
        """A node asks the cluster manager."""

    def answered(self, node: SimNode, request: Request, answer: Answer) -> None:
        """The node learns the answer, or that there will be none."""

    def client(self, node: SimNode | None, what: str, values: Sequence[str]) -> None:
        """A client does something at a node (``publishes``, ``is given``, ``accepts``), or is told something.

        What it is told has the words of the trace: ``answers ok``, ``in doubt``, ``hands over (rewound)``.
        """
