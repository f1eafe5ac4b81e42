"""A TCP proxy in front of a server: what a client meets on a bad network.

pass        as without it
refuse      nothing listens: a new connection is refused, the open ones are reset
hanging     the open connections stay open, and nothing arrives ever more; new ones pass
silent      connections are accepted and stay open; what is sent waits, in both directions
deaf        what the client sends waits, answers pass
mute        what the client sends passes, answers wait
delay_s     each piece waits for this time
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

CHUNK_BYTES = 64 * 1024
RESET_AT_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER on, zero seconds: closing sends a reset."""


class Wire:
    """A proxy from a port of its own to another. An asynchronous context manager."""

    def __init__(self, port: int, target: int, host: str = "127.0.0.1") -> None:
        """Nothing listens before `mend`."""
        self.host = host
        self.port = port
        self.delay_s = 0.0
        self.accepted = 0
        """Connections since the beginning."""
        self.sent = 0
        """Bytes that clients sent and that were passed on."""
        self._target = target
        self._there = asyncio.Event()
        self._back = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._after: int | None = None

    async def __aenter__(self) -> Wire:
        await self.mend()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.refuse()

    async def mend(self) -> None:
        """Pass everything on again, what waited too."""
        self.delay_s = 0.0
        self._there.set()
        self._back.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, self.host, self.port)

    def silence(self, *, there: bool = True, back: bool = True) -> None:
        """Let what clients send wait (``there``), and what the server answers (``back``)."""
        for wanted, passes in ((there, self._there), (back, self._back)):
            if wanted:
                passes.clear()

    def hang(self) -> None:
        """Let what is sent over the connections that are open now wait for ever."""
        self.silence()
        self._there, self._back = asyncio.Event(), asyncio.Event()
        self._there.set()
        self._back.set()

    def cut(self) -> None:
        """Reset the open connections. New ones are accepted."""
        for writer in list(self._open):
            reset(writer)

    def cut_after(self, sent: int) -> None:
        """Reset all connections once clients have sent this many bytes more; those bytes reach the server."""
        self._after = self.sent + sent

    async def refuse(self) -> None:
        """Refuse new connections, and reset the open ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        await turns()  # What was accepted just now becomes known.
        self.cut()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await turns()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        self._open.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
            self._open.add(far_writer)
            try:
                there, back = self._there, self._back
                await asyncio.gather(
                    self._pump(reader, far_writer, there, counts=True),
                    self._pump(far_reader, writer, back, counts=False),
                )
            finally:
                self._drop(far_writer)
        except (OSError, asyncio.CancelledError):
            pass  # One end is closed, or the test is over: the other end is closed below.
        finally:
            self._drop(writer)
            self._tasks.discard(task)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        passes: asyncio.Event,
        *,
        counts: bool,
    ) -> None:
        while data := await reader.read(CHUNK_BYTES):
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            await passes.wait()
            writer.write(data)
            await writer.drain()
            if counts:
                self.sent += len(data)
                if self._after is not None and self.sent >= self._after:
                    self._after = None
                    self.cut()
        raise ConnectionResetError

    def _drop(self, writer: asyncio.StreamWriter) -> None:
        self._open.discard(writer)
        reset(writer)


async def turns() -> None:
    """Let the event loop do what is due."""
    for _ in range(5):
        await asyncio.sleep(0)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection with a reset."""
    with contextlib.suppress(OSError):
        raw = writer.get_extra_info("socket")
        if raw is not None and raw.fileno() >= 0:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
    writer.transport.abort()
