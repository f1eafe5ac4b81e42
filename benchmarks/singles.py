"""Messages one by one: what brokers do most of the time. Each measure says what is batched, and for whom.

    in blocks        one message a frame or command; the client sends prepared blocks of 128 KiB of them
    a send each      one message a frame or command, one system call for each; 1,000 are under way at most
    one at a time    one message is sent, and the next one when the answer has come
    life             no client: single calls of the library, 1,000 messages in a turn of the event loop

In the first three the clients of all contenders are the same code: only the bytes differ, and how answers are counted.
Beside rates and latencies, the processor time of the three servers is measured: other work disturbs it less.
"""

from __future__ import annotations

import socket
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from benchmarks import etcd, nats
from benchmarks.cluster import CONFIRM, HEADER, PUBLISH, U64, Brokers, PipelinedClient
from benchmarks.measures import SETTLED_S, percentile
from benchmarks.peers import CHUNK_BYTES, HOST, Redis, command_of, cpu_s, pump
from benchmarks.state import nodes_in_memory
from qpidha import Batch

UNDER_WAY = 1000
A_TURN = 1000
RANDOM_CALLS = 100_000
US = 1e6

Answers = Callable[[bytes], int]
"""How many more messages these bytes confirm."""
Figures = dict[str, float]


# --- contenders ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Contender:
    """Three servers, and what a client says to them."""

    connected: Callable[[bool], AbstractContextManager[tuple[socket.socket, Callable[[], float]]]]
    """A connection, and what says how much processor time the servers have taken. For True they are durable."""
    messages: Callable[[int, int], list[bytes]]
    """So many, of so many bytes."""
    answers: Callable[[], Answers]
    end: bytes = b""
    """What is sent behind the last message, and has an answer of its own."""
    greeting: Callable[[int], bytes] = lambda number: b""
    """What the client with this number says first, if many are connected."""
    welcomed: Callable[[socket.socket], None] = lambda client: None
    """Reads what the server says first."""
    messages_of_client: Callable[[int, int, int], list[bytes]] | None = None
    """So many of so many bytes, of the client with the number that comes first. None: all clients say the same."""

    def messages_of(self, number: int, count: int, size: int) -> list[bytes]:
        """The messages of one of many clients."""
        special = self.messages_of_client
        return self.messages(count, size) if special is None else special(number, count, size)


class Confirmations:
    """Counts the publishes that a broker confirms. Their sequences are 1, 2, 3 and so on."""

    def __init__(self) -> None:
        self.confirmed = 0
        self._rest = b""

    def __call__(self, data: bytes) -> int:
        data, before = self._rest + data, self.confirmed
        size = HEADER.size + U64.size  # Nothing else comes to a client that only publishes.
        whole = len(data) // size * size
        self._rest = data[whole:]
        if whole:
            _, kind = HEADER.unpack_from(data, whole - size)
            assert kind == CONFIRM
            (self.confirmed,) = U64.unpack_from(data, whole - U64.size)
        return self.confirmed - before


def frames(count: int, size: int) -> list[bytes]:
    """Publishes of one message each."""
    raw = Batch.pack([b"x" * size]).raw
    head = HEADER.pack(U64.size + len(raw), PUBLISH)
    return [head + U64.pack(n) + raw for n in range(1, count + 1)]


@contextmanager
def _brokers(durable: bool) -> Iterator[tuple[socket.socket, Callable[[], float]]]:
    with Brokers(durable=durable) as brokers:
        client = PipelinedClient(brokers.ports[brokers.primary()])
        time.sleep(SETTLED_S)
        yield client.socket, brokers.cpu_s
        client.close()


@contextmanager
def _redis(durable: bool) -> Iterator[tuple[socket.socket, Callable[[], float]]]:
    """A primary with two replicas that are online. They store nothing, whatever is asked for."""
    with Redis(replicas=2) as servers:
        servers.until_online(2)
        with socket.create_connection((HOST, servers.ports[0])) as client:
            yield client, lambda: cpu_s(servers.processes)


def _read_first(client: socket.socket) -> None:
    client.recv(1 << 16)


@contextmanager
def _nats(durable: bool) -> Iterator[tuple[socket.socket, Callable[[], float]]]:
    """The leader of a stream with three replicas in memory, whatever is asked for."""
    with nats.Nats() as servers, socket.create_connection((HOST, servers.port)) as client:
        client.sendall(nats.greeting(0))
        _read_first(client)
        yield client, servers.cpu_s


