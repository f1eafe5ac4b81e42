"""One line of the table: runs of all contenders in turn (A B A B …), medians, spread, and what is compared."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

US, RAW, REDIS, NATS, ETCD = (
    "qpidha",
    "raw sockets",
    "Redis, WAIT 2",
    "NATS JetStream, R3",
    "etcd, three members",
)
WARM_BYTES_MAX = 8 << 30


@dataclass
class Series:
    """What one contender reached, run by run."""

    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """Half the distance of the extremes, as a share of the median."""
        return (max(self.values) - min(self.values)) / 2 / self.median if self.median else 0.0


@dataclass
class Row:
    """One line of the table."""

    name: str
    unit: str
    goal: str
    """Empty: a figure that explains others."""
    runs: dict[str, Callable[[], float]]
    met: Callable[[dict[str, float]], bool]
    touches: int = 0
    """Bytes of new memory that a run needs, on all its processes; `warm` before each."""
    results: dict[str, Series] = field(default_factory=dict)

    def measure(self, repeats: int, say: Callable[[str], None]) -> None:
        for turn in range(repeats):
            for who, run in self.runs.items():
                warm(self.touches)
                value = run()
                self.results.setdefault(who, Series()).values.append(value)
                say(f"{self.name:32} {turn + 1}/{repeats} {who:22} {number(value):>12} {self.unit}")

    @property
    def is_met(self) -> bool:
        return self.met({who: series.median for who, series in self.results.items()})


def warm(nbytes: int) -> None:
    """Touch this much memory in a separate process, and free it.

    A virtual machine's host takes back what its guest does not use, and the first touch of a page that the host has to
    find again costs two to six times as much as another. Whoever comes after a contender that needed much memory
    would find it warm: so everyone does.
    """
    if nbytes:
        touch = "import sys; n = int(sys.argv[1]); b = bytearray(n); b[::4096] = bytes(-(-n // 4096))"
        subprocess.run([sys.executable, "-c", touch, str(min(nbytes, WARM_BYTES_MAX))], check=True)


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.3g}"


def ahead(medians: dict[str, float], times: float) -> bool:
    """So many times as fast as Redis, if that is installed."""
    return REDIS not in medians or medians[US] >= times * medians[REDIS]


def named(size: int) -> str:
    return f"{size} B" if size < 1024 else f"{size // 1024} KiB"
