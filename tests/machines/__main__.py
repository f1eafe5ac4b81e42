"""Random faults on machines for a long time: `python -m tests.machines --minutes 30 --seed 1`, as root.

Faults of the network between machines take turns with those of processes, disks and operators of the soak test.
"""

from __future__ import annotations

import argparse
import functools
import logging
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path

from tests.machines.faults import FAULTS
from tests.machines.network import Network
from tests.machines.requirements import missing
from tests.machines.site import Site
from tests.soak import faults as soak
from tests.soak.run import Soak
from tests.soak.scene import Fault

OF_PROCESSES = (
    "kill-primary", "kill-backup", "kill-two", "kill-all", "kill-twice", "stop-primary", "stop-backup", "stop-all",
    "full-disk-of-primary", "full-disk-of-backup", "wiped-primary", "wiped-backup", "hand-over", "consumer-leaves",
    "stop-both", "stutter", "stop-in-commit", "full-disk-in-commit", "stop-promoted", "stop-in-catch-up",
)  # fmt: skip
"""Kinds of the soak test that do not need its simulated network."""
KNOWN = (
    r"qpidha: node \w+: (trouble|session time-out raised|cluster manager|record store|session|live nodes)"
    r"|qpidha: node \w+: (link refused|publishers slowed): "
    r"|link from \S+: (TLS handshake: |before its handshake )(closed by the other end|[^:]*time)"
)
"""Peers give up a link that a fault holds before its handshake is over."""


def faults_of(site: Site) -> Mapping[str, Fault]:
    """All kinds, each as a function of a scene."""
    of_machines = {kind: functools.partial(function, site) for kind, function in FAULTS.items()}
    return {**of_machines, **{kind: soak.FAULTS[kind] for kind in OF_PROCESSES}}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.machines", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, help="end after so many faults")
    parser.add_argument("--seed", type=int, default=1, help="of the schedule: which faults, where, how long")
    parser.add_argument("--only", nargs="+", metavar="FAULT", choices=[*FAULTS, *OF_PROCESSES])
    parser.add_argument("--long", type=float, default=30.0, help="seconds for which a machine is cut off")
    return parser.parse_args()


def main() -> int:
    args = parse_arguments()
    if missing():
        sys.exit("machines of network namespaces cannot be made: " + "; ".join(missing()))
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    work = Path(tempfile.mkdtemp(prefix="qpidha-machines-"))
    print(f"machines: seed {args.seed}, stores and logs in {work}", flush=True)
    with Network() as network, Site(network, work, seed=args.seed, long_s=args.long) as site:
        faults = faults_of(site)
        soak = Soak(
            work, args.seed, args.only or list(faults), cluster=site.cluster, faults=faults, known=KNOWN
        )
        try:
            site.run(soak.run(minutes=args.minutes, rounds=args.rounds))
        except Exception:
            traceback.print_exc(file=sys.stdout)
            print(f"{soak.report()}\nmachines: FAILED; look into {work}")
            return 1
        print(f"{soak.report()}\nmachines: nothing acknowledged was lost, nothing unexpected happened")
    return 0


if __name__ == "__main__":
    sys.exit(main())
