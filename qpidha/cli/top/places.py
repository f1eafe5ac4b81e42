"""Where the nodes are that ``qpidha top`` shows: directories that were given, or all nodes of the cluster file."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qpidha.cli.found import SOCKET, needed, refuse
from qpidha.cli.nodes import status_in
from qpidha.errors import ArgumentError, QpidhaError

if TYPE_CHECKING:
    from qpidha.clusterfile import ClusterNode


class Elsewhere(QpidhaError):
    """The node's store is not on this machine, so its control socket is not here either."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one node is asked."""

    directory: Path
    socket: Path
    id: str | None = None
    """The node's id, if a cluster file says it."""
    node: ClusterNode | None = None

    def ask(self, timeout_s: float, queues: int) -> dict[str, Any]:
        """The status of the node. Blocks; longer than the time-out only if the disk hangs.

        Raises:
            Elsewhere: It is on another machine.
            LeftOut: This is no node's directory.
            NoAnswer: It does not answer.
        """
        if self.node is not None and not self.node.is_here():
            raise Elsewhere("its store is not on this machine")
        return status_in(self.directory, self.socket, timeout_s, queues)


def settle_top(args: argparse.Namespace) -> None:
    """``[DIR…]``: these, or those of ``--node``, or all nodes of the cluster file: one may begin to be here later."""
    if args.directory:
        if args.node or args.cluster is not None:
            refuse(args, "give directories, or --node and --cluster, not both")
        args.places = [Place(path, path / SOCKET) for path in dict.fromkeys(args.directory)]
        return
    file = needed(args, "no directory was given")
    try:
        wanted = [file.node(id) for id in dict.fromkeys(args.node or file.nodes)]
    except ArgumentError as error:
        refuse(args, str(error))
    args.places = [Place(node.store, node.control, node.id, node) for node in wanted]
