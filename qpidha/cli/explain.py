"""``qpidha why``: what became of a message, and why publishes are not confirmed."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from qpidha.cli.console import OK, PROBLEM, UNREACHABLE, about, deliver, fail, words
from qpidha.cli.found import socket_of
from qpidha.cli.nodes import GRACE_S
from qpidha.cli.progress import progress
from qpidha.cli.stores import line_of_audit
from qpidha.cli.text import View, printable
from qpidha.cli.work import one, require_directory, require_no_cluster
from qpidha.errors import ArgumentError, QpidhaError
from qpidha.node.ask import NoAnswer, ask_blocking

ASK_TIMEOUT_S = 15.0
READ_TIMEOUT_S = 120.0
UNKNOWN = ("no-queue", "not-given-out")
"""Verdicts that make the exit code 1: such a message was never there."""


def run_why(args: argparse.Namespace) -> int:
    """Run ``qpidha why``; returns the exit code."""
    wrong = misused(args)
    if wrong:
        args.parser.error(wrong)
    timeout_s = args.timeout or (READ_TIMEOUT_S if args.store else ASK_TIMEOUT_S)
    job: Callable[[], dict[str, Any]] = partial(asked, args, timeout_s)
    if args.store:
        job = partial(looked_up, args.directory, args.queue, args.id, args.generation)
    try:
        answer = one(job, timeout_s + GRACE_S)
    except (QpidhaError, OSError) as error:
        code = PROBLEM if isinstance(error, ArgumentError) else UNREACHABLE
        if args.json:
            kind = error.kind if isinstance(error, NoAnswer) else type(error).__name__
            deliver(args, code, {"ok": False, "error": words(error), "kind": kind}, ())
        return fail(f"{'' if args.store else 'no node answers in '}{about(args.directory, error)}", code)
    if answer["ok"] is not True and not args.json:
        return fail(f"refused: {printable(answer.get('error'))}", PROBLEM)
    found = View(answer.get("why" if args.id is not None else "unconfirmed"))
    unknown = answer["ok"] is not True or found.raw("verdict") in UNKNOWN
    return deliver(args, PROBLEM if unknown else OK, answer, lines_of(found, answer.get("audit", ())))


def misused(args: argparse.Namespace) -> str | None:
    """What is wrong with these options together; None: nothing."""
    if args.id is not None:
        return "--queues goes without an ID" if args.queues is not None else None
    if args.store:
        return "--store needs QUEUE and ID: a store does not know which publishes are confirmed"
    return "--generation needs an ID" if args.generation is not None else None


def lines_of(found: View, audit: Any) -> list[str]:
    """The lines that show an answer: what happened, then what to do, then the audit record."""
    said = [printable(line) for line in found.items("lines")]
    lines = [line if number == 0 else f"  {line}" for number, line in enumerate(said)]
    lines += [f"  to do: {printable(line)}" for line in found.items("to_do")]
    return lines + [line_of_audit(line) for line in audit]


def asked(args: argparse.Namespace, timeout_s: float) -> dict[str, Any]:
    """The answer of a running node. Raises `NoAnswer`."""
    fields = {"queue": args.queue, "id": args.id, "generation": args.generation, "queues": args.queues}
    given = {name: value for name, value in fields.items() if value is not None}
    command = "unconfirmed" if args.id is None else "why"
    return ask_blocking(socket_of(args, args.directory), command, timeout_s=timeout_s, **given)


def looked_up(directory: Path, queue: str, id: int, generation: int | None) -> dict[str, Any]:
    """The answer from a store, which no node needs to serve.

    Raises:
        LeftOut: It is the directory of a cluster.
        StoreError: There is no store, or it cannot be read.
        ArgumentError: The queue is a table.
        OSError: There is no directory, or it cannot be read.
    """
    from qpidha.core.explain import conclude, explain, queue_ref
    from qpidha.core.replica import Replica
    from qpidha.stores.offline import read_audit, read_image

    require_directory(directory, "store")
    require_no_cluster(directory)
    with progress("reading the store") as line:
        image = read_image(directory, progress=line)
    replica = Replica(node=image.status.node, boot=UUID(int=0), image=image)
    wanted: Any = queue_ref(replica, queue)
    found = conclude(explain(replica, wanted, id, generation))
    audit = [line for line in read_audit(directory) if line.queue == found.queue_name]
    return {"ok": True, "why": found.to_dict(), "audit": audit}
