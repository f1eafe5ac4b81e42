"""The messages of one queue while its store is read: as pieces of an image, small batches joined.

Most batches of a configuration, and of a queue to which messages come one by one, have one small message. As one piece
they take a tenth of the memory, and less time in the core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias, overload

from qpidha.journal import QueueImage
from qpidha.seq import SequenceSet
from qpidha.stores.queue import Queue
from qpidha.stores.row import Row
from qpidha.types import MessageId, QueueId
from qpidha.wire.batch import Batch

JOINED: Final = 64
"""So many small batches, whose ids come one after the other, become one piece."""
JOINED_BYTES_MAX: Final = 1024
"""Larger ones are pieces as they came."""


Read: TypeAlias = Callable[[QueueId, SequenceSet], Batch]
"""Gives back messages of the store (`qpidha.interfaces.ReadableStore.read`)."""


class Room:
    """How many bytes of messages may still be kept in memory."""

    __slots__ = ("_left",)

    def __init__(self, nbytes: int | None) -> None:
        """None: any number."""
        self._left = nbytes

    def take(self, nbytes: int) -> bool:
        """Whether there is room for so many: then they take it."""
        if self._left is None:
            return True
        if nbytes > self._left:
            self._left = 0  # What comes later in a queue is not kept instead.
            return False
        self._left -= nbytes
        return True


class Pieces:
    """Ids and batches of one queue, each message once. `add` them as they are read, in any order.

    Args:
        room: For the batches of which it takes room; others are left out, and only their ids are kept. None: for all.
    """

    __slots__ = ("_ids", "_last", "_loose", "_made", "_room")

    def __init__(self, room: Room | None = None) -> None:
        self._room = Room(None) if room is None else room
        self._made: list[tuple[SequenceSet, Batch | None]] = []
        self._loose: list[Batch] = []
        """Small ones that are not joined yet."""
        self._ids = SequenceSet()
        """Theirs."""
        self._last: MessageId = -1
        """The last one of these; -1: there is none."""

    def add(self, row: Row, batch: Batch) -> None:
        """Add the live messages of a row, of which there is one at least. O(1), but for the joining of small ones."""
        small = batch.nbytes <= JOINED_BYTES_MAX
        if self._loose and (not small or row.first <= self._last or len(self._loose) == JOINED):
            self._join()
        if not small:
            self._keep(row.live, batch)
            return
        self._loose.append(batch)
        if row.whole:
            self._ids.add(row.first, row.last)
        else:
            self._ids |= row.live
        self._last = row.last

    def _join(self) -> None:
        """Make one piece of the loose ones."""
        loose = self._loose
        if loose:
            self._keep(self._ids, loose[0] if len(loose) == 1 else Batch.join(loose))
            self._loose, self._ids, self._last = [], SequenceSet(), -1

    def _keep(self, ids: SequenceSet, batch: Batch) -> None:
        self._made.append((ids, batch if self._room.take(batch.nbytes) else None))

    def all(self) -> list[tuple[SequenceSet, Batch | None]]:
        """All pieces, lowest id first; None: it was left out. O(pieces log pieces)."""
        self._join()
        self._made.sort(key=lambda piece: piece[0].first)
        return self._made


class Held(Sequence[tuple[SequenceSet, Batch]]):
    """The pieces of one queue. Those that were left out are read whenever they are asked for."""

    __slots__ = ("_pieces", "_queue", "_read")

    def __init__(
        self, queue: QueueId, pieces: list[tuple[SequenceSet, Batch | None]], read: Read | None
    ) -> None:
        self._queue = queue
        self._pieces = pieces
        self._read = read

    def __len__(self) -> int:
        return len(self._pieces)

    @overload
    def __getitem__(self, index: int) -> tuple[SequenceSet, Batch]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[SequenceSet, Batch]]: ...
    def __getitem__(self, index: int | slice) -> tuple[SequenceSet, Batch] | list[tuple[SequenceSet, Batch]]:
        if isinstance(index, slice):
            return [self[n] for n in range(*index.indices(len(self)))]
        ids, batch = self._pieces[index]
        if batch is None:
            assert self._read is not None, "a store that leaves out messages can read them"
            batch = self._read(self._queue, ids)
        return ids, batch

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


NOTHING_HELD: Final[Sequence[tuple[SequenceSet, Batch]]] = []
"""Of all queues without messages. Never changed."""


class QueueImages(Sequence[QueueImage]):
    """The queues of a store as it was opened, each made when it is asked for: most are needed once, one after the other.

    `settle` it before a queue of the store changes: then all of them are made.
    """

    __slots__ = ("__weakref__", "_made", "_pieces", "_queues", "_read")

    def __init__(
        self, queues: Iterable[Queue], pieces: Mapping[int, Pieces], read: Read | None = None
    ) -> None:
        self._queues = tuple(queues)
        self._read = read
        self._pieces = pieces
        self._made: tuple[QueueImage, ...] | None = None

    def settle(self) -> None:
        """Make all images that can still be asked for. O(queues)."""
        if self._made is None:
            self._made, self._queues, self._pieces = tuple(self), (), {}

    def __len__(self) -> int:
        return len(self._queues if self._made is None else self._made)

    @overload
    def __getitem__(self, index: int) -> QueueImage: ...
    @overload
    def __getitem__(self, index: slice) -> list[QueueImage]: ...
    def __getitem__(self, index: int | slice) -> QueueImage | list[QueueImage]:
        if isinstance(index, slice):
            return [self[n] for n in range(*index.indices(len(self)))]
        return self._image(self._queues[index]) if self._made is None else self._made[index]

    def __iter__(self) -> Iterator[QueueImage]:
        return iter(self._made) if self._made is not None else map(self._image, self._queues)

    def _image(self, queue: Queue) -> QueueImage:
        pieces = self._pieces.get(queue.key)
        held = NOTHING_HELD if pieces is None else Held(queue.queue, pieces.all(), self._read)
        return QueueImage(queue.queue, queue.spec, queue.lineage, queue.next, held)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]
