"""huey's own interface, and a primary that is killed again and again: an exact ledger.

Method: three real processes, which execute the tasks of `tests.huey.app`. While their primary is killed five times,
threads here enqueue tasks of each kind and take their results: each is there, and right. What is counted is counted
once, however often a task was executed or a request repeated. Tasks are executed at least once, and few of them twice.
"""

from __future__ import annotations

import importlib
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huey import chord

from tests.huey.servers import Servers, until
from tests.support.rush import rush

KILLS = 5
PER_KILL = 40
"""Results that each thread takes between two kills, at least."""
RESULT_S = 60.0
SCHEDULED = 60


class Client(threading.Thread):
    """Enqueues a task, takes its result, and goes on with the next number."""

    def __init__(self, ask: Callable[[int], Any], answer: Callable[[int], Any]) -> None:
        super().__init__(daemon=True)
        self.last = 0
        self.wrong: list[tuple[int, Any]] = []
        self.error: BaseException | None = None
        self.over = False
        self._ask, self._answer = ask, answer

    def run(self) -> None:
        try:
            while not self.over:
                found = self._ask(self.last + 1)
                if found != self._answer(self.last + 1):
                    self.wrong.append((self.last + 1, found))
                self.last += 1
        except BaseException as error:
            self.error = error
            raise


def result(handle: Any) -> Any:
    return handle.get(blocking=True, timeout=RESULT_S, backoff=1.0, max_delay=0.05)


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.timeout(280)
def test_five_kills_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUEY_DIARY", str(tmp_path / "diary"))
    with Servers(tmp_path, "tests.huey.app.huey") as servers:
        monkeypatch.setenv("QPIDHA_CLUSTER", str(servers.file))
        app = importlib.import_module("tests.huey.app")
        servers.start()
        until(servers.in_sync)
        storage = app.huey.storage
        scheduled = [app.square.schedule((n,), delay=1 + n % 30) for n in range(SCHEDULED)]
        untouched = app.square.schedule((0,), delay=1000)
        storage.put_data("kept", b"value")
        clients = [
            Client(lambda n: result(app.square(n)), lambda n: n * n),
            Client(lambda n: result(app.urgent(n)), lambda n: -n),
            Client(lambda n: result(app.flaky(n)), lambda n: n),
            Client(
                lambda n: result(app.huey.enqueue(chord([app.square.s(n), app.square.s(1)], app.total))),
                lambda n: n * n + 1,
            ),
            Client(lambda n: result(app.locked(n)), lambda n: n),
            Client(lambda n: storage.incr("counted"), lambda n: n),
        ]
        for client in clients:
            client.start()
        try:
            kill(servers, clients)
            for client in clients:
                client.over = True
            for client in clients:
                client.join(RESULT_S)
            assert [client.error for client in clients] == [None] * len(clients)
            assert [client.wrong for client in clients] == [[]] * len(clients)
            assert [result(handle) for handle in scheduled] == [n * n for n in range(SCHEDULED)]
            until(lambda: len(app.huey) == 0)
        except BaseException as error:
            raise AssertionError(f"{error}\n{[c.last for c in clients]}\n{servers.logs()}") from error
        check_state(app, clients, untouched)
        check_diary((tmp_path / "diary").read_text().splitlines(), clients)
        print(*(client.last for client in clients))


def kill(servers: Servers, clients: list[Client]) -> None:
    for _ in range(KILLS):
        before = [client.last for client in clients]
        until(lambda before=before: all(c.last >= b + PER_KILL for c, b in zip(clients, before, strict=True)))  # type: ignore[misc]
        servers.kill_primary()


def check_state(app: Any, clients: list[Client], untouched: Any) -> None:
    """Nothing is there that should not be, and what nobody took still is."""
    storage = app.huey.storage
    assert storage.peek_data("kept") == b"value"
    assert [task.id for task in app.huey.scheduled()] == [untouched.id]
    assert storage.incr("counted", 0) == clients[-1].last
    counts = [storage.incr(f"failures {n}", 0) for n in range(1, clients[2].last + 1)]
    assert set(counts) <= {3, 4}
    assert sum(counts) - 3 * len(counts) <= KILLS, "only a task that a kill interrupted is executed once more"
    ours = {key for key in storage.result_items() if "chord" in key or key == "kept"}
    assert ours == {"kept"}, "what a chord counts is cleared when it is complete"


def check_diary(executions: list[str], clients: list[Client]) -> None:
    """Each task was executed, and only those that a kill has interrupted more than once."""
    counted = Counter(executions)
    assert {n for n in range(1, clients[1].last + 1) if counted[f"urgent {n}"]} == set(
        range(1, clients[1].last + 1)
    )
    again = sum(counted[f"urgent {n}"] - 1 for n in range(1, clients[1].last + 1))
    assert again <= KILLS, "one client has one task under way"


@pytest.mark.processes
def test_all_clients_connect_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUEY_DIARY", str(tmp_path / "diary"))
    with Servers(tmp_path, "tests.huey.app.huey", "a") as servers:
        servers.start()
        process = servers.processes[until(servers.primary)]._process
        assert process is not None
        rush(process.pid, servers.addresses[0])
