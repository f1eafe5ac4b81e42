"""``qpidha why``: of running nodes and of stores, with wrong options, and when nobody answers."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet
from qpidha.cli import OK, PROBLEM, UNREACHABLE, USAGE, main
from qpidha.core.births import born, configuration_id
from qpidha.core.configuration import SPEC
from qpidha.journal import Audit, Insert, PutQueue, PutStatus, Quarantine, Remove
from qpidha.stores import SqliteStore
from qpidha.types import Fate, QueueSpec
from tests.support.harness import PATIENT, World, until

CLUSTER, ORDERS, DEAD = UUID(int=77), UUID(int=0xA1), UUID(int=0xA2)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: object) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


def document(run: Run, *words: object) -> tuple[int, Any]:
    code, out, _ = run("why", *words, "--json")
    return code, json.loads(out)


@contextmanager
def cluster(base: Path, *steps: Callable[[World], Any]) -> Iterator[None]:
    """Nodes a and b in another thread, with control sockets in ``base/a`` and ``base/b``, after these steps."""
    ready, over = threading.Event(), threading.Event()
    failed: list[BaseException] = []

    async def serve() -> None:
        async with World(PATIENT) as world:
            for name in "ab":
                (base / name).mkdir()
                await world.start(name, control=base / name / "control.sock")
            await world.nodes["a"].promote()
            await until(lambda: all(node.status().in_sync for node in world.nodes.values()))
            for step in steps:
                if asyncio.iscoroutine(waits := step(world)):
                    await waits
            ready.set()
            await asyncio.to_thread(over.wait)

    def work() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:  # It belongs to the test.
            failed.append(error)
            ready.set()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert ready.wait(60) and not failed, failed
        yield
    finally:
        over.set()
        thread.join()
    assert not failed


async def fill(world: World) -> None:
    node = world.nodes["a"]
    orders, done = node.declare("orders"), node.declare("done")
    await orders.enqueue_many([b"1", b"2", b"3"])
    await orders.dequeue([2])
    await orders.move([3], done)
    other = world.nodes["b"]
    await until(lambda: "done" in [q.name for q in other.queues] and other.queue("done").depth == 1)


def test_messages_of_running_nodes(tmp_path: Path, run: Run) -> None:
    with cluster(tmp_path, fill):
        code, out, err = run("why", tmp_path / "a", "orders", 1)
        assert (code, err) == (OK, "")
        assert out.splitlines() == [
            "message 1 of queue 'orders', generation 1: safe",
            "  node 'a', the primary, and every member hold it",
        ]
        code, out, _ = run("why", tmp_path / "b", "orders", 1)
        assert code == OK and "orders', generation 1: held" in out
        assert "  to do: ask node 'a' as well: it knows more" in out.splitlines()
        verdicts = {
            id: document(run, tmp_path / "a", "orders", id, "--generation", 1)[1]["why"]["verdict"]
            for id in (1, 2, 3)
        }
        assert verdicts == {1: "safe", 2: "gone", 3: "moved"}
        code, found = document(run, tmp_path / "b", "orders", 3)
        assert (code, found["ok"], found["why"]["verdict"]) == (OK, True, "moved")
        assert found["why"]["place"]["queue_name"] == "done" and found["why"]["place"]["id"] == 1
        by_uuid = document(run, tmp_path / "b", found["why"]["queue"], 3)
        assert by_uuid == (OK, found)
        for queue, id, verdict in (("orders", 99, "not-given-out"), ("nothing", 1, "no-queue")):
            code, found = document(run, tmp_path / "a", queue, id)
            assert (code, found["why"]["verdict"]) == (PROBLEM, verdict)


def test_a_publish_that_is_not_confirmed_names_the_backup(tmp_path: Path, run: Run) -> None:
    def cut(world: World) -> None:
        """Nothing of b arrives at a any more, so that its acknowledgements do not."""
        world.gates["b"].mute = True
        world.nodes["a"].queue("orders").enqueue(b"4")

    with cluster(tmp_path, fill, cut):
        code, out, _ = run("why", tmp_path / "a", "orders", 4)
        assert code == OK
        assert out.splitlines() == [
            "message 4 of queue 'orders', generation 1: pending",
            "  node 'a', the primary, holds it; its publish is not confirmed yet",
            "  waits for 'b': was sent it, and has not acknowledged it; 1 operation behind",
            "  to do: if this lasts, look at the disk of node 'b' and at the network to it",
        ]
        for words in ((), ("orders",), ("orders", "--queues", 1)):
            code, out, _ = run("why", tmp_path / "a", *words)
            assert code == OK
            assert out.splitlines()[0] == "node 'a': not safe yet: 1 operation"
            assert "  queue 'orders': the publish of message 4 is not confirmed" in out.splitlines()
        code, out, _ = run("why", tmp_path / "a", "done")
        assert code == OK and "publish" not in out
        code, out, _ = run("why", tmp_path / "b")
        assert (code, out.splitlines()) == (
            OK,
            [
                "node 'b' is not the primary: no publish is pending on it",
                "  to do: ask the primary, node 'a'",
            ],
        )
        code, found = document(run, tmp_path / "a")
        assert code == OK and found["unconfirmed"]["publishes"][0]["waits_for"][0]["owes"] == "follows"


def test_a_refusal_is_one_line(tmp_path: Path, run: Run) -> None:
    with cluster(tmp_path, fill):
        code, out, err = run("why", tmp_path / "a", "nothing")
        assert (code, out) == (PROBLEM, "")
        assert err == "qpidha: refused: no queue 'nothing' on node 'a'\n"
        code, found = document(run, tmp_path / "a", "$configuration", 1)
        assert (code, found["ok"], found["kind"]) == (PROBLEM, False, "ArgumentError")


def test_nobody_answers(tmp_path: Path, run: Run) -> None:
    code, out, err = run("why", tmp_path, "orders", 1)
    assert (code, out) == (UNREACHABLE, "")
    assert err.startswith(f"qpidha: no node answers in {tmp_path}: there is no control.sock")
    code, found = document(run, tmp_path, "orders", 1)
    assert (code, found["ok"], found["kind"]) == (UNREACHABLE, False, "no-socket")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "no directory was given, and no cluster file was found"),
        (("",), "an empty path"),
        (("d", "orders", "x"), "is not a whole number"),
        (("d", "orders", "-1"), "-1"),
        (("d", "orders", "1" * 40), "is not a whole number"),
        (("d", "", "1"), "cannot be the name of a queue"),
        (("d", "orders", "1", "2"), "unrecognized arguments"),
        (("d", "--store"), "--store needs QUEUE and ID"),
        (("d", "orders", "--store"), "--store needs QUEUE and ID"),
        (("d", "orders", "--generation", "1"), "--generation needs an ID"),
        (("d", "orders", "1", "--generation", "x"), "is not a whole number"),
        (("d", "orders", "1", "--queues", "2"), "--queues goes without an ID"),
        (("d", "orders", "1", "--timeout", "0"), "is not a number of seconds"),
    ],
)
def test_wrong_options(words: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["why", *words])
    assert ended.value.code == USAGE
    err = capsys.readouterr().err
    assert says in err and "Traceback" not in err


# --- stores --------------------------------------------------------------------------------------


def written(directory: Path) -> Path:
    """A store with a queue, a queue to which a message was moved, and one message in quarantine."""
    store = SqliteStore(directory)
    store.open("a")
    copy = Batch.pack([b"moved"], origins=[(ORDERS.bytes, 1, 3)])
    lost = Batch.pack([b"lost"])
    configuration = configuration_id(CLUSTER)
    store.commit(
        [
            PutStatus(CLUSTER, 4, primary=False),
            PutQueue(configuration, SPEC, ((1, 1), (2, 5)), 9),
            PutQueue(ORDERS, QueueSpec(name="orders"), ((1, 1), (4, 9)), 9),
            PutQueue(DEAD, QueueSpec(name="dead"), ((1, 1),), 2),
            Insert(ORDERS, SequenceSet([(1, 4)]), Batch.pack([b"1", b"2", b"3", b"4"])),
            Remove(ORDERS, SequenceSet([2, 3])),
            Insert(DEAD, SequenceSet([1]), copy),
            Quarantine(ORDERS, "orders", 3, SequenceSet([12]), lost, Fate.REWOUND),
            Audit("rewound", 3, "orders", "rewound: 1 messages"),
            Audit("rewound", 3, "other", "rewound: 5 messages"),
        ]
    )
    store.close(clean=True)
    return directory


def test_messages_of_a_store(tmp_path: Path, run: Run) -> None:
    store = written(tmp_path / "a")
    code, out, err = run("why", "--store", store, "orders", 12)
    assert (code, err) == (OK, "")
    lines = out.splitlines()
    assert lines[0] == "message 12 of queue 'orders', generation 3: quarantined"
    assert lines[-1] == "  audit: rewound, generation 3, queue orders: rewound: 1 messages"
    found = {
        id: document(run, store, "orders", id, "--store")[1]["why"]["verdict"] for id in (1, 2, 3, 4, 20)
    }
    assert found == {1: "held", 2: "gone", 3: "moved", 4: "held", 20: "not-here"}
    code, answer = document(run, store, "orders", 12, "--generation", 1, "--store")
    assert (code, answer["why"]["verdict"]) == (OK, "rewound")
    assert [line["queue"] for line in answer["audit"]] == ["orders"]
    assert document(run, store, str(born(2, 6)), 1, "--store")[1]["why"]["verdict"] == "deleted"
    code, answer = document(run, store, "nothing", 1, "--store")
    assert (code, answer["why"]["verdict"], answer["audit"]) == (PROBLEM, "no-queue", [])


def test_a_store_in_use_can_be_asked(tmp_path: Path, run: Run) -> None:
    store = SqliteStore(written(tmp_path / "a"))
    store.open("a")
    try:
        assert document(run, tmp_path / "a", "orders", 1, "--store")[1]["why"]["verdict"] == "held"
    finally:
        store.close(clean=False)


def test_a_store_that_cannot_be_read_is_named(tmp_path: Path, run: Run) -> None:
    damaged = written(tmp_path / "damaged")
    (damaged / "store.db").unlink()
    (tmp_path / "empty").mkdir()
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster" / "record.json").write_text("{}")
    for name, says in (
        ("damaged", "the database is not"),
        ("empty", "there is no store"),
        ("gone", "no such directory"),
        ("cluster", "it holds the record of a cluster"),
    ):
        code, out, err = run("why", tmp_path / name, "orders", 1, "--store")
        assert (code, out) == (UNREACHABLE, "")
        assert err.startswith("qpidha: ") and says in err and err.count("\n") == 1
        code, answer = document(run, tmp_path / name, "orders", 1, "--store")
        assert (code, answer["ok"]) == (UNREACHABLE, False) and says in answer["error"]
    code, _, err = run("why", written(tmp_path / "a"), "$configuration", 1, "--store")
    assert code == PROBLEM and "has keys, no messages" in err
