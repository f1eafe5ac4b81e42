"""Scenarios as text: commands, and under each its output. A difference from the file is a failed test.

    publish P q v5                      a command, at the start of a line
        P -> B1 [1@1] operations 6: …   output: written by the interpreter, compared by the test
    # a comment                         kept as it is

Nothing takes time except `wait`: after each command everything runs that can run at this instant. A scenario holds
back what shall wait: a direction of the network, a disk, an answer of the cluster manager.

Frames are shown as [session@generation] when they *arrive*; a frame that is held back is shown twice, first
marked "(waits)". `COMMANDS` lists the language; its docstrings are the reference.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Final

from qpidha.testing.invariants.violation import Violation
from qpidha.testing.scenarios.checks import CheckCommands
from qpidha.testing.scenarios.clients import ClientCommands
from qpidha.testing.scenarios.cluster import ClusterCommands
from qpidha.testing.scenarios.error import ScenarioError
from qpidha.testing.scenarios.faults import FaultCommands
from qpidha.testing.scenarios.levels import LevelCommands
from qpidha.testing.scenarios.producers import ProducerCommands

INDENT: Final = "    "


def collapsed(lines: list[str]) -> list[str]:
    """Return the same lines, repetitions in a row counted instead of repeated."""
    counted = [(line, len(list(group))) for line, group in groupby(lines)]
    return [line if count == 1 else f"{line} ({count} times)" for line, count in counted]


class Scenario(
    ClusterCommands, ClientCommands, LevelCommands, ProducerCommands, FaultCommands, CheckCommands
):
    """Interprets one text. Use an object for one run; the world is in `world` afterwards."""

    def run(self, text: str) -> str:
        """Run the commands, and return the text with the outputs as they are now.

        A scenario passes if the result equals ``text``. Lines that begin with four spaces are outputs and are ignored.

        Raises:
            ScenarioError: A command is wrong, an expectation does not hold, or an invariant is violated.
        """
        result: list[str] = []
        for number, line in enumerate(text.splitlines(), 1):
            if line.startswith(INDENT):
                continue
            result.append(line)
            self.on_command(line)
            if not line.strip() or line.startswith("#"):
                continue
            try:
                self._command(*line.split())
            except (ScenarioError, Violation, KeyError, TypeError) as error:
                what = f"line {number}: {line}: {type(error).__name__}: {error}"
                raise ScenarioError("\n".join([*result, *self._lines, what])) from error
            result += [INDENT + output for output in collapsed(self._lines)]
            self._lines = []
        return "\n".join(result) + "\n"

    def _command(self, name: str, *words: str) -> None:
        method: Callable[..., None] | None = COMMANDS.get(name)
        if method is None:
            raise ScenarioError(f"no such command: {name}")
        method(self, *words)
        if name != "settings":
            self.world.scheduler.run_for(0.0)


COMMANDS: Final[dict[str, Callable[..., None]]] = {
    name.rstrip("_"): method
    for owner in Scenario.__bases__
    for name, method in vars(owner).items()
    if callable(method) and not name.startswith("_")
}
"""The language: methods by the names of commands."""
