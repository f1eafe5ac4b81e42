"""Deliveries, holds, accepts and releases (O6, U2, TX6, TX7)."""

from __future__ import annotations

from tests.model.state.completion import complete, tell
from tests.model.state.history import find, root_of, successor
from tests.model.state.nouns import (
    ACCEPTED,
    ACKED,
    HANDED_OVER,
    LEFT,
    NODES,
    REFUSED,
    TOLD,
    VIEW,
    C,
    Hold,
    Message,
    Pending,
    View,
    Violation,
    World,
)
from tests.model.state.operations import echo, operate
from tests.model.state.options import CFG, use
from tests.model.state.rules import R


def check_delivery(w: World, n: int, u: int, m: Message, own: Hold | None = None) -> None:
    """What must not happen at the moment a consumer gets m from primary n. Own: the hold by which it has m already."""
    current = w.nodes[n][VIEW].generation >= w.record.generation
    v = m.value
    if v in w.ghost[REFUSED] or (current and ("N", v) in w.ghost[TOLD]):
        raise Violation(f"S2 v{v} was refused, rolled back or given up, and is delivered")
    if current and root_of(u, m) in w.ghost[HANDED_OVER]:
        raise Violation(f"R-g v{v} was handed over as rewound and is delivered")
    if current and ("S", v) in w.ghost[TOLD] and CFG["settle"] == "rep":
        raise Violation(f"S3 settled v{v} is delivered again by the current primary")
    for hold in w.nodes[n][VIEW].acquired:
        if hold != own and hold.queue == u and hold.root == root_of(u, m):
            raise Violation(f"U-a v{v} is delivered to two consumers at a time")


def is_held(view: View, u: int, m: Message) -> bool:
    """U2: a consumer holds this message, or one that it replaced."""
    if R["upd_hold"]:
        return any(h.queue == u and h.root == root_of(u, m) for h in view.acquired)
    return any((h.queue, h.generation, h.id) == (u, m.generation, m.id) for h in view.acquired)


def consumed(w: World, n: int, m: Message, cover: tuple, in_commit: bool) -> None:
    """O6, TX6, TX7: what becomes of a pending publish whose message is accepted by the operation with this cover."""
    fact = ("E", m.value)
    pending: list[Pending] = []
    told: list[tuple] = []
    for op in w.nodes[n][VIEW].pending:
        mine = fact in op.facts and op.cover is not cover
        if mine and not R["upd_origin"] and m.root:
            mine = False  # Looked up by its own identity.
        if not mine:
            pending.append(op)
        elif CFG["settle"] == "imm" and not in_commit:
            rest = op._replace(facts=tuple([f for f in op.facts if f != fact]))
            if op.commit and not R["tx_imm"]:
                told += op.facts
                rest = rest._replace(facts=())
            elif op.commit:
                rest = op
            elif CFG["water"]:  # It is answered in its order.
                pending.append(op._replace(facts=(fact,), cover=(ACKED,) * NODES))
                rest = rest._replace(order=())
            else:
                told.append(fact)
            pending.append(rest)
        elif op.commit and CFG["own"]:
            pending.append(op)  # Who has its position has the message, or its accept as well.
        elif in_commit and not R["tx_cons"]:
            told.append(fact)
            pending.append(op._replace(facts=tuple([f for f in op.facts if f != fact])))
        else:
            pending.append(op._replace(cover=cover))
    w.view(n, pending=tuple(pending))
    if told:
        tell(w, n, *told)


def accept(w: World, n: int, u: int, k: int) -> None:
    """A consumer gets the k-th message and accepts it."""
    use(w, "acc")
    m = w.queues(n)[u].held[k]
    check_delivery(w, n, u, m)
    accept_message(w, n, u, m)


def accept_message(w: World, n: int, u: int, m: Message) -> None:
    w.know(ACCEPTED, m.value)
    facts = (("S", m.value),) if CFG["settle"] == "rep" else ()
    cover = operate(w, n, [("D", u, (m.generation, m.id))], facts)
    consumed(w, n, m, cover, False)
    complete(w, n)


def deliver(w: World, n: int, u: int, k: int) -> None:
    """A consumer gets the k-th message and holds it."""
    use(w, "dlv")
    m = w.queues(n)[u].held[k]
    check_delivery(w, n, u, m)
    hold = Hold(u, m.generation, m.id, root_of(u, m), m.value)
    w.view(n, acquired=(*w.nodes[n][VIEW].acquired, hold))


def meant(queues: dict, hold: Hold, follow: bool = True) -> Message | None:
    """U2: the message that is held: that of the id, or its successor in this queue. None: it is gone, refused."""
    if hold.queue not in queues:
        return None
    m = find(queues[hold.queue], hold.generation, hold.id)
    if m is None and follow:
        m = successor(queues[hold.queue], hold.queue, hold.root)
    return m


def let_go(w: World, n: int, hold: Hold) -> None:
    w.view(n, acquired=tuple([h for h in w.nodes[n][VIEW].acquired if h != hold]))


def accept_held(w: World, n: int, i: int) -> None:
    """The accept of a message that was delivered before."""
    hold = w.nodes[n][VIEW].acquired[i]
    let_go(w, n, hold)
    queues = w.queues(n)
    m = meant(queues, hold, R["upd_follow"])
    if m is not None:
        accept_message(w, n, hold.queue, m)
    elif not R["upd_follow"] and hold.queue in queues:  # Mutation: a DEQ of an unknown id is legal.
        w.know(ACCEPTED, hold.value)
        operate(w, n, [("D", hold.queue, (hold.generation, hold.id))], (("S", hold.value),))
        complete(w, n)
    elif hold.queue in queues and not (R["upd_moved"] and lives_on(queues, hold)):
        accept_again(w, n, hold)


def lives_on(queues: dict, hold: Hold) -> bool:
    """It was moved to another queue."""
    return any(m.value == hold.value for u, q in queues.items() if u != C for m in q.held)


def accept_again(w: World, n: int, hold: Hold) -> None:
    """O2, U2: the accept of a message that was consumed is confirmed, when the present position is complete."""
    facts = (("S", hold.value),) if CFG["settle"] == "rep" else ()
    if not R["upd_told"]:  # Mutation: at once.
        tell(w, n, *facts)
    else:
        echo(w, n, facts)


def release(w: World, n: int, i: int) -> None:
    """The message that is held may be delivered again."""
    use(w, "rel")
    hold = w.nodes[n][VIEW].acquired[i]
    let_go(w, n, hold)
    if not R["upd_release"] and meant(w.queues(n), hold, follow=False) is None:
        view = w.nodes[n][VIEW]
        w.view(n, acquired=(*view.acquired, hold._replace(in_transaction=LEFT)))
