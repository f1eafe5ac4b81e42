"""The control socket of one node: any line gets one answer, long ones in pieces, and no client can hold it up."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qpidha.durations import Durations
from qpidha.errors import (
    ControlSocketInUse,
    HandOverRefused,
    LocalProtocolError,
    PromotionRefused,
    QpidhaError,
)
from qpidha.node.ask import NoAnswer, ask
from qpidha.node.control import (
    ANSWER_TIMEOUT_S,
    LINE_BYTES_MAX,
    QUESTION_TIMEOUT_S,
    QUEUES_A_PIECE,
    Control,
)
from qpidha.system import forks
from qpidha.types import QueueSpec
from tests.support.node_parts import Seat, run, turns


class Roles:
    """Takes commands, and refuses them when a test says so."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.refuses: QpidhaError | None = None

    async def promote(self) -> None:
        self._take("promote")

    async def demote(self) -> None:
        self._take("demote")

    def _take(self, command: str) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.taken.append(command)


class Client:
    """The side of a connection that the node writes to."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.writes = 0
        self.closed = False
        self.aborted = False
        self.reads = asyncio.Event()
        self.reads.set()
        self.broken: OSError | None = None
        self.transport = self

    def write(self, data: bytes) -> None:
        self.writes += 1
        self.written += data

    async def drain(self) -> None:
        if self.broken is not None:
            raise self.broken
        await self.reads.wait()

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True


class Site:
    """The control socket of node a, without a socket."""

    def __init__(self, path: Path = Path("/nowhere/control.sock")) -> None:
        self.seat = Seat().enter()
        self.roles = Roles()
        parts: Any = SimpleNamespace(
            runtime=self.seat.runtime,
            engine=self.seat.engine,
            handles=self.seat.handles,
            live=["a"],
            links=SimpleNamespace(addresses=(), certificate_days_left=None),
            place=SimpleNamespace(why_not=None),
            cluster=SimpleNamespace(asked_for_s=None, answers=Durations()),
            notifier=SimpleNamespace(phase="standby", since=0.0, error=None, promoting_for_s=None),
        )
        self.control = Control(parts, self.roles, path)  # type: ignore[arg-type]
        self.client = Client()

    def declare(self, count: int) -> None:
        self.seat.lead()
        for n in range(count):
            self.seat.core.declare(QueueSpec(name=f"q{n}"))
        self.seat.turn()

    async def answer(self, line: bytes) -> dict[str, Any]:
        """What one client is told."""
        await self.serve(line)
        assert self.client.closed and not self.client.aborted
        assert self.client.written.count(b"\n") == 1 and self.client.written.endswith(b"\n")
        answer: dict[str, Any] = json.loads(self.client.written)
        return answer

    def serve(self, line: bytes, *, ended: bool = False) -> asyncio.Future[None]:
        reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
        reader.feed_data(line)
        if ended:
            reader.feed_eof()
        return asyncio.ensure_future(self.control._serve(reader, self.client))  # type: ignore[arg-type]


def answer_to(line: bytes, before: Callable[[Site], object] = lambda site: None) -> dict[str, Any]:
    async def main() -> dict[str, Any]:
        site = Site()
        before(site)
        return await site.answer(line)

    return run(main())


# --- questions -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"\n", "not a JSON object"),
        (b"nonsense\n", "not a JSON object"),
        (b"\xff\xfe\n", "not a JSON object"),
        (b"[]\n", "not a JSON object"),
        (b"null\n", "not a JSON object"),
        (b"[" * 4000 + b"\n", "not a JSON object"),
        (b"{}\n", "unknown command None"),
        (b'{"command": 5}\n', "unknown command 5"),
        (b'{"command": "reboot"}\n', "unknown command 'reboot'"),
        (b'{"command": "status", "queues": -1}\n', "wrong number of queues: -1"),
        (b'{"command": "status", "queues": true}\n', "wrong number of queues: True"),
        (b'{"command": "status", "queues": "all"}\n', "wrong number of queues: 'all'"),
        (b'{"command": "status", "queues": 1.5}\n', "wrong number of queues: 1.5"),
    ],
)
def test_nonsense_is_answered_in_words(line: bytes, says: str) -> None:
    answer = answer_to(line)
    assert (answer["ok"], answer["kind"]) == (False, "usage")
    assert answer["error"].startswith(says)


@pytest.mark.parametrize("field", ["command", "queues"])
def test_a_question_nested_as_deeply_as_a_line_allows_is_answered(field: str) -> None:
    """Neither the parser of JSON nor the words of the answer may give up without one."""
    for depth in (*range(50, 2500, 50), LINE_BYTES_MAX // 2 - 50):
        answer = answer_to(b'{"%s": %s%s}\n' % (field.encode(), b"[" * depth, b"]" * depth))
        assert (answer["ok"], answer["kind"]) == (False, "usage")


def test_the_words_of_a_client_are_repeated_in_part_only() -> None:
    answer = answer_to(json.dumps({"command": "x" * 3000}).encode() + b"\n")
    assert len(answer["error"]) < 200


def test_a_command_is_taken_and_its_outcome_told() -> None:
    async def main() -> None:
        site = Site()
        site.seat.lead(generation=7)
        assert await site.answer(b'{"command": "promote"}\n') == {"ok": True, "generation": 7}
        site.client = Client()
        assert await site.answer(b'{"command": "demote"}\n') == {"ok": True}
        assert site.roles.taken == ["promote", "demote"]

    run(main())


@pytest.mark.parametrize(
    "error",
    [PromotionRefused("not a member"), HandOverRefused("no other node"), LocalProtocolError("stopped")],
)
def test_a_refused_command_is_answered_with_the_kind_of_error(error: QpidhaError) -> None:
    for command in ("promote", "demote"):

        def refuse(site: Site) -> None:
            site.roles.refuses = error

        answer = answer_to(json.dumps({"command": command}).encode() + b"\n", refuse)
        assert answer == {"ok": False, "error": str(error), "kind": type(error).__name__}


# --- why -----------------------------------------------------------------------------------------


def ask_why(before: Callable[[Site], object], command: str = "why", **fields: object) -> dict[str, Any]:
    return answer_to(json.dumps({"command": command, **fields}).encode() + b"\n", before)


def published(site: Site) -> None:
    site.seat.lead("b")
    for name in ("orders", "\u0449" * 16_000):
        site.seat.core.declare(QueueSpec(name=name))
        site.seat.turn()
        site.seat.handles.require(name).enqueue(b"one")


@pytest.mark.parametrize("queue", ["orders", "\u0449" * 16_000])
def test_a_message_is_explained(queue: str) -> None:
    answer = ask_why(published, queue=queue, id=1)
    assert answer["ok"] and answer["why"]["verdict"] == "pending"
    assert answer["why"]["queue_name"] == queue and len(answer["why"]["lines"]) > 2
    by_uuid = ask_why(published, queue=answer["why"]["queue"], id=1, generation=1)
    assert by_uuid["why"]["queue_name"] == queue


def test_publishes_that_are_not_confirmed_are_named() -> None:
    answer = ask_why(published, "unconfirmed")
    assert answer["ok"] and answer["unconfirmed"]["queue_count"] == 2
    assert answer["unconfirmed"]["publishes"][0]["queue_name"] == "orders"
    assert len(ask_why(published, "unconfirmed", queues=1)["unconfirmed"]["publishes"]) == 1
    assert len(ask_why(published, "unconfirmed", queues=10**30)["unconfirmed"]["publishes"]) == 2
    assert len(ask_why(published, "unconfirmed", queue="orders")["unconfirmed"]["publishes"]) == 1
    assert ask_why(published, "unconfirmed", queue="nothing")["kind"] == "UnknownQueue"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"queue": "orders"},
        {"queue": "orders", "id": "1"},
        {"queue": "orders", "id": -1},
        {"queue": ["orders"], "id": 1},
        {"queue": "orders", "id": 1, "generation": True},
        {"queue": "$configuration", "id": 1},
    ],
)
def test_a_question_about_no_message_is_refused_in_words(fields: dict[str, object]) -> None:
    answer = ask_why(published, **fields)
    assert (answer["ok"], answer["kind"]) == (False, "ArgumentError")
    assert answer["error"]


# --- status ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "named"), [("", 3), (', "queues": null', 3), (', "queues": 2', 2), (', "queues": 0', 0)]
)
def test_a_status_names_as_many_queues_as_were_asked_for(asked: str, named: int) -> None:
    answer = answer_to(f'{{"command": "status"{asked}}}\n'.encode(), lambda site: site.declare(3))
    assert answer["ok"]
    assert [queue["name"] for queue in answer["status"]["queues"]] == ["q0", "q1", "q2"][:named]
    assert answer["status"]["queue_count"] == 3 and answer["status"]["node"] == "a"


def test_a_number_of_queues_may_be_larger_than_any_machine_counts() -> None:
    answer = answer_to(b'{"command": "status", "queues": 1%s}\n' % (b"0" * 60), lambda site: site.declare(2))
    assert len(answer["status"]["queues"]) == 2


def test_a_node_without_queues_has_a_status() -> None:
    assert answer_to(b'{"command": "status"}\n')["status"]["queues"] == []


def test_a_long_status_is_written_in_pieces_between_which_others_work() -> None:
    async def main() -> None:
        site = Site()
        site.declare(2 * QUEUES_A_PIECE + 1)
        writes_seen: set[int] = set()
        serving = site.serve(b'{"command": "status"}\n')
        while not serving.done():
            writes_seen.add(site.client.writes)
            await asyncio.sleep(0)
        assert {2, 3, 4} <= writes_seen, "the head with the first piece, then each piece in a turn"
        names = [queue["name"] for queue in json.loads(site.client.written)["status"]["queues"]]
        assert names == [f"q{n}" for n in range(2 * QUEUES_A_PIECE + 1)]

    run(main())


# --- clients that do not behave --------------------------------------------------------------------


async def is_cut_off(site: Site, serving: asyncio.Future[None]) -> None:
    await serving
    assert site.client.aborted and site.client.closed


def test_a_client_that_says_nothing_is_cut_off() -> None:
    async def main() -> None:
        site = Site()
        began = site.seat.runtime.now()
        await is_cut_off(site, site.serve(b'{"command": "promote"}'))
        assert QUESTION_TIMEOUT_S <= site.seat.runtime.now() - began < 2 * QUESTION_TIMEOUT_S
        assert site.client.written == b"" and site.roles.taken == []

    run(main())


def test_a_line_without_an_end_is_cut_off_at_its_limit() -> None:
    async def main() -> None:
        site = Site()
        await is_cut_off(site, site.serve(b"x" * (2 * LINE_BYTES_MAX + 1)))
        assert site.client.written == b""

    run(main())


def test_a_client_that_leaves_in_the_middle_of_its_line_is_no_command() -> None:
    async def main() -> None:
        site = Site()
        await site.serve(b'{"command": "promo', ended=True)
        assert site.client.closed and site.roles.taken == []

    run(main())


def test_a_client_that_does_not_read_is_cut_off() -> None:
    async def main() -> None:
        site = Site()
        site.declare(1)
        site.client.reads.clear()
        began = site.seat.runtime.now()
        await is_cut_off(site, site.serve(b'{"command": "status"}\n'))
        assert ANSWER_TIMEOUT_S <= site.seat.runtime.now() - began < 2 * ANSWER_TIMEOUT_S

    run(main())


def test_a_client_that_is_gone_when_its_answer_comes_harms_nothing() -> None:
    async def main() -> None:
        site = Site()
        site.client.broken = BrokenPipeError("gone")
        await is_cut_off(site, site.serve(b'{"command": "status"}\n'))
        site.client = Client()
        assert (await site.answer(b'{"command": "status"}\n'))["ok"]

    run(main())


def test_an_answer_that_is_cancelled_closes_its_connection() -> None:
    async def main() -> None:
        site = Site()
        site.client.reads.clear()
        serving = site.serve(b'{"command": "status"}\n')
        await turns()
        serving.cancel()
        await asyncio.wait({serving})
        assert serving.cancelled() and site.client.closed

    run(main())


# --- the socket ------------------------------------------------------------------------------------


def on_sockets(main: Callable[[Site], Coroutine[Any, Any, None]], path: Path) -> None:
    """With a real loop: sockets are the subject."""

    async def work() -> None:
        site = Site(path)
        try:
            await main(site)
        finally:
            await site.control.stop()

    asyncio.run(work())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Longer than a socket's path may be."""
    return tmp_path / ("d" * 120) / "control.sock"


