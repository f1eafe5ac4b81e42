"""Commits: several parts, over several queues, C among them (TX1 to TX9), and open transactions (U2)."""

from __future__ import annotations

from tests.model.state.completion import complete, tell
from tests.model.state.delivery import check_delivery, consumed, meant
from tests.model.state.history import find, objects, root_of
from tests.model.state.nouns import (
    ACCEPTED,
    IN_TRANSACTION,
    LOCAL,
    MEM,
    NEW,
    OPS,
    PUBLISHED,
    REFUSED,
    REPLICATED,
    VIEW,
    A,
    B,
    C,
    Hold,
    Message,
    Sent,
    Store,
    World,
)
from tests.model.state.operations import changed, echo, message, operate
from tests.model.state.options import BUDGET, CFG, use
from tests.model.state.publishing import entry_parts, is_repetition, next_of, sent_as
from tests.model.state.rules import R

Commit = tuple
"""(parts, facts, the message taken or None)."""


def can_commit(store: Store, shape: int) -> bool:
    """Whether everything that such a commit names is there (TX4)."""
    queues = dict(store.queues)
    if shape == 4:
        return NEW not in objects(store)
    if shape == 8:
        return A in queues and LOCAL in queues
    return A in queues and B in queues and (shape == 1 or bool(queues[A].held))


def commit_parts(w: World, n: int, shape: int, v: int, uuid: int, taken: Hold | None) -> Commit:
    store = w.nodes[n][MEM]
    if shape == 1:
        both = [("E", A, message(w, n, A, v)), ("E", B, message(w, n, B, v + 1))]
        return both, (("E", v), ("E", v + 1)), None
    if shape == 2:
        held = dict(store.queues)[A]
        m = find(held, taken.generation, taken.id) if taken else held.held[0]
        parts: list[tuple] = [("D", A, (m.generation, m.id))] if m else []
        parts += [("E", B, message(w, n, B, v))]
        return parts, (("E", v), ("S", m.value if m else None)), m
    if shape == 8:
        here = 400 + uuid  # Another one at each repetition.
        both = [("E", A, message(w, n, A, v)), ("E", LOCAL, message(w, n, LOCAL, here))]
        return both, (("E", v), ("L", n, store.epoch, LOCAL, here)), None
    generation = w.nodes[n][VIEW].generation
    o = message(w, n, C, ("q", NEW, uuid))
    y = Message(1, 1, generation, v, 0, ())
    create = ("C", uuid, (o.generation, o.id), generation, REPLICATED)
    return [("E", C, o), create, ("E", uuid, y)], (("E", v),), None


def transaction(w: World, n: int, shape: int) -> None:
    number = use(w, "txn")
    v = 100 + 2 * number
    parts, facts, m = commit_parts(w, n, shape, v, 50 + number, None)
    if CFG["seqtx"]:
        taken = Hold(A, m.generation, m.id, root_of(A, m), m.value) if m else None
        sequenced(w, n, next_of(w, 1, v, shape, taken), parts)
    commit(w, n, parts, facts, m)


def sequenced(w: World, n: int, sent: Sent, parts: list) -> None:
    """EO1 for a commit: the entry is a part of it. What is not replicated is not counted (LV2)."""
    queues = w.queues(n)
    for part in parts:
        if part[0] == "E" and part[1] != C and (part[1] not in queues or queues[part[1]].level == REPLICATED):
            m = part[2]
            w.know(PUBLISHED, (part[1], m.generation, m.id, m.value))
    declares = any(part[0] == "E" and part[1] == C for part in parts)
    entry_change = entry_parts(w, n, sent)
    if declares:  # The object took the next id of C.
        m = entry_change[0][2]
        entry_change[0] = ("E", C, m._replace(key=m.id + 1, id=m.id + 1))
    parts += entry_change


def repeat_commit(w: World, n: int, v: int) -> None:
    """EO9: the sequence is looked up first; only if it is the next one, the commit is checked and made."""
    number = use(w, "re")
    store = w.nodes[n][MEM]
    sent = sent_as(w, v)
    if is_repetition(store, sent):
        if not R["dd_first"] and not is_there(store, sent):
            return  # Mutation: refused, for what it names is gone.
        echo(w, n, commit_facts(sent))
        return
    parts, facts, m = commit_parts(w, n, sent.shape, v, 70 + number, sent.taken)
    sequenced(w, n, sent, parts)
    commit(w, n, parts, facts, m)


