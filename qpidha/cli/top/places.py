"""Where the nodes are that ``qpidha top`` shows: directories and URLs that were given, or nodes of the cluster file."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qpidha.cli.found import SOCKET, needed, refuse
from qpidha.cli.nodes import status_in
from qpidha.cli.port import Port, check_port, port_of, require_no_port
from qpidha.cli.text import name, printable
from qpidha.errors import ArgumentError, QpidhaError

if TYPE_CHECKING:
    from qpidha.clusterfile import ClusterNode


class Elsewhere(QpidhaError):
    """The node's store is not on this machine, so its control socket is not here either."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one node is asked."""

    directory: Path | str
    """Or the URL."""
    socket: Path | Port
    """Where it takes commands."""
    id: str | None = None
    """The node's id, if a cluster file says it."""
    node: ClusterNode | None = None

    @property
    def label(self) -> str:
        """How it is called before it has said its id: by its directory, or by host and port."""
        if isinstance(self.directory, Path):
            return name(self.directory.name or self.directory)
        return printable(self.directory.partition("//")[2].strip("/"))

    def ask(self, timeout_s: float, queues: int) -> dict[str, Any]:
        """The status of the node. Blocks; longer than the time-out only if the disk hangs.

        Raises:
            Elsewhere: It is on another machine.
            LeftOut: This is no node's directory.
            NoAnswer: It does not answer.
        """
        if isinstance(self.socket, Port):
            return self.socket.status(queues, timeout_s)
        assert isinstance(self.directory, Path)
        if self.node is not None and not self.node.is_here():
            raise Elsewhere("it has no store on this machine: it runs elsewhere, or was never started here")
        return status_in(self.directory, self.socket, timeout_s, queues)


def settle_top(args: argparse.Namespace) -> None:
    """``[DIR…] [--url URL…]``: these; of the cluster file those of ``--node``, or all: one may begin to be here later.

    With URLs alone, the cluster file is not looked for.
    """
    urls = list(dict.fromkeys(args.url or []))
    if not urls:
        require_no_port(args)
    check_port(args, urls)
    args.places = [Place(url, port_of(args, url)) for url in urls]
    if args.directory:
        if args.node or args.cluster is not None:
            refuse(args, "give directories, or --node and --cluster, not both")
        args.places = [*(Place(path, path / SOCKET) for path in dict.fromkeys(args.directory)), *args.places]
    elif not urls or args.node or args.cluster is not None:
        args.places = [*_places_of_file(args), *args.places]


def _places_of_file(args: argparse.Namespace) -> list[Place]:
    file = needed(args, "no directory was given")
    try:
        wanted = [file.node(id) for id in dict.fromkeys(args.node or file.nodes)]
    except ArgumentError as error:
        refuse(args, str(error))
    return [Place(node.store, node.control, node.id, node) for node in wanted]
