"""The nouns of all layers: what implementers of parts make is of the right kind, whatever they made it of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from qpidha.types import Member, PeerInfo, Record

MEMBERS = {Member("a", UUID(int=1)), Member("b", UUID(int=2))}


@pytest.mark.parametrize("kind", [frozenset, set, list, tuple])
def test_members_may_be_given_in_any_collection(kind: Any) -> None:
    record = Record(cluster=UUID(int=9), generation=1, primary=None, members=kind(MEMBERS))
    assert record.members == MEMBERS and type(record.members) is frozenset
    assert hash(record) == hash(replace(record))


@pytest.mark.parametrize("kind", [frozenset, set, list, tuple])
def test_names_of_a_peer_may_be_given_in_any_collection(kind: Any) -> None:
    peer = PeerInfo(address="h", identity=kind(["a", "b"]), roles=kind(["peer"]))
    assert (peer.identity, peer.roles) == ({"a", "b"}, {"peer"})
    assert type(peer.identity) is type(peer.roles) is frozenset


def test_one_name_of_a_peer_is_not_taken_apart() -> None:
    name: Any = "node-a"
    assert PeerInfo(address="h", identity=name).identity == {"node-a"}
    assert PeerInfo(address="h").identity is None
