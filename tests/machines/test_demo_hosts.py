"""The demonstration with a host for each broker: a kill, a host that is cut off, and nothing left behind."""

from __future__ import annotations

import argparse
import errno
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from qpidha.demo import hosts, run
from tests.engines.server import require
from tests.machines.requirements import require_machines

pytestmark = [pytest.mark.network, pytest.mark.processes, pytest.mark.external]


@pytest.fixture(autouse=True)
def _machines() -> None:
    require_machines()


def of(pid: int) -> list[str]:
    """The namespaces of the demonstration in a process."""
    return [entry.name for entry in hosts.NAMESPACES.glob(f"qpidha-demo-{pid}-*")]


def test_nothing_is_lost_when_the_host_of_the_primary_is_cut_off(tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes(b"".join(b"%d\n" % n for n in range(2000)))
    before = os.readlink("/proc/thread-self/ns/net")
    parser = argparse.ArgumentParser()
    run.add_arguments(parser)
    require("etcd", "etcd-server")
    words = [
        "--hosts",
        "--records",
        "etcd",
        "--kills",
        "2",
        "--input",
        str(tmp_path / "lines"),
        "--out",
        str(tmp_path / "out"),
    ]
    assert run.main(parser.parse_args(words)) == 0
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["verdict"] == "nothing lost"
    assert [kill["cut_off"] for kill in report["kills"]] == [False, True]
    assert os.readlink("/proc/thread-self/ns/net") == before
    assert of(os.getpid()) == []


def test_a_host_that_is_cut_off_is_not_reached() -> None:
    with hosts.Hosts() as made:
        address = made.add("a")

        def refuses() -> bool:
            """Whether the system there answers: nobody listens."""
            with socket.socket() as probe:
                probe.settimeout(1.0)
                return probe.connect_ex((address, 9)) == errno.ECONNREFUSED

        def refuses_in_the_end() -> bool:
            """A first packet may be late on a busy machine, or get lost before the bridge knows the way."""
            return any(refuses() for _ in range(20))

        assert refuses_in_the_end()
        made.cut("a")
        assert not refuses()
        made.mend("a")
        assert refuses_in_the_end()
    made.close()
    assert of(os.getpid()) == []


def test_what_a_killed_demonstration_left_is_removed() -> None:
    program = (
        "import os; from qpidha.demo.hosts import Hosts; h = Hosts().__enter__(); h.add('a'); os._exit(9)"
    )
    killed = subprocess.Popen([sys.executable, "-c", program])
    assert killed.wait() == 9
    assert len(of(killed.pid)) == 2
    with hosts.Hosts():
        assert of(killed.pid) == []
