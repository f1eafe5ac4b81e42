"""Builds a new record from the stores, after the cluster manager lost its own. Pure: nothing is read or changed here.

A cluster cannot work without its record, which names the nodes that may be promoted. If the cluster manager was reset,
or restored from an old copy, every node refuses to start (`qpidha.recovery.validator`), because no node can tell which
store holds all that was acknowledged. An operator who has all stores can tell, by comparing them.

The same is needed if the record survived, and the stores of all members did not. Then whatever was acknowledged and is
not in the best remaining store is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from qpidha.errors import CallerError
from qpidha.journal import StoreStatus
from qpidha.recovery.ranking import Ranked, StoreReportLike, rank
from qpidha.types import Generation, Member, NodeId, Record

GENERATIONS_LEFT_OUT: Final = 1 << 20
"""A store that is not compared, because it is lost or forgotten, may have seen higher generations than the others, and
have ids of them. None of these ids is given out again (I1), if there were fewer promotions than this."""
DRAWN_BYTES: Final = 4
"""As many bytes of the nonce say how many more are left out. If a rebuilt record is lost, too, and is rebuilt from the
same old stores, then the second one must not have the generations of the first: a store that knows the first one would
take messages of the second for its own (I1)."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What is to be written, and why."""

    record: Record
    """Its only member is the best store; the others join it and are corrected by difference."""
    ranked: tuple[Ranked, ...]


def rebuilt(
    stores: Sequence[StoreReportLike],
    current: Record | None,
    *,
    nonce: bytes,
    best: NodeId | None = None,
    members_lost: bool = False,
) -> Rebuilt:
    """Build the record that lets these stores serve again. None of them may be in use.

    Messages that the chosen store lacks are quarantined when the stores that hold them join (W2). Pass all stores.

    Args:
        current: What the cluster manager says now.
        nonce: Random bytes, new for each call. They also decide how many generations are left out.
        best: The node to start from, if the operator knows better or the stores do not decide it.
        members_lost: The record is right, but the stores of all its members are lost for good.

    Raises:
        CallerError: The record is not behind the stores, and its members are not lost; no store is usable; or the
            operator has to choose (``best``).
    """
    ranked = tuple(rank(stores))
    by_name = {store.name: store.status for store in stores}
    usable = [(place, status) for place in ranked if place.place and (status := by_name[place.name])]
    if not usable:
        raise CallerError("none of these stores is usable: they are empty, damaged or of different clusters")
    cluster = usable[0][1].cluster
    # Damaged stores count too: a generation that one of them has seen must not be given out again (I1).
    highest = max(s.status.generation for s in stores if s.status and s.status.cluster == cluster)
    if current is not None:
        _require_needed(current, cluster, highest, usable, members_lost)
        highest = max(highest, current.generation)
    if best is None:
        chosen, status = usable[0]
        if chosen.conflict:
            raise CallerError(
                "the stores do not say which of them is right: name the node to start from (`--best`)"
            )
    else:
        named = [(place, status) for place, status in usable if status.node == best]
        if len(named) != 1:
            raise CallerError(f"{len(named)} of the usable stores are of node {best!r}")
        chosen, status = named[0]
    assert cluster is not None
    members = frozenset({Member(status.node, status.epoch)})
    drawn = int.from_bytes(nonce[:DRAWN_BYTES], "big")
    generation = highest + GENERATIONS_LEFT_OUT + drawn
    record = Record(cluster=cluster, generation=generation, primary=None, members=members, nonce=nonce)
    return Rebuilt(record, ranked)


def _require_needed(
    current: Record,
    cluster: UUID | None,
    highest: Generation,
    usable: Sequence[tuple[Ranked, StoreStatus]],
    members_lost: bool,
) -> None:
    """Raises `CallerError` if the record that is there should stay as it is."""
    if current.cluster != cluster:
        raise CallerError(f"the record is of cluster {current.cluster}, the stores of {cluster}")
    if members_lost:
        members = [s.node for _, s in usable if Member(s.node, s.epoch) in current.members]
        if members:
            raise CallerError(f"the store of member {members[0]} is not lost: start its node, and promote it")
    elif current.generation >= highest:
        raise CallerError(
            f"the record is at generation {current.generation} and no store is above it: nothing to rebuild. If the "
            "stores of all its members are lost, say so (`--members-lost`)"
        )
