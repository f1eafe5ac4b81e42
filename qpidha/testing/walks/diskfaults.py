"""The disk faults of a walk: disks fail, are lost, damaged or replaced by an older copy.

A real store decides the effect of half a write or of a flipped bit (`qpidha.testing.sim.media`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qpidha.testing.sim import media
from qpidha.testing.sim.content import Content
from qpidha.testing.sim.node import SimNode

if TYPE_CHECKING:
    from qpidha.testing.sim.world import World


class Picks:
    """Draws the targets of faults, and counts the faults."""

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
        """A node whose disk may be lost, because another member has a copy; else None."""
        node = self.random.choice(list(self.world.nodes.values()))
        return node if any(member is not node for member in self.world.checker.members) else None

    def _victim(self) -> SimNode | None:
        """The primary with probability 0.4, else any node that is up."""
        return (self.random.random() < 0.4 and self.world.primary) or self._node()


class DiskFaults(Picks):
    """One method for each line of the table, as in `qpidha.testing.walks.chaos`."""

    def restart_empty(self) -> None:
        """Replace the disk of a node by an empty one."""
        if node := self._spare():
            node.replace_disk()
            self._fired("restart_empty")

    def image(self) -> None:
        """Copy the disk of a node, for `restart_older`."""
        if node := self._node():
            self._images[node.host] = node.disk.snapshot()

    def restart_older(self) -> None:
        """Restore an older copy of a node's disk that has the same epoch."""
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
        """Cut the power in the middle of the next transaction, which is lost."""
        self._power_cut("crash_unsynced")

    def _power_cut(self, kind: str) -> None:
        """Cut the power in the next transaction; the real store decides whether it is durable."""
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
        """Stall the next commit for 1.1 to 5 acknowledgement timeouts; counted at the commit."""
        if node := self._victim():
            node.stall_s = self.world.settings.ack_timeout_s * self.random.uniform(1.1, 5.0)

    def write_error(self) -> None:
        """Let the next commit of a node fail before anything is written."""
        if node := self._node():
            node.disk.failing = "before"
            self._fired("write_error")

    def read_error(self) -> None:
        """Let one of the next reads of a node fail; counted when it does."""
        if node := self._victim():
            node.disk.read_fails_in = self.random.randint(1, 4)

    def sync_error(self) -> None:
        """Let the next commit of a node fail; its transaction is durable or lost."""
        if node := self._node():
            node.disk.failing = self.random.choice(("before", "after"))
            self._fired("sync_error")

    def full(self) -> None:
        """Fill the disk of a node, until `repair_disk`."""
        if node := self._node():
            node.disk.full = True
            self._fired("full")

    def short_write(self) -> None:
        """Let the next commit of a node fail after a part of its bytes."""
        if (node := self._victim()) and node.disk.content.status.cluster:
            node.disk.failing = "torn"
            node.disk.tear = lambda content, changes: media.interrupted(
                content, changes, "short_write", self.random
            )
            self._fired("short_write")

    def torn_write(self) -> None:
        """Cut the power in the next transaction, and keep the first part of its bytes."""
        self._power_cut("torn_write")

    def reordered_writes(self) -> None:
        """Cut the power in the next transaction, and keep any of its sectors."""
        self._power_cut("reordered_writes")

    def _damage(self, kind: str) -> None:
        """Crash a node and damage its store; the real store must detect it."""
        node = self._spare()
        if node and node.disk.content.status.cluster and not node.disk.damage:
            node.crash(keep=False, silent=True)
            node.disk.damage = media.damaged(node.disk.content, kind, self.random)
            self._fired(kind)
            self.world.sometimes(f"damage {'found' if node.disk.damage else 'harmless'}")

    def lost_write(self) -> None:
        """Crash a node whose disk never wrote a block of an earlier transaction."""
        self._damage("lost_write")

    def bit_flip(self) -> None:
        """Crash a node, and flip one bit of its store."""
        self._damage("bit_flip")

    def misdirected_write(self) -> None:
        """Crash a node, and overwrite one block of its store by another."""
        self._damage("misdirected_write")

    def truncated(self) -> None:
        """Crash a node, and cut off the end of its store's file."""
        self._damage("truncated")

    def repair_disk(self) -> None:
        """Make room on every full disk."""
        for node in self.world.nodes.values():
            node.disk.full = False
