"""The datagrams of sd_notify: to a path or an abstract address; a manager that is gone stops nobody."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from qpidha.service.notify import Notifier, address_of, watchdog_of


@pytest.mark.parametrize("abstract", [False, True])
def test_it_tells(tmp_path: Path, abstract: bool) -> None:
    name = f"@qpidha-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0", 1) if abstract else name)
        notifier = Notifier({"NOTIFY_SOCKET": name})
        assert notifier.managed
        notifier.tell(READY=1, STATUS="node\nREADY=0\x1b é")
        assert manager.recv(1000).decode() == "READY=1\nSTATUS=node READY=0  é"
    notifier.tell(READY=1)
    assert notifier.failures == 1


def test_a_manager_that_does_not_read_is_not_waited_for(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        while not notifier.failures:
            notifier.tell(STATUS="x" * 1000)


def test_without_a_manager_nothing_is_said() -> None:
    notifier = Notifier({"WATCHDOG_USEC": "1000000"})
    notifier.tell(READY=1)
    assert (notifier.managed, notifier.failures, notifier.watchdog_s) == (False, 0, None)


@pytest.mark.parametrize("text", ["", "@", "relative", "vsock:2:1234"])
def test_addresses_that_are_not_usable(text: str) -> None:
    assert address_of(text) is None


@pytest.mark.parametrize(
    ("usec", "pid", "found"),
    [("30000000", "", 30.0), ("500000", "own", 0.5), ("500000", "1", None), ("", "", None), ("0", "", None),
     ("-1", "", None), ("x", "", None), ("9" * 30, "", None)],
)  # fmt: skip
def test_the_time_of_the_watchdog(usec: str, pid: str, found: float | None) -> None:
    environment = {
        "NOTIFY_SOCKET": "/x",
        "WATCHDOG_USEC": usec,
        "WATCHDOG_PID": pid.replace("own", str(os.getpid())),
    }
    assert Notifier(environment).watchdog_s == watchdog_of(environment) == found
