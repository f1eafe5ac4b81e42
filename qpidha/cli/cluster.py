"""The record of a cluster as commands use it: of the directory of a file record store, or of an engine named by a URL.

Everything here blocks, and is called in a thread of `qpidha.cli.work`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from qpidha.cli.work import require_directory
from qpidha.errors import CallerError

if TYPE_CHECKING:
    from qpidha.interfaces import RecordStore
    from qpidha.types import Record, Versioned

T = TypeVar("T")
Place = Path | str
"""A directory, or a URL."""
WRITE_TIMEOUT_S = 10.0


def in_engine(url: str, work: Callable[[RecordStore], Awaitable[T]]) -> T:
    """The result of some work with the record store that a URL names."""
    from qpidha.records.url import open_records

    async def wrapped() -> T:
        store = open_records(url)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(wrapped())


def peek(cluster: Place) -> Versioned | None:
    """The record, or None."""
    if isinstance(cluster, str):
        return in_engine(cluster, lambda store: store.read())
    from qpidha.records.file.store import FileRecordStore

    require_directory(cluster, "record")
    return FileRecordStore.peek(cluster)


def live_in(cluster: Place) -> list[str]:
    """The nodes with a live session. Without a directory there is none."""
    if isinstance(cluster, str):
        return sorted(in_engine(cluster, lambda store: store.live()))
    from qpidha.records.file.store import FileRecordStore

    try:
        require_directory(cluster, "record")
    except FileNotFoundError:
        return []
    return sorted(FileRecordStore.peek_live(cluster))


def is_store(cluster: Place) -> bool:
    """Whether a directory is, or was, a store."""
    return isinstance(cluster, Path) and any((cluster / entry).exists() for entry in ("store.db", "identity"))


def put(cluster: Place, stores: list[Path], expected: int | None, record: Record) -> None:
    """Write it; to a directory that the nodes can use, also if root does it."""
    if isinstance(cluster, str):
        in_engine(cluster, lambda store: _written(store, expected, record))
        return
    from qpidha.records.file.store import FileRecordStore
    from qpidha.system.ownership import make_directories

    if not cluster.is_dir():
        owners = {(facts.st_uid, facts.st_gid) for facts in map(os.stat, stores)}
        if os.geteuid() == 0 and len(owners) > 1:
            raise CallerError(
                f"the stores belong to several users: create {cluster} first, owned by the user that runs the nodes"
            )
        for created in make_directories(cluster):
            if os.geteuid() == 0:
                os.chown(created, *next(iter(owners)), follow_symlinks=False)
    FileRecordStore.put(cluster, expected, record, timeout_s=WRITE_TIMEOUT_S)


async def _written(store: RecordStore, expected: int | None, record: Record) -> Versioned:
    if expected is None:
        return await store.create(record)
    return await store.compare_and_set(expected, record, timeout_s=WRITE_TIMEOUT_S)
