"""The broker processes: started, killed with SIGKILL, started again, and never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qpidha.clusterfile.authority import make_certificates
from qpidha.demo.hosts import Hosts
from qpidha.engines.ports import free_ports
from qpidha.node.ask import ask
from qpidha.types import Address

STATUS_TIMEOUT_S = 1.0
STOP_TIMEOUT_S = 30.0
LOG_TAIL_LINES = 25


class BrokerProcess:
    """One broker: its own process group, one life after the other, all of them logged to one file."""

    def __init__(self, name: str, command: list[str], directory: Path, client: Address) -> None:
        self.name = name
        self.client = client
        self.log = directory.with_suffix(".log")
        self.lives = 0
        self._command = command
        self._control = directory / "control.sock"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def exit_code(self) -> int | None:
        """How the present life ended; None while it lasts."""
        return self._process.poll() if self._process else None

    def start(self) -> None:
        """Begin a life. Its standard input ends when this program does, however that ends."""
        package_root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, (package_root, os.environ.get("PYTHONPATH"))))
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 — our own command line.
                self._command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )
        self.lives += 1

    def kill(self) -> float:
        """SIGKILL the whole group; returns when that was."""
        at = time.monotonic()
        self._signal(signal.SIGKILL)
        return at

    def ask_to_stop(self) -> None:
        """Send SIGTERM."""
        self._signal(signal.SIGTERM)

    def wait(self, timeout_s: float) -> None:
        """Wait until the process is gone; kill it after the time-out."""
        process = self._process
        if process is None:
            return
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            process.wait()
        if process.stdin:
            process.stdin.close()

    def _signal(self, number: signal.Signals) -> None:
        # Not reaped yet, so the number cannot belong to another process group.
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    async def status(self) -> dict[str, Any] | None:
        """What the broker says of itself; None if it does not answer."""
        if self.exit_code is not None:
            return None
        try:
            answer = await ask(self._control, "status", timeout_s=STATUS_TIMEOUT_S)
        except (OSError, asyncio.TimeoutError, ValueError):
            return None
        status: dict[str, Any] | None = answer.get("status")
        return status

    def tail(self) -> str:
        """The end of its log, for a diagnosis."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()
        except OSError as error:
            return f"(no log: {error.strerror})"
        return "\n".join(lines[-LOG_TAIL_LINES:]) or "(empty)"


class Cluster:
    """All brokers of one demo. A context manager: on the way out every process is gone."""

    def __init__(
        self,
        broker: Path,
        work: Path,
        nodes: int,
        *,
        memory: bool,
        records: str | None = None,
        hosts: Hosts | None = None,
    ) -> None:
        """Nothing is started yet.

        Args:
            broker: The example broker.
            work: Where stores and logs go.
            nodes: How many brokers.
            memory: Without disks.
            records: The URL of the record. None: it is kept in a directory.
            hosts: Where each broker is given a host. None: all are on the loopback interface.
        """
        self.processes: dict[str, BrokerProcess] = {}
        self.hosts = hosts
        names = [node_name(number) for number in range(nodes)]
        places = on_hosts(hosts, names, work) if hosts else on_loopback(names)
        for number, (name, place) in enumerate(zip(names, places, strict=True)):
            directory = work / name
            command = [
                *place.wrapper, sys.executable, str(broker), "--id", name, "--dir", str(directory),
                "--cluster", records or str(work / "cluster"), "--listen", place.listen,
                "--client", f"{place.client[0]}:{place.client[1]}", "--priority", str(nodes - number), "--until-eof",
                *place.options,
            ]  # fmt: skip
            command += ["--memory"] if memory else []
            self.processes[name] = BrokerProcess(name, command, directory, place.client)

    @property
    def addresses(self) -> list[Address]:
        """Where clients look for the primary."""
        return [process.client for process in self.processes.values()]

    def start(self) -> None:
        """Start the processes of all nodes."""
        for process in self.processes.values():
            process.start()

    def stop(self) -> list[str]:
        """Ask all to stop, the primary's backups last; returns the names of those that did not do it well."""
        for process in self.processes.values():
            process.ask_to_stop()
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for process in self.processes.values():
            process.wait(max(0.1, deadline - time.monotonic()))
        return [name for name, process in self.processes.items() if process.exit_code]

    def dead(self) -> dict[str, int]:
        """Exit codes of brokers that ended without being killed by us, who always wait for those."""
        codes = {name: process.exit_code for name, process in self.processes.items()}
        return {name: code for name, code in codes.items() if code is not None and code != -signal.SIGKILL}

    async def statuses(self) -> dict[str, dict[str, Any] | None]:
        """What each says of itself, asked at the same time."""
        found = await asyncio.gather(*(process.status() for process in self.processes.values()))
        return dict(zip(self.processes, found, strict=True))

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait(STOP_TIMEOUT_S)


@dataclass(frozen=True)
class Place:
    """Where a broker is."""

    client: Address
    listen: str
    wrapper: tuple[str, ...] = ()
    """What comes before its command line."""
    options: tuple[str, ...] = ()


def on_loopback(names: list[str]) -> list[Place]:
    """A place on the loopback interface for each broker."""
    ports = free_ports()
    return [Place(("127.0.0.1", next(ports)), "127.0.0.1:0") for _ in names]


def on_hosts(hosts: Hosts, names: list[str], work: Path) -> list[Place]:
    """A host for each broker, and a certificate: links between hosts are TLS."""
    addresses = [hosts.add(name) for name in names]
    folder = work / "certificates"
    make_certificates(folder, "demo", {name: [] for name in names})
    places = []
    for name, address in zip(names, addresses, strict=True):
        both = folder / f"{name}.both"
        both.touch(mode=0o600)
        both.write_text((folder / f"{name}.pem").read_text() + (folder / f"{name}.key").read_text())
        options = ("--tls-ca", str(folder / "ca.pem"), "--tls-certificate", str(both))
        places.append(Place((address, 5672), f"{address}:5671", tuple(hosts.wrapper(name)), options))
    return places


def node_name(number: int) -> str:
    """a, b, c … z, n26, n27 …."""
    return chr(ord("a") + number) if number < 26 else f"n{number}"
