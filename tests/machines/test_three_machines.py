"""The page about three machines, followed to the letter: every command of it runs, where the page says.

The machines have one file system. So each command sees directories of its own machine at the two places that the page
uses, in the mount namespace that ``ip netns exec`` makes, and ``scp`` is a script that copies between those directories.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.engines.server import require
from tests.machines.host import Host
from tests.machines.network import Network
from tests.machines.requirements import require_machines

pytestmark = [pytest.mark.network, pytest.mark.processes, pytest.mark.external]

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/three-machines.md"
STEP = re.compile(
    r"<!-- (?P<how>(?:not )?run[^\n]*?): (?P<where>[^\n]*?) -->\n```sh\n(?P<command>.*?)```", re.DOTALL
)
PLACES = {"/etc/qpidha": "etc", "/var/lib/qpidha": "var"}
SCP = """#!/bin/sh -e
test "$1" = -p; shift
for target; do :; done
while [ $# -gt 1 ]; do
    cp -p "$1" "{root}/${{target%%:*}}/etc/${{target#*:/etc/qpidha}}"
    shift
done
"""
UNTIL_S = 60.0


@dataclass(frozen=True)
class Step:
    """One block of the page."""

    machines: tuple[str, ...]
    command: str
    background: bool
    until: str
    if_refused: str


def steps() -> Iterator[Step]:
    """All blocks that are run, in their order."""
    text = PAGE.read_text()
    assert len(STEP.findall(text)) == text.count("```sh"), "a block without a word on where it runs"
    for how, where, command in STEP.findall(text):
        if how.startswith("not run"):
            continue
        machines, _, condition = where.partition("; ")
        word, _, expected = condition.partition(": ")
        assert word in ("", "until", "if refused"), condition
        yield Step(
            tuple("abc") if machines == "each" else (machines,),
            command,
            "background" in how,
            expected if word == "until" else "",
            expected if word == "if refused" else "",
        )


class Machines:
    """Runs the commands of the page."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.folder = folder
        self.hosts: dict[str, Host] = {name: network.host(name) for name in "abc"}
        self.processes: list[subprocess.Popen[bytes]] = []
        for host in self.hosts.values():
            for place in PLACES.values():
                (self.root(host) / place).mkdir(parents=True)
        programs = folder / "bin"
        programs.mkdir()
        (programs / "scp").write_text(SCP.format(root=folder))
        (programs / "scp").chmod(0o755)
        self.path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])

    def root(self, host: Host) -> Path:
        """The directories of a machine, by the name that ``scp`` is given."""
        return self.folder / f"root@{host.ipv4}"

    def command(self, host: Host, text: str) -> list[str]:
        mounts = "".join(f"mount --bind '{self.root(host)}/{to}' {at}\n" for at, to in PLACES.items())
        variables = f"NODE={host.name} ADDRESS={host.ipv4}\ncd '{ROOT}'\nexport PATH='{self.path}'\n"
        return host.command(["sh", "-ec", mounts + variables + text])

    def run(self, host: Host, text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(host, text), capture_output=True, text=True, timeout=100)

    def perform(self, step: Step) -> None:
        for name in step.machines:
            host = self.hosts[name]
            if step.background:
                with open(self.folder / f"{name}.log", "ab") as log:
                    words = [
                        "setpriv",
                        "--pdeathsig",
                        "KILL",
                        "--",
                        *self.command(host, "exec " + step.command),
                    ]
                    self.processes.append(
                        subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
                    )
                continue
            deadline = time.monotonic() + UNTIL_S
            while True:
                done = self.run(host, step.command)
                said = done.stdout + done.stderr
                if step.until in said if step.until else done.returncode == 0:
                    break
                if step.if_refused and step.if_refused in said:
                    break
                assert step.until and time.monotonic() < deadline, (
                    f"on {name}: {step.command}\n{said}\n{self.logs()}"
                )
                time.sleep(0.2)

    def logs(self) -> str:
        """The ends of all logs."""
        return "\n".join(f"--- {log.name}\n{log.read_text()[-2000:]}" for log in self.folder.glob("*.log"))

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@contextmanager
def places() -> Iterator[None]:
    """The two directories are there, as places to mount on. What was not there before is gone afterwards."""
    made = [Path(place) for place in PLACES if not Path(place).exists()]
    for place in made:
        place.mkdir()
    try:
        yield
    finally:
        for place in made:
            place.rmdir()


def test_the_page_is_followed_to_the_letter(tmp_path: Path) -> None:
    require_machines()
    require("etcd", "etcd-server")
    require("openssl", "openssl")
    with places(), Network() as network:
        machines = Machines(network, tmp_path)
        try:
            assert {host.ipv4 for host in machines.hosts.values()} <= set(PAGE.read_text().split())
            for step in steps():
                machines.perform(step)
        finally:
            machines.close()
