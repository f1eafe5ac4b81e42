"""Commands that ask running nodes: ``qpidha status``, ``promote``, ``demote``."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any

from qpidha.cli.console import BAD_NEWS, OK, fail, peek, print_record, show_json
from qpidha.errors import ClusterError


def ask(directory: Path, command: str) -> dict[str, Any]:
    """Ask the node that runs in this directory. Raises OSError if none answers."""
    from qpidha.node.ask import ask_blocking

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
    for t in s["troubles"]:
        print(
            f"  trouble: {t['cause']}: {t['text']} (for {t['began_ago_s']:.0f} s, {t['attempts']} times,"
            f" last {t['last_ago_s']:.0f} s ago)"
        )
    if s["store_error"]:
        print(f"  store failed: {s['store_error']}")


def run_promote(args: argparse.Namespace) -> int:
    return steer(args, "promote")


def run_demote(args: argparse.Namespace) -> int:
    return steer(args, "demote")


def steer(args: argparse.Namespace, command: str) -> int:
    """Ask one node to change its role, and say what came of it."""
    try:
        answer = ask(args.directory, command)
    except (OSError, asyncio.TimeoutError, ValueError) as error:
        return fail(f"no node answers in {args.directory}: {error}")
    if args.json:
        show_json(answer)
    elif answer["ok"]:
        print(
            f"primary of generation {answer['generation']}"
            if command == "promote"
            else "not primary any more"
        )
    else:
        print(f"refused: {answer['error']}", file=sys.stderr)
    return OK if answer["ok"] else BAD_NEWS
