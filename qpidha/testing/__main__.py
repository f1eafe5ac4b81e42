"""``python -m qpidha.testing``: random walks by seed, for those who develop the library.

python -m qpidha.testing 1234                        every event of one walk
python -m qpidha.testing 1234 --only 3,17,40         with these of its steps alone
python -m qpidha.testing --from 0 --runs 5000        many walks on all cores
python -m qpidha.testing --profile failovers         walks that do little else than fail over
python -m qpidha.testing --runs 200000 --log FILE    one line for every 10,000; continues where it was stopped
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from qpidha.testing.command import summary
from qpidha.testing.walks.profile import CHANGES, ORDINARY, PROFILES, Profile
from qpidha.testing.walks.shrink import shrink
from qpidha.testing.walks.sightings import complete
from qpidha.testing.walks.slices import in_slices
from qpidha.testing.walks.sweep import Sweep, sweep
from qpidha.testing.walks.walk import Walk


def main(arguments: list[str]) -> int:
    """Run what the arguments ask for, print the result, and return the exit status: 1 if a walk failed."""
    parser = argparse.ArgumentParser(prog="python -m qpidha.testing", description="Random walks by seed.")
    parser.add_argument("seed", nargs="?", type=int, help="one walk: every event")
    parser.add_argument("--only", type=_numbers, help="its steps with these numbers alone: 3,17,40")
    parser.add_argument("--from", type=int, dest="first", default=0, help="the first of many seeds (0)")
    parser.add_argument("--runs", type=int, default=1000, help="how many seeds (1000)")
    parser.add_argument("--jobs", type=int, default=0, help="processes; 0: one a core (0)")
    parser.add_argument(
        "--profile", choices=PROFILES, default=ORDINARY.name, help="which faults, and how often"
    )
    parser.add_argument(
        "--log",
        type=Path,
        metavar="FILE",
        help="write one line for each slice; continue after the last one in it",
    )
    parser.add_argument("--slice", type=int, default=10_000, help="seeds of a slice (10000)")
    parser.add_argument("--failovers", type=int, default=0, help="with --log: enough, begin no more slices")
    parser.add_argument("--seconds", type=float, help="begin no more seeds after this time")
    parser.add_argument("--counts", action="store_true", help="show how often everything happened")
    parser.add_argument(
        "--complete",
        action="store_true",
        help=f"fail if something never happened in {complete(ORDINARY).runs} walks or more, "
        f"of the profile {CHANGES.name} in {complete(CHANGES).runs}",
    )
    args = parser.parse_args(arguments)
    profile = PROFILES[args.profile]
    if args.seed is not None:
        return one(args.seed, args.only, profile)
    found = many(args, profile)
    if args.counts:
        for name, count in sorted(found.sightings.counts.items()):
            sys.stdout.write(f"{count:9} {name}\n")
    sys.stdout.write(summary(found))
    if found.failures and (shrunk := shrink(min(found.failures), profile=profile)):
        sys.stdout.write("\n" + shrunk.report())
    return max(bool(found.failures), args.complete and missed(found, profile))


def many(args: argparse.Namespace, profile: Profile) -> Sweep:
    """Run many seeds, in slices if there is a log."""
    if args.log is None:
        return sweep(
            args.first,
            args.runs,
            jobs=args.jobs,
            seconds_max=args.seconds,
            on_failure=failed,
            profile=profile,
        )
    return in_slices(
        args.log,
        args.first,
        args.runs,
        size=args.slice,
        jobs=args.jobs,
        failovers=args.failovers,
        profile=profile,
        on_failure=failed,
    )


def one(seed: int, only: list[int] | None, profile: Profile) -> int:
    """Run one walk, print every event and the result, and return 0.

    Args:
        seed: Of the walk.
        only: Numbers of its steps: leave out the others.
        profile: Which faults, and how often.

    Raises:
        Violation: An invariant does not hold.
    """
    walk = Walk(seed, only=only, profile=profile)

    def show(line: str) -> None:
        sys.stdout.write(f"{walk.world.scheduler.now:9.4f} {line}\n")

    walk.world.listeners.append(show)
    world = walk.run()
    sys.stdout.write(
        f"{walk.apart or 'clean'}, hash {world.hash:08x}, {len(world.checker.acked)} acknowledged\n"
    )
    return 0


def failed(seed: int, error: str) -> None:
    """Print a failed walk at once."""
    sys.stdout.write(f"seed {seed}: {error[:300]}\n")
    sys.stdout.flush()


def missed(found: Sweep, profile: Profile = ORDINARY) -> bool:
    """Print what never happened; true if there were enough walks to be sure that it never does."""
    never, runs = found.sightings.never(profile), complete(profile).runs
    enough = found.runs >= runs
    for name in never:
        needs = "" if enough else f" (in {found.runs} walks; it needs {runs} to be sure)"
        sys.stdout.write(f"never happened: {name}{needs}\n")
    return enough and bool(never)


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
