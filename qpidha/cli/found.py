"""What commands take from the cluster file: the directories and sockets of nodes, and the place of the record.

Each ``settle_…`` is called after the arguments are parsed, and fills in what the command line leaves out. It ends the
command with exit code 2 if that cannot be done.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from qpidha.cli.text import name, names, one_line
from qpidha.cli.values import cluster, directory, message_id, queue
from qpidha.cli.work import TimeUp, gather
from qpidha.errors import ArgumentError

if TYPE_CHECKING:
    from qpidha.clusterfile import ClusterFile, ClusterNode

SOCKET = "control.sock"
LOOK_TIMEOUT_S = 2.0
"""For whether stores are on this machine. One whose disk does not answer in this time is taken to be here."""
NO_FILE = (
    "and no cluster file was found: name it with --cluster FILE or QPIDHA_CLUSTER, or have it at ./qpidha.toml or "
    "/etc/qpidha/qpidha.toml"
)


def refuse(args: argparse.Namespace, why: str) -> NoReturn:
    """End the command: wrong usage."""
    args.parser.error(one_line(why))
    raise AssertionError("argparse has returned")


def add_cluster(parser: argparse.ArgumentParser, type: Callable[[str], Any], *, what: str = "") -> None:
    """Add ``--cluster``."""
    parser.add_argument(
        "--cluster", type=type, metavar="FILE", help=f"the cluster file (its name ends in .toml){what}"
    )


def add_nodes(parser: argparse.ArgumentParser, *, many: bool) -> None:
    """Add ``--node``."""
    if many:
        parser.add_argument(
            "--node",
            action="append",
            metavar="NODE",
            help="a node of the cluster file; may be repeated (those on this machine)",
        )
    else:
        parser.add_argument(
            "--node", metavar="NODE", help="the node of the cluster file (the one on this machine)"
        )


def is_cluster_file(place: object) -> bool:
    """Whether this path names a cluster file: its name ends in ``.toml``."""
    return isinstance(place, Path) and place.suffix == ".toml"


def cluster_file(args: argparse.Namespace) -> ClusterFile | None:
    """The cluster file: of ``--cluster``, or of one of the usual places. None: there is none."""
    from qpidha.clusterfile import find_cluster_file

    given = args.cluster
    if given is not None and not is_cluster_file(given):
        refuse(
            args,
            one_line(f"--cluster {name(str(given))}: --node and commands without DIR need a cluster file"),
        )
    try:
        return find_cluster_file(given)
    except ArgumentError as error:
        refuse(args, str(error))


def needed(args: argparse.Namespace, missing: str) -> ClusterFile:
    """The same, when the command cannot do without it."""
    file = cluster_file(args)
    if file is None:
        refuse(args, f"{missing}, {NO_FILE}")
    return file


def place_of(args: argparse.Namespace, file: ClusterFile, *, check: bool) -> Path | str:
    """Where the record of a cluster file is kept. ``check``: refuse it now if it cannot be opened, and not later."""
    from qpidha.records.url import directory_of, open_records

    try:
        place = file.record_place()
        if isinstance(place, str):
            place = directory_of(place) or place
        if check and isinstance(place, str):
            open_records(place)
    except ArgumentError as error:
        refuse(args, f"{file.path}: record: {error}")
    return place


def socket_of(args: argparse.Namespace, directory: Path) -> Path:
    """The control socket of the node in a directory."""
    sockets: dict[Path, Path] = getattr(args, "sockets", {})
    return sockets.get(directory, directory / SOCKET)


# --- the arguments of commands -------------------------------------------------------------------


def settle_status(args: argparse.Namespace) -> None:
    """The same as `settle_nodes`; but without a node on this machine there is still the record to be shown."""
    settle_nodes(args, none_is_fine=True)


def settle_nodes(args: argparse.Namespace, *, none_is_fine: bool = False) -> None:
    """``[DIR…]``: the directories that were given, or the stores of the file's nodes that are on this machine."""
    args.elsewhere = []
    if args.directory and args.node:
        refuse(args, "give directories, or --node, not both")
    if not args.directory:
        file = needed(args, "no directory was given")
        use(args, file, chosen(args, file, args.node, none_is_fine=none_is_fine))
        args.cluster = place_of(args, file, check=False)
    elif is_cluster_file(args.cluster):
        args.cluster = place_of(args, needed(args, ""), check=False)


