"""The encoding of what a node publishes with its session: where peers and clients find it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgpack

from qpidha.checks import ADDRESS, ADDRESSES_MAX, DESTINATION, SCORE, Rule, instance_of, optional
from qpidha.types import Address, NodeInfo

INFO_BYTES_MAX = 4096
INFO = instance_of(NodeInfo)
MORE = Rule(
    f"a tuple of at most {ADDRESSES_MAX - 1} addresses",
    lambda value: isinstance(value, tuple) and len(value) < ADDRESSES_MAX and all(map(ADDRESS.fits, value)),
)


def encode_info(info: NodeInfo) -> bytes:
    """A msgpack map. Unknown keys are ignored by readers, so fields can be added.

    Raises:
        ArgumentError: A field has a value that readers refuse.
    """
    INFO("info", info)
    ADDRESS("info.peer", info.peer)
    MORE("info.more", info.more)
    optional(DESTINATION)("info.client", info.client)
    instance_of(UUID)("info.boot", info.boot)
    optional(SCORE)("info.score", info.score)
    fields: dict[str, object] = {
        "peer": info.peer,
        "client": info.client,
        "boot": info.boot.bytes,
        "score": info.score,
    }
    if info.more:
        fields["more"] = info.more
    packed: bytes = msgpack.packb(fields)
    return packed


def decode_info(raw: object) -> NodeInfo | None:
    """The info in these bytes. None for anything else: another node's mistake must not stop this one.

    An address that nobody could connect to, of clients or after the first, is left out: the node itself can be
    reached nevertheless.
    """
    if not isinstance(raw, (bytes, bytearray, memoryview)):
        return None
    try:
        if len(packed := bytes(raw)) > INFO_BYTES_MAX:
            return None
        fields = msgpack.unpackb(packed, strict_map_key=True)
        peer = _address(fields["peer"])
        score = fields.get("score")
        boot = fields["boot"]
        if peer is None or type(boot) is not bytes or not optional(SCORE).fits(score):
            return None
        client = _address(fields.get("client"))
        if not optional(DESTINATION).fits(client):
            client = None
        more = _more(fields.get("more"))
        return NodeInfo(peer=peer, client=client, boot=UUID(bytes=boot), score=score, more=more)
    except (ValueError, TypeError, KeyError, AttributeError, msgpack.UnpackException):
        return None


def _more(value: Any) -> tuple[Address, ...]:
    """The further addresses that are good, in their order."""
    if not isinstance(value, list):
        return ()
    pairs = [tuple(pair) for pair in value if isinstance(pair, list)]
    return tuple(pair for pair in pairs if ADDRESS.fits(pair))[: ADDRESSES_MAX - 1]


def _address(value: Any) -> Address | None:
    if value is None:
        return None
    host, port = value
    ADDRESS("address", (host, port))
    return host, port
