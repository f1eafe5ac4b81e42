"""What the keys of the live screen ask of a node, and its answer in words. Everything here blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qpidha.cli.console import why
from qpidha.cli.explain import lines_of
from qpidha.cli.nodes import GRACE_S
from qpidha.cli.port import Port
from qpidha.cli.text import View, name, printable
from qpidha.cli.work import TimeUp, one
from qpidha.node.ask import NoAnswer, ask_blocking

ORDER_TIMEOUT_S = 15.0


def steer(socket: Path | Port, node: str, command: str) -> str:
    """Ask a node to ``promote`` or ``demote``. One line: what came of it."""
    answer, failure = _asked(socket, node, command)
    if failure is not None:
        return f"{failure}. It may still do it later"
    if answer["ok"] is not True:
        return f"{name(node)} refuses: {printable(answer.get('error'))}"
    if command == "promote":
        return f"{name(node)} is primary of generation {View(answer).number('generation')}"
    return f"{name(node)} is not primary any more"


def explain(socket: Path | Port, node: str, words: str) -> list[str]:
    """What became of a message, ``QUEUE ID``, or why publishes are not confirmed, ``QUEUE`` or nothing."""
    if isinstance(socket, Port):
        return [f"{name(node)} is on another machine: run `qpidha why` there"]
    options: dict[str, object] = {}
    queue, _, id = words.strip().rpartition(" ")
    if queue and id.isascii() and id.isdigit() and len(id) <= 20:
        options = {"queue": queue.strip(), "id": int(id)}
    elif words.strip():
        options = {"queue": words.strip()}
    command = "why" if "id" in options else "unconfirmed"
    answer, failure = _asked(socket, node, command, **options)
    if failure is not None:
        return [failure]
    if answer["ok"] is not True:
        return [f"{name(node)} refuses: {printable(answer.get('error'))}"]
    return lines_of(View(answer.get(command)), ())


def _asked(
    socket: Path | Port, node: str, command: str, **options: object
) -> tuple[dict[str, Any], str | None]:
    """The answer, or why there is none."""
    try:
        if isinstance(socket, Port):
            return one(lambda: socket.order(command, ORDER_TIMEOUT_S), ORDER_TIMEOUT_S + GRACE_S), None
        return one(
            lambda: ask_blocking(socket, command, timeout_s=ORDER_TIMEOUT_S, **options),
            ORDER_TIMEOUT_S + GRACE_S,
        ), None
    except (NoAnswer, TimeUp) as error:
        return {}, f"{name(node)} does not answer: {why(error)}"
