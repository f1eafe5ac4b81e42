"""When a session of etcd asks for its lease to be renewed, and what the answers mean. The member here is a script."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from qpidha.errors import Unavailable
from qpidha.records.etcd.layout import text
from qpidha.records.etcd.session import EtcdSession
from tests.support.harness import until

LEASE = 7
SILENCE_S = 0.5
HERE = {"kvs": [{"key": text(b"k"), "value": text(b"v"), "mod_revision": "5", "lease": str(LEASE)}]}


class Etcd:
    """A gateway that notes what it is asked."""

    attempt_timeout_s = SILENCE_S

    def __init__(self) -> None:
        self.asked: list[tuple[str, float]] = []
        """Paths, and how long an answer may take."""
        self.leads = asyncio.Event()
        self.leads.set()
        self.found: dict[str, Any] = HERE
        self.ttl = "2"
        self.silent = False

    async def read(self, path: str, body: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        self.asked.append((path, timeout_s))
        await self.leads.wait()
        return self.found

    async def ask(self, path: str, body: dict[str, Any], timeout_s: float, **_: bool) -> dict[str, Any]:
        self.asked.append((path, timeout_s))
        if self.silent:
            raise Unavailable("no member of etcd answers")
        return {"TTL": self.ttl}

    @property
    def paths(self) -> list[str]:
        return [path.rpartition("/")[2] for path, _ in self.asked]


def play(main: Callable[[Etcd, EtcdSession], Awaitable[None]]) -> None:
    async def wrapped() -> None:
        etcd, now = Etcd(), asyncio.get_running_loop().time()
        session = EtcdSession(etcd, b"k", b"n" * 16, LEASE, revision=5, granted_s=0.04, opened_at=now)  # type: ignore[arg-type]
        try:
            await asyncio.wait_for(main(etcd, session), 30)
        finally:
            await session.close()

    asyncio.run(wrapped())


def test_a_lease_is_renewed_after_a_read_that_a_leader_has_answered() -> None:
    async def main(etcd: Etcd, session: EtcdSession) -> None:
        before = session.deadline()
        await until(lambda: session.deadline() > before)
        assert etcd.paths[:2] == ["range", "keepalive"]
        etcd.leads.clear()
        await until(lambda: etcd.paths[-1] == "range")
        asked = len(etcd.asked)
        await asyncio.sleep(0.1)
        assert len(etcd.asked) == asked, "nothing is sent while there is no leader"
        etcd.leads.set()
        await until(lambda: etcd.paths[asked:] != [])
        assert etcd.paths[asked] == "keepalive"

    play(main)


def test_a_keep_alive_that_is_silent_is_given_up_before_another_member_would_be_asked() -> None:
    async def main(etcd: Etcd, session: EtcdSession) -> None:
        session.granted_ttl_s, etcd.silent = 4.0, True
        before = session.deadline()
        await until(lambda: "keepalive" in etcd.paths)
        assert (
            dict(zip(etcd.paths, (timeout_s for _, timeout_s in etcd.asked), strict=True))["keepalive"]
            == SILENCE_S
        )
        assert not session.lost and session.deadline() == before, (
            "it is not known whether the lease was renewed"
        )
        etcd.silent = False

    play(main)


@pytest.mark.parametrize(
    ("found", "ttl", "why"),
    [
        ({}, "0", "its lease has ended: the last keep-alive that etcd took was"),
        ({}, "2", "its key was removed"),
        ({"kvs": [HERE["kvs"][0] | {"lease": "8"}]}, "2", "its key was removed"),
    ],
)
def test_a_session_is_lost_when_its_lease_or_its_key_is(found: dict[str, Any], ttl: str, why: str) -> None:
    async def main(etcd: Etcd, session: EtcdSession) -> None:
        etcd.found, etcd.ttl = found, ttl
        assert (await session.wait_lost()).startswith(why)

    play(main)
