"""A cluster record for tests, newer ones like it, and a directory that holds one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import UUID

from qpidha.records import FileRecordStore
from qpidha.types import Member, Record

RECORD = Record(
    cluster=UUID(int=1),
    generation=3,
    primary=("a", UUID(int=2)),
    members=frozenset((Member("a", UUID(int=7)), Member("b", UUID(int=8)))),
    nonce=b"first",
)


def newer(n: int) -> Record:
    """`RECORD`, ``n`` generations later."""
    return replace(RECORD, generation=RECORD.generation + n, nonce=n.to_bytes(2, "big"))


async def create(directory: Path) -> None:
    """Put `RECORD` into a new record store."""
    store = FileRecordStore(directory)
    await store.create(RECORD)
    await store.close()
