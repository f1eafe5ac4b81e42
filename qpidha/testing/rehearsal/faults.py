"""What happens to the nodes of a rehearsal, and when. Each seed leaves some kinds out, so that others show."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING

from qpidha.testing.rehearsal.net import OUTSIDE
from qpidha.testing.rehearsal.seat import MANAGER

if TYPE_CHECKING:
    from qpidha.testing.rehearsal.loop import Life
    from qpidha.testing.rehearsal.rehearsal import Chair, Rehearsal

SESSION_S = 2.0
"""A node that is stopped or out of the manager's reach for longer than this is thought to be dead."""


class Faults:
    """The schedule of one rehearsal."""

    def __init__(self, rehearsal: Rehearsal, seconds: float) -> None:
        self._rehearsal = rehearsal
        self._chance = rehearsal.chance
        self._seconds = seconds
        self._doomed: dict[str, str] = {}
        """Nodes to be killed in the middle of their next commit, and what becomes of that."""
        self._ending: set[asyncio.Task[None]] = set()
        self.over = False
        rehearsal.wires.delay_s = (0.0001, self._chance.choice([0.003, 0.03, 0.1]))
        self.unsure = self._chance.choice([0.0, 0.0, 0.2])
        kinds: list[Callable[[Chair], None]] = [
            self.kill,
            self.lose_machine,
            self.kill_in_commit,
            self.cut_then_kill,
            self.stop,
            self.isolate,
            self.cut_one_way,
            self.keep_from_manager,
            self.reset,
        ]
        self.kinds = self._chance.sample(kinds, self._chance.randint(2, len(kinds)))

    async def run(self) -> None:
        """Until the time is over; afterwards everything is whole again and every node runs."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._seconds
        await asyncio.sleep(self._chance.uniform(0.2, 1.5))
        while loop.time() < end:
            kind = self._chance.choice(self.kinds)
            chair = self._victim()
            if chair.life is not None and chair.life.running:
                name = kind.__name__.replace("_", " ")
                self._rehearsal.report.faults[name] = self._rehearsal.report.faults.get(name, 0) + 1
                self._rehearsal.log(f"{name}: {chair.life}")
                kind(chair)
            await asyncio.sleep(self._chance.expovariate(1 / 1.2))
        self._doomed.clear()
        while self._ending:
            await asyncio.wait(set(self._ending))
        for chair in self._rehearsal.chairs:
            self._rehearsal.restart(chair)
        self.over = True

    def _victim(self) -> Chair:
        """The primary more often than others: it has the most to lose."""
        chairs = self._rehearsal.chairs
        found = self._rehearsal.shared._record.value
        primary = found.record.primary[0] if found and found.record.primary else None
        if self._chance.random() < 0.5:
            chairs = [chair for chair in chairs if chair.name == primary] or chairs
        return self._chance.choice(chairs)

    def _later(self, least_s: float, most_s: float, undo: Callable[[], None]) -> None:
        """A fault ends after a while."""
        seconds = self._chance.uniform(least_s, most_s)

        async def wait() -> None:
            await asyncio.sleep(seconds)
            undo()

        task = asyncio.ensure_future(wait())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    # --- kinds -----------------------------------------------------------------------------------

    def kill(self, chair: Chair) -> None:
        self._rehearsal.kill(chair)
        self._later(0.1, 4, lambda: self._rehearsal.restart(chair))

    def lose_machine(self, chair: Chair) -> None:
        """Nobody is told: its peers must find out by its silence."""
        self._rehearsal.kill(chair, silently=True)
        self._later(0.5, 6, lambda: self._rehearsal.restart(chair))

    def kill_in_commit(self, chair: Chair) -> None:
        self._doomed[chair.name] = self._chance.choice(["lost", "kept"])

    def in_commit(self, life: Life) -> str | None:
        """Called in each commit: None if nothing happens, else what becomes of the commit."""
        fate = self._doomed.pop(life.node, None)
        if fate is not None:
            chair = next(c for c in self._rehearsal.chairs if c.name == life.node)
            life.kill()  # Now: nothing that follows from this commit happens.
            asyncio.get_running_loop().call_soon(self.kill, chair, context=Context())
        return fate

    def cut_then_kill(self, chair: Chair) -> None:
        """What it takes from clients in its last moments reaches no other node."""
        life = chair.life
        others = [c.name for c in self._rehearsal.chairs if c is not chair]
        self._cut([(chair.name, other) for other in others])

        def kill() -> None:
            if chair.life is life:
                self.kill(chair)

        self._later(0.05, 1.0, kill)

    def stop(self, chair: Chair) -> None:
        """SIGSTOP, and SIGCONT later: a zombie, if it was the primary."""
        life = chair.life
        assert life is not None
        life.pause()

        def resume() -> None:
            if life.alive:
                self._rehearsal.log(f"resume {life}")
                life.resume()

        self._silent(chair, resume)

    def isolate(self, chair: Chair) -> None:
        """From other nodes and, or, from clients, in both directions."""
        others = [c.name for c in self._rehearsal.chairs if c is not chair]
        far = self._chance.choice([others, [OUTSIDE], [*others, OUTSIDE]])
        self._cut([(chair.name, other) for other in far] + [(other, chair.name) for other in far])

    def cut_one_way(self, chair: Chair) -> None:
        other = self._chance.choice([c.name for c in self._rehearsal.chairs if c is not chair])
        self._cut([(chair.name, other)])

    def _cut(self, ways: list[tuple[str, str]]) -> None:
        wires = self._rehearsal.wires
        ways = [way for way in ways if way not in wires.cuts]
        for way in ways:
            wires.cut(*way)

        def heal() -> None:
            self._rehearsal.log(f"heal {ways}")
            for way in ways:
                wires.heal(*way)

        self._later(0.1, 6, heal)

    def keep_from_manager(self, chair: Chair) -> None:
        wires = self._rehearsal.wires
        wires.cut(chair.name, MANAGER)
        self._silent(chair, lambda: wires.heal(chair.name, MANAGER))

    def _silent(self, chair: Chair, end: Callable[[], None]) -> None:
        """The manager hears nothing of this node for a while; if that is long, its session is over."""
        seconds = self._chance.uniform(0.1, 5)
        life = chair.life

        def expire() -> None:
            if chair.life is life:
                self._rehearsal.log(f"session of {life} is over")
                self._rehearsal.expire(chair)

        if seconds > SESSION_S:
            self._later(SESSION_S, SESSION_S, expire)
        self._later(seconds, seconds, end)

    def reset(self, chair: Chair) -> None:
        self._rehearsal.wires.reset(chair.name)
