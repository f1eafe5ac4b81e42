"""Lines of the conformance list in `docs/scenarios.md` that no other test covers.

H: checks from the high-availability tests of an older broker, applied to this library. S: from its store tests.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from qpidha import Node, PromotionRefused, Role, SequenceSet
from qpidha.errors import NotPrimary
from qpidha.records.memory import MemoryRecordStore
from qpidha.stores import MemoryStore, SqliteStore
from qpidha.transports import TcpTransport
from tests.support.harness import QUICK, Recorder, World, content, history, run, until

ROOT = Path(__file__).resolve().parents[2]
TRACES = [
    *range(1, 8), 9, 10, *range(12, 18), 19, 21, 23, *range(25, 38), 39, 40, 41, 42, 44, 45, 46, 48,
]  # fmt: skip
IDS = {
    *(f"T{n:02}" for n in TRACES),
    *(f"A{n:02}" for n in (1, 2, 3, 5, 9, *range(11, 35))),
    *(f"H{n:02}" for n in range(1, 61)),
}


def numbered(count: int) -> list[bytes]:
    return [b"%d" % n for n in range(count)]


def test_H02_backups_that_join_at_message_10_and_20_of_30_end_with_all_in_order() -> None:
    async def main(world: World) -> None:
        a = await world.start("a")
        await a.promote()
        queue = a.declare("q")
        for number, data in enumerate(numbered(30)):
            if number in (10, 20):
                await world.start({10: "b", 20: "c"}[number])
            queue.enqueue(data)
        await until(lambda: world.members() == {"a", "b", "c"})
        await queue.enqueue(b"last")
        for node in world.nodes.values():
            assert [d for _, d in content(node)] == [*numbered(30), b"last"]

    run(main)


def test_H04_a_backup_refuses_clients_and_answers_its_operator() -> None:
    async def main(world: World) -> None:
        a, b = await world.cluster("a", "b")
        await a.declare("q").enqueue(b"one")
        with pytest.raises(NotPrimary):
            b.queue("q").enqueue(b"two")
        assert b.status().primary == "a"
        await world.kill("a")
        await b.promote()
        assert (await b.queue("q").enqueue(b"two")).ids == range(2, 3)
        assert [d for _, d in content(b)] == [b"one", b"two"]

    run(main)


def test_H07_a_third_node_follows_the_new_primary_and_its_dequeues() -> None:
    async def main(world: World) -> None:
        a, b, c = await world.cluster("a", "b", "c")
        await a.declare("q").enqueue_many(numbered(5))
        await world.kill("a")
        await b.promote()
        await b.queue("q").dequeue(SequenceSet([1]))
        await until(lambda: c.role is Role.READY)
        await until(lambda: history(b) == history(c))
        assert [d for _, d in content(c)] == numbered(5)[1:]

    run(main)


def test_H08_a_promotion_without_queues_becomes_active() -> None:
    async def main(world: World) -> None:
        _, b, c = await world.cluster("a", "b", "c")
        await world.kill("a")
        await b.promote()
        await until(lambda: b.role is Role.ACTIVE and c.role is Role.READY)

    run(main)


def test_H24_the_members_are_the_same_on_all_nodes_also_after_one_joined() -> None:
    async def main(world: World) -> None:
        await world.cluster("a", "b")
        await world.start("c")
        await until(
            lambda: all(n.status().members == ["a", "b", "c"] for n in world.nodes.values()),
            what="one membership",
        )
        assert {n.status().primary for n in world.nodes.values()} == {"a"}

    run(main)


def test_H39_publishes_are_held_after_a_promotion_until_all_members_are_ready() -> None:
    async def main(world: World) -> None:
        a, b, _ = await world.cluster("a", "b", "c")
        await a.declare("old").enqueue_many(numbered(3))
        world.gates["c"].mute = True
        await world.kill("a")
        await b.promote()
        held = [b.queue("old").enqueue(b"x"), b.declare("new").enqueue(b"y")]
        assert [d for _, d in content(b, "old")][:1] == [b"0"]  # Consuming works meanwhile.
        assert b.status().waiting_for == ["c"] and not any(op.safe for op in held)
        world.gates["c"].mute = False
        assert [(await op).nodes for op in held] == [{"b", "c"}] * 2

    run(main)


def test_H40_a_missing_backup_times_out_and_may_come_back() -> None:
    async def main(world: World) -> None:
        _, b, _ = await world.cluster("a", "b", "c")
        await world.kill("c")
        await world.kill("a")
        await b.promote()
        assert (await b.declare("q").enqueue(b"x")).nodes == {"b"}
        assert world.members() == {"b"}
        c = await world.start("c")
        await until(lambda: world.members() == {"b", "c"})
        assert history(b) == history(c)

    run(main)


def test_H41_a_fresh_node_is_not_promoted_while_another_one_is_there() -> None:
    """It is not promoted even if no other node answers: the older broker's rule loses messages (T03)."""

    async def main(world: World) -> None:
        await world.cluster("a", "b")
        c = await world.start("c", MemoryStore())
        for gone in ("a", "b"):
            await world.kill(gone)
        await world.stop("c")
        c = await world.start("c", MemoryStore())
        with pytest.raises(PromotionRefused):
            await c.promote()

    run(main)


