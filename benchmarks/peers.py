"""Other systems on the same work: a client publishes, and a message counts once two further replicas hold it.

Everything in memory, on loopback, three servers (two for a resynchronisation), one pipelined client. A peer that
is not installed says so and is left out; nothing is ever estimated.
"""

from __future__ import annotations

import contextlib
import importlib.util
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
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from benchmarks import nats
from benchmarks.cluster import cpu_of
from benchmarks.nats import wait_for_port
from benchmarks.row import ETCD, NATS, REDIS
from qpidha.engines.ports import take_ports

HOST = "127.0.0.1"
CHUNK_BYTES = 128 * 1024
START_S = 30.0

Measure = Callable[[int, int], float]
"""Messages and bytes a message → messages a second."""


# --- Redis ---------------------------------------------------------------------------------------


class Redis:
    """A primary and its replicas, nothing persisted."""

    def __init__(self, replicas: int) -> None:
        self.base = tempfile.mkdtemp(prefix="qpidha-redis-")
        self.ports: list[int] = []
        self.processes: list[subprocess.Popen[bytes]] = []
        for _ in range(1 + replicas):
            self.start()

    def __enter__(self) -> Redis:
        return self

    def __exit__(self, *_: object) -> None:
        stop(self.processes)
        shutil.rmtree(self.base, ignore_errors=True)

    def start(self) -> int:
        (port,) = take_ports(1)
        command = ["redis-server", "--port", str(port), "--bind", HOST, "--save", "", "--appendonly", "no",
                   "--dir", self.base, "--repl-diskless-sync-delay", "0", "--repl-diskless-load", "swapdb",
                   "--client-output-buffer-limit", "replica 0 0 0"]  # fmt: skip
        if self.ports:
            command += ["--replicaof", f"{HOST} {self.ports[0]}"]
        self.processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        self.ports.append(port)
        wait_for_port(port)
        return port

    def until_online(self, replicas: int) -> None:
        deadline = time.monotonic() + START_S
        while self.ask(self.ports[0], b"INFO", b"replication").count(b"state=online") < replicas:
            if time.monotonic() > deadline:
                raise RuntimeError("the replicas of Redis do not come online")
            time.sleep(0.1)
        # A replica is sent nothing before its first answer, which may take a second: that is not to be measured. And
        # `WAIT` waits for what its own connection has written.
        with socket.create_connection((HOST, self.ports[0])) as connection:
            connection.sendall(
                command_of(b"SET", b"first", b"1") + command_of(b"WAIT", b"%d" % replicas, b"0")
            )
            lines = connection.makefile("rb")
            lines.readline()
            lines.readline()

    @staticmethod
    def ask(port: int, *words: bytes) -> bytes:
        with socket.create_connection((HOST, port)) as connection:
            connection.sendall(command_of(*words))
            return connection.recv(1 << 16)

    def push(self, count: int, size: int) -> float:
        """RPUSH one message at a time, pipelined, then WAIT for two replicas. Returns the seconds."""
        one = command_of(b"RPUSH", b"q", b"x" * size)
        per_block = max(1, CHUNK_BYTES // len(one))

        def commands() -> Iterator[bytes]:
            block = one * per_block
            for _ in range(count // per_block):
                yield block
            yield one * (count % per_block)
            yield command_of(b"WAIT", b"2", b"0")

        with socket.create_connection((HOST, self.ports[0])) as client:
            started = time.perf_counter()
            pump(client, commands(), lambda data: data.count(b"\r\n"), count + 1)
            return time.perf_counter() - started

    def pop(self, count: int, size: int) -> None:
        """LPOP until so many messages came, then WAIT for two replicas."""
        with socket.create_connection((HOST, self.ports[0])) as client:
            reader = client.makefile("rb", buffering=1 << 20)
            taken = 0
            while taken < count:
                client.sendall(command_of(b"LPOP", b"q", b"500"))
                found = int(reader.readline()[1:])
                if found <= 0:
                    time.sleep(0.0005)
                    continue
                reader.read(found * (size + len(b"$%d\r\n\r\n" % size)))
                taken += found
            client.sendall(command_of(b"WAIT", b"2", b"0"))
            reader.readline()


def command_of(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


def redis(count: int, size: int) -> float:
    with Redis(replicas=2) as servers:
        servers.until_online(2)
        return count / servers.push(count, size)


def redis_stream(count: int, size: int) -> float:
    """A publisher as above, and a consumer that takes 500 at a time; done when the replicas have the last removal."""
    with Redis(replicas=2) as servers:
        servers.until_online(2)
        consumer = threading.Thread(target=servers.pop, args=(count, size))
        started = time.perf_counter()
        consumer.start()
        servers.push(count, size)
        consumer.join()
        return count / (time.perf_counter() - started)


def redis_resync(count: int, size: int) -> float:
    """Elements a second that a fresh replica takes over."""
    with Redis(replicas=0) as servers:
        one = b"".join(command_of(b"RPUSH", b"q", os.urandom(size)) for _ in range(500))
        with socket.create_connection((HOST, servers.ports[0])) as client:
            pump(client, (one for _ in range(count // 500)), lambda d: d.count(b"\r\n"), count // 500 * 500)
        started = time.perf_counter()
        port = servers.start()
        while servers.ask(port, b"LLEN", b"q") != b":%d\r\n" % (count // 500 * 500):
            time.sleep(0.005)
        return count / (time.perf_counter() - started)


# --- PySyncObj -----------------------------------------------------------------------------------


def pysyncobj(count: int, size: int) -> float:
    """Its ReplQueue on three nodes, in separate processes because its threads never end."""
    ports = take_ports(3)
    program = str(Path(__file__).with_name("pysyncobj_queue.py"))
    processes = [
        subprocess.Popen(
            [sys.executable, program, str(i), *map(str, [*ports, count, size])], stdout=subprocess.PIPE
        )
        for i in (1, 2, 0)
    ]
    try:
        out, _ = processes[-1].communicate(timeout=300)
        return count / float(out)
    finally:
        stop(processes, signal.SIGKILL)


# --- what is there -------------------------------------------------------------------------------


def _has_module(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


PEERS: dict[str, tuple[Measure, bool, int]] = {
    # name: the measurement, whether it is installed, for how many messages of those of the table
    REDIS: (redis, shutil.which("redis-server") is not None, 1),
    NATS: (nats.publish, shutil.which("nats-server") is not None and _has_module("nats"), 10),
    "PySyncObj ReplQueue": (pysyncobj, _has_module("pysyncobj"), 20),
}


def installed(name: str) -> bool:
    """Whether this machine has it."""
    return shutil.which("etcd") is not None if name == ETCD else PEERS[name][1]


def missing() -> list[str]:
    """What this machine does not have."""
    return [name for name in (*PEERS, ETCD) if not installed(name)]


def pump(
    client: socket.socket, blocks: Iterable[bytes], answers_in: Callable[[bytes], int], wanted: int
) -> None:
    """Send all blocks and read until so many answers have come, whichever is possible."""
    client.setblocking(False)
    rest, pending, sending, seen = iter(blocks), memoryview(b""), True, 0
    while seen < wanted:
        readable, writable, _ = select.select([client], [client] if sending else [], [], 60)
        if not readable and not writable:
            raise RuntimeError(f"stalled: {seen} of {wanted} answers")
        if readable:
            data = client.recv(1 << 20)
            if not data:
                raise RuntimeError("the server hung up")
            seen += answers_in(data)
        if writable:
            if not pending:
                block = next(rest, None)
                if block is None:
                    sending = False
                    continue
                pending = memoryview(block)
            with contextlib.suppress(BlockingIOError):
                pending = pending[client.send(pending) :]


def stop(processes: list[subprocess.Popen[bytes]], how: int = signal.SIGTERM) -> None:
    for process in processes:
        process.send_signal(how)
    for process in processes:
        process.wait()


def cpu_s(processes: list[subprocess.Popen[bytes]]) -> float:
    return sum(cpu_of(process.pid) for process in processes)
