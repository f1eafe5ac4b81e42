"""A new cluster file as text, with comments that say what else can be written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

FILES = """\
ca = "certificates/ca.pem"
certificate = "certificates/{node}.pem"
key = "certificates/{node}.key"
"""
ROLES = "roles_required = true  # certificates of peers say so: URI:qpidha:peer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a new file says."""

    cluster: str
    nodes: Mapping[str, Sequence[str]]
    """By node id, its addresses."""
    clients: Mapping[str, str] = field(default_factory=dict)
    """By node id, the address for clients."""
    record: str
    store: str
    """The path of the stores, with {node} in it."""
    tls: bool
    roles_required: bool
    record_tls: bool

    def text(self) -> str:
        """The file as TOML."""
        lines = [
            "# The nodes of a cluster, its record and its certificates: the same file on each machine.",
            "# Paths are relative to this file; {node} stands for the id of a node. See docs/cluster-file.md.",
            "",
            f"cluster = {quoted(self.cluster)}",
            "",
            "[record]  # who is primary, and who is in sync",
            f"url = {quoted(self.record)}",
            *(FILES.splitlines() if self.record_tls else ()),
        ]
        if self.tls:
            lines += ["", "[tls]  # links between the nodes", *FILES.splitlines()]
            lines.append(ROLES if self.roles_required else f"# {ROLES}")
        for node, addresses in self.nodes.items():
            lines += ["", f"[nodes.{quoted_key(node)}]", f"addresses = [{', '.join(map(quoted, addresses))}]"]
            if node in self.clients:
                lines.append(f"client_address = {quoted(self.clients[node])}")
            lines.append(f"store = {quoted(self.store)}")
        return "\n".join([*lines, "", "[settings]  # of qpidha.Settings, such as ack_timeout_s = 5.0", ""])


def quoted(text: str) -> str:
    """A basic string of TOML: JSON's are valid ones, but for the character DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def quoted_key(node: str) -> str:
    """A node id as a key: bare, or in quotes if it has a dot."""
    return quoted(node) if "." in node else node
