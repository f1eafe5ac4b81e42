"""The commands and their options; every value is checked before anything is done."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import NoReturn

from qpidha.checks import QUEUE_NAME
from qpidha.cli.console import EXIT_CODES
from qpidha.cli.explain import ASK_TIMEOUT_S, READ_TIMEOUT_S, run_why
from qpidha.cli.nodes import QUEUES_SHOWN, run_demote, run_promote, run_status
from qpidha.cli.record import run_rebuild, run_show
from qpidha.cli.stores import run_compact, run_inspect, run_rank
from qpidha.cli.text import name, one_line
from qpidha.types import GENERATION_MAX, MESSAGE_ID_MAX

STATUS_TIMEOUT_S = 5.0
STEER_TIMEOUT_S = 15.0
INSPECT_TIMEOUT_S = 120.0
TIMEOUT_S_MAX = 7 * 24 * 3600.0


class Parser(argparse.ArgumentParser):
    """Options cannot be abbreviated, and every error message is one escaped line."""

    def __init__(self, **options: object) -> None:
        super().__init__(**{"allow_abbrev": False, **options})  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        """Print the error of the arguments on one line, and exit."""
        super().error(one_line(message))


def directory(text: str) -> Path:
    """A path that was given. An empty one, as of an unset variable, would be the current directory."""
    if not text:
        raise argparse.ArgumentTypeError("an empty path")
    if "\0" in text:
        raise argparse.ArgumentTypeError("a path has no null characters")
    return Path(text)


def cluster(text: str) -> Path | str:
    """Where the record is kept: a directory, or the URL of an engine."""
    from qpidha.errors import SettingsError
    from qpidha.records.url import is_url, open_records

    if not is_url(text):
        return directory(text)
    try:
        open_records(text)
    except SettingsError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def seconds(text: str) -> float:
    """A time limit."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= TIMEOUT_S_MAX:
        raise argparse.ArgumentTypeError(
            f"{name(text)} is not a number of seconds above 0 and up to {TIMEOUT_S_MAX:.0f}"
        )
    return value


def natural(text: str) -> int:
    """A number of things, perhaps none."""
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise argparse.ArgumentTypeError(f"{name(text)} is not a whole number from 0 to 999999999")
    return int(text)


def message_id(text: str) -> int:
    """The id of a message."""
    return _number(text, MESSAGE_ID_MAX)


def generation(text: str) -> int:
    """A generation."""
    return _number(text, GENERATION_MAX)


def _number(text: str, high: int) -> int:
    value = int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else -1
    if not 0 <= value <= high:
        raise argparse.ArgumentTypeError(f"{name(text)} is not a whole number from 0 to {high}")
    return value


def queue(text: str) -> str:
    """The name of a queue from the command line."""
    if not QUEUE_NAME.fits(text):
        raise argparse.ArgumentTypeError(
            f"{name(text)} cannot be the name of a queue: it is empty, or no valid text"
        )
    return text


