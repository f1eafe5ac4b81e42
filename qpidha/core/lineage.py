"""Which generation gave an id out: the *lineage* of a queue (rules N1, G1, G2, W1).

A lineage is a tuple of (generation, first id), generations ascending, first ids not descending. Entry i
covers the ids from its first id up to the first id of entry i + 1, the last one up to *next*. Because
lineage and content change in one transaction, each id of a queue has exactly one generation.

    lineage ((1, 1), (3, 6)), next 9        ids 1…5 are of generation 1, ids 6…8 of generation 3
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from operator import itemgetter
from typing import Final

from qpidha.seq import SequenceSet
from qpidha.types import MESSAGE_ID_MAX, Entry, Generation, MessageId

Lineage = tuple[Entry, ...]

ENTRIES_KEPT: Final = 256
"""A longer lineage loses its oldest and its empty entries (G1). Cost: older messages can only be judged "unknown"."""

_first_id = itemgetter(1)


def generation_of(lineage: Lineage, id: MessageId) -> Generation:
    """The generation that gave this id out; 0 if that is older than the lineage."""
    index = bisect_right(lineage, id, key=_first_id)
    return lineage[index - 1][0] if index else 0


def spans(lineage: Lineage, next: MessageId) -> Iterator[tuple[Generation, MessageId, MessageId]]:
    """(generation, first id, last id) of every generation that gave out at least one id."""
    for index, (generation, first) in enumerate(lineage):
        end = lineage[index + 1][1] if index + 1 < len(lineage) else next
        if first < end:
            yield generation, first, end - 1


def by_generation(lineage: Lineage, ids: SequenceSet) -> Iterator[tuple[Generation, SequenceSet]]:
    """Split a set of ids by the generation that gave them out. Ids older than the lineage come as 0."""
    if not ids:
        return
    if not lineage or ids.first < lineage[0][1]:
        older = ids.slice(0, lineage[0][1] - 1) if lineage else ids
        yield 0, older
    for generation, first, last in spans(lineage, MESSAGE_ID_MAX + 1):
        if part := ids.slice(first, last):
            yield generation, part


@lru_cache(maxsize=1024)
def advance(lineage: Lineage, generation: Generation, next: MessageId) -> Lineage:
    """The lineage once this generation gives out the id ``next`` (P3). Equal ones are one object, for most are alike."""
    return (*lineage, (generation, next))


def trim(lineage: Lineage, lowest_held: MessageId | None) -> Lineage:
    """Drop entries that are not needed, once there are too many (G1). Never the last one, even if empty.

    ``lowest_held`` None: nothing at the front is dropped, so that no id is ever unknown (Q4).

    Legal to drop: front entries whose range ends at or below the lowest held id, and inner entries with
    an empty range. Without an empty *last* entry, the next ids would seem to be of an older generation.
    """
    if len(lineage) <= ENTRIES_KEPT:
        return lineage
    last = len(lineage) - 1
    kept = [e for i, e in enumerate(lineage) if i == last or lineage[i + 1][1] > e[1]]
    drop = 0
    while lowest_held is not None and len(kept) - drop > ENTRIES_KEPT and kept[drop + 1][1] <= lowest_held:
        drop += 1
    return tuple(kept[drop:])


def common_point(ours: Lineage, our_next: MessageId, theirs: Lineage, their_next: MessageId) -> MessageId:
    """The highest c such that id c - 1 is of the same generation in both histories; 0 if none (G2).

    A generation has one primary and one history, so below c both histories are the same. Looking only at
    the last generation of the other side is not enough (scenario T02): the newest *shared* id decides.
    """
    best = 0
    mine = {generation: (first, last) for generation, first, last in spans(ours, our_next)}
    for generation, first, last in spans(theirs, their_next):
        if generation in mine:
            low, high = mine[generation]
            top = min(high, last)
            if top >= max(low, first):
                best = max(best, top + 1)
    return best
