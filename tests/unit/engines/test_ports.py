"""Free ports: nobody else gets one before its server has it."""

from __future__ import annotations

import random
import socket
import subprocess
import sys

import pytest

from qpidha.engines import ports
from qpidha.engines.ports import HELD_MAX, free_ports, take_ports


@pytest.fixture(autouse=True)
def few_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few that two searches would choose the same ones."""
    first = take_ports(1)[0]
    monkeypatch.setattr(ports, "PORTS", range(first - first % 300, first - first % 300 + 300))


def listening(port: int) -> socket.socket:
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", port))
    server.listen()
    return server


def test_a_port_is_not_given_out_again_to_this_or_another_process() -> None:
    mine = set(take_ports(40))
    assert len(mine) == 40
    assert not mine & set(take_ports(40))
    program = f"""
import random
from qpidha.engines import ports
ports.PORTS = {ports.PORTS!r}
print(*ports.take_ports(100))
"""
    theirs = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout.split()
    assert len(theirs) == 100
    assert not mine & set(map(int, theirs))


def test_a_server_can_listen_on_its_port_and_again_after_its_end() -> None:
    (port,) = take_ports(1)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    for _ in range(2):
        with listening(port), socket.create_connection(("127.0.0.1", port), timeout=10):
            pass


def test_a_port_on_which_a_server_listens_is_passed_over() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        busy = server.getsockname()[1]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ports, "PORTS", range(busy, busy + 1))
            with pytest.raises(OSError, match="no free port"):
                next(free_ports())


def test_a_seed_of_the_common_generator_does_not_choose_the_port() -> None:
    def chosen() -> list[int]:
        random.seed(7)
        return take_ports(8)

    assert chosen() != chosen()


def test_ports_are_held_for_a_while_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "PORTS", range(10_000, 30_000))
    first = take_ports(HELD_MAX + 1)[0]
    with socket.socket() as other:
        other.bind(("127.0.0.1", first))
