"""A store is saved in one file, also while it is in use, and restored under another epoch."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest

from qpidha.cli.saving import lines_of_saved
from qpidha.errors import (
    ArgumentError,
    StoreDamaged,
    StoreFailed,
    StoreLocked,
    StoreMismatch,
    StoreUnsuitable,
)
from qpidha.journal import StoreState
from qpidha.stores import SqliteStore, inspect, progress, saved
from qpidha.stores.offline import read_image
from qpidha.stores.saved import read_saved, restore, save
from qpidha.stores.schema import PAGE_BYTES
from qpidha.testing.conformance.changes import QUEUE, ids, insert, plain, remove, some_commits


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "saved.qpidha"


def opened(directory: Path) -> SqliteStore:
    store = SqliteStore(directory)
    store.open("a")
    for changes in some_commits():
        store.commit(changes)
    return store


def queues(report: object) -> list[tuple[object, ...]]:
    return [(q.queue, q.name, q.lineage, q.next, q.held) for q in report.queues]  # type: ignore[attr-defined]


@pytest.mark.parametrize("in_use", [True, False], ids=["in use", "closed"])
def test_everything_is_saved_and_restored(directory: Path, file: Path, tmp_path: Path, in_use: bool) -> None:
    store = opened(directory)
    if not in_use:
        store.close(clean=True)
    before = inspect(directory)
    found = save(directory, file)
    assert not found.store.damage and found.at > 0
    assert queues(found.store) == queues(before) and found.store.quarantined == before.quarantined
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert inspect(directory) == before
    report = restore(file, tmp_path / "new")
    assert report == inspect(tmp_path / "new") and queues(report) == queues(before)
    assert report.status is not None and before.status is not None
    assert (report.status.state, report.status.primary) == (StoreState.CLEAN, False)
    assert report.status.epoch != before.status.epoch and report.status.stop not in (None, before.status.stop)
    assert (report.status.node, report.status.cluster, report.status.generation) == (
        before.status.node, before.status.cluster, before.status.generation,
    )  # fmt: skip
    assert [line.event for line in report.audit[-2:]] == ["saved", "restored"]
    if in_use:
        store.close(clean=True)
    assert sorted(os.listdir(tmp_path)) == ["new", "saved.qpidha", "store"]


def test_a_damaged_time_of_saving_is_not_known(directory: Path, file: Path) -> None:
    opened(directory).close(clean=True)
    save(directory, file)
    with closing(sqlite3.connect(file)) as db:
        db.execute("UPDATE audit SET at = 'soon'")
        db.commit()
    found = read_saved(file)
    assert found.at == 0 and not found.store.damage
    assert lines_of_saved(found)[0].endswith("at an unknown time; it verifies")


def test_messages_are_the_same(directory: Path, file: Path, tmp_path: Path) -> None:
    opened(directory).close(clean=True)
    save(directory, file)
    restore(file, tmp_path / "new", node="b")
    was, now = plain(read_image(directory)), plain(read_image(tmp_path / "new"))
    assert (was[0], now[0]) == ("a", "b")
    assert now[4:] == was[4:] and now[4]


def test_a_node_goes_on_while_its_store_is_saved(
    directory: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is committed meanwhile is not in the file, and in the store."""
    store = opened(directory)
    before = queues(inspect(directory))
    copy = saved._copy_database

    def committing(*arguments: object) -> None:
        done: list[int] = []

        def look(now: int, total: int) -> None:
            if now and not done:
                done.append(now)
                store.commit([insert(ids((5001, 5001)))])

        copy(*arguments[:3], look)  # type: ignore[arg-type]
        assert done

    monkeypatch.setattr(progress, "INSTRUCTIONS", 1)
    monkeypatch.setattr(saved, "_copy_database", committing)
    assert queues(save(directory, file).store) == before
    store.commit([remove(ids((5001, 5001)))])
    store.close(clean=True)
    assert not inspect(directory).damage


