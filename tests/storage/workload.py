"""Short workloads on a store and on a cluster record, run in a process whose system calls go through the shim.

Run as a program, it reads jobs from its input, forks for each, and answers when the child has stopped or ended.
A workload writes into the trace what it is about to do and what was confirmed; `oracle.py` checks the files for it.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import sys
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from uuid import UUID

from qpidha.core.births import born, configuration_id
from qpidha.core.configuration import SPEC as OF_OBJECTS
from qpidha.errors import QpidhaError, StoreFailed
from qpidha.journal import (
    Adopt,
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
    Stage,
    StoreImage,
    Unstage,
)
from qpidha.records.file.recordfile import RecordFile
from qpidha.records.file.store import FileRecordStore
from qpidha.seq import SequenceSet
from qpidha.stores import SqliteStore, database, files
from qpidha.stores import sqlite as sqlite_store
from qpidha.types import Fate, Level, Member, QueueSpec, Record
from qpidha.wire.batch import Batch
from tests.storage.shim import say

Say = Callable[[str], None]
Plain = tuple[object, ...]

CLUSTER, QUEUE, OTHER = UUID(int=0xC1), UUID(int=0xA1), UUID(int=0xA2)
SPEC, OTHER_SPEC = QueueSpec(name="orders"), QueueSpec(name="mails")
CHECKPOINT_BYTES = 60_000
"""Small, so that a short workload has checkpoints and restarts its log."""


def ids(*runs: tuple[int, int]) -> SequenceSet:
    return SequenceSet(runs)


def batch(of: SequenceSet, size: int = 20) -> Batch:
    return Batch.pack([(b"message %d " % id).ljust(size, b".") for id in of])


def insert(first: int, last: int, size: int = 20, queue: UUID = QUEUE) -> Insert:
    of = ids((first, last))
    return Insert(queue, of, batch(of, size))


def stage(first: int, last: int, size: int = 20, queue: UUID = QUEUE) -> Stage:
    of = ids((first, last))
    return Stage(queue, of, batch(of, size))


def keyed(*keys: bytes) -> Batch:
    return Batch.pack([b"the value of " + key for key in keys], keys)


OBJECTS, LOCAL = configuration_id(CLUSTER), born(4, 1, Level.CONFIGURATION)
NEW, AGAIN, JOINED = born(4, 2), born(4, 5), born(5, 1)
UPDATED, ORIGINS = ids((36, 37)), [(QUEUE.bytes, 3, 32), (QUEUE.bytes, 3, 33)]
COPIES = Batch.pack([b"updated", b"twice"], [b"new props", b""], [32, 33], ORIGINS)

REWOUND = ids((7, 9))
LIVES: list[list[list[Change]]] = [
    [
        [PutStatus(CLUSTER, 3, True), PutQueue(QUEUE, SPEC, ((1, 1), (3, 4)), 4)],
        [insert(4, 13), insert(14, 16, 6000)],
        [Remove(QUEUE, ids((5, 5), (14, 14))), PutQueue(OTHER, OTHER_SPEC, (), 1)],
    ],
    [
        [insert(17, 20, 4000), insert(1, 3, queue=OTHER)],
        [Quarantine(QUEUE, "orders", 1, REWOUND, batch(REWOUND), Fate.REWOUND), Remove(QUEUE, ids((4, 13)))],
        [Audit("rewound", 3, "orders", "3 messages"), PutStatus(CLUSTER, 4, False), Skip(QUEUE, 30)],
        [insert(30, 33, 5000), stage(40, 46, 3000), stage(1, 2, queue=OTHER)],
    ],
    [
        [Release(QUEUE, 1, REWOUND), insert(34, 35)],
        [DropQueue(OTHER), Remove(QUEUE, ids((15, 31)))],
    ],
    [
        [
            PutQueue(OBJECTS, OF_OBJECTS, ((4, 1),), 1),
            Insert(OBJECTS, ids((1, 3)), keyed(b"local", b"mails", b"exchange")),
            PutQueue(LOCAL, QueueSpec(name="local"), ((4, 1),), 1),
            PutQueue(NEW, OTHER_SPEC, ((4, 1),), 1),
        ],
        [
            insert(1, 4, 3000, queue=LOCAL),
            Insert(QUEUE, UPDATED, COPIES),
            Insert(NEW, ids((1, 2)), COPIES.with_origins(ORIGINS)),
            Remove(QUEUE, ids((32, 33))),
            Insert(OBJECTS, ids((4, 4)), keyed(b"exchange")),
            Remove(OBJECTS, ids((3, 3))),
        ],
        [
            DropQueue(NEW),
            DropQueue(LOCAL),
            Remove(OBJECTS, ids((1, 2))),
            Insert(OBJECTS, ids((5, 5)), keyed(b"mails")),
            PutQueue(AGAIN, OTHER_SPEC, ((4, 1),), 1),
            insert(1, 2, queue=AGAIN),
        ],
    ],
    [
        [stage(60, 69, 2000), stage(1, 4, 3000, queue=JOINED), Skip(QUEUE, 60)],
        [stage(36, 37, queue=QUEUE), stage(70, 73), insert(3, 3, queue=AGAIN)],
        [
            PutStatus(CLUSTER, 5, False),
            Remove(QUEUE, UPDATED),
            PutQueue(QUEUE, SPEC, ((5, 1),), 80),
            Adopt(QUEUE, ids((36, 36), (60, 61), (65, 69))),
            stage(5, 6, queue=JOINED),
            PutQueue(JOINED, OTHER_SPEC, ((5, 1),), 7),
            Adopt(JOINED, ids((1, 5))),
            Unstage(),
        ],
        [Remove(QUEUE, ids((60, 60), (66, 67))), stage(74, 75, 6000)],
    ],
]
"""Commits by session: all but the second end with a clean stop.

