"""The cluster manager, promotion, membership and hand-over, all by compare-and-set (M1 to M4, P1 to P4, J1 to J3)."""

from __future__ import annotations

from tests.model.state.completion import complete
from tests.model.state.nouns import (
    ACTIVATED,
    BOOT,
    CAS,
    MEM,
    NO_NODE,
    NODES,
    ROLE,
    UP,
    VIEW,
    Cas,
    Joining,
    Record,
    Request,
    View,
    Violation,
    World,
)
from tests.model.state.operations import changed
from tests.model.state.options import CFG, use
from tests.model.state.sessions import leave_session, step_down


def issue(w: World, n: int, kind: str, new: Record, expected: int) -> None:
    request = Request(n, w.nodes[n][BOOT], kind, expected, new)
    if request not in w.inbox:
        w.inbox = tuple(sorted((*w.inbox, request)))
    w.nodes[n][CAS] = Cas(kind, expected, new, "sent")


def manager_applies(w: World, request: Request) -> None:
    """The request arrives, now or much later."""
    w.inbox = tuple([x for x in w.inbox if x != request])
    n, boot, kind, expected, new = request
    ok = w.record.version == expected
    if ok:
        w.record = new
    x = w.nodes[n]
    cas = x[CAS]
    waiting = x[UP] and x[BOOT] == boot and cas is not None and cas.status == "sent"
    if waiting and cas[:3] == (kind, expected, new):
        x[CAS] = Cas(kind, expected, new, "ok" if ok else "fail")


def cas_times_out(w: World, n: int) -> None:
    use(w, "casto")
    w.nodes[n][CAS] = w.nodes[n][CAS]._replace(status="doubt")


def cas_resolved(w: World, n: int) -> None:
    """The node reads the answer, or, in doubt, the record; then its request is resolved, or not yet."""
    x = w.nodes[n]
    kind, expected, new, status = x[CAS]
    record = w.record
    if kind == "prom":
        if status == "ok":
            activate(w, n, new)
        elif record[1:4] == new[1:4]:
            activate(w, n, record)
        else:
            x[CAS] = None
        return
    if status == "ok":
        cas_applied(w, n, kind, new)
    elif not (record.generation == x[VIEW].generation and record.primary == n and record.boot == x[BOOT]):
        step_down(w, n)
    elif record.version > expected:
        cas_applied(w, n, kind, record)
    else:
        issue(w, n, kind, new, expected)


def cas_applied(w: World, n: int, kind: str, record: Record) -> None:
    w.nodes[n][CAS] = None
    if record.primary == NO_NODE:
        step_down(w, n)
        return
    view = w.view(n, members=record.members, version=record.version)
    if kind == "add" and view.joining is not None:
        w.view(n, joining=None)
    complete(w, n)


def promote(w: World, n: int) -> None:
    use(w, "prom")
    old = w.record
    members = old.members
    if CFG["drop_old"] and old.primary != n:
        members = tuple([m for m in members if m[0] != old.primary])
    new = Record(old.version + 1, old.generation + 1, n, w.nodes[n][BOOT], members)
    issue(w, n, "prom", new, old.version)


def activate(w: World, n: int, record: Record) -> None:
    """A promotion was won: begin the generation (P2, P3)."""
    x = w.nodes[n]
    generation = record.generation
    x[CAS] = None
    if x[MEM].generation >= generation or x[ROLE] == 1:
        return
    for a in w.ghost[ACTIVATED]:
        if a[0] == generation and a != (generation, n, x[BOOT]):
            raise Violation(f"F1 generation {generation} activated twice")
    w.know(ACTIVATED, (generation, n, x[BOOT]))
    leave_session(w, n)
    queues = x[MEM].queues
    if not CFG["entry"]:
        queues = tuple([(u, q._replace(lineage=(*q.lineage, (generation, q.next)))) for u, q in queues])
    x[ROLE] = 1
    x[VIEW] = View(generation, record.version, record.members, (None,) * NODES, None, ())
    changed(w, n, x[MEM]._replace(generation=generation, queues=queues))


def adopt(w: World, n: int) -> None:
    """A promotion that was given up turns out to have been applied."""
    activate(w, n, w.record)


def remove_member(w: World, n: int, m: int) -> None:
    use(w, "rem")
    view = w.nodes[n][VIEW]
    members = tuple([x for x in view.members if x[0] != m])
    issue(w, n, "rem", Record(view.version + 1, view.generation, n, w.nodes[n][BOOT], members), view.version)


def add_member(w: World, n: int, b: int) -> None:
    """J2a: from now on completions wait for the joiner."""
    use(w, "add")
    session = w.nodes[n][VIEW].sessions[b]
    w.view(n, joining=Joining(b, session.sid, session.sent, session.epoch))


def send_addition(w: World, n: int) -> None:
    """J2b: the joiner reached its target."""
    view = w.nodes[n][VIEW]
    b = view.joining.node
    members = tuple(sorted([m for m in view.members if m[0] != b] + [(b, view.joining.epoch)]))
    issue(w, n, "add", Record(view.version + 1, view.generation, n, w.nodes[n][BOOT], members), view.version)


def demote(w: World, n: int) -> None:
    """A hand-over: the record keeps its generation and members and names no primary."""
    use(w, "demote")
    view = w.nodes[n][VIEW]
    new = Record(view.version + 1, view.generation, NO_NODE, 0, view.members)
    issue(w, n, "demote", new, view.version)


def may_add(n: int, view: View, b: int) -> bool:
    s = view.sessions[b]
    if view.joining is not None or s is None or b == n:
        return False
    return bool(s.acked >= s.plan_seq and all(m != b for m, _ in view.members))


def joiner_is_level(view: View) -> bool:
    joining = view.joining
    if joining is None or view.sessions[joining.node] is None:
        return False
    session = view.sessions[joining.node]
    return bool(session.sid == joining.sid and session.acked >= joining.target)
