"""Sessions: a key with a lease that a task in the node's event loop keeps alive, so that it ends if the loop hangs."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from typing import Any

from qpidha.errors import ClusterError, Conflict, ManagerRefused, OutcomeUnknown, Unavailable
from qpidha.records.etcd.gateway import Gateway
from qpidha.records.etcd.layout import (
    Entry,
    Layout,
    entry,
    found_by,
    put_if,
    reading,
    revision_is,
    text,
)
from qpidha.records.format import INFO
from qpidha.records.opener import OPENER_BYTES, OpenerName
from qpidha.types import NodeId

KEEP_ALIVES_PER_TTL = 4
DEADLINE_MARGIN = 0.1
"""Fraction of the TTL by which the deadline is earlier for the owner than for etcd."""
OPEN_TIMEOUT_S = 5.0
"""For each request of `Opener.open`."""
CLOSE_TIMEOUT_S = 2.0
LOOK_INTERVAL_S = 0.1
"""How often the lease of another session is looked at, until it is known whether its owner is alive."""
SILENCES = 4
"""A keep-alive may take so many times as long as the read before it, and at least ``attempt_timeout_s``."""
RENEWALS = 2
"""So many renewals of a lease show that its owner is alive."""


class Opener:
    """Opens sessions of one store."""

    def __init__(self, gateway: Gateway, layout: Layout) -> None:
        self._gateway = gateway
        self._layout = layout
        self.name = OpenerName()
        self._open: dict[NodeId, EtcdSession] = {}

    async def open(self, node: NodeId, info: bytes, ttl_s: float) -> EtcdSession:
        """See `EtcdRecordStore.open_session`."""
        ours = self._open.get(node)
        if ours is not None and not ours.lost:
            raise self._held(node)
        await self._wait_until_free(node)
        sent_at = time.monotonic()
        lease, granted_s = await self._grant(ttl_s)
        key, value = self._layout.session(node), bytes(self.name) + info
        try:
            answer = await self._ask("/v3/kv/txn", put_if(key, [revision_is(0)], value, lease), changes=True)
            with reading():
                found = None if answer.get("succeeded") else found_by(answer)
        except BaseException:
            self._forget(lease)
            raise
        if found is not None and found.lease != lease:
            self._forget(lease)
            raise self._held(node)
        revision = found.revision if found else int(answer["header"]["revision"])
        session = EtcdSession(
            self._gateway,
            key,
            bytes(self.name),
            lease,
            revision=revision,
            granted_s=granted_s,
            opened_at=sent_at,
        )
        self._open[node] = session
        self.name.opened()
        return session

    def _held(self, node: NodeId) -> Conflict:
        message = f"another process holds the session of node {node!r} at {self._layout.prefix} in etcd"
        return Conflict(message, current=None)

    async def _grant(self, ttl_s: float) -> tuple[int, float]:
        answer = await self._ask("/v3/lease/grant", {"TTL": str(math.ceil(ttl_s))})
        with reading():
            lease, granted_s = int(answer["ID"]), float(int(answer["TTL"]))
            if granted_s <= 0:
                raise ValueError(f"it grants {granted_s:g} s")
            return lease, granted_s

    def _forget(self, lease: int) -> None:
        """End a lease that leads to no session, without waiting. If that fails, it expires."""
        work = self._gateway.ask("/v3/lease/revoke", {"ID": str(lease)}, CLOSE_TIMEOUT_S, changes=True)
        task = asyncio.get_running_loop().create_task(work, name="qpidha-etcd-revoke")
        self._gateway.background(task)

    async def _wait_until_free(self, node: NodeId) -> None:
        """Return when there is no session of this node. Raises `Conflict` once it is known that its owner is alive.

        A lease that nobody renews has less and less time left. etcd tells that time in whole seconds, cut off. One
        renewal says little: it may be the last one of a process that was killed, or of a new leader of etcd, which renews
        all.
        """
        lease, first_s, since, renewals = 0, 0, 0.0, 0
        while (found := await self._look(node)) is not None:
            if self.name.replaces(found.value[:OPENER_BYTES]):
                await self._remove(node, found)
                continue
            if not found.lease:
                raise self._held(node)
            asked_at = time.monotonic()
            left_s = await self._time_left(found.lease)
            if found.lease != lease:
                lease, renewals, first_s, since = found.lease, 0, left_s, time.monotonic()
            elif left_s >= first_s + 1 - (asked_at - since):
                renewals, first_s, since = renewals + 1, left_s, time.monotonic()
                if renewals == RENEWALS:
                    raise self._held(node)
            await asyncio.sleep(LOOK_INTERVAL_S)

    async def _look(self, node: NodeId) -> Entry | None:
        answer = await self._ask("/v3/kv/range", {"key": text(self._layout.session(node))})
        return first_of(answer)

    async def _time_left(self, lease: int) -> int:
        answer = await self._ask("/v3/lease/timetolive", {"ID": str(lease)}, linearizable=False)
        return ttl_of(answer)

    async def _remove(self, node: NodeId, found: Entry) -> None:
        key = text(self._layout.session(node))
        body = {
            "compare": [{"key": key, "result": "EQUAL", **revision_is(found.revision)}],
            "success": [{"request_delete_range": {"key": key}}],
        }
        await self._ask("/v3/kv/txn", body, changes=True)

    async def _ask(
        self, path: str, body: dict[str, Any], *, changes: bool = False, linearizable: bool = True
    ) -> dict[str, Any]:
        ask = self._gateway.read if linearizable and path.startswith("/v3/kv/") else self._gateway.ask
        return await ask(path, body, OPEN_TIMEOUT_S, changes=changes)


class EtcdSession:
    """A `Session`. Made by `EtcdRecordStore.open_session` only."""

    def __init__(
        self,
        gateway: Gateway,
        key: bytes,
        opener: bytes,
        lease: int,
        *,
        revision: int,
        granted_s: float,
        opened_at: float,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.granted_ttl_s = granted_s
        self._gateway = gateway
        self._key = key
        self._opener = opener
        self._lease = lease
        self._revision = revision
        self._kept_at = opened_at
        self._lost: asyncio.Future[str] = loop.create_future()
        self._revoked = False
        self._task = loop.create_task(self._keep_alive(), name="qpidha-session")

    @property
    def lost(self) -> bool:
        """Whether it is over."""
        return self._lost.done()

    def deadline(self) -> float:
        """Monotonic: when the last successful keep-alive was sent, plus the TTL, less a margin.

        After it others may consider this node dead. If etcd has no majority, it does not; then the session goes on when
        it has one again.
        """
        return self._kept_at + self.granted_ttl_s * (1 - DEADLINE_MARGIN)

    async def update(self, info: bytes) -> None:
        """Replace the info that others see.

        Raises:
            Unavailable: The session is lost, or no member answers, or etcd refuses.
            OutcomeUnknown: It was sent, and no member has answered in time. Repeat it.
            ArgumentError: Not bytes, or too many.
        """
        INFO("info", info)
        value = self._opener + info
        until = time.monotonic() + self.granted_ttl_s
        while True:
            if self._lost.done():
                raise Unavailable(f"the session is lost: {self._lost.result()}")
            left_s = max(0.0, until - time.monotonic())
            body = put_if(self._key, [revision_is(self._revision)], value, self._lease)
            answer = await self._gateway.read("/v3/kv/txn", body, left_s, changes=True)
            if answer.get("succeeded"):
                self._revision = int(answer["header"]["revision"])  # The gateway has looked at it.
                return
            with reading():
                found = found_by(answer)
            if found is None or found.lease != self._lease:
                self._lose("its key was removed")
                continue
            self._revision = (
                found.revision
            )  # An earlier update was written after all, or this one at another member.
            if found.value == value:
                return

    async def wait_lost(self) -> str:
        """Returns, with a reason, when the session is lost or closed."""
        return await asyncio.shield(self._lost)

    async def close(self) -> None:
        """End the lease: others see it at once. May be called twice.

        Raises:
            Unavailable, OutcomeUnknown: etcd could not be told; the lease ends when its time is over.
        """
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._lose("closed")
        if not self._revoked:
            self._revoked = True
            await self._revoke()

    async def _revoke(self) -> None:
        try:
            await self._gateway.ask(
                "/v3/lease/revoke", {"ID": str(self._lease)}, CLOSE_TIMEOUT_S, changes=True
            )
        except ManagerRefused as error:
            if "lease not found" not in str(error):
                raise

    async def _keep_alive(self) -> None:
        pause_s = self.granted_ttl_s / KEEP_ALIVES_PER_TTL
        while not self._lost.done():
            await asyncio.sleep(pause_s)
            try:
                why = await self._renewed()
            except (Unavailable, OutcomeUnknown):
                continue  # Without an answer it is not known: the lease may live, and nobody else may have ended it.
            except ClusterError as error:
                why = str(error)
            if why:
                self._lose(why)

    async def _renewed(self) -> str:
        """Renew the lease. Returns why it is over; "": it lives.

        The key is read first: without a leader the members of etcd keep a read waiting, but etcd 3.4 passes a keep-alive
        to a leader that was killed, again and again without a pause. For the same reason a keep-alive that is silent for
        much longer than the read is given up before another member would be asked as well.
        """
        asked_at = time.monotonic()
        answer = await self._gateway.read("/v3/kv/range", {"key": text(self._key)}, self.granted_ttl_s)
        sent_at = time.monotonic()
        silence_s = min(
            max(self._gateway.attempt_timeout_s, SILENCES * (sent_at - asked_at)), self.granted_ttl_s
        )
        renewed = await self._gateway.ask("/v3/lease/keepalive", {"ID": str(self._lease)}, silence_s)
        if ttl_of(renewed) <= 0:
            silent_s = time.monotonic() - self._kept_at
            return f"its lease has ended: the last keep-alive that etcd took was {silent_s:.1f} s ago"
        found = first_of(answer)
        if found is None or found.lease != self._lease:
            return "its key was removed"
        self._kept_at = sent_at
        return ""

    def _lose(self, reason: str) -> None:
        if not self._lost.done():
            self._lost.set_result(reason)


def ttl_of(answer: Mapping[str, Any]) -> int:
    """The seconds that a lease has left; 0 or less: it has ended. Raises `ClusterError`."""
    with reading():
        return int(answer.get("TTL", 0))


def first_of(answer: Mapping[str, Any]) -> Entry | None:
    """The key that was read; None: there is none. Raises `ClusterError`."""
    with reading():
        kvs = answer.get("kvs")
        return entry(kvs[0]) if kvs else None
