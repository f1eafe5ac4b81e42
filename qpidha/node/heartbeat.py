"""The periodic work of one node: heartbeats of its links, and all time-outs.

It belongs to the node and not to the core, because it must continue while the core waits for a slow disk.
"""

from __future__ import annotations

import asyncio

from qpidha.node.connect import Connector
from qpidha.node.engine import Engine
from qpidha.node.isolation import Isolation
from qpidha.node.links import Links
from qpidha.node.place import Place
from qpidha.node.runtime import Runtime

READING_TURNS = 2
"""After this many turns of the loop every socket was read: a call in the next turn may come before that turn's reads."""
READING_ATTEMPTS = 3
"""How often to start again if the loop was blocked meanwhile; limited, in case the loop is blocked all the time."""
TRANSPORT_TICK_S = 5.0
"""Between two calls of the transport's ``tick``."""


class Heartbeat:
    """Beats twice in each ``heartbeat_interval_s``, after reading what has arrived."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        links: Links,
        engine: Engine,
        place: Place,
        isolation: Isolation,
        connector: Connector,
    ) -> None:
        self._runtime = runtime
        self._links = links
        self._engine = engine
        self._place = place
        self._isolation = isolation
        self._connector = connector
        self._timer: asyncio.Handle | None = None
        self._beaten_at = 0.0
        self._ticked_at = float("-inf")

    def start(self) -> None:
        """Beat now, and then periodically until `stop`."""
        self._beaten_at = self._runtime.now()
        self._beat()

    def stop(self) -> None:
        """Beat no more. May be called twice, or without a start."""
        if self._timer:
            self._timer.cancel()

    def _wake(self, attempts: int = READING_ATTEMPTS) -> None:
        """If the loop was blocked, acknowledgements and heartbeats wait in the sockets: read, then judge (L4, T42)."""
        woken_at = self._runtime.now()

        def later(turns: int) -> None:
            if turns:
                self._timer = asyncio.get_running_loop().call_soon(later, turns - 1)
            elif attempts and self._runtime.now() - woken_at > self._runtime.settings.heartbeat_interval_s:
                self._wake(attempts - 1)  # It was blocked in between: later arrivals are not read yet.
            else:
                self._beat()

        later(READING_TURNS)

    def _beat(self) -> None:
        """Beat. After a pause of this process every peer gets its full time-out again (T42)."""
        settings, now = self._runtime.settings, self._runtime.now()
        peers = self._links.peers
        silent_s = now - self._beaten_at
        if silent_s > settings.heartbeat_timeout_s / 2:
            for peer in peers.values():
                peer.fresh_round(now)
            self._place.paused(silent_s)
            self._isolation.paused()
        self._beaten_at = now
        for peer in list(peers.values()):
            peer.beat(now)
        self._links.clear_settled()
        if now - self._ticked_at >= TRANSPORT_TICK_S:
            self._ticked_at = now
            self._links.tick_transport()
        self._tick(now)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(settings.heartbeat_interval_s / 2, self._wake)

    def _tick(self, now: float) -> None:
        """Time-outs of the core, of the disk and of the place; another look at who is primary."""
        runtime = self._runtime
        runtime.replica.tick(now)
        self._engine.verify_files()
        self._place.tick(now)
        self._isolation.tick(now)
        self._connector.wake()
        runtime.troubles.tick()
        runtime.poke()
