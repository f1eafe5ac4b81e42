"""`NodeProgram`: the program of a broker that is one node of a cluster file, from its command line to its exit code."""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
from collections.abc import Callable, Sequence
from typing import Any

from qpidha import logs
from qpidha.checks import CALLBACK, Rule, optional, text
from qpidha.clusterfile import ClusterFile, ClusterFileError, find_cluster_file
from qpidha.errors import QpidhaError
from qpidha.node import Node
from qpidha.service.run import run_node
from qpidha.system.words import in_words

NAME = text(1, 100)
TEXT = text(0, 10_000)


def _is_error(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Exception)


ERRORS = Rule(
    "a tuple of classes of errors", lambda value: isinstance(value, tuple) and all(map(_is_error, value))
)
WORDS = optional(
    Rule(
        "a list or tuple of text",
        lambda value: isinstance(value, (list, tuple)) and all(isinstance(word, str) for word in value),
    )
)


class NodeProgram:
    """A program with options of its own besides ``--id``, ``--cluster``, ``--log-format`` and ``--until-eof``.

        program = NodeProgram("lines", "One node of a highly available broker of lines.")
        program.parser.add_argument("--limit", type=int, default=1000)
        program.run(lambda args, file: Broker(file.client_address(args.id), args.limit))

    The node gets the parts that the cluster file names, and the broker an attribute ``node``.
    """

    def __init__(self, name: str, description: str) -> None:
        """``name`` begins each line that says why the program has ended.

        Raises:
            ArgumentError: Not text.
        """
        NAME("name", name)
        TEXT("description", description)
        self._name = name
        self.parser = argparse.ArgumentParser(description=description)
        """Takes the options of the broker."""
        add = self.parser.add_argument
        add("--id", required=True, help="name of this node in the cluster file")
        add(
            "--cluster",
            help="the cluster file; by default $QPIDHA_CLUSTER, ./qpidha.toml or that in /etc/qpidha",
        )
        add(
            "--log-format",
            choices=logs.FORMATS,
            default="text",
            help="json: one object a line (docs/logs.md)",
        )
        add("--until-eof", action="store_true", help="stop when standard input closes")

    def run(
        self,
        make: Callable[[argparse.Namespace, ClusterFile], Any],
        *,
        errors: tuple[type[Exception], ...] = (),
        arguments: Sequence[str] | None = None,
    ) -> None:
        """Read the command line, make the broker, and run the node until it is told to stop: `run_node`.

        What an operator can repair ends the program with one line and exit code 1: all errors of the library, an OSError,
        and yours. What was imported by then is left out of garbage collections (`gc.freeze`).

        Args:
            make: Makes the broker from the options and the cluster file, in the event loop.
            errors: Classes of errors that ``make`` raises for options or files of the operator.
            arguments: The command line, if it is not that of the process.

        Raises:
            SystemExit: The node could not run, or has stopped because of an error.
            ArgumentError: An argument has a wrong type.
        """
        CALLBACK("make", make)
        ERRORS("errors", errors)
        WORDS("arguments", arguments)
        args = self.parser.parse_args(arguments)
        logs.configure(args.log_format, node=args.id)
        gc.freeze()  # What was imported stays: full collections need not visit it.
        named: tuple[type[Exception], ...] = (QpidhaError, OSError, *errors)
        try:
            asyncio.run(self._run(args, make))
        except named as error:
            sys.exit(f"{self._name}: {in_words(error)}")

    async def _run(
        self, args: argparse.Namespace, make: Callable[[argparse.Namespace, ClusterFile], Any]
    ) -> None:
        file = find_cluster_file(args.cluster)
        if file is None:
            raise ClusterFileError("there is no qpidha.toml here: qpidha init writes one", path="qpidha.toml")
        broker = make(args, file)
        broker.node = node = Node(args.id, broker=broker, **file.arguments(args.id))
        await run_node(node, until_eof=args.until_eof)
