"""The command ``qpidha``: for operators, and for the first five minutes.

Exit codes, stable for scripts, are in `qpidha.cli.console.EXIT_CODES`, which ``qpidha --help`` shows.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from qpidha.cli.console import (
    BAD_NEWS,
    FAILED,
    INTERRUPTED,
    OK,
    PARTLY,
    TRACEBACK,
    UNREACHABLE,
    USAGE,
    deliver,
    fail,
    prepare_streams,
    silence,
    why,
    words,
)
from qpidha.cli.options import build_parser

__all__ = [
    "BAD_NEWS",
    "FAILED",
    "INTERRUPTED",
    "OK",
    "PARTLY",
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
        try:
            build_parser().parse_args(argv, args)
            run: Callable[[argparse.Namespace], int] = args.run
            return run(args)
        finally:
            sys.stdout.flush()  # Here, where an error of it can be seen to, and not at the end of the interpreter.
    except BrokenPipeError:  # `qpidha … | head`: nobody reads any more, which is no error of ours.
        silence(sys.stdout)
        return OK
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - one line for people; a traceback helps nobody at night
        return failed(args, error)


def failed(args: argparse.Namespace, error: Exception) -> int:
    """A command did not foresee this error."""
    if os.environ.get(TRACEBACK):
        raise error
    if isinstance(error, OSError) and not writable():
        silence(sys.stdout)
        return fail(f"the output cannot be written: {why(error)}", FAILED)
    if args.json and not getattr(args, "delivered", False):
        deliver(args, FAILED, {"error": words(error)}, ())
    return fail(why(error), FAILED)


def writable() -> bool:
    """Whether what is buffered for the standard output can be written."""
    try:
        sys.stdout.flush()
    except OSError:
        return False
    return True
