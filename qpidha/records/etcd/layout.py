"""Where a cluster keeps what in etcd, and how requests and answers of the JSON gateway write it.

    <prefix>/record            the record; its version is etcd's ``mod_revision``
    <prefix>/sessions/<node>   16 bytes that name the store object which opened the session, then the node's info;
                               attached to the lease of the session

The gateway writes bytes in base64 and 64-bit integers as text, and leaves out zeros, False and what is empty.
"""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from qpidha.checks import Rule
from qpidha.errors import ClusterError
from qpidha.records.format import decode_value
from qpidha.records.opener import OPENER_BYTES
from qpidha.types import NodeId, Versioned

PREFIX_BYTES_MAX = 200
_PREFIX = re.compile(r"(/[A-Za-z0-9._-]+)+")


def _is_prefix(value: object) -> bool:
    return (
        isinstance(value, str)
        and len(value) <= PREFIX_BYTES_MAX
        and _PREFIX.fullmatch(value) is not None
        and "sessions" not in value.split("/")
    )


PREFIX = Rule(
    f"a path such as '/qpidha/orders': names of letters, digits, '.', '_' and '-', at most {PREFIX_BYTES_MAX} bytes, "
    "none of them 'sessions'",
    _is_prefix,
)
"""A name 'sessions' is refused because the record of one cluster could be taken for a session of another."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A key as it was found."""

    value: bytes
    revision: int
    """That of its last change."""
    lease: int
    """0: none."""

    @property
    def info(self) -> bytes:
        """What the key of a session says of its node."""
        return self.value[OPENER_BYTES:]


@dataclass(frozen=True, slots=True)
class Change:
    """One event of a watch."""

    node: NodeId | None
    """Whose session it is; None: it is the record."""
    revision: int
    found: Entry | None
    """None: the key was removed."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one transaction read, at one revision."""

    revision: int
    record: Versioned | None
    value: bytes
    """The bytes of the record."""
    live: Mapping[NodeId, bytes]


class Layout:
    """The keys of one cluster."""

    def __init__(self, prefix: str) -> None:
        """``prefix`` fits `PREFIX`."""
        self.prefix = prefix
        self.record = f"{prefix}/record".encode()
        self._sessions = f"{prefix}/sessions/".encode()

    def session(self, node: NodeId) -> bytes:
        """The key of a node's session."""
        return self._sessions + node.encode()

    @property
    def sessions(self) -> dict[str, str]:
        """The range of all sessions."""
        return {"key": text(self._sessions), "range_end": text(self._sessions[:-1] + b"0")}

    @property
    def read_all(self) -> dict[str, Any]:
        """A transaction that reads everything; linearizable."""
        wanted = ({"key": text(self.record)}, self.sessions)
        return {"success": [{"request_range": one} for one in wanted]}

    def watches(self, revision: int) -> list[dict[str, Any]]:
        """Requests for all changes from a revision on."""
        wanted = ({"key": text(self.record)}, self.sessions)
        return [{"create_request": {**one, "start_revision": str(revision)}} for one in wanted]

    def snapshot(self, answer: Mapping[str, Any]) -> Snapshot:
        """What `read_all` found. Raises `ClusterError` if the record is damaged, and what wrong answers raise."""
        record, sessions = (one["response_range"].get("kvs", ()) for one in answer["responses"])
        found = self.versioned(entry(record[0])) if record else None
        live = {}
        for kv in sessions:
            live[self._node(data(kv["key"]))] = entry(kv).info
        value = entry(record[0]).value if record else b""
        return Snapshot(int(answer["header"]["revision"]), found, value, live)

    def changes(self, line: Mapping[str, Any]) -> list[Change]:
        """What a line of a watch tells, in order. Raises what wrong answers raise."""
        return [self._change(event) for event in line["events"]]

    def _change(self, event: Mapping[str, Any]) -> Change:
        kv = event["kv"]
        key, deleted = data(kv["key"]), event.get("type", "PUT") == "DELETE"
        node = None if key == self.record else self._node(key)
        return Change(node, int(kv["mod_revision"]), None if deleted else entry(kv))

    def _node(self, key: bytes) -> NodeId:
        return key[len(self._sessions) :].decode("utf-8", "replace")

    def versioned(self, found: Entry) -> Versioned:
        """A record and its version. Raises `ClusterError`."""
        return Versioned(decode_value(found.value, f"the key {self.prefix}/record in etcd"), found.revision)


def text(raw: bytes) -> str:
    """Bytes for the gateway."""
    return base64.b64encode(raw).decode()


def data(encoded: str) -> bytes:
    """Bytes from the gateway. Raises `ValueError`."""
    return base64.b64decode(encoded, validate=True)


def entry(kv: Mapping[str, Any]) -> Entry:
    """A key and its value as the gateway writes them."""
    return Entry(data(kv.get("value", "")), int(kv["mod_revision"]), int(kv.get("lease", 0)))


def found_by(answer: Mapping[str, Any]) -> Entry | None:
    """What the range request of a transaction found; None: no key."""
    kvs = answer["responses"][0]["response_range"].get("kvs", ())
    return entry(kvs[0]) if kvs else None


def put_if(key: bytes, compares: list[dict[str, Any]], value: bytes, lease: int = 0) -> dict[str, Any]:
    """A transaction that writes a key if all comparisons hold, and else reads it."""
    put: dict[str, Any] = {"key": text(key), "value": text(value)}
    if lease:
        put["lease"] = str(lease)
    return {
        "compare": [{"key": text(key), "result": "EQUAL", **one} for one in compares],
        "success": [{"request_put": put}],
        "failure": [{"request_range": {"key": text(key)}}],
    }


def revision_is(revision: int) -> dict[str, Any]:
    """Comparison: the key was last changed at this revision; 0: it does not exist."""
    return {"target": "MOD", "mod_revision": str(revision)}


def value_is(value: bytes) -> dict[str, Any]:
    """Comparison: the key has this value."""
    return {"target": "VALUE", "value": text(value)}


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Around what reads an answer. Raises `ClusterError` if that is not one of etcd."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise ClusterError(
            f"an answer is not that of etcd 3.4 or later ({type(error).__name__}: {error}): check the endpoints"
        ) from error
