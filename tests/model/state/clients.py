"""What clients, consumers and the embedder may do next at a primary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.model.state import configuration, delivery, publishing, replacing, transactions
from tests.model.state.history import entry, objects
from tests.model.state.nouns import (
    CLIENTS,
    DROPPED,
    HANDED_OVER,
    IN_TRANSACTION,
    MEM,
    NONE,
    PUBLISHED,
    REPLICATED,
    SENT,
    TAG,
    TOLD,
    VIEW,
    A,
    B,
    C,
    Sent,
    Store,
    View,
)
from tests.model.state.options import CFG, can
from tests.model.state.rules import R

Action = tuple[tuple, Callable[..., None], tuple]
"""(label, event, arguments)."""


def client_actions(state: tuple, n: int, acts: list[Action]) -> None:
    x = state[2][n]
    if x[VIEW].open:  # Mutations of TX1 and TX4.
        if not R["tx_local"]:
            acts.append((("txrest", n), transactions.commit_rest, (n,)))
            return
        acts.append((("txcommit", n), transactions.commit_begun, (n,)))
    store = x[MEM]
    if CFG["dedup"]:
        sequenced_actions(state, n, store, acts)
    elif can(state, "pub") and may_publish(state, n, store):
        acts.append((("pub", n), publishing.publish, (n,)))
    if can(state, "repub"):
        republish_actions(state, n, store, acts)
    consumer_actions(state, n, store, acts)
    configuration_actions(state, n, store, acts)
    transaction_actions(state, n, store, acts)
    if CFG["levels"]:
        level_actions(state, n, dict(store.queues), acts)


def may_publish(state: tuple, n: int, store: Store) -> bool:
    """Publishes that are refused change nothing, so they are no events (J4)."""
    if publishing.target_queue(store) is None:
        return False
    return not CFG["min"] or len(state[2][n][VIEW].members) >= CFG["min"]


def is_answered(state: tuple, v: int) -> bool:
    told, tags = state[4][TOLD], state[4][TAG]
    return ("E", v) in told or ("reuse", v) in tags or ("gup", v) in tags


def sequenced_actions(state: tuple, n: int, store: Store, acts: list[Action]) -> None:
    """Publishes with a sequence, repeated until they are answered; registrations (EO1 to EO9)."""
    may = may_publish(state, n, store)
    for p, (epoch, last) in enumerate(state[4][CLIENTS], 1):
        fresh = Sent(0, p, epoch, last + 1)
        if may and can(state, "pub") and epoch and publishing.is_taken(store, fresh):
            acts.append((("pub", n, p) if p > 1 else ("pub", n), publishing.publish, (n, p)))
        if can(state, "reg"):
            acts.append((("reg", n, p), publishing.register, (n, p)))
        if can(state, "exp") and entry(store, p) is not None:
            acts.append((("exp", n, p), publishing.forget, (n, p)))
    for sent in sorted(state[4][SENT]):
        v = sent.value
        if can(state, "gup") and may_give_up(state, store, sent):
            acts.append((("gup", n, v), publishing.give_up, (n, v)))
        if is_answered(state, v):
            continue
        if can(state, "re") and sent.shape == 0:
            if may_repeat(state, n, store, sent):
                acts.append((("re", n, v), publishing.repeat, (n, v)))
                if not R["dd_bind"]:
                    acts.append((("reuse", n, v), publishing.reuse, (n, v)))
            epoch, last = state[4][CLIENTS][sent.publisher - 1]
            if may and not R["dd_anew"] and sent.epoch < epoch:
                if publishing.is_taken(store, Sent(v, sent.publisher, epoch, last + 1)):
                    acts.append((("anew", n, v), publishing.send_anew, (n, v)))
        if can(state, "re") and sent.shape and may_repeat_commit(state[2][n][VIEW], store, sent):
            acts.append((("retx", n, v), transactions.repeat_commit, (n, v)))


def may_give_up(state: tuple, store: Store, sent: Sent) -> bool:
    """A publisher gives up what it was not answered, and does so until it knows (EO8)."""
    told, v = state[4][TOLD], sent.value
    return ("E", v) not in told and ("N", v) not in told and publishing.is_taken(store, sent)


def may_repeat(state: tuple, n: int, store: Store, sent: Sent) -> bool:
    """Whether a repeated publish is an event: an echo, also if its queue is gone (EO9), or stored now."""
    if publishing.is_repetition(store, sent) and R["dd_first"]:
        return True
    return may_publish(state, n, store) and publishing.is_taken(store, sent)


def may_repeat_commit(view: View, store: Store, sent: Sent) -> bool:
    """Whether a repeated commit is an event: an echo, or made now."""
    if any((h.queue, h.generation, h.id) == sent.taken[:3] for h in view.acquired if sent.taken):
        return False
    if publishing.is_repetition(store, sent):
        return True
    return publishing.is_taken(store, sent) and transactions.is_there(store, sent)


def republish_actions(state: tuple, n: int, store: Store, acts: list[Action]) -> None:
    """The embedder publishes what it was handed again (EO7)."""
    if publishing.target_queue(store) is None:
        return
    sent = {s.value: s for s in state[4][SENT]}
    for u, g, i, v in sorted(state[4][PUBLISHED]):
        if (u, g, i) not in state[4][HANDED_OVER] or ("repub", v) in state[4][TAG] or v >= 100:
            continue
        if CFG["dedup"] and R["dd_tag"]:
            if v not in sent or not publishing.is_taken(store, sent[v]) or not may_publish(state, n, store):
                continue
        acts.append((("repub", n, v), publishing.republish, (n, v)))


def consumer_actions(state: tuple, n: int, store: Store, acts: list[Action]) -> None:
    view = state[2][n][VIEW]
    for u, q in store.queues:
        if u == C:
            continue
        for k in range(min(len(q.held), CFG["maxacc"])):
            if can(state, "upd"):
                acts.append((("upd", n, u, k), replacing.update, (n, u, k)))
            if delivery.is_held(view, u, q.held[k]):
                continue
            if can(state, "acc"):
                acts.append((("acc", n, u, k), delivery.accept, (n, u, k)))
            if can(state, "dlv"):
                acts.append((("dlv", n, u, k), delivery.deliver, (n, u, k)))
    for i, hold in enumerate(view.acquired):
        if hold.in_transaction:
            continue
        acts.append((("accq", n, i), delivery.accept_held, (n, i)))
        if can(state, "rel"):
            acts.append((("rel", n, i), delivery.release, (n, i)))
        if can(state, "txo"):
            acts.append((("txo", n, i), transactions.take, (n, i)))
    if any(h.in_transaction == IN_TRANSACTION for h in view.acquired):
        acts.append((("txend", n), transactions.end_open, (n,)))
    queues = dict(store.queues)
    if can(state, "move") and A in queues and B in queues and queues[A].held:
        acts.append((("move", n), replacing.move, (n,)))


def configuration_actions(state: tuple, n: int, store: Store, acts: list[Action]) -> None:
    queues, names = dict(store.queues), objects(store)
    if can(state, "decl"):
        acts.append((("decl", n, "a"), configuration.declare, (n, "a")))
        if CFG["levels"] & 1:
            acts.append((("decl", n, "l"), configuration.declare, (n, "l")))
    for name in names:
        if name == "b" or names[name].value[2] not in queues:
            continue
        if can(state, "del"):
            acts.append((("del", n, name), configuration.delete, (n, name)))
        if can(state, "put"):
            acts.append((("put", n, name), configuration.put, (n, name)))
    if can(state, "look") and A not in queues and (A, None) in state[4][DROPPED]:
        acts.append((("look", n), configuration.look, (n,)))


def transaction_actions(state: tuple, n: int, store: Store, acts: list[Action]) -> None:
    if not can(state, "txn") or state[2][n][VIEW].open:
        return
    event: Any = transactions.transaction if R["tx_ids"] else transactions.begin
    if CFG["seqtx"]:
        epoch, last = state[4][CLIENTS][0]
        if not epoch or not publishing.is_taken(store, Sent(0, 1, epoch, last + 1)):
            return
    for shape in (1, 2, 4, 8):
        if not CFG["shapes"] & shape or not transactions.can_commit(store, shape):
            continue
        if shape != 2 or not delivery.is_held(state[2][n][VIEW], A, dict(store.queues)[A].held[0]):
            acts.append((("txn", n, shape), event, (n, shape)))


def level_actions(state: tuple, n: int, queues: dict, acts: list[Action]) -> None:
    """What happens in queues whose messages are not replicated, and between them and a (LV1 to LV4)."""
    local = [u for u, q in queues.items() if q.level != REPLICATED]
    for u in local:
        if can(state, "lpub"):
            acts.append((("lpub", n, u), publishing.publish_here, (n, u)))
        if not can(state, "lmove") or queues[u].level == NONE or A not in queues:
            continue
        for source, target in ((A, u), (u, A)):
            if queues[source].held:
                acts.append((("lmove", n, source, target), replacing.move_across, (n, source, target)))
