"""Asking a control socket: every way in which there is no answer has a stable kind and a sentence for people."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from qpidha.node import ask as module
from qpidha.node.ask import NoAnswer, ask, ask_blocking

Ask = Callable[..., dict[str, Any]]


def ask_in_a_loop(path: Path, command: str, **options: Any) -> dict[str, Any]:
    return asyncio.run(ask(path, command, **options))


BOTH = pytest.mark.parametrize("asked", [ask_in_a_loop, ask_blocking], ids=["asyncio", "blocking"])


@contextmanager
def server(path: Path, *pieces: bytes, close: bool = True) -> Iterator[list[bytes]]:
    """A process on a control socket that answers one question with these bytes."""
    questions: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            link, _ = listener.accept()
            with link:
                questions.append(link.recv(65536))
                for piece in pieces:
                    link.sendall(piece)
                if not close:
                    link.recv(1)

        thread = Thread(target=serve, daemon=True)
        thread.start()
        yield questions
        if close:
            thread.join(10)


def kind(asked: Ask, path: Path, **options: Any) -> str:
    with pytest.raises(NoAnswer) as caught:
        asked(path, "status", **options)
    assert str(caught.value)
    return caught.value.kind


@BOTH
def test_an_answer_may_come_in_pieces(tmp_path: Path, asked: Ask) -> None:
    path = tmp_path / "c.sock"
    with server(path, b'{"ok": ', b"true}\n") as questions:
        assert asked(path, "status", queues=3) == {"ok": True}
    assert json.loads(questions[0]) == {"command": "status", "queues": 3}


@BOTH
@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([b'{"ok": true'], "closed"),
        ([b"hello\n"], "not-json"),
        ([b"[1]\n"], "not-json"),
        ([b'{"a": 1}\n'], "not-json"),
    ],
    ids=["half", "no JSON", "no object", "no answer"],
)
def test_what_is_no_answer_of_a_node(tmp_path: Path, asked: Ask, pieces: list[bytes], expected: str) -> None:
    path = tmp_path / "c.sock"
    with server(path, *pieces):
        assert kind(asked, path) == expected


@BOTH
def test_an_answer_without_an_end_is_not_read_for_ever(
    tmp_path: Path, asked: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_BYTES_MAX", 100)
    path = tmp_path / "c.sock"
    with server(path, b"x" * 200, close=False):
        assert kind(asked, path) == "too-large"


@BOTH
@pytest.mark.parametrize(("pieces", "expected"), [([], "hung"), ([b"{"], "slow")], ids=["silent", "half"])
def test_a_node_that_does_not_answer_in_time(
    tmp_path: Path, asked: Ask, pieces: list[bytes], expected: str
) -> None:
    path = tmp_path / "c.sock"
    with server(path, *pieces, close=False):
        assert kind(asked, path, timeout_s=0.3) == expected


@BOTH
def test_a_path_without_a_node(tmp_path: Path, asked: Ask) -> None:
    assert kind(asked, tmp_path / "none" / "c.sock") == "no-directory"
    assert kind(asked, tmp_path / "c.sock") == "no-socket"
    (tmp_path / "file").write_text("")
    assert kind(asked, tmp_path / "file") == "not-a-socket"
    assert kind(asked, tmp_path / "file" / "c.sock") == "not-a-directory"
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(tmp_path / "gone.sock"))
    assert kind(asked, tmp_path / "gone.sock") == "refused"


@BOTH
def test_a_long_path_is_no_problem(tmp_path: Path, asked: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address of a socket is limited to about 100 bytes, a path is not."""
    place = tmp_path / ("d" * 100) / ("e" * 100)
    place.mkdir(parents=True)
    monkeypatch.chdir(place)
    with server(Path("c.sock"), b'{"ok": true}\n'):
        assert asked(place / "c.sock", "status") == {"ok": True}
