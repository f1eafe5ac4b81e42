"""The command ``qpidha simulate``: many seeds, one run as a trace, or one run as a picture."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, Protocol

from qpidha.testing.picture.chart import Chart, draw
from qpidha.testing.picture.page import page
from qpidha.testing.picture.recorder import Recorder
from qpidha.testing.scenarios.error import ScenarioError
from qpidha.testing.scenarios.scenario import Scenario
from qpidha.testing.walks.shrink import attempt, shrink
from qpidha.testing.walks.sweep import Sweep, sweep
from qpidha.testing.walks.walk import Walk

OK, PROBLEM, USAGE = range(3)
"""Exit codes, as in ``qpidha.cli``."""
JOBS_MAX = 1024
"""Processes; more is a mistake."""
SEEDS_MAX = 10**9
"""Seeds of one search."""


class WrongUsage(Exception):
    """The arguments contradict each other, or a file cannot be read or written."""


class Told(Protocol):
    """Shows how far many runs have come."""

    def __call__(self, done: int, total: int) -> None:
        """So many of them are done."""

    def clear(self) -> None:
        """Something else is about to be printed."""


def run(args: argparse.Namespace, told: Told) -> int:
    """Run what the arguments of the command line ask for, and return the exit code.

    ``told``: for many seeds.
    """
    try:
        check(args)
        if args.scenario is not None:
            return run_scenario(args)
        return run_seed(args) if args.seed is not None else run_seeds(args, told)
    except WrongUsage as error:
        sys.stderr.write(f"qpidha: {shown(str(error))}\n")
        return USAGE


def check(args: argparse.Namespace) -> None:
    """Refuse arguments that would be ignored, before anything is run. Raises `WrongUsage`."""
    if args.seeds is not None:
        if not 0 < args.seeds <= SEEDS_MAX:
            raise WrongUsage(f"--seeds {args.seeds}: at least one, at most {SEEDS_MAX}")
        if args.trace or args.picture:
            raise WrongUsage("--trace and --picture show one run: use --seed or --scenario")
        if not 0 <= args.jobs <= JOBS_MAX:
            raise WrongUsage(
                f"--jobs {args.jobs}: a number of processes up to {JOBS_MAX}, or 0 for one a core"
            )
    elif args.first is not None:
        raise WrongUsage("--from goes with --seeds")
    if args.trace and args.json:
        raise WrongUsage("--trace and --json both write to the standard output: choose one")
    if args.picture and args.picture.suffix not in {".html", ".svg"}:
        raise WrongUsage(f"--picture {args.picture}: the name must end in .html or .svg")


# --- many seeds ----------------------------------------------------------------------------------


def run_seeds(args: argparse.Namespace, told: Told) -> int:
    """Run many seeds, print a summary and the first failure in its shortest form, and return the exit code."""

    def failed(seed: int, error: str) -> None:
        told.clear()
        sys.stderr.write(f"seed {seed}: {error[:300]}\n")
        sys.stderr.flush()

    first = args.first or 0
    found = sweep(
        first, args.seeds, jobs=args.jobs, seconds_max=args.seconds, on_failure=failed, on_part=told
    )
    told.clear()
    if args.json:
        show_json(facts_of(found))
    else:
        sys.stdout.write(summary(found))
    if found.failures and (shrunk := shrink(min(found.failures))):
        sys.stderr.write("\n" + shrunk.report())
    return PROBLEM if found.failures else OK


def facts_of(found: Sweep) -> dict[str, Any]:
    """Return the result of many runs as values for JSON."""
    return {
        "from": found.first,
        "seeds": found.runs,
        "failures": [{"seed": seed, "error": error} for seed, error in sorted(found.failures.items())],
        "events": found.events,
        "acknowledged": found.acknowledged,
        "failovers": found.failovers,
        "apart": dict(sorted(found.apart.items())),
        "counts": dict(sorted(found.sightings.counts.items())),
        "seconds": round(found.seconds, 3),
    }


def summary(found: Sweep) -> str:
    """Return the result of many runs as text."""
    rate = found.seconds or 1.0
    apart = "".join(f"{count} runs ended early: {why}\n" for why, count in sorted(found.apart.items()))
    return (
        f"{apart}{found.runs} runs from seed {found.first}, {len(found.failures)} failed; {found.events} events, "
        f"{found.acknowledged} acknowledged messages, {found.failovers} failovers, {found.seconds:.1f} s "
        f"({found.events / rate:,.0f} events and {found.failovers / rate:,.0f} failovers a second)\n"
    )


# --- one run -------------------------------------------------------------------------------------


class Trace:
    """Prints the lines of a run. That they cannot be printed is no error of the run, which ends there."""

    def __init__(self) -> None:
        self.failed: Exception | None = None
        """Why they cannot."""

    def show(self, line: str) -> None:
        """Print one."""
        try:
            show(line)
        except Exception as error:
            self.failed = error
            raise


def run_seed(args: argparse.Namespace) -> int:
    """Run one seed, with its trace or picture if asked for, and return the exit code."""
    walk, recorder, trace = Walk(args.seed), Recorder(), Trace()
    world = walk.world
    if args.trace:
        world.listeners.append(lambda line: trace.show(f"{world.scheduler.now:9.4f} {line}"))
    if args.picture:
        recorder.watch(world)
    error = attempt(walk)
    if trace.failed is not None:
        raise trace.failed
    facts: dict[str, Any] = {
        "seed": args.seed,
        "error": error or None,
        "hash": f"{world.hash:08x}",
        "events": world.scheduler.steps,
        "acknowledged": len(world.checker.acked),
    }
    title = f"seed {args.seed}"
    about = f"A random walk of {walk.steps} steps. {error or 'Nothing wrong.'}"
    return report(args, facts, Picture(recorder, world.hosts, title, about))


def run_scenario(args: argparse.Namespace) -> int:
    """Run the scenario of a file, and return the exit code. A difference from its outputs is no failure.

    Raises:
        WrongUsage: The file cannot be read.
    """
    try:
        text = args.scenario.read_text(encoding="utf-8")
    except OSError as wrong:
        raise WrongUsage(f"cannot read {args.scenario}: {wrong.strerror or wrong}") from wrong
    except UnicodeDecodeError as wrong:
        raise WrongUsage(f"cannot read {args.scenario}: it is no text in UTF-8") from wrong
    scenario, recorder, found, error = Scenario(), Recorder(), "", ""
    if args.picture:
        recorder.attach(scenario)
    try:
        found = scenario.run(text)
    except ScenarioError as wrong:
        found, _, error = str(wrong).rpartition("\n")
        found += "\n"
    if args.trace:
        sys.stdout.write(found)
    facts = {"scenario": shown(str(args.scenario)), "error": error or None, "as_written": found == text}
    nodes = list(scenario.world.nodes) if hasattr(scenario, "world") else []
    return report(
        args, facts, Picture(recorder, nodes, shown(args.scenario.stem.replace("_", " ")), about_of(text))
    )


def about_of(text: str) -> str:
    """Return the comment at the top of a scenario, as one line."""
    return " ".join(line.lstrip("# ") for line in takewhile(lambda s: s.startswith("#"), text.splitlines()))


@dataclass(frozen=True, slots=True)
class Picture:
    """What a picture is drawn from: the recorded run, and the texts above it."""

    recorder: Recorder
    nodes: list[str]
    title: str
    about: str

    def chart(self, error: str | None) -> Chart:
        """Draw the chart; ``error`` is shown at its end."""
        self.recorder.ended()
        if error:
            self.recorder.note(error)
        return draw(self.recorder.happened, self.nodes, self.title, self.about)

    def write(self, file: Path, error: str | None) -> None:
        """Write the chart as SVG or as an HTML page, by the suffix. Raises `WrongUsage` if it cannot be written."""
        chart = self.chart(error)
        try:
            file.write_text(
                chart.svg() if file.suffix == ".svg" else page(chart, self.title), encoding="utf-8"
            )
        except OSError as wrong:
            raise WrongUsage(f"cannot write {file}: {wrong.strerror or wrong}") from wrong


def report(args: argparse.Namespace, facts: dict[str, Any], picture: Picture) -> int:
    """Print the result of one run, write its picture if asked for, and return the exit code."""
    error = facts["error"]
    if args.picture:
        picture.write(args.picture, error)
        facts["picture"] = shown(str(args.picture))
    if args.json:
        show_json(facts)
    elif error:
        sys.stderr.write(f"{picture.title}: {error}\n")
    else:
        said = [f"{key} {value}" for key, value in facts.items() if key in {"hash", "events", "acknowledged"}]
        show(f"{picture.title}: {', '.join(['nothing wrong', *said])}")
    return PROBLEM if error else OK


def shown(text: str) -> str:
    """Escape what is not printable in a name from outside."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def show(line: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{line}\n")


def show_json(value: object) -> None:
    """Print a value as indented JSON."""
    show(json.dumps(value, indent=2))
