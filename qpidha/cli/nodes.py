"""Commands that ask running nodes: ``qpidha status``, ``promote``, ``demote``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from qpidha.amounts import advance
from qpidha.cli.cluster import peek
from qpidha.cli.console import (
    OK,
    PARTLY,
    PROBLEM,
    UNREACHABLE,
    about,
    complain,
    deliver,
    fail,
    lines_of_record,
    words,
)
from qpidha.cli.found import socket_of
from qpidha.cli.port import port_of
from qpidha.cli.text import View, name, names, number, printable
from qpidha.cli.work import LeftOut, TimeUp, gather, hung, one, require_no_cluster
from qpidha.node.ask import NoAnswer, ask_blocking

ELSEWHERE = "on another one, or never started"
GRACE_S = 0.5
"""How much longer than the time limit to wait for a thread: it does not end if its disk does not answer."""


@dataclass(frozen=True, slots=True)
class Row:
    """One directory that was asked for."""

    directory: Path | str
    status: dict[str, Any] | None = None
    error: BaseException | None = None

    @property
    def stopped(self) -> str | None:
        """Why the node has stopped, if it has."""
        return stopped_of(self.status) if self.status is not None else None

    @property
    def wrong(self) -> bool:
        """Whether the node reports that something is wrong."""
        s = View(self.status)
        wrong = ("store_error", "broker_error", "place_given_up", "hand_over", "troubles")
        return self.stopped is not None or any(s.raw(key) for key in wrong)

    def failure(self) -> dict[str, Any]:
        """For JSON."""
        kind = self.error.kind if isinstance(self.error, NoAnswer) else "hung"
        if not isinstance(self.error, (NoAnswer, TimeUp)):
            kind = "failed"
        return {"kind": kind, "reason": words(self.error) if self.error else ""}


def stopped_of(status: dict[str, Any]) -> str | None:
    """Why a node that answers has stopped; None: it runs."""
    found = status.get("stopped")
    if isinstance(found, dict):
        parts = [str(found[key]) for key in ("reason", "error") if found.get(key)]
        return ": ".join(dict.fromkeys(parts)) or "no reason is known"
    return None if found is None or found is False else str(found)


# --- status --------------------------------------------------------------------------------------


def run_status(args: argparse.Namespace) -> int:
    """Run ``qpidha status``; returns the exit code."""
    queues = args.queues if args.queues is not None or args.json else QUEUES_SHOWN
    directories = list(dict.fromkeys(args.directory))
    jobs: list[Callable[[], Any]] = [
        partial(status_in, directory, socket_of(args, directory), args.timeout, queues)
        for directory in directories
    ]
    if args.cluster:
        jobs.append(partial(peek, args.cluster))
    answers = gather(jobs, args.timeout + GRACE_S)
    rows = [row_of(*pair) for pair in zip(directories, answers, strict=False)]
    left_out = [row.directory for row in rows if isinstance(row.error, LeftOut)]
    rows = [row for row in rows if not isinstance(row.error, LeftOut)]
    record = answers[-1] if args.cluster else None
    code = code_of(rows, record)
    failures = {str(row.directory): row.failure() for row in rows if row.error}
    if args.json:
        nodes = {str(row.directory): row.status for row in rows}
        document = {"nodes": nodes, "record": None, "errors": failures, "left_out": left_out}
        document["elsewhere"] = args.elsewhere
        if isinstance(record, BaseException):
            failures[str(args.cluster)] = Row(args.cluster, error=record).failure()
        else:
            document["record"] = record
        deliver(args, code, document, ())
    for directory in left_out:
        complain(f"{name(directory)}: left out: it holds the record of a cluster, not a node")
    for row in rows:
        show_row(args, row, code)
    if args.elsewhere:
        deliver_text(
            args,
            code,
            [f"not asked: {names(args.elsewhere)} (no store on this machine: {ELSEWHERE})"],
        )
    if isinstance(record, BaseException):
        complain(f"cannot read the record: {about(args.cluster, record)}")
    elif record is not None:
        deliver_text(args, code, lines_of_record(record))
    elif args.cluster:
        deliver_text(args, code, [f"record: there is none in {name(args.cluster)}"])
    if not rows and not args.elsewhere:
        complain("no directory of a node was given")
    return code


def status_in(directory: Path, socket: Path, timeout_s: float, queues: int | None) -> dict[str, Any]:
    """The status of the node in this directory.

    Raises:
        NoAnswer: None answers.
        LeftOut: This is no node's directory.
    """
    options = {} if queues is None else {"queues": queues}
    try:
        answer = ask_blocking(socket, "status", timeout_s=timeout_s, **options)
    except NoAnswer as error:
        if error.kind == "no-socket":
            require_no_cluster(directory)
        raise
    status = answer.get("status")
    if answer["ok"] is not True or not isinstance(status, dict):
        raise NoAnswer("failed", f"it answers, but with an error: {answer.get('error')}")
    if queues is not None and isinstance(status.get("queues"), list):  # An older node names all.
        status.setdefault("queue_count", len(status["queues"]))
        status["queues"] = status["queues"][:queues]
    return status


def row_of(directory: Path, answer: Any) -> Row:
    """What is shown of the node in a directory, from its answer or the error."""
    answer = hung(answer, "its disk or file system does not answer")
    if isinstance(answer, BaseException):
        return Row(directory, error=answer)
    return Row(directory, status=answer)


def code_of(rows: list[Row], record: Any) -> int:
    """The exit code for these answers."""
    asked = [row.status is not None for row in rows]
    if isinstance(record, BaseException):
        asked.append(False)
    if not any(asked):
        return UNREACHABLE
    if not all(asked):
        return PARTLY
    return PROBLEM if any(row.wrong for row in rows) else OK


def show_row(args: argparse.Namespace, row: Row, code: int) -> None:
    """Print what is known of one node."""
    if row.error is not None:
        complain(f"no node answers in {about(row.directory, row.error)}")
    else:
        deliver_text(args, code, lines_of_status(row))


def deliver_text(args: argparse.Namespace, code: int, lines: list[str]) -> None:
    """Print lines, unless JSON was asked for."""
    if not args.json:
        deliver(args, code, None, lines)


QUEUES_SHOWN = 20
STALL_SHOWN_S = 0.2
FAULTS = {
    "place_given_up": "gave its place up",
    "hand_over": "leaves the place of the primary",
    "broker_error": "broker failed",
    "store_error": "store failed",
}
"""Fields that are empty in a node that is in order."""


def lines_of_status(row: Row) -> list[str]:
    """The lines that show the status of a node."""
    s = View(row.status)
    if row.stopped is not None:
        head = f"node {s.name('node')}: stopped: {printable(row.stopped)}"
    else:
        in_sync = "in sync" if s.flag("in_sync") else "not in sync"
        head = f"node {s.name('node')}: {s.name('role')}, generation {s.number('generation')}, {in_sync}"
    lines = [
        head,
        f"  primary {s.name('primary')}; members {s.names('members')}; live {s.names('live')}",
    ]
    if s.flag("below_min_in_sync"):
        there = f"{len(s.items('members'))} of {s.number('min_in_sync')} members (min_in_sync)"
        lines.append(f"  operations are refused: {there}; missing {s.names('missing')}")
    if s.items("held_by"):
        lines.append(f"  waits for {', '.join(hold_in_words(hold) for hold in s.views('held_by'))}")
    elif s.items("waiting_for"):  # An older node.
        lines.append(f"  publishes are held: waiting for {s.names('waiting_for')}")
    lines += [
        f"  publishers are slowed to {b.number('bytes_per_s')} bytes/s while {b.name('backup')} catches up:"
        f" {b.number('staged_bytes')} bytes copied in {b.seconds('since_s')} s, about {b.number('left_bytes')} left"
        for b in s.views("slowed")
    ]
    lines += lines_of_backups(s)
    recent, worst = s.raw("loop_stall_recent_s"), s.raw("loop_stall_worst_s")
    if isinstance(recent, float) and isinstance(worst, float) and recent > STALL_SHOWN_S:
        lines.append(
            f"  its event loop stood still for {recent:.2f} s in the last minute, {worst:.2f} s at most"
        )
    lines += lines_of_queues(s)
    if s.positive("quarantined"):
        lines.append(f"  {s.number('quarantined')} messages in quarantine")
    lines += [
        f"  trouble: {t.text('cause')}: {t.text('text')} (for {t.number('began_ago_s')} s,"
        f" {t.number('attempts')} times, last {t.number('last_ago_s')} s ago)"
        for t in s.views("troubles")
    ]
    if s.raw("certificate_days_left") is not None:
        lines.append(f"  certificate expires in {s.number('certificate_days_left')} days")
    if s.raw("broker") not in (None, "standby", "serving"):
        lines.append(f"  broker: {s.name('broker')}, for {s.seconds('broker_since_s')} s")
    for key, what in FAULTS.items():
        if s.raw(key):
            lines.append(f"  {what}: {s.text(key)}")
    return lines


def lines_of_backups(s: View) -> list[str]:
    """The lines that show the backups of a primary."""
    lines = []
    for b in s.views("sessions"):
        joining = s.same("joining", b.raw("node"))
        kind = "member" if b.flag("member") else "joining" if joining else "not a member"
        lines.append(
            f"  backup {b.name('node')}: {b.name('state')}, {kind}, {b.number('behind')} operations behind"
        )
        if said := catch_up_in_words(b):
            lines.append(f"    catches up: {said}")
    return lines


def catch_up_in_words(session: View) -> str:
    """How far the resynchronisation of a backup has come; empty: it follows, or its primary is an older node."""
    raw = session.raw("catch_up")
    if not isinstance(raw, dict):
        return ""
    copied, left, since_s = (
        max(0.0, number(raw.get(key)) or 0.0) for key in ("copied_bytes", "left_bytes", "since_s")
    )
    total = int(copied + left) if left or session.raw("state") == "streaming" else 0
    return advance(int(copied), total, copied / since_s if since_s > 0 else None)


def hold_in_words(hold: View) -> str:
    """What is waited for, as `qpidha.node.holds.Hold` says it; also of a kind that this version does not know."""
    node, kind = hold.name("node"), hold.raw("kind")
    what = {
        "disk": f"the disk of {node}",
        "backup": f"backup {node}",
        "catch-up": f"backup {node} to catch up",
        "members": f"member {node}",
        "manager": "the cluster manager",
        "broker": f"the broker of {node} to take over",
    }.get(str(kind), f"{hold.name('kind')} {node}")
    return f"{what} for {hold.number('since_s')} s"


def lines_of_queues(s: View) -> list[str]:
    """The lines that show the queues of a node."""
    shown = s.views("queues")
    lines = [
        f"  queue {q.name('name')}: {q.number('depth')} messages, {q.number('bytes')} bytes,"
        f" next id {q.number('next_id')}, {q.number('pending')} pending"
        for q in shown
    ]
    total = s.raw("queue_count")
    if type(total) is int and total > len(shown):
        lines.append(f"  ... and {total - len(shown)} more queues (--queues {total} names all)")
    return lines


# --- promote, demote -----------------------------------------------------------------------------


def run_promote(args: argparse.Namespace) -> int:
    """Run ``qpidha promote``; returns the exit code."""
    return steer(args, "promote")


def run_demote(args: argparse.Namespace) -> int:
    """Run ``qpidha demote``; returns the exit code."""
    return steer(args, "demote")


def asked(args: argparse.Namespace, command: str) -> dict[str, Any]:
    """The answer of the node, on its HTTP port or its control socket. Raises `NoAnswer`."""
    if args.url is not None:
        return port_of(args, args.url).order(command, args.timeout)
    return ask_blocking(socket_of(args, args.directory), command, timeout_s=args.timeout)


def steer(args: argparse.Namespace, command: str) -> int:
    """Ask one node to change its role, and say what came of it."""
    try:
        answer = one(lambda: asked(args, command), args.timeout + GRACE_S)
    except (NoAnswer, TimeUp) as error:
        reason = about(args.directory, error)
        if isinstance(error, TimeUp) or error.kind in ("hung", "closed"):
            reason += f". The node may still do it later: `qpidha status` shows the result ({command})"
        if args.json:
            kind = error.kind if isinstance(error, NoAnswer) else "hung"
            deliver(args, UNREACHABLE, {"ok": False, "error": words(error), "kind": kind}, ())
        return fail(f"no node answers in {reason}")
    code = OK if answer["ok"] is True else PROBLEM
    if code != OK and not args.json:
        return fail(f"refused: {printable(answer.get('error'))}", code)
    generation = View(answer).number("generation")
    done = f"primary of generation {generation}" if command == "promote" else "not primary any more"
    return deliver(args, code, answer, [done])
