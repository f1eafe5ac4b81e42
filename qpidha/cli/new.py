"""``qpidha new``: writes the beginning of a broker of one's own."""

from __future__ import annotations

import argparse
from pathlib import Path

from qpidha.cli.console import OK, PROBLEM, UNREACHABLE, deliver, fail
from qpidha.cli.text import name
from qpidha.cli.values import directory
from qpidha.cli.work import write_new


def add_new(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``qpidha new``."""
    parser.add_argument(
        "directory", type=directory, help="a new directory, or one without files of these names"
    )
    parser.set_defaults(run=run_new, json=False, parser=parser)


def run_new(args: argparse.Namespace) -> int:
    """Run ``qpidha new``; returns the exit code."""
    from qpidha.skeleton import files

    texts, place = files(), args.directory
    written: list[Path] = []
    try:
        place.mkdir(parents=True, exist_ok=True)
        if there := [file for file in texts if (place / file).exists()]:
            return fail(f"{name(str(place / there[0]))} exists: nothing was written", PROBLEM)
        for file, text in texts.items():
            write_new(place / file, text)
            written.append(place / file)
    except OSError as error:
        for path in written:  # Half of a broker is of no use.
            path.unlink(missing_ok=True)
        return fail(f"{name(str(place))}: {error.strerror or error}: nothing was written", UNREACHABLE)
    said = [f"wrote {name(str(place / file))}" for file in texts]
    return deliver(args, OK, None, [*said, f"next: cd {name(str(place))}, and read README.md"])