def test_a_saved_store_is_no_store(directory: Path, file: Path, tmp_path: Path) -> None:
    """No node is started on it by mistake: it would be the present store, as old as it may be."""
    opened(directory).close(clean=True)
    save(directory, file)
    other = tmp_path / "other"
    other.mkdir()
    file.rename(other / "store.db")
    with pytest.raises(StoreDamaged, match="does not carry the mark of a store"):
        SqliteStore(other).open("a")


def test_an_old_format_is_upgraded(directory: Path, file: Path, tmp_path: Path) -> None:
    import gzip

    directory.mkdir()
    old = Path(__file__).resolve().parents[2] / "storage/format-1.db.gz"
    (directory / "store.db").write_bytes(gzip.decompress(old.read_bytes()))
    before = inspect(directory)
    assert before.status is not None
    save(directory, file)
    report = restore(file, tmp_path / "new")
    assert not report.damage and queues(report) == queues(before)
    store = SqliteStore(tmp_path / "new")
    store.open(before.status.node)
    store.close(clean=True)


# --- what is refused ---------------------------------------------------------------------------------


def test_what_cannot_be_saved(directory: Path, file: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreMismatch, match="there is no store in"):
        save(directory, file)
    opened(directory).close(clean=True)
    file.write_text("of somebody else")
    with pytest.raises(StoreMismatch, match="exists: name a new file"):
        save(directory, file)
    assert file.read_text() == "of somebody else"
    with pytest.raises(StoreMismatch, match=r"there is no directory .*nowhere"):
        save(directory, tmp_path / "nowhere" / "file")
    with pytest.raises(ArgumentError):
        save(directory, 7)  # type: ignore[arg-type]


def test_a_damaged_store_is_not_saved(directory: Path, file: Path) -> None:
    opened(directory).close(clean=True)
    raw = (directory / "store.db").read_bytes()
    pages = 0
    for page in range(0, len(raw), PAGE_BYTES):
        (directory / "store.db").write_bytes(raw[:page] + b"\xff" * PAGE_BYTES + raw[page + PAGE_BYTES :])
        if page and inspect(directory).damage:  # Some pages are free. The first is the header.
            pages += 1
            with pytest.raises(StoreDamaged):
                save(directory, file)
            assert os.listdir(file.parent) == ["store"]
    assert pages > 3
    (directory / "store.db").write_bytes(raw)
    (directory / "damaged").write_text("integrity\tby an earlier start\n")
    with pytest.raises(StoreDamaged, match="by an earlier start"):
        save(directory, file)


def test_a_store_that_was_killed_and_lost_its_log_is_not_saved(directory: Path, file: Path) -> None:
    opened(directory).close(clean=False)
    (directory / "store.db-wal").unlink()
    with pytest.raises(StoreDamaged, match="its write-ahead log is gone"):
        save(directory, file)
    assert os.listdir(file.parent) == ["store"]


def test_a_store_whose_log_is_damaged_is_not_saved(directory: Path, file: Path) -> None:
    opened(directory).close(clean=False)
    log = directory / "store.db-wal"
    raw = bytearray(log.read_bytes())
    raw[60] ^= 0xFF
    log.write_bytes(raw)
    with pytest.raises(StoreDamaged, match="write-ahead log"):
        save(directory, file)


def test_a_store_of_another_identity_is_not_saved(directory: Path, file: Path) -> None:
    opened(directory).close(clean=True)
    (directory / "identity").write_text("{}")
    with pytest.raises(StoreDamaged, match="not an identity"):
        save(directory, file)


