"""``qpidha store`` and ``qpidha record``: unusable directories, what is written, and the owner of written files."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qpidha import Batch, Node, SequenceSet
from qpidha.cli import OK, PARTLY, PROBLEM, UNREACHABLE, main
from qpidha.cli.inspection import HUNG
from qpidha.errors import OutcomeUnknown, StoreLocked, Unavailable
from qpidha.journal import Insert, PutQueue, PutStatus
from qpidha.promoters import PriorityPromoter
from qpidha.records import FileRecordStore
from qpidha.records.file.store import LockHeldError
from qpidha.stores import SqliteStore
from qpidha.transports import TcpTransport
from qpidha.types import QueueId, QueueSpec, Record
from tests.support.harness import Recorder, until

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = QueueId(int=77)
SERVICE = (23456, 23456) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
"""User and group id of the nodes: a different user if the tests may change the owner of files."""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: object) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


def document(run: Run, *words: object) -> tuple[int, Any]:
    code, out, _ = run(*words, "--json")
    return code, json.loads(out)


def written(directory: Path, *, generation: int = 4, queue: str = "orders", clean: bool = True) -> Path:
    """Write a store as a node leaves it."""
    store = SqliteStore(directory)
    store.open(directory.name)
    id = QueueId(int=1)
    store.commit(
        [
            PutStatus(CLUSTER, generation, False),
            PutQueue(id, QueueSpec(name=queue), ((1, 1),), 1),
            Insert(id, SequenceSet.from_range(1, 3), Batch.pack([b"x"] * 3)),
        ]
    )
    store.close(clean=clean)
    return directory


def no_directory(path: Path) -> Path:
    return path


def empty(path: Path) -> Path:
    path.mkdir()
    return path


def a_file(path: Path) -> Path:
    path.write_text("")
    return path


def no_database(path: Path) -> Path:
    (path / "store.db").mkdir(parents=True)
    (path / "lock").write_text("")
    return path


BROKEN = [no_directory, empty, a_file, no_database]


# --- inspect and rank ----------------------------------------------------------------------------


@pytest.mark.parametrize("broken", BROKEN)
def test_the_readable_stores_are_inspected_and_ranked(
    run: Run, tmp_path: Path, broken: Callable[[Path], Path]
) -> None:
    a, bad, b = written(tmp_path / "a"), broken(tmp_path / "bad"), written(tmp_path / "b", generation=3)
    code, out, err = run("store", "inspect", a, bad, b)
    assert code == PARTLY
    assert f"store {a}: clean" in out and f"store {b}: clean" in out
    assert err.count("\n") == 1 and err.startswith("qpidha: ") and str(bad) in err
    code, found = document(run, "store", "inspect", a, bad, b)
    assert (code, [report["name"] for report in found]) == (PARTLY, [str(a), str(bad), str(b)])
    assert [("error" in report) for report in found] == [False, True, False]
    code, out, err = run("store", "rank", bad, b, a)
    assert (code, err) == (PARTLY, "")
    places = [line for line in out.splitlines() if not line.startswith(" ")]
    assert places == [f"1  {a}", f"2  {b}", f"-  {bad}"]
    assert "[unreadable]" in out.splitlines()[-1]
    code, found = document(run, "store", "rank", bad, b, a)
    assert (code, [place["place"] for place in found]) == (PARTLY, [1, 2, None])
    assert found[-1]["findings"][0]["code"] == "unreadable"


@pytest.mark.parametrize("broken", BROKEN)
def test_nothing_can_be_read(run: Run, tmp_path: Path, broken: Callable[[Path], Path]) -> None:
    bad = [broken(tmp_path / "bad"), broken(tmp_path / "worse")]
    for words in (["store", "inspect"], ["store", "rank"]):
        code, out, err = run(*words, *bad)
        assert (code, out, err.count("\n")) == (UNREACHABLE, "", 2)
        code, found = document(run, *words, *bad)
        assert (code, len(found)) == (UNREACHABLE, 2)
    code, found = document(run, "store", "inspect", bad[0])
    assert (code, found["name"], "error" in found) == (UNREACHABLE, str(bad[0]), True)


def test_a_damaged_store_is_read_and_is_exit_code_1(run: Run, tmp_path: Path) -> None:
    a, b = written(tmp_path / "a"), written(tmp_path / "b")
    (b / "store.db").write_bytes(b"not a database")
    assert run("store", "inspect", a, b)[0] == PROBLEM
    assert run("store", "inspect", a)[0] == OK
    assert run("store", "rank", a, b)[0] == OK
    assert run("store", "rank", b)[0] == PROBLEM


def test_the_directory_of_the_record_is_left_out_with_a_line(run: Run, tmp_path: Path) -> None:
    a, cluster = written(tmp_path / "a"), tmp_path / "cluster"
    assert run("record", "rebuild", cluster, a, "--write")[0] == OK
    for words in (["store", "inspect"], ["store", "rank"], ["store", "rank", "--cluster", cluster]):
        code, out, err = run(*words, a, cluster)
        assert (code, str(a) in out) == (OK, True)
        assert err == f"qpidha: {cluster}: left out: it holds the record of a cluster, not a node\n"
        code, out, _ = run(*words, cluster)
        assert (code, out) == (UNREACHABLE, "")
    assert isinstance(document(run, "store", "inspect", a, cluster)[1], list)
    shutil.rmtree(cluster)
    os.makedirs(tmp_path / "all" / "cluster")
    (tmp_path / "all" / "cluster" / "record.lock").write_text("")
    code, _, err = run("record", "rebuild", cluster, a, tmp_path / "all" / "cluster")
    assert code == OK and "left out" in err


def test_a_ranking_without_the_record_says_so(run: Run, tmp_path: Path) -> None:
    a = written(tmp_path / "a")
    code, out, err = run("store", "rank", a, "--cluster", tmp_path / "gone")
    assert (code, f"1  {a}" in out) == (PARTLY, True)
    assert "ranked without the record, which cannot be read" in err
    (tmp_path / "empty").mkdir()
    code, out, err = run("store", "rank", a, "--cluster", tmp_path / "empty")
    assert (code, f"1  {a}" in out) == (OK, True)
    assert err == f"qpidha: there is no record in {tmp_path / 'empty'}: ranked without it\n"


def test_a_disk_that_hangs_does_not_prevent_the_command_from_ending(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    never, real = threading.Event(), os.scandir

    def scandir(path: Any) -> Any:
        if "stuck" in str(path):
            never.wait()
        return real(path)

    a, stuck = written(tmp_path / "a"), written(tmp_path / "stuck")
    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr("qpidha.cli.record.DISK_TIMEOUT_S", 0.5)
    for words in (["store", "inspect"], ["store", "rank"]):
        code, out, err = run(*words, stuck, a, "--timeout", "3")
        assert (code, str(a) in out) == (PARTLY, True)
        assert "no answer in 3 s: the store is large, or its disk hangs" in out + err
    code, out, err = run("record", "rebuild", tmp_path / "cluster", stuck, a, "--timeout", "3", "--write")
    assert (code, "would be at generation " in out) == (PARTLY, True)
    assert "nothing was written: 1 of the stores cannot be read" in err
    for words in (["record", "show"], ["record", "rebuild"]):
        more = [a] if words[1] == "rebuild" else []
        code, out, err = run(*words, tmp_path / "stuck-cluster", *more, "--timeout", "0.5")
        assert code == UNREACHABLE
        assert "no answer in 0.5 s: its disk or file system does not answer" in err
    never.set()


def test_a_process_ends_although_a_thread_of_it_hangs(tmp_path: Path) -> None:
    """The thread is blocked in a system call: it opens a pipe that has no writer."""
    a, b = written(tmp_path / "a"), written(tmp_path / "b")
    os.mkfifo(a / "store.db-wal")
    command = [sys.executable, "-m", "qpidha", "store", "inspect", str(a), str(b), "--timeout", "5"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert found.returncode == PARTLY
    assert f"store {b}: clean" in found.stdout
    assert found.stderr == f"qpidha: {a}: no answer in 5 s: {HUNG}\n"


def test_a_fifo_in_place_of_the_record_is_no_record(run: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "record.json")
    code, out, err = run("record", "show", tmp_path)
    assert (code, out) == (UNREACHABLE, "")
    assert "is not a regular file" in err


def test_names_in_stores_are_escaped(run: Run, tmp_path: Path) -> None:
    a = written(tmp_path / "a", queue="paid\nstore b: clean\x1b[2J")
    code, out, _ = run("store", "inspect", a)
    assert code == OK
    assert "\x1b" not in out and not any(line.startswith("store b") for line in out.splitlines())
    assert '  queue "paid\\nstore b: clean\\x1b[2J": 3 messages' in out
    b = written(tmp_path / "b\x1b[2J\n1  c")
    code, out, err = run("store", "rank", b, tmp_path / "gone\n\x1b")
    assert "\x1b" not in out + err
    assert [line[:3] for line in out.splitlines() if not line.startswith(" ")] == ["1  ", "-  "]


def test_a_store_that_cannot_be_compacted(run: Run, tmp_path: Path) -> None:
    dirty = written(tmp_path / "dirty", clean=False)
    give(tmp_path)
    for directory, code in ((dirty, PROBLEM), (tmp_path / "gone", UNREACHABLE), (tmp_path, UNREACHABLE)):
        found, out, err = run("store", "compact", directory)
        assert (found, out, err.count("\n")) == (code, "", 1)
        found, report = document(run, "store", "compact", directory)
        assert (found, report["name"], "error" in report) == (code, str(directory), True)
    clean = written(tmp_path / "clean")
    give(clean)
    (clean / "store.db").chmod(0o640)
    assert document(run, "store", "compact", clean)[0] == OK
    assert others(tmp_path) == []
    assert stat.S_IMODE((clean / "store.db").stat().st_mode) == 0o640


# --- the record ----------------------------------------------------------------------------------


def test_a_record_is_shown_or_the_reason_why_not(run: Run, tmp_path: Path) -> None:
    a, cluster = written(tmp_path / "a"), tmp_path / "cluster"
    assert run("record", "rebuild", cluster, a, "--write")[0] == OK
    code, out, err = run("record", "show", cluster)
    assert (code, err) == (OK, "")
    shown = re.match(r"record: version 1, generation (\d+), primary none\n  members a; cluster ", out)
    assert shown and int(shown[1]) > 1 << 20, "what was not compared is left out"
    code, out, _ = run("record", "show", a)
    assert (code, out) == (
        PROBLEM,
        f"there is no record in {a}, but a store: give the directory of the record\n",
    )
    assert document(run, "record", "show", a) == (PROBLEM, {"record": None})
    for bad in (tmp_path / "gone", a_file(tmp_path / "file")):
        code, out, err = run("record", "show", bad)
        assert (code, out, err.count("\n")) == (UNREACHABLE, "", 1)
        code, found = document(run, "record", "show", bad)
        assert (code, found["record"], "error" in found) == (UNREACHABLE, None, True)
    (cluster / "record.json").write_bytes(b"{}")
    code, out, err = run("record", "show", cluster)
    assert (code, out, err.count("\n")) == (UNREACHABLE, "", 1)


def test_a_command_that_shows_creates_no_directory_of_a_url(run: Run, tmp_path: Path) -> None:
    before = others(tmp_path)
    url = f"file://{tmp_path}/gone/record"
    code, out, err = run("record", "show", url)
    assert (code, out) == (UNREACHABLE, "") and f"{tmp_path}/gone/record" in err
    (tmp_path / "qpidha.toml").write_text(
        f'cluster = "x"\nrecord.url = "{url}"\n[nodes.a]\naddresses = "127.0.0.1:1"\nstore = "a"\n'
    )
    for words in (("record", "show"), ("status", "--cluster")):
        assert run(*words, tmp_path / "qpidha.toml")[0] == UNREACHABLE
    a = written(tmp_path / "a")
    assert run("record", "rebuild", url, a)[0] == OK
    assert not (tmp_path / "gone").exists() and before == []
    assert run("record", "rebuild", url, a, "--write")[0] == OK
    assert run("record", "show", url) == run("record", "show", tmp_path / "gone/record")
    assert run("record", "show", url)[0] == OK


def test_the_record_of_a_url_is_in_a_directory_whose_name_is_not_utf_8(run: Run, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"d\xff")
    assert run("record", "rebuild", odd / "record", written(tmp_path / "a"), "--write")[0] == OK
    code, out, _ = run("record", "show", f"file://{tmp_path}/d%FF/record")
    assert code == OK and out == run("record", "show", odd / "record")[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", odd.name]


@pytest.mark.parametrize("broken", BROKEN)
def test_no_record_is_written_while_a_store_cannot_be_read(
    run: Run, tmp_path: Path, broken: Callable[[Path], Path]
) -> None:
    """It may be the only store with all acknowledged messages: only an operator may decide to leave it out."""
    a, bad, cluster = written(tmp_path / "a"), broken(tmp_path / "bad"), tmp_path / "cluster"
    code, out, err = run("record", "rebuild", cluster, a, bad)
    assert code == PARTLY and re.search(r"would be at generation \d+, with node a alone in sync", out)
    assert str(bad) in err
    code, found = document(run, "record", "rebuild", cluster, a, bad, "--write")
    assert (code, found["written"], list(found["errors"])) == (PARTLY, False, [str(bad)])
    assert "leave them out of the command" in found["error"]
    assert not cluster.exists()
    assert run("record", "rebuild", cluster, a, "--write")[0] == OK
    code, _, err = run("record", "rebuild", cluster, bad)
    assert (code, "none of the stores can be read" in err) == (UNREACHABLE, True)


def test_all_stores_in_use_are_named(run: Run, tmp_path: Path) -> None:
    a, b, c = (written(tmp_path / name) for name in "abc")
    stores = [SqliteStore(directory) for directory in (a, c)]
    for store, directory in zip(stores, (a, c), strict=True):
        store.open(directory.name)
    code, out, err = run("record", "rebuild", tmp_path / "cluster", a, b, c, "--write")
    for store in stores:
        store.close(clean=True)
    assert (code, out) == (PROBLEM, "")
    assert f"{a} is in use" in err and f"{c} is in use" in err and f"{b} is" not in err


def test_no_node_can_start_while_the_record_is_rebuilt(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = written(tmp_path / "a"), written(tmp_path / "b")
    tried = []
    real = FileRecordStore.put

    def put(*arguments: Any, **options: Any) -> Any:
        for directory in (a, b):
            with pytest.raises(StoreLocked):
                SqliteStore(directory).open(directory.name)
            tried.append(directory)
        return real(*arguments, **options)

    monkeypatch.setattr(FileRecordStore, "put", staticmethod(put))
    assert run("record", "rebuild", tmp_path / "cluster", a, b, "--best", "a", "--write")[0] == OK
    assert tried == [a, b]
    store = SqliteStore(a)
    store.open("a")
    store.close(clean=True)


def test_a_record_that_changed_meanwhile_is_left_alone(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, cluster = written(tmp_path / "a"), written(tmp_path / "b", generation=9), tmp_path / "cluster"
    assert run("record", "rebuild", cluster, a, "--write")[0] == OK
    before = (cluster / "record.json").read_bytes()
    monkeypatch.setattr("qpidha.cli.record.state_of", lambda cluster: None)
    code, _, err = run("record", "rebuild", cluster, b, "--write")
    assert (code, "nothing was written: the record has version 1, not None" in err) == (PROBLEM, True)
    assert (cluster / "record.json").read_bytes() == before


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (Unavailable("the lock"), UNREACHABLE, "nothing was written: the lock"),
        (OutcomeUnknown("fsync"), UNREACHABLE, "it is not known whether the record was written: fsync"),
    ],
)
def test_a_record_that_may_have_been_written(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, words: str
) -> None:
    def put(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(FileRecordStore, "put", staticmethod(put))
    found, out, err = run("record", "rebuild", tmp_path / "cluster", written(tmp_path / "a"), "--write")
    assert (found, words in err) == (code, True)
    assert "would be at generation" in out


def test_put_waits_for_a_lock_and_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*_: Any) -> None:
        raise LockHeldError

    monkeypatch.setattr("qpidha.records.file.store.RecordFile.write", write)
    with pytest.raises(Unavailable, match="locked by others"):
        new = Record(cluster=CLUSTER, generation=1, primary=None, members=frozenset())
        FileRecordStore.put(tmp_path, None, new, timeout_s=0.05)


# --- the owner of written files ------------------------------------------------------------------


def give(*paths: Path) -> None:
    for path in paths:
        for found in (path, *path.rglob("*")):
            os.chown(found, *SERVICE)


def others(base: Path) -> list[str]:
    """Return the files that the service's user does not own."""
    return [
        str(found.relative_to(base))
        for found in base.rglob("*")
        if (found.lstat().st_uid, found.lstat().st_gid) != SERVICE
    ]


