"""The whole comparison: ``make bench``, or ``python -m benchmarks --quick``."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from benchmarks import growth, peers, report, table

DOCS = Path(__file__).resolve().parent.parent / "docs"


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks", description="qpidha and its peers on the same work.")
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of the work, once: does everything run?"
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="only the rows whose name has this in it")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-growth", action="store_true", help="leave out the growth study")
    parser.add_argument("--update", action="store_true", help="put the result into docs/performance.md")
    args = parser.parse_args()
    repeats = 1 if args.quick else args.repeats
    rows = [row for row in table.rows(args.quick) if args.only in row.name]
    if not rows:
        parser.error(f"no row has {args.only!r} in its name")
    started = time.monotonic()
    for name in peers.missing():
        say(f"{name} is not installed: left out")
    for row in rows:
        row.measure(repeats, say)
    studies: report.Studies = {}
    if not args.no_growth and not args.only:
        for name in growth.NAMES:
            studies[name] = growth.study(name, 20_000 if args.quick else 200_000)
            say(f"growth of {name}: " + ", ".join(f"{x:,.0f}: {y:.3f} µs" for x, y in studies[name]))
    text = report.markdown(rows, repeats, studies, "pictures/growth.svg")
    sys.stdout.write("\n" + text)
    if args.update:
        if studies:
            (DOCS / "pictures").mkdir(exist_ok=True)
            report.draw(studies, DOCS / "pictures" / "growth.svg")
        report.splice(DOCS / "performance.md", text)
    say(f"{time.monotonic() - started:.0f} s")
    return 0


def say(line: str) -> None:
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
