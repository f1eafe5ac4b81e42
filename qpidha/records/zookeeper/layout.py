"""Where a cluster keeps what in ZooKeeper.

    <prefix>                   16 random bytes from its creation: the identity of what is kept here
    <prefix>/record            the record; its version is the znode's ``mzxid``
    <prefix>/sessions/<node>   ephemeral: 16 bytes that name the store object which opened the session, 4 bytes with
                               the granted time-out in milliseconds, then the node's info
    <prefix>/claims/<node>     ephemeral: somebody wants to open a session of this node, and asks whether its owner lives

A ``mzxid`` grows with each change of anything, also when a znode is removed and created again; a znode's own version
counter, which ZooKeeper compares, begins again. Both are remembered.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from qpidha.checks import Rule
from qpidha.records.format import decode_value
from qpidha.records.opener import OPENER_BYTES
from qpidha.types import NodeId, Versioned

_HEAD = struct.Struct(f"!{OPENER_BYTES}sI")
IDENTITY_BYTES = 16
PREFIX_BYTES_MAX = 200
NAMES = ("record", "sessions", "claims", "zookeeper", ".", "..")
_PREFIX = re.compile(r"(/[A-Za-z0-9._-]+)+")


def _is_prefix(value: object) -> bool:
    return (
        isinstance(value, str)
        and len(value) <= PREFIX_BYTES_MAX
        and _PREFIX.fullmatch(value) is not None
        and not set(value.split("/")) & set(NAMES)
    )


PREFIX = Rule(
    f"a path such as '/qpidha/orders': names of letters, digits, '.', '_' and '-', at most {PREFIX_BYTES_MAX} bytes, "
    f"none of them {', '.join(map(repr, NAMES))}",
    _is_prefix,
)


@dataclass(frozen=True, slots=True)
class Holder:
    """A session as it was found."""

    opener: bytes
    granted_s: float
    info: bytes


@dataclass(frozen=True, slots=True)
class Known:
    """The record as it was last read or written."""

    mzxid: int
    version: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one read found."""

    identity: tuple[int, int, bytes] | None
    """Of the prefix: when it was created, and its content. None: it does not exist."""
    record: Versioned | None
    known: Known | None
    live: Mapping[NodeId, bytes]


class Layout:
    """The paths of one cluster."""

    def __init__(self, prefix: str) -> None:
        """``prefix`` fits `PREFIX`."""
        self.prefix = prefix
        self.record = f"{prefix}/record"
        self.sessions = f"{prefix}/sessions"
        self.claims = f"{prefix}/claims"

    @property
    def folders(self) -> list[str]:
        """All paths that must exist, each after its parent."""
        parts = self.prefix.split("/")
        return ["/".join(parts[:n]) for n in range(2, len(parts) + 1)] + [self.sessions, self.claims]

    def session(self, node: NodeId) -> str:
        """The path of a node's session."""
        return f"{self.sessions}/{_quoted(node)}"

    def claim(self, node: NodeId) -> str:
        """The path of a claim to a node's session."""
        return f"{self.claims}/{_quoted(node)}"

    def versioned(self, value: bytes, stat: Any) -> Versioned:
        """A record and its version. Raises `ClusterError` if it is damaged."""
        return Versioned(decode_value(value, f"the znode {self.record} in ZooKeeper"), stat.mzxid)


def _quoted(node: NodeId) -> str:
    return quote(node, safe="").replace(".", "%2E")


def node_of(name: str) -> NodeId:
    """The node whose session has this name."""
    return unquote(name, errors="replace")


def encode_session(opener: bytes, granted_s: float, info: bytes) -> bytes:
    """The content of a session."""
    return _HEAD.pack(opener, min(round(granted_s * 1000), 2**32 - 1)) + info


def decode_session(value: bytes) -> Holder:
    """The content of a session. What is too short was not written by this library: its info is empty."""
    if len(value) < _HEAD.size:
        return Holder(b"", 0.0, b"")
    opener, granted_ms = _HEAD.unpack_from(value)
    return Holder(opener, granted_ms / 1000, value[_HEAD.size :])
