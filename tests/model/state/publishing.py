"""Publishes, and the entries of publishers by which a repeated publish is recognised (EO1 to EO9, OV1, OV2)."""

from __future__ import annotations

from typing import Any

from tests.model.state.completion import complete
from tests.model.state.history import entry, objects, values
from tests.model.state.nouns import (
    CLIENTS,
    MEM,
    PUBLISHED,
    SENT,
    TAG,
    TAKEN,
    A,
    C,
    Message,
    Sent,
    Store,
    World,
    put_at,
)
from tests.model.state.operations import changed, echo, message, operate, tell_pending
from tests.model.state.options import CFG, use
from tests.model.state.parts import apply_all
from tests.model.state.rules import R


def target_queue(store: Store) -> int | None:
    """Where publishes go: a; else whatever queue was declared in its place."""
    names = objects(store)
    for name in ("a", "c"):
        if name in names and names[name].value[2] in dict(store.queues):
            return int(names[name].value[2])
    return None


def sent_as(w: World, v: int) -> Sent:
    return next(s for s in w.ghost[SENT] if s.value == v)


def next_of(w: World, publisher: int, value: int, shape: int = 0, taken: Any = None) -> Sent:
    """A publisher uses its next sequence, for ever (EO8)."""
    epoch, sequence = w.ghost[CLIENTS][publisher - 1]
    sent = Sent(value, publisher, epoch, sequence + 1, shape, taken)
    w.ghost[CLIENTS] = put_at(w.ghost[CLIENTS], publisher - 1, (epoch, sequence + 1))
    w.know(SENT, sent)
    return sent


def publish(w: World, n: int, publisher: int = 1) -> None:
    v = use(w, "pub")
    store_publish(w, n, v, next_of(w, publisher, v) if CFG["dedup"] else None)


def repeat(w: World, n: int, v: int) -> None:
    use(w, "re")
    store_publish(w, n, v, sent_as(w, v))


def reuse(w: World, n: int, v: int) -> None:
    """Mutation of EO8: a publish in doubt was refused when it was repeated; its sequence is used for another message."""
    use(w, "re")
    w.know(TAG, ("reuse", v))
    store_publish(w, n, v, sent_as(w, v), content=500 + v)


def republish(w: World, n: int, v: int) -> None:
    """The embedder publishes a discarded message again, with its sequence (EO7)."""
    use(w, "repub")
    w.know(TAG, ("repub", v))
    sent = sent_as(w, v) if CFG["dedup"] and R["dd_tag"] else None
    if sent and is_repetition(w.nodes[n][MEM], sent) and R["dd_embedder"]:
        echo(w, n, ())  # Stored by its publisher, or given up: the entry does not tell.
    else:
        store_publish(w, n, v, sent)


def send_anew(w: World, n: int, v: int) -> None:
    """Mutation of EO6: a publish in doubt of a former epoch is sent again in the present one."""
    use(w, "re")
    old = sent_as(w, v)
    w.ghost[SENT] -= {old}
    store_publish(w, n, v, next_of(w, old.publisher, v))


def known_sequence(store: Store, sent: Sent) -> int | None:
    """The last sequence of this publisher that this history has. None: it is refused as unknown (EO6)."""
    e = entry(store, sent.publisher)
    if e is None or (e.value[2] != sent.epoch and R["dd_same"]):
        return None if R["dd_reg"] or e is not None else 0
    if not R["dd_survive"] and sent.value not in values(store):
        return sent.sequence - 1
    return int(e.value[3])


def is_repetition(store: Store, sent: Sent) -> bool:
    """EO5: at or below the last sequence that this history has."""
    last = known_sequence(store, sent)
    return last is not None and sent.sequence <= last and entry(store, sent.publisher) is not None


def is_taken(store: Store, sent: Sent) -> bool:
    """Whether a publish with this sequence is an event: those that are refused change nothing (EO5, EO6)."""
    last = known_sequence(store, sent)
    return last is not None and (sent.sequence <= last + 1 or not R["dd_gap"])


