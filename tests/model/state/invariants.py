"""What must hold in every state, on memory and disk of every node."""

from __future__ import annotations

from collections.abc import Iterable

from tests.model.state.history import entry, find, in_history, objects, shared, values
from tests.model.state.nouns import (
    ACCEPTED,
    ACK_DUE,
    ACTIVATED,
    DISK,
    DROPPED,
    GIVEN,
    LINK,
    MEM,
    NODES,
    NONE,
    OPS,
    PUBLISHED,
    REPLICATED,
    ROLE,
    SENT,
    TAG,
    TAKEN,
    TOLD,
    UP,
    VIEW,
    A,
    C,
    Store,
    Violation,
    channel,
)
from tests.model.state.options import CFG

DECLARED_FROM = 10
"""Queues with a lower uuid exist from the start."""


def check(state: tuple) -> None:
    """Raise `Violation` if an invariant does not hold in this state."""
    ghost = state[4]
    check_members(state)
    seen = set()
    for n in range(NODES):
        x = state[2][n]
        for store in (x[MEM], x[DISK]):
            if id(store) not in seen:
                seen.add(id(store))
                check_content(n, store, ghost)
        if x[ROLE] == 1:
            check_ready(state, n)
        if CFG["levels"]:
            check_local(n, x[DISK], ghost)


def check_members(state: tuple) -> None:
    """S1, S3: what clients were told is true on the disk of every member."""
    told = state[4][TOLD]
    if not told:
        return
    try:
        check_told(state, told)
    except Violation:
        check_told(state, sorted(told, key=repr, reverse=True))  # The same one in every run.
        raise


def check_told(state: tuple, told: Iterable[tuple]) -> None:
    ghost = state[4]
    for n, epoch in state[0].members:
        disk = state[2][n][DISK]
        if disk.epoch != epoch:
            continue
        queues = dict(disk.queues)
        held = set(values(disk))
        for fact in told:
            kind = fact[0]
            if kind == "E":
                check_stored(n, fact[1], queues, held, ghost)
            elif kind == "S":
                if fact[1] in held:
                    raise Violation(f"S3 settled v{fact[1]} is still on member {n}")
            elif kind == "N":
                if fact[1] in held:
                    raise Violation(f"S2 v{fact[1]}, whose sequence was given up, is on member {n}")
            elif kind == "I":
                check_given_out(n, fact, queues, ghost)
            elif kind == "O":
                if fact[1] in queues and find(queues[fact[1]], *fact[2:]) is not None:
                    raise Violation(f"S3 {fact} came back on member {n}")
            elif kind == "+":
                if fact[1] not in queues and (fact[1], None) not in ghost[DROPPED]:
                    raise Violation(f"Q-a acked declaration {fact[1]} is not on member {n}")
                if fact[1] in queues and all(m.value[2] != fact[1] for m in objects(disk).values()):
                    raise Violation(f"Q-a acked declaration {fact[1]} has no object on member {n}")
            elif kind == "-" and fact[1] in queues:
                raise Violation(f"Q-b deleted queue {fact[1]} came back on member {n}")


def check_stored(n: int, v: int, queues: dict, held: set, ghost: tuple) -> None:
    if v in held or v in ghost[ACCEPTED] or evicted(v, queues, ghost[TAG]):
        return
    if any(x == v and u not in queues for u, x in ghost[DROPPED]):
        return
    raise Violation(f"S1 acked v{v} is not on member {n}")


def check_given_out(n: int, fact: tuple, queues: dict, ghost: tuple) -> None:
    u, g, i = fact[1:]
    if u not in queues:
        if (u, None) not in ghost[DROPPED]:
            raise Violation(f"S1 acked {fact} is not on member {n}: no queue")
        return
    if in_history(queues[u], g, i) is False:
        raise Violation(f"S1 acked {fact} is not in the history of member {n}")
    if fact[1:] not in ghost[TAKEN] and find(queues[u], g, i) is None:
        raise Violation(f"S1 acked {fact} is not on member {n}")


def evicted(v: int, queues: dict, tags: frozenset) -> bool:
    """By a newer publish that this node's history has (OV1)."""
    for tag in tags:
        if tag[0] == "evict" and tag[1] == v:
            _, _, u, g, i = tag
            if u in queues and in_history(queues[u], g, i):
                return True
    return False


def check_content(n: int, store: Store, ghost: tuple) -> None:
    """On one node: contents, keys, order, operations as a whole, objects and queues; one effect of each publish."""
    queues = dict(store.queues)
    if CFG["struct"]:
        check_structure(n, queues, ghost)
    check_order(n, queues, ghost)
    if not CFG["dedup"]:
        return
    counted = set()
    for u, g, i, v in ghost[PUBLISHED]:
        if u in queues and in_history(queues[u], g, i):
            if v in counted:
                raise Violation(f"EO-a publish {v} has two effects in the history of node {n}")
            counted.add(v)


