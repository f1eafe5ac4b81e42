"""Generations: one primary in each, raised by one at each promotion, never lower on a disk (F1, F2); its members (S8)."""

from __future__ import annotations

from uuid import UUID

from qpidha.testing.invariants.violation import Violation
from qpidha.testing.sim.node import SimNode
from qpidha.types import Generation, NodeId, Record


def check_record(old: Record | None, new: Record) -> None:
    """Check a new record against the one before it.

    Raises:
        Violation: F1: a promotion did not raise the generation by one, or promoted a node that was no member, or
            added a member.
    """
    if old is None or new.generation == old.generation:
        return
    if new.generation != old.generation + 1:
        raise Violation(f"F1: generation {old.generation} is followed by {new.generation}")
    names = {m.node for m in old.members}
    if new.primary is None or new.primary[0] not in names or not new.members <= old.members:
        raise Violation(f"F1: {new.primary} with {new.members} follows {old.members}")


def check_enough(node: SimNode, record: Record | None) -> None:
    """This node confirms a publish now. That all members have it is checked elsewhere (F3).

    Raises:
        Violation: S8: it is the primary of the record's generation, and the record has too few members.
    """
    if record is None or record.generation != node.replica.generation:
        return
    least = node.replica.settings.min_in_sync
    if len(record.members) < least:
        raise Violation(f"S8: {node.name} confirms with {len(record.members)} of {least} members")


class Generations:
    """Remembers who was primary in which generation, and the generation on each disk."""

    def __init__(self) -> None:
        self._primaries: dict[Generation, tuple[NodeId, int]] = {}
        self._on_disk: dict[tuple[NodeId, UUID], Generation] = {}

    def check_primary(self, node: SimNode, generation: Generation) -> None:
        """This process became primary. Raises `Violation` (F1) if the generation had another primary."""
        process = (node.host, node.boots)
        if self._primaries.setdefault(generation, process) != process:
            raise Violation(f"F1: generation {generation} has two primaries")

    def check_disk(self, node: SimNode) -> None:
        """The node committed. Raises `Violation` (F2) if the generation on its disk is lower than before."""
        store, generation = (node.name, node.epoch), node.disk.content.status.generation
        if generation < self._on_disk.get(store, 0):
            raise Violation(f"F2: the generation of {node.name} fell to {generation}")
        self._on_disk[store] = generation

    def restored(self, node: SimNode) -> None:
        """The disk is an older copy of itself: its generation may be lower, this once."""
        self._on_disk.pop((node.name, node.epoch), None)
