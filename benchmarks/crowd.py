"""Very many connections, each of which sends one message at a time: rate, and whether some of them wait longer.

One process holds all connections, for all contenders: it sends the next message of a connection when the answer to the
one before has come.
"""

from __future__ import annotations

import select
import socket
import statistics
import time
from collections.abc import Callable

from benchmarks.singles import Answers, Contender, Figures

SIZE = 100
PATIENCE_S = 60.0


class Connection:
    """One of them: what it sends, and how long its messages have taken."""

    def __init__(
        self, address: tuple[str, int], greeting: bytes, messages: list[bytes], answers: Answers
    ) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if greeting:
            self.socket.sendall(greeting)
        self._messages = iter(messages)
        self._answers = answers
        self._missing = 0
        self._each = 1
        self._sent_at = 0.0
        self.took_s: list[float] = []

    def begin(self, answers_each: int) -> None:
        """Send the first message, each of which has so many answers."""
        self._each = answers_each
        self._next()

    def received(self) -> bool:
        """Read, and go on if the answer is whole. False: it was that to the last message."""
        data = self.socket.recv(1 << 16)
        if not data:
            raise RuntimeError("the server hung up")
        self._missing -= self._answers(data)
        if self._missing > 0:
            return True
        self.took_s.append(time.perf_counter() - self._sent_at)
        return self._next()

    def _next(self) -> bool:
        message = next(self._messages, None)
        if message is None:
            return False
        self._missing, self._sent_at = self._each, time.perf_counter()
        self.socket.sendall(message)
        return True


def crowd(who: Contender, connections: int, rounds: int) -> Figures:
    """``rate``: messages a second; ``worst``: the mean latency of the slowest connection, as a multiple of the median.

    ``median``: microseconds, of all messages; ``spent``: microseconds of processor time a message, on the servers.
    """
    with who.connected(False) as (first, spent):
        everyone = [
            Connection(first.getpeername(), *_said_by(who, number, rounds)) for number in range(connections)
        ]
        time.sleep(1.0)
        for each in everyone:
            who.welcomed(each.socket)
        before, started = spent(), time.perf_counter()
        for each in everyone:
            each.begin(1 + bool(who.end))
        _until_answered(everyone)
        took_s, spent_s = time.perf_counter() - started, spent() - before
        for each in everyone:
            each.socket.close()
    means = [statistics.fmean(each.took_s) for each in everyone]
    count = connections * rounds
    return {
        "rate": count / took_s,
        "worst": max(means) / statistics.median(means),
        "median": statistics.median(took for each in everyone for took in each.took_s) * 1e6,
        "spent": spent_s / count * 1e6,
    }


def _said_by(who: Contender, number: int, rounds: int) -> tuple[bytes, list[bytes], Callable[[bytes], int]]:
    messages = [message + who.end for message in who.messages_of(number, rounds, SIZE)]
    return who.greeting(number), messages, who.answers()


def _until_answered(everyone: list[Connection]) -> None:
    poll = select.epoll()
    by_fd = {each.socket.fileno(): each for each in everyone}
    for fd in by_fd:
        poll.register(fd, select.EPOLLIN)
    while by_fd:
        ready = poll.poll(PATIENCE_S)
        if not ready:
            raise RuntimeError(f"{len(by_fd)} connections got no answer in {PATIENCE_S} s")
        for fd, _ in ready:
            if not by_fd[fd].received():
                poll.unregister(fd)
                del by_fd[fd]
    poll.close()