OURS = Contender(_brokers, frames, Confirmations, welcomed=_read_first)
REDIS = Contender(
    _redis,
    lambda count, size: [command_of(b"RPUSH", b"q", b"x" * size)] * count,
    lambda: lambda data: data.count(b"\r\n"),
    command_of(b"WAIT", b"2", b"0"),
)
"""It answers each command before its replicas have it, and `WAIT` when they have all before it."""
NATS = Contender(
    _nats,
    lambda count, size: [nats.message(0, size)] * count,
    nats.Answers,
    greeting=nats.greeting,
    welcomed=_read_first,
    messages_of_client=lambda number, count, size: [nats.message(number, size)] * count,
)
ETCD = Contender(etcd.connected, etcd.puts, etcd.Answers)


# --- what they do --------------------------------------------------------------------------------


def in_blocks(who: Contender, count: int, size: int) -> Figures:
    """``rate``: messages a second; ``spent``: microseconds of processor time a message on the servers together."""
    prepared = blocks(who.messages(count, size))
    with who.connected(False) as (client, spent):
        before, started = spent(), time.perf_counter()
        pump(client, [*prepared, who.end] if who.end else prepared, who.answers(), count + bool(who.end))
        rate = count / (time.perf_counter() - started)
        return {"rate": rate, "spent": (spent() - before) / count * US}


def blocks(of: Sequence[bytes]) -> list[bytes]:
    """The same bytes in blocks of about 128 KiB."""
    each = max(1, CHUNK_BYTES // len(of[0]))
    return [b"".join(of[n : n + each]) for n in range(0, len(of), each)]


def a_send_each(who: Contender, count: int, size: int) -> Figures:
    """The same figures."""
    messages, answers = who.messages(count, size), who.answers()
    if who.end:
        messages.append(who.end)
    sent = answered = 0
    with who.connected(False) as (client, spent):
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        before, started = spent(), time.perf_counter()
        while answered < len(messages):
            if sent < len(messages) and sent - answered < UNDER_WAY:
                client.sendall(messages[sent])
                sent += 1
            else:
                answered += answers(_received(client))
        rate = count / (time.perf_counter() - started)
        return {"rate": rate, "spent": (spent() - before) / count * US}


def one_at_a_time(who: Contender, rounds: int, *, durable: bool = False) -> Figures:
    """Microseconds from a message of 100 B to its confirmation, two backups: ``median`` and ``p99``; and ``spent``."""
    found: list[float] = []
    answers, first = who.answers(), rounds // 10
    with who.connected(durable) as (client, spent):
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        before = spent()
        for message in who.messages(rounds + first, 100):
            started, missing = time.perf_counter(), 1 + bool(who.end)
            client.sendall(message + who.end)
            while missing:
                missing -= answers(_received(client))
            found.append(time.perf_counter() - started)
        took = (spent() - before) / len(found) * US
    found = found[first:]
    return {"median": statistics.median(found) * US, "p99": percentile(found, 0.99) * US, "spent": took}


def _received(client: socket.socket) -> bytes:
    data = client.recv(1 << 16)
    if not data:
        raise RuntimeError("the server hung up")
    return data


# --- without clients -----------------------------------------------------------------------------


def lives(count: int) -> Figures:
    """Microseconds of processor time a message: ``primary``, and ``backup``, the one that took longer.

    Enqueued, safe by watermark, acquired, accepted, settled: one call each, three nodes in processes of their own.
    """
    with nodes_in_memory() as (primary, *backups):
        primary.tell("lives", count // 10, A_TURN)
        before = [node.tell("spent")["seconds"] for node in (primary, *backups)]
        primary.tell("lives", count, A_TURN)
        after = [node.tell("spent")["seconds"] for node in (primary, *backups)]
    first, *others = [(b - a) / count * US for a, b in zip(before, after, strict=True)]
    return {"primary": first, "backup": max(others)}


def dequeues(depth: int) -> Figures:
    """Microseconds of processor time to accept one id, in random order, of so many messages.

    ``call``: of the calls alone, on the primary; ``safe``: of all three nodes until all are safe.
    """
    count = min(depth, RANDOM_CALLS)
    with nodes_in_memory() as nodes:
        nodes[0].tell("fill", depth)
        before = sum(node.tell("spent")["seconds"] for node in nodes)
        call_s: float = nodes[0].tell("dequeues", count, A_TURN)["seconds"]
        spent_s = sum(node.tell("spent")["seconds"] for node in nodes) - before
    return {"call": call_s / count * US, "safe": spent_s / count * US}
