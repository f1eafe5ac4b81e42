"""How long publishers wait when the primary's machine is cut off: `python -m tests.machines.outages --runs 10`, as root.

Three brokers and three members of etcd, each on a machine of its own. Faults take turns; beside them stands the longest
pause in the same time without a fault, which shows what the load of this machine does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from statistics import median

from tests.engines.outages import Pause, watched
from tests.machines.network import Network
from tests.machines.site import ENGINES, Site

CUT_S = 6.0
"""Longer than a session, a new connection and its catch-up."""
Cut = Callable[[Site, str], None]


def from_everything(site: Site, primary: str) -> None:
    """No packet from or to it passes, and none says so."""
    site.network.cut(primary)


def from_the_manager(site: Site, primary: str) -> None:
    """Its links to the other brokers and to the clients are fine."""
    site.network.cut(primary, ENGINES)


def from_nothing(site: Site, primary: str) -> None:
    """The measure of the other two."""


CUTS: dict[str, Cut] = {
    "cut off from everything": from_everything,
    "cut off from the manager": from_the_manager,
    "no fault": from_nothing,
}


@contextlib.asynccontextmanager
async def cut(site: Site, how: Cut) -> AsyncIterator[Pause]:
    """Cut the primary for a while. Afterwards all messages are checked."""
    async with site.fault() as scene:
        async with watched(site.cluster) as pause:
            how(site, scene.primary)
            await asyncio.sleep(CUT_S)
        yield pause


async def measure(site: Site, runs: int) -> dict[str, list[float]]:
    """The longest pause in each run, in seconds."""
    found: dict[str, list[float]] = {what: [] for what in CUTS}
    async with site.cluster:
        for _ in range(runs):
            for what, how in CUTS.items():
                async with cut(site, how) as pause:
                    found[what].append(pause.longest_s)
                    print(f"{time.strftime('%H:%M:%S')} {what}: {pause.longest_s:.2f} s", flush=True)
    return found


def spread(seconds: Sequence[float]) -> str:
    """The median and the worst."""
    return f"median {median(seconds):.2f} s, worst {max(seconds):.2f} s of {len(seconds)}"


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="tests.machines.outages", description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    args = parser.parse_args()
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    work = Path(tempfile.mkdtemp(prefix="qpidha-outages-"))
    with Network() as network, Site(network, work) as site:
        found = site.run(measure(site, args.runs))
    for what, seconds in found.items():
        print(f"{what}: {spread(seconds)}")
    print(f"load average {os.getloadavg()[0]:.0f}")


if __name__ == "__main__":
    main()
