"""What must hold in a single state of a cluster: the invariants without a memory of how it got there.

`qpidha.testing.invariants.checker` watches one run from its beginning. Where states are met on many ways there is no
such run, and each must be judged by itself: by what the nodes hold, what the record says and what clients were told.
The same for one node: `qpidha.testing.explorer.node_invariants`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qpidha.testing.explorer.nodes import Look
from qpidha.testing.explorer.scope import Tables
from qpidha.testing.invariants.violation import Violation
from qpidha.types import Generation, Record


def check_cluster(tables: Tables, nodes: Sequence[int], record: int, clients: Sequence[Any]) -> None:
    """All nodes, the record and the clients together: S1, S3, F1, I1, R-a, R-b."""
    current = tables.records.values[record]
    if current is None:
        return
    looks = [tables.nodes.looks[node] for node in nodes]
    _, _, _, names, acked, consumed, confirmed, dead = clients
    owed = acked & ~consumed
    for member in tables.members(record):
        if owed & ~looks[member].disk:
            raise Violation(f"S1: {bits(owed & ~looks[member].disk)} acknowledged, not on member {member}")
    lost = [message for message, _ in dead if acked >> message & 1]
    if lost:
        raise Violation(f"R-b: {lost} handed over as rewound, and acknowledged")
    known = set(names)
    for node, look in enumerate(looks):
        if not look.identities <= known:
            raise Violation(f"I1: node {node} holds {set(look.identities - known)} of {known}")
        if look.primary:
            check_primary(tables, looks, node, current.record, confirmed, dead)


def check_primary(
    tables: Tables,
    looks: Sequence[Look],
    node: int,
    record: Record,
    confirmed: int,
    dead: Sequence[tuple[int, Generation]],
) -> None:
    """One that acts as primary: it is the only one of its generation, and offers nothing that is gone."""
    look = looks[node]
    if any(other.primary == look.primary for other in looks[:node]):
        raise Violation(f"F1: generation {look.primary} has two primaries")
    if look.primary > record.generation:
        raise Violation(f"F1: node {node} is primary of {look.primary}, the record says {record.generation}")
    if look.primary == record.generation and record.primary is not None:
        if record.primary != (tables.scope.nodes[node], tables.nodes.boot(node, look.boots)):
            raise Violation(f"F1: node {node} is primary of {look.primary}, the record names another")
        if look.memory & confirmed:
            raise Violation(f"S3: {bits(look.memory & confirmed)} settled and confirmed, and offered again")
    for message, generation in dead:
        if look.memory >> message & 1 and look.primary >= generation:
            raise Violation(f"R-b: v{message} handed over as rewound, and offered again")
    for other in looks:
        if other.following == (look.primary, look.position) and other.content != look.content:
            raise Violation(f"R-a: a backup at {look.position}@{look.primary} differs from its primary")


def bits(messages: int) -> list[str]:
    """The names of messages given as bits."""
    return [f"v{n}" for n in range(messages.bit_length()) if messages >> n & 1]
