"""The command ``qpidha top`` and its options."""

from __future__ import annotations

import argparse
import shutil
import sys
import time

from qpidha.cli.console import OK, PARTLY, PROBLEM, UNREACHABLE, USAGE, deliver, fail, why
from qpidha.cli.found import add_cluster, add_nodes
from qpidha.cli.nodes import GRACE_S, Row
from qpidha.cli.port import add_port
from qpidha.cli.top.cluster import Cluster
from qpidha.cli.top.places import settle_top
from qpidha.cli.top.view import screen
from qpidha.cli.top.watch import Watch
from qpidha.cli.values import cluster, directory, natural, seconds

INTERVAL_S = 1.0
TIMEOUT_S = 2.0
QUEUES = 200
"""One piece of a node's answer: about a millisecond of its work."""


def add_top(top: argparse.ArgumentParser) -> None:
    """Add the options of ``qpidha top``."""
    top.add_argument(
        "directory",
        type=directory,
        nargs="*",
        help="a node's data directory; without any, those of the cluster file",
    )
    add_cluster(top, cluster)
    top.set_defaults(run=run_top, settle=settle_top, parser=top, json=False)
    add_nodes(top, many=True)
    add_port(top, many=True)
    top.add_argument("--once", action="store_true", help="print one screen as plain text, and end")
    top.add_argument(
        "--interval",
        type=seconds,
        default=INTERVAL_S,
        metavar="S",
        help=f"seconds between two questions ({INTERVAL_S:g})",
    )
    top.add_argument(
        "--timeout",
        type=seconds,
        default=TIMEOUT_S,
        metavar="S",
        help=f"seconds for each answer ({TIMEOUT_S:g})",
    )
    top.add_argument(
        "--queues",
        type=natural,
        default=QUEUES,
        metavar="N",
        help=f"ask each node for at most N queues ({QUEUES})",
    )


def run_top(args: argparse.Namespace) -> int:
    """Run ``qpidha top``; returns the exit code."""
    silence_max_s = args.timeout + args.interval + 2 * GRACE_S
    model = Cluster(args.places, time.monotonic(), silence_max_s=silence_max_s)
    watch = Watch(args.places, interval_s=args.interval, timeout_s=args.timeout, queues=args.queues)
    if not args.once:
        return live(model, watch)
    watch.start()
    while not model.complete:
        for report in watch.reports(wait_s=0.1):
            model.take(report)
        model.check(time.monotonic())
    watch.stop()
    lines = screen(model, width=shutil.get_terminal_size().columns, clock=time.strftime("%H:%M:%S"))
    code = code_of(model)
    return deliver(args, code, None, [line.text.rstrip() for line in lines])


def live(model: Cluster, watch: Watch) -> int:
    """The live screen."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return fail("top needs a terminal: `qpidha top --once` prints one screen as plain text", USAGE)
    try:
        from qpidha.cli.top.app import Top
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("textual", "rich"):
            raise
        missing = f"top needs textual: pip install 'qpidha[top]' ({why(error)})"
        return fail(f"{missing}; `qpidha top --once` does without it", USAGE)
    watch.start()
    try:
        app = Top(model, watch)
        code = app.run()
    finally:
        watch.stop()
    if app.failure is not None:
        raise app.failure
    return OK if code is None else code


def code_of(model: Cluster) -> int:
    """The exit code of ``--once``: as that of ``status``."""
    answered, asked = model.answers()
    if not answered:
        return UNREACHABLE
    if answered < asked:
        return PARTLY
    return PROBLEM if any(Row(seen.place.directory, seen.status).wrong for seen in model.rows) else OK
