"""Asks a running node on its control socket: the other side of `qpidha.node.control`.

One line of JSON in each direction. An answer may be long, for it names every queue; `ANSWER_BYTES_MAX` limits it.
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qpidha.system.words import in_words

ANSWER_BYTES_MAX = 256 * 1024 * 1024
"""A million queues with names of usual length. A longer answer is not read to its end."""
READ_BYTES = 256 * 1024
CONNECT_RETRY_S = 0.02
TIMEOUT_S = 15.0


class NoAnswer(OSError):
    """No answer came from a control socket. ``kind`` is stable, for programs; the message is for people."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        """no-directory, not-a-directory, no-socket, not-a-socket, refused, hung, slow, permission, closed, too-large,
        not-json, failed."""


class ShortPath:
    """A path through an open directory, because a socket's path is limited to about 100 bytes."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> str:
        self._fd = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        proc = Path(f"/proc/self/fd/{self._fd}")
        return str(proc / self._path.name) if proc.exists() else str(self._path)

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


async def ask(path: Path, command: str, *, timeout_s: float = TIMEOUT_S, **options: object) -> dict[str, Any]:
    """Ask a running node.

    Args:
        path: Its control socket.
        command: "status", "promote", "demote", "why" or "unconfirmed".
        timeout_s: For everything together.
        options: Further fields of the question: ``queues``, how many queues the answer names at most; ``queue``, ``id``
            and ``generation`` of a message.

    Raises:
        NoAnswer: An OSError that says why there is no answer.
    """
    answer = bytearray()
    with _explained(path, timeout_s, answer):
        await asyncio.wait_for(_asked(path, _question(command, options), answer), timeout_s)
        return _decoded(answer)


async def _asked(path: Path, question: bytes, answer: bytearray) -> None:
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        link.setblocking(False)
        with _short(path) as short:
            await _connect_waiting(link, short)
        reader, writer = await asyncio.open_unix_connection(sock=link)
    except BaseException:
        link.close()
        raise
    try:
        writer.write(question)
        await writer.drain()
        while not answer.endswith(b"\n") and (piece := await reader.read(READ_BYTES)):
            _append(answer, piece)
    finally:
        writer.close()


async def _connect_waiting(link: socket.socket, short: str) -> None:
    while True:
        try:
            return link.connect(short)
        except BlockingIOError:  # asyncio itself would take this for a connection.
            await asyncio.sleep(CONNECT_RETRY_S)


def ask_blocking(
    path: Path, command: str, *, timeout_s: float = TIMEOUT_S, **options: object
) -> dict[str, Any]:
    """`ask` for code without an event loop. Blocks this thread for ``timeout_s`` at most, unless the disk hangs."""
    deadline = time.monotonic() + timeout_s
    answer = bytearray()
    with (
        _explained(path, timeout_s, answer),
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link,
    ):
        with _short(path) as short:
            _connect(link, short, deadline)
        link.sendall(_question(command, options))
        while not answer.endswith(b"\n"):
            link.settimeout(_left(deadline))
            piece = link.recv(READ_BYTES)
            if not piece:
                break
            _append(answer, piece)
        return _decoded(answer)


def _connect(link: socket.socket, short: str, deadline: float) -> None:
    while True:
        link.settimeout(_left(deadline))
        try:
            return link.connect(short)
        except BlockingIOError:  # The queue of connections to be accepted is full.
            time.sleep(min(CONNECT_RETRY_S, _left(deadline)))


def _left(deadline: float) -> float:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


def _question(command: str, options: dict[str, object]) -> bytes:
    return json.dumps({"command": command, **options}).encode() + b"\n"


def _append(answer: bytearray, piece: bytes) -> None:
    answer += piece
    if len(answer) > ANSWER_BYTES_MAX:
        raise NoAnswer("too-large", f"the answer is longer than {ANSWER_BYTES_MAX} bytes")


def _decoded(line: bytearray) -> dict[str, Any]:
    if not line.endswith(b"\n"):
        raise NoAnswer("closed", "the node closed the connection before its answer was complete")
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise NoAnswer("not-json", f"the answer is not that of a node: {error}") from error
    if not isinstance(answer, dict) or "ok" not in answer:
        raise NoAnswer("not-json", "the answer is not that of a node: it has another form")
    return answer


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """The short path of a socket that is there."""
    with ShortPath(path) as short:
        if not stat.S_ISSOCK(os.stat(short).st_mode):
            raise NoAnswer("not-a-socket", f"{path.name} is not a socket")
        yield short


@contextmanager
def _explained(path: Path, timeout_s: float, answer: bytearray) -> Iterator[None]:
    """Convert every failure to `NoAnswer`. All accesses go through this."""
    try:
        yield
    except NoAnswer:
        raise
    except (TimeoutError, asyncio.TimeoutError) as error:
        if answer:
            raise NoAnswer(
                "slow",
                f"it answers, but had not ended after {timeout_s:g} s and {len(answer)} bytes: "
                "give it longer, or ask for fewer queues",
            ) from error
        raise NoAnswer(
            "hung", f"no answer in {timeout_s:g} s: its process is stopped, or its event loop is blocked"
        ) from error
    except FileNotFoundError as error:
        if path.parent.is_dir():
            raise NoAnswer(
                "no-socket", f"there is no {path.name}: the node does not run, or has no control socket here"
            ) from error
        raise NoAnswer("no-directory", "there is no such directory") from error
    except NotADirectoryError as error:
        raise NoAnswer("not-a-directory", "this is not a directory") from error
    except PermissionError as error:
        raise NoAnswer("permission", f"permission denied{owner_of(path, path.parent)}") from error
    except ConnectionRefusedError as error:
        raise NoAnswer(
            "refused", f"nobody listens on {path.name}: the node was killed, or has ended without removing it"
        ) from error
    except (ConnectionResetError, BrokenPipeError) as error:
        raise NoAnswer("closed", "the node closed the connection before its answer was complete") from error
    except OSError as error:
        raise NoAnswer("failed", in_words(error)) from error


def owner_of(*places: Path) -> str:
    """Who may use the first of these places whose owner can be seen, as the end of a sentence; else nothing."""
    for place in places:
        try:
            owner = place.stat().st_uid
        except OSError:
            continue
        try:
            name = pwd.getpwuid(owner).pw_name
        except KeyError:
            name = f"uid {owner}"
        return f": {place.name} belongs to {name}; ask as this user or as root"
    return ""
