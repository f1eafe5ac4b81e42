"""The command: `python -m tests.soak --minutes 30 --seed 1`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
import traceback
from pathlib import Path

from tests.soak.faults import FAULTS
from tests.soak.run import Soak


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tests.soak", description="Real brokers under a schedule of faults."
    )
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, help="end after so many faults")
    parser.add_argument("--seed", type=int, default=1, help="of the schedule: which faults, where, how long")
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=list(FAULTS), metavar="FAULT")
    parser.add_argument("--work", type=Path, help="new directory for stores and logs, kept afterwards")
    return parser.parse_args()


def main() -> int:
    args = parse_arguments()
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # The network writes to links that were just reset.
    work = args.work or Path(tempfile.mkdtemp(prefix="qpidha-soak-"))
    work.mkdir(parents=True, exist_ok=True)
    print(f"soak: seed {args.seed}, stores and logs in {work}", flush=True)
    soak = Soak(work, args.seed, args.only)
    try:
        asyncio.run(soak.run(minutes=args.minutes, rounds=args.rounds))
    except Exception:
        traceback.print_exc(file=sys.stdout)
        print(f"{soak.report()}\nsoak: FAILED; look into {work}")
        return 1
    print(f"{soak.report()}\nsoak: nothing acknowledged was lost, nothing unexpected happened")
    return 0


if __name__ == "__main__":
    sys.exit(main())
