"""The parts of an operation, applied in their order, the same on primary and backup (U5).

("E", queue, message) ENQ; ("D", queue, (generation, id)) DEQ; ("K", queue, (generation, id), target, generation, id,
keeps order key, rev, origin) COPY; ("C", queue, birth, generation, level) CREATE; ("X", queue) DROP.
"""

from __future__ import annotations

from collections.abc import Iterable

from tests.model.state.history import added, entered, find, removed
from tests.model.state.nouns import REPLICATED, C, Message, Queue, Store, Violation
from tests.model.state.rules import R


def apply_all(store: Store, parts: Iterable[tuple], backup: bool = False) -> Store:
    queues = dict(store.queues)
    for part in parts:
        if R["enter"] and (R["enter_backup"] or not backup):
            enter(queues, part)
        apply(queues, part)
    return store._replace(queues=tuple(sorted(queues.items())))


def enter(queues: dict, part: tuple) -> None:
    """P3: the generation whose first id of a queue this part gives out, also by a DEQ of an unknown id (O2)."""
    if part[0] == "E":
        u, generation, id = part[1], part[2].generation, part[2].id
    elif part[0] == "D":
        u, (generation, id) = part[1], part[2]
    elif part[0] == "K":
        u, generation, id = part[3:6]
    else:
        return
    if u in queues:
        queues[u] = entered(queues[u], generation, id)


def apply(queues: dict, part: tuple) -> None:
    """One part. ``queues`` is changed."""
    kind, u = part[0], part[1]
    if kind == "C":
        if u not in queues or R["uuid"]:
            queues[u] = Queue(part[2], ((part[3], 1),), 1, (), part[4])
        return
    if u not in queues:
        raise Violation(f"U5 part {kind} for queue {u}, which is not there")
    if kind == "E":
        m = part[2]
        queues[u] = added(queues[u], m)
        if u == C and not R["birth_keep"] and m.value[0] == "q" and m.rev and m.value[2] in queues:
            q = m.value[2]
            queues[q] = queues[q]._replace(birth=(m.generation, m.id))
    elif kind == "D":
        queues[u] = removed(queues[u], *part[2])
    elif kind == "K":  # COPY has no content: it takes the node's own source.
        _, _, source, target, generation, id, keep, rev, root = part
        m = find(queues[u], *source)
        if m is None:
            raise Violation(f"U5 COPY of {source} in queue {u}, which is not there")
        queues[target] = added(
            queues[target], Message(m.key if keep else id, id, generation, m.value, rev, root)
        )
    else:
        assert kind == "X", part
        del queues[u]


def is_sent(queues: dict, part: tuple) -> bool:
    """Whether a part is about replicated state, and so part of what backups get (LV2)."""
    if part[0] in "CX" or not R["lv_send"]:
        return part[1] not in queues or queues[part[1]].birth != ()
    if part[0] == "K" and part[3] in queues and queues[part[3]].level == REPLICATED:
        return True
    return part[1] not in queues or queues[part[1]].level == REPLICATED
