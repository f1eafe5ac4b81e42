"""Proton's engine beside an asyncio transport: bytes in, events out, bytes out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from proton import Collector, Connection, Event, Transport, TransportException

CLOSE_S = 10.0
SESSIONS_MAX = 255
OnEvent = Callable[[Event], None]


class Engine:
    """One end of one AMQP connection. `flush_soon` sends what was said to it, once for each turn of the event loop."""

    def __init__(
        self, on_event: OnEvent, *, server: bool, idle_timeout_s: float, frame_bytes_max: int = 65536
    ) -> None:
        self.connection = Connection()
        self._collector = Collector()
        self.connection.collect(self._collector)
        self._engine = Transport(Transport.SERVER if server else Transport.CLIENT)
        self._engine.idle_timeout = idle_timeout_s
        self._engine.max_frame_size = frame_bytes_max
        self._engine.channel_max = SESSIONS_MAX - 1
        self._on_event = on_event
        self._out: asyncio.Transport | None = None
        self._flushing = False
        self._timer: asyncio.TimerHandle | None = None

    def authenticate(self, user: str, password: str) -> None:
        """As a client: with a name and a password, or without. Call it before `begin`."""
        sasl = self._engine.sasl()
        sasl.allowed_mechs("PLAIN" if user else "ANONYMOUS")
        if user:
            sasl.allow_insecure_mechs = True
            self.connection.user, self.connection.password = user, password

    def begin(self, out: asyncio.Transport) -> None:
        """The connection is there, and everything below AMQP is settled."""
        self._out = out
        self._engine.bind(self.connection)
        self.tick()
        self.flush_soon()

    def received(self, data: bytes | memoryview) -> None:
        """Bytes have arrived."""
        view = memoryview(data)
        try:
            while view:
                room = self._engine.capacity()
                if room <= 0:
                    break  # It has ended, or is about to.
                self._engine.push(bytes(view[:room]))
                view = view[room:]
                self._dispatch()
        except TransportException:
            self._dispatch()  # The engine says why in its last frame.
        self.flush_soon()

    def _dispatch(self) -> None:
        while (event := self._collector.peek()) is not None:
            self._on_event(event)
            self._collector.pop()

    # --- output ----------------------------------------------------------------------------------

    def flush_soon(self) -> None:
        """Send at the end of this turn."""
        if not self._flushing and self._out is not None:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Send what there is."""
        self._flushing = False
        if self._out is None:
            return
        self._dispatch()
        pieces = []
        try:
            while (pending := self._engine.pending()) > 0:
                pieces.append(self._engine.peek(pending) or b"")
                self._engine.pop(pending)
        except TransportException:
            pending = -1
        if pieces and not self._out.is_closing():
            self._out.write(b"".join(pieces))
        if pending < 0:
            self._out.close()
            # A peer that does not read must not keep it.
            asyncio.get_running_loop().call_later(CLOSE_S, self._out.abort)
        # Not before it was written: what these events begin is for the next turn, if the transport is not congested then.
        self._dispatch()
        if pieces:
            self.flush_soon()

    # --- time ------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Send a heartbeat if one is due; end the connection if the peer sent nothing for its idle time-out."""
        if self._out is None:
            return
        now = time.monotonic()
        due = self._engine.tick(now)
        self.flush_soon()
        delay = min(max(due - now, 0.01), 1.0) if due else 1.0
        self._timer = asyncio.get_running_loop().call_later(delay, self.tick)

    def end(self) -> None:
        """The connection is lost."""
        self._out = None
        if self._timer is not None:
            self._timer.cancel()
        if self._engine.connection is not None:
            self._engine.unbind()
        self._dispatch()
        self.connection.free()
        self._collector.release()
