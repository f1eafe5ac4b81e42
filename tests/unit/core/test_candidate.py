"""Founding a cluster and promoting a node: the record that is proposed, or the reason why none is (P1)."""

from __future__ import annotations

from uuid import UUID

import pytest

from qpidha.core.candidate import check_promotable, founding, promotion
from qpidha.errors import PromotionRefused
from qpidha.types import Member, Record

CLUSTER, BOOT, OTHER = (UUID(int=n) for n in (1, 2, 3))
A, B = Member("a", UUID(int=11)), Member("b", UUID(int=12))


def record(primary: str | None = "a", *members: Member, generation: int = 4) -> Record:
    holder = (primary, OTHER) if primary else None
    return Record(
        cluster=CLUSTER,
        generation=generation,
        primary=holder,
        members=frozenset(members or (A, B)),
        nonce=b"n",
    )


def test_the_founder_is_the_only_member_and_not_yet_primary() -> None:
    found = founding(CLUSTER, A)
    assert (found.cluster, found.generation, found.primary, found.members) == (
        CLUSTER,
        0,
        None,
        frozenset({A}),
    )


def test_a_promotion_raises_the_generation_and_leaves_out_the_old_primary() -> None:
    new = promotion(record("a"), B, BOOT)
    assert (new.generation, new.primary, new.members) == (5, ("b", BOOT), frozenset({B}))


def test_a_primary_that_is_promoted_again_stays_a_member() -> None:
    assert promotion(record("a"), A, BOOT).members == frozenset({A, B})


def test_without_an_old_primary_every_member_stays() -> None:
    assert promotion(record(None), B, BOOT).members == frozenset({A, B})


def test_a_member_of_the_cluster_may_try() -> None:
    check_promotable(record(), B, CLUSTER, 4)
    check_promotable(record(), B, None, 0)


@pytest.mark.parametrize(
    ("me", "cluster", "generation", "why"),
    [
        (B, OTHER, 4, "is of cluster"),
        (Member("c", UUID(int=13)), CLUSTER, 4, "not a member"),
        (Member("b", UUID(int=99)), CLUSTER, 4, "not a member"),
        (B, CLUSTER, 5, "the cluster manager was reset"),
    ],
    ids=["another cluster", "no member", "another life of its store", "an older record"],
)
def test_a_node_that_may_not_be_promoted_is_told_why(
    me: Member, cluster: UUID, generation: int, why: str
) -> None:
    with pytest.raises(PromotionRefused, match=why):
        check_promotable(record(), me, cluster, generation)
