"""The store under a fuzzer: its status row with a right checksum, its small files, its whole database.

The database is a real one, made once, in which the fuzzer changes bytes. A reader may find it damaged; it
may not fail in any other way, and must not call damaged bytes sound if they hold other messages.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from uuid import UUID

import msgpack

from qpidha.errors import StoreError
from qpidha.journal import Insert, PutQueue, PutStatus, Quarantine, Remove
from qpidha.recovery.validator import Verdict, check_join, check_start
from qpidha.seq import SequenceSet
from qpidha.settings import Settings
from qpidha.stores import SqliteStore, inspect, read_audit, read_status
from qpidha.stores.files import Identity, Layout, noted_damage
from qpidha.stores.schema import checksum, read_status_row, status_row
from qpidha.types import Fate, Member, QueueSpec, Record
from qpidha.wire.batch import Batch

CLUSTER, EPOCH, QUEUE = UUID(int=1), UUID(int=2), UUID(int=0xA1)
RECORDS = (
    None,
    Record(cluster=CLUSTER, generation=3, primary=None, members=frozenset({Member("me", EPOCH)})),
    Record(cluster=QUEUE, generation=0, primary=None, members=frozenset()),
)
COLUMNS = {10, 11}
"""Of a status row, without its checksum: in format 1, and today."""


@cache
def scratch() -> Path:
    """Where files cost nothing, if there is such a place."""
    memory = Path("/dev/shm")
    place = tempfile.TemporaryDirectory(prefix="qpidha-fuzz-", dir=memory if memory.is_dir() else None)
    _KEPT.append(place)
    return Path(place.name)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


def status(data: bytes) -> None:
    """A status row as a msgpack array of its values, and what the start-up rules make of it.

    Where it is none, the same bytes as the file that names the owner, and as the note of damage.
    """
    try:
        values = msgpack.unpackb(data, use_list=False, strict_map_key=True)
    except (ValueError, msgpack.UnpackException):
        files(data)
        return
    if type(values) is not tuple or len(values) not in COLUMNS or not set(map(type, values)) <= VALUES:
        return
    if any(type(value) is int and not -(2**63) <= value < 2**63 for value in values):
        return
    try:
        found, tally = read_status_row((*values, checksum(values)))
    except ValueError:
        return
    today = replace(tally, digest=tally.digest or 0)
    assert read_status_row(status_row(found, today)) == (found, today)
    for record in RECORDS:
        for settings in (Settings(), Settings(dirty_start="refuse")):
            decision = check_start(found, record, settings)
            assert (decision.error is not None) == (decision.verdict is Verdict.REFUSE)
            with suppress(StoreError):
                assert decision.require() is decision
    check_join(found, CLUSTER, 3)


VALUES = {int, str, bytes, type(None)}
"""What SQLite can give back for a column."""


def files(data: bytes) -> None:
    layout = Layout(scratch())
    layout.identity.write_bytes(data)
    layout.damaged.write_bytes(data)
    with suppress(ValueError):
        found = Identity.read(layout.identity)
        assert found is not None
        found.write(layout.identity)
        assert Identity.read(layout.identity) == found
    assert noted_damage(layout)


def store(data: bytes) -> None:
    """Changes to the bytes of a database: each an offset in two bytes, in units of 4, and four new bytes."""
    image = bytearray(sound())
    for at in range(0, len(data) - 5, 6):
        offset = int.from_bytes(data[at : at + 2], "big") * 4 % len(image)
        image[offset : offset + 4] = data[at + 2 : at + 6]
    directory = scratch() / "changed"
    directory.mkdir(exist_ok=True)
    Layout(directory).database.write_bytes(image)
    for look in (read_status, read_audit):
        with suppress(StoreError):
            look(directory)
    try:
        report = inspect(directory)
    except StoreError:
        return
    if report.status is None or report.damage:
        assert report.damage
        return
    assert [(queue.name, queue.held, queue.next) for queue in report.queues] == [("orders", 8, 12)]
    assert report.quarantined == 2


@cache
def sound() -> bytes:
    """The database of a store with something of every kind in it."""
    directory = scratch() / "sound"
    taken = SqliteStore(directory)
    taken.open("me")
    first, second = SequenceSet([(1, 8)]), SequenceSet([9, 11])
    taken.commit([PutStatus(CLUSTER, 3, True), PutQueue(QUEUE, QueueSpec(name="orders"), ((1, 1),), 1)])
    taken.commit([Insert(QUEUE, first, batch(first)), Insert(QUEUE, second, batch(second))])
    taken.commit([PutQueue(QUEUE, QueueSpec(name="orders"), ((1, 1), (3, 4)), 12)])
    taken.commit([Remove(QUEUE, SequenceSet([2, 3]))])
    taken.commit([Quarantine(QUEUE, "orders", 2, second, batch(second), Fate.REWOUND)])
    taken.close(clean=True)
    image = Layout(directory).database.read_bytes()
    shutil.rmtree(directory)
    return image


def batch(ids: SequenceSet) -> Batch:
    return Batch.pack([b"message %d" % id for id in ids])
