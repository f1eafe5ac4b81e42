"""Which message bodies a node keeps in memory, if `Settings.memory_bytes_max` limits them.

Queues tell of each batch that they begin and cease to hold in memory. Beyond the limit the bytes of the oldest batches
that are durable are dropped: the queue goes on with an `Outline`, and reads the batch again, from the store, when
something needs its bytes. A batch that was read counts as new, so memory is also the cache of what was read.

    came ──► fresh ──► durable ──► dropped ──► read again ──► durable
              its commit    the limit     a consumer, a catch-up

What a backup receives of a plan waits until it is set aside in the store (`qpidha.core.backup.staging`), and is then
dropped likewise. The flip adopts it as it is: until that is durable, it is read where it was set aside.

A batch is durable when the `Ready` that was taken after it came was performed: its insert was in that transaction or in
one before. A flip inserts in slices and persists all of it at its end, so what it inserts waits for that (`hold`).

Invariants:
  what is not durable stays in memory, whatever the limit says
  the limit is for both: what is in memory, and what is known of the rest, which gets half of it at most
  ``nbytes`` is the sum of the sizes of all batches in memory, of all queues but tables and the configuration
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

from qpidha.core.stored import Outline, Stored
from qpidha.errors import QpidhaError, StoreFailed
from qpidha.seq import SequenceSet
from qpidha.types import QueueId
from qpidha.wire.batch import Batch

READ_AHEAD_BYTES: Final = 256 * 1024
"""So much is read at once, and no more than a quarter of the limit: small batches then cost as little as large ones."""

ReadBodies: TypeAlias = Callable[[QueueId, SequenceSet], Batch]
"""Gives back messages of the store, in order (`qpidha.interfaces.ReadableStore.read`). May raise."""


class Owner(Protocol):
    """What a queue has for the bodies that it does not hold in memory."""

    absent_bytes: int


class Bodies:
    """The message bodies of one node."""

    __slots__ = (
        "_adopted",
        "_adopted_at",
        "_durable",
        "_fresh",
        "_held",
        "_loading",
        "_read",
        "_read_staged",
        "_serial",
        "_waiting",
        "ahead_bytes",
        "bytes_max",
        "failed",
        "index_nbytes",
        "nbytes",
    )

    def __init__(self, bytes_max: int, read: ReadBodies, read_staged: ReadBodies | None = None) -> None:
        self.bytes_max = bytes_max
        self.nbytes = 0
        """In memory."""
        self.index_nbytes = 0
        """What is known of those that are not takes so much memory (`Outline.held_nbytes`)."""
        self.ahead_bytes = min(READ_AHEAD_BYTES, bytes_max // 4)
        """Batches that follow one another are read together up to this size."""
        self.failed: Exception | None = None
        """The first error of a read: the store failed, and so must the node."""
        self._read = read
        self._read_staged = read_staged
        self._serial = 0
        """How many `Ready` were taken."""
        self._loading = True
        self._held: OrderedDict[Stored, Owner] | None = None
        self._fresh: OrderedDict[Stored, tuple[int, Owner]] = OrderedDict()
        self._durable: OrderedDict[Stored, Owner] = OrderedDict()
        """Oldest first."""
        self._waiting: dict[Stored, Owner] = {}
        """In memory only: nothing has asked the store to keep them."""
        self._adopted: list[Outline] = []
        """What the last flip took over from what was set aside; empty once that is durable."""
        self._adopted_at = 0
        """The number of the `Ready` that has the flip."""

    # --- what queues tell ------------------------------------------------------------------------

    def came(self, owner: Owner, item: Stored) -> None:
        """A queue holds this batch in memory now."""
        self.nbytes += item.batch.nbytes
        if self._loading:
            self._durable[item] = owner
        elif self._held is not None:
            self._held[item] = owner
        else:
            self._fresh[item] = self._serial, owner
        if self.nbytes + self.index_nbytes > self.bytes_max:
            self._shrink()

    def went(self, owner: Owner, item: Stored) -> None:
        """A queue does not hold this batch any more, in memory or not."""
        if item.absent:
            owner.absent_bytes -= item.batch.nbytes
            self.index_nbytes -= item.outline.held_nbytes
            return
        self.nbytes -= item.batch.nbytes
        for some in (self._durable, self._fresh, self._waiting):
            if some.pop(item, None) is not None:
                return
        assert self._held is not None, "a batch in memory is fresh, durable, waiting or held"
        del self._held[item]

    def read(self, queue: QueueId, ids: SequenceSet) -> Batch:
        """Messages of the store. Raises what the store raises; and from then on always."""
        return self._surely(self._read, queue, ids)

    def read_staged(self, queue: QueueId, ids: SequenceSet) -> Batch:
        """The same of what was set aside, or was until a flip adopted it."""
        assert self._read_staged is not None, "nothing is set aside in a store that cannot read it again"
        return self._surely(self._read_staged, queue, ids)

    def _surely(self, read: ReadBodies, queue: QueueId, ids: SequenceSet) -> Batch:
        if self.failed is not None:
            raise StoreFailed(f"an earlier read failed: {self.failed}")
        try:
            batch = read(queue, ids)
        except QpidhaError as error:
            self.failed = error
            raise
        except Exception as error:
            self.failed = StoreFailed(f"the store raised {error!r}")
            raise self.failed from error
        if len(batch) == len(ids):
            return batch
        self.failed = StoreFailed(f"the store gave {len(batch)} messages back instead of {len(ids)}")
        raise self.failed

    def returned(self, owner: Owner, item: Stored, *, staged: bool = False) -> None:
        """A queue has read this batch, and holds it in memory again.

        ``staged``: it is still set aside, and stays in memory until the flip is durable.
        """
        self.nbytes += item.batch.nbytes
        if not staged:
            self._durable[item] = owner
        elif self._held is None:
            self._fresh[item] = self._serial, owner
        else:
            self._held[item] = owner
        self._shrink(item)

    # --- what a plan brings ----------------------------------------------------------------------

    @property
    def stages(self) -> bool:
        """The store can set messages aside."""
        return self._read_staged is not None

    def waits(self, owner: Owner, item: Stored) -> None:
        """This batch came, and nobody has asked the store to keep it."""
        self.nbytes += item.batch.nbytes
        self._waiting[item] = owner
        self._shrink()

    def persisted(self, owner: Owner, item: Stored) -> None:
        """It is set aside by the next `Ready`."""
        del self._waiting[item]
        self._fresh[item] = self._serial, owner

    def adopted(self, owner: Owner, outline: Outline) -> None:
        """A flip gives this batch, which is not in memory, to a queue."""
        owner.absent_bytes += outline.nbytes
        self.index_nbytes += outline.held_nbytes
        outline.staged = True
        self._adopted.append(outline)

    @property
    def adopting(self) -> bool:
        """What was set aside for a flip is read there until the flip is durable: nothing else may be set aside."""
        return bool(self._adopted)

    # --- what is durable -------------------------------------------------------------------------

    def loaded(self) -> None:
        """The queues have all that the store had: what comes now is not durable yet."""
        self._loading = False

    def taken(self) -> None:
        """A `Ready` was taken: what came before is in its transaction, or was in an earlier one."""
        self._serial += 1

    def performed(self) -> None:
        """The `Ready` that was taken last was performed: its transaction is durable."""
        fresh, durable = self._fresh, self._durable
        while fresh:
            item, (serial, owner) = next(iter(fresh.items()))
            if serial >= self._serial:
                break
            fresh.popitem(last=False)
            durable[item] = owner
        if self._adopted and self._held is None and self._adopted_at < self._serial:
            for outline in self._adopted:
                outline.staged = False
            self._adopted = []
        self._shrink()

    def hold(self) -> None:
        """What comes now is persisted later: when `release` is called."""
        self._held = OrderedDict()

    def release(self) -> None:
        """What came since `hold` is in the next `Ready`."""
        held, self._held = self._held, None
        for item, owner in (held or {}).items():
            self._fresh[item] = self._serial, owner
        self._adopted_at = self._serial

    # --- the limit -------------------------------------------------------------------------------

    def _shrink(self, wanted: Stored | None = None) -> None:
        """Drop the oldest durable batches until the rest fits. ``wanted``: the newest one, which stays."""
        durable, least = self._durable, self.bytes_max // 2
        while self.nbytes > max(self.bytes_max - self.index_nbytes, least) and durable:
            item, owner = durable.popitem(last=False)
            if item is wanted:
                durable[item] = owner
                return
            batch = item.body
            item.batch = outline = Outline(batch)
            self.index_nbytes += outline.held_nbytes
            self.nbytes -= batch.nbytes
            owner.absent_bytes += batch.nbytes
