"""Locks of stores, sessions and records: changes to their files never admit two owners and never block a single one."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
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
from qpidha.stores import SqliteStore, lock
from qpidha.types import Versioned
from tests.support.records import RECORD, create, newer

ME = SessionInfo(node="a", ttl_s=60, info=b"me")
NAMES = ("record.lock", "record.json.tmp")


@contextmanager
def older_version(lock: Path, kind: int) -> Iterator[None]:
    """Another process that uses only flock: an owner (LOCK_EX), or a stopped observer (LOCK_SH)."""
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
    """An observer that is stopped at any moment cannot block the owner."""
    session = SessionFile(tmp_path, ME)
    monkeypatch.setattr(sessionlock.fcntl, "flock", lambda *_: pytest.fail("an observer takes a lock"))
    assert live_sessions(tmp_path) == {"a": b"me"}
    os.close(session._fd)  # As a kill does.
    session._fd = -1
    assert live_sessions(tmp_path) == {}


def test_an_observer_of_an_older_version_does_not_block_a_node(tmp_path: Path) -> None:
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


def test_a_lock_on_a_file_removed_meanwhile_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last owner removed the file after we opened it and before we locked it: other processes lock the new file."""
    lock, real, removed = tmp_path / "a.lock", fcntl.flock, []

    def flock(fd: int, how: int) -> None:
        if not removed:
            removed.append(os.fstat(fd).st_ino)
            lock.rename(tmp_path / "kept")  # So that the inode number is not reused.
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


def test_a_removed_lock_file_does_not_admit_a_second_writer(
    cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """During a write another process removes the lock file and the temporary file."""
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


def test_a_lock_file_replaced_while_it_is_locked_does_not_count(
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


def test_no_record_is_written_to_a_moved_directory(cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new directory in its place is not changed either."""
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
    """Both lock the whole directory."""
    (tmp_path / "store.db").touch()
    with pytest.raises(SettingsError, match="give the record a directory without one"):
        FileRecordStore(tmp_path)
    with pytest.raises(StoreUnsuitable, match="give the store a directory of its own"):
        SqliteStore(cluster).open("a")


def test_a_record_written_twice_within_one_time_stamp_is_seen(
    cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second version has the inode, size and time stamp of the first; only the content differs."""
    monkeypatch.setattr(recordfile, "YOUNG_S", 1000.0)  # Long enough for a slow machine.

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


def test_no_pair_of_actions_lets_two_processes_use_one_store() -> None:
    """Run every ordered pair of actions on locks, sessions, directories and processes."""
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
    """Without the locks on the database and its directory, one action is enough to let two processes in."""
    sabotage = (
        "import os\nfrom qpidha.stores.lock import Lock\ntake = Lock._take\n"
        "def hurried(self, path, flags):\n"
        f"    if path not in {paths}: return take(self, path, flags)\n"
        "    fd = os.open(path, flags)\n    self._remember(fd)\n    return fd\n"
        "Lock._take = hurried"
    )
    done = sequences(1, sabotage)
    assert found in done.stdout.splitlines(), done.stdout + done.stderr


def test_one_process_cannot_open_a_store_twice(tmp_path: Path) -> None:
    """Also by a hard link to its database: closing a second descriptor would drop SQLite's locks."""
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


def test_inspecting_a_store_in_use_keeps_its_locks(tmp_path: Path) -> None:
    """SQLite's locks belong to the process: closing any descriptor of a file drops all of them."""
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


def test_a_locked_store_names_the_process_that_holds_it(tmp_path: Path) -> None:
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


# --- their names -----------------------------------------------------------------------------------


def test_a_store_has_the_name_of_its_lock_in_each_life_and_a_copy_has_another(tmp_path: Path) -> None:
    names = []
    for directory in ("one", "one", "two"):
        store = SqliteStore(tmp_path / directory)
        assert store.lock_name() == b"", "nobody holds it yet"
        store.open("a")
        names.append(store.lock_name())
        store.close(clean=True)
        assert store.lock_name() == b""
    assert names[0] == names[1] != names[2]
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    copy = SqliteStore(tmp_path / "copy")
    copy.open("a")
    assert copy.lock_name() not in names
    copy.close(clean=True)


def test_a_lock_of_another_start_of_the_machine_has_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(tmp_path / "one")
    store.open("a")
    here = store.lock_name()
    (tmp_path / "boot").write_text("another\n")
    monkeypatch.setattr(lock, "BOOT_ID", tmp_path / "boot")
    assert store.lock_name() not in (here, b"")
    monkeypatch.setattr(lock, "BOOT_ID", tmp_path / "none")
    assert store.lock_name() == b""
    store.close(clean=True)
