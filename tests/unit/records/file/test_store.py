"""The record file is either complete and accepted, or refused with an error: never half-read, never treated as absent.

Method: each step of a write fails once (T33); each byte of the file is damaged once.
"""

from __future__ import annotations

import asyncio
import json
import os
import stat
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from qpidha.errors import ClusterError, OutcomeUnknown, SettingsError, Unavailable
from qpidha.records import FileRecordStore
from qpidha.records.file.recordfile import RecordFile
from qpidha.records.format import decode_record, encode_record
from qpidha.types import Versioned
from tests.support.records import RECORD, create, newer


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    asyncio.run(create(tmp_path / "c"))
    return tmp_path / "c"


def test_the_directory_and_its_files_are_private(directory: Path) -> None:
    assert directory.stat().st_mode & 0o777 == 0o700
    for path in directory.iterdir():
        assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_a_directory_that_others_may_write_to_is_refused(directory: Path, mode: int) -> None:
    directory.chmod(mode)
    with pytest.raises(SettingsError, match="chmod 700"):
        FileRecordStore(directory)


def test_a_file_instead_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError):
        FileRecordStore(tmp_path / "file")


def test_operators_can_read_it(directory: Path) -> None:
    content = json.loads((directory / "record.json").read_text())
    assert content["format"] == 1
    assert content["record"]["primary"]["node"] == "a"
    assert [m["node"] for m in content["record"]["members"]] == ["a", "b"]


def test_peek_reads_and_changes_nothing(directory: Path, tmp_path: Path) -> None:
    before = sorted((p.name, p.stat().st_mtime_ns) for p in directory.iterdir())
    assert FileRecordStore.peek(directory) == Versioned(RECORD, 1)
    assert FileRecordStore.peek_live(directory) == {}
    assert sorted((p.name, p.stat().st_mtime_ns) for p in directory.iterdir()) == before
    (tmp_path / "empty").mkdir()
    assert FileRecordStore.peek(tmp_path / "empty") is None
    assert FileRecordStore.peek_live(tmp_path / "empty") == {}
    assert list((tmp_path / "empty").iterdir()) == []
    with pytest.raises(ClusterError, match="no directory"):
        FileRecordStore.peek(tmp_path / "missing")


# --- damage --------------------------------------------------------------------------------------


def test_every_damaged_byte_and_every_cut_is_noticed() -> None:
    whole = encode_record(Versioned(RECORD, 5))
    assert decode_record(whole, "record.json") == Versioned(RECORD, 5)
    for at in range(len(whole)):
        for wrong in (whole[:at], whole[:at] + bytes((whole[at] ^ 1,)) + whole[at + 1 :]):
            try:
                assert decode_record(wrong, "record.json") == Versioned(RECORD, 5)  # A blank between tokens.
            except ClusterError:
                continue


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("generation", -1),
        ("generation", 2**63),
        ("generation", 1.0),
        ("generation", True),
        ("version", 0),
        ("primary", {"node": "", "boot": str(UUID(int=1))}),
        ("primary", "a"),
        ("members", [{"node": 1, "epoch": str(UUID(int=1))}]),
        ("members", None),
        ("cluster", "x"),
        ("nonce", "zz"),
    ],
)
def test_invalid_values_are_damage_even_with_a_valid_checksum(
    field: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = json.loads(encode_record(Versioned(RECORD, 5)))
    content["record"][field] = value
    monkeypatch.setattr("qpidha.records.format._checksum", lambda _: content["checksum"])
    with pytest.raises(ClusterError, match="damaged"):
        decode_record(json.dumps(content).encode(), "record.json")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "damaged"),
        (b"{}", "damaged"),
        (b"[]", "damaged"),
        (b"\0" * 100, "damaged"),
        (b"[" * 100_000, "damaged"),
        (b'{"format": 2, "anything": "else"}', "newer version"),
        (b'{"format": "2"}', "damaged"),
    ],
)
def test_a_record_that_cannot_be_read_is_an_error_everywhere(
    directory: Path, content: bytes, words: str
) -> None:
    (directory / "record.json").write_bytes(content)

    async def main() -> None:
        store = FileRecordStore(directory, poll_interval_s=0.005)
        with pytest.raises(ClusterError, match=words):
            await store.read()
        with pytest.raises(ClusterError, match=words):
            await store.create(RECORD)
        with pytest.raises(ClusterError, match=words):
            await store.compare_and_set(1, newer(1), timeout_s=20)
        with pytest.raises(ClusterError, match=words):
            await anext(store.watch())
        assert await anext(store.watch_live()) == {}
        with pytest.raises(ClusterError, match=words):
            FileRecordStore.peek(directory)
        await store.close()

    asyncio.run(main())
    assert (directory / "record.json").read_bytes() == content


