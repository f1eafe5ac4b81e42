"""Sessions: a row that a task in the node's event loop keeps renewing, so that it ends if the loop hangs."""

from __future__ import annotations

import asyncio
import os
import time

from qpidha.errors import ClusterError, Conflict, OutcomeUnknown, Unavailable
from qpidha.records.format import INFO
from qpidha.records.opener import OpenerName
from qpidha.records.postgresql import layout
from qpidha.records.postgresql.pool import Pool
from qpidha.types import NodeId

KEEP_ALIVES_PER_TTL = 4
DEADLINE_MARGIN = 0.1
"""Fraction of the TTL by which the deadline is earlier for the owner than for PostgreSQL."""
OPEN_TIMEOUT_S = 5.0
"""For each statement of `Opener.open`."""
CLOSE_TIMEOUT_S = 2.0
LOOK_INTERVAL_S = 0.1
RENEWALS = 2
"""After so many renewals another session counts as alive. One may be late: sent before its owner died."""
TOKEN_BYTES = 16


class Opener:
    """Opens sessions of one store."""

    def __init__(self, pool: Pool, name: str) -> None:
        self._pool = pool
        self._name = name
        self.name = OpenerName()
        self._open: dict[NodeId, PostgreSqlSession] = {}

    async def open(self, node: NodeId, info: bytes, ttl_s: float) -> PostgreSqlSession:
        """See `PostgreSqlRecordStore.open_session`."""
        ours = self._open.get(node)
        if ours is not None and not ours.lost:
            raise self._held(node)
        key, token = node.encode(), os.urandom(TOKEN_BYTES)
        seen: tuple[object, object] | None = None
        renewals = 0
        while True:
            sent_at = time.monotonic()
            given = (self._name, key, bytes(self.name), token, info, float(ttl_s), self.name.inherited)
            if await self._pool.run(layout.OPEN_SESSION, *given, timeout_s=OPEN_TIMEOUT_S, changes=True):
                break
            found = await self._pool.run(layout.LOOK_AT_SESSION, self._name, key, timeout_s=OPEN_TIMEOUT_S)
            now = (found[0]["token"], found[0]["expires_at"]) if found else None
            if now is not None and seen is not None and now != seen:
                renewals = renewals + 1 if now[0] == seen[0] else 0
                if renewals >= RENEWALS:
                    raise self._held(node)
            seen = now
            await asyncio.sleep(LOOK_INTERVAL_S)
        session = PostgreSqlSession(self._pool, self._name, key, token, ttl_s=ttl_s, opened_at=sent_at)
        self._open[node] = session
        self.name.opened()
        return session

    def _held(self, node: NodeId) -> Conflict:
        message = f"another process holds the session of node {node!r} of {self._name} in PostgreSQL"
        return Conflict(message, current=None)


class PostgreSqlSession:
    """A `Session`. Made by `PostgreSqlRecordStore.open_session` only."""

    def __init__(
        self, pool: Pool, name: str, node: bytes, token: bytes, *, ttl_s: float, opened_at: float
    ) -> None:
        loop = asyncio.get_running_loop()
        self.granted_ttl_s = float(ttl_s)
        self._pool = pool
        self._key = (name, node, token)
        self._kept_at = opened_at
        self._serial = 0
        self._lost: asyncio.Future[str] = loop.create_future()
        self._removed = False
        self._task = loop.create_task(self._keep_alive(), name="qpidha-session")

    @property
    def lost(self) -> bool:
        """Whether it is over."""
        return self._lost.done()

    def deadline(self) -> float:
        """Monotonic: when the last successful keep-alive was sent, plus the TTL, less a margin.

        After it others may consider this node dead. If PostgreSQL could not be reached by anybody, they do not; then
        the session goes on when it can be.
        """
        return self._kept_at + self.granted_ttl_s * (1 - DEADLINE_MARGIN)

    async def update(self, info: bytes) -> None:
        """Replace the info that others see.

        Raises:
            Unavailable: The session is lost, or no server answers, or PostgreSQL refuses.
            OutcomeUnknown: It was sent, and there was no answer in time. Repeat it.
            ArgumentError: Not bytes, or too many.
        """
        INFO("info", info)
        if not self._lost.done():
            self._serial += 1
            if not await self._pool.run(
                layout.UPDATE_SESSION,
                *self._key,
                self._serial,
                info,
                timeout_s=self.granted_ttl_s,
                changes=True,
            ):
                self._lose("its row was removed")
        if self._lost.done():
            raise Unavailable(f"the session is lost: {self._lost.result()}")

    async def wait_lost(self) -> str:
        """Returns, with a reason, when the session is lost or closed."""
        return await asyncio.shield(self._lost)

    async def close(self) -> None:
        """Remove the row: others see it at once. May be called twice.

        Raises:
            Unavailable, OutcomeUnknown: PostgreSQL could not be told; the row is removed when its time is over.
        """
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._lose("closed")
        if not self._removed:
            self._removed = True
            await self._pool.run(layout.CLOSE_SESSION, *self._key, timeout_s=CLOSE_TIMEOUT_S, changes=True)

    async def _keep_alive(self) -> None:
        pause_s = self.granted_ttl_s / KEEP_ALIVES_PER_TTL
        while not self._lost.done():
            await asyncio.sleep(pause_s)
            sent_at = time.monotonic()
            try:
                kept = await self._pool.run(
                    layout.RENEW_SESSION, *self._key, timeout_s=self.granted_ttl_s / 2
                )
            except (Unavailable, OutcomeUnknown):
                continue  # Without an answer it is not known: the row may be there, and the session goes on.
            except ClusterError as error:
                self._lose(str(error))
                return
            if kept:
                self._kept_at = sent_at
                continue
            silent_s = time.monotonic() - self._kept_at
            self._lose(
                f"its row was removed: the last keep-alive that PostgreSQL took was {silent_s:.1f} s ago"
            )

    def _lose(self, reason: str) -> None:
        if not self._lost.done():
            self._lost.set_result(reason)
