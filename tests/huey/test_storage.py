"""What the storage promises besides what huey's own tests look at: units, requests that are repeated, changes of role."""

from __future__ import annotations

import ast
import datetime as dt
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from huey.api import Huey
from huey_ha import ClusterStorage, Consumer, Port, ReplicatedStorage
from huey_ha.remote import Refused

from qpidha import InDoubt, Node, NotPrimary, StaleHandle
from qpidha.errors import NodeStopped, StoreFailed
from tests.huey.clusters import cluster, huey_on, storage
from tests.support.threads import SOON_S, Worker

EXAMPLE = Path(__file__).parents[2] / "examples" / "huey"
PAST = dt.datetime(2020, 1, 1)  # noqa: DTZ001 - huey's times have no zone.


def change_roles(a: Node, b: Node) -> ReplicatedStorage:
    """The other node is primary now; its storage."""
    a.sync.demote(timeout_s=SOON_S)
    b.sync.promote(timeout_s=SOON_S)
    return storage(b)


@contextmanager
def executing(huey: Huey) -> Iterator[None]:
    consumer = Consumer(huey, workers=2, initial_delay=0.01, max_delay=0.01)
    consumer.start()
    try:
        yield
    finally:
        consumer.stop(graceful=True)


def soon(probe: Callable[[], object]) -> None:
    deadline = time.monotonic() + SOON_S
    while not probe():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_example_needs_no_asyncio() -> None:
    for path in EXAMPLE.rglob("*.py"):
        found = [type(node).__name__ for node in ast.walk(ast.parse(path.read_text()))]
        assert not {"AsyncFunctionDef", "Await", "AsyncWith", "AsyncFor"} & set(found), path
        assert "asyncio" not in [word.strip("`.,") for word in path.read_text().split() if word == "import"]
        assert "import asyncio" not in path.read_text()


def test_what_a_task_leaves_is_stored_with_its_removal() -> None:
    """Until then nobody sees any of it, and the next primary has the task."""
    with cluster("a", "b") as (a, b):
        s = storage(a)
        s.enqueue(b"task")
        with s.together():
            assert s.dequeue() == b"task"
            s.put_data("result", b"1")
            assert s.incr("count") == 1 and s.incr("count") == 2
            s.enqueue(b"next")
            s.add_to_schedule(b"later", PAST)
            assert s.peek_data("result") == b"1"  # It sees its own changes.
            other = Worker(lambda: (s.has_data_for_key("result"), s.queue_size(), s.schedule_size()))
            assert other.join() is None
            assert other.result == (False, 0, 0)  # The task is being executed.
            assert [data for _, data in b.sync.queue("huey.tasks")] == [b"task"]
        assert s.enqueued_items() == [b"next"] and s.scheduled_items() == [b"later"]
        s = change_roles(a, b)
        assert s.enqueued_items() == [b"next"] and s.read_schedule(PAST) == [b"later"]
        assert s.pop_data("result") == b"1" and s.incr("count", 0) == 2


def test_a_change_of_roles_in_the_middle_of_a_task_undoes_what_it_leaves() -> None:
    with cluster("a", "b") as (a, b):
        s = storage(a)
        s.enqueue(b"task")
        with pytest.raises((NotPrimary, StaleHandle)), s.together():
            s.dequeue()
            s.put_data("result", b"1")
            with s.apart():
                s.incr("executions")  # What the task itself changes is changed at once.
            new = change_roles(a, b)
        assert new.enqueued_items() == [b"task"] and new.result_store_size() == 0
        assert new.incr("executions") == 2
        for call in (lambda: s.enqueue(b"x"), lambda: s.peek_data("result"), s.queue_size, s.flush_queue):
            with pytest.raises((NotPrimary, StaleHandle)):
                call()
        s.demoted()
        with pytest.raises(NotPrimary, match="node 'a' is not primary"):
            s.dequeue()


def test_two_units_that_change_the_same_come_one_after_the_other() -> None:
    """As the members of a chord do, whose last one enqueues the callback."""
    with cluster("a") as (a,):
        s, together = storage(a), threading.Barrier(4)
        seen = list[int]()

        def count() -> None:
            together.wait(SOON_S)
            with s.together():
                seen.append(s.incr("members"))

        workers = [Worker(count) for _ in range(4)]
        assert [worker.join() for worker in workers] == [None] * 4
        assert sorted(seen) == [1, 2, 3, 4]


def test_a_request_that_is_repeated_is_made_once() -> None:
    """Also by the next primary, which the client asks if the first one did not answer."""
    with cluster("a", "b") as (a, b):
        s = storage(a)
        s.put_data("k", b"v")
        calls: list[tuple[str, list[Any], object]] = [
            ("incr", ["n"], 1),
            ("pop_data", ["k"], b"v"),
            ("put_if_empty", ["lock", b"1"], True),
            ("enqueue", [b"task", 5], None),
            ("dequeue", [], b"task"),
        ]
        for number, (method, arguments, answer) in enumerate(calls, 1):
            for _ in range(2):
                assert s.answer(b"client", number, method, arguments, {}) == answer
        assert s.answer(b"other", 1, "incr", ["n"], {}) == 2
        assert s.queue_size() == 0
        new = change_roles(a, b)
        assert new.answer(b"other", 1, "incr", ["n"], {}) == 2
        assert new.answer(b"other", 2, "incr", ["n"], {}) == 3
        assert new.answer(b"client", 5, "dequeue", [], {}) == b"task"


