"""When an operation is complete, and what clients are told then (O4, O5, O6; J4, J5)."""

from __future__ import annotations

from tests.model.state.history import in_history, values
from tests.model.state.nouns import (
    ACCEPTED,
    ACKED,
    CAS,
    CLIENTS,
    DISK,
    DROPPED,
    GIVEN,
    TOLD,
    VIEW,
    Store,
    View,
    Violation,
    World,
    put_at,
)
from tests.model.state.options import CFG
from tests.model.state.rules import R


def required(n: int, view: View) -> list[tuple[int, int]]:
    """(node, store epoch) of everyone but the primary whom a completion waits for."""
    nodes = [m for m in view.members if m[0] != n]
    joining = view.joining
    if joining is not None and (joining.node, joining.epoch) not in nodes:
        nodes.append((joining.node, joining.epoch))
    return nodes


def counts(view: View, node: int, epoch: int) -> bool:
    """O4: what this node acknowledged was acknowledged by this life of its store."""
    session = view.sessions[node]
    return session is None or session.epoch == epoch


def sure_members(w: World, n: int) -> set:
    """The members that will still be members whatever becomes of the request in flight (J5)."""
    view, cas = w.nodes[n][VIEW], w.nodes[n][CAS]
    members = set(view.members)
    if cas is not None and cas.kind == "rem" and R["min_doubt"]:
        members &= set(cas.new.members)
    return members


def complete(w: World, n: int) -> None:
    """Tell clients what every required node has acknowledged."""
    view = w.nodes[n][VIEW]
    if view is None:
        return
    if CFG["min"] and R["min_pend"] and len(sure_members(w, n)) < CFG["min"]:
        return
    required_nodes = required(n, view)
    if not all(counts(view, m, epoch) for m, epoch in required_nodes):
        return
    keep, done = [], []
    held_back: set = set()
    for op in view.pending:
        ready = op.cover[n] == ACKED and all(op.cover[m] == ACKED for m, _ in required_nodes)
        if ready and not (CFG["water"] and held_back.intersection(op.order)):
            done.append(op)
        else:
            keep.append(op)
            held_back.update(op.order)
    if done:
        w.view(n, pending=tuple(keep))
        tell(w, n, *[fact for op in done for fact in op.facts])


def tell(w: World, n: int, *facts: tuple) -> None:
    """Clients learn these facts.

    ("E", v) publish stored; ("S", v) accept settled; ("N", v) never stored, its sequence is given up; ("I", u, g, id)
    given out for ever; ("O", u, g, id) out for ever; ("+", u) queue declared; ("-", u) queue deleted; ("L", node, epoch,
    u, v) stored on this node alone; ("R", publisher, epoch) registered.
    """
    w.know(TOLD, *facts)
    for fact in facts:
        if fact[0] == "R":
            registered(w, *fact[1:])
    view = w.nodes[n][VIEW]
    if view is None or view.generation != w.record.generation:
        return
    for fact in facts:
        if fact[0] == "E":
            check_held(w, facts, fact[1])


def registered(w: World, publisher: int, epoch: tuple) -> None:
    """The publisher begins with this epoch, unless it was told a later one."""
    if epoch > w.ghost[CLIENTS][publisher - 1][0]:
        w.ghost[CLIENTS] = put_at(w.ghost[CLIENTS], publisher - 1, (epoch, 0))


COMMITTED = 100
"""Values from here on are published in commits (`transactions`)."""


def had(w: World, disk: Store, v: int) -> bool:
    """Whether the history of this store has the publish, though a consumer may have taken the message since."""
    queues = dict(disk.queues)
    given = [(u, m) for u, m in w.ghost[GIVEN] if m.value == v]
    gone = any(u not in queues for u, _ in given)  # Q-a and Q-b judge whether it may be.
    return gone or any(in_history(queues[u], m.generation, m.id) for u, m in given)


def check_held(w: World, facts: tuple, v: int) -> None:
    """F3 and S8, at the moment a publish is answered OK by the primary of the record.

    A commit is answered at its own position (TX6): a member may have the publish, and its accept as well.
    """
    members = [(w.nodes[m][DISK], epoch) for m, epoch in w.record.members]
    holding = [
        disk
        for disk, epoch in members
        if disk.epoch != epoch or v in values(disk) or (v >= COMMITTED and had(w, disk, v))
    ]  # (Or lost since.)
    dropped = any(x == v for _, x in w.ghost[DROPPED])
    if CFG["settle"] == "rep" and v in w.ghost[ACCEPTED] and ("S", v) not in w.ghost[TOLD]:
        if 0 < len(holding) < len(members) and ("S", v) not in facts and not dropped:
            raise Violation(f"F3 v{v} acked on an unconfirmed consumption; a member never had it")
    if CFG["min"] and v not in w.ghost[ACCEPTED] and not dropped and len(holding) < CFG["min"]:
        raise Violation(f"S8 v{v} acked on {len(holding)} members, fewer than {CFG['min']}")
