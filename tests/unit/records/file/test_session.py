"""A session proves that its process lives: killed, stopped and hung processes are noticed, others are not affected.

Method: real processes and real signals; times are bounded loosely, since the machine may be busy.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qpidha.errors import Conflict, Unavailable
from qpidha.records import FileRecordStore
from qpidha.records.file.sessionfile import SessionFile, SessionInfo, escape, live_sessions
from qpidha.records.file.sessionlock import SessionHeldError

OTHER_CONTENT = SessionInfo(node="a", ttl_s=9, info=b"x").encode().replace(b'"ttl_s": 9', b'"ttl_s": 8')
"""Well-formed, but the checksum belongs to other content."""

HOLDER = """
import asyncio, sys
from qpidha.records import FileRecordStore

async def main():
    store = FileRecordStore(sys.argv[1])
    session = await store.open_session("holder", b"alive", ttl_s=float(sys.argv[2]))
    print("open", flush=True)
    print("lost:", await session.wait_lost(), flush=True)
    await session.close()
    await store.close()

asyncio.run(main())
"""

RACER = """
import asyncio, os, sys
from dataclasses import replace
from qpidha.records import FileRecordStore
from qpidha.errors import Conflict

async def main():
    store = FileRecordStore(sys.argv[1])
    won = 0
    for i in range(200):
        current = await store.read()
        new = replace(current.record, generation=current.record.generation + 1, nonce=os.urandom(16))
        try:
            written = await store.compare_and_set(current.version, new, timeout_s=30)
            assert written.record == new
            won += 1
        except Conflict as conflict:
            assert conflict.current.version > current.version
    await store.close()
    print(won)

asyncio.run(main())
"""

WRITER = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from qpidha.records.file.recordfile import RecordFile

record = RecordFile(Path(sys.argv[1]))
current = record.read()
real = getattr(os, sys.argv[2])

def die(*args):
    if sys.argv[3] == "after":
        real(*args)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(os, sys.argv[2], die)
record.write(current.version, replace(current.record, nonce=b"new"))
"""

READER = """
import os, signal, sys
from pathlib import Path
from qpidha.records.file import recordfile

real = recordfile.decode_record

def stop(*args):
    os.kill(os.getpid(), signal.SIGSTOP)
    return real(*args)

recordfile.decode_record = stop
print(recordfile.RecordFile(Path(sys.argv[1])).read().version)
"""


