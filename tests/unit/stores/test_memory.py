"""A commit of a store in memory can be made in steps; a half-made commit is never visible."""

from __future__ import annotations

from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet, Settle
from qpidha.errors import ArgumentError, StoreDamaged, StoreFailed
from qpidha.journal import Audit, Change, Insert, PutQueue, Remove, StoreState
from qpidha.stores import MemoryStore
from qpidha.stores.memory import STEP
from qpidha.types import QueueSpec

COUNT = 2 * STEP
M = Batch.pack([b"m"])


def puts(first: int, count: int) -> list[Change]:
    spec = QueueSpec(name="q", settle=Settle.REPLICATED)
    return [PutQueue(UUID(int=n), spec, ((1, 1),), 1) for n in range(first, first + count)]


def opened() -> MemoryStore:
    store = MemoryStore()
    store.open("a")
    return store


def queues(store: MemoryStore) -> int:
    store.crash()
    return len(store.open("a").queues)


def test_a_commit_is_made_in_steps() -> None:
    store = opened()
    steps = store.commit_in_steps([*puts(1, COUNT), Audit("event", 1, "q", "detail")])
    assert sum(1 for _ in steps) == 2 * 3, "each portion is checked, then made"
    assert len(store.audit) == 1
    assert queues(store) == COUNT


@pytest.mark.parametrize("steps", [1, 3, 4])
@pytest.mark.parametrize("what", ["crash", "close", "commit"])
def test_a_crash_close_or_commit_finishes_an_open_commit_first(steps: int, what: str) -> None:
    store = opened()
    committing = store.commit_in_steps(puts(1, COUNT))
    for _ in range(steps):
        next(committing)
    if what == "crash":
        store.crash()
    elif what == "close":
        store.close(clean=True)
        assert store.read_status().state is StoreState.CLEAN
    else:
        store.commit(puts(COUNT + 1, 1))
    assert list(committing) == []
    assert queues(store) == COUNT + (what == "commit")


def test_invalid_changes_are_found_before_any_change_is_applied() -> None:
    store = opened()
    bad = Insert(UUID(int=1), SequenceSet(), M)
    with pytest.raises(ArgumentError):
        store.commit([*puts(1, COUNT), bad])
    with pytest.raises(ArgumentError):
        store.commit(iter(()))  # type: ignore[arg-type]
    store.commit(puts(1, 1))
    assert queues(store) == 1


def test_a_commit_that_fails_half_way_ends_the_store() -> None:
    store = opened()
    with pytest.raises(Exception, match="queue that the store knows"):
        store.commit([*puts(1, COUNT), Remove(UUID(int=COUNT + 1), SequenceSet([1]))])
    with pytest.raises(StoreFailed):
        store.commit(puts(1, 1))
    store.crash()
    with pytest.raises(StoreDamaged):
        store.open("a")