def check_structure(n: int, queues: dict, ghost: tuple) -> None:
    """I1, X2, and what Q1, Q2 and TX2 make true."""
    seen, keys, uuids = set(), set(), set()
    for u, q in queues.items():
        for m in q.held:
            if (u, m) not in ghost[GIVEN]:
                raise Violation(f"I1 node {n} holds {u}:{m.id}@{m.generation} with content {m.value}")
            if u != C:
                if m.value in seen:
                    raise Violation(f"X2 v{m.value} twice on node {n}")
                seen.add(m.value)
                continue
            if m.value[:2] in keys:
                raise Violation(f"Q-c key {m.value[:2]} twice on node {n}")
            keys.add(m.value[:2])
            if m.value[0] == "q":
                uuids.add(m.value[2])
    declared = {u for u, q in queues.items() if u != C and q.level != NONE}
    if uuids != declared:
        raise Violation(f"Q-d node {n}: objects {sorted(uuids)} and queues {sorted(declared)} differ")
    for op in ghost[OPS]:
        marks = {applied(queues, part, ghost[DROPPED]) for part in op}
        if True in marks and False in marks:
            raise Violation(f"X1 operation {op} is half on node {n}")


def check_order(n: int, queues: dict, ghost: tuple) -> None:
    """S4: publishes to a stand in their order, with sequences those of each publisher."""
    if A not in queues:
        return
    publisher = {s.value: s.publisher for s in ghost[SENT]} if CFG["dedup"] else {}
    last: dict = {}
    for m in queues[A].held:
        v = m.value
        if v >= 100 or (CFG["dedup"] and v not in publisher):
            continue
        of = publisher.get(v, 0)
        if v < last.get(of, 0):
            raise Violation(f"S4 order on node {n}: v{v} after v{last[of]}")
        last[of] = v


def applied(queues: dict, part: tuple, dropped: frozenset) -> bool | None:
    """Whether this part is in this store. None: it cannot be told."""
    kind, u = part[0], part[1]
    if kind == "C":
        return True if u in queues else None if (u, None) in dropped else False
    if kind == "X":
        return False if u in queues else None
    if u not in queues:
        return None if (u, None) in dropped else False
    if kind == "E":
        return in_history(queues[u], part[2], part[3])
    return False if find(queues[u], part[2], part[3]) is not None else None


def check_local(n: int, disk: Store, ghost: tuple) -> None:
    """LV-a, LV-b: messages that are not replicated stay on the node that stored them, and are nowhere else."""
    queues = dict(disk.queues)
    activated = {(g, node) for g, node, _ in ghost[ACTIVATED]}
    for u, q in queues.items():
        if q.level == REPLICATED:
            continue
        for m in q.held:
            if (m.generation, n) not in activated:
                raise Violation(f"LV-b v{m.value} of queue {u} is on node {n}, which did not store it")
            if ("S", m.value) in ghost[TOLD]:
                raise Violation(f"S3 settled v{m.value} of queue {u} is still on node {n}")
    for fact in ghost[TOLD]:
        if fact[0] != "L" or fact[1:3] != (n, disk.epoch):
            continue
        u, v = fact[3:]
        if v in ghost[ACCEPTED] or (u, None) in ghost[DROPPED]:
            continue
        if u not in queues and u >= DECLARED_FROM and ("+", u) not in ghost[TOLD]:
            continue  # Its declaration may be rewound, with what it holds.
        if u not in queues or all(m.value != v for m in queues[u].held):
            raise Violation(f"LV-a v{v} of queue {u} was stored on node {n} and is gone")


def check_ready(state: tuple, p: int) -> None:
    """R-a: a backup that has acknowledged everything is equal to its primary."""
    nodes, chans = state[2], state[3]
    if not CFG["struct"]:
        return
    for b in range(NODES):
        s = nodes[p][VIEW].sessions[b]
        if s is None or b == p or nodes[b][LINK] != (p, s.sid) or not nodes[b][UP]:
            continue
        c = chans[channel(p, b)]
        idle = c.sid == s.sid and c.alive and not c.to_backup and not c.to_primary
        if not (idle and s.plan_seq <= s.acked >= s.sent and not nodes[b][ACK_DUE]):
            continue
        if shared(nodes[p][MEM].queues) != shared(nodes[b][MEM].queues):
            raise Violation(f"R-a ready backup {b} differs from primary {p}")


def unanswered(ghost: tuple, store: Store) -> list[int]:
    """EO9: what this history has, and its publisher will never be told."""
    found = []
    for sent in ghost[SENT]:
        e = entry(store, sent.publisher)
        if e is None or e.value[2] != sent.epoch or e.value[3] < sent.sequence:
            continue
        if ("E", sent.value) not in ghost[TOLD] and ("gup", sent.value) not in ghost[TAG]:
            found.append(sent.value)
    return found
