"""Requests to a running node over its control socket: long answers, a limit on queues, and errors with reasons."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from qpidha.node import ask as asking
from qpidha.node import control
from qpidha.node.ask import NoAnswer, ask, ask_blocking
from tests.support.harness import World


@contextmanager
def listener(path: Path, backlog: int = 5) -> Iterator[socket.socket]:
    with closing(socket.socket(socket.AF_UNIX)) as sock:
        sock.bind(str(path))
        sock.listen(backlog)
        yield sock


def both(path: Path, timeout_s: float = 0.3) -> list[NoAnswer]:
    """The errors that `ask_blocking` and `ask` raise."""
    with pytest.raises(NoAnswer) as blocking:
        ask_blocking(path, "status", timeout_s=timeout_s)
    with pytest.raises(NoAnswer) as waiting:
        asyncio.run(ask(path, "status", timeout_s=timeout_s))
    return [blocking.value, waiting.value]


def expect(path: Path, kind: str, words: str) -> None:
    for found in both(path):
        assert found.kind == kind
        assert words in str(found)


async def served(path: Path, *names: str, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The answers of a primary with these queues to `ask` and to `ask_blocking`."""
    async with World() as world:
        node = await world.start("a", control=path)
        await node.promote()
        for name in names:
            node.declare(name)
        first = await ask(path, "status", **options)
        second = await asyncio.to_thread(ask_blocking, path, "status", **options)
        return first, second


def test_an_answer_may_be_longer_than_any_line_buffer(tmp_path: Path) -> None:
    names = [f"q{n}" for n in range(700)] + ["\u0449" * 12_000, *(c * 30_000 for c in "abc")]
    for answer in asyncio.run(served(tmp_path / "s", *names)):
        status = answer["status"]
        assert [q["name"] for q in status["queues"]] == names
        assert status["queue_count"] == len(names)
        assert len(json.dumps(answer)) > 64 * 1024


def test_an_answer_has_no_half_of_a_surrogate_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that is not UTF-8 is in it escaped: not every reader of JSON takes what Python makes of it."""
    real = control.status_of
    monkeypatch.setattr(
        control, "status_of", lambda *a, **o: replace(real(*a, **o), store_error=os.fsdecode(b"/d\xff"))
    )
    for answer in asyncio.run(served(tmp_path / "s", "\U0001f600")):
        assert answer["status"]["store_error"] == "/d\\udcff"
        assert [queue["name"] for queue in answer["status"]["queues"]] == ["\U0001f600"]


def test_a_question_may_limit_the_queues(tmp_path: Path) -> None:
    for n in (0, 1, 5, 9):
        for answer in asyncio.run(served(tmp_path / "s", "a", "b", "c", "d", "e", queues=n)):
            assert len(answer["status"]["queues"]) == min(n, 5)
            assert answer["status"]["queue_count"] == 5


def test_a_wrong_number_of_queues_is_refused(tmp_path: Path) -> None:
    for wrong in (-1, "all", True, 1.5, [1]):
        for answer in asyncio.run(served(tmp_path / "s", "a", queues=wrong)):
            assert (answer["ok"], answer["kind"]) == (False, "usage")


def test_other_work_goes_on_while_a_long_answer_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop runs other work between two pieces of a status, even if the client reads fast."""
    turns, seen, real = 0, [], control.queue_facts

    def facts(*arguments: Any) -> dict[str, Any]:
        seen.append(turns)
        return real(*arguments)

    async def scenario() -> None:
        async with World() as world:
            node = await world.start("a", control=tmp_path / "s")
            await node.promote()
            for n in range(3000):
                node.declare(f"q{n}")

            async def count() -> None:
                nonlocal turns
                while True:
                    await asyncio.sleep(0)
                    turns += 1

            counting = asyncio.create_task(count())
            answer = await asyncio.to_thread(ask_blocking, tmp_path / "s", "status")
            counting.cancel()
            assert len(answer["status"]["queues"]) == 3000

    monkeypatch.setattr(control, "queue_facts", facts)
    asyncio.run(scenario())
    assert len(seen) == 3000
    assert max(map(seen.count, set(seen))) <= control.QUEUES_A_PIECE


ODD = (None, True, -1, 1.5, 2**64, 10**30, "", "a", "\ud800", "\0", [], [1], {}, {"a": 1}, str(UUID(int=1)))


def test_any_values_in_a_question_get_an_answer(tmp_path: Path) -> None:
    async def scenario() -> None:
        unexpected: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unexpected.append(context))
        async with World() as world:
            node = await world.start("a", control=tmp_path / "s")
            await node.promote()
            await node.declare("a").enqueue(b"x")
            for command in ("status", "why", "unconfirmed", "promoted"):
                right: dict[str, Any] = {"queue": "a", "id": 1, "generation": 1, "queues": 1}
                for field, odd in itertools.product(right, ODD):
                    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
                    writer.write(json.dumps({"command": command, **right, field: odd}).encode() + b"\n")
                    answer = json.loads(await reader.readline())
                    assert answer["ok"] or answer["error"], (command, field, odd)
                    writer.close()
        assert not unexpected

    asyncio.run(scenario())


