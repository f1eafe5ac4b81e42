"""A simulated disk: a reference for the stores, with commits that complete later and crashes that lose them.

What it holds is what is *durable*: a commit that has not completed is not in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal
from uuid import UUID

from qpidha.driver import Done
from qpidha.errors import StoreFailed
from qpidha.journal import Change, StoreImage, StoreState, StoreStatus, Unstage
from qpidha.testing.sim.content import Content
from qpidha.types import NodeId

Failing = Literal["before", "after", "torn"]


class SimDisk:
    """The disk of one node. At most one commit is under way, as the driver promises."""

    def __init__(self, node: NodeId, new_uuid: Callable[[], UUID]) -> None:
        self.node = node
        self._new_uuid = new_uuid
        self.content = Content(StoreStatus(node=node, epoch=new_uuid()))
        self.failing: Failing | None = None
        """How the next commit fails: before it is durable, after it, or as ``tear`` decides."""
        self.reading = False
        """What reads now is the node, not a check of the simulator: it may fail."""
        self.read_fails_in = 0
        """So many more reads of the node, and the last of them fails; 0: none does."""
        self.full = False
        """No commit succeeds, and no store opens: opening it is a write (D5)."""
        self.damage = ""
        """The error of the store's verification at the next start; "" for none."""
        self.armed: Callable[[], None] | None = None
        """Called once, when the next commit begins."""
        self.tear: Callable[[Content, Sequence[Change]], bool] = lambda content, changes: False
        """Whether an interrupted transaction is durable (`qpidha.testing.sim.media`)."""
        self.committed: Callable[[list[Change]], None] = lambda changes: None
        """Called when a commit is durable, before the driver's callback."""
        self.displaced: dict[bytes | None, bytes] = {}
        """By key, the entries of tables and of the configuration that the last durable transaction removed."""
        self._pending: tuple[list[Change], Done] | None = None

    @property
    def epoch(self) -> UUID:
        """The epoch of the store on this disk."""
        return self.content.status.epoch

    @property
    def pending(self) -> list[Change] | None:
        """The changes of the commit in progress; None without one."""
        return self._pending[0] if self._pending else None

    def image(self) -> StoreImage:
        """Open the store and return its image.

        Raises:
            StoreFailed: The disk is full.
        """
        if self.full:
            raise StoreFailed("simulated: the disk is full")
        if self.content.staged:
            self.content.apply([Unstage()])
        image = self.content.image()
        if self.damage:
            return StoreImage(image.status.with_(state=StoreState.DAMAGED))
        return image

    def begin(self, changes: list[Change], done: Done) -> None:
        """Begin a commit; `finish` completes it, `crash` may lose it. At most one at a time."""
        assert self._pending is None, "two commits at once"
        self._pending = (changes, done)
        if self.armed is not None:
            armed, self.armed = self.armed, None
            armed()

    def finish(self) -> list[Change]:
        """Complete the commit in progress, and call back. Returns what became durable."""
        if self._pending is None:
            return []
        (changes, done), self._pending = self._pending, None
        if self.failing or self.full:
            torn = self.failing == "torn" and self.tear(self.content, changes)
            if self.failing == "after" or torn:
                self.content.apply(changes)
            self.failing = None
            done(StoreFailed("simulated: the disk is full" if self.full else "simulated: the disk failed"))
            return []
        plain = self.content.adopted(changes)
        self.displaced = self.content.entries_removed(plain)
        self.content.apply(changes)
        self.committed(plain)
        done(None)
        return plain

    def spoiled(self) -> bool:
        """Whether the read that the node makes now fails."""
        if not self.reading or not self.read_fails_in:
            return False
        self.read_fails_in -= 1
        return not self.read_fails_in

    def crash(self, *, keep: bool) -> None:
        """End the process. ``keep``: a commit in progress is durable; else it is lost as a whole."""
        self.read_fails_in = 0
        if self._pending is not None:
            changes, _ = self._pending
            self._pending = None
            if keep:
                self.content.apply(changes)

    def wipe(self) -> None:
        """Replace the disk by an empty one with another epoch (rule J3)."""
        self._pending = None
        self.failing, self.full, self.damage, self.armed = None, False, "", None
        self.content = Content(StoreStatus(node=self.node, epoch=self._new_uuid()))

    def snapshot(self) -> Content:
        """Return a copy of the durable content, for `restore`."""
        return self.content.copy()

    def restore(self, content: Content) -> None:
        """Replace the content by an older copy of the same disk (scenario T39)."""
        self._pending = None
        self.content = content.copy()
