"""A client of a rehearsal that only reads, on a connection of its own: what a primary that was replaced may not answer.

A client that changes something leaves a primary that was cut off, because its changes get no answer there. One that
only reads stays, and its reads are answered, unless the broker waits for `Node.barrier` first (Q7).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

from qpidha.testing.rehearsal.asking import Asker
from qpidha.testing.rehearsal.registers import Register
from qpidha.testing.rehearsal.workload import Rounds


class Reader:
    """Reads what the other clients have changed, and checks that no answer is older than what was known before."""

    def __init__(
        self,
        asker: Asker,
        registers: Callable[[], Sequence[Register]],
        rounds: Rounds,
        rng: random.Random,
        pause_s: float,
    ) -> None:
        self.asker = asker
        self.idle = True
        """No request is under way."""
        self._registers = registers
        self._rounds = rounds
        self._rng = rng
        self._pause_s = pause_s

    async def run(self) -> None:
        """Read in every round, until cancelled. Raises `Violation`."""
        while self.asker.kinds:
            while self._rounds.resting:
                await self._rounds.wait()
            if registers := self._registers():
                self.idle = False
                await self.asker.read(self._rng.choice(registers), "Q7")
                self.idle = True
            await asyncio.sleep(self._rng.uniform(0, 2 * self._pause_s))
