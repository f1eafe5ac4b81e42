"""The end of all faults: everyone returns, publishers repeat, everything is consumed, all become equal and empty."""

from __future__ import annotations

from tests.model.state import delivery, faults, manager, publishing, sessions, transactions
from tests.model.state.backup import receive
from tests.model.state.clients import is_answered, may_repeat, may_repeat_commit
from tests.model.state.history import shared, values
from tests.model.state.invariants import check, unanswered
from tests.model.state.nouns import (
    ACCEPTED,
    ACK_DUE,
    BOOT,
    CAS,
    DISK,
    DROPPED,
    IN_TRANSACTION,
    LINK,
    MEM,
    NO_NODE,
    NODES,
    REPLICATED,
    ROLE,
    SENT,
    TAG,
    TOLD,
    UP,
    VIEW,
    C,
    View,
    Violation,
    World,
    channel,
)
from tests.model.state.options import BUDGET, CFG
from tests.model.state.quarantine import hand_over
from tests.model.state.rules import R

ROUNDS = 80


def heal_check(state: tuple) -> str | None:
    """What is wrong after healing; None if nothing is."""
    try:
        result = heal(state)
    except Violation as violation:
        return "after healing: " + str(violation)
    if result == "dead":  # No node may be promoted: legal only if disks were lost.
        return None if state[5][BUDGET["wipe"]] else "live: no promotable node"
    return result


def heal(state: tuple) -> str | None:
    """Run one fair schedule without faults."""
    w = World(state)
    idle = primary = 0
    for _ in range(ROUNDS):
        before = w.freeze()
        heal_nodes(w)
        primaries = [n for n in range(NODES) if is_recorded_primary(w, n)]
        if not primaries:
            if any(w.nodes[n][CAS] is not None for n in range(NODES)) or w.inbox:
                continue
            if not heal_promote(w):
                return "dead"
            continue
        primary = primaries[0]
        heal_backups(w, primary)
        heal_membership(w, primary)
        if heal_drain(w, primary):
            break
        hand_over(w)
        check(w.freeze())
        if w.freeze()[:5] == before[:5]:
            idle += 1
            if idle > 2:
                return f"live: no progress, pending={w.nodes[primary][VIEW].pending!r}"
    else:
        return "live: not healed"
    hand_over(w)
    check(w.freeze())
    return healed(w, primary)


def healed(w: World, primary: int) -> str | None:
    """All equal, all empty, everything acknowledged delivered, everything made answered."""
    for n in range(NODES):
        if values(w.nodes[n][MEM]):
            return f"live: node {n} not drained"
        if CFG["struct"] and shared(w.nodes[n][MEM].queues) != shared(w.nodes[primary][MEM].queues):
            return f"R-a after healing: node {n} differs"
    gone = {v for _, v in w.ghost[DROPPED]} | {t[1] for t in w.ghost[TAG] if t[0] == "evict"}
    lost = {f[1] for f in w.ghost[TOLD] if f[0] == "E"} - w.ghost[ACCEPTED] - gone
    if lost:
        return f"S1 acked {sorted(lost)!r} never delivered"
    open_ = unanswered(tuple(w.ghost), w.nodes[primary][MEM]) if CFG["dedup"] and R["dd_bind"] else []
    return f"live: {open_!r} was made and its publisher is never told" if open_ else None


def heal_nodes(w: World) -> None:
    """Restart every node, resolve every compare-and-set, sync every store."""
    for n in range(NODES):
        if not w.nodes[n][UP]:
            faults.restart(w, n)
    for request in list(w.inbox):
        manager.manager_applies(w, request)
    for n in range(NODES):
        x = w.nodes[n]
        if x[CAS] is not None:
            if x[CAS].status == "sent" and not any(r.node == n for r in w.inbox):
                x[CAS] = x[CAS]._replace(status="doubt")
            if x[CAS].status != "sent":
                manager.cas_resolved(w, n)
        if x[ROLE] == 1 and (w.record.generation > x[VIEW].generation or w.record.primary == NO_NODE):
            sessions.step_down(w, n)
        if x[MEM] != x[DISK] or x[ACK_DUE] or x[ROLE] == 1:
            faults.fsync(w, n)


def is_recorded_primary(w: World, n: int) -> bool:
    x, record = w.nodes[n], w.record
    if x[ROLE] != 1 or x[VIEW].generation != record.generation:
        return False
    return bool(record.primary == n and record.boot == x[BOOT])


