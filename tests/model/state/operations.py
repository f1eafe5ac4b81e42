"""Operations of a primary: applied in one step, sent on every session that streams, answered when they are complete."""

from __future__ import annotations

from typing import Any

from tests.model.state.completion import complete, tell
from tests.model.state.history import find, trim_all
from tests.model.state.nouns import (
    ACKED,
    DISK,
    DROPPED,
    GIVEN,
    MEM,
    NODES,
    NONE,
    NOT_COVERED,
    OPS,
    REPLICATED,
    TAKEN,
    VIEW,
    Frame,
    Message,
    Pending,
    Store,
    View,
    Violation,
    World,
    channel,
)
from tests.model.state.options import CFG
from tests.model.state.parts import apply_all, is_sent
from tests.model.state.rules import R

LETTERS = {"E": "I", "D": "O", "C": "+", "X": "-"}
"""The fact that clients learn of a part: see `completion.tell`."""


def changed(w: World, n: int, store: Store) -> None:
    """Primary n changed its own content; durable at once unless sync=1."""
    store = trim_all(store)
    w.nodes[n][MEM] = store
    if not CFG["sync"]:
        w.nodes[n][DISK] = store


def own_mark() -> int:
    """What covers an operation on the primary itself."""
    return NOT_COVERED if CFG["sync"] else ACKED


def send(w: World, n: int, parts: list, split: bool) -> tuple:
    """One operation on every session that streams; the seqs that cover it, by node. Split: a frame for each part."""
    view = w.nodes[n][VIEW]
    sessions = list(view.sessions)
    cover = [NOT_COVERED] * NODES
    for b in range(NODES):
        s = sessions[b]
        if s is None or s.described is not None:  # chunks: nothing is sent before the snapshot.
            continue
        seq = cover[b] = s.sent + 1
        at = channel(n, b)
        c = w.chans[at]
        if c.sid == s.sid and c.alive:
            if split:
                frames = [Frame("T", view.generation, seq, (p,)) for p in parts[:-1]]
                frames.append(Frame("O", view.generation, seq, (parts[-1],)))
            else:
                frames = [Frame("O", view.generation, seq, tuple(parts))]
            w.chans[at] = c._replace(to_backup=(*c.to_backup, *frames))
        sessions[b] = s._replace(sent=seq)
    w.view(n, sessions=tuple(sessions))
    cover[n] = own_mark()
    return tuple(cover)


def own_cover(w: World, n: int, u: int) -> tuple:
    """LV5: what covers an operation on a queue whose messages are not replicated.

    The disk of the primary, once the declaration of the queue is complete: it may be pending, also in the plan.
    """
    view = w.nodes[n][VIEW]
    cover = [ACKED] * NODES
    if R["lv_wait"] and w.queues(n)[u].level != NONE:
        declaration = next((op.cover for op in view.pending if ("+", u) in op.facts), None)
        cover = list(declaration or present(view, whole=False))
    cover[n] = own_mark()
    return tuple(cover)


def present(view: View, whole: bool = True) -> list[int]:
    """What covers everything up to now, or up to the plan alone, on the other nodes."""
    cover = []
    for s in view.sessions:
        if s is None or s.described is not None:
            cover.append(NOT_COVERED)
            continue
        upto = max(s.sent, s.plan_seq) if whole else s.plan_seq
        cover.append(ACKED if s.acked >= upto else upto)
    return cover


def give_out(w: World, u: int, m: Message) -> None:
    """I1: an identity has one content for ever."""
    for uuid, x in w.ghost[GIVEN]:
        if uuid == u and (x.generation, x.id) == (m.generation, m.id) and x != m:
            raise Violation(f"I1 identity {u}:{m.id}@{m.generation} given twice")
    w.know(GIVEN, (u, m))


def operate(
    w: World,
    n: int,
    parts: list,
    facts: tuple = (),
    split: bool = False,
    groups: list | None = None,
    order: tuple = (),
) -> tuple:
    """Apply, send, and wait; the cover. The facts of its parts are told with it. Groups: mutations, sent one by one."""
    store = w.nodes[n][MEM]
    seen: list[tuple] = []
    sent = []
    for part in parts:
        queues = dict(store.queues)
        if is_sent(queues, part):
            sent.append(part)
        store = apply_all(store, [part])
        observe(w, part, queues, dict(store.queues), seen)
    facts = (*facts, *[(LETTERS[s[0]], *s[1:]) for s in seen])
    if len(seen) > 1:
        w.know(OPS, tuple(seen))
    changed(w, n, store)
    covers = (
        [send(w, n, group, split) for group in (groups or [sent])] if sent else [own_cover(w, n, parts[0][1])]
    )
    cover = covers[-1]
    pending = Pending(facts, cover, int(split), order)
    w.view(n, pending=(*w.nodes[n][VIEW].pending, pending))
    return cover


def observe(w: World, part: tuple, before: dict, after: dict, seen: list) -> None:
    """What an observer notes of one part: identities given out, taken, dropped. Only of what is replicated."""
    kind, u = part[0], part[1]
    replicated = kind in "CX" or before[u].level == REPLICATED
    if kind == "E":
        give_out(w, u, part[2])
        if replicated:
            seen.append(("E", u, part[2].generation, part[2].id))
    elif kind == "K":
        target, generation, id = part[3:6]
        give_out(w, target, find(after[target], generation, id))  # type: ignore[arg-type]
        if before[target].level == REPLICATED:
            seen.append(("E", target, generation, id))
    elif kind == "X":
        w.know(DROPPED, (u, None), *[(u, m.value) for m in before[u].held])
        seen.append(("X", u))
    elif kind == "C":
        seen.append(("C", u))
    elif replicated:
        w.know(TAKEN, (u, *part[2]))
        seen.append(("D", u, *part[2]))


def message(w: World, n: int, u: int, value: Any, rev: int = 0) -> Message:
    """A message with the next id of this queue."""
    queue = w.queues(n)[u]
    return Message(queue.next, queue.next, w.nodes[n][VIEW].generation, value, rev, ())


def echo(w: World, n: int, facts: tuple) -> None:
    """Q7, EO4: an answer about what is there already: an operation without parts, at the present position."""
    view = w.nodes[n][VIEW]
    for op in view.pending:  # The operation itself is pending: its own completion answers.
        if facts and facts[0] in op.facts:
            return
    cover = present(view, whole=not CFG["echo_est"])
    cover[n] = NOT_COVERED if w.nodes[n][MEM] != w.nodes[n][DISK] else ACKED
    if not R["dd_wait" if facts and facts[0][0] == "E" else "echo_wait"]:
        tell(w, n, *facts)
        return
    w.view(n, pending=(*view.pending, Pending(tuple(facts), tuple(cover))))
    complete(w, n)


def tell_pending(w: World, n: int, v: Any) -> None:
    """Mutations of Q6, U3 and OV2: a pending publish is answered now."""
    pending = []
    for op in w.nodes[n][VIEW].pending:
        if ("E", v) in op.facts:
            op = op._replace(facts=tuple([f for f in op.facts if f != ("E", v) and f[0] != "I"]))
            tell(w, n, ("E", v))
        pending.append(op)
    w.view(n, pending=tuple(pending))
