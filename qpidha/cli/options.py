"""The commands and their options; every value is checked before anything is done."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from qpidha.cli.console import EXIT_CODES
from qpidha.cli.explain import ASK_TIMEOUT_S, READ_TIMEOUT_S, run_why
from qpidha.cli.found import (
    add_cluster,
    add_nodes,
    settle_backup,
    settle_node,
    settle_nodes,
    settle_rebuild,
    settle_show,
    settle_status,
    settle_why,
)
from qpidha.cli.init import add_init
from qpidha.cli.new import add_new
from qpidha.cli.nodes import QUEUES_SHOWN, run_demote, run_promote, run_status
from qpidha.cli.ocf import RESOURCE_AGENTS, run_install
from qpidha.cli.port import add_port, settle_steered
from qpidha.cli.progress import progress
from qpidha.cli.record import run_rebuild, run_show
from qpidha.cli.saving import run_backup, run_restore, run_verify
from qpidha.cli.stores import run_compact, run_inspect, run_rank
from qpidha.cli.text import one_line
from qpidha.cli.top.command import add_top
from qpidha.cli.values import cluster, directory, generation, natural, node, seconds

STATUS_TIMEOUT_S = 5.0
STEER_TIMEOUT_S = 15.0
INSPECT_TIMEOUT_S = 120.0


class Parser(argparse.ArgumentParser):
    """Options cannot be abbreviated, and every error message is one escaped line."""

    def __init__(self, **options: object) -> None:
        super().__init__(**{"allow_abbrev": False, **options})  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        """Print the error of the arguments on one line, and exit."""
        super().error(one_line(message))


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    from qpidha import __version__, compiled

    parser = Parser(
        prog="qpidha",
        description="High availability for message brokers: show and control nodes, inspect stores.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    way = "compiled" if compiled.RUNNING else "not compiled"
    parser.add_argument("--version", action="version", version=f"qpidha {__version__}, {way}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    demo = commands.add_parser(
        "demo", help="run three brokers under a stream of messages, and kill the primary again and again"
    )
    from qpidha.demo.run import add_arguments

    add_arguments(demo)
    demo.set_defaults(run=run_demo)

    add_init(commands.add_parser("init", help="write a cluster file, and certificates for a trial"))
    add_new(commands.add_parser("new", help="write the beginning of a broker of your own, with a test"))
    add_node_commands(commands)
    add_top(commands.add_parser("top", help="all nodes on a live screen, with keys to steer them"))
    add_why(
        commands.add_parser(
            "why", help="what became of a message; without an ID: why publishes are not confirmed"
        )
    )
    add_store(commands.add_parser("store", help="inspect, rank, compact, save and restore stores"))
    add_record(commands.add_parser("record", help="the record of who may be primary"))
    add_ocf(commands.add_parser("ocf", help="the resource agent for Pacemaker"))
    add_simulate(
        commands.add_parser("simulate", help="run a simulated cluster with random failures, and draw runs")
    )
    return parser


def add_node_commands(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the commands that ask or steer nodes."""
    status = commands.add_parser("status", help="show the state of running nodes and of the cluster")
    status.add_argument(
        "directory",
        type=directory,
        nargs="*",
        help="a node's data directory (the one with control.sock); without any, those of the cluster file",
    )
    add_cluster(status, cluster, what="; or the directory or the URL of a record that is to be shown, too")
    add_nodes(status, many=True)
    status.add_argument(
        "--queues",
        type=natural,
        metavar="N",
        help=f"name at most N queues of each node ({QUEUES_SHOWN}; with --json all)",
    )
    add_timeout(status, STATUS_TIMEOUT_S)
    add_json(status)
    status.set_defaults(run=run_status, settle=settle_status, parser=status)

    promote = commands.add_parser(
        "promote", help="ask a running node to become primary; the record decides whether it may"
    )
    add_one_node(promote)
    add_port(promote)
    add_timeout(promote, STEER_TIMEOUT_S)
    add_json(promote)
    promote.set_defaults(run=run_promote, settle=settle_steered, parser=promote)

    demote = commands.add_parser("demote", help="ask the primary to hand over to another member")
    add_one_node(demote)
    add_port(demote)
    add_timeout(demote, STEER_TIMEOUT_S)
    add_json(demote)
    demote.set_defaults(run=run_demote, settle=settle_steered, parser=demote)


def add_why(why: argparse.ArgumentParser) -> None:
    """Add the options of ``qpidha why``."""
    why.usage = "%(prog)s [options] [DIR] [QUEUE [ID]]"
    why.add_argument(
        "words",
        nargs="*",
        metavar="DIR QUEUE ID",
        help="the node's data directory, if no cluster file names it; a queue's name or uuid; the id of a message",
    )
    add_cluster(why, cluster)
    add_nodes(why, many=False)
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
    why.set_defaults(run=run_why, settle=settle_why, parser=why)


