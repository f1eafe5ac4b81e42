"""The command ``qpidha``: status and control of nodes, stores and the record; simulation and demonstration.

Exit codes, stable for scripts, are in `qpidha.cli.console.EXIT_CODES`, which ``qpidha --help`` shows.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from qpidha.cli.console import (
    FAILED,
    INTERRUPTED,
    OK,
    PARTLY,
    PROBLEM,
    TRACEBACK,
    UNREACHABLE,
    USAGE,
    OutputFailed,
    deliver,
    fail,
    prepare_streams,
    silence,
    why,
    words,
)
from qpidha.cli.options import build_parser

__all__ = [
    "FAILED",
    "INTERRUPTED",
    "OK",
    "PARTLY",
    "PROBLEM",
    "UNREACHABLE",
    "USAGE",
    "build_parser",
    "main",
]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code; wrong usage raises ``SystemExit``."""
    prepare_streams()
    args = argparse.Namespace(json=False)
    try:
        code = command(argv, args)
        sys.stdout.flush()  # Here, where an error of it can be seen to: the interpreter would do it too late.
        return code
    except BrokenPipeError:  # `qpidha … | head`: the reader has gone, which is no error of ours.
        silence(sys.stdout)
        return OK
    except KeyboardInterrupt:
        return INTERRUPTED
    except OutputFailed as error:
        silence(sys.stdout)
        return fail(str(error), FAILED)
    except Exception as error:  # noqa: BLE001 - one line for people; a traceback does not help an operator
        return failed(args, error)


def command(argv: Sequence[str] | None, args: argparse.Namespace) -> int:
    try:
        build_parser().parse_args(argv, args)
    except SystemExit:
        try:
            sys.stdout.flush()
        except BrokenPipeError:  # The reader of the help has closed the pipe.
            silence(sys.stdout)
        raise
    settle: Callable[[argparse.Namespace], None] | None = getattr(args, "settle", None)
    if settle is not None:
        settle(args)
    run: Callable[[argparse.Namespace], int] = args.run
    return run(args)


def failed(args: argparse.Namespace, error: Exception) -> int:
    """A command did not foresee this error."""
    if os.environ.get(TRACEBACK):
        raise error
    if args.json and not getattr(args, "delivered", False):
        deliver(args, FAILED, {"error": words(error)}, ())
    return fail(why(error), FAILED)
