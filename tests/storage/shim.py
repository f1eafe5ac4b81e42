"""Python side of `shim.c`: compiles it, runs workloads under it, reads their traces.

A `Bench` is one process with the shim preloaded that forks for each run, so that a run costs milliseconds.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

SOURCE = Path(__file__).with_name("shim.c")
ROOT = Path(__file__).resolve().parents[2]
HEAD = struct.Struct("=BBBBiQQQII")


class Op(IntEnum):
    """Kinds of calls, numbered as in `shim.c`. SAY is not a call, but a line that the workload adds to the trace."""

    SAY = 0
    OPEN = 1
    CLOSE = 2
    READ = 3
    WRITE = 4
    TRUNCATE = 5
    SYNC = 6
    UNLINK = 7
    RENAME = 8
    MKDIR = 9
    STAT = 10
    LOCK = 11
    MAP = 12


class Action(IntEnum):
    """What happens to a call that a fault hits."""

    NONE = 0
    FAIL = 1
    SHORT = 2
    """Half of the data is written; the next write finds the disk full."""
    LOSE = 3
    """Nothing is done, and the call reports success."""
    KILL = 4
    STOP = 5


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault hits calls of these kinds whose number, counted over all calls, is in the range."""

    action: Action = Action.NONE
    error: int = 0
    at: int = 1
    until: int = 1 << 62
    ops: tuple[Op, ...] = tuple(Op)

    def job(self) -> dict[str, int]:
        which = sum(1 << op for op in self.ops)
        return {
            "action": self.action, "error": self.error, "at": self.at, "until": self.until, "which": which
        }  # fmt: skip


NO_FAULT = Fault()


@dataclass(frozen=True, slots=True)
class Call:
    """One line of a trace. Names are relative to the directory that was watched."""

    op: Op
    hit: Action
    name: str
    name2: str
    inode: int
    offset: int
    """Offset of a write, or flags of an open."""
    size: int
    error: int
    existed: bool
    data: bytes

    @property
    def happened(self) -> bool:
        return self.error == 0 and self.hit is not Action.LOSE

    @property
    def words(self) -> tuple[str, ...]:
        """The words of a line that the workload added."""
        return tuple(self.name.split(" ", 2))


def say(trace: int, text: str) -> None:
    """Add a line to the trace, between the calls; used by workloads."""
    raw = text.encode()[:255]
    os.write(trace, HEAD.pack(Op.SAY, 0, len(raw), 0, 0, 0, 0, 0, 0, 0) + raw)


def read_trace(path: Path) -> list[Call]:
    return list(_calls(path.read_bytes()))


def _calls(raw: bytes) -> Iterator[Call]:
    at = 0
    while at < len(raw):
        op, hit, len1, len2, error, inode, offset, size, data_len, existed = HEAD.unpack_from(raw, at)
        at += HEAD.size
        ends = (at, at + len1, at + len1 + len2, at + len1 + len2 + data_len)
        parts = [raw[a:b] for a, b in pairwise(ends)]
        name, name2 = (part.decode("utf-8", "replace") for part in parts[:2])
        yield Call(Op(op), Action(hit), name, name2, inode, offset, size, error, bool(existed), parts[2])
        at = ends[-1]


def compiler() -> str | None:
    return next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)


def compile_shim(to: Path) -> Path:
    cc = compiler()
    assert cc is not None, "no C compiler found; the build of the package needs one too"
    library = to / "shim.so"
    subprocess.run([cc, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"], check=True)
    return library


class Bench:
    """Runs workloads (`tests.storage.workload`) under the shim, one at a time."""

    def __init__(self, library: Path, scratch: Path) -> None:
        self._scratch = scratch
        environment = {**os.environ, "LD_PRELOAD": str(library)}
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.storage.workload"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=ROOT, text=True,
        )  # fmt: skip

    def __enter__(self) -> Bench:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(10)
        self._server.stdout.close()

    def run(
        self, workload: str, directory: Path, fault: Fault = NO_FAULT, *, sabotage: str = ""
    ) -> list[Call]:
        """Run a workload until it ends or dies, and return the trace."""
        for trace in self.stops(workload, directory, fault, sabotage=sabotage):
            raise AssertionError(f"it stopped after {len(trace)} calls")
        return self.trace()

    def stops(
        self, workload: str, directory: Path, fault: Fault, *, sabotage: str = ""
    ) -> Iterator[list[Call]]:
        """Like `run`, but yield each time `Action.STOP` has stopped the workload; it then continues."""
        self._path.unlink(missing_ok=True)
        job = {"workload": workload, "directory": str(directory), "trace": str(self._path)}
        answer = self._ask({**job, "sabotage": sabotage, **fault.job()})
        while answer["stopped"]:
            yield self.trace()
            answer = self._ask({"continue": True})
        self.signal = answer["signal"]

    @property
    def _path(self) -> Path:
        return self._scratch / "trace"

    def trace(self) -> list[Call]:
        return read_trace(self._path)

    def _ask(self, job: dict[str, Any]) -> dict[str, Any]:
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.write(json.dumps(job) + "\n")
        self._server.stdin.flush()
        line = self._server.stdout.readline()
        assert line, "the server that runs the workloads has died"
        answer: dict[str, Any] = json.loads(line)
        return answer