@contextmanager
def process(script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()
            child.wait()


def line_of(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


async def gone_after(store: FileRecordStore, node: str) -> float:
    """Seconds until a watch no longer shows this node."""
    begun = time.monotonic()

    async def follow() -> None:
        async for live in store.watch_live():
            if node not in live:
                return

    await asyncio.wait_for(follow(), 10)
    return time.monotonic() - begun


def test_a_killed_holder_is_noticed_long_before_its_ttl(tmp_path: Path) -> None:
    async def main() -> None:
        store = FileRecordStore(tmp_path / "c")
        with process(HOLDER, tmp_path / "c", 30) as child:
            assert line_of(child) == "open"
            assert await store.live() == {"holder": b"alive"}
            with pytest.raises(Conflict, match="another process"):
                await store.open_session("holder", b"me too", ttl_s=1)
            watching = asyncio.ensure_future(gone_after(store, "holder"))
            await asyncio.sleep(0.05)
            child.send_signal(signal.SIGKILL)
            await watching
            assert await watching < 5
        session = await store.open_session("holder", b"heir", ttl_s=1)
        assert await store.live() == {"holder": b"heir"}
        await session.close()
        await store.close()

    asyncio.run(main())


def test_a_stopped_holder_is_noticed_after_its_ttl_and_loses_its_session(tmp_path: Path) -> None:
    async def main() -> None:
        store = FileRecordStore(tmp_path / "c")
        with process(HOLDER, tmp_path / "c", 0.5) as child:
            assert line_of(child) == "open"
            child.send_signal(signal.SIGSTOP)
            await gone_after(store, "holder")
            with pytest.raises(Conflict):  # The process may continue at any time, so its name is not free.
                await store.open_session("holder", b"heir", ttl_s=1)
            child.send_signal(signal.SIGCONT)
            assert line_of(child).startswith("lost: no keep-alive for")
            child.wait(10)
        assert os.listdir(tmp_path / "c" / "sessions") == []
        await store.close()

    asyncio.run(main())


def test_a_session_with_a_hung_loop_is_not_alive(tmp_path: Path) -> None:
    async def main() -> None:
        store = FileRecordStore(tmp_path / "c")
        session = await store.open_session("a", b"", ttl_s=0.1)
        time.sleep(0.25)  # noqa: ASYNC251 - this is the fault
        assert session.deadline() < time.monotonic()
        assert FileRecordStore.peek_live(tmp_path / "c") == {}
        assert "its loop hung" in await asyncio.wait_for(session.wait_lost(), 5)
        with pytest.raises(Unavailable):
            await session.update(b"still here")
        await session.close()
        again = await store.open_session("a", b"", ttl_s=1)
        await again.close()
        await store.close()

    asyncio.run(main())


@pytest.mark.parametrize("replaced", [False, True])
def test_a_removed_session_file_is_a_lost_session(tmp_path: Path, replaced: bool) -> None:
    async def main() -> None:
        store = FileRecordStore(tmp_path / "c")
        session = await store.open_session("a", b"", ttl_s=1)
        lock = tmp_path / "c" / "sessions" / "a.lock"
        lock.unlink()
        if replaced:
            lock.write_bytes(b"somebody else's")
        assert "removed or replaced" in await asyncio.wait_for(session.wait_lost(), 5)
        await session.close()
        assert lock.exists() == replaced  # A file of another process is left alone.
        await store.close()

    asyncio.run(main())


def test_the_info_of_a_dead_process_is_not_taken_for_that_of_its_successor(tmp_path: Path) -> None:
    with process(HOLDER, tmp_path / "c", 30) as child:
        assert line_of(child) == "open"
    sessions = tmp_path / "c" / "sessions"
    assert sorted(os.listdir(sessions)) == ["holder.info", "holder.lock"]
    assert live_sessions(sessions) == {}
    heir = SessionFile(sessions, SessionInfo(node="holder", ttl_s=1, info=b"heir"))
    assert live_sessions(sessions) == {"holder": b"heir"}
    heir.release()
    heir.release()
    assert os.listdir(sessions) == []


def test_a_new_holder_is_not_seen_before_it_has_published_its_info(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is held and fresh, but the info file is that of the previous process."""
    stale = SessionInfo(node="holder", ttl_s=30, info=b"dead").encode()
    (tmp_path / "holder.info").write_bytes(stale)
    real = SessionFile.publish
    seen: list[object] = []

    def publishing(file: SessionFile, info: bytes) -> None:
        seen.append(live_sessions(tmp_path))
        real(file, info)

    monkeypatch.setattr(SessionFile, "publish", publishing)
    heir = SessionFile(tmp_path, SessionInfo(node="holder", ttl_s=30, info=b"heir"))
    assert seen == [{}]
    assert live_sessions(tmp_path) == {"holder": b"heir"}
    heir.release()


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[1, 2]", b'["x", {}]', b"\xff", b"[" * 50_000, OTHER_CONTENT]
)
def test_a_session_with_a_damaged_info_is_not_alive(tmp_path: Path, content: bytes) -> None:
    file = SessionFile(tmp_path, SessionInfo(node="a", ttl_s=9, info=b"x"))
    (tmp_path / "a.info").write_bytes(content)
    assert live_sessions(tmp_path) == {}
    file.publish(b"repaired")
    assert live_sessions(tmp_path) == {"a": b"repaired"}
    file.release()


def test_other_files_in_the_directory_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "readme").write_text("hello")
    (tmp_path / "directory.lock").mkdir()
    (tmp_path / "link.lock").symlink_to(tmp_path / "readme")
    assert live_sessions(tmp_path) == {}


def test_setting_the_wall_clock_ends_no_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = SessionFile(tmp_path, SessionInfo(node="a", ttl_s=1, info=b"x"))
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    file.touch()
    assert live_sessions(tmp_path) == {"a": b"x"}
    file.release()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python 3.12 dislikes fork beside threads.
def test_a_forked_child_does_not_keep_the_session_alive(tmp_path: Path) -> None:
    file = SessionFile(tmp_path, SessionInfo(node="a", ttl_s=30, info=b"x"))
    child = os.fork()
    if child == 0:
        time.sleep(30)
        os._exit(0)
    try:
        os.close(file._fd)  # As the kernel does when this process is killed.
        file._fd = -1
        deadline = time.monotonic() + 5
        while live_sessions(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert live_sessions(tmp_path) == {}
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_process_stopped_while_it_reads_the_record_does_not_block_writers(tmp_path: Path) -> None:
    """T42: the stopped process may be the primary; then another node must write the record to be promoted."""
    from tests.support.records import RECORD, create

    async def write() -> None:
        store = FileRecordStore(tmp_path / "c")
        assert (await store.compare_and_set(1, RECORD, timeout_s=5)).version == 2
        await store.close()

    asyncio.run(create(tmp_path / "c"))
    with process(READER, tmp_path / "c") as reader:
        _, status = os.waitpid(reader.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        asyncio.run(write())
        reader.send_signal(signal.SIGCONT)
        assert line_of(reader) == "1"  # The version at the time of its read.


def test_a_forgotten_session_holds_no_lock(tmp_path: Path) -> None:
    SessionFile(tmp_path, SessionInfo(node="a", ttl_s=30, info=b"x"))
    file = SessionFile(tmp_path, SessionInfo(node="a", ttl_s=30, info=b"y"))
    with pytest.raises(SessionHeldError):
        SessionFile(tmp_path, SessionInfo(node="a", ttl_s=30, info=b"z"))
    file.release()


def test_names_of_files_are_short_and_distinct() -> None:
    names = ["a", "A", "a/b", "a%2Fb", "x" * 201, "x" * 202, "ü" * 40, "%hash-"]
    assert len({escape(name) for name in names}) == len(names)
    assert max(len(escape(name)) for name in names) <= 200
    for wrong in ("", "x" * 256):
        with pytest.raises(ValueError, match="1 to 255 bytes"):
            escape(wrong)


def test_two_processes_race_and_lose_no_update(tmp_path: Path) -> None:
    from tests.support.records import RECORD, create

    asyncio.run(create(tmp_path / "c"))
    with process(RACER, tmp_path / "c") as one, process(RACER, tmp_path / "c") as other:
        won = int(line_of(one)) + int(line_of(other))
    found = FileRecordStore.peek(tmp_path / "c")
    assert found is not None
    assert found.version == 1 + won
    assert found.record.generation == RECORD.generation + won
    assert won >= 200


@pytest.mark.parametrize(
    ("call", "when", "applied"),
    [
        ("fsync", "before", False),
        ("replace", "before", False),
        ("replace", "after", True),
    ],
)
def test_a_writer_killed_half_way_leaves_the_old_record_or_the_new_one(
    tmp_path: Path, call: str, when: str, applied: bool
) -> None:
    from tests.support.records import create

    asyncio.run(create(tmp_path / "c"))
    with process(WRITER, tmp_path / "c", call, when) as writer:
        assert writer.wait(30) == -signal.SIGKILL
    if call != "fsync":
        assert (tmp_path / "c" / "record.json.tmp").exists() != applied

    async def main() -> None:
        store = FileRecordStore(tmp_path / "c")
        found = await store.read()
        assert found is not None
        assert found.version == (2 if applied else 1)
        await store.compare_and_set(found.version, found.record, timeout_s=5)  # The lock is free.
        await store.close()

    asyncio.run(main())
