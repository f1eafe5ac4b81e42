"""The machines and each fault between them do what their names say."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machines import runs
from tests.machines.forwarder import Quality
from tests.machines.host import Host
from tests.machines.network import Network
from tests.machines.requirements import kernel_lacks, require_machines

pytestmark = [pytest.mark.network, pytest.mark.processes]
ROOT = Path(__file__).resolve().parents[2]
PORT = 4000
TIMEOUT_S = 20.0
SILENT_S = 0.15
"""How long nothing must arrive for it to count as dropped."""


@pytest.fixture(scope="module")
def pair(network: Network) -> tuple[Host, Host]:
    """Two machines; the cable of the second one can delay."""
    return network.host("a"), network.host("b", far=True)


@pytest.fixture
def mended(network: Network) -> Iterator[Network]:
    """The network, whose faults end with the test."""
    yield network
    network.mend()


@contextlib.contextmanager
def connected(
    client: Host, server: Host, *, version: int = 4
) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A TCP connection between two machines: the client's end and the server's. This thread has both."""
    family, address = (socket.AF_INET, server.ipv4) if version == 4 else (socket.AF_INET6, server.ipv6)
    with server.entered():
        listening = socket.create_server((address, PORT), family=family)
    with listening:
        with client.entered():
            near = socket.create_connection((address, PORT), TIMEOUT_S)
        far, _ = listening.accept()
        with near, far:
            far.settimeout(TIMEOUT_S)
            yield near, far


def arrives(
    sender: socket.socket, receiver: socket.socket, data: bytes = b"x", wait_s: float = TIMEOUT_S
) -> bool:
    """Whether the other end receives this, and not what was sent before."""
    receiver.settimeout(wait_s)
    got = b""
    sender.sendall(data)
    try:
        while len(got) < len(data):
            got += receiver.recv(len(data) - len(got))
    except TimeoutError:
        return False
    except OSError as error:
        if error.errno in (errno.EHOSTUNREACH, errno.ETIMEDOUT):
            return False
        raise
    return got == data


@pytest.mark.parametrize("version", [4, 6])
def test_machines_reach_one_another(pair: tuple[Host, Host], version: int) -> None:
    with connected(*pair, version=version) as (near, far):
        assert arrives(near, far, b"there") and arrives(far, near, b"back")


def test_a_thread_is_on_a_machine_only_within_the_block(pair: tuple[Host, Host]) -> None:
    def interfaces() -> list[str]:
        return [name for _, name in socket.if_nameindex()]

    before = interfaces()
    with pair[0].entered():
        assert interfaces() == ["lo", "eth0"] or set(interfaces()) >= {"lo", "eth0"}
        with pair[1].entered():
            assert "eth0" in interfaces()
    assert interfaces() == before


def test_a_cut_drops_both_ways_until_it_is_mended(pair: tuple[Host, Host], mended: Network) -> None:
    with connected(*pair) as (near, far):
        assert arrives(near, far)
        mended.cut("a", "b")
        assert not arrives(near, far, wait_s=SILENT_S) and not arrives(far, near, wait_s=SILENT_S)
        mended.mend()
        assert arrives(near, far) and arrives(far, near)


def test_a_cut_of_one_way_drops_that_way(pair: tuple[Host, Host], mended: Network) -> None:
    with connected(*pair) as (near, far):
        mended.cut_one_way("b", "a")
        assert arrives(near, far)  # It is not acknowledged.
        assert not arrives(far, near, wait_s=SILENT_S)
        mended.mend()
        assert arrives(far, near)


def test_a_cut_between_some_leaves_the_others_alone(pair: tuple[Host, Host], mended: Network) -> None:
    third = mended.host("c")
    mended.cut(["a"], ["b"])
    with connected(pair[0], third) as (near, far):
        assert arrives(near, far)
    with connected(third, pair[1]) as (near, far):
        assert arrives(near, far)
        mended.cut(["c"])
        assert not arrives(near, far, wait_s=SILENT_S)


def test_one_family_of_addresses_is_cut(pair: tuple[Host, Host], mended: Network) -> None:
    for version in (4, 6):
        with connected(*pair, version=4) as (near4, far4):
            mended.cut_family("a", version)
            assert arrives(near4, far4, wait_s=TIMEOUT_S if version == 6 else SILENT_S) == (version == 6)
        if version == 4:
            with connected(*pair, version=6) as (near6, far6):
                assert arrives(near6, far6)
        mended.mend()


def test_large_packets_are_swallowed_and_small_ones_pass(pair: tuple[Host, Host], mended: Network) -> None:
    with connected(*pair) as (near, far):
        mended.swallow_large("a", "b")
        assert arrives(near, far, b"small")
        assert not arrives(near, far, b"x" * 1400, wait_s=SILENT_S)
        mended.mend()
        far.settimeout(TIMEOUT_S)
        assert far.recv(1)


