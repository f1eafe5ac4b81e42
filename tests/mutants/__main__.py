"""``python -m tests.mutants [NAME…]``: plant each bug, and say what noticed it."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Sequence

from tests.mutants.mutant import Mutant
from tests.mutants.run import Verdict, workers
from tests.mutants.table import MUTANTS

SEEDS = 25
"""Enough for those that walks find at all, nearly always; more take longer with the others."""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="bugs, or rules; without, all of them")
    parser.add_argument("--list", action="store_true", help="only say which there are")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time (%(default)s)")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="random walks for each (%(default)s)")
    parser.add_argument("--markdown", action="store_true", help="the table as in docs/testing.md")
    options = parser.parse_args(arguments)
    mutants = chosen(options.names)
    if not mutants:
        parser.error(f"no bug and no rule is called {' or '.join(options.names)}")
    if options.list:
        for mutant in mutants:
            print(f"{mutant.name:34} {mutant.rules:14} {mutant.why}")
        return 0
    began = time.perf_counter()
    with workers(options.jobs) as pool:
        if wrong := pool.whole(mutants, options.seeds):
            print("without any bug:", *wrong, sep="\n  ", file=sys.stderr)
            return 1
        if options.markdown:
            print("| bug | rule | what it does | caught by | seeds |\n|---|---|---|---|---|")
        survivors = 0
        for verdict in pool.verdicts(mutants, options.seeds):
            print(markdown(verdict) if options.markdown else line(verdict), flush=True)
            survivors += not verdict.caught
    seconds = time.perf_counter() - began
    print(f"{len(mutants)} planted, {survivors} not noticed, {seconds:.0f} s", file=sys.stderr)
    return 1 if survivors else 0


def chosen(names: Sequence[str]) -> list[Mutant]:
    return [m for m in MUTANTS if not names or m.name in names or set(names) & set(m.rules.split())]


def line(verdict: Verdict) -> str:
    mutant = verdict.mutant
    return f"{mutant.name:34} {mutant.rules:14} {seeds(verdict):>5}  {caught_by(verdict)}"


def markdown(verdict: Verdict) -> str:
    mutant = verdict.mutant
    return f"| {mutant.name} | {mutant.rules} | {mutant.why} | {caught_by(verdict)} | {seeds(verdict)} |"


def seeds(verdict: Verdict) -> str:
    return "–" if verdict.seeds is None else str(verdict.seeds)


def caught_by(verdict: Verdict) -> str:
    """The scenario, or the file of the test; the walks, if only they noticed."""
    if not verdict.caught:
        return "not noticed"
    if not verdict.test:
        return f"walks: {verdict.error.split(':')[1].strip()}"
    scenario = re.search(r"test_scenario\[([A-Z]\d+)", verdict.test)
    return scenario[1] if scenario else verdict.test.split("::")[0].rpartition("/")[2].removesuffix(".py")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
