"""Queues, and the histories that lineage and next id tell."""

from __future__ import annotations

from tests.model.state.nouns import REPLICATED, C, Message, Queue, Store
from tests.model.state.options import CFG
from tests.model.state.rules import R


def generation_of(lineage: tuple, id: int) -> int:
    """Which generation gave this id out; 0 if that is older than the lineage."""
    found = 0
    for generation, first in lineage:
        if first <= id:
            found = generation
    return found


def in_history(queue: Queue, generation: int, id: int) -> bool | None:
    """Whether this history gave out this identity. None: it is older than the trimmed lineage."""
    if queue.lineage and id < queue.lineage[0][1] and CFG["trim"]:  # (Never so for C.)
        return None
    return id < queue.next and generation_of(queue.lineage, id) == generation


def trimmed(queue: Queue) -> Queue:
    """Without the entries at the front whose ids are all dequeued (G1)."""
    lineage = queue.lineage
    if len(lineage) < 2:
        return queue
    low = min([m.id for m in queue.held]) if queue.held else queue.next
    while len(lineage) > 1 and lineage[1][1] <= low:
        lineage = lineage[1:]
    return queue._replace(lineage=lineage)


def trim_all(store: Store) -> Store:
    """All lineages trimmed, but never that of C (Q4)."""
    if not CFG["trim"]:
        return store
    queues = tuple([(u, q if u == C and R["c_trim"] else trimmed(q)) for u, q in store.queues])
    return store._replace(queues=queues)


def entered(queue: Queue, generation: int, id: int) -> Queue:
    """The queue as this generation is about to give out this id, if it is not given out yet (P3)."""
    there = queue.lineage[-1][0] if queue.lineage else 0
    if not CFG["entry"] or id < queue.next or there >= generation:
        return queue
    return queue._replace(lineage=(*queue.lineage, (generation, queue.next)))


def added(queue: Queue, m: Message) -> Queue:
    if any(h.generation == m.generation and h.id == m.id for h in queue.held):
        return queue
    return queue._replace(next=max(queue.next, m.id + 1), held=tuple(sorted((*queue.held, m))))


def removed(queue: Queue, generation: int, id: int) -> Queue:
    left = tuple([h for h in queue.held if (h.generation, h.id) != (generation, id)])
    return queue._replace(next=max(queue.next, id + 1), held=left)


def find(queue: Queue, generation: int, id: int) -> Message | None:
    for h in queue.held:
        if h.generation == generation and h.id == id:
            return h
    return None


def successor(queue: Queue, u: int, root: tuple) -> Message | None:
    """The message of this queue whose origin this is, if it is still here (U2)."""
    return next((h for h in queue.held if root_of(u, h) == root), None)


def root_of(u: int, m: Message) -> tuple:
    return m.root or (u, m.generation, m.id)


def values(store: Store) -> list:
    """What is held in queues whose messages are replicated."""
    return [m.value for u, q in store.queues if u != C and q.level == REPLICATED for m in q.held]


def objects(store: Store) -> dict[str, Message]:
    """The queues' objects in C, by name."""
    return {m.value[1]: m for m in dict(store.queues)[C].held if m.value[0] == "q"}


def entry(store: Store, publisher: int = 1) -> Message | None:
    """The entry of a publisher in C."""
    for m in dict(store.queues)[C].held:
        if m.value[0] == "p" and m.value[1] == publisher:
            return m
    return None


def shared(queues: tuple) -> tuple:
    """What primary and backup must have in common: all but the messages that are not replicated (LV1)."""
    if not CFG["levels"]:
        return queues
    return tuple(
        [(u, q if q.level == REPLICATED else (q.birth, q.level)) for u, q in queues if u == C or q.birth]
    )
