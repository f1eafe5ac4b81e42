"""Where a fault happens, and the register of faults."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random

from tests.soak.cluster import SoakCluster


@dataclass(frozen=True)
class Scene:
    """The cluster that a fault is applied to. All its brokers are members at the start."""

    cluster: SoakCluster
    random: Random
    primary: str
    backups: tuple[str, str]
    """The backups in random order."""

    @property
    def seconds(self) -> float:
        """A random duration; the range includes values below and above every time-out of a link and of a member."""
        return self.random.uniform(0.2, 6.0)

    async def for_a_while(self) -> str:
        seconds = self.seconds
        await asyncio.sleep(seconds)
        return f"{seconds:.1f} s"

    async def stop(self, *names: str, seconds: float) -> None:
        """SIGSTOP for so long, then SIGCONT. Nothing else of the test waits for these processes meanwhile."""
        for name in names:
            self.cluster.signal(name, signal.SIGSTOP)
        await asyncio.sleep(seconds)
        for name in names:
            self.cluster.signal(name, signal.SIGCONT)

    def pair(self) -> tuple[str, str]:
        """A random pair of brokers that have a link."""
        pair = [self.primary, self.backups[0]]
        self.random.shuffle(pair)
        return pair[0], pair[1]


Fault = Callable[[Scene], Awaitable[str]]
FAULTS: dict[str, Fault] = {}


def fault(function: Fault) -> Fault:
    FAULTS[function.__name__.replace("_", "-")] = function
    return function
