"""The memory of a node: it is sound, and at rest it equals the disk (D8).

Checked at every 16th step of a run, for the queues that changed since the last look at this node. All queues are looked
at when the node has another role, another generation or another process, and at the end of a run (`Checker.converged`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from qpidha.core.replica import Replica
from qpidha.journal import Audit, Change, PutStatus, Unstage
from qpidha.testing.invariants.facts import facts_of
from qpidha.testing.invariants.violation import Violation
from qpidha.testing.sim.node import SimNode
from qpidha.types import Generation, QueueId, Role

Term: TypeAlias = tuple[int, Generation, Role]
Mark: TypeAlias = tuple[int, int, object]

EVERY = 16
"""Steps of all nodes between two looks."""


class Memory:
    """Remembers what of each node's memory was checked already."""

    def __init__(self) -> None:
        self._terms: dict[str, Term] = {}
        self._marks: dict[str, dict[QueueId, Mark]] = {}
        """Of each queue: next, number of messages and newest entry of the lineage when it was looked at."""
        self._committed: dict[str, set[QueueId]] = {}
        """Queues that transactions named since the last look."""
        self._steps = 0

    def committed(self, node: SimNode, changes: Sequence[Change]) -> None:
        """These changes are durable: what they name is checked with the next look."""
        named = self._committed.setdefault(node.host, set())
        named.update(
            change.queue for change in changes if not isinstance(change, (PutStatus, Audit, Unstage))
        )

    def stepped(self, node: SimNode) -> None:
        """The node took a step. Raises `Violation` (D8), or `InvariantError` if the core's own `check` failed."""
        self._steps += 1
        if self._steps % EVERY:
            return
        replica, only = node.replica, self._changed(node)
        replica.check(only)
        if node.driver.idle and node.driver.failed is None and replica.still:
            same(node, only)
            self._committed.pop(node.host, None)
        elif only is not None:  # They are compared with the disk by the next look.
            self._committed.setdefault(node.host, set()).update(only)
        else:
            self._terms.pop(node.host)

    def _changed(self, node: SimNode) -> set[QueueId] | None:
        """The queues that may have changed since the last look. None: all."""
        replica, host = node.replica, node.host
        term = (node.boots, replica.generation, replica.role)
        known = self._terms.get(host) == term
        self._terms[host] = term
        before = self._marks.get(host, {}) if known else {}
        now = {name: _mark(replica, name) for name in replica.queues}
        self._marks[host] = now
        if not known:
            return None
        changed = {name for name, mark in now.items() if before.get(name) != mark}
        return changed | self._committed.get(host, set())


def _mark(replica: Replica, name: QueueId) -> Mark:
    queue = replica.queues[name]
    return queue.next, len(queue.held), queue.lineage[-1]


def same(node: SimNode, only: set[QueueId] | None = None) -> None:
    """Compare memory and disk of a node at rest, of all queues or of ``only`` these. Raises `Violation` (D8)."""
    content, queues = node.disk.content, node.replica.queues
    memory, disk = facts_of(node.replica, only), content.facts(only)
    if memory != disk or queues.keys() != content.queues.keys():
        raise Violation(f"D8: {node.name} has {memory} in memory and {disk} on its disk")