def test_a_link_or_a_directory_is_not_a_record(directory: Path, tmp_path: Path) -> None:
    record = directory / "record.json"
    record.rename(tmp_path / "elsewhere")
    record.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ClusterError, match="not a regular file"):
        FileRecordStore.peek(directory)
    record.unlink()
    record.mkdir()
    with pytest.raises(ClusterError, match="not a regular file"):
        FileRecordStore.peek(directory)


def test_a_record_that_goes_back_is_refused(directory: Path) -> None:
    old = (directory / "record.json").read_bytes()

    async def main() -> None:
        store = FileRecordStore(directory)
        await store.compare_and_set(1, newer(1), timeout_s=20)
        (directory / "record.json").write_bytes(old)
        with pytest.raises(ClusterError, match="went back from version 2 to 1"):
            await store.read()
        (directory / "record.json").unlink()
        with pytest.raises(ClusterError, match="went back from version 2 to 0"):
            await store.create(RECORD)
        await store.close()

    asyncio.run(main())


def test_a_watch_recovers_when_the_record_is_repaired(directory: Path) -> None:
    good = (directory / "record.json").read_bytes()

    async def main() -> None:
        store = FileRecordStore(directory, poll_interval_s=0.005)
        watch = store.watch()
        assert await anext(watch) == Versioned(RECORD, 1)
        (directory / "record.json").write_bytes(b"?")
        with pytest.raises(ClusterError):
            await asyncio.wait_for(anext(watch), 5)
        (directory / "record.json").write_bytes(good)
        while True:
            try:
                assert await asyncio.wait_for(anext(store.watch()), 5) == Versioned(RECORD, 1)
                break
            except ClusterError:
                await asyncio.sleep(0.005)
        await store.close()

    asyncio.run(main())


# --- failing steps -------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["open", "fsync-file", "replace", "fsync-directory"])
def test_the_error_of_each_failing_step_says_whether_the_write_may_be_applied(
    directory: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Before the rename the error is `Unavailable` and the record unchanged; from then on the outcome is unknown."""
    real_open, real_fsync = os.open, os.fsync
    syncs = 0

    def failing_open(path: Any, flags: int, *mode: int) -> int:
        if step == "open" and str(path).endswith(".tmp"):
            raise OSError(28, "No space left on device")
        return real_open(path, flags, *mode)

    def failing_fsync(fd: int) -> None:
        nonlocal syncs
        syncs += 1
        if step == {1: "fsync-file", 2: "fsync-directory"}.get(syncs):
            raise OSError(5, "Input/output error")
        real_fsync(fd)

    def failing_replace(*_: Any) -> None:
        raise OSError(5, "Input/output error")

    record = RecordFile(directory)
    assert record.read() == Versioned(RECORD, 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", failing_open)
        patch.setattr(os, "fsync", failing_fsync)
        if step == "replace":
            patch.setattr(os, "replace", failing_replace)
        with pytest.raises(Unavailable if step in ("open", "fsync-file") else OutcomeUnknown):
            record.write(1, newer(1))
    applied = step == "fsync-directory"
    assert RecordFile(directory).read() == (Versioned(newer(1), 2) if applied else Versioned(RECORD, 1))
    assert record.write(1, newer(1)) == Versioned(newer(1), 2)  # Repeating the write resolves it (M2).


@pytest.mark.parametrize("what", ["the directory", "record.lock", "the directory again"])
def test_a_place_that_cannot_be_looked_at_is_a_failing_disk(
    directory: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Nothing was written; the lock is free again."""
    real_stat, looks = os.stat, 0

    def failing(path: Any, **options: Any) -> os.stat_result:
        nonlocal looks
        if Path(path) == (directory / "record.lock" if what == "record.lock" else directory):
            looks += 1
            if looks == (2 if what.endswith("again") else 1):
                raise OSError(5, "Input/output error")
        return real_stat(path, **options)

    record = RecordFile(directory)
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", failing)
        with pytest.raises(Unavailable, match=r"cannot (look at|write) .*: Input/output error"):
            record.write(1, newer(1))
    assert record.read() == Versioned(RECORD, 1)
    assert record.write(1, newer(1)) == Versioned(newer(1), 2)


def test_a_directory_that_may_not_be_looked_at_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "lstat", failing)
    with pytest.raises(SettingsError, match="for a cluster record: Permission denied"):
        FileRecordStore(tmp_path / "cluster")


