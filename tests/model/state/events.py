"""What may happen next: every event of a state, and the states that follow."""

from __future__ import annotations

from collections.abc import Iterator

from tests.model.state import backup, faults, manager, sessions
from tests.model.state.clients import Action, client_actions
from tests.model.state.invariants import check
from tests.model.state.nouns import (
    ACK_DUE,
    BOOT,
    CAS,
    DISK,
    LINK,
    MEM,
    NO_NODE,
    NODES,
    NONE,
    NOT_COVERED,
    ROLE,
    UP,
    VIEW,
    Violation,
    World,
    channel,
)
from tests.model.state.options import CFG, can
from tests.model.state.quarantine import hand_over


def step(w: World, event: tuple) -> tuple:
    """Do it; the state after it, checked. Raises `Violation`."""
    function, args = event
    function(w, *args)
    hand_over(w)
    after = w.freeze()
    check(after)
    return after


def successors(state: tuple) -> Iterator[tuple[tuple, tuple, str | None]]:
    """(label, state, violation or None) of every event that may come next."""
    for label, *event in actions(state):
        w = World(state)
        try:
            yield label, step(w, tuple(event)), None
        except Violation as violation:
            yield label, w.freeze(), str(violation)


def actions(state: tuple) -> list[Action]:
    nodes, chans = state[2], state[3]
    acts: list[Action] = []
    for n in range(NODES):
        x = nodes[n]
        if not x[UP]:
            acts.append((("restart", n), faults.restart, (n,)))
            continue
        if x[ROLE] == 1:
            client_actions(state, n, acts)
            primary_actions(state, n, acts)
        else:
            backup_actions(state, n, acts)
        node_actions(state, n, acts)
    for p in range(NODES):
        for b in range(NODES):
            if chans[channel(p, b)].to_primary and nodes[p][UP]:
                acts.append((("ack", p, b), sessions.acknowledge, (p, b)))
    for request in state[1]:
        label = ("mgr", request.node, request.kind, request.expected)
        acts.append((label, manager.manager_applies, (request,)))
    return acts


def node_actions(state: tuple, n: int, acts: list[Action]) -> None:
    """What any node that is up may do, or suffer."""
    x = state[2][n]
    unsynced = x[MEM] != x[DISK]
    if unsynced or x[ACK_DUE] or (x[ROLE] == 1 and any(op.cover[n] == NOT_COVERED for op in x[VIEW].pending)):
        acts.append((("sync", n), faults.fsync, (n,)))
    if x[CAS] is not None and x[CAS].status != "sent":
        acts.append((("cas" + x[CAS].status, n), manager.cas_resolved, (n,)))
    elif x[CAS] is not None and can(state, "casto"):
        acts.append((("casto", n), manager.cas_times_out, (n,)))
    if can(state, "crash"):
        acts.append((("crash", n), faults.crash, (n, False)))
        if unsynced:
            acts.append((("crashp", n), faults.crash, (n, True)))
    if can(state, "wipe"):
        acts.append((("wipe", n), faults.wipe, (n,)))


def primary_actions(state: tuple, n: int, acts: list[Action]) -> None:
    record, x = state[0], state[2][n]
    view = x[VIEW]
    if x[CAS] is None:
        if can(state, "rem"):
            for m, _ in view.members:
                if m != n:
                    acts.append((("rem", n, m), manager.remove_member, (n, m)))
        for b in range(NODES):
            if manager.may_add(n, view, b) and can(state, "add"):
                acts.append((("add", n, b), manager.add_member, (n, b)))
        if manager.joiner_is_level(view):
            acts.append((("addcas", n), manager.send_addition, (n,)))
        if can(state, "demote"):
            acts.append((("demote", n), manager.demote, (n,)))
    for b in range(NODES) if CFG["chunks"] else ():
        session = view.sessions[b]
        if session is not None and sessions.catching_up(state[3], n, b, session):
            for u, m in sessions.stageable(x[MEM].queues, session):
                acts.append((("stage", b, n, u, f"{m.id}@{m.generation}"), sessions.stage, (b, n, u, m)))
            done = {item.uuid for item in session.planned}
            for u, q in x[MEM].queues if can(state, "ahead") else ():
                if u not in done and q.level != NONE:
                    acts.append((("ahead", b, n, u), sessions.plan_ahead, (b, n, u)))
            acts.append((("snap", b, n), sessions.snapshot, (b, n)))
    if record.generation > view.generation or record.primary == NO_NODE:
        acts.append((("watch", n), sessions.step_down, (n,)))


def backup_actions(state: tuple, n: int, acts: list[Action]) -> None:
    record, nodes, chans = state[0], state[2], state[3]
    x = nodes[n]
    if x[LINK] is not None:
        p, sid = x[LINK]
        c = chans[channel(p, n)]
        if c.sid == sid and c.to_backup:
            acts.append((("recv", n, p), backup.receive, (n, p)))
    generation = x[MEM].generation
    if can(state, "reconn") and (x[CAS] is None or x[CAS].kind == "prom"):
        for p in range(NODES):
            if p == n or not nodes[p][UP] or nodes[p][ROLE] != 1:
                continue
            if generation <= nodes[p][VIEW].generation:
                acts.append((("conn", n, p), sessions.subscribe, (n, p, False)))
                if chans[channel(p, n)].to_primary:
                    acts.append((("connk", n, p), sessions.subscribe, (n, p, True)))
            else:
                acts.append((("fence", n, p), sessions.step_down, (p,)))
    if x[CAS] is not None:
        return
    if can(state, "prom") and (n, x[MEM].epoch) in record.members:
        acts.append((("prom", n), manager.promote, (n,)))
    if record.primary == n and record.boot == x[BOOT] and generation < record.generation:
        acts.append((("adopt", n), manager.adopt, (n,)))
