"""The list of live nodes: a hint that may be missing, old, or unreadable for single nodes."""

from __future__ import annotations

from uuid import UUID

from qpidha.node.live import LiveNodes
from qpidha.types import NodeInfo
from qpidha.wire.info import encode_info

INFO = NodeInfo(peer=("127.0.0.1", 5671), client=None, boot=UUID(int=1), score=3)


def test_before_the_first_list_nothing_is_known() -> None:
    live = LiveNodes()
    assert (live.known, live.names, live.info_of("a")) == (False, [], None)


def test_an_empty_list_is_knowledge_too() -> None:
    live = LiveNodes()
    live.seen({})
    assert live.known
    assert live.names == []


def test_a_list_replaces_the_one_before() -> None:
    live = LiveNodes()
    live.seen({"b": b"", "a": encode_info(INFO)})
    assert live.names == ["a", "b"]
    live.seen({"c": b""})
    assert live.names == ["c"]


def test_what_a_node_published_is_decoded_when_it_is_asked_for() -> None:
    live = LiveNodes()
    live.seen({"a": encode_info(INFO), "b": b"nonsense"})
    assert live.info_of("a") == INFO
    assert live.info_of("b") is None
    assert live.info_of("c") is None
    assert live.info_of(None) is None
