"""The AMQP broker under a service manager: it says when it is ready, that it is alive, and hands over before it stops."""

from __future__ import annotations

import socket
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from qpidha.demo.cluster import BrokerProcess
from tests.amqp.brokers import Brokers, until
from tests.support.rush import rush


class Manager:
    """The socket of a service manager, for one broker."""

    def __init__(self, process: BrokerProcess, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self._said: list[str] = []
        process._command[:0] = ["env", f"NOTIFY_SOCKET={path}", "WATCHDOG_USEC=400000"]

    def said(self) -> list[str]:
        """All lines so far."""
        try:
            while True:
                self._said += self._socket.recv(65536).decode().split("\n")
        except BlockingIOError:
            return self._said

    def close(self) -> None:
        self._socket.close()


@pytest.mark.processes
@pytest.mark.timeout(120)
def test_ready_alive_and_a_hand_over(tmp_path: Path) -> None:
    with Brokers(tmp_path / "nodes", 2, memory=True) as brokers, ExitStack() as stack:
        managers = {
            n: stack.enter_context(closing(Manager(p, tmp_path / f"{n}.notify")))
            for n, p in brokers.processes.items()
        }
        brokers.start()
        for manager in managers.values():
            until(lambda m=manager: {"READY=1", "WATCHDOG=1"} <= set(m.said()))
        first = until(brokers.primary)
        until(lambda: brokers.in_sync(1))
        brokers.processes[first].ask_to_stop()
        until(lambda: brokers.processes[first].exit_code is not None)
        assert brokers.processes[first].exit_code == 0, brokers.logs()
        told = managers[first].said()
        assert "STOPPING=1" in told and "STATUS=stopping: hands over" in told
        assert told.count("READY=1") == 1
        second = until(brokers.primary)
        assert second != first
        until(lambda: any(line.startswith("STATUS=active: serves") for line in managers[second].said()))
        assert brokers.processes[second].exit_code is None


@pytest.mark.processes
def test_all_clients_connect_at_once(tmp_path: Path) -> None:
    with Brokers(tmp_path, 1, memory=True) as brokers:
        brokers.start()
        process = brokers.processes[until(brokers.primary)]._process
        assert process is not None
        rush(process.pid, brokers.addresses[0])
        brokers.connect().close()
