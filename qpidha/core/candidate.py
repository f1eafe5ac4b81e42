"""Founding a cluster and promoting this node: the record to propose, and the checks before it is proposed (rule P1).

The compare-and-set decides. The checks only tell the reason earlier, and save requests that must fail.
"""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from qpidha.errors import PromotionRefused
from qpidha.types import Generation, Member, Record


def founding(cluster: UUID, me: Member) -> Record:
    """The first record: generation 0, no primary, this node the only member."""
    return Record(cluster=cluster, generation=0, primary=None, members=frozenset({me}))


def promotion(record: Record, me: Member, boot: UUID) -> Record:
    """The record that makes this node primary: one generation higher, and the old primary is no member (P1)."""
    old = record.primary[0] if record.primary else None
    members = frozenset(m for m in record.members if m.node != old or m == me)
    return replace(record, generation=record.generation + 1, primary=(me.node, boot), members=members)


def check_promotable(record: Record, me: Member, cluster: UUID | None, generation: Generation) -> None:
    """Raises `PromotionRefused`, saying which rule forbids this node to be promoted over this record."""
    if cluster not in (None, record.cluster):
        raise PromotionRefused(f"this store is of cluster {cluster}, the record of {record.cluster}")
    if me not in record.members:
        raise PromotionRefused(f"node {me.node} with store epoch {me.epoch} is not a member (P1)")
    if generation > record.generation:
        raise PromotionRefused(
            f"the record is at generation {record.generation}, this store at {generation}:"
            " the cluster manager was reset"
        )