def test_a_lossy_cable_loses_some_packets(pair: tuple[Host, Host], mended: Network) -> None:
    def received(count: int) -> int:
        with pair[1].entered():
            target = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with pair[0].entered():
            source = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with target, source:
            target.bind(("", PORT))
            target.settimeout(0.3)
            got = 0
            for _ in range(count // 20):
                for _ in range(20):
                    source.sendto(b"x", (pair[1].ipv4, PORT))
                with contextlib.suppress(TimeoutError):
                    for _ in range(20):
                        target.recv(10)
                        got += 1
            return got

    with connected(*pair):  # Both know the other's address from here on.
        pass
    assert received(40) == 40
    mended.lose("a", 50)
    assert 0 < received(40) < 40


def test_forgotten_connections_are_silent_and_new_ones_are_served(
    pair: tuple[Host, Host], mended: Network
) -> None:
    for _ in range(2):  # A machine may forget more than once.
        with connected(*pair) as (near, far):
            assert arrives(near, far)
            mended.forget_connections("a")
            assert not arrives(near, far, wait_s=SILENT_S) and not arrives(far, near, wait_s=SILENT_S)
        with connected(*pair, version=6) as (near, far):
            assert arrives(near, far) and arrives(far, near)
            mended.forget_connections("a")
            assert not arrives(near, far, wait_s=SILENT_S)
            mended.mend()
            assert arrives(far, near)


def test_a_slow_port_takes_its_time(pair: tuple[Host, Host], mended: Network) -> None:
    size = 60_000
    with connected(*pair) as (near, far):
        mended.slow_down("a", 1.0)
        began = time.monotonic()
        assert arrives(near, far, b"x" * size)
        assert time.monotonic() - began > (size - 20_000) * 8 / 1e6
        mended.mend()
        assert arrives(near, far, b"x" * size)


def test_a_machine_sees_that_its_cable_is_out(pair: tuple[Host, Host], mended: Network) -> None:
    def carrier() -> str:
        return "up" if "LOWER_UP" in pair[0].run("ip", "-br", "link", "show", "eth0") else "down"

    with connected(*pair) as (near, far):
        mended.unplug("a")
        assert carrier() == "down"
        assert not arrives(far, near, wait_s=SILENT_S)
        mended.mend()
        assert carrier() == "up"
        assert arrives(far, near)


def test_a_far_machine_is_later_by_the_delay(pair: tuple[Host, Host], mended: Network) -> None:
    with connected(*pair) as (near, far):
        mended.delay("b", Quality(delay_s=0.05))
        began = time.monotonic()
        assert arrives(near, far) and arrives(far, near)
        assert time.monotonic() - began >= 0.1


def test_frames_overtake_and_come_twice_and_streams_hold(pair: tuple[Host, Host], mended: Network) -> None:
    datagrams = [bytes([n]) for n in range(100)]
    with connected(*pair) as (near, far):
        mended.delay("b", Quality(delay_s=0.01, jitter_s=0.01, reordered=0.2, duplicated=0.2))
        data = os.urandom(100_000)
        assert arrives(near, far, data)
    with pair[1].entered():
        target = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with pair[0].entered():
        source = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with target, source:
        target.bind(("", PORT))
        target.settimeout(0.5)
        for datagram in datagrams:
            source.sendto(datagram, (pair[1].ipv4, PORT))
        got = []
        with contextlib.suppress(TimeoutError):
            while True:
                got.append(target.recv(10))
    assert len(got) > len(datagrams) and set(got) == set(datagrams)
    assert sorted(got) != got


# --- nothing is left ---------------------------------------------------------------------------------

MAKES = """
import subprocess, sys, time
from pathlib import Path
from tests.machines.network import Network
with Network() as network:
    host = network.host("left", far=True)
    sleeping = subprocess.Popen(host.command(["sleep", "600"]))
    print(network.name, sleeping.pid, flush=True)
    sys.stdin.read()
    if sys.argv[1] == "fail":
        raise SystemExit("failed")
"""


def make(how: str) -> tuple[subprocess.Popen[str], str, int]:
    """A process that makes a machine and waits: with the name of its run, and a process on the machine."""
    process = subprocess.Popen(
        [sys.executable, "-c", MAKES, how], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    name, pid = process.stdout.readline().split()
    assert runs.namespaces(name)
    return process, name, int(pid)


@pytest.mark.parametrize("how", ["end", "fail"])
def test_everything_is_taken_down(network: Network, how: str) -> None:
    process, name, pid = make(how)
    with process:
        process.communicate()
    assert not runs.namespaces(name) and runs.is_zombie(pid)
    assert (process.returncode != 0) == (how == "fail")
    assert runs.namespaces(network.name)


def test_what_a_killed_run_left_is_swept_and_what_a_living_one_has_is_not(network: Network) -> None:
    living, kept, sleeper = make("end")
    dead, left, orphan = make("end")
    with living, dead:
        dead.send_signal(signal.SIGKILL)
        dead.wait()
        assert runs.namespaces(left)
        assert left in runs.sweep()
        assert not runs.namespaces(left) and runs.is_zombie(orphan)
        assert runs.namespaces(kept) and not runs.is_zombie(sleeper)
        assert runs.namespaces(network.name)
        living.communicate()


def test_a_missing_power_of_the_kernel_is_named(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kernel_lacks() == ()
    monkeypatch.setattr(
        "tests.machines.requirements.RULES", "table bridge probe { chain x { numgen nonsense; } }"
    )
    assert "CONFIG_NF_TABLES_BRIDGE" in kernel_lacks()[0]
    monkeypatch.setattr("tests.machines.requirements.missing", lambda: ("no tap",))
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no tap"):
        require_machines()
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="no tap"):
        require_machines()
