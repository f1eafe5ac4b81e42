"""Measure many queues: declare them, join a fresh backup, fail over, start again, show the status.

    python -m benchmarks.queues 4000 16000 64000
    python -m benchmarks.queues --gc-freeze 100000      the same with gc_policy="freeze"

Three nodes in separate processes, on disk and over TCP on loopback, one message in each queue; the record is in
files, and the client of the status is this process. A stall is the longest of any node; which one it was is said too.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qpidha.node.ask import ask_blocking

STEPS = ("declare", "join", "failover", "status", "start")
SETTINGS: dict[str, Any] = {"ack_timeout_s": 60.0, "rejoin_timeout_s": 120.0}
"""Longer than the default: backups must not be removed because the measuring machine is busy."""
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Figure:
    """What one step took."""

    seconds: float
    stall_s: float
    """The longest stall of the event loop of any node meanwhile, by the clock."""
    stall_cpu_s: float
    """By the processor time of its thread, in which other processes and threads have no part."""
    nodes: dict[str, dict[str, float]]
    """The same by node, with the longest garbage collection and the processor time of the process."""


class Member:
    """A node in a separate process, which is ended on exit."""

    def __init__(self, name: str, base: Path, settings: dict[str, Any], *, memory: bool = False) -> None:
        self.name = name
        command = [sys.executable, "-m", "benchmarks.queuenode", name, str(base), json.dumps(settings)]
        command += ["memory"] if memory else []
        self._process = subprocess.Popen(
            command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def tell(self, *command: object) -> dict[str, Any]:
        """Have it do something, and wait until it is done."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"node {self.name} ended while it was told {command}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Let it end; after `stop` that is at once."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        try:
            self._process.wait(30.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


class Cluster:
    """The nodes of one measurement."""

    def __init__(self, base: Path, settings: dict[str, Any], *, memory: bool = False) -> None:
        self._base = base
        self._settings = settings
        self._memory = memory
        self.members: dict[str, Member] = {}

    def process(self, name: str) -> Member:
        member = self.members[name] = Member(name, self._base, self._settings, memory=self._memory)
        member.tell("worst")  # It has loaded its modules.
        return member

    def close(self, *names: str) -> None:
        for name in names or list(self.members):
            self.members.pop(name).close()

    def during(self, work: Callable[[], object]) -> Figure:
        for member in self.members.values():
            member.tell("worst")
        started = time.perf_counter()
        work()
        seconds = time.perf_counter() - started
        nodes = {name: member.tell("worst") for name, member in self.members.items()}
        worst = {key: max(of[key] for of in nodes.values()) for key in ("stall_s", "stall_cpu_s")}
        return Figure(round(seconds, 3), worst["stall_s"], worst["stall_cpu_s"], nodes)


def measure(count: int, **settings: Any) -> tuple[dict[str, Figure], dict[str, float]]:
    """All steps, with so many queues; and what the status of each node says of its worst stall."""
    with tempfile.TemporaryDirectory() as directory:
        cluster = Cluster(Path(directory), SETTINGS | settings)
        try:
            return _measured(cluster, count, Path(directory))
        finally:
            cluster.close()


def _measured(cluster: Cluster, count: int, base: Path) -> tuple[dict[str, Figure], dict[str, float]]:
    a, b = cluster.process("a"), cluster.process("b")
    a.tell("start")
    a.tell("promote")
    b.tell("start")
    b.tell("in_sync")
    found = {"declare": cluster.during(lambda: a.tell("declare", count))}
    c = cluster.process("c")
    found["join"] = cluster.during(lambda: (c.tell("start"), c.tell("in_sync")))
    found["failover"] = cluster.during(lambda: (a.tell("stop"), b.tell("promote"), b.tell("publish")))
    cluster.close("a")
    found["status"] = cluster.during(lambda: ask_blocking(base / "b.sock", "status", timeout_s=300.0))
    said = {name: member.tell("status")["loop_stall_worst_s"] for name, member in cluster.members.items()}
    c.tell("stop")
    cluster.close("c")
    again = cluster.process("c")
    found["start"] = cluster.during(lambda: again.tell("start"))
    return found, said


def once(count: int, step: str, part: str) -> Callable[[], float]:
    """For the table: one figure of a measurement that all rows of it share."""

    def run() -> float:
        if count not in _found or (step, part) in _seen:
            _found[count], _ = measure(count, gc_policy="freeze")
            _seen.clear()
        _seen.add((step, part))
        figure: float = getattr(_found[count][step], part)
        return figure

    return run


_found: dict[int, dict[str, Figure]] = {}
_seen: set[tuple[str, str]] = set()


def main(arguments: list[str]) -> int:
    settings = {"gc_policy": "freeze"} if "--gc-freeze" in arguments else {}
    for count in [int(size) for size in arguments if size.isdigit()] or [4_000, 16_000]:
        found, said = measure(count, **settings)
        for step, figure in found.items():
            sys.stdout.write(json.dumps({"queues": count, "step": step, **asdict(figure)}) + "\n")
        sys.stdout.write(json.dumps({"queues": count, "status of b, c": said}) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
