"""Shorten a failing run to a short one that breaks the same rule.

Delta debugging over the steps of a random walk (Zeller and Hildebrandt, 2002): leave out halves, then quarters,
and so on, as long as the rest still breaks the same rule. Every step draws from its own seed, so those that
stay do the same thing wherever the cluster is in the same state.
"""

from __future__ import annotations

import contextlib
import platform
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version as release
from pathlib import Path

from qpidha.testing.walks.profile import ORDINARY, Profile
from qpidha.testing.walks.walk import Walk

RUNS_MAX = 400
"""Enough to bring a walk of 140 steps to its core; some seconds."""


@dataclass(frozen=True, slots=True)
class Shrunk:
    """The shortest failing run found."""

    seed: int
    steps: tuple[int, ...]
    """The numbers of the steps that are left."""
    error: str
    trace: tuple[str, ...]
    """Every event, with its virtual time."""
    runs: int
    """How many runs were needed."""

    def report(self) -> str:
        """Return the text of a report: the error, how to repeat the run, and its trace."""
        only = ",".join(map(str, self.steps))
        lines = [
            f"seed {self.seed}: {self.error}",
            f"{version()}; {len(self.steps)} of its steps fail as well as all: --only {only}",
            *self.trace,
        ]
        return "\n".join(lines) + "\n"


Run = Callable[[Sequence[int]], str]
"""Runs the walk with these steps. Returns its error, or ""."""


def shrink(
    seed: int, *, steps: int | None = None, runs_max: int = RUNS_MAX, profile: Profile = ORDINARY
) -> Shrunk | None:
    """Shorten a walk that fails, with about ``runs_max`` runs at most. Returns None if it succeeds."""
    steps = steps or profile.steps

    def walk_of(only: Sequence[int]) -> Walk:
        return Walk(seed, steps=steps, only=only, profile=profile)

    def run(only: Sequence[int]) -> str:
        return attempt(walk_of(only))

    error = run(range(steps))
    if not error:
        return None
    left, runs = reduced(run, tuple(range(steps)), rule_of(error), runs_max)
    walk, trace = walk_of(left), list[str]()
    world = walk.world
    world.listeners.append(lambda line: trace.append(f"{world.scheduler.now:9.4f} {line}"))
    return Shrunk(seed, left, attempt(walk), tuple(trace), runs + 2)


def reduced(run: Run, steps: tuple[int, ...], rule: str, runs_max: int) -> tuple[tuple[int, ...], int]:
    """Leave out as much as possible; returns what is left, and how many runs that took."""
    runs, parts = 0, 2
    while len(steps) > 1 and runs < runs_max:
        size = -(-len(steps) // parts)
        for begin in range(0, len(steps), size):
            rest = steps[:begin] + steps[begin + size :]
            runs += 1
            if rule_of(run(rest)) == rule:
                steps, parts = rest, max(2, parts - 1)
                break
        else:
            if size == 1:
                break
            parts = min(len(steps), 2 * parts)
    return steps, runs


def attempt(walk: Walk) -> str:
    """Run a walk. Returns its error as ``Type: message``, or ""."""
    try:
        walk.run()
    except BrokenPipeError:  # Nobody reads the trace any more: the caller's business.
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, its seed is what counts.
        return f"{type(error).__name__}: {error}"
    return ""


def rule_of(error: str) -> str:
    """Return the broken rule, as ``Violation: S1``, or the type of any other error."""
    kind, _, rest = error.partition(":")
    return f"{kind}:{rest.partition(':')[0]}" if kind == "Violation" else kind


def version() -> str:
    """Return the release, the commit in a checkout, and the version of Python."""
    home = Path(__file__).resolve().parents[2]
    commit = ""
    if (home / ".git").exists():
        ask = ["git", "-C", str(home), "rev-parse", "--short=12", "HEAD"]
        with contextlib.suppress(OSError):  # No git here.
            commit = subprocess.run(ask, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603
    return f"qpidha {release('qpidha')} {commit}".rstrip() + f", Python {platform.python_version()}"