def test_an_invalid_question_gets_an_answer_and_harms_no_other_client(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with World() as world:
            await world.start("a", control=tmp_path / "s")
            for line in (b"\n", b"nonsense\n", b"[]\n", b"[" * 4000 + b"\n", b'{"command": 5}\n', b"{}\n"):
                reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
                writer.write(line)
                answer = json.loads(await reader.readline())
                assert (answer["ok"], answer["kind"]) == (False, "usage"), line
                writer.close()
            assert (await ask(tmp_path / "s", "status"))["ok"]

    asyncio.run(scenario())


# --- no answer -----------------------------------------------------------------------------------


def test_no_directory(tmp_path: Path) -> None:
    expect(tmp_path / "gone" / "s", "no-directory", "no such directory")


def test_a_file_in_place_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    expect(tmp_path / "file" / "s", "not-a-directory", "not a directory")


def test_no_socket(tmp_path: Path) -> None:
    expect(tmp_path / "control.sock", "no-socket", "there is no control.sock")


def test_a_file_in_place_of_the_socket(tmp_path: Path) -> None:
    (tmp_path / "control.sock").write_text("")
    expect(tmp_path / "control.sock", "not-a-socket", "is not a socket")


def test_a_socket_without_a_listener(tmp_path: Path) -> None:
    with listener(tmp_path / "control.sock"):
        pass
    expect(tmp_path / "control.sock", "refused", "nobody listens on control.sock")


def test_a_node_that_does_not_answer(tmp_path: Path) -> None:
    with listener(tmp_path / "control.sock"):
        expect(tmp_path / "control.sock", "hung", "no answer in 0.3 s")


def test_a_node_that_hangs_with_a_full_backlog(tmp_path: Path) -> None:
    with listener(tmp_path / "control.sock", backlog=0):
        waiting = []
        for _ in range(10):
            sock = socket.socket(socket.AF_UNIX)
            sock.setblocking(False)
            waiting.append(sock)
            try:
                sock.connect(str(tmp_path / "control.sock"))
            except BlockingIOError:
                break
        else:
            pytest.fail("the backlog is never full")
        found = both(tmp_path / "control.sock")
        for sock in waiting:
            sock.close()
    assert [error.kind for error in found] == ["hung", "hung"]


@pytest.mark.parametrize("said", [b"", b'{"ok": tr', b"SSH-2.0\n", b"[]\n", b"[" * 100_000 + b"\n", b"{}\n"])
def test_an_invalid_answer_is_refused(tmp_path: Path, said: bytes) -> None:
    async def scenario() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.write(said)
            writer.close()

        server = await asyncio.start_unix_server(serve, str(tmp_path / "control.sock"))
        async with server:
            found = await asyncio.to_thread(both, tmp_path / "control.sock", 5.0)
        assert {error.kind for error in found} == {"not-json" if said.endswith(b"\n") else "closed"}

    asyncio.run(scenario())


def test_a_slow_answer_is_reported_as_slow_and_not_as_missing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.write(b'{"ok": true,')
            await reader.read()
            writer.close()

        server = await asyncio.start_unix_server(serve, str(tmp_path / "control.sock"))
        async with server:
            found = await asyncio.to_thread(both, tmp_path / "control.sock", 1.0)
        assert [error.kind for error in found] == ["slow", "slow"]
        assert "it answers, but had not ended after 1 s and 12 bytes" in str(found[0])

    asyncio.run(scenario())


def test_an_answer_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "ANSWER_BYTES_MAX", 100_000)

    async def scenario() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            try:
                while True:
                    writer.write(b"x" * 50_000)
                    await writer.drain()
            except OSError:
                writer.close()

        server = await asyncio.start_unix_server(serve, str(tmp_path / "control.sock"))
        async with server:
            found = await asyncio.to_thread(both, tmp_path / "control.sock", 5.0)
        assert [error.kind for error in found] == ["too-large", "too-large"]

    asyncio.run(scenario())


def test_a_user_without_permission_gets_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "node" / "control.sock"
    path.parent.mkdir()
    with listener(path):
        path.parent.chmod(0)
        if os.geteuid() != 0:
            expect(path, "permission", "permission denied")
            return
        if (pid := os.fork()) == 0:  # Root passes every permission check: switch to another user.
            code = 1
            try:
                os.setgroups([])
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
                ask_blocking(path, "status", timeout_s=1.0)
            except NoAnswer as error:
                code = 0 if error.kind == "permission" else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
