"""Random walks from the command line: many seeds, or every event of one.

python -m qpidha.testing 1234
python -m qpidha.testing --from 0 --runs 5000
"""

from __future__ import annotations

import sys
import time

from qpidha.testing.walk import Walk


def main(arguments: list[str]) -> int:
    """Says what it found; the exit status is 1 if that was anything."""
    if arguments and not arguments[0].startswith("-"):
        walk = Walk(int(arguments[0]))

        def show(line: str) -> None:
            sys.stdout.write(f"{walk.world.scheduler.now:9.4f} {line}\n")

        walk.world.listeners.append(show)
        world = walk.run()
        sys.stdout.write(f"clean, hash {world.hash:08x}, {len(world.checker.acked)} acknowledged\n")
        return 0
    options = dict(zip(arguments[::2], arguments[1::2], strict=True))
    first, runs = int(options.get("--from", "0")), int(options.get("--runs", "1000"))
    began, failed, events = time.perf_counter(), 0, 0
    for seed in range(first, first + runs):
        walk = Walk(seed)
        try:
            walk.run()
        except Exception as error:  # noqa: BLE001 - whatever it is, its seed is what counts.
            failed += 1
            sys.stdout.write(f"seed {seed}: {type(error).__name__}: {str(error)[:300]}\n")
            sys.stdout.flush()
        events += walk.world.scheduler.steps
    seconds = time.perf_counter() - began
    sys.stdout.write(f"{runs} runs, {failed} failed, {events} events, {events / seconds:.0f} a second\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
