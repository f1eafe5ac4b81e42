"""A store in memory, whose content is lost with its process: for tests, demonstrations and caches.

The object keeps its content after `close`, so a node can be "restarted" on it; `crash`, `fail`, `damage` and `wipe`
simulate what happens to disks. Batches are shared with the node, never copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from uuid import UUID, uuid4

from qpidha.checks import CALLBACK, FLAG
from qpidha.errors import SettingsError, StoreDamaged, StoreDirty, StoreFailed, StoreLocked, StoreMismatch
from qpidha.journal import Audit, Change, StoreImage, StoreState, StoreStatus
from qpidha.settings import check_node_id
from qpidha.stores.changes import CHANGES, check_changes
from qpidha.stores.contents import Contents
from qpidha.types import NodeId

AUDIT_LINES_MAX = 1000
"""Number of audit lines that are kept; older ones are dropped."""
STEP = 500
"""Changes that are made in one step of a commit."""


class MemoryStore:
    """A `MessageStore` without a disk. Not thread-safe.

    Args:
        new_uuid: Where epochs and stop ids come from; a simulation passes its own.
    """

    blocking = False

    def __init__(self, *, new_uuid: Callable[[], UUID] = uuid4) -> None:
        CALLBACK("new_uuid", new_uuid, SettingsError)
        self._new_uuid = new_uuid
        self._contents: Contents | None = None
        self._open = False
        self._dead = False
        self._under_way: Iterator[None] | None = None
        self.audit: list[Audit] = []
        """What was recorded, oldest first; at most the last `AUDIT_LINES_MAX` lines."""

    def open(self, node: NodeId, *, refuse_dirty: bool = False) -> StoreImage:
        """See `qpidha.interfaces.MessageStore`."""
        check_node_id(node)
        FLAG("refuse_dirty", refuse_dirty)
        if self._open:
            raise StoreLocked(f"the store is held by node {node}")
        if self._contents is None:
            self._contents = Contents(StoreStatus(node=node, epoch=self._new_uuid()))
        contents = self._contents
        if contents.status.node != node:
            raise StoreMismatch(f"the store belongs to node {contents.status.node}, not to {node}")
        state = contents.left()
        if state is StoreState.DAMAGED:
            raise StoreDamaged(f"the store of node {node} was declared damaged")
        if refuse_dirty and state is StoreState.DIRTY:
            raise StoreDirty(f"the store of node {node} was not closed cleanly")
        contents.staged.clear()
        image = contents.image()
        contents.status = contents.status.with_(state=StoreState.DIRTY, stop=None)
        self._open, self._dead = True, False
        return image

    def commit(self, changes: Sequence[Change]) -> None:
        """See `qpidha.interfaces.MessageStore`. Nothing becomes durable."""
        if type(changes) is list and len(changes) <= STEP:
            self._finish()
            self._require_usable()
            check_changes(changes)
            self._apply(changes)
            return
        for _ in self.commit_in_steps(changes):
            pass

    def commit_in_steps(self, changes: Sequence[Change]) -> Iterator[None]:
        """See `qpidha.interfaces.SteppedStore`."""
        self._finish()
        self._under_way = self._steps(changes)
        yield from self._under_way
        self._under_way = None

    def _steps(self, changes: Sequence[Change]) -> Iterator[None]:
        self._require_usable()
        CHANGES("changes", changes)
        portions = [changes[n : n + STEP] for n in range(0, len(changes), STEP)]
        for portion in portions:
            check_changes(portion)
            yield
        for portion in portions:
            self._apply(portion)
            yield

    def _require_usable(self) -> None:
        if not self._open or self._dead or self._contents is None:
            raise StoreFailed("the store is closed, or an earlier commit failed")

    def _apply(self, changes: Sequence[Change]) -> None:
        assert self._contents is not None
        try:
            delta = self._contents.apply(changes)
        except Exception:
            self._dead = True
            self.damage()  # Half of the changes are applied and cannot be undone.
            raise
        if delta.audit:
            self.audit = (self.audit + delta.audit)[-AUDIT_LINES_MAX:]

    def _finish(self) -> None:
        """Do the rest of a commit that is under way, so that a caller never sees half of it."""
        steps, self._under_way = self._under_way, None
        for _ in steps or ():
            pass

    def close(self, *, clean: bool) -> None:
        """See `qpidha.interfaces.MessageStore`."""
        FLAG("clean", clean)
        self._finish()
        if clean and self._open and not self._dead and self._contents is not None:
            stopped = self._contents.status.with_(state=StoreState.CLEAN, stop=self._new_uuid())
            self._contents.status = stopped
        self._open = False

    def read_status(self) -> StoreStatus:
        """The status as it stands, also while the store is open.

        Raises:
            StoreMismatch: It was never opened.
        """
        if self._contents is None:
            raise StoreMismatch("the store was never opened")
        return self._contents.status.with_(state=self._contents.left())

    # --- what happens to disks ---------------------------------------------------------------------

    def crash(self) -> None:
        """As if the process was killed: whatever was committed is there, and the store is dirty."""
        self._finish()
        self._open = False

    def fail(self) -> None:
        """As if the disk failed: the next and every later commit raises `StoreFailed` until reopened."""
        self._dead = True

    def damage(self) -> None:
        """As if verification failed: it does not open again until it is wiped."""
        self._open = False
        if self._contents is not None:
            self._contents.status = self._contents.status.with_(state=StoreState.DAMAGED)

    def wipe(self) -> None:
        """As if the disk was replaced: empty, with a new epoch at the next open."""
        self._open = False
        self._contents = None
