"""What a flip takes away: erased, or quarantined until it is certain what became of it (W1, W2, Q4, Q5, U4)."""

from __future__ import annotations

from tests.model.state.completion import required
from tests.model.state.history import in_history, root_of
from tests.model.state.nouns import (
    ACCEPTED,
    DISK,
    DROPPED,
    HANDED_OVER,
    MEM,
    QUARANTINED,
    TAKEN,
    TOLD,
    VIEW,
    C,
    Message,
    Queue,
    Violation,
    World,
)
from tests.model.state.options import CFG
from tests.model.state.rules import R
from tests.model.state.sessions import follows


def judge(
    w: World, b: int, u: int, queue: Queue, m: Message, known: bool | None, generation: int, whole: bool
) -> None:
    """W1: what the primary's history had is erased; the rest is quarantined. Whole: the queue goes with it."""
    ident = (u, m.generation, m.id)
    if known:
        if (u, None) not in w.ghost[DROPPED] if whole else ident not in w.ghost[TAKEN]:
            raise Violation(f"R-c v{m.value} ({ident}) erased on {b} as dequeued, but nobody dequeued it")
        return
    in_record = generation == w.record.generation
    if known is False and in_record and (CFG["settle"] == "rep" or m.value not in w.ghost[ACCEPTED]):
        root = root_of(u, m)
        if ("I", *ident) in w.ghost[TOLD] or (not m.root and ("I", *root) in w.ghost[TOLD]):
            raise Violation(f"R-b acked v{m.value} ({ident}) classified as rewound on {b}")
    if known is False and u != C:
        w.know(QUARANTINED, (b, u, queue.birth, m))


def release_alive(w: World, b: int, planned: dict) -> None:
    """W2, Q5: what is in the history now followed lives there, was settled, or went with its queue."""
    for item in w.ghost[QUARANTINED]:
        node, u, birth, m = item
        if node != b:
            continue
        where = planned[u if u in planned else C]
        history = Queue((), where.lineage, where.next, ())
        given = (m.generation, m.id) if u in planned else birth if R["q_quar"] else ()
        if given and in_history(history, *given):
            w.ghost[QUARANTINED] -= {item}


def origin_known(queues: dict, root: tuple, birth_of: dict) -> bool | None:
    """Whether a history had this origin. None: it cannot be known, for its queue was deleted, or the lineage trimmed."""
    u, generation, id = root
    if u in queues:
        return in_history(queues[u], generation, id)
    birth = birth_of.get(u)
    return None if birth is None or in_history(queues[C], *birth) is not False else False


def is_established(w: World, n: int) -> bool:
    """W2: every required node has acknowledged a plan of the generation of primary n."""
    x = w.nodes[n]
    if x[VIEW] is None or x[DISK] != x[MEM]:
        return False
    sessions = [(x[VIEW].sessions[m], epoch) for m, epoch in required(n, x[VIEW])]
    return all(s is not None and s.epoch == epoch and s.acked >= s.plan_seq for s, epoch in sessions)


def hand_over(w: World) -> None:
    """W2, Q5, U4: what is quarantined goes to the embedder once a generation without it is established."""
    if not w.ghost[QUARANTINED]:
        return
    for n in range(len(w.nodes)):
        if not is_established(w, n):
            continue
        queues = w.queues(n)
        births = {u: birth for _, u, birth, _ in w.ghost[QUARANTINED]}
        for item in w.ghost[QUARANTINED]:
            b, u, birth, m = item
            if R["origin_follow"] and not follows(w, b, n):
                continue
            if u in queues:
                known = in_history(queues[u], m.generation, m.id)
            else:
                known = in_history(queues[C], *birth) if R["q_quar"] else False
            if known is not False:
                continue  # It lives, was settled, or went with its queue: it leaves silently.
            w.ghost[QUARANTINED] -= {item}
            tell_fate(w, queues, u, m, births)


def tell_fate(w: World, queues: dict, u: int, m: Message, births: dict) -> None:
    """U4: a rewound successor is an undone replacement if its origin is known; lost if the origin was rewound too."""
    root = root_of(u, m)
    known = origin_known(queues, root, births) if m.root else False
    if m.root and not R["origin_judge"]:
        if known is False and root not in w.ghost[HANDED_OVER]:
            raise Violation(f"R-g v{m.value} reported as undone, but its origin was rewound as well")
        return
    if known is not False:
        return  # Undone: its origin lives or was settled. Or unknown.
    if ("I", *root) in w.ghost[TOLD] and (CFG["settle"] == "rep" or m.value not in w.ghost[ACCEPTED]):
        raise Violation(f"R-g acked v{m.value} handed over as rewound")
    if ("S", m.value) in w.ghost[TOLD] and not CFG["dedup"]:
        raise Violation(f"R-g settled v{m.value} handed over as rewound")
    w.know(HANDED_OVER, root)
