"""Scenarios as text: commands, and under each what came of it. A difference from the file is a failed test.

    publish P q v5                      a command, at the start of a line
        P -> B1 [1@1] operations 6: …   what it led to: written by the interpreter, compared by the test
    # a comment                         kept as it is

Nothing takes time but `wait`: after each command everything runs that can run at this instant. What is to
stay under way is held back by name: a direction of the network, a disk, an answer of the manager.

Frames are shown as [session@generation] when they *arrive*; a frame that is held back is shown twice, first
marked "(waits)". `COMMANDS` lists the language; its docstrings are the reference.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Final

from qpidha.seq import SequenceSet
from qpidha.testing.invariants.violation import Violation
from qpidha.testing.scenarios.stage import ScenarioError, Stage
from qpidha.testing.sim.render import render_ids, render_lineage

INDENT: Final = "    "
ONLINE: Final = frozenset({"S2", "S3", "F1", "F2", "F3", "I1", "R-a", "R-b", "R-g", "X2"})
"""Watched at every event: they hold if the scenario got this far."""


def collapsed(lines: list[str]) -> list[str]:
    """The same lines, each repetition in a row counted instead of repeated."""
    counted = [(line, len(list(group))) for line, group in groupby(lines)]
    return [line if count == 1 else f"{line} ({count} times)" for line, count in counted]


class Scenario(Stage):
    """Interprets one text."""

    def run(self, text: str) -> str:
        """The text with the outputs that it should have."""
        result: list[str] = []
        for number, line in enumerate(text.splitlines(), 1):
            if line.startswith(INDENT):
                continue
            result.append(line)
            self.on_command(line)
            if not line.strip() or line.startswith("#"):
                continue
            try:
                self._command(*line.split())
            except (ScenarioError, Violation, KeyError, TypeError) as error:
                what = f"line {number}: {line}: {type(error).__name__}: {error}"
                raise ScenarioError("\n".join([*result, *self._lines, what])) from error
            result += [INDENT + output for output in collapsed(self._lines)]
            self._lines = []
        return "\n".join(result) + "\n"

    def _command(self, name: str, *words: str) -> None:
        method: Callable[..., None] | None = COMMANDS.get(name)
        if method is None:
            raise ScenarioError(f"no such command: {name}")
        method(self, *words)
        if name != "settings":
            self.world.scheduler.run_for(0.0)

    # --- commands: looking ---------------------------------------------------------------------------

    def state(self, *names: str) -> None:
        """``state`` or ``state B1``: roles, and what is durable."""
        for node in [self._node(name) for name in names] or list(self.world.nodes.values()):
            content = node.disk.content
            self._say(f"{node.name} is {node.role.value}, stored generation {content.status.generation}")
            for id, queue in content.queues.items():
                values = " ".join(queue.held[i].value for i in sorted(queue.held)) or "nothing"
                ids = render_ids(SequenceSet(queue.held))
                lineage = render_lineage(queue.lineage)
                name = self.world.queue_name(id)
                self._say(f"  {name} lineage {lineage} next {queue.next} held {ids}: {values}")
            for (_, generation, id_), (label, fate, message) in content.shelf.items():
                self._say(f"  quarantine {label} {id_}@{generation} {fate.value}: {message.value}")

    def expect(self, *words: str) -> None:
        """``expect FACT`` or ``expect not FACT``.

        Of all values named, or of none: ``acked v1 v2``, ``confirmed v1`` (its settle), ``dead v1`` (handed
        over). Of nodes: ``members P B1``, ``primary P``, ``role B1 ready``, ``holds B1 q v1 v2`` (exactly
        these, in this order).
        """
        wanted = words[0] != "not"
        what, *rest = words if wanted else words[1:]
        checker = self.world.checker
        values = {"acked": checker.acked, "confirmed": checker.confirmed, "dead": checker.dead}.get(what)
        if values is not None:
            wrong = [value for value in rest if (value in values) != wanted]
            if wrong:
                raise ScenarioError(f"this is not so: {' '.join(wrong)}")
        elif self._holds(what, rest) != wanted:
            raise ScenarioError("this is not so")

    def _holds(self, what: str, rest: list[str]) -> bool:
        world = self.world
        match what:
            case "members":
                current = world.manager.current
                return current is not None and {m.node for m in current.record.members} == set(rest)
            case "primary":
                return self._node(rest[0]) in world.primaries
            case "role":
                return self._node(rest[0]).role.value == rest[1]
            case "holds":
                queue = self._node(rest[0]).disk.content.queues[self._queue(rest[1])]
                return [queue.held[i].value for i in sorted(queue.held)] == self._values(tuple(rest[2:]))
            case _:
                raise ScenarioError(f"nothing is known of {what}")

    def heal(self) -> None:
        """End all faults and demand that everybody becomes a member, in order, equal."""
        shown, self._lines = self._lines, []
        self.world.heal()
        self._lines = shown

    def drain(self, queue: str) -> None:
        """``drain q``: consume everything on the primary; shows it in order."""
        primary = self.world.primary
        if primary is None:
            raise ScenarioError("nobody is primary")
        id, values = self._queue(queue), []
        while found := self.world.clients.deliver(primary, id, again=True):
            values.append(found[1])
            self.world.clients.accept(primary, id, [found[0]])
        shown, self._lines = self._lines, []
        self.world.scheduler.run_for(0.0)
        self._lines = [line for line in shown if "->" not in line and "confirms" not in line]
        self._say(f"drained: {' '.join(values) or 'nothing'}")

    def check(self, *rules: str) -> None:
        """``check S1 S4 R-a``: these hold now (S1, S4, D8, R-a are looked at again; others are watched always)."""
        unknown = set(rules) - ONLINE - {"S1", "S4", "D8"}
        if unknown:
            raise ScenarioError(f"nobody watches {sorted(unknown)}")
        checker = self.world.checker
        checker.safe("S1")
        for node in self.world.nodes.values():
            checker.ordered(node)
            if node.up and node.driver.idle and node.replica.out.empty:
                checker.same(node)


COMMANDS: Final[dict[str, Callable[..., None]]] = {
    name.rstrip("_"): method
    for owner in (Stage, Scenario)
    for name, method in vars(owner).items()
    if callable(method) and not name.startswith("_") and name != "run"
}
"""The language."""