def test_H43_H51_H57_a_single_durable_node_has_everything_after_a_kill(tmp_path: Path) -> None:
    async def main(world: World) -> None:
        a = await world.start("a", SqliteStore(tmp_path / "a"))
        await a.promote()
        await a.declare("q").enqueue_many(numbered(10))
        await world.kill("a")
        a = await world.start("a", SqliteStore(tmp_path / "a"))
        await a.promote()
        assert [d for _, d in content(a)] == numbered(10)
        b = await world.start("b")
        await until(lambda: b.status().in_sync)
        assert history(a) == history(b)

    run(main)


def test_H52_a_killed_member_comes_back_to_the_current_data_not_to_its_own(tmp_path: Path) -> None:
    async def main(world: World) -> None:
        a = await world.start("a")
        await a.promote()
        b = await world.start("b", SqliteStore(tmp_path / "b"))
        await until(lambda: world.members() == {"a", "b"})
        queue = a.declare("q")
        await queue.enqueue_many([b"old", b"kept"])
        await world.kill("b")
        await queue.dequeue(SequenceSet([1]))
        await queue.enqueue(b"new")
        b = await world.start("b", SqliteStore(tmp_path / "b"))
        await until(lambda: b.status().in_sync)
        assert [d for _, d in content(b)] == [b"kept", b"new"]

    run(main)


def test_H54_the_data_of_the_last_node_that_ran_wins(tmp_path: Path) -> None:
    """Two nodes are killed and the last one stops cleanly; the others cannot start to serve without it."""

    async def main(world: World) -> None:
        for name in ("a", "b", "c"):
            await world.start(name, SqliteStore(tmp_path / name))
        a = world.nodes["a"]
        await a.promote()
        await until(lambda: world.members() == {"a", "b", "c"})
        queue = a.declare("q")
        await queue.enqueue(b"all")
        await world.kill("b")
        await world.kill("c")
        await queue.enqueue(b"last")
        await world.stop("a")
        for name in ("b", "c"):
            with pytest.raises(PromotionRefused):
                await (await world.start(name, SqliteStore(tmp_path / name))).promote()
        a = await world.start("a", SqliteStore(tmp_path / "a"))
        await a.promote()
        await until(lambda: world.members() == {"a", "b", "c"})
        for node in world.nodes.values():
            assert [d for _, d in content(node)] == [b"all", b"last"]

    run(main)


def test_H59_nodes_stop_and_start_one_by_one(tmp_path: Path) -> None:
    async def main(world: World) -> None:
        for name in ("a", "b", "c"):
            await world.start(name, SqliteStore(tmp_path / name))
        await world.nodes["a"].promote()
        await until(lambda: world.members() == {"a", "b", "c"})
        queue = world.nodes["a"].declare("q")
        for name in ("b", "c"):
            await world.stop(name)
            await queue.enqueue(b"without " + name.encode())
            again = await world.start(name, SqliteStore(tmp_path / name))
            await until(lambda again=again: again.status().in_sync)
        await world.stop("a")
        await world.nodes["b"].promote()
        await world.start("a", SqliteStore(tmp_path / "a"))
        await until(lambda: world.members() == {"a", "b", "c"})
        for node in world.nodes.values():
            assert [d for _, d in content(node)] == [b"without b", b"without c"]

    run(main)


def test_a_node_that_is_not_started_knows_no_primary() -> None:
    """A client may ask a broker for the primary before its node has opened its store."""

    async def main() -> None:
        node = Node("a", broker=Recorder(), store=MemoryStore(), transport=TcpTransport(),
                    records=MemoryRecordStore(), settings=QUICK)  # fmt: skip
        assert node.primary is None and node.primary_client_address is None

    asyncio.run(main())


def test_every_line_is_covered_by_a_test_that_exists_or_is_listed_as_waiting() -> None:
    """`docs/scenarios.md` names each id once, with files and tests that exist."""
    found: dict[str, str] = {}
    for line in (ROOT / "docs" / "scenarios.md").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"\| ([TAH]\d\d) \|(.*)\|$", line):
            assert match[1] not in found, f"{match[1]} twice"
            found[match[1]] = match[2]
    assert found.keys() == IDS
    for id, text in found.items():
        named = re.findall(r"`([\w/]+\.(?:py|txt))(?:::(\w+))?`", text)
        assert named or re.search(r"waits for \w+", text), f"{id} is neither covered nor waiting"
        for file, test in named:
            path = ROOT / "tests" / file
            assert path.is_file(), f"{id}: there is no {file}"
            assert not test or f"def {test}(" in path.read_text(encoding="utf-8"), f"{id}: no {test}"
