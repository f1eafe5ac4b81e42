"""This node's session in the cluster manager: proof of life, and what it publishes about itself."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import Any

from qpidha.errors import ClusterError
from qpidha.events import SessionTimeoutRaised, SessionTrouble
from qpidha.interfaces import RecordStore, Session, SucceedingRecordStore
from qpidha.node.runtime import Runtime
from qpidha.system.backoff import Backoff
from qpidha.system.within import within
from qpidha.types import NodeInfo
from qpidha.wire.info import encode_info


class Presence:
    """Keeps a session open while the node wants to be seen. If the session is lost, it opens another one."""

    def __init__(self, runtime: Runtime, records: RecordStore) -> None:
        self._runtime = runtime
        self._records = records
        self._session: Session | None = None
        self._info: NodeInfo | None = None
        self._stands = True
        self._published: bytes = b""
        self._told_ttl_s = 0.0
        self._wanted = True
        self._changed = asyncio.Event()

    def succeed(self, lock: bytes) -> None:
        """The store of this node is open, with a lock of this name: nobody else has sessions that were opened with it."""
        if lock and isinstance(self._records, SucceedingRecordStore):
            self._records.succeed(lock)

    async def open(self, info: NodeInfo) -> None:
        """The first session. Raises `ClusterError`."""
        self._info = info
        await self._open()

    def stand(self, stands: bool) -> None:
        """Publish the score, or no score: others wait for a better score, not for a node that is no candidate."""
        if stands != self._stands:
            self._stands = stands
            self._changed.set()

    def leave(self) -> None:
        """Close the session: the others see that this node is gone."""
        self._wanted = False
        self._changed.set()

    def come_back(self) -> None:
        """Open a session again, after the node left the cluster."""
        self._wanted = True
        self._changed.set()

    async def run(self) -> None:
        """Never returns."""
        runtime = self._runtime
        retry = Backoff(runtime.settings.record_retry_s, runtime.settings.record_retry_max_s)
        while True:
            self._changed.clear()
            began, timeout_s = runtime.now(), None
            try:
                await within(self._step(), runtime.settings.record_timeout_s)
                runtime.troubles.clear(SessionTrouble)
            except (ClusterError, asyncio.TimeoutError) as error:
                runtime.troubles.report(SessionTrouble(str(error) or "the cluster manager does not answer"))
                timeout_s = retry.delay()
            why = await self._wait(timeout_s)
            if why is not None:
                runtime.troubles.report(SessionTrouble(f"lost: {why}"))
                if runtime.now() - began >= runtime.settings.record_retry_max_s:
                    retry.reset()
                await self.close()
                await asyncio.sleep(retry.delay())

    async def _step(self) -> None:
        """Bring the session to what is wanted."""
        if not self._wanted:
            await self.close()
        elif self._session is None:
            await self._open()
        elif self._published != (info := self._encoded()):
            await self._session.update(info)
            self._published = info

    async def _wait(self, timeout_s: float | None) -> str | None:
        """Until something else is wanted or time is up (None), or the session is lost, with the reason."""
        changed = asyncio.ensure_future(self._changed.wait())
        lost = None if self._session is None else asyncio.ensure_future(self._session.wait_lost())
        everything: set[asyncio.Future[Any]] = {changed, lost} if lost else {changed}
        try:
            await asyncio.wait(everything, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            return str(lost.result() or "its record store says no reason") if lost and lost.done() else None
        finally:
            for waiting in everything:
                waiting.cancel()

    async def _open(self) -> None:
        info = self._encoded()
        self._session = await self._records.open_session(
            self._runtime.id, info, ttl_s=self._runtime.settings.session_ttl_s
        )
        self._published = info
        self._tell_ttl(self._session.granted_ttl_s)

    def _tell_ttl(self, granted_s: float) -> None:
        """Others wait for what was granted: say so if it is more than was asked for."""
        asked_s = self._runtime.settings.session_ttl_s
        if granted_s > asked_s and granted_s != self._told_ttl_s:
            self._told_ttl_s = granted_s
            self._runtime.tell(SessionTimeoutRaised(asked_s, granted_s))

    def _encoded(self) -> bytes:
        assert self._info is not None
        return encode_info(self._info if self._stands else replace(self._info, score=None))

    async def close(self) -> None:
        """Hand over at once: others need not wait for the TTL. May be called twice."""
        session, self._session = self._session, None
        if session is not None:
            with contextlib.suppress(ClusterError):  # The kernel drops it with this process anyway.
                await session.close()
