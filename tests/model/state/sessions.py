"""Sessions on the primary's side: subscription, catch-up in chunks, plan, acknowledgements (C1 to C5)."""

from __future__ import annotations

from collections.abc import Iterator

from tests.model.state.completion import complete
from tests.model.state.nouns import (
    ACK_DUE,
    ACKED,
    BEFORE_SNAPSHOT,
    CAS,
    LINK,
    MEM,
    NO_CHANNEL,
    NODES,
    NONE,
    NOT_COVERED,
    PARTS,
    PLANNED,
    REFUSED,
    REPLICATED,
    ROLE,
    STAGED,
    VIEW,
    Channel,
    Frame,
    Message,
    PlanItem,
    Queue,
    Session,
    World,
    channel,
    put_at,
)
from tests.model.state.options import CFG, use
from tests.model.state.rules import R


def end_sending(w: World, n: int) -> None:
    """Primary n is gone: acknowledgements to it are lost, what it sent may still arrive."""
    for b in range(NODES):
        at = channel(n, b)
        c = w.chans[at]
        if c != NO_CHANNEL:
            w.chans[at] = Channel(c.sid, c.alive, c.to_backup, ()) if c.to_backup else NO_CHANNEL


def step_down(w: World, n: int) -> None:
    """K1, TX8: complete nothing more; what is pending is in doubt, commits as well."""
    view = w.nodes[n][VIEW]
    if not R["tx_doubt"]:
        for op in view.pending:
            if op.commit:
                w.know(REFUSED, *[f[1] for f in op.facts if f[0] == "E"])
    w.nodes[n][ROLE] = 0
    w.nodes[n][VIEW] = None
    w.nodes[n][CAS] = None
    end_sending(w, n)


def leave_session(w: World, b: int) -> None:
    """Backup b leaves its session; acknowledgements that it sent may still arrive (C1, TX3)."""
    x = w.nodes[b]
    x[LINK] = None
    x[ACK_DUE] = 0
    x[STAGED] = x[PLANNED] = ()
    if R["tx_fresh"]:
        x[PARTS] = ()
    for p in range(NODES):
        at = channel(p, b)
        c = w.chans[at]
        if c != NO_CHANNEL:
            late = c.to_primary and w.nodes[p][VIEW] is not None
            w.chans[at] = Channel(c.sid, 0, (), c.to_primary) if late else NO_CHANNEL


def compared(q: Queue) -> bool:
    """LV1: whether the messages of this queue are in descriptions, plans and comparisons."""
    return q.level == REPLICATED or not R["lv_compare"]


def plan(ours: tuple, theirs: tuple, staged: tuple) -> tuple:
    """C4, for every queue of the primary; the backup finds by itself which of its queues are not among them."""
    items = []
    described = dict(theirs)
    for u, q in ours:
        if q.level == NONE:
            continue
        if not compared(q):
            items.append(PlanItem(u, q.birth, q.level, (), 1, (), (), ()))
            continue
        other = described[u].held if u in described else ()
        mine = [m for v, m in staged if v == u]
        own = {(h.generation, h.id) for h in q.held}
        have = {(h.generation, h.id) for h in (*other, *mine)}
        adds = tuple([h for h in q.held if (h.generation, h.id) not in have])
        drops = tuple([h for h in other if (h.generation, h.id) not in own])
        unstage = tuple([m for m in mine if (m.generation, m.id) not in own])
        items.append(PlanItem(u, q.birth, q.level, q.lineage, q.next, adds, drops, unstage))
    return tuple(items)


def plan_frames(generation: int, items: tuple, gone: tuple = ()) -> list[Frame]:
    """Gone: queues whose plan was sent before, and that are deleted by now (Q9)."""
    if R["flip_one"]:
        return [Frame("P", generation, 1, (items, True, gone))]
    # Mutation of Q8: C first, then the queues.
    return [Frame("P", generation, 1, (items[:1], False, ())), Frame("P", generation, 2, (items, True, gone))]


def subscribe(w: World, b: int, p: int, keep_acks: bool) -> None:
    """SUB. Without chunks the plan follows in the same step."""
    sid = 10 + use(w, "reconn")
    x = w.nodes[b]
    leave_session(w, b)
    at = channel(p, b)
    late_acks = w.chans[at].to_primary if keep_acks else ()
    view = w.nodes[p][VIEW]
    old = view.sessions[b]
    epoch = x[MEM].epoch
    frames: list[Frame] = []
    if CFG["chunks"]:
        session = Session(sid, BEFORE_SNAPSHOT, 0, 0, epoch, x[MEM].queues)
        covered = NOT_COVERED
    else:
        frames = plan_frames(view.generation, plan(w.nodes[p][MEM].queues, x[MEM].queues, ()))
        covered = len(frames)
        session = Session(sid, covered, covered, 0, epoch)
    w.chans[at] = Channel(sid, 1, tuple(frames), late_acks)
    x[LINK] = (p, sid)
    joining = view.joining
    if joining is not None and joining.node == b and w.nodes[p][CAS] is None:
        joining = None  # J2c: its addition was not sent yet.
    w.view(p, sessions=put_at(view.sessions, b, session), joining=joining)
    cover_again(w, p, b, covered, old is not None and old.epoch != epoch)


