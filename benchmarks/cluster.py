"""Three example brokers as processes, and one pipelined client: the work that the peers are measured on.

A publish counts when the broker confirms it: when the primary and both backups hold it, in memory or,
with ``durable``, after an fsync on all three.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from qpidha import Batch
from qpidha.engines.ports import take_ports
from qpidha.node.ask import ask_blocking

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "examples" / "simple"))

from protocol import ACCEPT, CONFIRM, DELIVER, HEADER, PUBLISH, SUBSCRIBE, U32, U64, WELCOME  # noqa: E402 - after the path is set

NAMES = ("a", "b", "c", "d", "e", "f", "g", "h", "i")


def cpu_of(pid: int) -> float:
    """Processor time of a process so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def spent_by(pid: int) -> float:
    """Processor time of the first thread of a process so far, in seconds, to the nanosecond."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def memory_of(pid: int) -> int:
    """Resident bytes of a process that belong to it alone."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")


class Brokers:
    """A primary and its backups as processes. Stopped and removed on exit."""

    def __init__(self, *, durable: bool, nodes: int = 3) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="qpidha-bench-"))
        self.ports = dict(zip(NAMES, take_ports(nodes), strict=False))
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._memory = [] if durable else ["--memory"]

    def __enter__(self) -> Brokers:
        for name in self.ports:
            self.start(name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGKILL)
        for process in self.processes.values():
            process.wait()
        shutil.rmtree(self.base, ignore_errors=True)

    def start(self, name: str) -> None:
        log = (self.base / f"{name}.log").open("ab")
        command = [sys.executable, str(ROOT / "examples" / "simple" / "broker.py"), "--id", name,
                   "--dir", str(self.base / name), "--cluster", str(self.base / "cluster"),
                   "--client", f"127.0.0.1:{self.ports[name]}", *self._memory]  # fmt: skip
        self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log)
        log.close()

    def kill(self, name: str) -> None:
        """SIGKILL, and gone."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def status(self, name: str) -> dict[str, Any] | None:
        """What a broker says of itself; None while it cannot be asked."""
        try:
            answer = ask_blocking(self.base / name / "control.sock", "status")["status"]
        except (OSError, ValueError):
            return None
        assert isinstance(answer, dict)
        return answer

    def primary(self, *, timeout_s: float = 60.0) -> str:
        """The primary, once every running node is in the in-sync set."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for name in self.processes:
                status = self.status(name)
                if status and status["role"] == "active" and set(status["members"]) == set(self.processes):
                    return name
            time.sleep(0.05)
        raise RuntimeError(f"no complete cluster after {timeout_s} s; see the logs in {self.base}")

    def cpu_s(self) -> float:
        """Processor time of all brokers so far."""
        return sum(cpu_of(process.pid) for process in self.processes.values())


class PipelinedClient:
    """Publishes prepared batches as fast as confirmations allow."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._inbox = bytearray()
        self._sequence = 0
        self.confirmed = 0
        """Batches so far. Another thread may look."""
        while True:
            data = self.socket.recv(1 << 16)
            if WELCOME in self._frames(data):
                return
            if not data:
                self.socket.close()
                raise RuntimeError("this broker is not primary")

    def close(self) -> None:
        self.socket.close()

    def _frames(self, data: bytes) -> dict[int, bytes]:
        """The last body of each kind of frame in what has come."""
        self._inbox += data
        found: dict[int, bytes] = {}
        at = 0
        while len(self._inbox) - at >= HEADER.size:
            size, kind = HEADER.unpack_from(self._inbox, at)
            if len(self._inbox) - at < HEADER.size + size:
                break
            found[kind] = bytes(self._inbox[at + HEADER.size : at + HEADER.size + size])
            at += HEADER.size + size
        del self._inbox[:at]
        return found

    def publish(self, batch: Batch, count: int, *, window: int) -> float:
        """Publish a batch so many times, with so many unconfirmed. Returns the seconds it took."""
        raw = batch.raw
        first = self.confirmed = self._sequence
        last = first + count
        self.socket.setblocking(False)
        pending = memoryview(b"")
        started = time.perf_counter()
        while self.confirmed < last:
            room = self._sequence < last and self._sequence - self.confirmed < window
            may_send = len(pending) > 0 or room
            readable, writable, _ = select.select([self.socket], [self.socket] if may_send else [], [], 60)
            if not readable and not writable:
                raise RuntimeError(f"stalled: {self.confirmed - first} of {count} confirmed")
            if readable:
                data = self.socket.recv(1 << 16)
                if not data:
                    raise RuntimeError("the broker hung up")
                if body := self._frames(data).get(CONFIRM):
                    self.confirmed = U64.unpack(body)[0]
            if writable:
                if len(pending) == 0:
                    self._sequence += 1
                    head = HEADER.pack(U64.size + len(raw), PUBLISH) + U64.pack(self._sequence)
                    pending = memoryview(head + raw)
                with contextlib.suppress(BlockingIOError):
                    pending = pending[self.socket.send(pending) :]
        elapsed = time.perf_counter() - started
        self.socket.setblocking(True)
        return elapsed


class Consumer:
    """Takes what is delivered and accepts it, without unpacking a message."""

    CREDIT = 64_000

    def __init__(self, port: int) -> None:
        self._client = PipelinedClient(port)
        self._client.socket.sendall(HEADER.pack(U32.size, SUBSCRIBE) + U32.pack(self.CREDIT))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self.nbytes = 0
        """Bytes of batches so far."""
        self._reader.start()

    def close(self) -> None:
        self._client.socket.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._client.close()

    def until(self, nbytes: int, *, timeout_s: float = 60.0) -> None:
        """Wait for so many bytes of batches."""
        deadline = time.monotonic() + timeout_s
        while self.nbytes < nbytes:
            if time.monotonic() > deadline:
                raise RuntimeError(f"only {self.nbytes} of {nbytes} bytes came out")
            time.sleep(0.0005)

    def _read(self) -> None:
        read = self._client.socket.makefile("rb", buffering=1 << 20).readinto
        buffer = memoryview(bytearray(16 << 20))
        while read(buffer[: HEADER.size]) == HEADER.size:
            size, kind = HEADER.unpack_from(buffer)
            read(buffer[:size])
            if kind != DELIVER:
                continue
            (n,) = U32.unpack_from(buffer)
            self.nbytes += size - n - U32.size
            self._client.socket.sendall(HEADER.pack(n, ACCEPT) + buffer[U32.size : U32.size + n])
