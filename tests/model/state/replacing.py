"""Replacements: updates and moves of messages, COPY and DEQ in one operation (U1 to U5); moves across levels (LV3)."""

from __future__ import annotations

from tests.model.state.completion import complete
from tests.model.state.delivery import consumed
from tests.model.state.history import root_of
from tests.model.state.nouns import ACCEPTED, MEM, VIEW, A, B, Message, World
from tests.model.state.operations import message, operate, tell_pending
from tests.model.state.options import CFG, use
from tests.model.state.rules import R


def replace(w: World, n: int, u: int, m: Message, target: int, keep_key: bool, rev: int) -> None:
    """M is replaced by a copy with a new id in the target queue."""
    generation = w.nodes[n][VIEW].generation
    id = w.queues(n)[target].next
    root = root_of(u, m) if R["origin_first"] else (u, m.generation, m.id)
    ident = (m.generation, m.id)
    parts: list[tuple] = [
        ("K", u, ident, target, generation, id, keep_key and R["upd_key"], rev, root),
        ("D", u, ident),
    ]
    groups = None
    if not R["copy_first"]:
        groups = [parts[::-1]]
    if not R["upd_group"]:
        groups = [parts[:1], parts[1:]]
    if not R["upd_pend"]:
        tell_pending(w, n, m.value)
    operate(w, n, parts, groups=groups)
    complete(w, n)


def update(w: World, n: int, u: int, k: int) -> None:
    """The k-th message changes a property and keeps its place."""
    rev = use(w, "upd")
    replace(w, n, u, w.queues(n)[u].held[k], u, True, rev)


def move(w: World, n: int) -> None:
    use(w, "move")
    m = w.queues(n)[A].held[0]
    replace(w, n, A, m, B, False, m.rev)


def move_across(w: World, n: int, u: int, target: int) -> None:
    """LV3: between a queue whose messages are replicated and one whose messages are not: an accept and a publish."""
    number = use(w, "lmove")
    m = w.queues(n)[u].held[0]
    if not R["lv_copy"]:
        replace(w, n, u, m, target, False, m.rev)
        return
    w.know(ACCEPTED, m.value)
    v = 350 + number
    stored = ("E", v) if target == A else ("L", n, w.nodes[n][MEM].epoch, target, v)
    facts = (stored, ("S", m.value)) if CFG["settle"] == "rep" else (stored,)
    parts: list[tuple] = [("D", u, (m.generation, m.id)), ("E", target, message(w, n, target, v))]
    cover = operate(w, n, parts, facts, order=(target,))
    consumed(w, n, m, cover, True)
    complete(w, n)
