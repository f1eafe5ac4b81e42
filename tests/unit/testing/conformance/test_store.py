"""Stores that break one rule, as real ones do, are each found by the check that is named for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from qpidha.errors import StoreFailed
from qpidha.interfaces import MessageStore
from qpidha.journal import Adopt, Change, Insert, Release, Remove, Stage, StoreImage, StoreState
from qpidha.seq import SequenceSet
from qpidha.stores import MemoryStore, SqliteStore
from qpidha.testing import conformance
from qpidha.testing.conformance import Check, RuleBroken
from qpidha.types import QueueId
from qpidha.wire.batch import Batch


class LosesACommit(MemoryStore):
    """Every third transaction is swallowed."""

    commits = 0

    def commit(self, changes: Sequence[Change]) -> None:
        self.commits += 1
        if self.commits % 3:
            super().commit(changes)


class AcksBeforeSync(MemoryStore):
    """The last transaction is still in a buffer of the process when commit returns."""

    buffered: Sequence[Change] = ()

    def commit(self, changes: Sequence[Change]) -> None:
        if self.buffered:
            super().commit(self.buffered)
        self.buffered = list(changes)
        super().commit([])

    def close(self, *, clean: bool) -> None:
        if self._open:
            super().commit(self.buffered)
            self.buffered = ()
        super().close(clean=clean)

    def crash(self) -> None:
        self.buffered = ()
        super().crash()


class Reorders(MemoryStore):
    """Applies removals first, because they free space."""

    def commit(self, changes: Sequence[Change]) -> None:
        super().commit(sorted(changes, key=lambda change: not isinstance(change, Remove)))


class CountsNextFromContent(MemoryStore):
    """The next id is taken to be the one after the last message."""

    def open(self, node: str, *, refuse_dirty: bool = False) -> StoreImage:
        image = super().open(node, refuse_dirty=refuse_dirty)
        for queue in image.queues:
            queue.next = max((ids.last for ids, _ in queue.held), default=0) + 1
        return image


class CleanUntilTouched(MemoryStore):
    """The dirty mark is written with the first transaction, to save a sync at the start."""

    touched = False

    def open(self, node: str, *, refuse_dirty: bool = False) -> StoreImage:
        self.touched = False
        self.before = self._contents.status if self._contents else None
        return super().open(node, refuse_dirty=refuse_dirty)

    def commit(self, changes: Sequence[Change]) -> None:
        self.touched = True
        super().commit(changes)

    def crash(self) -> None:
        super().crash()
        if self._contents and self.before and not self.touched:
            self._contents.status = self.before


class NewEpochEachTime(MemoryStore):
    """Draws its epoch when it is opened, not when it is created."""

    def open(self, node: str, *, refuse_dirty: bool = False) -> StoreImage:
        image = super().open(node, refuse_dirty=refuse_dirty)
        image.status = image.status.with_(epoch=uuid4())
        return image


class DropsProps(MemoryStore):
    """Keeps the payload only."""

    def commit(self, changes: Sequence[Change]) -> None:
        super().commit(
            [
                Insert(c.queue, c.ids, Batch.pack(list(c.batch))) if isinstance(c, Insert) else c
                for c in changes
            ]
        )


class SignedIds(MemoryStore):
    """Its database has 63 bits for a number."""

    def commit(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if isinstance(change, (Insert, Remove)) and change.ids and change.ids.last >= 2**63:
                raise OverflowError("int too large to convert to SQLite INTEGER")
        super().commit(changes)


class ReleasesByIdOnly(MemoryStore):
    """Quarantine without generations."""

    def commit(self, changes: Sequence[Change]) -> None:
        every: list[Change] = []
        for change in changes:
            every.append(change)
            if isinstance(change, Release):
                every += [Release(change.queue, generation, change.ids) for generation in range(9)]
        super().commit(every)


class GoesOnAfterAnError(MemoryStore):
    """A wrong change is reported, and what came before it in the transaction stays."""

    def commit(self, changes: Sequence[Change]) -> None:
        super().commit([])
        for change in changes:
            assert self._contents is not None
            self._contents.apply([change])


class CleanAfterAnyClose(MemoryStore):
    """``close(clean=False)`` is taken for an orderly stop."""

    def close(self, *, clean: bool) -> None:
        super().close(clean=True)


class HeldByMany(MemoryStore):
    """Does not lock."""

    def open(self, node: str, *, refuse_dirty: bool = False) -> StoreImage:
        self._open = False
        return super().open(node, refuse_dirty=refuse_dirty)


class AnybodysStore(MemoryStore):
    """Does not check to which node the store belongs."""

    def open(self, node: str, *, refuse_dirty: bool = False) -> StoreImage:
        if self._contents is not None:
            self._contents.status = self._contents.status.with_(node=node)
        return super().open(node, refuse_dirty=refuse_dirty)


class KeepsItsOwnSets(MemoryStore):
    """Works on the sets it was given, as if it owned them."""

    given: SequenceSet | None = None

    def commit(self, changes: Sequence[Change]) -> None:
        super().commit(changes)
        for change in changes:
            if isinstance(change, Insert):
                self.given = change.ids
            if isinstance(change, Remove) and self.given is not None:
                for first, last in list(change.ids.runs()):
                    self.given.discard(first, last)


class Hangs(MemoryStore):
    """Fails with an untyped error, which no node expects."""

    def commit(self, changes: Sequence[Change]) -> None:
        if self._open:
            raise ConnectionResetError("the database went away")
        raise StoreFailed("closed")


class NeverLooks(SqliteStore):
    """Does not check that its paths still lead to the files that it opened."""

    def verify_files(self) -> None:
        pass


class SeesGhosts(SqliteStore):
    """Takes its own writes for those of another process."""

    def verify_files(self) -> None:
        if self._files is not None:
            self._files._database.size -= 1
        super().verify_files()


class ReadsWholeRows(SqliteStore):
    """Gives back the messages that were stored together, whatever was asked for."""

    def read(self, queue: QueueId, ids: SequenceSet) -> Batch:
        held = self._contents.queues[queue].rows if self._contents else None
        row = held.find(ids.first) if held else None
        return super().read(queue, ids if row is None else row.live)


class LeavesOutForGood(SqliteStore):
    """Does not give what the limit has left out."""

    def open(self, node: str, *, refuse_dirty: bool = False) -> StoreImage:
        image = super().open(node, refuse_dirty=refuse_dirty)
        if self.memory_bytes_max is not None:
            for queue in (queues := list(image.queues)):
                queue.held = list(queue.held)[:1]
            image.queues = queues
        return image


class ReadsAndForgets(SqliteStore):
    """Goes on after a read that failed."""

    def read(self, queue: QueueId, ids: SequenceSet) -> Batch:
        try:
            return super().read(queue, ids)
        finally:
            if self._reading is not None:
                self._reading.failed = None


class KeepsAside(SqliteStore):
    """Finds what was set aside again when it is opened, as content."""

    def commit(self, changes: Sequence[Change]) -> None:
        known = set(self._contents.queues) if self._contents else set()
        super().commit(
            [
                Insert(c.queue, c.ids, c.batch) if isinstance(c, Stage) and c.queue in known else c
                for c in changes
            ]
        )


class AdoptsAll(SqliteStore):
    """Makes everything content that is set aside for a queue, whatever is adopted."""

    def commit(self, changes: Sequence[Change]) -> None:
        aside = self._contents.staged if self._contents else {}
        super().commit(
            [
                Adopt(c.queue, SequenceSet([id for row in aside[c.queue].rows for id in row.live]))
                if isinstance(c, Adopt) and c.queue in aside
                else c
                for c in changes
            ]
        )


class ForgetsWhereItWas(SqliteStore):
    """Finds what was set aside only where it was."""

    def read_staged(self, queue: QueueId, ids: SequenceSet) -> Batch:
        if self._contents is not None and queue not in self._contents.staged:
            raise StoreFailed("nothing is set aside")
        return super().read_staged(queue, ids)


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        (KeepsAside, "what-is-set-aside-is-no-content"),
        (AdoptsAll, "what-is-set-aside-becomes-content-when-it-is-adopted"),
        (ForgetsWhereItWas, "what-was-adopted-is-read-as-before"),
        (ReadsWholeRows, "what-was-committed-can-be-read-again"),
        (LeavesOutForGood, "a-start-with-a-limit-gives-everything"),
        (ReadsAndForgets, "what-is-not-there-cannot-be-read"),
        (NeverLooks, "files-that-were-removed-are-missed"),
        (SeesGhosts, "a-look-at-the-files-changes-nothing"),
    ],
)
def test_each_broken_ability_is_found(kind: type[SqliteStore], check: str) -> None:
    found = [each for each in conformance.store_checks(kind) if str(each) == check]
    with pytest.raises((RuleBroken, StoreFailed)):
        found[0]()


def checks(kind: type[MemoryStore]) -> list[Check[Any]]:
    stores: dict[Path, MemoryStore] = {}

    def make(directory: Path) -> MessageStore:
        return stores.setdefault(directory, kind())

    def kill(store: MessageStore, directory: Path) -> Path:
        assert isinstance(store, MemoryStore)
        store.crash()
        return directory

    return conformance.store_checks(make, kill=kill)


def failures(found: Iterable[Check[Any]]) -> dict[str, RuleBroken]:
    broken = {}
    for check in found:
        try:
            check()
        except RuleBroken as error:
            broken[str(check)] = error
    return broken


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        (LosesACommit, "everything-comes-back"),
        (AcksBeforeSync, "a-commit-outlives-a-kill"),
        (Reorders, "changes-apply-in-order"),
        (CountsNextFromContent, "next-outlives-the-messages"),
        (CleanUntilTouched, "it-is-dirty-as-soon-as-it-is-open"),
        (NewEpochEachTime, "a-new-store-is-empty-and-keeps-its-epoch"),
        (DropsProps, "every-column-of-a-batch-comes-back"),
        (SignedIds, "ids-have-64-bits"),
        (ReleasesByIdOnly, "quarantine-is-released-by-identity"),
        (GoesOnAfterAnError, "a-wrong-change-kills-the-store"),
        (CleanAfterAnyClose, "dirty-stores-can-be-refused"),
        (HeldByMany, "a-store-is-held-once"),
        (AnybodysStore, "a-store-belongs-to-one-node"),
        (KeepsItsOwnSets, "nothing-given-is-changed"),
        (Hangs, "everything-comes-back"),
    ],
)
def test_each_broken_store_is_found(kind: type[MemoryStore], check: str) -> None:
    found = failures(checks(kind))
    assert check in found
    assert found[check].subject == "MessageStore"
    assert found[check].done, "says what was done"


def test_a_store_that_acks_before_it_syncs_passes_the_checks_without_a_kill() -> None:
    """So the kit has checks that kill a process."""
    found = failures(checks(AcksBeforeSync))
    assert "a-commit-outlives-a-kill" in found
    assert not {"everything-comes-back", "changes-apply-in-order", "next-outlives-the-messages"} & set(found)


def test_the_report_tells_rule_steps_expected_and_seen() -> None:
    error = failures(checks(CountsNextFromContent))["next-outlives-the-messages"]
    assert "an id is never given out again" in error.rule
    assert error.done.startswith("open('a'); commit(PutStatus generation 3 primary")
    assert (error.expected, error.seen) == ("next: 10", "next: 1")
    assert all(text in str(error) for text in (error.rule, error.check, "expected: next: 10"))


def test_the_state_of_a_wrong_store_is_told_by_name() -> None:
    error = failures(checks(CleanAfterAnyClose))["it-is-dirty-as-soon-as-it-is-open"]
    assert repr(StoreState.DIRTY) in error.expected


def test_run_tells_all_that_is_broken() -> None:
    with pytest.raises(conformance.RulesBroken) as several:
        conformance.run(checks(LosesACommit))
    assert len(several.value.found) > 1
    with pytest.raises(RuleBroken):
        conformance.run(checks(CountsNextFromContent)[:12])


@pytest.mark.parametrize("way", ["call", "await"])
def test_checks_run_inside_and_outside_of_a_loop(way: str) -> None:
    import asyncio

    check = next(c for c in checks(MemoryStore) if str(c) == "everything-comes-back")

    async def main() -> None:
        await check

    run: Callable[[], object] = check if way == "call" else (lambda: asyncio.run(main()))
    run()


def test_checks_are_left_out_by_name() -> None:
    every = conformance.store_checks(lambda directory: MemoryStore())
    fewer = conformance.store_checks(lambda directory: MemoryStore(), without=["everything-comes-back"])
    assert set(map(str, every)) - set(map(str, fewer)) == {"everything-comes-back"}
    with pytest.raises(ValueError, match="no check nothing"):
        conformance.store_checks(lambda directory: MemoryStore(), without=["nothing"])