def entry_parts(w: World, n: int, sent: Sent) -> list[tuple]:
    """A put of the entry, with this sequence as the last."""
    old = entry(w.nodes[n][MEM], sent.publisher)
    new = message(w, n, C, ("p", sent.publisher, sent.epoch, sent.sequence))
    parts: list[tuple] = [("E", C, new)]
    if old:
        parts.append(("D", C, (old.generation, old.id)))
    return parts


def store_publish(w: World, n: int, v: int, sent: Sent | None, content: int | None = None) -> None:
    """Store it and send it on, or, if its sequence is known, answer with what is there."""
    store = w.nodes[n][MEM]
    content = content or v
    if sent is not None and is_repetition(store, sent):
        echo(w, n, (("E", content),))
        return
    u = target_queue(store)
    assert u is not None
    m = message(w, n, u, content)
    parts: list[tuple] = [("E", u, m)]
    groups = None
    if sent is not None:
        parts += entry_parts(w, n, sent)
        if not R["dd_atomic"]:
            groups = [parts[:1], parts[1:]]
    w.know(PUBLISHED, (u, m.generation, m.id, content))
    if CFG["ring"] and u == A and len(w.queues(n)[u].held) >= CFG["ring"]:
        groups = evict(w, n, u, m, parts) or groups
    operate(w, n, parts, (("E", content),), groups=groups, order=(u,))
    complete(w, n)


def evict(w: World, n: int, u: int, m: Message, parts: list) -> list | None:
    """OV1: the oldest message goes in the operation that publishes m. Groups, if a mutation sends them apart."""
    oldest = w.queues(n)[u].held[0]
    parts.append(("D", u, (oldest.generation, oldest.id)))
    w.know(TAG, ("evict", oldest.value, u, m.generation, m.id))
    if not R["ring_keep"]:
        tell_pending(w, n, oldest.value)
    return None if R["ring_group"] else [parts[-1:], parts[:-1]]


def give_up(w: World, n: int, v: int) -> None:
    """EO8: the publisher gives the sequence of a publish in doubt up; from now on it never sends that message."""
    use(w, "gup")
    w.know(TAG, ("gup", v))
    sent = sent_as(w, v)
    if is_repetition(w.nodes[n][MEM], sent):
        echo(w, n, () if R["dd_used"] else (("E", v),))  # Stored or given up: the entry does not tell.
        return
    operate(w, n, entry_parts(w, n, sent), (("N", v),))
    complete(w, n)


def register(w: World, n: int, publisher: int) -> None:
    """EO6: the epoch is the identity of the entry in C; a publisher of the same name that was there is fenced."""
    use(w, "reg")
    old = entry(w.nodes[n][MEM], publisher)
    m = message(w, n, C, None)
    epoch = (m.generation, m.id)
    parts: list[tuple] = [("E", C, m._replace(value=("p", publisher, epoch, 0)))]
    if old:
        parts.append(("D", C, (old.generation, old.id)))
    operate(w, n, parts, (("R", publisher, epoch),))
    complete(w, n)


def forget(w: World, n: int, publisher: int) -> None:
    """EO6: the primary forgets a publisher, by an operation."""
    use(w, "exp")
    e = entry(w.nodes[n][MEM], publisher)
    assert e is not None
    part = ("D", C, (e.generation, e.id))
    if R["dd_expire"]:
        operate(w, n, [part])
        complete(w, n)
    else:
        w.know(TAKEN, (C, e.generation, e.id))
        changed(w, n, apply_all(w.nodes[n][MEM], [part]))


def publish_here(w: World, n: int, u: int) -> None:
    """LV2: a publish to a queue whose messages are not replicated is stored on this node alone."""
    v = 300 + use(w, "lpub")
    epoch = w.nodes[n][MEM].epoch
    operate(w, n, [("E", u, message(w, n, u, v))], (("L", n, epoch, u, v),), order=(u,))
    complete(w, n)
