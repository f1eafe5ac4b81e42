"""Answers operators on a local socket in the node's own directory: one JSON line in, one out.

Whoever may open the socket (mode 0600, in a directory of mode 0700) may steer the node; there is no
network port for it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qpidha.errors import QpidhaError

if TYPE_CHECKING:
    from qpidha.node.node import Node

LINE_BYTES_MAX = 4096


class Control:
    """``{"command": "status" | "promote" | "demote"}`` → ``{"ok": true, …}`` or ``{"ok": false, …}``."""

    def __init__(self, node: Node, path: Path) -> None:
        self._node = node
        self._path = path
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        # We remove the socket ourselves: asyncio would do it by the short path, which is gone by then.
        options: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
        with ShortPath(self._path) as short:
            self._server = await asyncio.start_unix_server(
                self._serve, short, limit=LINE_BYTES_MAX, **options
            )
        os.chmod(self._path, 0o600)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await asyncio.wait_for(reader.readline(), 5.0)
            answer = await self._answer(line)
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except (OSError, ValueError, asyncio.TimeoutError):
            pass  # Whoever asked is gone, or sent no line: there is nobody to tell.
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            command = json.loads(line).get("command")
        except (ValueError, AttributeError):
            return {"ok": False, "error": "not a JSON object", "kind": "usage"}
        try:
            if command == "status":
                return {"ok": True, "status": self._node.status().to_dict()}
            if command == "promote":
                await self._node.promote()
                return {"ok": True, "generation": self._node.generation}
            if command == "demote":
                await self._node.demote()
                return {"ok": True}
        except QpidhaError as error:
            return {"ok": False, "error": str(error), "kind": type(error).__name__}
        return {"ok": False, "error": f"unknown command {command!r}", "kind": "usage"}


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


async def ask(path: Path, command: str, *, timeout_s: float = 15.0) -> dict[str, Any]:
    """Ask a running node. Raises OSError if nobody answers there."""
    with ShortPath(path) as short:
        reader, writer = await asyncio.open_unix_connection(short)
    try:
        writer.write(json.dumps({"command": command}).encode() + b"\n")
        await writer.drain()
        line = await asyncio.wait_for(reader.readline(), timeout_s)
    finally:
        writer.close()
    if not line:
        raise ConnectionResetError("the node closed the connection")
    answer: dict[str, Any] = json.loads(line)
    return answer


def ask_blocking(path: Path, command: str, *, timeout_s: float = 15.0) -> dict[str, Any]:
    """`ask` for code without an event loop."""
    return asyncio.run(ask(path, command, timeout_s=timeout_s))
