"""What the commands of a scenario share: its world, its output, and how their arguments are read."""

from __future__ import annotations

from collections.abc import Callable

from qpidha.core.ready import CompareAndSet, Notice, Request, RoleChanged
from qpidha.events import NodeEvent
from qpidha.testing.scenarios.error import ScenarioError
from qpidha.testing.sim.clients import Clients
from qpidha.testing.sim.content import Content
from qpidha.testing.sim.link import End
from qpidha.testing.sim.node import SimNode
from qpidha.testing.sim.render import render_frame, render_notice, render_request
from qpidha.testing.sim.world import SMALL, World
from qpidha.types import QueueId, Versioned
from qpidha.wire.events import Frame

LINE_CHARS_MAX = 300
"""Longer lines of output are cut in the middle, to keep scenarios readable."""


class Commands:
    """Base of classes whose public methods are the commands of a scenario.

    The name of a method is the command; one that Python reserves ends in an underscore. Its arguments are the words
    behind the command, and its docstring is the reference.
    """

    def __init__(self) -> None:
        self.settings = SMALL
        """Of the nodes that the command ``nodes`` creates."""
        self.world: World
        """The simulated cluster; there is none before the command ``nodes``."""
        self.on_world: Callable[[World], None] = lambda world: None
        """Called with the world before its nodes start."""
        self.on_command: Callable[[str], None] = lambda line: None
        """Called with each line that is a command or a comment, before it is run."""
        self._lines: list[str] = []
        self._saved: dict[str, Content] = {}
        self._clones: dict[str, SimNode] = {}
        self._lost_record: Versioned | None = None
        self._commits = 0

    # --- output --------------------------------------------------------------------------------------

    def _say(self, line: str) -> None:
        if len(line) > LINE_CHARS_MAX:
            half = LINE_CHARS_MAX // 2
            line = f"{line[:half]} … {line[-half:]} ({len(line)} characters)"
        self._lines.append(line)

    def _sent(self, end: End, frame: Frame) -> None:
        names = end.node.name, end.other.node.name
        if self.world.network.waits(end.other):
            self._say(f"{names[0]} -> {names[1]} {render_frame(frame, self.world)} (waits)")

    def _noticed(self, node: SimNode, notice: Notice) -> None:
        if isinstance(notice, (RoleChanged, NodeEvent)):
            self._say(f"{node.name}: {render_notice(notice)}")

    def _requested(self, node: SimNode, request: Request) -> None:
        if isinstance(request, CompareAndSet):
            self._say(f"{node.name}: {render_request(request)}")

    # --- arguments -----------------------------------------------------------------------------------

    def _node(self, name: str) -> SimNode:
        return self._clones.get(name) or self.world.nodes[name]

    @staticmethod
    def _values(words: tuple[str, ...]) -> list[str]:
        """``v1..v9`` are nine values, ``v1..v9/2`` every second of them."""
        given: list[str] = []
        for word in words:
            first, dots, rest = word.partition("..")
            last, _, step = rest.partition("/")
            low = int(first.lstrip("v")) if dots else 0
            given += (
                [f"v{n}" for n in range(low, int(last.lstrip("v")) + 1, int(step or 1))] if dots else [word]
            )
        return given

    @staticmethod
    def _direction(words: str) -> tuple[str, str]:
        source, arrow, target = words.partition("->")
        if not arrow:
            raise ScenarioError(f"a direction is written P->B1, not {words}")
        return source, target

    def _queue(self, name: str) -> QueueId:
        return self.world.queues[name]

    def _ids(self, node: SimNode, queue: str, words: tuple[str, ...]) -> list[int]:
        held = {
            Clients.value_at(node, self._queue(queue), id): id
            for id in node.replica.queues[self._queue(queue)].held
        }
        return sorted(held[value] for value in self._values(words))