def test_a_node_that_starts_meanwhile_is_noticed(
    directory: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store without a log is read without any lock: then nobody may have written."""
    opened(directory).close(clean=True)
    store = SqliteStore(directory)
    monkeypatch.setattr(progress, "INSTRUCTIONS", 1)

    def start(now: int, total: int) -> None:
        if store._lock is None:
            store.open("a")

    with pytest.raises(StoreFailed, match="save it again"):
        save(directory, file, progress=start)
    store.close(clean=True)
    assert not file.exists()


@pytest.mark.parametrize("where", [100, 5000, -3000])
def test_a_damaged_file_is_reported_and_not_restored(
    directory: Path, file: Path, tmp_path: Path, where: int
) -> None:
    opened(directory).close(clean=True)
    save(directory, file)
    raw = bytearray(file.read_bytes())
    raw[where] ^= 0xFF
    file.write_bytes(raw)
    found = read_saved(file)
    if found.store.damage:
        with pytest.raises(StoreDamaged):
            restore(file, tmp_path / "new")
        assert os.listdir(tmp_path / "new") == ["lock"]
    else:
        assert not restore(file, tmp_path / "new").damage


def test_other_files_are_not_restored(directory: Path, file: Path, tmp_path: Path) -> None:
    opened(directory).close(clean=True)
    for other in (directory / "store.db", directory / "identity", directory, tmp_path / "none"):
        with pytest.raises((StoreMismatch, StoreFailed)):
            restore(other, tmp_path / "new")
        with pytest.raises((StoreMismatch, StoreFailed)):
            read_saved(other)
    assert not (tmp_path / "new").exists()


def test_a_newer_format_is_not_read(directory: Path, file: Path) -> None:
    opened(directory).close(clean=True)
    save(directory, file)
    with closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA user_version = 99")
        row = db.execute("SELECT facts FROM seal").fetchone()
        db.execute("UPDATE seal SET facts = ?", (row[0] ^ 1,))
        db.commit()
    with pytest.raises(StoreMismatch, match="has format 99"):
        read_saved(file)


def test_nothing_is_restored_over_a_store(directory: Path, file: Path, tmp_path: Path) -> None:
    store = opened(directory)
    save(directory, file)
    with pytest.raises(StoreLocked):
        restore(file, directory)
    store.close(clean=True)
    before = inspect(directory)
    with pytest.raises(StoreMismatch, match=r"there is a store in .* already"):
        restore(file, directory)
    assert inspect(directory) == before
    record = tmp_path / "record"
    record.mkdir()
    (record / "record.json").write_text("{}")
    with pytest.raises(StoreUnsuitable, match="holds a cluster record"):
        restore(file, record)
    with pytest.raises(ArgumentError):
        restore(file, tmp_path / "new", node="x" * 300)


def test_a_file_that_cannot_be_saved_is_named(
    directory: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the store, which is all right and may be in use: nothing about starting its node."""
    opened(directory).close(clean=True)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(saved, "_copy_database", full)
        with pytest.raises(StoreFailed) as found:
            save(directory, file)
    assert str(found.value) == (
        f"the disk or the database failed in {file}: No space left on device. "
        "Free space on its file system, or raise the quota, and try again"
    )
    assert not list(file.parent.glob(f"{file.name}*"))


def test_a_restore_that_fails_leaves_no_store(
    directory: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(directory).close(clean=True)
    save(directory, file)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(saved, "_copy_file", full)
        with pytest.raises(StoreFailed, match=r"Free space.* and try again"):
            restore(file, tmp_path / "new")
    assert os.listdir(tmp_path / "new") == ["lock"]
    assert not restore(file, tmp_path / "new").damage


def test_progress_is_told(directory: Path, file: Path, tmp_path: Path) -> None:
    opened(directory).close(clean=True)
    told: list[tuple[int, int]] = []
    note: Callable[[int, int], None] = lambda done, total: told.append((done, total))  # noqa: E731
    save(directory, file, progress=note)
    restore(file, tmp_path / "new", progress=note)
    assert told and all(0 <= done <= total for done, total in told)
    assert told[-1][0] == told[-1][1] >= file.stat().st_size
    begun = [at for at, (done, _) in enumerate(told) if done == 0]
    for part in (told[: begun[-1]], told[begun[-1] :]):
        assert part == sorted(part), "what is done shrinks"


def test_epochs_come_from_where_the_caller_says(directory: Path, file: Path, tmp_path: Path) -> None:
    opened(directory).close(clean=True)
    save(directory, file)
    assert QUEUE in {q.queue for q in read_saved(file).store.queues}
    numbers = iter(range(70, 90))
    report = restore(file, tmp_path / "new", new_uuid=lambda: UUID(int=next(numbers)))
    assert report.status is not None and report.status.epoch == UUID(int=70)