def heal_promote(w: World) -> bool:
    for n in range(NODES):
        x = w.nodes[n]
        if (n, x[MEM].epoch) in w.record.members and x[ROLE] == 0:
            won = w.record.primary == n and w.record.boot == x[BOOT]
            (manager.adopt if won and x[MEM].generation < w.record.generation else manager.promote)(w, n)
            return True
    return False


def heal_backups(w: World, p: int) -> None:
    """Let every backup subscribe and read everything."""
    for b in range(NODES):
        x = w.nodes[b]
        if b == p or x[CAS] is not None:
            continue
        session, c = w.nodes[p][VIEW].sessions[b], w.chans[channel(p, b)]
        if session is None or x[LINK] != (p, session.sid) or c.sid != session.sid or not c.alive:
            sessions.subscribe(w, b, p, False)
        if sessions.catching_up(w.chans, p, b, w.nodes[p][VIEW].sessions[b]):
            sessions.snapshot(w, b, p)
        while x[LINK] is not None and w.chans[channel(p, b)].to_backup:
            receive(w, b, p)
            if x[ACK_DUE]:
                faults.fsync(w, b)
        while w.chans[channel(p, b)].to_primary:
            sessions.acknowledge(w, p, b)


def strangers(w: World, view: View) -> list[int]:
    """Members whose store began another life."""
    return [m for m, epoch in view.members if w.nodes[m][MEM].epoch != epoch]


def heal_membership(w: World, p: int) -> None:
    """Make every node a member."""
    view = w.nodes[p][VIEW]
    if w.nodes[p][CAS] is not None:
        return
    wrong = [m for m in strangers(w, view) if m != p]
    if wrong:
        manager.remove_member(w, p, wrong[0])
        return
    for b in range(NODES):
        if manager.may_add(p, view, b):
            manager.add_member(w, p, b)
            view = w.nodes[p][VIEW]
    if view.joining is not None:
        if manager.joiner_is_level(view):
            manager.send_addition(w, p)
        else:
            w.view(p, joining=None)


def heal_drain(w: World, p: int) -> bool:
    """Finish what clients began, and consume everything. Whether nothing is left to do."""
    view = w.nodes[p][VIEW]
    if len(view.members) < NODES or strangers(w, view) or w.nodes[p][CAS] is not None or w.inbox:
        return False
    done = True
    if view.open:
        (transactions.commit_begun if R["tx_local"] else transactions.commit_rest)(w, p)
        done = False
    if CFG["dedup"] and heal_publishers(w, p):
        done = False
    if any(h.in_transaction == IN_TRANSACTION for h in view.acquired):
        transactions.end_open(w, p)
        done = False
    for i in reversed(range(len(w.nodes[p][VIEW].acquired))):
        delivery.release(w, p, i)
    if heal_consumers(w, p):
        done = False
    if CFG["sync"]:
        faults.fsync(w, p)
    quiet = all(not c.to_backup and not c.to_primary for c in w.chans)
    return done and quiet and not w.nodes[p][VIEW].pending


def heal_consumers(w: World, p: int) -> bool:
    """Accept everything that no consumer holds. Whether there was anything."""
    some = False
    for u, q in w.nodes[p][MEM].queues:
        if u == C or q.level != REPLICATED:
            continue
        free = [0]
        while free:
            held = w.queues(p)[u].held
            free = [k for k, m in enumerate(held) if not delivery.is_held(w.nodes[p][VIEW], u, m)]
            if free:
                delivery.accept(w, p, u, free[0])
                some = True
    return some


def heal_publishers(w: World, p: int) -> bool:
    """Publishers repeat until they are answered. Whether one had to."""
    some = False
    for sent in sorted(w.ghost[SENT], key=lambda s: s[1:4]):
        v, state, store = sent.value, w.freeze(), w.nodes[p][MEM]
        if is_answered(state, v) or any(("E", v) in op.facts for op in w.nodes[p][VIEW].pending):
            continue
        if sent.shape:
            if may_repeat_commit(w.nodes[p][VIEW], store, sent):
                transactions.repeat_commit(w, p, v)
                some = True
        elif may_repeat(state, p, store, sent):
            publishing.store_publish(w, p, v, sent)
            some = True
    return some
