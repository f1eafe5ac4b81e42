"""Answers operators on a local socket in the node's own directory: one JSON line in, one out.

A status names every queue, so it is made and written in pieces: other work of the event loop goes on in between, and
a question may limit how many queues are named (``"queues": N``).

Any process that may open the socket (mode 0600, in a directory of mode 0700) may steer the node; there is no
network port for it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from qpidha.core.explain import queue_ref
from qpidha.core.queue import ReplicatedQueue
from qpidha.errors import QpidhaError
from qpidha.node.ask import ShortPath, ask, ask_blocking
from qpidha.node.parts import Parts
from qpidha.node.roles import Roles
from qpidha.node.socketpath import SocketPath
from qpidha.node.status import queue_facts, status_of
from qpidha.node.why import explained, held_back
from qpidha.system import forks
from qpidha.system.texts import json_text
from qpidha.system.within import within

__all__ = ["Control", "ask", "ask_blocking"]  # Both ends of the socket.

LINE_BYTES_MAX = 256 * 1024
"""A question may name a queue, with up to six characters for each byte of its name."""
QUESTION_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 60.0
"""A client that does not read for so many seconds is cut off."""
QUEUES_A_PIECE = 200
"""About a millisecond of work."""
QUEUES_SHOWN = 20
"""So many queues with publishes that are not confirmed are named unless the question has a number."""
QUEUES_MAX = 100_000


class Control:
    """``{"command": "status"}``, or promote, demote, why, unconfirmed → ``{"ok": true, …}`` or ``{"ok": false, …}``."""

    def __init__(self, parts: Parts, roles: Roles, path: Path) -> None:
        self._parts = parts
        self._roles = roles
        self._path = path
        self._held = SocketPath(path)
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Answer from now on.

        Raises:
            ControlSocketInUse: Another node answers on this path. Nothing of it was touched.
            OSError: The socket cannot be made.
        """
        self._held.take()
        # We remove the socket ourselves: asyncio would do it by the short path, which is gone by then.
        options: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
        try:
            with ShortPath(self._path) as short:
                self._server = await asyncio.start_unix_server(
                    self._serve, short, limit=LINE_BYTES_MAX, **options
                )
            self._held.bound()
            forks.watch(self)
        except BaseException:
            await self.stop()
            raise

    def forked(self) -> Iterable[int]:
        """In a child: the parent goes on answering."""
        server, self._server = self._server, None
        return [] if server is None else [listening.fileno() for listening in server.sockets]

    async def stop(self) -> None:
        """Close the control socket."""
        forks.release(self)
        if self._server is not None:
            self._server.close()
            self._server = None
        self._held.release()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await within(reader.readline(), QUESTION_TIMEOUT_S)
            answer, queues = await self._answer(line)
            await within(self._write(writer, answer, queues), ANSWER_TIMEOUT_S)
        except (OSError, ValueError, asyncio.TimeoutError):
            writer.transport.abort()  # The client is gone, sent no line, or does not read.
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> tuple[dict[str, Any], Sequence[ReplicatedQueue]]:
        """The answer, and the queues that it shall name."""
        try:
            question = json.loads(line)
            command, queues_max = question.get("command"), question.get("queues")
        except (ValueError, AttributeError, RecursionError):
            return {"ok": False, "error": "not a JSON object", "kind": "usage"}, ()
        if queues_max is not None and (type(queues_max) is not int or queues_max < 0):
            return {"ok": False, "error": f"wrong number of queues: {queues_max!r:.50}", "kind": "usage"}, ()
        if command == "status":
            return self._status(), self._parts.handles.first(queues_max)
        if command in ("why", "unconfirmed"):
            return await self._explain(question, queues_max), ()
        return await self._steer(command), ()

    def _status(self) -> dict[str, Any]:
        return {"ok": True, "status": status_of(self._parts, queues_max=0).to_dict()}

    async def _explain(self, question: dict[str, Any], queues_max: int | None) -> dict[str, Any]:
        """What became of a message, or which publishes are not confirmed. Values are checked there."""
        parts = self._parts
        queue: Any = queue_ref(parts.runtime.replica, question.get("queue"))
        try:
            if question["command"] == "why":
                id, generation = question.get("id"), question.get("generation")
                return {"ok": True, "why": (await explained(parts, queue, id, generation)).to_dict()}  # type: ignore[arg-type]
            limit = QUEUES_SHOWN if queues_max is None else min(queues_max, QUEUES_MAX)
            return {"ok": True, "unconfirmed": held_back(parts, queue, limit).to_dict()}
        except QpidhaError as error:
            return {"ok": False, "error": str(error), "kind": type(error).__name__}

    async def _steer(self, command: object) -> dict[str, Any]:
        try:
            if command == "promote":
                await self._roles.promote()
                return {"ok": True, "generation": self._parts.runtime.replica.generation}
            if command == "demote":
                await self._roles.demote()
                return {"ok": True}
        except QpidhaError as error:
            return {"ok": False, "error": str(error), "kind": type(error).__name__}
        return {"ok": False, "error": f"unknown command {command!r:.50}", "kind": "usage"}

    async def _write(
        self, writer: asyncio.StreamWriter, answer: dict[str, Any], queues: Sequence[ReplicatedQueue]
    ) -> None:
        """One line of JSON; the queues are written into the status piece by piece."""
        status = answer.pop("status", None)
        head = json_text(answer)
        if status is None:
            writer.write(f"{head}\n".encode())
            await writer.drain()
            return
        del status["queues"]
        writer.write(f'{head[:-1]}, "status": {json_text(status)[:-1]}, "queues": ['.encode())
        for first in range(0, len(queues), QUEUES_A_PIECE):
            piece = queues[first : first + QUEUES_A_PIECE]
            rows = json_text([queue_facts(self._parts, q) for q in piece])
            writer.write((", " * bool(first) + rows[1:-1]).encode())
            await writer.drain()
            await asyncio.sleep(0)  # `drain` alone does not wait while the other side reads fast enough.
        writer.write(b"]}}\n")
        await writer.drain()
