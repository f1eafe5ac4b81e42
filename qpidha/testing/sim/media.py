"""Power cuts and damage of a simulated disk, decided by a real store.

The simulated disk knows whole transactions only. Here its content is written to a `SqliteStore` in a scratch
directory, the files are changed as a power cut or a bad disk changes them, and the store is opened again. Its
verification decides what the simulated disk holds from then on.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from qpidha.errors import StoreDamaged, StoreFailed
from qpidha.journal import Change, Insert, PutQueue, PutStatus, Quarantine, Stage, StoreImage
from qpidha.seq import SequenceSet
from qpidha.stores.schema import PAGE_BYTES
from qpidha.stores.sqlite import SqliteStore
from qpidha.testing.sim.content import Content, messages, packed
from qpidha.testing.sim.disk import SimDisk
from qpidha.types import QueueId
from qpidha.wire.batch import Batch

SECTOR_BYTES: Final = 512
FRAME_BYTES: Final = PAGE_BYTES + 24
"""One page in the write-ahead log, with its header."""
LOG_HEADER_BYTES: Final = 32
HOME: Final = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - a fresh directory in it
"""A directory in memory, where fsync is cheap; this module decides what a power cut leaves."""


class MediaError(AssertionError):
    """The real store accepted damaged bytes, or lost a durable transaction."""


def interrupted(content: Content, changes: Sequence[Change], kind: str, chance: random.Random) -> bool:
    """Interrupt a transaction in the middle of its bytes. Returns whether the store has it afterwards.

    ``kind``: ``torn_write`` and ``short_write`` leave the first part, ``reordered_writes`` any of its sectors.
    """
    with scratch(content) as (store, directory):
        before = plain(store.open(content.status.node))
        if content.staged:
            store.commit(list(_aside(content)))
        wal = directory / "store.db-wal"
        begin = _length(wal)
        witness = (directory / "synced").read_bytes()
        store.commit(changes)
        store.close(clean=False)
        (directory / "synced").write_bytes(witness)  # It is told of a transaction when that is durable.
        raw = bytearray(wal.read_bytes()[: _length(wal)])
        after = content.copy()
        after.apply(changes)
        if kind == "reordered_writes":
            rate = chance.choice([0, 0.01, 0.3])
            for at in range(begin, len(raw), SECTOR_BYTES):
                if chance.random() < rate:
                    raw[at : at + SECTOR_BYTES] = bytes(len(raw[at : at + SECTOR_BYTES]))
        else:
            del raw[chance.choice([chance.randint(begin, len(raw)), len(raw)]) :]
        wal.write_bytes(raw)
        try:
            found = plain(store.open(content.status.node))
        except StoreDamaged as error:
            raise MediaError(f"D1: after a power cut the store says: {error}") from error
        if found == plain(after.image()):
            return True
        if found != before:
            raise MediaError(f"D1: after a power cut the store holds neither the old nor the new: {kind}")
        return False


def damaged(content: Content, kind: str, chance: random.Random) -> str:
    """Change bytes of a killed store. Returns the error of its verification, "" if it opens.

    It may open only if it returns exactly what it had; else this raises `MediaError`.
    """
    with scratch(content) as (store, directory):
        before = plain(store.open(content.status.node))
        if kind == "lost_write":
            _lose(store, directory / "store.db-wal", content, chance)
        else:
            store.close(clean=False)
            file = directory / "store.db"
            file.write_bytes(_spoiled(file.read_bytes(), kind, chance))
        try:
            found = plain(store.open(content.status.node))
        except StoreDamaged as error:
            return str(error).removeprefix(str(directory)).strip()
        if found != before:
            raise MediaError(f"D3: {kind}: the store was damaged and opened as if it was not")
        return ""


def _spoiled(raw: bytes, kind: str, chance: random.Random) -> bytes:
    file = bytearray(raw)
    match kind:
        case "bit_flip":
            file[chance.randrange(len(file))] ^= 1 << chance.randrange(8)
        case "misdirected_write":
            blocks = len(file) // PAGE_BYTES
            here, there = (PAGE_BYTES * chance.randrange(blocks) for _ in range(2))
            file[there : there + PAGE_BYTES] = file[here : here + PAGE_BYTES]
        case _:
            del file[chance.randrange(len(file)) :]
    return bytes(file)


def _lose(store: SqliteStore, wal: Path, content: Content, chance: random.Random) -> None:
    """Commit three transactions, and erase a block of the first one."""
    begin = _length(wal)
    first = begin
    for turn in range(3):
        store.commit([_status(content)])
        if turn == 0:
            first = _length(wal)
    store.close(clean=False)
    raw = bytearray(wal.read_bytes())
    frames = max(1, (first - begin) // FRAME_BYTES)
    at = max(begin, 32) + FRAME_BYTES * chance.randrange(frames)
    raw[at : at + FRAME_BYTES] = bytes(FRAME_BYTES)
    wal.write_bytes(raw)


def _length(wal: Path) -> int:
    """The bytes of a log, without the room behind it (`qpidha.stores.logroom`)."""
    used = len(wal.read_bytes().rstrip(bytes(1)))
    return 0 if not used else LOG_HEADER_BYTES + -(-(used - LOG_HEADER_BYTES) // FRAME_BYTES) * FRAME_BYTES


@contextmanager
def scratch(content: Content) -> Iterator[tuple[SqliteStore, Path]]:
    """Make a closed store with this content, all in the database file, in a temporary directory."""
    with TemporaryDirectory(prefix="qpidha-", dir=HOME) as home:
        directory = Path(home) / "store"
        store = SqliteStore(directory, new_uuid=lambda: content.status.epoch)
        store.open(content.status.node)
        if content.status.cluster is not None:  # Else its first transaction is still to come.
            store.commit(list(_all(content)))
        store.close(clean=True)
        try:
            yield store, directory
        finally:
            store.close(clean=False)


def _status(content: Content) -> PutStatus:
    status = content.status
    assert status.cluster is not None
    return PutStatus(status.cluster, status.generation, status.primary)


def _all(content: Content) -> Iterator[Change]:
    """The changes of one transaction that creates this content."""
    yield _status(content)
    image = content.image()
    for q in image.queues:
        yield PutQueue(q.queue, q.spec, q.lineage, q.next)
        for ids, batch in q.held:
            yield Insert(q.queue, ids, batch)
    yield from image.quarantine


def _aside(content: Content) -> Iterator[Change]:
    """The changes of one transaction that sets aside what this content has set aside."""
    for queue, held in content.staged.items():
        for id, message in held.items():
            yield Stage(queue, SequenceSet([id]), packed([message]))


def plain(image: StoreImage) -> dict[object, object]:
    """Return the facts of an image in a form that does not depend on its batches."""
    found: dict[object, object] = {
        q.queue: (
            q.spec,
            tuple(q.lineage),
            q.next,
            {i: m for ids, batch in q.held for i, m in zip(ids, messages(batch), strict=True)},
        )
        for q in image.queues
    }
    for kept in image.quarantine:
        found.update(_shelved(kept))
    found["status"] = (image.status.cluster, image.status.generation, image.status.primary)
    return found


def _shelved(kept: Quarantine) -> Iterator[tuple[object, object]]:
    for id, message in zip(kept.ids, messages(kept.batch), strict=True):
        yield (kept.queue, kept.generation, id), (kept.name, kept.fate, message)


def read_again(disk: SimDisk, count: Callable[[str], None], queue: QueueId, ids: SequenceSet) -> Batch:
    """Give back messages that are durable (`qpidha.interfaces.ReadableStore`). KeyError: one of them is not.

    Raises:
        StoreFailed: The disk could not be read (`SimDisk.spoiled`).
    """
    if disk.spoiled():
        count("fault read_error")
        raise StoreFailed("simulated: the disk could not be read")
    count("messages read again")
    content = disk.content
    found = content.queues.get(queue) or content.local[queue]
    return packed([found.held[id] for id in ids])


def read_staged(disk: SimDisk, count: Callable[[str], None], queue: QueueId, ids: SequenceSet) -> Batch:
    """The same of messages that were set aside (`qpidha.interfaces.StagingStore`)."""
    aside = disk.content.staged.get(queue, {})
    if ids.first not in aside:
        return read_again(disk, count, queue, ids)
    if disk.spoiled():
        count("fault read_error")
        raise StoreFailed("simulated: the disk could not be read where messages are set aside")
    count("staged messages read again")
    return packed([aside[id] for id in ids])
