"""The actions of a walk that inject faults, and those that repair them.

One method for each line of `qpidha.testing.walks.faults`, with its name, and one for each of `REPAIRS`. They draw
what is hit from the world's randomness, and count a fault only when there was something for it to hit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from qpidha.testing.sim.manager import Fault
from qpidha.testing.sim.node import SimNode
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
"""Repairs by weight; no run leaves one out."""

TEN_YEARS_S: Final = 10 * 365 * 86400.0


class Chaos(DiskFaults):
    """Faults and repairs of one world."""

    # --- network -------------------------------------------------------------------------------------

    def drop(self) -> None:
        """Break the links between two nodes, with all that is in flight."""
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
        """Open a second link from a backup to its primary."""
        if self._second_link(lag_s=0.0):
            self._fired("duplicate")

    def reorder(self) -> None:
        """Open a second link from a backup to its primary, and delay the first by up to 0.6 s."""
        if self._second_link(lag_s=self.random.uniform(0.1, 0.6)):
            self._fired("reorder")

    def delay(self) -> None:
        """Multiply the delay of every link by 5 or 15, until `good_speed`."""
        self.world.network_slowness = self.random.choice([5, 15])
        self._fired("delay")

    def clog(self) -> None:
        """Hold one direction between two linked nodes, so that frames wait but heartbeats pass."""
        a, b = self._pair()
        if self.network.between(a, b):
            self.network.hold(a, b)
            self._fired("clog")

    def cut_one_way(self) -> None:
        """Block one direction between two nodes."""
        self.network.block(*self._pair())
        self._fired("cut_one_way")

    def cut(self) -> None:
        """Block both directions between two nodes."""
        a, b = self._pair()
        self.network.block(a, b)
        self.network.block(b, a)
        self._fired("cut")

    def isolate(self) -> None:
        """Cut one node off from all other nodes and from the cluster manager."""
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
        """Close one end of a link without notice to the other."""
        if self.network.ends:
            self.network.forget(self.random.choice(list(self.network.ends.values())))
            self._fired("half_open")

    def split(self) -> None:
        """Let frames arrive in pieces; counted when one is split."""
        self.network.split = True

    def merge(self) -> None:
        """Let frames arrive together; counted when two are merged."""
        self.network.merge = True

    def corrupt(self) -> None:
        """Flip one bit of the next frame of a direction; counted when it is detected."""
        a, b = self._pair()
        if self.network.between(a, b):
            self.network.spoil[a, b] = self.random.random()

    def late_close(self) -> None:
        """Delay the close of links by 0.2 to 1.5 s; counted when one is delayed."""
        self.network.close_delay = lambda: self.random.uniform(0.2, 1.5)

    def mend(self) -> None:
        """Unblock most of the blocked directions, and sometimes end the faults of the byte stream."""
        network = self.network
        for pair in sorted(network.blocked | network.held):
            if self.random.random() < 0.7:
                network.unblock(*pair)
        if self.random.random() < 0.5:
            network.split = network.merge = False
            network.close_delay = lambda: 0.0

    # --- nodes ---------------------------------------------------------------------------------------

    def crash(self) -> None:
        """Kill one process; its commit in flight is durable or lost."""
        if node := self._victim():
            keep, silent, lose = (self.random.random() < p for p in (0.5, 0.3, 0.5))
            node.crash(keep=keep, silent=silent, lose=lose)
            self._fired("crash")

    def restart(self) -> None:
        """Start one node that is down, or replace its disk if the store is damaged."""
        if node := self._node(up=False):
            node.start()
            if node.disk.damage:
                node.replace_disk()

    def pause(self) -> None:
        """Stop one process (SIGSTOP)."""
        if node := self._victim():
            node.pause()
            self._fired("pause")

    def resume(self) -> None:
        """Continue most of the stopped processes."""
        for node in list(self.world.nodes.values()):
            if self.random.random() < 0.6:
                node.resume()

    def slow(self) -> None:
        """Pause one process again and again, 3 to 12 times."""
        if node := self._node():
            self._stutter(node, self.random.randint(3, 12), self.random.uniform(0.02, 0.3))
            self._fired("slow")

    def _stutter(self, node: SimNode, turns: int, pause_s: float) -> None:
        """Pause the node again and again, with a tenth of each pause to run in between."""
        if turns and node.up:
            node.pause()
            self.world.scheduler.after(pause_s, node.resume)
            self.world.scheduler.after(pause_s * 1.1, lambda: self._stutter(node, turns - 1, pause_s))

    def twin(self) -> None:
        """Start a second process with the id of a node."""
        node = self._node()
        if node is None or len(self.world.processes(node.name)) > 1:
            return
        self.world.start_twin(node.name)
        self._fired("twin")

    def end_twin(self) -> None:
        """End all second processes of a node id."""
        for twin in [n for n in self.world.nodes.values() if n.host != n.name]:
            self.world.end_twin(twin)

    def new_version(self) -> None:
        """Restart one node with a later protocol, sometimes without the present one: then peers refuse it."""
        if node := self._node():
            later = PROTOCOL_MAX + 1
            node.crash()
            node.versions = self.random.choice([(PROTOCOL_MIN, later), (PROTOCOL_MIN, later), (later, later)])
            node.start()
            self._fired("new_version")

    # --- time ----------------------------------------------------------------------------------------

    def clock_jump(self) -> None:
        """Pause one node whose clock jumps by up to 100 s at the resume; counted then."""
        if node := self._victim():
            node.pause()
            node.jump_s = self.random.uniform(0.1, 100.0)

    def wall_clock(self) -> None:
        """Restart one node with a clock that is up to ten years off."""
        if node := self._node():
            node.crash()
            node.clock.set(self.random.uniform(-TEN_YEARS_S, TEN_YEARS_S))
            node.start()
            self._fired("wall_clock")

    def timer(self) -> None:
        """Run the clock and timers of one node at 0.5 to 2 times the speed."""
        if node := self._node():
            node.clock.set(rate=self.random.choice([0.5, 0.8, 1.3, 2.0]))
            self._fired("timer")

    # --- manager -------------------------------------------------------------------------------------

    def unreachable(self) -> None:
        """Cut one node off from the cluster manager."""
        if node := self._node():
            self.manager.unreachable.add(node.host)
            self._fired("unreachable")

    def lost_reply(self) -> None:
        """Let a fifth or three fifths of the requests to the cluster manager fail, each in a drawn way."""
        rate, faults = self.random.choice([0.2, 0.6]), list(Fault)

        def draw() -> Fault:
            return self.random.choice(faults) if self.random.random() < rate else Fault.NONE

        self.manager.draw = draw

    def stale_watch(self) -> None:
        """Silence the watch of one node; its requests still work."""
        if node := self._node():
            self.manager.stale.add(node.host)
            self._fired("stale_watch")

    def good_manager(self) -> None:
        """End all faults of the cluster manager."""
        self.manager.draw = lambda: Fault.NONE
        for node in self.world.nodes.values():
            self.manager.reconnect(node)

    def promote(self) -> None:
        """Promote a node if there is no primary, as a promoter does; sometimes although there is one."""
        nodes = [n for n in self.world.nodes.values() if n.up and not n.paused]
        if self.world.primary is None or self.random.random() < 0.2:
            self.random.shuffle(nodes)
            any(not node.promote() for node in nodes)

    def promote_wrong(self) -> None:
        """Promote a node that is not a member, that lags or whose watch is silent."""
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
        """Promote two nodes at the same time."""
        ready = [n for n in self.world.nodes.values() if n.up and not n.paused and not n.replica.primary]
        if len(ready) > 1:
            for node in self.random.sample(ready, 2):
                node.promote()
            self._fired("promote_two")

    # --- speed ---------------------------------------------------------------------------------------

    def good_speed(self) -> None:
        """Restore the normal speed of disks, network and clocks."""
        self.world.disk_slowness = self.world.network_slowness = 1.0
        for node in self.world.nodes.values():
            if node.clock.rate != 1.0:
                node.clock.set(rate=1.0)
