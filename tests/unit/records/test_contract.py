"""Both record stores keep every rule of `RecordStore` and `Session`; the checks find stores that break one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from qpidha.errors import Conflict
from qpidha.interfaces import RecordStore
from qpidha.records import FileRecordStore, MemoryRecordStore
from qpidha.testing import conformance
from qpidha.testing.conformance import Check, RuleBroken
from qpidha.testing.conformance import records as kit
from qpidha.types import Record, Versioned

Two = tuple[RecordStore, RecordStore]


def shared(kind: Callable[[], MemoryRecordStore] = MemoryRecordStore) -> Callable[[Path], Two]:
    def make(directory: Path) -> Two:
        store = kind()
        return store, store

    return make


def files(directory: Path) -> Two:
    return FileRecordStore(directory / "c"), FileRecordStore(directory / "c", poll_interval_s=0.005)


@pytest.mark.parametrize("check", conformance.record_checks(shared()), ids=str)
def test_memory(check: Check) -> None:
    check()


@pytest.mark.parametrize("check", conformance.record_checks(files), ids=str)
def test_files(check: Check) -> None:
    check()


def test_a_factory_may_be_a_coroutine() -> None:
    async def connect(directory: Path) -> Two:
        await asyncio.sleep(0)
        return shared()(directory)

    conformance.run(conformance.record_checks(connect)[:2])


# --- broken ones -------------------------------------------------------------------------------------


class ChecksThenWrites(MemoryRecordStore):
    """Reads the version, then writes: two round trips."""

    async def compare_and_set(self, expected: int, new: Record, *, timeout_s: float) -> Versioned:
        current = await self.read()
        if current is None or current.version != expected:
            return await super().compare_and_set(expected, new, timeout_s=timeout_s)
        await asyncio.sleep(0)
        current = self._record.value
        assert current is not None
        return self._apply(current.version, new)


class LastWriteWins(MemoryRecordStore):
    """Does not compare at all."""

    async def compare_and_set(self, expected: int, new: Record, *, timeout_s: float) -> Versioned:
        current = self._record.value
        version = expected if current is None else current.version
        return await super().compare_and_set(version, new, timeout_s=timeout_s)


class GoesBack(MemoryRecordStore):
    """A watch served by two replicas in turn, one of which lags."""

    def watch(self) -> AsyncIterator[Versioned | None]:
        async def both() -> AsyncIterator[Versioned | None]:
            before: Versioned | None = None
            async for found in super(GoesBack, self).watch():
                yield found
                if before is not None:
                    yield before
                before = found

        return both()


class StaleFirst(MemoryRecordStore):
    """A new watch begins with a cached value."""

    def watch(self) -> AsyncIterator[Versioned | None]:
        async def cached() -> AsyncIterator[Versioned | None]:
            yield getattr(self, "cache", None)
            async for found in super(StaleFirst, self).watch():
                self.cache = found
                yield found

        return cached()


class NotItsOwn(MemoryRecordStore):
    """Reports a conflict when its own write was applied and the answer lost."""

    async def compare_and_set(self, expected: int, new: Record, *, timeout_s: float) -> Versioned:
        current = await self.read()
        if current is not None and current.version != expected:
            raise Conflict("somebody else was quicker", current=current)
        return await super().compare_and_set(expected, new, timeout_s=timeout_s)


class Founders(MemoryRecordStore):
    """`create` overwrites an existing record."""

    async def create(self, new: Record) -> Versioned:
        self._record.set(None)
        return await super().create(new)


class TwoOfAKind(MemoryRecordStore):
    """The second session of a node takes over silently."""

    async def open_session(self, node: str, info: bytes, *, ttl_s: float) -> Any:
        self._sessions.pop(node, None)
        return await super().open_session(node, info, ttl_s=ttl_s)


class NeverOver(MemoryRecordStore):
    """A closed session is seen until its TTL is over."""

    def publish(self, node: str, info: bytes | None) -> None:
        if info is not None:
            super().publish(node, info)


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        (ChecksThenWrites, "of-many-writers-one-wins"),
        (LastWriteWins, "compare-and-set-needs-the-version"),
        (GoesBack, "a-watch-begins-with-the-record-and-never-goes-back"),
        (StaleFirst, "a-new-watch-does-not-begin-with-an-old-value"),
        (NotItsOwn, "asking-the-same-again-succeeds-once-written"),
        (Founders, "create-founds-once"),
        (TwoOfAKind, "a-second-session-of-a-node-is-refused"),
        (NeverOver, "sessions-come-and-go-and-say-what-they-like"),
    ],
)
def test_each_broken_record_store_is_found(
    kind: type[MemoryRecordStore], check: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kit, "TIMEOUT_S", 0.5)
    [found] = [c for c in conformance.record_checks(shared(kind)) if str(c) == check]
    with pytest.raises(RuleBroken):
        found()


def test_an_election_that_is_not_atomic_passes_every_other_check() -> None:
    """Sequential writers never notice it: the check must run them concurrently."""
    every = conformance.record_checks(shared(ChecksThenWrites), without=["of-many-writers-one-wins"])
    conformance.run(c for c in every if "compare" in str(c) or "asking" in str(c))