def test_a_repeated_write_is_confirmed_only_once_it_is_durable(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """M2: the first try was applied but failed before its name was durable, so a power cut may undo it."""
    real_fsync = os.fsync

    def failing_for_directories(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(5, "Input/output error")
        real_fsync(fd)

    record = RecordFile(directory)
    assert record.read() == Versioned(RECORD, 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing_for_directories)
        with pytest.raises(OutcomeUnknown):
            record.write(1, newer(1))
        with pytest.raises(Unavailable, match="durable"):
            record.write(1, newer(1))
    assert record.write(1, newer(1)) == Versioned(newer(1), 2)


def test_what_is_read_is_made_durable_first(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer may have been killed between the rename and the fsync of the directory."""
    real_fsync = os.fsync
    synced: list[bool] = []
    record = RecordFile(directory)

    def counting(fd: int) -> None:
        synced.append(True)
        real_fsync(fd)

    def failing(fd: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        with pytest.raises(Unavailable):
            record.read()
        patch.setattr(os, "fsync", counting)
        record.read()
        record.read()
    assert len(synced) == 1


def test_a_left_over_temporary_file_is_ignored_and_overwritten(directory: Path) -> None:
    (directory / "record.json.tmp").write_bytes(b"half a rec")
    record = RecordFile(directory)
    assert record.read() == Versioned(RECORD, 1)
    assert record.write(1, newer(1)) == Versioned(newer(1), 2)
    assert not (directory / "record.json.tmp").exists()


# --- calm ----------------------------------------------------------------------------------------


class Counting(FileRecordStore):
    """Counts its polls."""

    polls = 0

    def __init__(self, directory: Path, **intervals: float) -> None:
        super().__init__(directory, **intervals)
        glance = self._poller._glance

        def counting() -> Any:
            self.polls += 1
            return glance()

        self._poller._glance = counting  # type: ignore[method-assign]


async def calm(store: Counting) -> None:
    """Wait until the store has not polled for a while."""
    before = -1
    while store.polls != before:
        before = store.polls
        await asyncio.sleep(0.1)


def test_a_calm_store_polls_rarely_and_at_once_when_asked(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qpidha.records.file.poller.CALM_AFTER_S", 0.05)

    async def main() -> None:
        store = Counting(directory, poll_interval_s=0.005, calm_interval_s=600)
        other = FileRecordStore(directory)
        watch = store.watch()
        assert await anext(watch) == Versioned(RECORD, 1)
        following = asyncio.ensure_future(anext(watch))
        await calm(store)
        changed = await other.compare_and_set(1, newer(1), timeout_s=20)
        await asyncio.sleep(0.1)
        assert not following.done(), "the store polled without being asked to"
        store.poll_soon()
        assert await asyncio.wait_for(following, 20) == changed
        await other.close()
        await store.close()

    asyncio.run(main())


def test_a_change_ends_the_calm(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes come in groups: after one, the store polls often, so that the next steps of a failover are not delayed."""
    monkeypatch.setattr("qpidha.records.file.poller.CALM_AFTER_S", 0.05)

    async def main() -> None:
        store = Counting(directory, poll_interval_s=0.005, calm_interval_s=0.3)
        other = FileRecordStore(directory)
        watch = store.watch()
        await anext(watch)
        following = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0.5)
        monkeypatch.setattr("qpidha.records.file.poller.CALM_AFTER_S", 600)
        await other.compare_and_set(1, newer(1), timeout_s=20)
        await asyncio.wait_for(following, 20)
        following = asyncio.ensure_future(anext(watch))
        store.calm_interval_s = 600  # From here on only the short poll interval shows a change.
        await other.compare_and_set(2, newer(2), timeout_s=20)
        await asyncio.wait_for(following, 20)
        await other.close()
        await store.close()

    asyncio.run(main())


def test_a_new_watch_does_not_wait_for_the_calm_to_end(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qpidha.records.file.poller.CALM_AFTER_S", 0.05)

    async def main() -> None:
        store = Counting(directory, poll_interval_s=0.005, calm_interval_s=600)
        first = store.watch()
        await anext(first)
        waiting = asyncio.ensure_future(anext(first))
        await calm(store)
        assert await asyncio.wait_for(anext(store.watch()), 20) == Versioned(RECORD, 1)
        await calm(store)
        assert await asyncio.wait_for(anext(store.watch_live()), 20) == {}
        waiting.cancel()
        await store.close()

    asyncio.run(main())