def test_requests_of_clients_that_are_gone_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was silent for longest goes first."""
    monkeypatch.setattr("huey_ha.unit.CLIENTS_MAX", 2)
    with cluster("a") as (a,):
        s = storage(a)
        for number, client in enumerate((b"1", b"2", b"1", b"3"), 1):
            s.answer(client, number, "incr", ["n"], {})
        assert sorted(a.sync.table("huey.requests")) == [b"1", b"3"]


def test_an_outcome_that_cannot_be_stored_makes_a_dead_letter_of_its_task() -> None:
    """It is executed again a few times, and does not stay in the way of others."""
    with cluster("a", "b") as (a, _):
        huey = huey_on(storage(a))
        executions = list[int]()

        @huey.task()
        def large() -> bytes:
            executions.append(1)
            return bytes(9 << 20)  # More than a message may have.

        @huey.task()
        def small() -> int:
            return 1

        with executing(huey):
            large()
            assert small().get(blocking=True, timeout=SOON_S) == 1
            soon(lambda: a.sync.queue("huey.dead").depth)
        assert len(executions) == 3
        assert len(huey) == 0


def test_tasks_leave_the_schedule_and_enter_the_queue_together() -> None:
    with cluster("a", "b") as (a, _):
        s = storage(a)
        s.add_to_schedule(b"1", PAST)
        with s.together():
            assert s.read_schedule(PAST) == [b"1"]
            assert s.read_schedule(PAST) == []
            s.enqueue(b"1")
            assert s.schedule_size() == 1
        assert s.schedule_size() == 0 and s.enqueued_items() == [b"1"]


def test_a_task_waits_for_another_one_that_it_has_enqueued() -> None:
    """What a task changes while it runs is not kept back until its end."""
    with cluster("a", "b") as (a, _):
        huey = huey_on(storage(a))

        @huey.task()
        def inner() -> int:
            return 5

        @huey.task()
        def outer() -> int:
            found: int = inner().get(blocking=True, timeout=SOON_S)
            return found + 1

        with executing(huey):
            assert outer().get(blocking=True, timeout=SOON_S) == 6


def test_clients_go_on_to_the_primary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="no cluster file"):
        ClusterStorage()
    with cluster("a", "b") as (a, b):
        first, second = storage(a), ReplicatedStorage(node=b)
        with serving(first) as one, serving(second) as two:
            (tmp_path / "qpidha.toml").write_text(
                f'cluster = "x"\nrecord.url = "r"\n'
                f'[nodes.b]\naddresses = "h:1"\nstore = "b"\nclient_address = "127.0.0.1:{two}"\n'
                f'[nodes.a]\naddresses = "h:2"\nstore = "a"\nclient_address = "127.0.0.1:{one}"\n'
            )
            client = ClusterStorage()
            client.put_if_empty(key="k", value=b"v", ttl=1000)
            assert client.peek_many(["k", "none"]) == {"k": b"v"}
            client.add_to_schedule(b"task", PAST)
            with pytest.raises(Refused, match="must be"):
                client.enqueue(5)
            with pytest.raises(Refused, match="no method promoted"):
                client._call("promoted", (), {})
            a.sync.demote(timeout_s=SOON_S)
            first.demoted()
            with pytest.raises(ConnectionError, match="no primary answers"):
                ClusterStorage(patience=0.2).queue_size()
            b.sync.promote(timeout_s=SOON_S)
            second.promoted()
            assert client.read_schedule(PAST) == [b"task"]
            client.close()


@pytest.mark.parametrize(
    "error", [NodeStopped("it has stopped"), InDoubt("who knows"), StoreFailed("a disk")]
)
def test_what_is_not_known_to_be_refused_is_not_answered(tmp_path: Path, error: Exception) -> None:
    """A node that stops has not refused anything: the client asks the next one."""

    class Ending(ReplicatedStorage):
        def enqueue(self, data: bytes, priority: float | None = None) -> None:
            raise error

    with cluster("a") as (a,), serving(Ending(node=a)) as port:
        file = tmp_path / "qpidha.toml"
        file.write_text(
            f'cluster = "x"\nrecord.url = "r"\n'
            f'[nodes.a]\naddresses = "h:1"\nstore = "a"\nclient_address = "127.0.0.1:{port}"\n'
        )
        client = ClusterStorage(cluster=str(file), patience=0.2)
        with pytest.raises(ConnectionError, match="no primary answers"):
            client.enqueue(b"task")
        client.close()


@pytest.mark.parametrize(
    "garbage", [b"\xc1", b"\x05", b"\x92\x01\x02", b"\xc7\x01\x02x", b"\x95\xa1c\x01\x05\x90\x80"]
)
def test_what_is_no_request_ends_the_connection(garbage: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a word, also to the operator."""
    with (
        cluster("a") as (a,),
        serving(storage(a)) as port,
        socket.create_connection(("127.0.0.1", port), timeout=SOON_S) as link,
    ):
        link.sendall(garbage)
        link.shutdown(socket.SHUT_WR)
        answer = link.recv(1000)
    assert answer == b"" or b"no method" in answer
    assert "Traceback" not in capsys.readouterr().err


@contextmanager
def serving(made: ReplicatedStorage) -> Iterator[int]:
    """The port of a storage."""
    port = Port(("127.0.0.1", 0), made)
    try:
        yield port.server_address[1]
    finally:
        port.shutdown()
        port.server_close()
