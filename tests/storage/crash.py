"""Crash states: the files that a power cut may leave, computed from a trace of system calls.

States are computed before each fsync and at the end of the trace. A state that is possible at another moment is
also possible at the next of these. At such a moment some changes are not covered by an fsync. What remains of them:

    subsets               all subsets if the changes are few; else every prefix, each change alone, all changes
                          except one or two of the last ones, and random subsets
    torn writes           some sectors of one write, of 512 bytes and of 4 KiB; all changes before it remain, and
                          none or all of those after it
    size before data      the part of a write beyond the end of the file is zeros, or garbage
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from tests.storage.disk import Disk, Image, Names, Pending, Write, sectors, torn
from tests.storage.oracle import Promise, promised
from tests.storage.shim import Call, Op

SECTORS_BYTES = (512, 4096)


@dataclass(frozen=True, slots=True)
class Effort:
    """Limits for the number of states."""

    exhaustive: int
    """Up to this number of pending changes, all subsets are tried."""
    last: int
    """With more changes: one or two out of this number of the last changes are lost."""
    samples: int
    """With more changes: this number of random subsets as well."""
    cuts: int
    """Number of ways to tear each write, for each sector size."""


QUICK = Effort(exhaustive=6, last=6, samples=16, cuts=1)
FULL = Effort(exhaustive=11, last=10, samples=400, cuts=64)


def crash_states(
    calls: Sequence[Call], disk: Disk, effort: Effort, seed: int = 0, given: Promise | None = None
) -> list[tuple[Image, Promise]]:
    """Return each state once, with the latest promise that it must keep."""
    found: dict[int, tuple[Image, Promise]] = {}
    chance = random.Random(seed)
    promise = given or Promise()
    for call in (*calls, None):
        if call is None or call.op is Op.SYNC:
            for kept in choices(disk, effort, chance):
                image = {n: c for n, c in disk.image(kept).items() if not n.endswith(("-shm", "lock"))}
                found[_key(image)] = (image, promise)
        if call is not None:
            disk.follow(call)
            promise = promised([call], promise) if call.op is Op.SAY else promise
    return list(found.values())


def _key(image: Image) -> int:
    """Hash an image without the files that a start removes unread."""
    return hash(tuple((name, content) for name, content in image.items() if "store.db.new" not in name))


def choices(disk: Disk, effort: Effort, chance: random.Random) -> Iterator[Sequence[Pending]]:
    """Yield the subsets of the pending changes that may remain."""
    pending = [p for p in disk.pending if not _ignored(p)]
    yield from _subsets(pending, effort, chance)
    for at, change in enumerate(pending):
        if isinstance(change, Write) and effort.cuts:
            for instead in _tears(change, disk, effort, chance):
                yield [*pending[:at], *instead]
                yield [*pending[:at], *instead, *pending[at + 1 :]]


def _ignored(change: Pending) -> bool:
    """Whether the change is of a name of a file that holds no data."""
    return isinstance(change, Names) and (change.new or change.gone or "").endswith(("-shm", "lock"))


def _subsets(pending: list[Pending], effort: Effort, chance: random.Random) -> Iterator[Sequence[Pending]]:
    if len(pending) <= effort.exhaustive:
        for size in range(len(pending) + 1):
            yield from combinations(pending, size)
        return
    for length in range(len(pending) + 1):
        yield pending[:length]
    yield from ([change] for change in pending)
    before, last = pending[: -effort.last], pending[-effort.last :]
    for lost in (1, 2):
        yield from ([*before, *kept] for kept in combinations(last, effort.last - lost))
    for _ in range(effort.samples):
        part = chance.random()
        yield [change for change in pending if chance.random() < part]


def _tears(write: Write, disk: Disk, effort: Effort, chance: random.Random) -> Iterator[Iterable[Pending]]:
    for sector_bytes in SECTORS_BYTES:
        count = sectors(write, sector_bytes)
        ways = [[n < cut for n in range(count)] for cut in range(1, count)]
        ways += [[not here for here in way] for way in ways]
        ways += [[chance.random() < 0.5 for _ in range(count)] for _ in range(effort.cuts)]
        ways = [list(way) for way in dict.fromkeys(map(tuple, ways)) if sum(way) < count]  # Each once.
        for way in chance.sample(ways, min(effort.cuts, len(ways))):
            yield torn(write, way, sector_bytes)
    end = write.offset + len(write.data)
    beyond = max(write.offset, min(disk.size(write.file), end))
    if beyond < end:
        head = Write(write.file, write.offset, write.data[: beyond - write.offset])
        yield [head, Write(write.file, beyond, bytes(end - beyond))]
        yield [head, Write(write.file, beyond, chance.randbytes(end - beyond))]
