"""A session that a task in the node's event loop keeps alive, so that the session ends if the loop hangs."""

from __future__ import annotations

import asyncio
import time

from qpidha.errors import Unavailable
from qpidha.records.file.sessionfile import SessionFile, SessionGoneError
from qpidha.records.file.worker import Worker
from qpidha.records.format import INFO
from qpidha.system.words import in_words

KEEP_ALIVES_PER_TTL = 4
DEADLINE_MARGIN = 0.1
"""Fraction of the TTL by which the deadline is earlier for the owner than for observers."""


class FileSession:
    """A `Session`. Made by `FileRecordStore.open_session` only."""

    def __init__(self, file: SessionFile, worker: Worker, *, ttl_s: float, opened_at: float) -> None:
        loop = asyncio.get_running_loop()
        self.granted_ttl_s = ttl_s
        self._file = file
        self._worker = worker
        self._kept_at = opened_at
        self._lost: asyncio.Future[str] = loop.create_future()
        self._task = loop.create_task(self._keep_alive(), name="qpidha-session")

    def deadline(self) -> float:
        """Monotonic: when the last successful keep-alive was begun, plus the TTL, less a margin."""
        return self._kept_at + self.granted_ttl_s * (1 - DEADLINE_MARGIN)

    async def update(self, info: bytes) -> None:
        """Replace the info that others see.

        Raises:
            Unavailable: The session is lost, or the disk failed.
            ArgumentError: Not bytes, or too many.
        """
        INFO("info", info)
        if self._lost.done():
            raise Unavailable(f"the session is lost: {self._lost.result()}")
        try:
            await self._worker.run(lambda: self._file.publish(info), None)
        except (OSError, SessionGoneError) as error:
            raise Unavailable(f"cannot publish the info of this node: {in_words(error)}") from error

    async def wait_lost(self) -> str:
        """Returns, with a reason, when the session is lost or closed."""
        return await asyncio.shield(self._lost)

    async def close(self) -> None:
        """Drop the lock: others see it at once. May be called twice."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._lose("closed")
        try:
            await self._worker.run(self._file.release, None)
        except OSError as error:  # The lock is dropped in any case.
            raise Unavailable(f"cannot remove the session file: {in_words(error)}") from error

    async def _keep_alive(self) -> None:
        while not self._lost.done():
            await asyncio.sleep(self.granted_ttl_s / KEEP_ALIVES_PER_TTL)
            now = time.monotonic()
            silent_s = now - self._kept_at
            if silent_s > self.granted_ttl_s:
                self._lose(f"no keep-alive for {silent_s:.1f} s: the process was stopped, or its loop hung")
                return
            try:
                await self._worker.run(self._file.touch, None)
                self._kept_at = now
            except (OSError, SessionGoneError) as error:
                self._lose(in_words(error))

    def _lose(self, reason: str) -> None:
        if not self._lost.done():
            self._lost.set_result(reason)
