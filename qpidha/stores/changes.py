"""What a store takes: changes that can be written, and read again when the store is opened.

Checked before anything of a commit is applied, so that a store never holds what it would refuse to load.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from qpidha.checks import FLAG, QUEUE_NAME, Rule, instance_of, integer
from qpidha.errors import ArgumentError
from qpidha.journal import (
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
)
from qpidha.seq import SequenceSet
from qpidha.settings import check_spec
from qpidha.stores.schema import lineage_fault
from qpidha.types import GENERATION_MAX, MESSAGE_ID_MAX, Fate
from qpidha.wire.batch import Batch

BATCH_BYTES_MAX = 1_000_000_000
"""A value of SQLite has no more."""
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


def check_changes(changes: Sequence[Change]) -> None:
    """Raises `ArgumentError` for what could not be written or opened again. O(changes), not O(messages)."""
    CHANGES("changes", changes)
    for change in changes:
        check = FIELDS.get(type(change))
        if check is None:
            raise ArgumentError(f"changes must be changes of qpidha.journal, not {type(change).__name__}")
        check(change)


def _is_entry(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and GENERATION.fits(value[0]) and NEXT.fits(value[1])


def _status(change: PutStatus) -> None:
    UUID_("PutStatus.cluster", change.cluster)
    GENERATION("PutStatus.generation", change.generation)
    FLAG("PutStatus.primary", change.primary)


def _put_queue(change: PutQueue) -> None:
    UUID_("PutQueue.queue", change.queue)
    check_spec(change.spec)
    NEXT("PutQueue.next", change.next)
    LINEAGE("PutQueue.lineage", change.lineage)
    if fault := lineage_fault(change.lineage, change.next, GENERATION_MAX):
        raise ArgumentError(f"PutQueue.lineage must be a lineage, but {fault}")


def _drop(change: DropQueue) -> None:
    UUID_("DropQueue.queue", change.queue)


def _insert(change: Insert) -> None:
    UUID_("Insert.queue", change.queue)
    SOME_IDS("Insert.ids", change.ids)
    BATCH("Insert.batch", change.batch)


def _remove(change: Remove) -> None:
    UUID_("Remove.queue", change.queue)
    IDS("Remove.ids", change.ids)


def _skip(change: Skip) -> None:
    UUID_("Skip.queue", change.queue)
    NEXT("Skip.next", change.next)


def _quarantine(change: Quarantine) -> None:
    UUID_("Quarantine.queue", change.queue)
    QUEUE_NAME("Quarantine.name", change.name)
    GENERATION("Quarantine.generation", change.generation)
    SOME_IDS("Quarantine.ids", change.ids)
    BATCH("Quarantine.batch", change.batch)
    FATE("Quarantine.fate", change.fate)


def _release(change: Release) -> None:
    UUID_("Release.queue", change.queue)
    GENERATION("Release.generation", change.generation)
    IDS("Release.ids", change.ids)


def _audit(change: Audit) -> None:
    TEXT("Audit.event", change.event)
    GENERATION("Audit.generation", change.generation)
    TEXT("Audit.queue", change.queue)
    TEXT("Audit.detail", change.detail)


FIELDS: dict[type, Callable[[Any], None]] = {
    PutStatus: _status,
    PutQueue: _put_queue,
    DropQueue: _drop,
    Insert: _insert,
    Remove: _remove,
    Skip: _skip,
    Quarantine: _quarantine,
    Release: _release,
    Audit: _audit,
}
