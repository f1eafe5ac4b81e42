"""Polls the files of a cluster record for its watches: one task for all watches of a process.

It runs for as long as a watch waits: every ``poll_interval_s``, and every ``calm_interval_s`` when nothing has changed
for a second, because each poll costs every process of the machine some tenths of a millisecond.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path

from qpidha.errors import ClusterError, Unavailable
from qpidha.records.file.recordfile import RecordFile, Signature
from qpidha.records.file.sessionfile import live_sessions
from qpidha.records.file.worker import Worker
from qpidha.records.watch import WatchedValue
from qpidha.system.within import until_set
from qpidha.types import NodeId, Versioned

POLL_TIMEOUT_S = 5.0
"""A poll that takes longer fails: the watches end with `Unavailable`."""
IDLE_S = 1.0
"""The task ends when no watch has waited for this long; the next watch starts it again."""
CALM_AFTER_S = 1.0
"""Polling slows down this long after the last change or the last `Poller.poll_soon`."""


class Poller:
    """The record and the live nodes as last seen in the files, for all watches of one store."""

    def __init__(
        self,
        file: RecordFile,
        sessions: Path,
        worker: Worker,
        *,
        poll_interval_s: float,
        calm_interval_s: float,
    ) -> None:
        self.record: WatchedValue[Versioned | None] = WatchedValue(self._start)
        self.live: WatchedValue[Mapping[NodeId, bytes]] = WatchedValue(self._start)
        self._file = file
        self._sessions = sessions
        self._worker = worker
        self._poll_interval_s = poll_interval_s
        self._calm_interval_s = max(poll_interval_s, calm_interval_s)
        self._calm_from = 0.0
        self._poll_now = asyncio.Event()
        self._signature: Signature | None = None
        self._signature_known = False
        self._task: asyncio.Task[None] | None = None

    def poll_soon(self) -> None:
        """Poll at once, and every `poll_interval_s` for a while: something has changed or is about to. Never blocks."""
        self._stay_quick()
        self._poll_now.set()

    def _stay_quick(self) -> None:
        self._calm_from = time.monotonic() + CALM_AFTER_S

    def _start(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(), name="qpidha-watch")

    async def _run(self) -> None:
        wanted_at = time.monotonic()
        self._signature_known = False
        while time.monotonic() - wanted_at < IDLE_S:
            self._poll_now.clear()
            await self._poll()
            await self._pause()
            if self.record.waiting or self.live.waiting:
                wanted_at = time.monotonic()

    async def _pause(self) -> None:
        """Wait until the next poll is due."""
        if time.monotonic() < self._calm_from:
            await asyncio.sleep(self._poll_interval_s)
        else:
            await until_set(self._poll_now, self._calm_interval_s)

    async def _poll(self) -> None:
        known = self.record.stamp, self.live.stamp
        await self._glance_and_read()
        if (self.record.stamp, self.live.stamp) != known:
            self._stay_quick()

    async def _glance_and_read(self) -> None:
        self.record.begin()
        self.live.begin()
        try:
            live, signature = await self._worker.run(self._glance, POLL_TIMEOUT_S)
            self.live.set(live)
            if self._signature_known and signature == self._signature:
                self.record.confirm()
                return
            found = await self._worker.run(self._file.read, POLL_TIMEOUT_S)
        except Unavailable as error:
            self._fail(error)
        except ClusterError as error:
            self._signature_known = False  # Read it again next time: it may have been repaired.
            self.record.fail(error)
        except Exception as error:  # noqa: BLE001 - a bug must not leave the followers waiting for ever
            self._fail(error)
        else:
            # A change since the glance is found by the next glance, because the signature differs.
            self._signature = signature
            self._signature_known = signature is None or signature.settled
            self.record.set(found)

    def _glance(self) -> tuple[dict[NodeId, bytes], Signature | None]:
        try:
            return live_sessions(self._sessions), self._file.signature()
        except OSError as error:
            raise Unavailable(f"cannot read {self._sessions}: {error.strerror}") from error

    def _fail(self, error: Exception) -> None:
        self._signature_known = False
        self.record.fail(error)
        self.live.fail(error)

    async def close(self) -> None:
        """End all watches, then the task. May be called twice."""
        self.record.close()
        self.live.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
