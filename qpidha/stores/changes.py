"""Checks the changes of a commit: each can be written, and read again when the store is opened.

They run before any change of a commit is applied, so that a store never holds data that it would refuse to load.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any
from uuid import UUID

from qpidha.checks import FLAG, QUEUE_NAME, Rule, instance_of, integer
from qpidha.errors import ArgumentError
from qpidha.journal import (
    Adopt,
    Audit,
    Change,
    DropQueue,
    Insert,
    PutQueue,
    PutStatus,
    Quarantine,
    Release,
    Remove,
    Skip,
    Stage,
    Unstage,
)
from qpidha.seq import SequenceSet
from qpidha.settings import check_spec, is_ordinary_spec
from qpidha.stores.schema import lineage_fault
from qpidha.types import GENERATION_MAX, MESSAGE_ID_MAX, Fate
from qpidha.wire.batch import Batch

BATCH_BYTES_MAX = 1_000_000_000
"""The maximum size of a value in SQLite."""
ORDINARY = (UUID, SequenceSet, Batch)
"""Types of an insert."""
UUID_ = instance_of(UUID)
IDS = instance_of(SequenceSet)
SOME_IDS = Rule(
    "a SequenceSet with at least one id", lambda value: isinstance(value, SequenceSet) and bool(value)
)
BATCH = Rule(
    f"a Batch of at most {BATCH_BYTES_MAX} bytes",
    lambda value: isinstance(value, Batch) and value.nbytes <= BATCH_BYTES_MAX,
)
GENERATION = integer(0, GENERATION_MAX)
NEXT = integer(0, MESSAGE_ID_MAX + 1)
FATE = instance_of(Fate)
TEXT = instance_of(str, what="text")
CHANGES = instance_of(list, tuple, what="a list or a tuple of changes")
LINEAGE = Rule(
    "a tuple of (generation, first id)", lambda value: isinstance(value, tuple) and all(map(_is_entry, value))
)


Check = Callable[[str, Any], object]
"""Called with the name of a field and its value; raises `ArgumentError`."""


def check_changes(changes: Sequence[Change]) -> None:
    """Check that these changes can be written, and read again when the store is opened.

    O(changes), not O(messages). Changes nothing.

    Raises:
        ArgumentError: Not a list or tuple of changes of `qpidha.journal`, or a field is out of range; it is named.
    """
    CHANGES("changes", changes)
    lineage: object = None
    for change in changes:
        if type(change) is Insert and _is_ordinary(change):
            continue
        if type(change) is PutQueue:
            if change.lineage is lineage and _is_like_the_last(change):
                continue
            lineage = change.lineage
        checks = CHECKS.get(type(change))
        if checks is None:
            raise ArgumentError(f"changes must be changes of qpidha.journal, not {type(change).__name__}")
        for name, value_of, check in checks:
            check(name, value_of(change))
        if type(change) is PutQueue and (fault := lineage_fault(change.lineage, change.next, GENERATION_MAX)):
            raise ArgumentError(f"PutQueue.lineage must be a lineage, but {fault}")


def _is_ordinary(change: Insert) -> bool:
    """The checks of an insert in one look: most changes are inserts, and all but a few pass."""
    types = type(change.queue), type(change.ids), type(change.batch)
    return types == ORDINARY and bool(change.ids) and change.batch.nbytes <= BATCH_BYTES_MAX


def _is_like_the_last(change: PutQueue) -> bool:
    """The checks of a queue whose lineage, the same object, was found to be right: after a promotion most share one."""
    lineage, next = change.lineage, change.next
    if type(lineage) is not tuple or not lineage or type(next) is not int:
        return False
    after = lineage[-1][1] <= next <= MESSAGE_ID_MAX + 1
    return after and type(change.queue) is UUID and is_ordinary_spec(change.spec)


def _is_entry(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and GENERATION.fits(value[0]) and NEXT.fits(value[1])


def _of(change: type, **checks: Check) -> tuple[tuple[str, Callable[[Any], Any], Check], ...]:
    """For each field its full name, how to get it, and its check."""
    return tuple((f"{change.__name__}.{field}", attrgetter(field), check) for field, check in checks.items())


CHECKS = {
    PutStatus: _of(PutStatus, cluster=UUID_, generation=GENERATION, primary=FLAG),
    PutQueue: _of(PutQueue, queue=UUID_, spec=lambda _, spec: check_spec(spec), next=NEXT, lineage=LINEAGE),
    DropQueue: _of(DropQueue, queue=UUID_),
    Insert: _of(Insert, queue=UUID_, ids=SOME_IDS, batch=BATCH),
    Stage: _of(Stage, queue=UUID_, ids=SOME_IDS, batch=BATCH),
    Adopt: _of(Adopt, queue=UUID_, ids=IDS),
    Unstage: (),
    Remove: _of(Remove, queue=UUID_, ids=IDS),
    Skip: _of(Skip, queue=UUID_, next=NEXT),
    Quarantine: _of(
        Quarantine,
        queue=UUID_,
        name=QUEUE_NAME,
        generation=GENERATION,
        ids=SOME_IDS,
        batch=BATCH,
        fate=FATE,
    ),
    Release: _of(Release, queue=UUID_, generation=GENERATION, ids=IDS),
    Audit: _of(Audit, event=TEXT, generation=GENERATION, queue=TEXT, detail=TEXT),
}
"""The checks of each kind of change, in the order in which they are made."""
