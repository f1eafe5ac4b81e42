"""The invariants of a single state of a cluster, whatever happened before.

`qpidha.testing.invariants.checker` watches one run from its start. The explorer reaches a state on many paths, so
each state is checked alone: what nodes hold, what the record says, what clients were told. The invariants of one
node are in `qpidha.testing.explorer.node_invariants`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qpidha.testing.explorer.nodes import NodeView
from qpidha.testing.explorer.scope import (
    ACKED,
    COMMITS,
    CONFIRMED,
    CONSUMED,
    DEAD,
    FANNED,
    GONE,
    HAVE,
    KEPT,
    MARKS,
    NAMES,
    OBJECT,
    Tables,
)  # fmt: skip
from qpidha.testing.invariants.violation import Violation
from qpidha.types import Generation, Record


def check_cluster(tables: Tables, nodes: Sequence[int], record: int, clients: Sequence[Any]) -> None:
    """Check all nodes, the record and the clients together. Costs O(nodes²) and the messages in the scope.

    Args:
        tables: What the numbers stand for.
        nodes: The number of each node's state.
        record: Its number.
        clients: See `qpidha.testing.explorer.scope`.

    Raises:
        Violation: S1, S3, F1, I1, R-a, R-b, TX1, TX6, Q1, Q2 or Q4.
    """
    current = tables.records.values[record]
    if current is None:
        return
    views = [tables.nodes.views[node] for node in nodes]
    acked, confirmed, dead = clients[ACKED], clients[CONFIRMED], clients[DEAD]
    for member in tables.members(record):
        check_member(views[member], member, clients)
    lost = [message for message, _ in dead if acked >> message & 1]
    if lost:
        raise Violation(f"R-b: {lost} handed over as rewound, and acknowledged")
    known = set(clients[NAMES])
    for node, view in enumerate(views):
        check_commits(view, node, clients)
        check_fanned_out(view, node, clients)
        check_own(view, node, clients)
        if not view.identities <= known:
            raise Violation(f"I1: node {node} holds {set(view.identities - known)} of {known}")
        if view.primary:
            check_primary(tables, views, node, current.record, confirmed, dead)


def check_member(view: NodeView, member: int, clients: Sequence[Any]) -> None:
    """Check that a member has what clients were told of.

    Raises:
        Violation: S1, TX6, Q1, Q2 or Q4.
    """
    missing = clients[ACKED] & ~clients[CONSUMED] & ~view.disk
    for message, taken in clients[COMMITS] if missing else ():
        if taken >= 0 and view.marks >> message & 1:
            missing &= ~(1 << taken)
    if missing:
        raise Violation(f"S1: {bits(missing)} acknowledged, not on member {member}, nor what accepted them")
    if clients[MARKS] & ~view.marks:
        raise Violation(f"Q1: member {member} lacks marks of commits {bits(clients[MARKS] & ~view.marks)}")
    if clients[OBJECT] not in (-1, view.object):
        raise Violation(f"Q1: member {member} has put {view.object}, and {clients[OBJECT]} was answered")
    if clients[HAVE] & ~view.stored:
        raise Violation(f"Q2: member {member} lacks queues {clients[HAVE] & ~view.stored:b}")
    if clients[GONE] & view.stored:
        raise Violation(f"Q4: member {member} has deleted queues {clients[GONE] & view.stored:b}")


def check_commits(view: NodeView, node: int, clients: Sequence[Any]) -> None:
    """Check that a disk has all of each commit, or nothing. Raises `Violation` (TX1)."""
    gone = clients[CONSUMED]
    for _, taken in clients[COMMITS]:
        gone |= 0 if taken < 0 else 1 << taken
    for message, taken in clients[COMMITS]:
        mark, there = view.marks >> message & 1, view.disk >> message & 1
        if mark and not there and not gone >> message & 1:
            raise Violation(f"TX1: node {node} has the mark of v{message}, not the message")
        if there and not mark:
            raise Violation(f"TX1: node {node} has v{message} without the mark of its commit")
        if mark and taken >= 0 and view.disk >> taken & 1:
            raise Violation(
                f"TX1: node {node} has the commit of v{message}, which accepts v{taken}, and that, too"
            )


def check_fanned_out(view: NodeView, node: int, clients: Sequence[Any]) -> None:
    """Check that a disk has a message in both of its queues or in none, until one is taken. Raises `Violation` (TX1)."""
    for message in set_bits(clients[FANNED] & ~clients[CONSUMED]):
        count = sum(1 for identity in view.identities if identity[3] == message)
        if count not in (0, 2):
            raise Violation(
                f"TX1: node {node} has v{message} in {count} of the two queues it was published to"
            )


def check_own(view: NodeView, node: int, clients: Sequence[Any]) -> None:
    """Check the object of one node: it is as that node was told, or newer. Raises `Violation` (LV-a, LV-b)."""
    mine = [(number, told) for at, _, _, number, told in clients[KEPT] if at == node]
    if view.own >= 0 and all(number != view.own for number, _ in mine):
        raise Violation(f"LV-b: node {node} has put {view.own} of one node alone, which it did not make")
    told = max((number for number, told in mine if told), default=-1)
    if view.own < told:
        raise Violation(f"LV-a: node {node} has put {view.own} of its own, and {told} was answered")


def check_primary(
    tables: Tables,
    views: Sequence[NodeView],
    node: int,
    record: Record,
    confirmed: int,
    dead: Sequence[tuple[int, Generation]],
) -> None:
    """Check a node that acts as primary: no other has its generation, and it offers no message that is gone.

    Raises:
        Violation: F1, S3, R-a or R-b.
    """
    view = views[node]
    if any(other.primary == view.primary for other in views[:node]):
        raise Violation(f"F1: generation {view.primary} has two primaries")
    if view.primary > record.generation:
        raise Violation(f"F1: node {node} is primary of {view.primary}, the record says {record.generation}")
    if view.primary == record.generation and record.primary is not None:
        if record.primary != (tables.scope.nodes[node], tables.nodes.boot(node, view.boots)):
            raise Violation(f"F1: node {node} is primary of {view.primary}, the record names another")
        if view.memory & confirmed:
            raise Violation(f"S3: {bits(view.memory & confirmed)} settled and confirmed, and offered again")
    for message, generation in dead:
        if view.memory >> message & 1 and view.primary >= generation:
            raise Violation(f"R-b: v{message} handed over as rewound, and offered again")
    for other in views:
        if other.following == (view.primary, view.position) and other.content != view.content:
            raise Violation(f"R-a: a backup at {view.position}@{view.primary} differs from its primary")


def bits(messages: int) -> list[str]:
    """Return the names of messages that are given as bits: 0b101 is v0 and v2."""
    return [f"v{n}" for n in set_bits(messages)]


def set_bits(messages: int) -> list[int]:
    """Return the numbers of messages that are given as bits: 0b101 is 0 and 2."""
    return [n for n in range(messages.bit_length()) if messages >> n & 1]
