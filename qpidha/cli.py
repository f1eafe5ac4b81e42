"""The command ``qpidha``: for operators, and for the first five minutes.

Exit codes, stable for scripts:
    0  done, or everything is as it should be
    1  done, and the answer is bad news: a refused promotion, a damaged store, a demo that lost something
    2  wrong usage
    3  a node, a store or the cluster manager cannot be reached
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import sys
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

from qpidha.errors import ClusterError, StoreError

OK, BAD_NEWS, USAGE, UNREACHABLE = range(4)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code."""
    parser = build_parser()
    args = parser.parse_args(argv)
    try:
        run: Callable[[argparse.Namespace], int] = args.run
        return run(args)
    except BrokenPipeError:  # `qpidha … | head`: nobody reads any more, which is no error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        return 130


def build_parser() -> argparse.ArgumentParser:
    from qpidha import __version__

    parser = argparse.ArgumentParser(
        prog="qpidha",
        description="High availability for message brokers: look at nodes and stores, and steer them.",
    )
    parser.add_argument("--version", action="version", version=f"qpidha {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    demo = commands.add_parser(
        "demo", help="three brokers, a stream of messages, and a primary that is killed again and again"
    )
    from qpidha.demo.run import add_arguments

    add_arguments(demo)
    demo.set_defaults(run=run_demo)

    status = commands.add_parser("status", help="what running nodes say of themselves and of the cluster")
    status.add_argument(
        "directory", type=Path, nargs="+", help="a node's data directory (the one with control.sock)"
    )
    status.add_argument("--cluster", type=Path, help="also show the record kept in this directory")
    add_json(status)
    status.set_defaults(run=run_status)

    promote = commands.add_parser(
        "promote", help="ask a running node to become primary; the record decides whether it may"
    )
    promote.add_argument("directory", type=Path, help="the node's data directory")
    add_json(promote)
    promote.set_defaults(run=run_promote)

    store = commands.add_parser(
        "store", help="look into stores, without changing them, also while no node runs"
    )
    actions = store.add_subparsers(title="actions", required=True, metavar="ACTION")
    inspect = actions.add_parser("inspect", help="verify one store and say what is in it")
    inspect.add_argument("directory", type=Path)
    add_json(inspect)
    inspect.set_defaults(run=run_inspect)
    rank = actions.add_parser("rank", help="after a total failure: which store is the best, and why")
    rank.add_argument("directory", type=Path, nargs="+")
    rank.add_argument("--cluster", type=Path, help="the directory of the file record store, if it survived")
    add_json(rank)
    rank.set_defaults(run=run_rank)
    add_simulate(
        commands.add_parser("simulate", help="random failures of a simulated cluster, and pictures of runs")
    )
    return parser


def add_simulate(simulate: argparse.ArgumentParser) -> None:
    what = simulate.add_mutually_exclusive_group(required=True)
    what.add_argument("--seeds", type=int, metavar="N", help="run N random walks; say which of them fail")
    what.add_argument("--seed", type=int, metavar="S", help="run this one")
    what.add_argument("--scenario", type=Path, metavar="FILE", help="run a scenario written as text")
    simulate.add_argument("--from", type=int, metavar="S", dest="first", help="the first of the seeds (0)")
    simulate.add_argument("--jobs", type=int, default=1, metavar="N", help="processes; 0: one a core (1)")
    simulate.add_argument("--seconds", type=float, metavar="S", help="begin no more seeds after this time")
    simulate.add_argument("--trace", action="store_true", help="print every event of the run")
    simulate.add_argument("--picture", type=Path, metavar="OUT", help="draw the run: OUT.html or OUT.svg")
    add_json(simulate)
    simulate.set_defaults(run=run_simulate)


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def fail(message: str, code: int = UNREACHABLE) -> int:
    print(f"qpidha: {message}", file=sys.stderr)
    return code


def show_json(value: object) -> None:
    print(json.dumps(plain(value), indent=2))


