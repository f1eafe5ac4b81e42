"""The actions of a walk that befall disks: they fail, are lost or damaged, or come back as they once were.

What becomes of half a write or of a flipped bit is not made up here: `qpidha.testing.sim.media` asks a real store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qpidha.testing.sim import media
from qpidha.testing.sim.disk import Content
from qpidha.testing.sim.node import SimNode

if TYPE_CHECKING:
    from qpidha.testing.sim.world import World


class Picks:
    """Chooses what is hit, and counts what was."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.random = world.random
        self.network = world.network
        self.manager = world.manager
        self._images: dict[str, Content] = {}

    def _fired(self, name: str) -> None:
        self.world.sometimes(f"fault {name}")

    def _node(self, *, up: bool = True) -> SimNode | None:
        nodes = [n for n in self.world.nodes.values() if n.up == up]
        return self.random.choice(nodes) if nodes else None

    def _pair(self) -> tuple[str, str]:
        a, b = self.random.sample(list(self.world.nodes), 2)
        return a, b

    def _spare(self) -> SimNode | None:
        """A node whose disk may be lost: the loss of every copy is no fault to survive."""
        node = self.random.choice(list(self.world.nodes.values()))
        return node if any(member is not node for member in self.world.checker.members) else None

    def _victim(self) -> SimNode | None:
        """Rather the primary: that is where it hurts."""
        return (self.random.random() < 0.4 and self.world.primary) or self._node()


class DiskFaults(Picks):
    """One method for each line of the table, as in `qpidha.testing.walks.chaos`."""

    def restart_empty(self) -> None:
        if node := self._spare():
            node.replace_disk()
            self._fired("restart_empty")

    def image(self) -> None:
        """Somebody copies a disk, for `restart_older`."""
        if node := self._node():
            self._images[node.host] = node.disk.snapshot()

    def restart_older(self) -> None:
        nodes = [
            n
            for n in self.world.nodes.values()
            if n.host in self._images and self._images[n.host].status.epoch == n.epoch and not n.disk.damage
        ]
        if nodes:
            node = self.random.choice(nodes)
            node.crash()
            node.disk.restore(self._images[node.host])
            self.world.checker.restored(node)
            self._fired("restart_older")

    def crash_unsynced(self) -> None:
        self._power_cut("crash_unsynced")

    def _power_cut(self, kind: str) -> None:
        """In the middle of the next transaction: the real store decides whether it is there afterwards."""
        if node := self._victim():
            node.disk.armed = lambda: self.world.scheduler.after(0.0, lambda: self._cut_off(node, kind))

    def _cut_off(self, node: SimNode, kind: str) -> None:
        changes = node.disk.pending
        if not node.up or not changes:
            return
        keep = False
        if kind != "crash_unsynced":
            keep = media.interrupted(node.disk.content, changes, kind, self.random)
            self.world.sometimes(f"power cut left {'all' if keep else 'nothing'} of a transaction")
        node.crash(keep=keep, silent=True, lose=True)
        self._fired(kind)

    def disk_stall(self) -> None:
        """Counted at the commit. Not so long that a heal could not wait for it."""
        if node := self._victim():
            node.stall_s = self.world.settings.ack_timeout_s * self.random.uniform(1.1, 5.0)

    def write_error(self) -> None:
        if node := self._node():
            node.disk.failing = "before"
            self._fired("write_error")

    def sync_error(self) -> None:
        if node := self._node():
            node.disk.failing = self.random.choice(("before", "after"))
            self._fired("sync_error")

    def full(self) -> None:
        if node := self._node():
            node.disk.full = True
            self._fired("full")

    def short_write(self) -> None:
        if (node := self._victim()) and node.disk.content.status.cluster:
            node.disk.failing = "torn"
            node.disk.tear = lambda content, changes: media.interrupted(
                content, changes, "short_write", self.random
            )
            self._fired("short_write")

    def torn_write(self) -> None:
        self._power_cut("torn_write")

    def reordered_writes(self) -> None:
        self._power_cut("reordered_writes")

    def _damage(self, kind: str) -> None:
        """A node dies, and its disk is not what it was when it comes back: the real store must say so."""
        node = self._spare()
        if node and node.disk.content.status.cluster and not node.disk.damage:
            node.crash(keep=False, silent=True)
            node.disk.damage = media.damaged(node.disk.content, kind, self.random)
            self._fired(kind)
            self.world.sometimes(f"damage {'found' if node.disk.damage else 'harmless'}")

    def lost_write(self) -> None:
        self._damage("lost_write")

    def bit_flip(self) -> None:
        self._damage("bit_flip")

    def misdirected_write(self) -> None:
        self._damage("misdirected_write")

    def truncated(self) -> None:
        self._damage("truncated")

    def repair_disk(self) -> None:
        for node in self.world.nodes.values():
            node.disk.full = False
