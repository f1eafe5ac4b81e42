"""A record that is rebuilt from the stores: the only remedy after a cluster manager lost its data (T31)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from uuid import UUID

import pytest

from qpidha.errors import CallerError
from qpidha.journal import StoreState, StoreStatus
from qpidha.recovery.rebuild import GENERATIONS_LEFT_OUT, rebuilt
from qpidha.types import Member, Record

CLUSTER, OTHER, QUEUE = UUID(int=1), UUID(int=2), UUID(int=9)
LEFT_OUT = GENERATIONS_LEFT_OUT + ord("n")
"""With the nonce that these tests use."""


@dataclass(frozen=True)
class Queue:
    queue: UUID = QUEUE
    next: int = 10
    held: int = 5


@dataclass(frozen=True)
class Store:
    """The part of a store report that rebuilding reads."""

    status: StoreStatus | None
    queues: tuple[Queue, ...] = (Queue(),)
    damage: tuple[object, ...] = ()
    name: str = field(default="")


def store(node: str, generation: int, **changes: object) -> Store:
    status = StoreStatus(node=node, epoch=UUID(int=ord(node)), cluster=CLUSTER, generation=generation)
    queues = changes.pop("queues", (Queue(),))
    status = status.with_(**{"state": StoreState.DIRTY, **changes})
    return Store(status, queues, name=f"/{node}")  # type: ignore[arg-type]


def damaged(node: str, generation: int, **changes: object) -> Store:
    return replace(store(node, generation, **changes), damage=("a page is broken",))


def record(generation: int, cluster: UUID = CLUSTER) -> Record:
    return Record(cluster=cluster, generation=generation, primary=None, members=frozenset())


def test_the_best_store_becomes_the_only_member() -> None:
    """It may be promoted; the other nodes join it. No store is above the record, so all nodes may start."""
    found = rebuilt([store("a", 3), store("b", 5), store("c", 4)], None, nonce=b"n")
    assert found.record == Record(
        cluster=CLUSTER,
        generation=5 + LEFT_OUT,
        primary=None,
        members=frozenset({Member("b", UUID(int=ord("b")))}),
        nonce=b"n",
    )
    assert [place.name for place in found.ranked] == ["/b", "/c", "/a"]


def test_a_record_that_went_back_is_replaced() -> None:
    assert rebuilt([store("a", 3)], record(2), nonce=b"n").record.generation == 3 + LEFT_OUT


@pytest.mark.parametrize("generation", [3, 4])
def test_a_record_that_is_not_behind_stays(generation: int) -> None:
    """The record names the members in sync, which the stores cannot tell."""
    with pytest.raises(CallerError, match="nothing to rebuild"):
        rebuilt([store("a", 3)], record(generation), nonce=b"n")


def test_the_record_of_another_cluster_stays() -> None:
    with pytest.raises(CallerError, match="the record is of cluster"):
        rebuilt([store("a", 3)], record(1, OTHER), nonce=b"n")


def test_stores_of_several_clusters_are_refused() -> None:
    with pytest.raises(CallerError, match="none of these"):
        rebuilt([store("a", 3), store("b", 3, cluster=OTHER)], None, nonce=b"n")


def test_no_usable_store() -> None:
    with pytest.raises(CallerError, match="none of these"):
        rebuilt([store("a", 3, state=StoreState.DAMAGED)], None, nonce=b"n")


def test_no_generation_is_used_again_that_a_damaged_store_has_seen() -> None:
    """I1: the store may be repaired, and new messages must not be taken for its messages of that generation."""
    broken = damaged("b", 6)
    found = rebuilt([store("a", 5), broken], record(5), nonce=b"n")
    assert ({m.node for m in found.record.members}, found.record.generation) == ({"a"}, 6 + LEFT_OUT)
    elsewhere, unreadable = damaged("b", 6, cluster=OTHER), Store(None, name="/c")
    assert rebuilt([store("a", 5), elsewhere, unreadable], None, nonce=b"n").record.generation == 5 + LEFT_OUT


def test_no_generation_is_used_again_that_an_earlier_rebuilt_record_had() -> None:
    """I1: a record is rebuilt from an old store, serves, and is lost, too; then it is rebuilt from the same old store.

    With the same generations, a store of the first time would be taken for one of the second: its messages would have the
    ids of others, and it would count as a copy of messages that it never had.
    """
    nonces = [bytes([n]) * 16 for n in range(0, 256, 5)]
    found = sorted(rebuilt([store("a", 5)], None, nonce=nonce).record.generation for nonce in nonces)
    assert min(later - earlier for earlier, later in pairwise(found)) > GENERATIONS_LEFT_OUT
    assert 5 + GENERATIONS_LEFT_OUT <= found[0] <= found[-1] < 5 + GENERATIONS_LEFT_OUT + (1 << 32)


def test_the_operator_decides_a_conflict() -> None:
    """Two clean stores of one generation, from different stops, with different content."""
    clean = {"state": StoreState.CLEAN}
    a = store("a", 3, **clean, stop=UUID(int=7), queues=(Queue(held=5),))
    b = store("b", 3, **clean, stop=UUID(int=8), queues=(Queue(held=4),))
    with pytest.raises(CallerError, match="name the node"):
        rebuilt([a, b], None, nonce=b"n")
    found = rebuilt([a, b], None, nonce=b"n", best="b")
    assert {m.node for m in found.record.members} == {"b"}


def test_the_operator_may_choose_the_store_but_the_generation_stays_the_highest_seen() -> None:
    found = rebuilt([store("a", 3), store("b", 5)], None, nonce=b"n", best="a")
    assert ({m.node for m in found.record.members}, found.record.generation) == ({"a"}, 5 + LEFT_OUT)
    with pytest.raises(CallerError, match="0 of the usable stores are of node 'z'"):
        rebuilt([store("a", 3)], None, nonce=b"n", best="z")
    with pytest.raises(CallerError, match="2 of the usable stores are of node 'a'"):
        rebuilt([store("a", 3), Store(store("a", 2).status, name="/copy")], None, nonce=b"n", best="a")


def listing(generation: int, *members: Store) -> Record:
    named = frozenset(Member(m.status.node, m.status.epoch) for m in members if m.status)
    return replace(record(generation), members=named)


def test_the_record_is_replaced_if_the_stores_of_all_its_members_are_lost() -> None:
    """Its own generation counts, too: its lost members have given out ids in it (I1)."""
    lost, left = store("b", 7), store("a", 5)
    found = rebuilt([left], listing(7, lost), nonce=b"n", members_lost=True)
    assert ({m.node for m in found.record.members}, found.record.generation) == ({"a"}, 7 + LEFT_OUT)
    again = rebuilt([left], listing(3, lost), nonce=b"n", members_lost=True)
    assert again.record.generation == 5 + LEFT_OUT


def test_a_member_that_is_there_is_not_lost() -> None:
    """It has everything that was acknowledged, so nothing may begin without it."""
    member = store("b", 7)
    with pytest.raises(CallerError, match="the store of member b is not lost"):
        rebuilt([store("a", 5), member], listing(7, member), nonce=b"n", members_lost=True)
    restored = replace(member, status=member.status.with_(epoch=UUID(int=99)))  # type: ignore[union-attr]
    found = rebuilt([restored], listing(7, member), nonce=b"n", members_lost=True)
    assert found.record.members == {Member("b", UUID(int=99))}


def test_another_clusters_record_is_never_replaced() -> None:
    with pytest.raises(CallerError, match="the record is of cluster"):
        rebuilt([store("a", 3)], record(1, OTHER), nonce=b"n", members_lost=True)
