"""Locks of stores, sessions and records: nothing that happens to their files lets two owners in, or keeps one out."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest

from qpidha.errors import SettingsError, StoreLocked, StoreUnsuitable, Unavailable
from qpidha.journal import PutStatus
from qpidha.records import FileRecordStore
from qpidha.records.file import recordfile, sessionfile, sessionlock
from qpidha.records.file.recordfile import LockHeldError, RecordFile
from qpidha.records.file.sessionfile import SessionFile, SessionInfo, live_sessions
from qpidha.records.file.sessionlock import SessionHeldError
from qpidha.stores import SqliteStore
from qpidha.types import Versioned
from tests.support.records import RECORD, create, newer

ME = SessionInfo(node="a", ttl_s=60, info=b"me")
NAMES = ("record.lock", "record.json.tmp")


@contextmanager
def older_version(lock: Path, kind: int) -> Iterator[None]:
    """Another process that knows nothing but flock: an owner (LOCK_EX), or an observer (LOCK_SH) that was stopped."""
    program = (
        "import fcntl,os,sys,time\nfd=os.open(sys.argv[1],os.O_RDWR|os.O_CREAT,0o600)\n"
        "fcntl.flock(fd,int(sys.argv[2]))\nprint('held',flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(lock), str(int(kind))], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline()
        try:
            yield
        finally:
            holder.kill()


# --- sessions ----------------------------------------------------------------------------------------


def test_looking_at_a_session_takes_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped at any moment, an observer has nothing that the owner needs."""
    session = SessionFile(tmp_path, ME)
    monkeypatch.setattr(sessionlock.fcntl, "flock", lambda *_: pytest.fail("an observer takes a lock"))
    assert live_sessions(tmp_path) == {"a": b"me"}
    os.close(session._fd)  # As a kill does.
    session._fd = -1
    assert live_sessions(tmp_path) == {}


def test_an_observer_of_an_older_version_keeps_no_node_out(tmp_path: Path) -> None:
    with older_version(tmp_path / "a.lock", fcntl.LOCK_SH):
        session = SessionFile(tmp_path, ME)
        assert live_sessions(tmp_path) == {"a": b"me"}
        with pytest.raises(SessionHeldError):
            SessionFile(tmp_path, ME)
        session.release()


def test_an_owner_of_an_older_version_is_seen_and_respected(tmp_path: Path) -> None:
    lock, info = tmp_path / "a.lock", tmp_path / "a.info"
    with older_version(lock, fcntl.LOCK_EX):
        content = {"node": "a", "ttl_s": 60.0, "info": "b2xk"}
        info.write_text(json.dumps([sessionfile._checksum(content), content]))
        now = time.monotonic_ns()
        os.utime(lock, ns=(now, now))
        with pytest.raises(SessionHeldError):
            SessionFile(tmp_path, ME)
        assert live_sessions(tmp_path) == {"a": b"old"}
    assert live_sessions(tmp_path) == {}


def test_an_owner_is_seen_by_an_older_version(tmp_path: Path) -> None:
    session = SessionFile(tmp_path, ME)
    with open(tmp_path / "a.lock", "rb") as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    session.release()


def test_without_open_file_locks_flock_alone_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessionlock, "OPEN_FILE_LOCKS", False)
    session = SessionFile(tmp_path, ME)
    with pytest.raises(SessionHeldError):
        SessionFile(tmp_path, ME)
    assert live_sessions(tmp_path) == {"a": b"me"}
    session.release()
    assert live_sessions(tmp_path) == {}
    with older_version(tmp_path / "a.lock", fcntl.LOCK_SH), pytest.raises(SessionHeldError):
        SessionFile(tmp_path, ME)


