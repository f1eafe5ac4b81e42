"""When a session of etcd asks for its lease to be renewed, and what the answers mean. The member here is a script."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from qpidha.errors import ClusterError, Unavailable
from qpidha.records.etcd.layout import Layout, text
from qpidha.records.etcd.session import EtcdSession, Opener
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
        self.ttl: Any = "2"
        self.silent = False

    async def read(self, path: str, body: dict[str, Any], timeout_s: float, **_: bool) -> dict[str, Any]:
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


# --- answers that nobody can read ----------------------------------------------------------------

UNREADABLE = "an answer is not that of etcd"
NUMBERS = [None, "x", [], {}, float("inf"), float("nan")]
"""Instead of a number."""
KEYS = [7, {"a": 1}, [None], [{}], [HERE["kvs"][0] | {"lease": None}], [HERE["kvs"][0] | {"value": 5}]]
"""Instead of a list of keys."""


@pytest.mark.parametrize("ttl", NUMBERS, ids=repr)
def test_a_keep_alive_that_cannot_be_read_ends_the_session(ttl: Any) -> None:
    async def main(etcd: Etcd, session: EtcdSession) -> None:
        etcd.ttl = ttl
        assert (await session.wait_lost()).startswith(UNREADABLE)

    play(main)


@pytest.mark.parametrize("kvs", KEYS, ids=repr)
def test_a_key_that_cannot_be_read_ends_the_session(kvs: Any) -> None:
    async def main(etcd: Etcd, session: EtcdSession) -> None:
        etcd.found = {"kvs": kvs}
        assert (await session.wait_lost()).startswith(UNREADABLE)

    play(main)


@pytest.mark.parametrize(
    "answer",
    [{}, {"responses": 5}, {"responses": []}, {"responses": [{"response_range": 5}]}],
)
def test_an_update_whose_answer_cannot_be_read_fails(answer: dict[str, Any]) -> None:
    async def main(etcd: Etcd, session: EtcdSession) -> None:
        etcd.leads.clear()  # Only the update is answered.
        updating = asyncio.ensure_future(session.update(b"info"))
        await until(lambda: "txn" in etcd.paths)
        etcd.found = answer
        etcd.leads.set()
        with pytest.raises(ClusterError, match=UNREADABLE):
            await updating

    play(main)


class Answers:
    """A gateway that gives one answer to each path. Whatever is read has a header, which the gateway has looked at."""

    attempt_timeout_s = SILENCE_S

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = {
            "range": {},
            "grant": {"ID": "7", "TTL": "2"},
            "txn": {"succeeded": True},
            "timetolive": {"TTL": "2"},
            "revoke": {},
        } | answers
        self.asked: list[str] = []
        self.tasks: list[asyncio.Task[Any]] = []

    async def ask(self, path: str, *_: object, **__: object) -> dict[str, Any]:
        self.asked.append(path.rpartition("/")[2])
        return {"header": {"cluster_id": "1", "revision": "5"}} | self.answers[self.asked[-1]]

    read = ask

    def background(self, task: asyncio.Task[Any]) -> None:
        self.tasks.append(task)


@pytest.mark.parametrize(
    "answers",
    [
        *({"range": {"kvs": kvs}} for kvs in KEYS),
        *({"range": HERE, "timetolive": {"TTL": ttl}} for ttl in NUMBERS),
        *({"grant": {"ID": "7", "TTL": ttl}} for ttl in (*NUMBERS, "nan", "inf", "0", "-1")),
        *({"grant": {"ID": id, "TTL": "2"}} for id in NUMBERS),
        *({"txn": {"responses": [{"response_range": {"kvs": kvs}}]}} for kvs in KEYS),
        {"txn": {"responses": []}},
    ],
    ids=repr,
)
def test_a_session_is_not_opened_by_answers_that_cannot_be_read(answers: dict[str, Any]) -> None:
    async def main() -> None:
        gateway = Answers(answers)
        opener = Opener(gateway, Layout("/qpidha"))  # type: ignore[arg-type]
        with pytest.raises(ClusterError, match=UNREADABLE):
            await asyncio.wait_for(opener.open("n", b"info", 2.0), 5)
        await asyncio.gather(*gateway.tasks)
        assert ("revoke" in gateway.asked) is ("txn" in gateway.asked), "the lease is ended"

    asyncio.run(main())