def plain(value: object) -> Any:
    """A value of ours as JSON knows it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (UUID, Path)):
        return str(value)
    return value


# --- demo ----------------------------------------------------------------------------------------


def run_demo(args: argparse.Namespace) -> int:
    from qpidha.demo.run import main as demo

    return demo(args)


# --- simulation ----------------------------------------------------------------------------------


def run_simulate(args: argparse.Namespace) -> int:
    from qpidha.testing.command import run  # Only here: no other command pays for the simulator.

    return run(args)


# --- running nodes -------------------------------------------------------------------------------


def ask(directory: Path, command: str) -> dict[str, Any]:
    """Ask the node that runs in this directory. Raises OSError if none answers."""
    from qpidha.node.control import ask_blocking

    return ask_blocking(directory / "control.sock", command)


def run_status(args: argparse.Namespace) -> int:
    answers: dict[str, Any] = {}
    code = OK
    for directory in args.directory:
        try:
            answers[str(directory)] = ask(directory, "status")["status"]
        except (OSError, asyncio.TimeoutError, ValueError) as error:
            answers[str(directory)] = None
            code = fail(f"no node answers in {directory}: {error}")
    record = None
    if args.cluster:
        try:
            record = peek(args.cluster)
        except (ClusterError, OSError) as error:
            code = fail(f"cannot read the record in {args.cluster}: {error}")
    if args.json:
        show_json({"nodes": answers, "record": record})
        return code
    for status in answers.values():
        if status is not None:
            print_status(status)
    if record is not None:
        print_record(record)
    return code


def print_status(s: dict[str, Any]) -> None:
    print(
        f"node {s['node']}: {s['role']}, generation {s['generation']},"
        f" {'in sync' if s['in_sync'] else 'not in sync'}"
    )
    print(
        f"  primary {s['primary'] or 'none'}; members {', '.join(s['members']) or 'none'};"
        f" live {', '.join(s['live'])}"
    )
    if s["waiting_for"]:
        print(f"  publishes are held: waiting for {', '.join(s['waiting_for'])}")
    for b in s["sessions"]:
        kind = "member" if b["member"] else "joining" if s["joining"] == b["node"] else "not a member"
        print(f"  backup {b['node']}: {b['state']}, {kind}, {b['behind']} operations behind")
    for q in s["queues"]:
        print(
            f"  queue {q['name']}: {q['depth']} messages, {q['bytes']} bytes,"
            f" next id {q['next_id']}, {q['pending']} pending"
        )
    if s["quarantined"]:
        print(f"  {s['quarantined']} messages in quarantine")
    if s["store_error"]:
        print(f"  store failed: {s['store_error']}")


def run_promote(args: argparse.Namespace) -> int:
    try:
        answer = ask(args.directory, "promote")
    except (OSError, asyncio.TimeoutError, ValueError) as error:
        return fail(f"no node answers in {args.directory}: {error}")
    if args.json:
        show_json(answer)
    elif answer["ok"]:
        print(f"primary of generation {answer['generation']}")
    else:
        print(f"refused: {answer['error']}", file=sys.stderr)
    return OK if answer["ok"] else BAD_NEWS


def peek(directory: Path) -> Any:
    """The record of a file record store, or None."""
    from qpidha.cluster.file import FileRecordStore

    return FileRecordStore.peek(directory)


def print_record(found: Any) -> None:
    record = found.record
    primary = record.primary[0] if record.primary else "none"
    print(f"record: version {found.version}, generation {record.generation}, primary {primary}")
    print(f"  members {', '.join(sorted(m.node for m in record.members))}; cluster {record.cluster}")


# --- stores --------------------------------------------------------------------------------------


def run_inspect(args: argparse.Namespace) -> int:
    from qpidha.stores.offline import inspect

    try:
        report = inspect(args.directory)
    except (StoreError, OSError) as error:
        return fail(str(error))
    if args.json:
        show_json(report)
    else:
        print_report(report)
    return BAD_NEWS if report.damage else OK


def print_report(report: Any) -> None:
    s = report.status
    if s is None:
        print(f"store {report.name}: no status can be read")
    else:
        print(
            f"store {report.name}: {s.state.value}, node {s.node}, generation {s.generation}"
            f"{', was primary' if s.primary else ''}"
        )
        print(f"  cluster {s.cluster or 'none'}; epoch {s.epoch}")
    for q in report.queues:
        print(f"  queue {q.name}: {q.held} messages, {q.nbytes} bytes, next id {q.next}, {q.holes} holes")
    if report.quarantined:
        print(f"  {report.quarantined} messages in quarantine")
    for line in report.audit:
        print(f"  audit: {line.event}, generation {line.generation}, queue {line.queue}: {line.detail}")
    for damage in report.damage:
        print(f"  DAMAGED: {damage}")


def run_rank(args: argparse.Namespace) -> int:
    from qpidha.core.ranking import rank
    from qpidha.stores.offline import inspect

    reports = []
    for directory in args.directory:
        try:
            reports.append(inspect(directory))
        except (StoreError, OSError) as error:
            return fail(str(error))
    found = None
    if args.cluster:
        try:
            found = peek(args.cluster)
        except (ClusterError, OSError) as error:
            return fail(f"cannot read the record in {args.cluster}: {error}")
    ranked = rank(reports, found.record if found else None)
    if args.json:
        show_json(ranked)
    else:
        for place in ranked:
            print_ranked(place)
    return OK if any(place.place for place in ranked) else BAD_NEWS


def print_ranked(place: Any) -> None:
    print(f"{place.place or '-'}  {place.name}")
    for finding in place.findings:
        print(f"     {finding}")
