"""The tables of a store database, and how each row is written and read back.

    status      one row: node, epoch, cluster, generation, how it was left; with counts and digests of other tables
    seal        one row: the checksum of the first part of the status, which commits of messages do not change
    queues      one row a queue: spec, lineage, next id; with the count and the digest of its rows
    batches     one row for each batch of messages, as it came from the wire
    staged      one row for each batch that is set aside until a plan is complete (rule C5)
    dead        one row for each batch of which some messages, but not all, are gone
    quarantine  as batches, for what a flip took out of a queue (rule W1)
    audit       what was discarded, and when it was handed over

Every row has a CRC-32 over all of its values, because SQLite has no checksums, and a flipped bit in a payload
would not be detected. The digests detect a row that is missing or older than the rest: a row of `queues`
has the sum of the checksums of its batches, `status` has those of the queues and of the quarantine. They also detect
an older status, since it is written with every commit; the seal detects the rest.

SQLite's integers are signed, ids are not: an id of 2**63 or more is stored as its two's complement.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from sys import intern
from typing import Final, TypeAlias
from uuid import UUID

import msgpack

from qpidha.journal import StoreState, StoreStatus
from qpidha.seq import SequenceSet
from qpidha.types import BytesLike, Entry, QueueSpec, Settle, uuid_of

FORMAT: Final = 3
"""Increased by every change that an older version could not read. Such a change also alters the status or its seal,
which distinguishes a newer format from a damaged number. Format 1 had no digest of queues and no seal. Versions of
format 2 know no configuration, or not all that it may have; its seal does not have the number of the format."""
SEALED: Final = (2, FORMAT)
"""The formats that have a seal, of those that this version knows."""
UNNUMBERED: Final = 2
"""The only format with a seal that does not have its number."""
APPLICATION: Final = 0x71706861
"""In the header of the file: "qpha"."""
SAVED: Final = 0x71706873
"""In the header of a saved store, in place of that: "qphs"."""
PAGE_BYTES: Final = 8192
"""Measured: between 4 and 32 KiB the throughput of large batches is the same; a small commit writes two pages."""
DIGEST_MASK: Final = 0xFFFFFFFF

STATUS: Final = """CREATE TABLE status (one INTEGER PRIMARY KEY CHECK (one = 1), node TEXT, epoch BLOB, cluster BLOB,
       generation INTEGER, is_primary INTEGER, state TEXT, stop BLOB, queues INTEGER, digest INTEGER,
       quarantine INTEGER, crc INTEGER)"""
SEAL: Final = "CREATE TABLE seal (one INTEGER PRIMARY KEY CHECK (one = 1), facts INTEGER)"
TABLES: Final = (
    STATUS,
    SEAL,
    """CREATE TABLE queues (key INTEGER PRIMARY KEY, queue BLOB, name TEXT, settle INTEGER, kind TEXT,
       lineage BLOB, next INTEGER, held INTEGER, digest INTEGER, crc INTEGER)""",
    """CREATE TABLE batches (key INTEGER PRIMARY KEY, queue INTEGER, first INTEGER, count INTEGER, ids BLOB,
       crc INTEGER, data BLOB)""",
    "CREATE TABLE dead (key INTEGER PRIMARY KEY, ids BLOB, crc INTEGER)",
    """CREATE TABLE quarantine (key INTEGER PRIMARY KEY, queue BLOB, name TEXT, generation INTEGER, fate TEXT,
       ids BLOB, crc INTEGER, data BLOB)""",
    """CREATE TABLE audit (line INTEGER PRIMARY KEY, at REAL, event TEXT, generation INTEGER, queue TEXT,
       detail TEXT)""",
)
STAGED: Final = "CREATE TABLE staged (key INTEGER PRIMARY KEY)"
"""The batches that are set aside, by their keys: they are no content. Made by the first commit that sets any aside, and
dropped with them by the next start and by a clean stop."""

SHARED_BYTES_MAX: Final = 64
"""Longer lineages are decoded anew for each queue."""

SETTLES: Final[dict[object, Settle]] = {int(settle): settle for settle in Settle}
"""By the number in a row. Not by the call of the enumeration: there may be very many rows."""

Value: TypeAlias = int | float | str | bytes | None
"""What a damaged row may have in any column, its key too: SQLite does not hold a column to its type."""
Values: TypeAlias = tuple[Value, ...]


def signed(number: int) -> int:
    """The signed 64-bit number with the same bits: SQLite has signed numbers only."""
    return number if number < 1 << 63 else number - (1 << 64)


def unsigned(number: int) -> int:
    """The inverse of `signed`."""
    return number if number >= 0 else number + (1 << 64)


def checksum(values: Values, data: BytesLike = b"") -> int:
    """CRC-32 of a row's values and its payload."""
    packed: bytes = msgpack.packb(values)
    return zlib.crc32(data, zlib.crc32(packed))


# --- parts of rows -----------------------------------------------------------------------------------


def encode_ids(ids: SequenceSet) -> bytes | None:
    """The ids as bytes; None for a single run, which the first id and the count describe."""
    return None if ids.run_count == 1 else ids.encode()


def decode_ids(first: int, count: int, encoded: bytes | None) -> SequenceSet:
    """Raises ValueError if it is not a set."""
    if encoded is None:
        return SequenceSet.from_range(first, first + count - 1)
    return SequenceSet.decode(encoded)


