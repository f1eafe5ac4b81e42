"""What the answers of etcd, and the lack of one, mean for a request. The members here are scripts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from qpidha.errors import ClusterError, Conflict, ManagerRefused, OutcomeUnknown, Unavailable
from qpidha.records import EtcdRecordStore
from qpidha.records.etcd import connections
from qpidha.records.etcd.layout import data, text
from qpidha.records.format import encode_value
from qpidha.types import Versioned
from tests.support.harness import until
from tests.support.records import RECORD, newer

HEADER = {"cluster_id": "7", "revision": "5"}
RESET, SILENT = "reset", "silent"
Said = tuple[int, Any] | str
Script = Callable[[str, dict[str, Any]], Said]


class Members:
    """HTTP servers, one for each script, and what they were asked."""

    def __init__(self, *scripts: Script) -> None:
        self.asked: list[tuple[int, str, dict[str, Any], str]] = []
        self.endpoints: list[str] = []
        self._scripts = scripts
        self._servers: list[asyncio.Server] = []
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Members:
        for n, script in enumerate(self._scripts):
            server = await asyncio.start_server(self._serve(n, script), "127.0.0.1", 0)
            self._servers.append(server)
            self.endpoints.append(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0.01)

    def _serve(self, n: int, script: Script) -> Callable[..., Awaitable[None]]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._writers.append(writer)
            try:
                while True:
                    head = (await reader.readuntil(b"\r\n\r\n")).decode()
                    lines = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
                    fields = {name.lower(): value for name, value in lines.items()}
                    body = json.loads(await reader.readexactly(int(fields["content-length"])))
                    path = head.split()[1]
                    self.asked.append((n, path, body, fields.get("authorization", "")))
                    said = script(path, body)
                    if said == SILENT:
                        await reader.read()
                    if isinstance(said, str):
                        break
                    status, answer = said
                    content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                    writer.write(
                        b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(content)) + content
                    )
            except (asyncio.IncompleteReadError, OSError):
                pass  # The client has closed its connection.
            writer.transport.abort()

        return serve


def always(said: Said) -> Script:
    return lambda path, body: said


def kv(record: Any, revision: int) -> dict[str, Any]:
    return {
        "key": text(b"/qpidha/record"),
        "mod_revision": str(revision),
        "value": text(encode_value(record)),
    }


def found(record: Any = RECORD, revision: int = 5, header: dict[str, str] = HEADER) -> Said:
    """The answer to a read of everything."""
    kvs = {"kvs": [kv(record, revision)]} if record else {}
    return 200, {"header": header, "responses": [{"response_range": kvs}, {"response_range": {}}]}


def refusal(code: int, message: str, status: int = 400) -> Said:
    return status, {"error": f"etcdserver: {message}", "code": code}


def run(
    main: Callable[[Members, EtcdRecordStore], Awaitable[None]], *scripts: Script, **options: Any
) -> None:
    async def wrapped() -> None:
        async with Members(*scripts) as members:
            store = EtcdRecordStore(members.endpoints, **{"attempt_timeout_s": 0.2, **options})
            try:
                await asyncio.wait_for(main(members, store), 30)
            finally:
                await store.close()

    asyncio.run(wrapped())


async def write(store: EtcdRecordStore, timeout_s: float = 0.5) -> Versioned:
    return await store.compare_and_set(5, newer(1), timeout_s=timeout_s)


# --- was it sent ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        RESET,
        SILENT,
        refusal(14, "request timed out", 503),
        (502, b"<html>bad gateway</html>"),
        (200, b"no JSON"),
        (404, b"Not Found"),
        (500, {"error": {"grpc_code": 13, "message": "internal"}}),
    ],
    ids=["reset", "silent", "timed-out", "502", "no-json", "404", "internal"],
)
def test_without_a_clear_answer_a_write_is_open_and_a_read_is_not_done(said: Said) -> None:
    async def main(members: Members, store: EtcdRecordStore) -> None:
        with pytest.raises(OutcomeUnknown):
            await write(store)
        with pytest.raises(Unavailable) as caught:
            await store._read_all(0.3)
        assert members.endpoints[0] in str(caught.value)

    run(main, always(said))


@pytest.mark.parametrize(
    ("code", "message", "what"),
    [
        (7, "permission denied", "grant user None a role with readwrite permission"),
        (8, "mvcc: database space exceeded", "etcd is full"),
        (3, "request is too large", "--max-request-bytes"),
        (3, "user name is empty", "give a user and a password"),
        (8, "too many requests", "etcd at"),
    ],
)
def test_what_etcd_refuses_was_not_done(code: int, message: str, what: str) -> None:
    async def main(members: Members, store: EtcdRecordStore) -> None:
        with pytest.raises(ManagerRefused) as caught:
            await write(store)
        assert what in str(caught.value) and message in str(caught.value)
        assert len(members.asked) == 1

    run(main, always(refusal(code, message)))


def test_a_refusal_does_not_speak_for_another_member_that_was_asked() -> None:
    async def main(members: Members, store: EtcdRecordStore) -> None:
        with pytest.raises(OutcomeUnknown, match="permission denied"):
            await write(store, 1.0)

    run(main, always(SILENT), always(refusal(7, "permission denied", 403)))
    run(main, always(RESET), always(refusal(7, "permission denied", 403)))


def test_an_endpoint_that_refuses_connections_is_surely_not_sent_to() -> None:
    async def main(members: Members, store: EtcdRecordStore) -> None:
        for server in members._servers:
            server.close()
            await server.wait_closed()
        with pytest.raises(Unavailable) as caught:
            await write(store, 5.0)
        assert all(endpoint in str(caught.value) for endpoint in members.endpoints)
        with pytest.raises(Unavailable, match="no time was left"):
            await write(store, 0)

    run(main, always(SILENT), always(SILENT))


def test_the_next_member_answers_for_one_that_fails_or_is_silent() -> None:
    for first in (RESET, SILENT, refusal(14, "no leader", 503), (404, b"")):

        async def main(members: Members, store: EtcdRecordStore) -> None:
            assert await store.read() == Versioned(RECORD, 5)
            assert await store.read() == Versioned(RECORD, 5)
            assert [n for n, *_ in members.asked] == [0, 1, 1], "the one that answered is asked first"

        run(main, always(first), always(found()))


# --- the record ------------------------------------------------------------------------------------


def test_a_write_compares_the_revision_and_what_was_there() -> None:
    answers: list[Said] = [
        found(),
        (200, {"header": {"cluster_id": "7", "revision": "6"}, "succeeded": True}),
        (
            200,
            {
                "header": HEADER | {"revision": "8"},
                "responses": [{"response_range": {"kvs": [kv(newer(3), 8)]}}],
            },
        ),
        (
            200,
            {
                "header": HEADER | {"revision": "8"},
                "responses": [{"response_range": {"kvs": [kv(newer(3), 8)]}}],
            },
        ),
        (200, {"header": HEADER | {"revision": "8"}, "responses": [{"response_range": {}}]}),
    ]

    async def main(members: Members, store: EtcdRecordStore) -> None:
        assert await store.read() == Versioned(RECORD, 5)
        assert await write(store) == Versioned(newer(1), 6)
        compares = members.asked[-1][2]["compare"]
        assert {(c["target"], c["result"]) for c in compares} == {
            ("MOD", "EQUAL"),
            ("CREATE", "GREATER"),
            ("VALUE", "EQUAL"),
        }
        assert [c["mod_revision"] for c in compares if c["target"] == "MOD"] == ["5"]
        assert [data(c["value"]) for c in compares if c["target"] == "VALUE"] == [encode_value(RECORD)]
        with pytest.raises(Conflict) as caught:
            await store.compare_and_set(6, newer(2), timeout_s=1.0)
        assert caught.value.current == Versioned(newer(3), 8)
        own = await store.compare_and_set(6, newer(3), timeout_s=1.0)
        assert own == Versioned(newer(3), 8), "it was written by the first try"
        with pytest.raises(Conflict) as caught:
            await store.compare_and_set(8, newer(4), timeout_s=1.0)
        assert caught.value.current is None

    run(main, lambda path, body: answers.pop(0))


def test_an_etcd_that_went_back_or_is_another_one_is_an_error() -> None:
    answers = [
        found(),
        found(revision=4, header={"cluster_id": "7", "revision": "4"}),
        found(header={"cluster_id": "8", "revision": "9"}),
        found(None, header={"cluster_id": "7", "revision": "9"}),
    ]

    async def main(members: Members, store: EtcdRecordStore) -> None:
        assert await store.read() == Versioned(RECORD, 5)
        with pytest.raises(ClusterError, match="went back from revision 5 to 4"):
            await store.read()
        with pytest.raises(ClusterError, match="another etcd ensemble"):
            await store.read()
        assert await store.read() is None

    run(main, lambda path, body: answers.pop(0))


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"header": {}},
        {"header": {"cluster_id": "7"}},
        {"header": {"cluster_id": "7", "revision": "x"}},
        {"header": {"cluster_id": "7", "revision": float("inf")}},
        {"header": HEADER},
        {"header": HEADER, "responses": []},
        {
            "header": HEADER,
            "responses": [{"response_range": {"kvs": [{"value": "%%"}]}}, {"response_range": {}}],
        },
        {"header": HEADER, "responses": [1, 2]},
    ],
    ids=repr,
)
def test_an_answer_that_is_not_etcds_is_an_error(answer: dict[str, Any]) -> None:
    async def main(members: Members, store: EtcdRecordStore) -> None:
        with pytest.raises(ClusterError, match=r"not that of etcd 3\.4 or later"):
            await store.read()

    run(main, always((200, answer)))


def test_an_answer_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "ANSWER_BYTES_MAX", 1000)

    async def main(members: Members, store: EtcdRecordStore) -> None:
        with pytest.raises(Unavailable, match="too long"):
            await store._read_all(0.3)

    run(main, always((200, {"header": HEADER, "filler": "x" * 5000})))


# --- the login -------------------------------------------------------------------------------------


def test_a_refused_token_is_replaced_within_the_request() -> None:
    logins = 0

    def script(path: str, body: dict[str, Any]) -> Said:
        nonlocal logins
        if path.endswith("authenticate"):
            logins += 1
            assert body == {"name": "me", "password": "s3cret"}
            return 200, {"header": HEADER, "token": f"token-{logins}"}
        return found() if logins == 2 else refusal(16, "invalid auth token", 401)

    async def main(members: Members, store: EtcdRecordStore) -> None:
        assert await store.read() == Versioned(RECORD, 5)
        assert [token for *_, token in members.asked] == ["", "token-1", "", "token-2"]

    run(main, script, user="me", password="s3cret")


def test_tokens_that_are_never_taken_end_the_request() -> None:
    def script(path: str, body: dict[str, Any]) -> Said:
        login = path.endswith("authenticate")
        return (
            (200, {"header": HEADER, "token": "t"}) if login else refusal(3, "revision of auth store is old")
        )

    async def main(members: Members, store: EtcdRecordStore) -> None:
        with pytest.raises(ManagerRefused, match="each token") as caught:
            await write(store)
        assert "s3cret" not in repr(caught.value)

    run(main, script, user="me", password="s3cret")


@pytest.mark.parametrize(
    ("said", "error", "why"),
    [
        (
            refusal(3, "authentication failed, invalid user ID or password"),
            ManagerRefused,
            "user 'me' or the password",
        ),
        (refusal(9, "authentication is not enabled"), ManagerRefused, "authentication switched off"),
        (SILENT, Unavailable, "no member of etcd answers"),
        ((200, {"header": HEADER}), ClusterError, "not that of etcd"),
    ],
)
def test_a_login_that_fails_means_that_nothing_was_done(said: Said, error: type[Exception], why: str) -> None:
    async def main(members: Members, store: EtcdRecordStore) -> None:
        with pytest.raises(error) as caught:
            await write(store)
        assert why in str(caught.value)
        assert all(path.endswith("authenticate") for _, path, *_ in members.asked)

    run(main, always(said), user="me", password="s3cret")


def test_a_request_waits_for_the_login_of_another_one_within_its_own_time() -> None:
    """And says whom it waited for: a request without time for its own attempt has no reason of its own."""

    async def main(members: Members, store: EtcdRecordStore) -> None:
        patient = asyncio.ensure_future(store._read_all(20.0))
        await until(lambda: len(members.asked) > 0)
        with pytest.raises(
            Unavailable, match=r"the login of user 'me' had no answer within 0\.3 s"
        ) as caught:
            await asyncio.wait_for(write(store, 0.3), 3.0)
        assert members.endpoints[0] in str(caught.value)
        assert not patient.done()
        await store.close()
        with pytest.raises(Unavailable, match="was closed during the login"):
            await patient

    run(main, always(SILENT), user="me", password="s3cret")


def test_requests_at_the_same_time_share_one_login() -> None:
    def script(path: str, body: dict[str, Any]) -> Said:
        return (200, {"header": HEADER, "token": "t"}) if path.endswith("authenticate") else found()

    async def main(members: Members, store: EtcdRecordStore) -> None:
        await asyncio.gather(*(store.read() for _ in range(3)))
        assert [path.endswith("authenticate") for _, path, *_ in members.asked] == [True, False, False, False]

    run(main, script, user="me", password="s3cret")