def add_store(store: argparse.ArgumentParser) -> None:
    """Add the commands about stores."""
    actions = store.add_subparsers(title="actions", required=True, metavar="ACTION")
    inspect = actions.add_parser("inspect", help="verify stores and say what is in them")
    inspect.add_argument("directory", type=directory, nargs="*")
    add_cluster(inspect, cluster)
    add_nodes(inspect, many=True)
    add_timeout(inspect, INSPECT_TIMEOUT_S)
    add_json(inspect)
    inspect.set_defaults(run=run_inspect, settle=settle_nodes, parser=inspect)
    compact = actions.add_parser(
        "compact", help="return free space to the file system; only for a store that was closed cleanly"
    )
    add_one_node(compact)
    add_json(compact)
    compact.set_defaults(run=run_compact, settle=settle_node, parser=compact)
    rank = actions.add_parser("rank", help="after a total failure: which store is the best, and why")
    rank.add_argument("directory", type=directory, nargs="*")
    add_cluster(rank, cluster, what="; or the directory or the URL of the record, if it survived")
    add_nodes(rank, many=True)
    add_timeout(rank, INSPECT_TIMEOUT_S)
    add_json(rank)
    rank.set_defaults(run=run_rank, settle=settle_nodes, parser=rank)
    add_saved(actions)


def add_saved(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands about saved stores."""
    backup = actions.add_parser("backup", help="save a store in one file, also while its node runs")
    backup.usage = "%(prog)s [options] [DIR] FILE"
    backup.add_argument(
        "words",
        nargs="+",
        metavar="DIR FILE",
        help="the node's data directory, if no cluster file names it; the new file",
    )
    add_cluster(backup, cluster)
    add_nodes(backup, many=False)
    backup.set_defaults(run=run_backup, settle=settle_backup, parser=backup)
    verify = actions.add_parser("verify", help="verify saved stores and say what is in them")
    verify.add_argument("file", type=directory, nargs="+", help="from `qpidha store backup`")
    verify.set_defaults(run=run_verify, parser=verify)
    restore = actions.add_parser(
        "restore", help="make a store of a saved one; its node joins the cluster as a new one"
    )
    restore.add_argument("file", type=directory, help="from `qpidha store backup`")
    restore.add_argument("directory", type=directory, help="the data directory, new or empty")
    restore.add_argument(
        "--as-node",
        type=node,
        metavar="NODE",
        help="whose store it becomes (that of the node that was saved)",
    )
    restore.set_defaults(run=run_restore, parser=restore)
    for parser in (backup, verify, restore):
        add_json(parser)


def add_record(record: argparse.ArgumentParser) -> None:
    """Add the commands about the cluster record."""
    actions = record.add_subparsers(title="actions", required=True, metavar="ACTION")
    show = actions.add_parser("show", help="print it")
    show.add_argument(
        "place",
        type=cluster,
        nargs="?",
        metavar="CLUSTER",
        help="the directory of the record, a URL such as etcd://host:2379/prefix?ca=FILE, or a cluster file",
    )
    add_cluster(show, cluster)
    add_timeout(show, STATUS_TIMEOUT_S)
    add_json(show)
    show.set_defaults(run=run_show, settle=settle_show, parser=show)
    rebuild = actions.add_parser(
        "rebuild",
        help="after it was lost or restored from an old copy: make a new one from all stores; no node may run",
    )
    rebuild.usage = "%(prog)s [options] [CLUSTER] [DIR ...]"
    rebuild.add_argument(
        "words",
        nargs="*",
        metavar="CLUSTER DIR",
        help="the directory or URL of the record, or a cluster file; the data directories of all nodes",
    )
    add_cluster(rebuild, cluster)
    rebuild.add_argument(
        "--best", type=node, metavar="NODE", help="start from the store of this node, not from the best one"
    )
    rebuild.add_argument(
        "--members-lost",
        action="store_true",
        help="the record is there, but the stores of all its members are lost for good: start from what is left",
    )
    rebuild.add_argument("--write", action="store_true", help="write the record; without this, only show it")
    add_timeout(rebuild, INSPECT_TIMEOUT_S)
    add_json(rebuild)
    rebuild.set_defaults(run=run_rebuild, settle=settle_rebuild, parser=rebuild)


def add_ocf(ocf: argparse.ArgumentParser) -> None:
    """Add the commands about the resource agent for Pacemaker."""
    actions = ocf.add_subparsers(title="actions", required=True, metavar="ACTION")
    install = actions.add_parser("install", help="install it; again after each upgrade of qpidha")
    install.add_argument(
        "--to",
        type=directory,
        default=Path(RESOURCE_AGENTS),
        metavar="DIR",
        help=f"where Pacemaker looks for the agents of this provider ({RESOURCE_AGENTS})",
    )
    install.add_argument(
        "--python",
        metavar="PATH",
        help="the Python that runs it (/usr/bin/python3 if that can do it, or this one)",
    )
    add_json(install)
    install.set_defaults(run=run_install)


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


def add_one_node(parser: argparse.ArgumentParser) -> None:
    """Add what names one node: its directory, or the cluster file."""
    parser.add_argument(
        "directory", type=directory, nargs="?", help="the node's data directory; without it, the cluster file"
    )
    add_cluster(parser, cluster)
    add_nodes(parser, many=False)


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

    with progress("simulating", unit="seeds") as line:
        return run(args, line)