def encode_lineage(lineage: tuple[Entry, ...]) -> bytes:
    """A lineage as bytes (msgpack)."""
    packed: bytes = msgpack.packb(lineage)
    return packed


def decode_lineage(packed: bytes) -> tuple[Entry, ...]:
    """Raises ValueError if it is not a lineage. Its checksum was verified before."""
    return _shared_lineage(packed) if len(packed) <= SHARED_BYTES_MAX else _lineage(packed)


def _lineage(packed: bytes) -> tuple[Entry, ...]:
    entries = msgpack.unpackb(packed, use_list=False)
    if not all(isinstance(g, int) and isinstance(i, int) for g, i in entries):
        raise ValueError("a lineage is pairs of numbers")
    return tuple(entries)


_shared_lineage = lru_cache(maxsize=1024)(_lineage)
"""Most queues of a store have one of the same few lineages."""


def lineage_fault(lineage: tuple[Entry, ...], next: int, generation: int) -> str | None:
    """What is wrong with a lineage; None: nothing."""
    if len(lineage) == 1 and lineage[0][0] <= generation and lineage[0][1] <= next:
        return None  # Most queues.
    generations, firsts = [g for g, _ in lineage], [i for _, i in lineage]
    if any(a >= b for a, b in pairwise(generations)):
        return "its generations do not ascend"
    if firsts != sorted(firsts):
        return "its first ids descend"
    if firsts and firsts[-1] > next:
        return f"it begins a generation at {firsts[-1]}, above the next id {next}"
    if generations and generations[-1] > generation:
        return f"it names generation {generations[-1]}, the status only {generation}"
    return None


# --- whole rows --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tally:
    """What the status knows of the other tables."""

    queues: int = 0
    """How many there are."""
    digest: int | None = 0
    """Sum of the checksums of the rows of `queues`, modulo 2**32. None: not known in format 1."""
    quarantine: int = 0
    """Likewise, for the quarantine and the notes about its dead."""


def status_row(status: StoreStatus, tally: Tally) -> Values:
    """The values of the row in the table ``status``, with its checksum."""
    values = (*_facts(status), tally.queues, tally.digest, tally.quarantine)
    return (*values, checksum(values))


def seal_row(status: StoreStatus, version: int = FORMAT) -> Values:
    """The values of the row in the table ``seal``, with its checksum, in this format."""
    number = () if version == UNNUMBERED else (version,)
    return (1, checksum((*_facts(status), *number)))


def _facts(status: StoreStatus) -> Values:
    return (
        1,
        status.node,
        status.epoch.bytes,
        _raw(status.cluster),
        status.generation,
        int(status.primary),
        status.state.value,
        _raw(status.stop),
    )


def read_status_row(row: Values) -> tuple[StoreStatus, Tally]:
    """The status, and what must be there besides it.

    Raises:
        ValueError: The row is not what `status_row` has written, in this format or in format 1.
    """
    one, node, epoch, cluster, generation, primary, state, stop, queues, *added, quarantine, crc = row
    digest = added[0] if added else None
    if crc != checksum(row[:-1]) or one != 1:
        raise ValueError("the checksum of the status is wrong")
    if not (
        isinstance(node, str)
        and isinstance(epoch, bytes)
        and isinstance(generation, int)
        and isinstance(queues, int)
        and isinstance(quarantine, int)
        and (digest is None or isinstance(digest, int))
        and len(added) == (digest is not None)
    ):
        raise ValueError("a value of the status is of another kind")
    status = StoreStatus(
        node=node,
        epoch=UUID(bytes=epoch),
        cluster=_uuid(cluster),
        generation=generation,
        primary=bool(primary),
        state=StoreState(state),
        stop=_uuid(stop),
    )
    return status, Tally(queues, digest, quarantine)


def queue_row(
    key: int, queue: UUID, spec: QueueSpec, lineage: tuple[Entry, ...], *, next: int, held: int, digest: int
) -> tuple[Values, int]:
    """The values of a row in the table ``queues``, and their checksum, which is its last value."""
    values: Values = (
        key,
        queue.bytes,
        spec.name,
        int(spec.settle),
        spec.kind,
        encode_lineage(lineage),
        signed(next),
        held,
        digest,
    )
    return values, checksum(values)


def read_queue_row(row: Values) -> tuple[UUID, QueueSpec, tuple[Entry, ...], int]:
    """Queue, spec, lineage and next id from the row's columns in that order: queue to digest.

    Raises:
        ValueError: The checksum is right, but this version would not have written these values.
    """
    queue, name, settle, kind, lineage, next, held, digest = row
    if not (
        type(queue) is bytes
        and len(queue) == 16
        and type(name) is str
        and type(kind) is str
        and type(lineage) is bytes
        and type(next) is type(held) is type(digest) is int
    ):
        raise ValueError("a value of the row is of another kind")
    found = SETTLES.get(settle)
    if found is None:
        raise ValueError(f"{settle!r} is not a valid Settle")
    spec = QueueSpec(name=name, settle=found, kind=intern(kind))
    return uuid_of(int.from_bytes(queue, "big")), spec, decode_lineage(lineage), unsigned(next)


def _raw(uuid: UUID | None) -> bytes | None:
    return None if uuid is None else uuid.bytes


def _uuid(raw: Value) -> UUID | None:
    return UUID(bytes=raw) if isinstance(raw, bytes) else None
