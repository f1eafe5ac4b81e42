"""The command ``qpidha``: for operators, and for the first five minutes.

Exit codes, stable for scripts:
    0  done, or everything is as it should be
    1  done, and the answer is bad news: a refused promotion, a damaged store, a demo that lost something
    2  wrong usage
    3  a node, a store or the cluster manager cannot be reached
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from qpidha.cli.console import BAD_NEWS, OK, UNREACHABLE, USAGE
from qpidha.cli.nodes import run_demote, run_promote, run_status
from qpidha.cli.record import run_rebuild, run_show
from qpidha.cli.stores import run_inspect, run_rank

__all__ = ["BAD_NEWS", "OK", "UNREACHABLE", "USAGE", "build_parser", "main"]


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

    demote = commands.add_parser(
        "demote", help="ask the primary to hand over: another member may take its place"
    )
    demote.add_argument("directory", type=Path, help="the node's data directory")
    add_json(demote)
    demote.set_defaults(run=run_demote)

    add_store(
        commands.add_parser("store", help="look into stores, without changing them, also while no node runs")
    )
    add_record(commands.add_parser("record", help="the record of who may be primary, in a file record store"))
    add_simulate(
        commands.add_parser("simulate", help="random failures of a simulated cluster, and pictures of runs")
    )
    return parser


def add_store(store: argparse.ArgumentParser) -> None:
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


def add_record(record: argparse.ArgumentParser) -> None:
    actions = record.add_subparsers(title="actions", required=True, metavar="ACTION")
    show = actions.add_parser("show", help="print it")
    show.add_argument("cluster", type=Path, help="the directory of the file record store")
    add_json(show)
    show.set_defaults(run=run_show)
    rebuild = actions.add_parser(
        "rebuild",
        help="after it was lost or went back: make it anew from what all stores say; no node may run",
    )
    rebuild.add_argument("cluster", type=Path, help="the directory of the file record store")
    rebuild.add_argument("directory", type=Path, nargs="+", help="the data directories of all nodes")
    rebuild.add_argument(
        "--best", metavar="NODE", help="start from the store of this node, not from the best one"
    )
    rebuild.add_argument("--write", action="store_true", help="write it; else only say what would be written")
    add_json(rebuild)
    rebuild.set_defaults(run=run_rebuild)


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


# --- demo ----------------------------------------------------------------------------------------


def run_demo(args: argparse.Namespace) -> int:
    from qpidha.demo.run import main as demo

    return demo(args)


# --- simulation ----------------------------------------------------------------------------------


def run_simulate(args: argparse.Namespace) -> int:
    from qpidha.testing.command import run  # Only here: no other command pays for the simulator.

    return run(args)
