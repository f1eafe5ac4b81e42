"""Types and contract of the compiled module ``_batch``. ``docs/wire.md`` documents the layout of a batch."""

from collections.abc import Iterator, Sequence
from typing import Final, final

from qpidha.types import BytesLike

PROPS: Final = 1
ORDER: Final = 2
ORIGINS: Final = 4

@final
class Batch:
    """One or more messages in one contiguous block of bytes, immutable and hashable.

    Each message has data. If the batch has the column, each message also has *props* (bytes; b"" without the column),
    an *order* key (signed 64-bit; 0 without) and an *origin* (queue uuid as 16 bytes, generation, message id; None
    without). Messages have the indexes 0 .. len - 1; any other index raises IndexError. Access by index costs O(1);
    the first access to a message other than the first costs one pass over the lengths, O(len).

    Two batches are equal if their bytes are: a missing column differs from a column of zeros.

    >>> batch = Batch.pack([b"one", b"three"])
    >>> len(batch), batch.data(1), batch.data_nbytes, batch.nbytes
    (2, b'three', 8, 24)
    >>> Batch.parse(batch.raw) == batch
    True
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        """Always raises TypeError: use `pack`, `parse` or `join`."""

    # --- making

    @staticmethod
    def pack(
        data: Sequence[BytesLike],
        props: Sequence[BytesLike] | None = None,
        order: Sequence[int] | None = None,
        origins: Sequence[tuple[bytes, int, int] | None] | None = None,
    ) -> Batch:
        """Build a batch. Each payload is copied once. The batch has the columns whose arguments are not None.

        Raises:
            CallerError: There are no messages, columns differ in length, or a number or a size is out of range.
            TypeError: A payload is not bytes-like, or a number is not an integer.
        """

    @staticmethod
    def parse(raw: BytesLike, offset: int = 0, length: int | None = None) -> Batch:
        """Parse a batch that fills this window of the bytes exactly. O(len), in C.

        A ``bytes`` object is referenced, not copied, if the window is at least half of it. Otherwise the window is
        copied once, so that a small batch does not keep a large frame alive. Other buffers are always copied once.

        Raises:
            MalformedFrame: The window does not contain exactly one batch.
        """

    @staticmethod
    def join(batches: Sequence[Batch]) -> Batch:
        """Concatenate batches. The result has the union of their columns; missing values become zero.

        Raises:
            CallerError: There are no batches, or they have more than 2**32 - 1 messages.
        """

    def cut(self, start: int, stop: int) -> Batch:
        """Messages ``start .. stop - 1``, copied once; this batch itself if that is the whole batch."""

    def gather(self, runs: Sequence[tuple[int, int]]) -> Batch:
        """The messages of these half-open index ranges, copied once; this batch itself if that is the whole batch.

        Raises:
            IndexError: The runs are empty, out of range, overlapping or not ascending.
        """

    def with_origins(self, origins: Sequence[tuple[bytes, int, int] | None]) -> Batch:
        """The same messages with the origins column replaced, copied once. Used when messages move to another queue."""

    def with_numbers(self, queue: bytes, generation: int, first: int, step: int) -> Batch:
        """The same messages with origins of one queue and generation and the ids first, first + step and so on.

        The same as `with_origins` of such a list, without it. Used for messages with sequences.

        Raises:
            CallerError: A number is out of range, or the queue is not 16 bytes.
        """

    def without_origins(self) -> Batch:
        """The same messages without their origins column, copied once; this batch itself if it has none.

        Used when messages are published.
        """

    # --- whole

    @property
    def raw(self) -> bytes:
        """The block as ``bytes``: a copy if the batch is a window of a larger object. To write it, prefer `chunk`."""

    @property
    def chunk(self) -> bytes | memoryview:
        """The block, not copied: ``bytes`` or a memoryview, for a vectored write or a database parameter."""

    @property
    def nbytes(self) -> int:
        """Size of the block in bytes."""

    @property
    def data_nbytes(self) -> int:
        """Sum of the sizes of all data in bytes, without props, header and columns."""

    @property
    def columns(self) -> int:
        """Bit set of the columns that the batch has: PROPS | ORDER | ORIGINS."""

    @property
    def longest(self) -> int:
        """Size in bytes of the data of the largest message."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[bytes]:
        """The data of each message, in order."""

    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[object, tuple[bytes]]: ...

    # --- one message

    def size(self, i: int) -> int:
        """Size in bytes of the data of message i. IndexError if i is out of range."""

    def data(self, i: int) -> bytes:
        """The data of message i, copied. IndexError if i is out of range."""

    def view(self, i: int) -> memoryview:
        """The data of message i as a memoryview, not copied; it keeps the whole block alive.

        IndexError if i is out of range.
        """

    def props(self, i: int) -> bytes:
        """The props of message i, copied; empty if it has none. IndexError if i is out of range."""

    def order(self, i: int) -> int:
        """The order key of message i; 0 if it has none. IndexError if i is out of range."""

    def origin(self, i: int) -> tuple[bytes, int, int] | None:
        """The queue id, generation and message id that message i came from; None if it has no origin.

        IndexError if i is out of range.
        """

@final
class Landing:
    """Buffer for receiving a known number of bytes directly into a ``bytes`` object.

    A transport receives into `room` and reports the number of bytes with `received`. After that it must not write to
    this view again: `take` returns the same memory as immutable ``bytes``.

    >>> landing = Landing(5)
    >>> landing.put(b"he")
    >>> landing.room[:] = b"llo"
    >>> landing.received(3)
    >>> landing.take()
    b'hello'
    """

    def __new__(cls, size: int) -> Landing:
        """Allocate memory for ``size`` bytes, not cleared. Raises ValueError if ``size`` is less than one."""

    def __len__(self) -> int:
        """Total number of bytes to receive."""

    @property
    def room(self) -> memoryview:
        """Writable memory for the missing bytes. Raises BufferError if none are missing."""

    @property
    def filled(self) -> int:
        """Number of bytes received so far."""

    @property
    def rest(self) -> int:
        """Number of bytes still missing."""

    def received(self, nbytes: int) -> None:
        """Record that ``nbytes`` bytes were written to `room`. Raises ValueError if `room` is smaller than that."""

    def put(self, data: BytesLike) -> None:
        """Append bytes that were received into other memory. Raises ValueError if there is no room for them."""

    def take(self) -> bytes:
        """The complete ``bytes``, not copied. Raises ValueError if bytes are missing."""
