"""Commands of a scenario that show and check the state of a cluster."""

from __future__ import annotations

from itertools import chain
from typing import Final

from qpidha.core.configuration import read_key
from qpidha.core.explain import conclude, explain
from qpidha.seq import SequenceSet
from qpidha.testing.invariants.memory import same
from qpidha.testing.scenarios.commands import Commands
from qpidha.testing.scenarios.error import ScenarioError
from qpidha.testing.sim.render import render_ids, render_lineage
from qpidha.types import level_of

ONLINE: Final = frozenset({"S2", "S3", "S8", "F1", "F2", "F3", "I1", "R-a", "R-b", "R-g", "X2"})
"""Checked at every event: they hold if the scenario got this far."""


class CheckCommands(Commands):
    """Commands that show and check."""

    def state(self, *names: str) -> None:
        """``state`` or ``state B1``: show roles, and what is durable."""
        for node in [self._node(name) for name in names] or list(self.world.nodes.values()):
            content = node.disk.content
            self._say(f"{node.name} is {node.role.value}, stored generation {content.status.generation}")
            for id, queue in chain(content.queues.items(), content.local.items()):
                held = [queue.held[i] for i in sorted(queue.held)]
                said = ["/".join(read_key(m.props)) if queue.keyed else m.value for m in held]
                values = " ".join(said) or "nothing"
                ids = render_ids(SequenceSet(queue.held))
                lineage = render_lineage(queue.lineage)
                name = self.world.queue_name(id)
                if id in content.local:
                    name += f" ({level_of(id).name.lower()})"
                self._say(f"  {name} lineage {lineage} next {queue.next} held {ids}: {values}")
            for (_, generation, id_), (label, fate, message) in content.shelf.items():
                self._say(f"  quarantine {label} {id_}@{generation} {fate.value}: {message.value}")

    def expect(self, *words: str) -> None:
        """``expect FACT`` or ``expect not FACT``: fail unless it holds.

        True of all values named (with ``not``: of none): ``acked v1 v2``, ``confirmed v1`` (its accept), ``dead v1``
        (handed over as rewound). True of nodes: ``members P B1``, ``primary P``, ``role B1 ready``, ``holds B1 q
        v1 v2`` (exactly these, in this order).
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
                raise ScenarioError(f"no such fact: {what}")

    def why(self, name: str, queue: str, id: str, generation: str = "") -> None:
        """``why P q 3`` or ``why P q 3 1``: show what P says of the message with this id; of generation 1."""
        given_by = int(generation) if generation else None
        found = conclude(explain(self._node(name).replica, self._queue(queue), int(id), given_by))
        for line in found.lines:
            self._say(line)

    def heal(self) -> None:
        """``heal``: end all faults, wait, and check that all nodes are members and equal."""
        shown, self._lines = self._lines, []
        self.world.heal()
        self._lines = shown

    def drain(self, queue: str) -> None:
        """``drain q``: deliver and accept every message on the primary, and show them in order."""
        primary = self.world.primary
        if primary is None:
            raise ScenarioError("no node is primary")
        id, values = self._queue(queue), []
        while found := self.world.clients.deliver(primary, id, again=True):
            values.append(found[1])
            if not self.world.clients.accept(primary, id, [found[0]]):
                raise ScenarioError("there are too few members")
        shown, self._lines = self._lines, []
        self.world.scheduler.run_for(0.0)
        self._lines = [line for line in shown if "->" not in line and "confirms" not in line]
        self._say(f"drained: {' '.join(values) or 'nothing'}")

    def check(self, *rules: str) -> None:
        """``check S1 S4 R-a``: these invariants hold now. S1, S4 and D8 are checked again, others at every event."""
        unknown = set(rules) - ONLINE - {"S1", "S4", "D8"}
        if unknown:
            raise ScenarioError(f"no such invariant: {sorted(unknown)}")
        checker = self.world.checker
        checker.safe("S1")
        for node in self.world.nodes.values():
            checker.ordered(node)
            if node.up and node.driver.idle and node.replica.out.empty:
                same(node)
