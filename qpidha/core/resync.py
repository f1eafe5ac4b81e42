"""What a returning backup keeps, drops and must be sent. Pure functions on histories and id sets.

Identity is (queue uuid, generation, id). Nothing is ever concluded from what a backup lacks: the plan
makes the backup equal to the primary (C4), and only the *primary's* history says what became of a
message that the backup holds and the primary does not (W1).
"""

from __future__ import annotations

from dataclasses import dataclass

from qpidha.core.lineage import Lineage, by_generation, common_point, generation_of, spans
from qpidha.seq import SequenceSet
from qpidha.types import Generation, MessageId


@dataclass(frozen=True, slots=True)
class History:
    """One node's view of one queue: the ids it holds, and which generation gave each id out."""

    lineage: Lineage
    next: MessageId
    held: SequenceSet


@dataclass(frozen=True, slots=True)
class ResyncPlan:
    """``keep`` and ``drop`` split what the backup holds; ``keep`` and ``send`` split the primary's."""

    keep: SequenceSet
    drop: SequenceSet
    send: SequenceSet


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of messages that the primary does not hold (W1). The three sets are disjoint."""

    dequeued: SequenceSet
    """The primary's history had them: erase."""
    rewound: SequenceSet
    """The primary's history never had them."""
    unknown: SequenceSet
    """Older than the primary's lineage."""


def shared(primary: History, backup: History) -> SequenceSet:
    """The ids the backup holds that name the same message in the primary's history (G2)."""
    point = common_point(primary.lineage, primary.next, backup.lineage, backup.next)
    return backup.held.slice(0, point - 1) if point else SequenceSet()


def _is_same(primary: History, backup: History) -> bool:
    """Whether nothing has to be done, as for idle queues after a failover or a lost link. False: look closer."""
    if backup.next != primary.next or backup.lineage != primary.lineage or backup.held != primary.held:
        return False
    return knows_all(primary.lineage, primary.next, primary.held)


def knows_all(lineage: Lineage, next: MessageId, held: SequenceSet) -> bool:
    """Whether the history (lineage, next) names every held message: whoever says the same of a queue holds the same."""
    return not held or bool(lineage and lineage[0][1] <= held.first and held.last < next)


def plan_resync(primary: History, backup: History) -> ResyncPlan:
    """Decide what a returning backup keeps, drops and must be sent (C4).

    Pure: the same arguments give the same plan, on either side of the link. O(runs), not O(messages).

    Source: Qpid C++ ``ReplicatingSubscription::initialize``. We differ: an id is kept only if the same
    generation gave it out on both sides, so a reused id is never taken for the old message (LM1b).

    >>> plan = plan_resync(History(((1, 1), (2, 5)), 6, SequenceSet([(3, 5)])),
    ...                    History(((1, 1),), 6, SequenceSet([2, 3, 5])))
    >>> list(plan.keep), list(plan.drop), list(plan.send)
    ([3], [2, 5], [4, 5])
    """
    if _is_same(primary, backup):
        return ResyncPlan(keep=backup.held.copy(), drop=SequenceSet(), send=SequenceSet())
    keep = shared(primary, backup) & primary.held
    return ResyncPlan(keep=keep, drop=backup.held - keep, send=primary.held - keep)


def judge(lineage: Lineage, next: MessageId, generation: Generation, ids: SequenceSet) -> Verdict:
    """Say what became of these messages of one generation, by the history (lineage, next) (W1)."""
    base = lineage[0][1] if lineage else 0
    unknown = ids.slice(0, base - 1) if base else SequenceSet()
    rest = ids - unknown
    dequeued = SequenceSet()
    for gen, first, last in spans(lineage, next):
        if gen == generation:
            dequeued = rest.slice(first, last)
    return Verdict(dequeued=dequeued, rewound=rest - dequeued, unknown=unknown)


def had(lineage: Lineage, next: MessageId, generation: Generation, id: MessageId) -> bool | None:
    """Whether the history (lineage, next) gave out this one identity. None: older than it remembers (G1)."""
    if lineage and id < lineage[0][1]:
        return None
    return id < next and generation_of(lineage, id) == generation


def judge_all(
    lineage: Lineage, next: MessageId, own: Lineage, ids: SequenceSet
) -> list[tuple[Generation, Verdict]]:
    """`judge` for ids whose generations are given by the holder's own lineage."""
    return [
        (generation, judge(lineage, next, generation, part)) for generation, part in by_generation(own, ids)
    ]