def test_a_lock_on_a_file_that_was_removed_meanwhile_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last owner removed it after we had opened it, and before we locked it: others lock the next one."""
    lock, real, removed = tmp_path / "a.lock", fcntl.flock, []

    def flock(fd: int, how: int) -> None:
        if not removed:
            removed.append(os.fstat(fd).st_ino)
            lock.rename(tmp_path / "kept")  # So that the number is not used again.
        real(fd, how)

    monkeypatch.setattr(sessionlock.fcntl, "flock", flock)
    session = SessionFile(tmp_path, ME)
    assert os.fstat(session._fd).st_ino == lock.stat().st_ino != removed[0]
    session.touch()
    with pytest.raises(SessionHeldError):
        SessionFile(tmp_path, ME)
    session.release()


# --- the record --------------------------------------------------------------------------------------


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    asyncio.run(create(tmp_path / "c"))
    return tmp_path / "c"


def test_a_removed_lock_file_lets_no_second_writer_in(cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one is writing, somebody removes the lock, and everything else that is not the record."""
    first, second, tried = RecordFile(cluster), RecordFile(cluster), []
    real = recordfile.RecordFile._write_temporary

    def writing(self: RecordFile, data: bytes) -> None:
        if self is first:
            for name in NAMES:
                (cluster / name).unlink(missing_ok=True)
            with pytest.raises(LockHeldError):
                second.write(1, newer(2))
            tried.append(True)
        real(self, data)

    monkeypatch.setattr(recordfile.RecordFile, "_write_temporary", writing)
    assert first.write(1, newer(1)) == Versioned(newer(1), 2)
    assert tried and second.read() == Versioned(newer(1), 2)


