"""The encoding of what a node publishes with its session: where peers and clients find it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgpack

from qpidha.checks import ADDRESS, DESTINATION, SCORE, instance_of, optional
from qpidha.types import Address, NodeInfo

INFO_BYTES_MAX = 4096
INFO = instance_of(NodeInfo)


def encode_info(info: NodeInfo) -> bytes:
    """A msgpack map. Unknown keys are ignored by readers, so fields can be added.

    Raises:
        ArgumentError: A field has a value that readers refuse.
    """
    INFO("info", info)
    ADDRESS("info.peer", info.peer)
    optional(DESTINATION)("info.client", info.client)
    instance_of(UUID)("info.boot", info.boot)
    optional(SCORE)("info.score", info.score)
    packed: bytes = msgpack.packb(
        {"peer": info.peer, "client": info.client, "boot": info.boot.bytes, "score": info.score}
    )
    return packed


def decode_info(raw: object) -> NodeInfo | None:
    """The info in these bytes. None for anything else: another node's mistake must not stop this one.

    A client address that nobody could connect to is left out: the node itself can be reached nevertheless.
    """
    if not isinstance(raw, bytes) or len(raw) > INFO_BYTES_MAX:
        return None
    try:
        fields = msgpack.unpackb(raw, strict_map_key=True)
        peer = _address(fields["peer"])
        score = fields.get("score")
        boot = fields["boot"]
        if peer is None or type(boot) is not bytes or not optional(SCORE).fits(score):
            return None
        client = _address(fields.get("client"))
        if not optional(DESTINATION).fits(client):
            client = None
        return NodeInfo(peer=peer, client=client, boot=UUID(bytes=boot), score=score)
    except (ValueError, TypeError, KeyError, AttributeError, msgpack.UnpackException):
        return None


def _address(value: Any) -> Address | None:
    if value is None:
        return None
    host, port = value
    ADDRESS("address", (host, port))
    return host, port
