"""NATS JetStream: three servers, one stream with three replicas in memory, and what a client says to them."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.cluster import cpu_of
from qpidha.engines.ports import take_ports

HOST = "127.0.0.1"
START_S = 30.0


class Nats:
    """Servers with the stream "S" of the subject "q"; ``port`` is that of the stream's leader."""

    def __init__(self) -> None:
        self._base = Path(tempfile.mkdtemp(prefix="qpidha-nats-"))
        self._clients, routes = take_ports(3), take_ports(3)
        self._servers: list[subprocess.Popen[bytes]] = []
        for i in range(3):
            peers = ", ".join(f"nats://{HOST}:{port}" for port in routes)
            (self._base / f"{i}.conf").write_text(
                f'server_name: n{i}\nlisten: "{HOST}:{self._clients[i]}"\n'
                f'jetstream {{store_dir: "{self._base}/{i}", max_mem: 4G}}\n'
                f'cluster {{name: c, listen: "{HOST}:{routes[i]}", routes: [{peers}]}}\n'
            )
            command = ["nats-server", "-c", str(self._base / f"{i}.conf")]
            self._servers.append(
                subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            )
        self.port = 0

    def __enter__(self) -> Nats:
        for port in self._clients:
            wait_for_port(port)
        self.port = self._clients[asyncio.run(self._make_stream())]
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.terminate()
        for server in self._servers:
            server.wait()
        shutil.rmtree(self._base, ignore_errors=True)

    async def _make_stream(self) -> int:
        """The number of its leader."""
        import nats  # type: ignore[import-not-found,unused-ignore]

        connection = await nats.connect(f"nats://{HOST}:{self._clients[0]}")
        stream = connection.jetstream(timeout=10)
        deadline = time.monotonic() + START_S
        while True:
            try:
                await stream.add_stream(name="S", subjects=["q"], num_replicas=3, storage="memory")
                break
            except Exception:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.5)
        leader = (await stream.stream_info("S")).cluster.leader
        await connection.close()
        return int(leader[1:])

    def cpu_s(self) -> float:
        """Processor time of all servers so far."""
        return sum(cpu_of(server.pid) for server in self._servers)


def greeting(number: int) -> bytes:
    """What the client with this number says first."""
    return b'CONNECT {"verbose":false,"pedantic":false}\r\nSUB answers.%d 1\r\n' % number


def message(number: int, size: int) -> bytes:
    """A publish of so many bytes by this client."""
    return b"PUB q answers.%d %d\r\n%s\r\n" % (number, size, b"x" * size)


class Answers:
    """Counts the acknowledgements in what the server sends."""

    def __init__(self) -> None:
        self._tail = b""

    def __call__(self, data: bytes) -> int:
        data = self._tail + data
        self._tail = b"" if data.endswith(WORD) else data[1 - len(WORD) :]
        return data.count(WORD)


WORD = b'"stream"'


def publish(count: int, size: int) -> float:
    """Messages a second; acknowledgements counted, 4,000 outstanding at most."""
    answers = Answers()
    with Nats() as servers, socket.create_connection((HOST, servers.port)) as client:
        client.sendall(greeting(0))
        one = message(0, size)
        started, sent, answered = time.perf_counter(), 0, 0
        while answered < count:
            while sent < count and sent - answered < 4000:
                part = min(500, count - sent)
                client.sendall(one * part)
                sent += part
            answered += answers(client.recv(1 << 20))
        return count / (time.perf_counter() - started)


def wait_for_port(port: int) -> None:
    """Until something listens there."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection((HOST, port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