def test_a_rebuilt_record_belongs_to_the_service(run: Run, tmp_path: Path) -> None:
    """The record is written into an existing directory, into a new one, and over an existing record."""
    a, cluster = written(tmp_path / "a"), tmp_path / "cluster"
    cluster.mkdir()
    give(tmp_path)
    assert run("record", "rebuild", cluster, a, "--write")[0] == OK
    assert others(tmp_path) == []
    shutil.rmtree(cluster)
    os.chown(tmp_path, os.geteuid(), os.getegid())
    new = tmp_path / "above" / "cluster"
    assert run("record", "rebuild", new, a, "--write")[0] == OK
    assert others(tmp_path) == []
    assert {stat.S_IMODE(path.stat().st_mode) for path in (new.parent, new)} == {0o700}
    b = written(tmp_path / "b", generation=1 << 40)
    give(b)
    (new / "record.json").chmod(0o640)
    assert run("record", "rebuild", new, a, b, "--write")[0] == OK
    assert others(tmp_path) == []
    assert stat.S_IMODE((new / "record.json").stat().st_mode) == 0o640


def test_stores_of_several_users_need_a_decision(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = written(tmp_path / "a"), written(tmp_path / "b")
    real = os.stat

    def other(path: Any, **options: Any) -> os.stat_result:
        facts = real(path, **options)
        return os.stat_result([*facts[:4], 7, *facts[5:]]) if path == b else facts

    monkeypatch.setattr(os, "stat", other)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    code, _, err = run("record", "rebuild", tmp_path / "cluster", a, b, "--write")
    assert (code, "the stores belong to several users" in err) == (PROBLEM, True)
    assert not (tmp_path / "cluster").exists()


@pytest.mark.parametrize("shm", [True, False])
def test_inspection_leaves_no_files_behind(run: Run, tmp_path: Path, shm: bool) -> None:
    """Inspects a killed store, whose log needs an index to be read, and a store in use."""
    a, live = written(tmp_path / "a", clean=False), SqliteStore(tmp_path / "b")
    live.open("b")
    assert (a / "store.db-wal").exists()
    if not shm:
        (a / "store.db-shm").unlink(missing_ok=True)
    give(tmp_path)
    for words in (
        ["store", "inspect"],
        ["store", "rank"],
        ["status"],
        ["record", "rebuild", tmp_path / "cluster"],
    ):
        run(*words, a, live._layout.directory)
        assert others(tmp_path) == [], words
    live.close(clean=True)


def test_a_node_of_the_service_starts_after_root_used_the_commands(run: Run, tmp_path: Path) -> None:
    """If root runs the tests, the node runs in a process that switches to the service's user."""
    a, cluster = written(tmp_path / "a", clean=False), tmp_path / "cluster"
    cluster.mkdir()
    give(tmp_path)
    for words in (["store", "inspect", a], ["record", "rebuild", cluster, a, "--write"]):
        assert run(*words)[0] == OK

    async def serve() -> None:
        records = FileRecordStore(cluster)
        node = Node("a", broker=Recorder(), store=SqliteStore(a), transport=TcpTransport(), records=records,
                    promoter=PriorityPromoter(), control=a / "control.sock")  # fmt: skip
        async with node:
            await until(lambda: node.serving)
        await records.close()

    if os.geteuid() != 0:
        return asyncio.run(serve())
    for above in tmp_path.parents[:3]:
        if above.stat().st_uid == 0 and str(above) != "/tmp":
            above.chmod(0o711)
    if (pid := os.fork()) == 0:
        code = 1
        try:
            os.setgroups([])
            os.setresgid(SERVICE[1], SERVICE[1], SERVICE[1])
            os.setresuid(SERVICE[0], SERVICE[0], SERVICE[0])
            asyncio.run(serve())
            code = 0
        finally:
            os._exit(code)
    return None if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0 else pytest.fail("it does not start")
