"""Configuration: queues are declared, updated and deleted by operations on C (Q1 to Q7)."""

from __future__ import annotations

from tests.model.state.completion import complete
from tests.model.state.history import entry, objects, root_of
from tests.model.state.nouns import CONFIGURATION, LOCAL, MEM, REPLICATED, VIEW, A, B, C, World
from tests.model.state.operations import echo, message, operate, tell_pending
from tests.model.state.options import BUDGET, CFG, use
from tests.model.state.rules import R


def declare(w: World, n: int, name: str) -> None:
    use(w, "decl")
    store = w.nodes[n][MEM]
    if name in objects(store):
        echo(w, n, (("+", objects(store)[name].value[2]),))
        return
    uuid = 10 + w.spent[BUDGET["decl"]] if R["uuid"] else {"a": A, "b": B, "l": LOCAL}.get(name, 3)
    level = CONFIGURATION if name == "l" else REPLICATED
    m = message(w, n, C, ("q", name, uuid, level) if level else ("q", name, uuid))
    parts: list[tuple] = [("E", C, m), ("C", uuid, (m.generation, m.id), m.generation, level)]
    operate(w, n, parts, groups=None if R["decl_group"] else [parts[1:], parts[:1]])
    complete(w, n)


def delete(w: World, n: int, name: str) -> None:
    use(w, "del")
    store = w.nodes[n][MEM]
    queues = dict(store.queues)
    o = objects(store)[name]
    u = o.value[2]
    if not R["drop_keep"]:
        for v in sorted({m.value for m in queues[u].held}):
            tell_pending(w, n, v)
    parts: list[tuple] = [("D", C, (o.generation, o.id)), ("X", u)]
    if CFG["alt"] and B in queues:  # What is left is moved, in the same operation.
        target = queues[B].next
        generation = w.nodes[n][VIEW].generation
        for i, m in enumerate(queues[u].held):
            ident = (m.generation, m.id)
            copy = ("K", u, ident, B, generation, target + i, False, m.rev, root_of(u, m))
            parts[-1:-1] = [copy, ("D", u, ident)]
    groups = None if R["del_group"] else [parts[:1], parts[1:]]
    e = entry(store)
    if not R["dd_global"] and e:
        parts.append(("D", C, (e.generation, e.id)))
        parts.append(("E", C, message(w, n, C, ("p", 1, e.value[2], 0))))
    operate(w, n, parts, groups=groups)
    complete(w, n)


def look(w: World, n: int) -> None:
    """Q7: a deletion that finds no queue a is answered "it is not there"."""
    use(w, "look")
    echo(w, n, (("-", A),))


def put(w: World, n: int, name: str) -> None:
    """An update of the object: the old one goes in the same operation (Q1)."""
    rev = use(w, "put")
    o = objects(w.nodes[n][MEM])[name]
    m = message(w, n, C, o.value, rev)
    parts: list[tuple] = [("E", C, m), ("D", C, (o.generation, o.id))]
    operate(w, n, parts, groups=None if R["key_group"] else [parts[1:], parts[:1]])
    complete(w, n)
