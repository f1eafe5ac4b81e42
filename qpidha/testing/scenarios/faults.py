"""Commands of a scenario that hold back, break and damage: the network, disks, the cluster manager, messages."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from qpidha.journal import StoreState
from qpidha.testing.scenarios.commands import Commands
from qpidha.testing.scenarios.error import ScenarioError
from qpidha.testing.sim.manager import Fault
from qpidha.testing.sim.node import SimNode
from qpidha.types import Versioned
from qpidha.wire.events import Acknowledged, Fenced, Frame


class FaultCommands(Commands):
    """Commands that break things."""

    def hold(self, *directions: str) -> None:
        """``hold P->B1``: frames in this direction wait, as on a slow link. Heartbeats pass."""
        for words in directions:
            self.world.network.hold(*self._direction(words))

    def pass_(self, direction: str, count: str = "1000") -> None:
        """``pass P->B1 2``: let two of the waiting frames arrive; the direction stays held."""
        self.world.network.let_pass(*self._direction(direction), int(count))

    def release(self, *directions: str) -> None:
        """``release P->B1``: let all waiting frames arrive, in order, and open the direction again."""
        for words in directions:
            self.world.network.unblock(*self._direction(words))

    def cut(self, a: str, b: str) -> None:
        """``cut P B1``: let nothing pass in either direction; after a time-out both ends close their links."""
        self.world.network.block(a, b)
        self.world.network.block(b, a)

    def mend(self, a: str, b: str) -> None:
        """``mend P B1``: undo ``cut``."""
        self.release(f"{a}->{b}", f"{b}->{a}")

    def reset(self, a: str, b: str) -> None:
        """``reset P B1``: break the links between them; waiting frames are lost."""
        self.world.network.reset(a, b)

    def forge(self, direction: str, what: str, *numbers: str) -> None:
        """``forge B1->P 9 1 1``: send "ack 9" of session 1, generation 1, in the name of B1 on its link.

        ``forge B1->P fenced 9``: claim in its name that it has seen generation 9.
        """
        source, _ = self._direction(direction)
        node = self._node(source)
        link = node.replica.follower.link
        if link is None:
            raise ScenarioError(f"{source} has no link")
        if what == "fenced":
            frame = Frame(node.replica.generation, 0, Fenced(generation=int(numbers[0])))
        else:
            session, generation = map(int, numbers)
            frame = Frame(generation, session, Acknowledged(position=int(what)))
        self.world.network.send(node, link, frame)

    def disk(self, name: str, what: str) -> None:
        """``disk B1 hold``: let its commits wait, until ``disk B1 release``.

        ``disk B1 fail``: the next commit fails and is not durable; ``fail-after``: it fails and is durable.
        """
        node = self._node(name)
        if what == "hold":
            node.hold_disk = True
        elif what == "release":
            node.release_disk()
        else:
            node.disk.failing = "after" if what == "fail-after" else "before"

    def damage(self, name: str) -> None:
        """``damage B1``: its store finds a wrong checksum when it is opened next."""
        content = self._node(name).disk.content
        content.status = content.status.with_(state=StoreState.DAMAGED)

    def clone(self, name: str, other: str) -> None:
        """``clone B1 B1x``: start a second process with node id B1, on a copy of its disk; the scenario calls it B1x."""
        self._clones[other] = clone = SimNode(self.world, name)
        clone.auto_connect = False
        clone.disk.restore(self._node(name).disk.snapshot())
        clone.start()

    def wipe(self, name: str) -> None:
        """``wipe P``: replace the disk of a node that is down with an empty one."""
        self._node(name).disk.wipe()

    def save(self, name: str) -> None:
        """``save B1``: copy its disk, for ``restore B1``."""
        self._saved[name] = self._node(name).disk.snapshot()

    def restore(self, name: str) -> None:
        """``restore B1``: put the saved copy in the place of its disk. The node is down."""
        self._node(name).disk.restore(self._saved[name])

    def manager(self, name: str, *words: str) -> None:
        """``manager P unreachable`` or ``stale`` (its watch is silent), until ``manager P reachable``.

        ``manager P next late lost``: the faults of its next compare-and-sets, see `Fault`. ``manager all
        deliver-late``: late ones arrive now. ``manager all wiped``: delete the record. ``manager all generation 1``:
        replace the record by the last one, with this generation and version 1.
        """
        manager = self.world.manager
        if words == ("wiped",):
            self._lost_record, manager.current = manager.current, None
            return
        if words[0] == "generation":
            old = manager.current or self._lost_record
            assert old is not None
            manager.current = Versioned(replace(old.record, generation=int(words[1]), primary=None), 1)
            return
        if words == ("deliver-late",):
            late, manager.held = manager.held or [], []
            for request in late:
                request()
            return
        node = self._node(name)
        match words:
            case ("unreachable",):
                manager.unreachable.add(name)
            case ("stale",):
                manager.stale.add(name)
            case ("reachable",):
                manager.reconnect(node)
            case ("next", *faults):
                manager.faults.setdefault(name, deque()).extend(Fault(fault) for fault in faults)
            case _:
                raise ScenarioError(f"manager {name} {' '.join(words)}")
