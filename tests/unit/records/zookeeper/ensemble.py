"""An ensemble in memory, and the connections to it: what `Requests` needs of `Link`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from kazoo import exceptions

from qpidha.records.addresses import Address
from qpidha.records.zookeeper.failures import AttemptFailed
from qpidha.records.zookeeper.link import Access, Request

LOST, DONE, UNSENT, HANGS = "lost", "done", "unsent", "hangs"
"""What happens to a batch: it is sent and not done, it is done and the answer is lost, it is not sent, it waits."""


@dataclass
class Stat:
    """What ZooKeeper says of a znode, as far as it is used."""

    czxid: int
    mzxid: int
    version: int = 0
    ctime: int = 1
    ephemeralOwner: int = 0  # noqa: N815 - kazoo's name


@dataclass
class Ensemble:
    """Znodes with their versions."""

    znodes: dict[str, tuple[bytes, Stat]] = field(default_factory=dict)
    zxid: int = 0
    faults: deque[str | Exception] = field(default_factory=deque)
    """What happens to the next batches; an error is the answer to each request."""
    connects: bool = True
    links_max: int = 1000
    """Later connections are refused."""
    links: list[MemoryLink] = field(default_factory=list)
    batches: int = 0

    def do(self, name: str, path: str, *args: Any, **keywords: Any) -> Any:
        """Do one request. Raises errors of kazoo."""
        if name == "sync":
            return path
        there = self.znodes.get(path)
        if name == "exists":
            return there and Stat(**vars(there[1]))
        if name == "create":
            if there is not None:
                raise exceptions.NodeExistsError
            return self._create(path, args[0], keywords)
        if there is None:
            raise exceptions.NoNodeError
        value, stat = there
        if name == "get":
            return value, Stat(**vars(stat))
        if name == "get_children":
            return [p.removeprefix(f"{path}/") for p in self.znodes if p.startswith(f"{path}/")]
        assert name == "set", name
        if args[1] not in (-1, stat.version):
            raise exceptions.BadVersionError
        self.zxid += 1
        changed = Stat(stat.czxid, self.zxid, stat.version + 1)
        self.znodes[path] = args[0], changed
        return Stat(**vars(changed))

    def _create(self, path: str, value: bytes, keywords: dict[str, Any]) -> Any:
        self.zxid += 1
        stat = Stat(self.zxid, self.zxid, ctime=self.zxid)
        self.znodes[path] = value, stat
        return (path, Stat(**vars(stat))) if keywords.get("include_data") else path


class MemoryLink:
    """A connection to `Ensemble`."""

    def __init__(
        self, ensemble: Ensemble, access: Access, ttl_s: float, *, pings: bool, changed: Callable[[], None]
    ) -> None:
        self.ensemble = ensemble
        self.addresses = list(access.addresses)
        self.over = ""
        self.zxid = 0
        self.closed = False
        self.ending = True
        connects = ensemble.connects and len(ensemble.links) < ensemble.links_max
        self.endpoint: Address | None = self.addresses[0] if connects else None
        self.reasons = {} if connects else {one: f"{one}: it refuses" for one in self.addresses}
        ensemble.links.append(self)

    async def wait_connected(self, timeout_s: float) -> bool:
        if self.reasons and not self.over:
            await asyncio.sleep(timeout_s)
        return not self.reasons and not self.over

    async def ask(self, name: str, *args: Any, timeout_s: float, **keywords: Any) -> Any:
        [found] = await self.batch([(name, args, keywords)], timeout_s)
        if isinstance(found, Exception):
            raise found
        return found

    async def batch(self, requests: Iterable[Request], timeout_s: float) -> list[Any]:
        given = list(requests)
        if not given:
            return []
        self.ensemble.batches += 1
        fault = self.ensemble.faults.popleft() if self.ensemble.faults else ""
        if fault == UNSENT:
            await asyncio.sleep(0.02)
            self.over = "the connection was lost"
            raise AttemptFailed(self.over, sent=False)
        if fault == HANGS:
            await asyncio.sleep(3600)
        if isinstance(fault, Exception):
            return [fault for _ in given]
        answers = [self._answer(*one) for one in given] if fault != LOST else []
        if fault:
            self.over = "the connection was lost"
            raise AttemptFailed(f"{self.endpoint}: the connection ended before the answer", sent=True)
        self.zxid = self.ensemble.zxid
        return answers

    def _answer(self, name: str, args: Any, keywords: dict[str, Any]) -> Any:
        try:
            return self.ensemble.do(name, *args, **keywords)
        except exceptions.KazooException as error:
            return error

    def dismiss(self, why: str = "closed") -> None:
        self.over = self.over or why

    async def close(self) -> None:
        self.closed, self.ending = True, False
