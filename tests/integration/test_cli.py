"""The command line: its text output, its JSON output, and the exit codes that scripts rely on."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qpidha import Batch, Node, SequenceSet
from qpidha.cli import OK, PROBLEM, UNREACHABLE, USAGE, main
from qpidha.engines.ports import free_ports
from qpidha.errors import StoreMismatch
from qpidha.journal import Insert, PutQueue, PutStatus
from qpidha.records import FileRecordStore
from qpidha.recovery.rebuild import GENERATIONS_LEFT_OUT
from qpidha.stores import SqliteStore
from qpidha.types import QueueId, QueueSpec
from tests.support.harness import World, content, until

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = QueueId(int=77)


def written(directory: Path, *, generation: int, messages: int, primary: bool = False) -> Path:
    """A store as a node leaves it after a clean stop."""
    store = SqliteStore(directory)
    store.open(directory.name)
    queue = QueueId(int=1)
    store.commit(
        [
            PutStatus(CLUSTER, generation, primary),
            PutQueue(queue, QueueSpec(name="orders"), ((1, 1),), 1),
            Insert(queue, SequenceSet.from_range(1, messages), Batch.pack([b"x"] * messages)),
        ]
    )
    store.close(clean=True)
    return directory


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(a) for a in arguments])
    out = capsys.readouterr()
    return code, out.out, out.err


def document(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any]:
    code, out, _ = run(capsys, *arguments, "--json")
    return code, json.loads(out)


def test_wrong_usage_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        [],
        ["bogus"],
        ["store"],
        ["store", "rank"],
        ["promote"],
        ["status"],
        ["record"],
        ["record", "rebuild", "x"],
    ):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == USAGE
        assert "usage: qpidha" in capsys.readouterr().err


def test_a_node_that_does_not_answer_is_exit_code_3(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for arguments in (["status"], ["promote"], ["store", "inspect"], ["store", "rank"]):
        code, out, err = run(capsys, *arguments, tmp_path / "nowhere")
        assert (code, out) == (UNREACHABLE, "")
        assert err.startswith("qpidha: ")


def test_inspect_lists_the_content_of_a_store(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    directory = written(tmp_path / "a", generation=4, messages=3)
    code, out, _ = run(capsys, "store", "inspect", directory)
    assert code == OK
    assert "clean, node a, generation 4" in out
    assert "queue orders: 3 messages" in out
    code, report = document(capsys, "store", "inspect", directory)
    assert code == OK
    assert report["status"]["cluster"] == str(CLUSTER)
    assert report["queues"][0]["held"] == 3


def test_a_damaged_store_is_exit_code_1(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    directory = written(tmp_path / "a", generation=4, messages=3)
    (directory / "store.db").write_bytes(b"not a database")
    code, out, _ = run(capsys, "store", "inspect", directory)
    assert code == PROBLEM
    assert "DAMAGED" in out


def test_rank_puts_the_latest_first_and_says_why(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """LM6: after a total failure, the ranking shows which store is the best."""
    old = written(tmp_path / "old", generation=3, messages=9)
    backup = written(tmp_path / "backup", generation=4, messages=5)
    best = written(tmp_path / "best", generation=4, messages=5, primary=True)
    code, ranked = document(capsys, "store", "rank", old, backup, best)
    assert code == OK
    assert [Path(place["name"]).name for place in ranked] == ["best", "backup", "old"]
    code, out, _ = run(capsys, "store", "rank", old, best)
    assert code == OK
    assert "has seen generation 3, not 4" in out


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Path]:
    """Data directory of a running example broker. It is the only one, so it founds the cluster and is primary."""
    directory = tmp_path / "a"
    command = [sys.executable, str(ROOT / "examples" / "simple" / "broker.py"), "--id", "a", "--dir", str(directory),
               "--cluster", str(tmp_path / "cluster"), "--client", f"127.0.0.1:{next(free_ports())}"]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + 60
        while not (directory / "control.sock").exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        yield directory
    finally:
        process.terminate()
        assert process.wait(60) == 0, log.read_text()


def until_active(capsys: pytest.CaptureFixture[str], broker: Path) -> Any:
    """What `qpidha status` says of the broker, once it is primary: it can be asked before it has a session."""
    deadline = time.monotonic() + 60
    while True:
        code, found = document(capsys, "status", broker, "--cluster", broker.parent / "cluster")
        if code == OK and found["nodes"][str(broker)]["role"] == "active":
            return found
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_status_and_promote_of_a_running_node(capsys: pytest.CaptureFixture[str], broker: Path) -> None:
    found = until_active(capsys, broker)
    status = found["nodes"][str(broker)]
    assert status["in_sync"] and status["members"] == ["a"]
    assert found["record"]["record"]["generation"] == status["generation"] == 1
    code, out, _ = run(capsys, "status", broker)
    assert code == OK
    assert "node a: active, generation 1, in sync" in out
    code, _, err = run(capsys, "promote", broker)
    assert code == PROBLEM
    assert "refused" in err


# --- the record ------------------------------------------------------------------------------------------


def test_a_lost_record_is_rebuilt_from_the_stores(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """T31: no node starts without a record; after it is rebuilt from the best store, all nodes return and agree."""
    cluster = tmp_path / "cluster"
    a = written(tmp_path / "a", generation=4, messages=5, primary=True)
    b = written(tmp_path / "b", generation=3, messages=3)

    async def start(world: World, name: str) -> Node:
        return await world.start(name, SqliteStore(tmp_path / name))

    async def refused() -> None:
        async with World() as world:
            world.records = FileRecordStore(cluster)  # type: ignore[assignment]
            with pytest.raises(StoreMismatch, match="no record"):
                await start(world, "a")

    async def whole_again() -> None:
        async with World() as world:
            world.records = FileRecordStore(cluster)  # type: ignore[assignment]
            first, second = await start(world, "a"), await start(world, "b")
            await first.promote()
            await until(lambda: second.status().in_sync)
            assert first.generation == found["record"]["generation"] + 1
            assert content(first, "orders") == content(second, "orders") == [(n, b"x") for n in range(1, 6)]

    asyncio.run(refused())
    code, out, _ = run(capsys, "record", "rebuild", cluster, a, b)
    assert code == OK and re.search(r"would be at generation \d+, with node a alone in sync", out)
    assert run(capsys, "record", "show", cluster)[0] == PROBLEM, "nothing was written"
    code, found = document(capsys, "record", "rebuild", cluster, a, b, "--write")
    assert (code, found["written"]) == (OK, True) and found["record"][
        "generation"
    ] >= 4 + GENERATIONS_LEFT_OUT
    code, out, _ = run(capsys, "record", "show", cluster)
    assert code == OK and f"generation {found['record']['generation']}, primary none" in out
    code, _, err = run(capsys, "record", "rebuild", cluster, a, b, "--write")
    assert code == PROBLEM and "nothing to rebuild" in err
    asyncio.run(whole_again())


def test_no_record_is_rebuilt_under_a_running_node(
    capsys: pytest.CaptureFixture[str], broker: Path, tmp_path: Path
) -> None:
    cluster = broker.parent / "cluster"
    until_active(capsys, broker)
    code, _, err = run(capsys, "record", "rebuild", cluster, broker, "--write")
    assert code == PROBLEM and "still running: a" in err
    code, _, err = run(capsys, "record", "rebuild", tmp_path / "elsewhere", broker, "--write")
    assert code == PROBLEM and "in use by process" in err
    assert not (tmp_path / "elsewhere").exists()
    code, _, err = run(capsys, "record", "rebuild", cluster.parent / "elsewhere", tmp_path / "nowhere")
    assert code == UNREACHABLE and "there is no store" in err


def test_a_primary_without_a_successor_refuses_to_hand_over(
    capsys: pytest.CaptureFixture[str], broker: Path
) -> None:
    deadline = time.monotonic() + 60
    # It need not answer yet: then its status is null.
    while (document(capsys, "status", broker)[1]["nodes"][str(broker)] or {}).get("role") != "active":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    code, out, err = run(capsys, "demote", broker)
    assert (code, out) == (PROBLEM, "")
    assert err.startswith("qpidha: refused: no other node is live")
