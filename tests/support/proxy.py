"""A simulated network between broker processes: ways can be cut, in one or both directions, delayed and reset.

Each broker publishes the address of a gate (`Network.gate`) instead of its own, so every link between two brokers
passes through the proxy as bytes, with or without TLS. A *way* is a pair (from, to) of broker names. The broker that
opened a link is identified as lsof does it: by the process that owns the other end of the socket.

    hold      sent data waits, and so does the close of a connection; nothing is lost   (a cut that heals)
    swallow   sent data is lost; links that lost some break when the way is mended   (half-open)
    delay_s   each piece is delayed by this time
    reset     links break, and their data in transit is lost; new links may be opened
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

from qpidha.transports.tcplistener import close_server
from qpidha.types import Address

Way = tuple[str, str]
CHUNK_BYTES = 64 * 1024
HARD_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER on, zero seconds: closing sends a reset."""


class Passage:
    """The state of one way: held, swallowed or delayed."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.swallow = False
        self.delay_s = 0.0
        self.bytes_passed = 0
        """Bytes passed since the beginning, without swallowed ones."""


class Link:
    """One connection between two brokers: two streams, and a pump in each direction."""

    def __init__(self, network: Network, source: str, target: str, writer: asyncio.StreamWriter) -> None:
        self.ends = {source, target}
        self.damaged = False
        """Bytes were swallowed, so the rest of the stream is unusable."""
        self._network = network
        self._ways = (source, target), (target, source)
        self._writers = [writer]

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Address) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*target)
            self._writers.append(far_writer)
            there, back = map(self._network.passage, self._ways)
            await asyncio.gather(self._pump(reader, far_writer, there), self._pump(far_reader, writer, back))
        except OSError:
            pass  # One end is closed: close the other.
        finally:
            self.reset()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passage: Passage
    ) -> None:
        while True:
            data = await reader.read(CHUNK_BYTES)
            await passage.open.wait()
            if passage.delay_s:
                await asyncio.sleep(passage.delay_s)
            if passage.swallow:
                self.damaged = True
                if not data:
                    return
                continue
            if not data:
                raise ConnectionResetError  # Brokers also close both directions at once.
            passage.bytes_passed += len(data)
            writer.write(data)
            await writer.drain()

    def reset(self) -> None:
        for writer in self._writers:
            raw = writer.get_extra_info("socket")
            if raw is not None and not writer.is_closing():
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, HARD_CLOSE)
            writer.transport.abort()


class Network:
    """All gates, and all links through them. An asynchronous context manager."""

    def __init__(self, pids: Callable[[], dict[str, int]]) -> None:
        """``pids``: the processes that run now, by broker name."""
        self._pids = pids
        self._passages: dict[Way, Passage] = {}
        self._links: set[Link] = set()
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Network:
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            await close_server(server)
        self._break(self._links)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def gate(self, name: str, listen: Address, target: Address) -> None:
        """A client that connects to ``listen`` reaches the broker ``name``, which listens on ``target``."""

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            link = Link(self, self._owner(writer.get_extra_info("peername")[1]), name, writer)
            task = asyncio.get_running_loop().create_task(link.run(reader, writer, target))
            self._links.add(link)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(lambda _: self._links.discard(link))

        self._servers.append(await asyncio.start_server(connected, *listen))

    def passage(self, way: Way) -> Passage:
        return self._passages.setdefault(way, Passage())

    # --- faults --------------------------------------------------------------------------------------

    def hold(self, source: str, *targets: str) -> None:
        """Hold back data from one broker to the others."""
        for target in targets:
            self.passage((source, target)).open.clear()

    def swallow(self, source: str, target: str) -> None:
        """Drop data from one broker to the other without closing the link: it is half open."""
        self.passage((source, target)).swallow = True

    def cut(self, a: str, *others: str) -> None:
        """Hold back all data between one broker and the others."""
        for b in others:
            self.hold(a, b)
            self.hold(b, a)

    def delay(self, source: str, target: str, seconds: float) -> None:
        self.passage((source, target)).delay_s = seconds

    def reset(self, a: str, b: str) -> None:
        self._break(link for link in self._links if link.ends == {a, b})

    def lose(self, name: str) -> None:
        """Drop the data in transit from and to this broker, and its links, as if its machine had died."""
        self._break(link for link in self._links if name in link.ends)

    def release(self, source: str, *targets: str) -> None:
        """Pass on the held data, in order."""
        for target in targets:
            self.passage((source, target)).open.set()

    def mend(self) -> None:
        """End all faults."""
        for passage in self._passages.values():
            passage.swallow, passage.delay_s = False, 0.0
            passage.open.set()
        self._break(link for link in self._links if link.damaged)

    @staticmethod
    def _break(links: Iterable[Link]) -> None:
        for link in list(links):
            link.reset()

    # --- the broker of a port ------------------------------------------------------------------------

    def _owner(self, port: int) -> str:
        """Return the broker that has a socket with this local port."""
        inode = _inode(port)
        for name, pid in self._pids().items():
            if inode is not None and f"socket:[{inode}]" in _open_files(pid):
                return name
        return "?"


def _inode(port: int) -> str | None:
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) == port and fields[9] != "0":
            return fields[9]
    return None


def _open_files(pid: int) -> set[str]:
    found = set()
    try:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            try:
                found.add(os.readlink(entry.path))
            except OSError:
                continue  # Closed meanwhile.
    except OSError:
        pass  # The process is gone.
    return found
