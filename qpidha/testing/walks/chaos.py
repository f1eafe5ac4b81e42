"""The actions of a walk that make things go wrong, and those that set them right again.

One method for each line of `qpidha.testing.walks.faults`, with its name, and one for each of `REPAIRS`. They draw
what is hit from the world's randomness, and count a fault only when there was something for it to hit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from qpidha.testing.sim.manager import Fault
from qpidha.testing.walks.diskfaults import DiskFaults
from qpidha.wire.version import PROTOCOL_MAX, PROTOCOL_MIN

REPAIRS: Final[Mapping[str, float]] = {
    "restart": 6,
    "resume": 4,
    "mend": 5,
    "promote": 8,
    "good_manager": 1.5,
    "good_speed": 2,
    "repair_disk": 1.5,
    "end_twin": 0.5,
    "image": 0.5,
}
"""Never left out of a run, and how often each is drawn."""

TEN_YEARS_S: Final = 10 * 365 * 86400.0


class Chaos(DiskFaults):
    """What happens to one world."""

    # --- network -------------------------------------------------------------------------------------

    def drop(self) -> None:
        if self.network.reset(*self._pair()):
            self._fired("drop")

    def _second_link(self, *, lag_s: float) -> bool:
        backups = [n for n in self.world.nodes.values() if n.up and n.replica.follower.link is not None]
        if not backups:
            return False
        node = self.random.choice(backups)
        link = node.replica.follower.link
        end = self.network.ends.get((node.host, link)) if link is not None else None
        if end is None:
            return False
        end.lag_s = end.other.lag_s = lag_s
        self.network.connect(node, end.other.node)
        return True

    def duplicate(self) -> None:
        if self._second_link(lag_s=0.0):
            self._fired("duplicate")

    def reorder(self) -> None:
        if self._second_link(lag_s=self.random.uniform(0.1, 0.6)):
            self._fired("reorder")

    def delay(self) -> None:
        self.world.network_slowness = self.random.choice([5, 15])
        self._fired("delay")

    def clog(self) -> None:
        a, b = self._pair()
        if self.network.between(a, b):
            self.network.hold(a, b)
            self._fired("clog")

    def cut_one_way(self) -> None:
        self.network.block(*self._pair())
        self._fired("cut_one_way")

    def cut(self) -> None:
        a, b = self._pair()
        self.network.block(a, b)
        self.network.block(b, a)
        self._fired("cut")

    def isolate(self) -> None:
        node = self._node()
        if node is None:
            return
        for other in self.world.nodes:
            if other != node.host:
                self.network.block(node.host, other)
                self.network.block(other, node.host)
        self.manager.unreachable.add(node.host)
        self._fired("isolate")

    def half_open(self) -> None:
        if self.network.ends:
            self.network.forget(self.random.choice(list(self.network.ends.values())))
            self._fired("half_open")

    def split(self) -> None:
        """Counted where a frame is cut."""
        self.network.split = True

    def merge(self) -> None:
        """Counted where frames arrive as one."""
        self.network.merge = True

    def corrupt(self) -> None:
        """Counted where it is found."""
        a, b = self._pair()
        if self.network.between(a, b):
            self.network.spoil[a, b] = self.random.random()

    def late_close(self) -> None:
        """Counted where an end hears late."""
        self.network.close_delay = lambda: self.random.uniform(0.2, 1.5)

    def mend(self) -> None:
        network = self.network
        for pair in sorted(network.blocked | network.held):
            if self.random.random() < 0.7:
                network.unblock(*pair)
        if self.random.random() < 0.5:
            network.split = network.merge = False
            network.close_delay = lambda: 0.0

    # --- nodes ---------------------------------------------------------------------------------------

    def crash(self) -> None:
        if node := self._victim():
            keep, silent, lose = (self.random.random() < p for p in (0.5, 0.3, 0.5))
            node.crash(keep=keep, silent=silent, lose=lose)
            self._fired("crash")

    def restart(self) -> None:
        """A store that is refused for good is replaced; until then it is tried."""
        if node := self._node(up=False):
            node.start()
            if node.disk.damage:
                node.replace_disk()

    def pause(self) -> None:
        if node := self._victim():
            node.pause()
            self._fired("pause")

    def resume(self) -> None:
        for node in list(self.world.nodes.values()):
            if self.random.random() < 0.6:
                node.resume()

    def slow(self) -> None:
        if node := self._node():
            node.stutter(self.random.randint(3, 12), self.random.uniform(0.02, 0.3))
            self._fired("slow")

    def twin(self) -> None:
        node = self._node()
        if node is None or len(self.world.processes(node.name)) > 1:
            return
        self.world.start_twin(node.name)
        self._fired("twin")

    def end_twin(self) -> None:
        for twin in [n for n in self.world.nodes.values() if n.host != n.name]:
            self.world.end_twin(twin)

    def new_version(self) -> None:
        """Sometimes one that no longer speaks ours: it is refused until somebody goes back."""
        if node := self._node():
            later = PROTOCOL_MAX + 1
            node.crash()
            node.versions = self.random.choice([(PROTOCOL_MIN, later), (PROTOCOL_MIN, later), (later, later)])
            node.start()
            self._fired("new_version")

    # --- time ----------------------------------------------------------------------------------------

    def clock_jump(self) -> None:
        """Counted at the resume."""
        if node := self._victim():
            node.pause()
            node.jump_s = self.random.uniform(0.1, 100.0)

    def wall_clock(self) -> None:
        if node := self._node():
            node.crash()
            node.set_clock(self.random.uniform(-TEN_YEARS_S, TEN_YEARS_S))
            node.start()
            self._fired("wall_clock")

    def timer(self) -> None:
        if node := self._node():
            node.set_clock(rate=self.random.choice([0.5, 0.8, 1.3, 2.0]))
            self._fired("timer")

    # --- manager -------------------------------------------------------------------------------------

    def unreachable(self) -> None:
        if node := self._node():
            self.manager.unreachable.add(node.host)
            self._fired("unreachable")

    def lost_reply(self) -> None:
        rate, faults = self.random.choice([0.2, 0.6]), list(Fault)

        def draw() -> Fault:
            return self.random.choice(faults) if self.random.random() < rate else Fault.NONE

        self.manager.draw = draw

    def stale_watch(self) -> None:
        if node := self._node():
            self.manager.stale.add(node.host)
            self._fired("stale_watch")

    def good_manager(self) -> None:
        self.manager.draw = lambda: Fault.NONE
        for node in self.world.nodes.values():
            self.manager.reconnect(node)

    def promote(self) -> None:
        """What a promoter is there for: nobody is primary, so somebody is asked to be."""
        nodes = [n for n in self.world.nodes.values() if n.up and not n.paused]
        if self.world.primary is None or self.random.random() < 0.2:
            self.random.shuffle(nodes)
            any(not node.promote() for node in nodes)

    def promote_wrong(self) -> None:
        """One that is no member, or none any more, or that lags."""
        members = self.world.checker.members
        wrong = [
            n
            for n in self.world.nodes.values()
            if n.up
            and not n.paused
            and (n not in members or not n.replica.in_sync or n.host in self.manager.stale)
        ]
        if wrong:
            why = self.random.choice(wrong).promote()
            self._fired("promote_wrong")
            self.world.sometimes(f"wrong promotion {'refused' if why else 'tried'}")

    def promote_two(self) -> None:
        ready = [n for n in self.world.nodes.values() if n.up and not n.paused and not n.replica.primary]
        if len(ready) > 1:
            for node in self.random.sample(ready, 2):
                node.promote()
            self._fired("promote_two")

    # --- speed ---------------------------------------------------------------------------------------

    def good_speed(self) -> None:
        self.world.disk_slowness = self.world.network_slowness = 1.0
        for node in self.world.nodes.values():
            if node.clock_rate != 1.0:
                node.set_clock(rate=1.0)