def commit_facts(sent: Sent) -> tuple:
    """What a client knows when it learns that its commit was made."""
    facts = [("E", sent.value)]
    if sent.shape == 1:
        facts.append(("E", sent.value + 1))
    if sent.taken:
        facts.append(("S", sent.taken.value))
    return tuple(facts)


def is_there(store: Store, sent: Sent) -> bool:
    """Whether what a commit names is there: its queues, and the very message that it took."""
    if not can_commit(store, sent.shape):
        return False
    taken = sent.taken
    return taken is None or find(dict(store.queues)[A], taken.generation, taken.id) is not None


def commit(w: World, n: int, parts: list, facts: tuple, m: Message | None) -> None:
    if m is not None:
        check_delivery(w, n, A, m)
        w.know(ACCEPTED, m.value)
    if not R["tx_local"]:  # Mutation: one part now, the rest later.
        seen = [("E", p[1], p[2].generation, p[2].id) if p[0] == "E" else ("C", p[1]) if p[0] == "C" else
                ("D", p[1], *p[2]) for p in parts]  # fmt: skip
        w.know(OPS, tuple(seen))
        w.view(n, open=(tuple(parts[1:]), facts))
        operate(w, n, parts[:1])
        return
    order = tuple([p[1] for p in parts if p[0] == "E" and p[1] != C])
    cover = operate(w, n, parts, facts, split=True, order=order)
    if m is not None:
        consumed(w, n, m, cover, True)
    if not R["tx_all"]:
        pending = w.nodes[n][VIEW].pending
        w.view(n, pending=pending[:-1])
        tell(w, n, *pending[-1].facts)
    complete(w, n)


def commit_rest(w: World, n: int) -> None:
    """Mutation of TX1: the rest of the commit."""
    parts, facts = w.nodes[n][VIEW].open
    w.view(n, open=())
    operate(w, n, list(parts), facts)
    complete(w, n)


def begin(w: World, n: int, shape: int) -> None:
    """Mutation of TX4: ids are given out before the commit."""
    number = use(w, "txn")
    parts, facts, m = commit_parts(w, n, shape, 100 + 2 * number, 50 + number, None)
    queues = w.queues(n)
    for part in parts:
        if part[0] == "E" and part[1] in queues:
            queues[part[1]] = queues[part[1]]._replace(next=part[2].id + 1)
    changed(w, n, w.nodes[n][MEM]._replace(queues=tuple(sorted(queues.items()))))
    w.view(n, open=(tuple(parts), facts, m))


def commit_begun(w: World, n: int) -> None:
    """Mutation of TX4: the commit."""
    parts, facts, m = w.nodes[n][VIEW].open
    w.view(n, open=())
    commit(w, n, list(parts), facts, m)


# --- open transactions that hold messages ---------------------------------------------------------------


def take(w: World, n: int, i: int) -> None:
    """A consumer accepts what it holds within its open transaction."""
    use(w, "txo")
    holds = list(w.nodes[n][VIEW].acquired)
    holds[i] = holds[i]._replace(in_transaction=IN_TRANSACTION)
    w.view(n, acquired=tuple(holds))


def end_open(w: World, n: int) -> None:
    """The open transaction commits: it takes what it holds, and publishes a result to b."""
    v = 200 + 30 * n + w.spent[BUDGET["txo"]]
    view = w.nodes[n][VIEW]
    queues = w.queues(n)
    mine = [h for h in view.acquired if h.in_transaction == IN_TRANSACTION]
    found = [(h, meant(queues, h, R["upd_tx"])) for h in mine]
    w.view(n, acquired=tuple([h for h in view.acquired if h.in_transaction != IN_TRANSACTION]))
    gone = [h for h, m in found if m is None]
    if B not in queues or (gone and R["tx_refuse"] and R["upd_tx"]):
        w.know(REFUSED, v)
        return
    parts: list[tuple] = [("D", h.queue, (m.generation, m.id)) for h, m in found if m is not None]
    parts.append(("E", B, message(w, n, B, v)))
    facts = (("E", v), *[("S", h.value) for h in mine])
    w.know(ACCEPTED, *[h.value for h in mine])
    cover = operate(w, n, parts, facts, split=True, order=(B,))
    for _, m in found:
        if m is not None:
            consumed(w, n, m, cover, True)
    complete(w, n)