def node(text: str) -> str:
    """A node id from the command line."""
    if not text:
        raise argparse.ArgumentTypeError("an empty node id")
    return text


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    from qpidha import __version__

    parser = Parser(
        prog="qpidha",
        description="High availability for message brokers: show and control nodes, inspect stores.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"qpidha {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    demo = commands.add_parser(
        "demo", help="run three brokers under a stream of messages, and kill the primary again and again"
    )
    from qpidha.demo.run import add_arguments

    add_arguments(demo)
    demo.set_defaults(run=run_demo)

    add_nodes(commands)
    add_why(
        commands.add_parser(
            "why", help="what became of a message; without an ID: why publishes are not confirmed"
        )
    )
    add_store(commands.add_parser("store", help="inspect, rank and compact stores while no node runs"))
    add_record(commands.add_parser("record", help="the record of who may be primary"))
    add_simulate(
        commands.add_parser("simulate", help="run a simulated cluster with random failures, and draw runs")
    )
    return parser


def add_nodes(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the commands that ask or steer nodes."""
    status = commands.add_parser("status", help="show the state of running nodes and of the cluster")
    status.add_argument(
        "directory", type=directory, nargs="+", help="a node's data directory (the one with control.sock)"
    )
    status.add_argument(
        "--cluster", type=cluster, help="also show the record kept in this directory or engine"
    )
    status.add_argument(
        "--queues",
        type=natural,
        metavar="N",
        help=f"name at most N queues of each node ({QUEUES_SHOWN}; with --json all)",
    )
    add_timeout(status, STATUS_TIMEOUT_S)
    add_json(status)
    status.set_defaults(run=run_status)

    promote = commands.add_parser(
        "promote", help="ask a running node to become primary; the record decides whether it may"
    )
    promote.add_argument("directory", type=directory, help="the node's data directory")
    add_timeout(promote, STEER_TIMEOUT_S)
    add_json(promote)
    promote.set_defaults(run=run_promote)

    demote = commands.add_parser("demote", help="ask the primary to hand over to another member")
    demote.add_argument("directory", type=directory, help="the node's data directory")
    add_timeout(demote, STEER_TIMEOUT_S)
    add_json(demote)
    demote.set_defaults(run=run_demote)


def add_why(why: argparse.ArgumentParser) -> None:
    """Add the options of ``qpidha why``."""
    why.add_argument("directory", type=directory, help="the node's data directory")
    why.add_argument("queue", type=queue, nargs="?", help="the name of the queue, or its uuid")
    why.add_argument("id", type=message_id, nargs="?", help="the id of the message")
    why.add_argument(
        "--generation",
        type=generation,
        metavar="G",
        help="the generation that gave the id out, as the receipt says (the newest that did)",
    )
    why.add_argument(
        "--store",
        action="store_true",
        help="read the store in the directory, and do not ask the node: it may be stopped",
    )
    why.add_argument(
        "--queues",
        type=natural,
        metavar="N",
        help=f"without an ID: show at most N queues ({QUEUES_SHOWN}), those that wait longest",
    )
    why.add_argument(
        "--timeout",
        type=seconds,
        metavar="S",
        help=f"time limit of the command in seconds ({ASK_TIMEOUT_S:g}; with --store {READ_TIMEOUT_S:g})",
    )
    add_json(why)
    why.set_defaults(run=run_why, parser=why)


def add_store(store: argparse.ArgumentParser) -> None:
    """Add the commands about stores."""
    actions = store.add_subparsers(title="actions", required=True, metavar="ACTION")
    inspect = actions.add_parser("inspect", help="verify stores and say what is in them")
    inspect.add_argument("directory", type=directory, nargs="+")
    add_timeout(inspect, INSPECT_TIMEOUT_S)
    add_json(inspect)
    inspect.set_defaults(run=run_inspect)
    compact = actions.add_parser(
        "compact", help="return free space to the file system; only for a store that was closed cleanly"
    )
    compact.add_argument("directory", type=directory)
    add_json(compact)
    compact.set_defaults(run=run_compact)
    rank = actions.add_parser("rank", help="after a total failure: which store is the best, and why")
    rank.add_argument("directory", type=directory, nargs="+")
    rank.add_argument(
        "--cluster", type=cluster, help="the directory or the URL of the record, if it survived"
    )
    add_timeout(rank, INSPECT_TIMEOUT_S)
    add_json(rank)
    rank.set_defaults(run=run_rank)


def add_record(record: argparse.ArgumentParser) -> None:
    """Add the commands about the cluster record."""
    actions = record.add_subparsers(title="actions", required=True, metavar="ACTION")
    show = actions.add_parser("show", help="print it")
    show.add_argument(
        "cluster",
        type=cluster,
        help="the directory of the record, or a URL such as etcd://host:2379/prefix?ca=FILE",
    )
    add_timeout(show, STATUS_TIMEOUT_S)
    add_json(show)
    show.set_defaults(run=run_show)
    rebuild = actions.add_parser(
        "rebuild",
        help="after it was lost or restored from an old copy: make a new one from all stores; no node may run",
    )
    rebuild.add_argument(
        "cluster",
        type=cluster,
        help="the directory of the record, or a URL such as etcd://host:2379/prefix?ca=FILE",
    )
    rebuild.add_argument("directory", type=directory, nargs="+", help="the data directories of all nodes")
    rebuild.add_argument(
        "--best", type=node, metavar="NODE", help="start from the store of this node, not from the best one"
    )
    rebuild.add_argument("--write", action="store_true", help="write the record; without this, only show it")
    add_timeout(rebuild, INSPECT_TIMEOUT_S)
    add_json(rebuild)
    rebuild.set_defaults(run=run_rebuild)


def add_simulate(simulate: argparse.ArgumentParser) -> None:
    """Add the options of ``qpidha simulate``."""
    what = simulate.add_mutually_exclusive_group(required=True)
    what.add_argument("--seeds", type=int, metavar="N", help="run N random walks; say which of them fail")
    what.add_argument("--seed", type=int, metavar="S", help="run this one")
    what.add_argument("--scenario", type=directory, metavar="FILE", help="run a scenario written as text")
    simulate.add_argument("--from", type=int, metavar="S", dest="first", help="the first of the seeds (0)")
    simulate.add_argument("--jobs", type=int, default=1, metavar="N", help="processes; 0: one a core (1)")
    simulate.add_argument("--seconds", type=seconds, metavar="S", help="begin no more seeds after this time")
    simulate.add_argument("--trace", action="store_true", help="print every event of the run")
    simulate.add_argument(
        "--picture", type=directory, metavar="OUT", help="draw the run: OUT.html or OUT.svg"
    )
    add_json(simulate)
    simulate.set_defaults(run=run_simulate)


def add_timeout(parser: argparse.ArgumentParser, default_s: float) -> None:
    """Add ``--timeout``, in seconds."""
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=default_s,
        metavar="S",
        help=f"time limit of the command in seconds; it names what has not answered by then ({default_s:g})",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print one JSON document")


# --- demo, simulation ----------------------------------------------------------------------------


def run_demo(args: argparse.Namespace) -> int:
    """Run ``qpidha demo``; returns the exit code."""
    from qpidha.demo.run import main as demo

    return demo(args)


def run_simulate(args: argparse.Namespace) -> int:
    """Run ``qpidha simulate``; returns the exit code."""
    from qpidha.testing.command import run  # Only here: no other command pays for the simulator.

    return run(args)
