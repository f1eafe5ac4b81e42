"""What a backup makes of the frames of its session: parts, the flip, acknowledgements (TX2, C5)."""

from __future__ import annotations

from tests.model.state.history import added, in_history, removed, trim_all
from tests.model.state.nouns import (
    ACK_DUE,
    DISK,
    LINK,
    MEM,
    NONE,
    PARTS,
    PLANNED,
    REPLICATED,
    STAGED,
    TOLD,
    VIEW,
    C,
    Frame,
    PlanItem,
    Queue,
    Store,
    Violation,
    World,
    channel,
)
from tests.model.state.options import CFG
from tests.model.state.parts import apply_all
from tests.model.state.quarantine import judge, release_alive
from tests.model.state.rules import R
from tests.model.state.sessions import compared, leave_session


def receive(w: World, b: int, p: int) -> None:
    """Backup b reads one frame."""
    x = w.nodes[b]
    at = channel(p, b)
    c = w.chans[at]
    frame = c.to_backup[0]
    w.chans[at] = c._replace(to_backup=c.to_backup[1:])
    store = x[MEM]
    if frame.generation < store.generation:
        leave_session(w, b)
        return
    if frame.kind == "S":
        x[STAGED] = tuple(sorted({*x[STAGED], frame.body}))
        return
    if frame.kind == "I":
        x[PLANNED] = (*x[PLANNED], frame.body)
        return
    if frame.kind == "T" and R["tx_hold"]:
        x[PARTS] = (*x[PARTS], *frame.body)
        if not R["tx_ack"]:
            send_ack(w, b, frame.seq)
        return
    store = store._replace(generation=max(frame.generation, store.generation))
    if frame.kind == "P":
        store = flipped(w, b, store, frame)
    else:
        store = apply_all(store, (*x[PARTS], *frame.body), backup=True)
        x[PARTS] = ()
    x[MEM] = store = trim_all(store)
    acked = frame.kind != "T"
    if not CFG["sync"]:
        x[DISK] = store
        if x[LINK] is not None and x[LINK][0] == p and acked:
            send_ack(w, b, frame.seq)
    elif acked:
        x[ACK_DUE] = frame.seq


def send_ack(w: World, b: int, seq: int) -> None:
    p, sid = w.nodes[b][LINK]
    at = channel(p, b)
    c = w.chans[at]
    if c.sid == sid and w.nodes[p][VIEW] is not None:
        acks = c.to_primary
        if acks and acks[-1][0] == sid:  # Cumulative: the newest is enough.
            acks = acks[:-1]
        w.chans[at] = c._replace(to_primary=(*acks, (sid, seq)))


def flipped(w: World, b: int, store: Store, frame: Frame) -> Store:
    """C5, Q4, Q8: equal to the primary, in one transaction over all queues."""
    items, is_last, gone = frame.body
    early = [item for item in w.nodes[b][PLANNED] if item.uuid not in gone]
    planned = {item.uuid: item for item in (*early, *items)}  # The last plan of a queue counts.
    queues = dict(store.queues)
    keyed = queues[C]
    for item in planned.values():
        queues[item.uuid] = flipped_queue(w, b, queues.get(item.uuid), item, frame.generation)
    if not R["dd_flip"]:
        queues[C] = keep_entries(queues[C], keyed)
    if is_last:
        for u in [u for u in queues if u not in planned]:
            judge_queue(w, b, queues, u, planned[C], frame.generation)
        release_alive(w, b, planned)
    if not R["stage_gone"]:
        for u, m in w.nodes[b][STAGED]:
            if u not in planned:
                queues[u] = added(queues.get(u, Queue((), (), 1, ())), m)
    w.nodes[b][STAGED] = w.nodes[b][PLANNED] = ()
    return store._replace(queues=tuple(sorted(queues.items())))


def flipped_queue(w: World, b: int, old: Queue | None, item: PlanItem, generation: int) -> Queue:
    """One queue of the plan. What it drops is judged by the primary's history (W1)."""
    u = item.uuid
    q = old or Queue(item.birth, (), 1, (), item.level)
    if not compared(q) and item.level != REPLICATED:
        return q._replace(birth=item.birth)
    history = Queue((), item.lineage, item.next, ())
    for m in item.drops:
        judge(w, b, u, q, m, in_history(history, m.generation, m.id), generation, False)
        q = removed(q, m.generation, m.id)
    for m in item.adds:
        q = added(q, m)
    for v, m in w.nodes[b][STAGED]:
        if v == u and m not in item.unstage:
            q = added(q, m)
    return Queue(item.birth, item.lineage, item.next, q.held, item.level)


def judge_queue(w: World, b: int, queues: dict, u: int, plan_of_c: PlanItem, generation: int) -> None:
    """Q4: a queue that the primary does not have was deleted, or was never declared in its history."""
    if queues[u].level == NONE and R["lv_own"]:
        return
    q = queues.pop(u)
    if q.level != REPLICATED:
        return  # Its messages are not replicated: they go with it.
    known = in_history(Queue((), plan_of_c.lineage, plan_of_c.next, ()), *(q.birth or (0, 0)))
    if known is None and any(("I", u, m.generation, m.id) in w.ghost[TOLD] for m in q.held):
        raise Violation(f"Q-e acked messages of deleted queue {u} are offered as unknown on {b}")
    if not R["q_erase"]:
        known = False
    if not R["q_rewound"]:
        known = True
    for m in q.held:
        judge(w, b, u, q, m, known, generation, True)


def keep_entries(q: Queue, before: Queue) -> Queue:
    """Mutation of EO2: an entry keeps the highest sequence that this node ever saw."""
    seen = {m.value[:3]: m.value for m in before.held if m.value[0] == "p"}
    held = [
        m._replace(value=max(m.value, seen.get(m.value[:3], m.value))) if m.value[0] == "p" else m
        for m in q.held
    ]
    return q._replace(held=tuple(held))
