"""All interleavings of a small cluster.

python -m qpidha.testing.explorer --seconds 120 --publish 3 --fault 3
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import fields

from qpidha import compiled
from qpidha.testing.explorer.scope import LIMITED, Scope
from qpidha.testing.explorer.search import Explorer


def main(arguments: list[str]) -> int:
    """Search as the arguments say, and print the result. Returns the exit status: 1 if an invariant does not hold."""
    parser = argparse.ArgumentParser(prog="python -m qpidha.testing.explorer", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="stop after this long")
    parser.add_argument("--states", type=int, default=sys.maxsize, help="stop after this many states")
    defaults = {f.name: f.default for f in fields(Scope)}
    for name in ("queues", *LIMITED):
        parser.add_argument(f"--{name}", type=int, default=defaults[name], metavar="N")
    parser.add_argument(
        "--breadth",
        action="store_true",
        help="states in the order of the number of actions, not of interruptions",
    )
    options = vars(parser.parse_args(arguments))
    limits = {name: options.pop(name) for name in ("seconds", "states")}
    interruptions = not options.pop("breadth")
    found = Explorer(Scope(**options), interruptions=interruptions).run(**limits)
    sys.stdout.write(f"{found}\n")
    return 1 if found.violation else 0


if __name__ == "__main__":
    if (
        compiled.RUNNING
    ):  # States are pickled and compared by the slots of their objects: those of the sources.
        command = [sys.executable, "-m", "qpidha.testing.explorer", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, "QPIDHA_PURE": "1"})  # noqa: S606
    sys.exit(main(sys.argv[1:]))