def test_it_answers_from_the_start_to_the_stop_and_leaves_no_socket(path: Path) -> None:
    async def main(site: Site) -> None:
        await site.control.start()
        assert os.lstat(path).st_mode & 0o777 == 0o600
        for command in ("promote", "demote"):
            assert (await ask(path, command))["ok"]
        assert (await ask(path, "status", queues=0))["status"]["node"] == "a"
        await site.control.stop()
        await site.control.stop()
        with pytest.raises(NoAnswer) as caught:
            await ask(path, "status")
        assert caught.value.kind == "no-socket"

    on_sockets(main, path)


def test_it_may_start_again_after_a_stop(path: Path) -> None:
    async def main(site: Site) -> None:
        for _ in range(2):
            await site.control.start()
            assert (await ask(path, "status"))["ok"]
            await site.control.stop()

    on_sockets(main, path)


def test_a_second_node_on_this_path_is_refused_and_the_first_goes_on(path: Path) -> None:
    async def main(site: Site) -> None:
        await site.control.start()
        other = Site(path)
        with pytest.raises(ControlSocketInUse):
            await other.control.start()
        await other.control.stop()
        assert (await ask(path, "status"))["ok"]

    on_sockets(main, path)


def test_a_socket_that_cannot_be_made_leaves_the_path_free(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(site: Site) -> None:
        async def refused(*_: object, **__: object) -> None:
            raise OSError("no buffer space")

        with monkeypatch.context() as patched:
            patched.setattr(asyncio, "start_unix_server", refused)
            with pytest.raises(OSError, match="no buffer space"):
                await site.control.start()
        other = Site(path)
        await other.control.start()
        await other.control.stop()

    on_sockets(main, path)


def test_a_start_that_is_cancelled_leaves_the_path_free(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(site: Site) -> None:
        async def endless(*_: object, **__: object) -> None:
            await asyncio.get_running_loop().create_future()

        with monkeypatch.context() as patched:
            patched.setattr(asyncio, "start_unix_server", endless)
            starting = asyncio.ensure_future(site.control.start())
            await turns()
            starting.cancel()
            await asyncio.wait({starting})
        assert starting.cancelled()
        other = Site(path)
        await other.control.start()
        await other.control.stop()

    on_sockets(main, path)


def test_a_forked_child_gives_up_the_socket_and_the_parent_goes_on(path: Path) -> None:
    async def main(site: Site) -> None:
        assert list(site.control.forked()) == []
        await site.control.start()
        assert site.control in forks._watched
        server = site.control._server
        assert server is not None
        held = list(site.control.forked())
        assert held == [listening.fileno() for listening in server.sockets]
        assert all(os.fstat(fd) for fd in held)
        assert (await ask(path, "status"))["ok"], "what a child forgets, the parent has"
        server.close()

    on_sockets(main, path)