def test_a_lock_that_was_replaced_while_it_was_taken_is_none(
    cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, lock = fcntl.flock, cluster / "record.lock"

    def flock(fd: int, how: int) -> None:
        if lock.exists() and os.fstat(fd).st_ino == lock.stat().st_ino:
            lock.rename(cluster / "kept")
        real(fd, how)

    monkeypatch.setattr(recordfile.fcntl, "flock", flock)
    with pytest.raises(LockHeldError):
        RecordFile(cluster).write(1, newer(1))
    monkeypatch.undo()
    assert RecordFile(cluster).write(1, newer(1)).version == 2


def test_a_directory_that_was_moved_gets_no_record(cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the one in its place keeps what it has."""
    real = recordfile.RecordFile._write_temporary
    kept = (cluster / "record.json").read_bytes()

    def writing(self: RecordFile, data: bytes) -> None:
        real(self, data)
        cluster.rename(cluster.with_name("moved"))
        cluster.mkdir()

    monkeypatch.setattr(recordfile.RecordFile, "_write_temporary", writing)
    with pytest.raises(Unavailable, match="was moved or replaced while the record was written"):
        RecordFile(cluster).write(1, newer(1))
    assert not any(cluster.iterdir())
    assert (cluster.with_name("moved") / "record.json").read_bytes() == kept


def test_a_directory_through_a_link_is_the_same_directory(cluster: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(cluster)
    assert RecordFile(tmp_path / "link").write(1, newer(1)).version == 2
    assert RecordFile(cluster).write(2, newer(2)).version == 3


def test_a_record_and_a_store_do_not_share_a_directory(tmp_path: Path, cluster: Path) -> None:
    """Each of them locks its directory as a whole."""
    (tmp_path / "store.db").touch()
    with pytest.raises(SettingsError, match="give the record a directory without one"):
        FileRecordStore(tmp_path)
    with pytest.raises(StoreUnsuitable, match="give the store a directory of its own"):
        SqliteStore(cluster).open("a")


def test_a_record_written_twice_within_one_time_stamp_is_seen(
    cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one has inode, size and time stamp of the first: only its content tells them apart."""
    monkeypatch.setattr(recordfile, "YOUNG_S", 1000.0)  # However slow this machine is just now.

    async def main() -> None:
        store = FileRecordStore(cluster, poll_interval_s=0.005, calm_interval_s=0.005)
        path = cluster / "record.json"
        watch = store.watch()
        assert await anext(watch) == Versioned(RECORD, 1)
        path.write_bytes(recordfile.encode_record(Versioned(newer(1), 2)))
        stamp = path.stat().st_mtime_ns
        assert await asyncio.wait_for(anext(watch), 5) == Versioned(newer(1), 2)
        path.write_bytes(recordfile.encode_record(Versioned(newer(2), 3)))
        os.utime(path, ns=(stamp, stamp))
        assert await asyncio.wait_for(anext(watch), 5) == Versioned(newer(2), 3)
        await store.close()

    asyncio.run(main())


# --- the store ---------------------------------------------------------------------------------------


ROOT = Path(__file__).parents[3]


def sequences(length: int, sabotage: str = "") -> subprocess.CompletedProcess[str]:
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{sabotage}\n"
        f"from tests.support import lock_sequences; sys.exit(lock_sequences.main({length}))"
    )
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def test_no_two_actions_let_two_processes_use_one_store() -> None:
    """Every pair of what may happen to locks, sessions, directories and processes, in every order."""
    done = sequences(2)
    assert done.stdout == "100 sequences, 0 wrong\n", done.stdout + done.stderr


@pytest.mark.parametrize(
    ("paths", "found"),
    [
        ("[self._layout.database]", "hard links: both have the same database open"),
        (
            "[self._layout.database, self._layout.directory]",
            "remove the lock: both have the same database open",
        ),
    ],
)
def test_the_lock_file_alone_is_not_enough(paths: str, found: str) -> None:
    """A store that does not lock its directory and its database, too, is caught by a single action."""
    sabotage = (
        "import os\nfrom qpidha.stores.lock import Lock\ntake = Lock._take\n"
        "def hurried(self, path, flags):\n"
        f"    if path not in {paths}: return take(self, path, flags)\n"
        "    fd = os.open(path, flags)\n    self._remember(fd)\n    return fd\n"
        "Lock._take = hurried"
    )
    done = sequences(1, sabotage)
    assert found in done.stdout.splitlines(), done.stdout + done.stderr


def test_a_store_is_held_once_in_one_process_too(tmp_path: Path) -> None:
    """By another name of its database as well: what SQLite has open must not be opened and closed again."""
    first = SqliteStore(tmp_path / "one")
    first.open("a")
    (tmp_path / "two").mkdir()
    os.link(tmp_path / "one" / "store.db", tmp_path / "two" / "store.db")
    for directory in ("one", "two"):
        with pytest.raises(StoreLocked, match="is in use by this process"):
            SqliteStore(tmp_path / directory).open("a")
    first.commit([])
    first.close(clean=True)
    (tmp_path / "one" / "lock").unlink()
    SqliteStore(tmp_path / "two").open("a")


def test_looking_into_a_store_in_use_drops_none_of_its_locks(tmp_path: Path) -> None:
    """SQLite's locks are of the process: closing any descriptor of a file drops them all."""
    store = SqliteStore(tmp_path / "store")
    store.open("a")
    store.commit([PutStatus(UUID(int=1), 1, primary=False)])

    def held() -> list[str]:
        numbers = {str(path.stat().st_ino) for path in (tmp_path / "store").iterdir()}
        lines = Path("/proc/locks").read_text().splitlines()
        return sorted(
            line.split(None, 1)[1]
            for line in lines
            if "POSIX" in line and line.split()[5].split(":")[-1] in numbers
        )

    before = held()
    assert before
    assert not store.inspect().damage
    store.read_status()
    store.audit()
    assert held() == before
    store.close(clean=True)


def test_a_store_whose_lock_is_held_says_by_whom(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store")
    store.open("a")
    program = "import sys; from qpidha.stores import SqliteStore; SqliteStore(sys.argv[1]).open('a')"
    run = [sys.executable, "-c", program, str(tmp_path / "store")]

    def said() -> str:
        return subprocess.run(run, capture_output=True, text=True, check=False, timeout=60).stderr

    assert f"StoreLocked: {tmp_path / 'store'} is in use by process {os.getpid()}" in said()
    (tmp_path / "store" / "lock").unlink()
    assert "is in use by another process (its lock file is gone)" in said()
    store.close(clean=False)