The last but one has transactions of many parts: a configuration, a queue whose messages are not replicated, messages that
were updated and copied to another queue; then queues go with what they hold, and one of them is declared again.

The last one is that of a node which joins: messages are set aside, and become content, but for some of them, together
with a new generation. The second one leaves some set aside when it is killed, the last one when it is closed.
"""
COMMITS: list[list[Change]] = [changes for life in LIVES for changes in life]


def plain(image: StoreImage) -> Plain:
    """Everything in an image except its shutdown state, as comparable values."""

    def messages(held: Iterable[tuple[SequenceSet, Batch]]) -> dict[int, Plain]:
        return {
            id: (batch.data(n), batch.props(n), batch.order(n), batch.origin(n))
            for of, batch in held
            for n, id in enumerate(of)
        }

    s = image.status
    queues = {
        q.queue.int: (q.spec.name, q.spec.kind, q.lineage, q.next, messages(q.held)) for q in image.queues
    }
    shelf = [
        (q.queue.int, q.generation, q.fate.value, messages([(q.ids, q.batch)])) for q in image.quarantine
    ]
    return (s.node, s.cluster and s.cluster.int, s.generation, s.primary, queues, shelf)


def image_digest(image: StoreImage) -> int:
    return zlib.crc32(repr(plain(image)).encode())


def live(directory: Path, tell: Say) -> None:
    """Run three sessions; end after the first one that fails."""
    number = 0
    for session, life in enumerate(LIVES):
        clean = session != 1
        if not session_of(directory / "node" / "store", tell, life, number, clean=clean):
            return
        number += len(life)


def session_of(directory: Path, tell: Say, life: list[list[Change]], number: int, *, clean: bool) -> bool:
    """Open, commit and close. After a failure, record how the store answers further calls."""
    store = SqliteStore(directory)
    tell("open")
    if not attempt("open", tell, lambda: store.open("a")):
        return False
    tell("opened")
    sound = True
    for at, changes in enumerate(life, number + 1):
        tell(f"commit {at}")
        done = attempt(
            f"commit{'' if sound else '-again'}", tell, lambda changes=changes: store.commit(changes)
        )
        sound = sound and done
        if done:
            tell(f"committed {at}")
    tell("close clean" if clean else "close")
    sound &= attempt("close", tell, lambda: store.close(clean=clean))
    if sound:
        tell("closed clean" if clean else "closed")
    return sound


def recover(directory: Path, tell: Say) -> None:
    """Do what a node does with an existing store: open it, be promoted, and stop."""
    store = SqliteStore(directory / "node" / "store")
    tell("open")
    image = store.open("a")
    tell(f"found {image_digest(image)}")
    tell("close clean")
    store.close(clean=True)
    tell("closed clean")


def record(version: int) -> Record:
    """The record that the managers write as this version."""
    members = frozenset({Member("a", UUID(int=1))})
    return Record(
        cluster=CLUSTER, generation=version, primary=("a", UUID(int=2)), members=members, nonce=bytes([version])
    )  # fmt: skip


RECORDS = 4


def elect(directory: Path, tell: Say) -> None:
    """Write and read versions of a cluster record by two managers in turn."""
    asyncio.run(_elect(directory / "shared" / "cluster", tell))


async def _elect(directory: Path, tell: Say) -> None:
    for first in (1, 3):
        try:
            manager = FileRecordStore(directory)
        except QpidhaError as error:
            tell(f"failed open {type(error).__name__}: {error}")
            return
        try:
            sound = await _terms(manager, tell, first)
        finally:
            await manager.close()
        if not sound:
            return


async def _terms(manager: FileRecordStore, tell: Say, first: int) -> bool:
    for version in (first, first + 1):
        try:
            found = await manager.read()
            tell(f"committed {found.version if found else 0}")
            tell(f"commit {version}")
            if version == 1:
                await manager.create(record(1))
            else:
                await manager.compare_and_set(version - 1, record(version), timeout_s=5.0)
            tell(f"committed {version}")
        except Exception as error:
            tell(f"failed commit {type(error).__name__}: {error}")
            return False
    return True


def attempt(step: str, tell: Say, job: Callable[[], object]) -> bool:
    try:
        job()
    except Exception as error:
        tell(f"failed {step} {type(error).__name__}: {error}")
        return False
    return True


WORKLOADS: dict[str, Callable[[Path, Say], None]] = {"live": live, "recover": recover, "elect": elect}


# --- stores that lose writes: the tests must notice -------------------------------------------------


def hurried() -> None:
    """A store that trusts the operating system instead of the disk."""
    demand = database.demand

    def shrug(db: Any, pragma: str, value: str, answer: object) -> None:
        demand(db, pragma, *(("OFF", 0) if pragma == "synchronous" else (value, answer)))

    database.demand = shrug


def eager() -> None:
    """A store that says "committed" before it is."""
    commit = SqliteStore._commit
    waiting: list[Any] = []

    def later(self: SqliteStore, db: Any, contents: Any, changes: Any) -> None:
        if waiting:
            commit(self, db, contents, waiting.pop())
        waiting.append(changes)

    SqliteStore._commit = later  # type: ignore[method-assign]


def immortal() -> None:
    """A store that continues after a failed fsync."""
    commit = SqliteStore.commit

    def again(self: SqliteStore, changes: Any) -> None:
        self._failed = None
        try:
            commit(self, changes)
        except StoreFailed:
            self._failed = None

    SqliteStore.commit = again  # type: ignore[method-assign]


def nameless() -> None:
    """A store that does not make new names durable: `sync_directory` is missing."""
    files.sync_directory = database.sync_directory = lambda path: None


def careless() -> None:
    """A record that is renamed before it is durable."""
    RecordFile._write_temporary = lambda self, data: self._temporary.write_bytes(data)  # type: ignore[method-assign,assignment,return-value]


SABOTAGE: dict[str, Callable[[], None]] = {
    "": lambda: None, "hurried": hurried, "eager": eager, "immortal": immortal, "nameless": nameless,
    "careless": careless,
}  # fmt: skip


# --- the server -------------------------------------------------------------------------------------


def run(job: dict[str, Any]) -> None:
    """In the child: arm the shim, run the workload and report its end."""
    trace = os.open(job["trace"], os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    SABOTAGE[job["sabotage"]]()
    sqlite_store.CHECKPOINT_BYTES = CHECKPOINT_BYTES
    arm = ctypes.CDLL(None).shim_arm
    arm.argtypes = [
        ctypes.c_char_p, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long, ctypes.c_uint
    ]  # fmt: skip
    numbers = [job[key] for key in ("action", "error", "at", "until", "which")]
    arm(os.fsencode(job["directory"]), trace, *numbers)
    WORKLOADS[job["workload"]](Path(job["directory"]), lambda text: say(trace, text))
    say(trace, "end")


def serve() -> None:
    child = 0
    for line in sys.stdin:
        job = json.loads(line)
        if "continue" in job:
            os.kill(child, signal.SIGCONT)
        else:
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    run(job)
                    status = 0
                finally:
                    sys.stderr.flush()
                    os._exit(status)
        _, how = os.waitpid(child, os.WUNTRACED)
        stopped = os.WIFSTOPPED(how)
        answer = {"stopped": stopped, "signal": os.WTERMSIG(how) if os.WIFSIGNALED(how) else 0}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
