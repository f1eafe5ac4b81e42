"""An operator saves stores and restores them: into a cluster that lives, and after everything was lost."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from qpidha import Node
from qpidha.cli import OK, PARTLY, PROBLEM, UNREACHABLE, main
from qpidha.records import FileRecordStore
from qpidha.stores import SqliteStore, inspect
from qpidha.stores.saved import restore, save
from qpidha.transports import TcpTransport
from tests.support.harness import QUICK, Recorder, until

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: object) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


@asynccontextmanager
async def nodes(place: Path, *names: str) -> AsyncIterator[list[Node]]:
    """Nodes on disk, each in a directory of its name; the record is beside them."""
    async with AsyncExitStack() as stack:
        found = []
        for name in names:
            records = FileRecordStore(place / "cluster")
            stack.push_async_callback(records.close)
            node = Node(name, broker=Recorder(), store=SqliteStore(place / name), records=records,
                        transport=TcpTransport(), settings=QUICK)  # fmt: skip
            found.append(await stack.enter_async_context(node))
        yield found


async def serving(node: Node) -> Node:
    await node.promote()
    await node.wait_serving()
    return node


async def publish(node: Node, *messages: bytes) -> None:
    queue = node.declare("orders")
    for message in messages:
        await queue.enqueue(message)


def held(node: Node) -> list[bytes]:
    return [bytes(data) for _, data, *_ in node.queue("orders").messages()]


def test_a_restored_store_joins_as_a_new_node_and_is_corrected(tmp_path: Path) -> None:
    """It is older than the cluster: what was published since comes, and what was consumed since goes."""

    async def drill() -> None:
        async with nodes(tmp_path, "a", "b") as (a, b):
            await serving(a)
            await until(lambda: b.status().in_sync)
            await publish(a, b"1", b"2", b"3")
            await asyncio.to_thread(save, tmp_path / "b", tmp_path / "saved")
            queue = a.queue("orders")
            await queue.dequeue([next(iter(queue.messages()))[0]])
            await publish(a, b"4")
        shutil.rmtree(tmp_path / "b")
        restore(tmp_path / "saved", tmp_path / "b")
        async with nodes(tmp_path, "a", "b") as (a, b):
            await serving(a)
            await until(lambda: b.status().in_sync)
            assert held(a) == held(b) == [b"2", b"3", b"4"]

    asyncio.run(drill())


def test_a_restored_store_is_not_promoted_while_a_member_may_be(tmp_path: Path) -> None:
    """Rule J3: an old image is never taken for the present, whoever is gone."""

    async def drill() -> None:
        async with nodes(tmp_path, "a") as (a,):
            await serving(a)
            await publish(a, b"1")
            save(tmp_path / "a", tmp_path / "saved")
            await publish(a, b"2")
        (tmp_path / "a").rename(tmp_path / "kept")
        restore(tmp_path / "saved", tmp_path / "a")
        async with nodes(tmp_path, "a") as (a,):
            with pytest.raises(Exception, match="epoch"):
                await a.promote()

    asyncio.run(drill())


def test_everything_was_lost_but_one_saved_store(tmp_path: Path, run: Run) -> None:
    """Rule I1: a store of the lost time that turns up later is rewound, and not mixed up with the new messages."""
    saved = tmp_path / "saved"

    async def before() -> None:
        async with nodes(tmp_path, "a", "b") as (a, b):
            await serving(a)
            await until(lambda: b.status().in_sync)
            await publish(a, b"1", b"2")
            assert run("store", "backup", tmp_path / "b", saved)[0] == OK
        async with nodes(tmp_path, "b", "a") as (b, a):
            await serving(b)
            await until(lambda: a.status().in_sync)
            await publish(b, b"lost")

    asyncio.run(before())
    (tmp_path / "b").rename(tmp_path / "forgotten")
    shutil.rmtree(tmp_path / "a")
    assert run("store", "restore", saved, tmp_path / "a", "--as-node", "a")[0] == OK
    cluster, a = tmp_path / "cluster", tmp_path / "a"
    code, _, err = run("record", "rebuild", cluster, a, "--write")
    assert code == PROBLEM and "nothing to rebuild" in err and "--members-lost" in err
    code, _, err = run("record", "rebuild", cluster, a, tmp_path / "forgotten", "--members-lost", "--write")
    assert code == PROBLEM and "the store of member b is not lost" in err
    code, out, _ = run("record", "rebuild", cluster, a, "--members-lost", "--write")
    assert code == OK and "the record is now at generation" in out

    async def after() -> None:
        async with nodes(tmp_path, "a") as (a,):
            await serving(a)
            assert held(a) == [b"1", b"2"]
            await publish(a, b"new")
        (tmp_path / "forgotten").rename(tmp_path / "b")
        broker = Recorder()
        async with nodes(tmp_path, "a") as (a,):
            await serving(a)
            records = FileRecordStore(cluster)
            async with Node("b", broker=broker, store=SqliteStore(tmp_path / "b"), records=records,
                            transport=TcpTransport(), settings=QUICK) as b:  # fmt: skip
                await until(lambda: b.status().in_sync and bool(broker.discarded))
                assert held(a) == held(b) == [b"1", b"2", b"new"]
                assert [bytes(one.data) for one in broker.discarded] == [b"lost"]
            await records.close()

    asyncio.run(after())


# --- the commands ------------------------------------------------------------------------------------


def stored(directory: Path) -> Path:
    async def fill() -> None:
        async with nodes(directory.parent, directory.name) as (node,):
            await serving(node)
            await publish(node, b"1")

    asyncio.run(fill())
    return directory


def test_the_commands_say_what_they_did(tmp_path: Path, run: Run) -> None:
    a, saved = stored(tmp_path / "a"), tmp_path / "saved"
    code, out, err = run("store", "backup", a, saved)
    assert (code, err) == (OK, "")
    assert (
        out.startswith(f"{saved}: saved 20")
        and "; it verifies\n" in out
        and "queue orders: 1 messages" in out
    )
    code, again, _ = run("store", "verify", saved)
    assert (code, again) == (OK, out)
    code, out, _ = run("store", "verify", saved, "--json")
    document: Any = json.loads(out)
    assert code == OK and document["saved_at"] > 1e9 and document["store"]["status"]["node"] == "a"
    code, out, err = run("store", "restore", saved, tmp_path / "b", "--as-node", "b")
    assert (code, err) == (OK, "") and "clean, node b" in out and "joins the cluster as a new one" in out
    report = inspect(tmp_path / "b")
    assert report.status is not None and report.status.node == "b"


def test_the_commands_say_what_is_wrong(tmp_path: Path, run: Run) -> None:
    a, saved = stored(tmp_path / "a"), tmp_path / "saved"
    code, _, err = run("store", "backup", tmp_path / "none", saved)
    assert code == UNREACHABLE and "no such directory" in err
    assert run("store", "backup", a, saved)[0] == OK
    code, out, err = run("store", "backup", a, saved, "--json")
    assert code == PROBLEM and "exists: name a new file" in err and "exists" in json.loads(out)["error"]
    code, _, err = run("store", "verify", a / "store.db")
    assert code == UNREACHABLE and "is not a saved store" in err
    code, out, _ = run("store", "verify", saved, a / "store.db", "--json")
    assert code == PARTLY and [set(one) for one in json.loads(out)] == [
        {"saved_at", "store"},
        {"name", "error"},
    ]
    code, _, err = run("store", "restore", saved, a)
    assert code == PROBLEM and "restore into an empty directory" in err
    raw = bytearray(saved.read_bytes())
    raw[-3000] ^= 0xFF
    for at in range(8192, len(raw), 8192):
        raw[at] ^= 0xFF
    saved.write_bytes(raw)
    code, out, _ = run("store", "verify", saved)
    assert code == PROBLEM and "it does not verify" in out and "DAMAGED" in out
    code, _, err = run("store", "restore", saved, tmp_path / "c")
    assert code == PROBLEM and err.startswith("qpidha: ")


# --- the drill of docs/saving.md ---------------------------------------------------------------------


async def all_machines_lose_power(place: Path) -> None:
    """A, B and C: C is removed before the last messages, and everything is killed."""
    async with nodes(place, "a", "b") as (a, b):
        async with nodes(place, "c") as (c,):
            await serving(a)
            await until(lambda: b.status().in_sync and c.status().in_sync)
            await publish(a, b"1", b"2")
        await publish(a, b"3")
        for name in ("a", "b", "c"):
            shutil.copytree(place / name, place / "after" / name, ignore=shutil.ignore_patterns("*.sock"))


def damage_a_page(directory: Path) -> None:
    for name in ("store.db", "store.db-wal"):
        with open(directory / name, "r+b") as file:
            length = file.seek(0, 2)
            for at in range(3 * 8192 + 100, length, 8192):
                file.seek(at)
                file.write(b"\xff" * 16)


def test_the_drill(tmp_path: Path, run: Run) -> None:
    asyncio.run(all_machines_lose_power(tmp_path))
    after = tmp_path / "after"
    cluster = tmp_path / "cluster"
    a, b, c = (after / name for name in "abc")
    damage_a_page(a)
    code, out, _ = run("store", "rank", a, b, c, "--cluster", cluster)
    lines = [line for line in out.splitlines() if not line.startswith(" ")]
    assert code == OK and [line.split()[0] for line in lines] == ["1", "2", "-"], out
    assert str(b) in lines[0] and str(c) in lines[1] and str(a) in lines[2]
    assert "in-sync" in out and "damaged" in out, out
    cluster.rename(after / "cluster")

    async def start() -> None:
        async with nodes(after, "b", "c") as (first, second):
            with pytest.raises(Exception, match="member"):
                await second.promote()
            await serving(first)
            await until(lambda: second.status().in_sync)
            assert held(first) == held(second) == [b"1", b"2", b"3"], "nothing is lost: B was a member"

    asyncio.run(start())


def test_the_drill_when_the_last_member_is_gone_too(tmp_path: Path, run: Run) -> None:
    """What was acknowledged after C was removed is lost, and nothing else."""
    asyncio.run(all_machines_lose_power(tmp_path))
    after, c = tmp_path / "after", tmp_path / "after" / "c"
    (tmp_path / "cluster").rename(after / "cluster")
    damage_a_page(after / "a")
    damage_a_page(after / "b")
    stores = [after / "a", after / "b", c]
    code, _, err = run("record", "rebuild", after / "cluster", *stores, "--write")
    assert code == PROBLEM and "--members-lost" in err
    code, out, err = run("record", "rebuild", after / "cluster", *stores, "--members-lost", "--write")
    assert code == OK and "with node c alone in sync" in out, err

    async def start() -> None:
        async with nodes(after, "c") as (node,):
            await serving(node)
            assert held(node) == [b"1", b"2"]

    asyncio.run(start())
