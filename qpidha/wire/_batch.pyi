"""The Python face of the compiled batch layout: what `Batch` promises. The layout is in ``docs/wire.md``."""

from collections.abc import Iterator, Sequence
from typing import Final, final

from qpidha.types import BytesLike

PROPS: Final = 1
ORDER: Final = 2
ORIGINS: Final = 4

@final
class Batch:
    """One or more messages in one contiguous block of bytes, immutable and hashable.

    A message has data, and by column of the batch: *props* (bytes, b"" without), an *order* key (signed
    64-bit, 0 without) and an *origin* (queue uuid as 16 bytes, generation, id; None without). Messages are
    addressed by index 0 .. len - 1; anything else raises IndexError. Access by index costs O(1), after one
    O(len) pass the first time a message in the middle is asked for.

    Two batches are equal if their bytes are: a missing column differs from a column of zeros.

    >>> batch = Batch.pack([b"one", b"three"])
    >>> len(batch), batch.data(1), batch.data_nbytes, batch.nbytes
    (2, b'three', 8, 24)
    >>> Batch.parse(batch.raw) == batch
    True
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        """Always raises TypeError: batches are made by `pack`, `parse` and `join`."""

    # --- making

    @staticmethod
    def pack(
        data: Sequence[BytesLike],
        props: Sequence[BytesLike] | None = None,
        order: Sequence[int] | None = None,
        origins: Sequence[tuple[bytes, int, int] | None] | None = None,
    ) -> Batch:
        """Build a batch; every payload is copied once. A column is there if its argument is not None.

        Raises:
            CallerError: No message, columns of different lengths, a number or a size out of range.
            TypeError: Something is not bytes-like or not an integer.
        """

    @staticmethod
    def parse(raw: BytesLike, offset: int = 0, length: int | None = None) -> Batch:
        """The batch that fills this window of the bytes exactly. O(len), in C.

        A ``bytes`` object is kept, not copied, unless the window is less than half of it: a small batch
        must not keep a large frame alive. Anything else is copied once.

        Raises:
            MalformedFrame: The window is not exactly one batch.
        """

    @staticmethod
    def join(batches: Sequence[Batch]) -> Batch:
        """All messages in this order. Columns are the union; where one is missing it becomes zero.

        Raises:
            CallerError: There is none, or more than 2**32 - 1 messages.
        """

    def cut(self, start: int, stop: int) -> Batch:
        """Messages ``start .. stop - 1``, copied once; the batch itself if that is all of them."""

    def gather(self, runs: Sequence[tuple[int, int]]) -> Batch:
        """The messages of these half-open index runs, copied once.

        Raises:
            IndexError: The runs are empty, out of range, overlapping or not ascending.
        """

    def with_origins(self, origins: Sequence[tuple[bytes, int, int] | None]) -> Batch:
        """The same messages with another origins column, as a move to another queue makes them."""

    def without_origins(self) -> Batch:
        """The same messages without an origins column, as a publish makes them; the batch itself if it has none."""

    # --- whole

    @property
    def raw(self) -> bytes:
        """The block. A copy if the batch is a window of larger bytes: to write it, prefer `chunk`."""

    @property
    def chunk(self) -> bytes | memoryview:
        """The block without a copy, for a vectored write or a database parameter."""

    @property
    def nbytes(self) -> int:
        """Size of the block."""

    @property
    def data_nbytes(self) -> int:
        """Sum of the sizes of all data, without props and without overhead."""

    @property
    def columns(self) -> int:
        """Which columns there are: PROPS | ORDER | ORIGINS."""

    @property
    def longest(self) -> int:
        """Size of the largest data."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[bytes]:
        """The data of each message, in order."""

    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[object, tuple[bytes]]: ...

    # --- one message

    def size(self, i: int) -> int:
        """Bytes of data of message i."""

    def data(self, i: int) -> bytes:
        """The data of message i, copied."""

    def view(self, i: int) -> memoryview:
        """The data of message i, not copied. Keeps the whole block alive."""

    def props(self, i: int) -> bytes:
        """The props of message i, copied. Empty if it has none. IndexError if there is no message i."""

    def order(self, i: int) -> int:
        """The order of message i. 0 if it has none. IndexError if there is no message i."""

    def origin(self, i: int) -> tuple[bytes, int, int] | None:
        """Queue id, generation and message id that message i came from; None: none. IndexError if i is out of range."""

@final
class Landing:
    """Memory that bytes are received into: writable while they arrive, an ordinary ``bytes`` afterwards.

    A transport receives into `room` and reports how many bytes came (`received`). After that it must not write to
    this view any more: what `take` returns is as immutable as any ``bytes``.

    >>> landing = Landing(5)
    >>> landing.put(b"he")
    >>> landing.room[:] = b"llo"
    >>> landing.received(3)
    >>> landing.take()
    b'hello'
    """

    def __new__(cls, size: int) -> Landing:
        """Memory for ``size`` bytes, at least one. It is not cleared. Raises ValueError."""

    def __len__(self) -> int:
        """How many bytes it takes in all."""

    @property
    def room(self) -> memoryview:
        """The memory for the missing bytes. Raises BufferError when none is missing."""

    @property
    def filled(self) -> int:
        """How many bytes have arrived."""

    @property
    def rest(self) -> int:
        """How many bytes are still missing."""

    def received(self, nbytes: int) -> None:
        """``nbytes`` bytes were written to `room`. Raises ValueError if it had no room for them."""

    def put(self, data: BytesLike) -> None:
        """Copy bytes that arrived elsewhere. Raises ValueError if there is no room for them."""

    def take(self) -> bytes:
        """The complete ``bytes``, without a copy. Raises ValueError while bytes are missing."""