def settle_node(args: argparse.Namespace) -> None:
    """``[DIR]``: the directory that was given, or the store of the only node on this machine or of ``--node``."""
    if args.directory is not None:
        if args.node or args.cluster is not None:
            refuse(args, "give a directory, or --node and --cluster, not both")
        return
    file = needed(args, "no directory was given")
    wanted = chosen(args, file, None if args.node is None else [args.node])
    if len(wanted) > 1:
        refuse(
            args,
            f"several nodes are on this machine: {names([n.id for n in wanted])}: choose one with --node",
        )
    use(args, file, wanted)
    args.directory = wanted[0].store


def settle_backup(args: argparse.Namespace) -> None:
    """``[DIR] FILE``. Without DIR, the node is found as `settle_node` does."""
    words: list[str] = args.words
    if len(words) > 2:
        refuse(args, f"unrecognized arguments: {one_line(' '.join(words[2:]))}")
    args.file = converted(args, directory, words[-1])
    args.directory = converted(args, directory, words[0]) if len(words) == 2 else None
    settle_node(args)


def settle_why(args: argparse.Namespace) -> None:
    """``[DIR] [QUEUE [ID]]``. The first is DIR without a cluster file, or if it has a slash or is a directory."""
    words: list[str] = args.words
    file = None
    first = words[0] if words else None
    explicit = args.node is not None or args.cluster is not None
    if explicit or first is None or not (os.sep in first or os.path.isdir(first)):
        file = cluster_file(args)
    args.directory = None
    if words and file is None and not explicit:
        args.directory = converted(args, directory, words.pop(0))
    if len(words) > 2:
        refuse(args, f"unrecognized arguments: {one_line(' '.join(words[2:]))}")
    args.queue = converted(args, queue, words[0]) if words else None
    args.id = converted(args, message_id, words[1]) if len(words) > 1 else None
    settle_node(args)


def settle_show(args: argparse.Namespace) -> None:
    """``[CLUSTER]``: a directory, a URL or a cluster file."""
    if args.place is not None:
        if args.cluster is not None:
            refuse(args, "give the place of the record, or --cluster, not both")
        args.cluster = args.place
    if args.cluster is None or is_cluster_file(args.cluster):
        args.cluster = place_of(args, needed(args, "no place of the record was given"), check=True)


def settle_rebuild(args: argparse.Namespace) -> None:
    """``[CLUSTER] [DIR…]``. Without directories the stores of all nodes of the file, which have to be on this machine."""
    words: list[str] = args.words
    if args.cluster is None and words:
        args.cluster = converted(args, cluster, words.pop(0))
    args.directory = [converted(args, directory, word) for word in words]
    if args.cluster is not None and not is_cluster_file(args.cluster):
        if not args.directory:
            refuse(args, "the following arguments are required: directory")
        return
    file = needed(args, "no place of the record was given")
    args.cluster = place_of(args, file, check=True)
    if not args.directory:
        here = chosen(args, file, None)
        elsewhere = [node.id for node in file.nodes.values() if node not in here]
        if elsewhere:
            refuse(
                args,
                f"the stores of {names(elsewhere)} are not on this machine, and may have messages that no other has. "
                "Copy them here, and name the directories of all stores; leave out only those that are lost for good",
            )
        use(args, file, here)


def converted(args: argparse.Namespace, kind: Callable[[str], Any], word: str) -> Any:
    """A word of the command line as the value that it stands for."""
    try:
        return kind(word)
    except argparse.ArgumentTypeError as error:
        refuse(args, str(error))


def chosen(
    args: argparse.Namespace, file: ClusterFile, wanted: list[str] | None, *, none_is_fine: bool = False
) -> list[ClusterNode]:
    """The nodes with these ids. None: those whose store is on this machine."""
    if wanted is not None:
        try:
            return [file.node(id) for id in dict.fromkeys(wanted)]
        except ArgumentError as error:
            refuse(args, str(error))
    nodes = list(file.nodes.values())
    found = gather([node.is_here for node in nodes], LOOK_TIMEOUT_S)
    here = [
        node
        for node, is_here in zip(nodes, found, strict=True)
        if is_here is True or isinstance(is_here, TimeUp)
    ]
    if not here and not none_is_fine:
        stores = ", ".join(f"{name(node.id)}: {name(str(node.store))}" for node in nodes)
        refuse(
            args,
            f"no node of {name(str(file.path))} has its store on this machine ({stores}): run this on the machine of a "
            "node. A store is made by the first start of its node",
        )
    return here


def use(args: argparse.Namespace, file: ClusterFile, nodes: list[ClusterNode]) -> None:
    """Let the command work with these nodes of the file."""
    args.directory = [node.store for node in nodes]
    args.sockets = {node.store: node.control for node in nodes}
    args.elsewhere = [id for id, node in file.nodes.items() if node not in nodes]