def cover_again(w: World, p: int, b: int, seq: int, is_another: bool) -> None:
    """C3: what node b has not acknowledged is covered by this seq. Another life of its store acknowledged nothing."""
    pending = [op if op.cover[b] == ACKED and not is_another else
               op._replace(cover=put_at(op.cover, b, seq)) for op in w.nodes[p][VIEW].pending]  # fmt: skip
    w.view(p, pending=tuple(pending))


def catching_up(chans: tuple | list, p: int, b: int, session: Session | None) -> bool:
    """chunks: a session between SUB and its snapshot whose link is up."""
    if session is None or session.described is None:
        return False
    c = chans[channel(p, b)]
    return bool(c.sid == session.sid and c.alive)


def stageable(ours: tuple, session: Session) -> Iterator[tuple[int, Message]]:
    """What may be sent ahead of the plan: held now, and neither described nor staged."""
    described = dict(session.described or ())
    for u, q in ours:
        if q.level != REPLICATED:
            continue
        theirs = described[u].held if u in described else ()
        for m in q.held:
            if m not in theirs and (u, m) not in session.staged:
                yield u, m


def stage(w: World, b: int, p: int, u: int, m: Message) -> None:
    """Send one message of the present content ahead of the plan."""
    view = w.nodes[p][VIEW]
    session = view.sessions[b]
    at = channel(p, b)
    c = w.chans[at]
    w.chans[at] = c._replace(to_backup=(*c.to_backup, Frame("S", view.generation, 0, (u, m))))
    staged = tuple(sorted((*session.staged, (u, m))))
    w.view(p, sessions=put_at(view.sessions, b, session._replace(staged=staged)))


def plan_ahead(w: World, b: int, p: int, u: int) -> None:
    """Send the plan of one queue before the snapshot; it is corrected by the snapshot if it is not exact any more."""
    view = w.nodes[p][VIEW]
    use(w, "ahead")
    session = view.sessions[b]
    items = plan(w.nodes[p][MEM].queues, session.described, session.staged)
    item = next(item for item in items if item.uuid == u)
    at = channel(p, b)
    c = w.chans[at]
    w.chans[at] = c._replace(to_backup=(*c.to_backup, Frame("I", view.generation, 0, item)))
    session = session._replace(planned=tuple(sorted((*session.planned, item))))
    w.view(p, sessions=put_at(view.sessions, b, session))


def snapshot(w: World, b: int, p: int) -> None:
    """The exact plan against what was described at SUB and staged since, at this instant."""
    view = w.nodes[p][VIEW]
    session = view.sessions[b]
    exact = plan(w.nodes[p][MEM].queues, session.described, session.staged)
    present = {item.uuid for item in exact}
    items = tuple([item for item in exact if item not in session.planned])
    gone = (
        tuple([item.uuid for item in session.planned if item.uuid not in present]) if R["plan_gone"] else ()
    )
    frames = plan_frames(view.generation, items, gone)
    at = channel(p, b)
    c = w.chans[at]
    w.chans[at] = c._replace(to_backup=(*c.to_backup, *frames))
    seq = len(frames)
    w.view(p, sessions=put_at(view.sessions, b, Session(session.sid, seq, seq, 0, session.epoch)))
    cover_again(w, p, b, seq, False)


def acknowledge(w: World, p: int, b: int) -> None:
    """The primary reads an acknowledgement. Those of another session do not count."""
    at = channel(p, b)
    c = w.chans[at]
    (sid, seq), rest = c.to_primary[0], c.to_primary[1:]
    w.chans[at] = c._replace(to_primary=rest) if c.alive or rest else NO_CHANNEL
    view = w.nodes[p][VIEW]
    if view is None or view.sessions[b] is None or view.sessions[b].sid != sid:
        return
    session = view.sessions[b]
    session = session._replace(acked=max(session.acked, min(seq, session.sent)))
    pending = tuple([op._replace(cover=put_at(op.cover, b, ACKED)) if 0 < op.cover[b] <= seq else op
                     for op in view.pending])  # fmt: skip
    w.view(p, sessions=put_at(view.sessions, b, session), pending=pending)
    complete(w, p)


def follows(w: World, b: int, n: int) -> bool:
    """Node b is primary n, or flipped to its history in the session that it is in (U4)."""
    if b == n:
        return True
    s, link = w.nodes[n][VIEW].sessions[b], w.nodes[b][LINK]
    return s is not None and link == (n, s.sid) and s.acked >= s.plan_seq
