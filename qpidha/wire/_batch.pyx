# cython: language_level=3, autotestdict=False
"""Message batches, each in one contiguous block of bytes; memory, store and wire use the same block.

Layout, all little-endian (``docs/wire.md``, "Batch")::

    u32 count | u8 columns | u8 version = 1 | u16 zero
    u32 data length      x count
    u32 props length     x count      if columns & PROPS
    i64 order key        x count      if columns & ORDER
    uuid, u64, u64       x count      if columns & ORIGINS
    data of all messages, concatenated
    props of all messages, concatenated

`_scan` checks these invariants before any other code reads the bytes:
  - the block ends exactly where the layout says, so every offset computed below is inside the checked window
  - count >= 1; the reserved bits and bytes are zero
  - in each origin, the generation is < 2**63 and the message id is < 2**64 - 1
Every batch goes through `_scan`, also those built in this module. Any input bytes therefore give either a batch or
a typed error (Z2).
"""

cimport cython
from cpython.buffer cimport Py_buffer, PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_Check, PyBytes_CheckExact
from cpython.bytes cimport PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.long cimport PyLong_AsLongLong, PyLong_AsUnsignedLongLong
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.number cimport PyNumber_Index
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.stdint cimport INT64_MAX, UINT32_MAX, UINT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from qpidha.errors import CallerError, MalformedFrame

cdef extern from "Python.h":
    Py_buffer* PyMemoryView_GET_BUFFER(object view)

PROPS = 1
ORDER = 2
ORIGINS = 4


cdef struct Sink:
    # Write positions in a batch under construction: where the next message goes, for each section.
    uint8_t* lens
    uint8_t* props_lens
    uint8_t* order
    uint8_t* origins
    uint8_t* data
    uint8_t* props


# --- sizes ---------------------------------------------------------------------------------------


cdef uint64_t add_up(const uint8_t* lens, uint64_t count, uint32_t* longest) noexcept nogil:
    # Sum and maximum of the lengths. Cannot overflow: fewer than 2**32 terms, each < 2**32.
    cdef uint64_t total = 0, i
    cdef uint32_t size, most = 0
    for i in range(count):
        size = load32(lens + 4 * i)
        total += size
        if size > most:
            most = size
    longest[0] = most
    return total


cdef void lay_out(Layout* at, uint64_t count, uint32_t columns) noexcept nogil:
    # Offsets of the sections of fixed width. Cannot overflow: at most 8 + 48 * 2**32.
    at.count = count
    at.columns = columns
    at.lens = HEADER
    at.props_lens = at.lens + 4 * count
    at.order = at.props_lens + (4 * count if columns & HAS_PROPS else 0)
    at.origins = at.order + (8 * count if columns & HAS_ORDER else 0)
    at.data = at.origins + (ORIGIN * count if columns & HAS_ORIGINS else 0)


# --- building ------------------------------------------------------------------------------------

cdef bytes blank(Layout* at, uint64_t data_size, uint64_t props_size, Sink* sink):
    """Allocate a block, write its header, and set the write positions of `sink` to its sections."""
    cdef uint64_t room = <uint64_t>INT64_MAX - at.data
    if data_size > room or props_size > room - data_size:
        raise CallerError("a batch cannot have 2**63 bytes")
    at.props = at.data + data_size
    at.end = at.props + props_size
    cdef bytes block = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>at.end)
    cdef uint8_t* p = <uint8_t*>PyBytes_AS_STRING(block)
    memset(p, 0, HEADER)
    store32(p, <uint32_t>at.count)
    p[4] = <uint8_t>at.columns
    p[5] = VERSION
    sink.lens = p + at.lens
    sink.props_lens = p + at.props_lens
    sink.order = p + at.order
    sink.origins = p + at.origins
    sink.data = p + at.data
    sink.props = p + at.props
    return block


cdef tuple as_blobs(object items, str what):
    """The items as a tuple of bytes and contiguous memoryviews.

    While the tuple exists, no buffer in it can move or change its size.
    """
    cdef tuple blobs = tuple(items)
    cdef Py_ssize_t i
    for i in range(PyTuple_GET_SIZE(blobs)):
        if not PyBytes_Check(<object>PyTuple_GET_ITEM(blobs, i)):
            return tuple([as_blob(item, what, n) for n, item in enumerate(blobs)])
    return blobs


cdef object as_blob(object item, str what, Py_ssize_t i):
    if PyBytes_Check(item):
        return item
    if not isinstance(item, (bytearray, memoryview)):
        raise TypeError(f"{what}[{i}] must be bytes-like, not {type(item).__name__}")
    view = memoryview(item)
    if not view.c_contiguous:
        raise TypeError(f"{what}[{i}] is a memoryview with gaps")
    return view


cdef inline Py_ssize_t span(object blob, const uint8_t** start) noexcept:
    cdef Py_buffer* buffer
    if PyBytes_Check(blob):
        start[0] = <const uint8_t*>PyBytes_AS_STRING(blob)
        return PyBytes_GET_SIZE(blob)
    buffer = PyMemoryView_GET_BUFFER(blob)
    start[0] = <const uint8_t*>buffer.buf
    return buffer.len


cdef uint64_t measure(tuple blobs, str what) except? 0:
    cdef const uint8_t* start
    cdef uint64_t total = 0
    cdef Py_ssize_t i, size
    for i in range(PyTuple_GET_SIZE(blobs)):
        size = span(<object>PyTuple_GET_ITEM(blobs, i), &start)
        if <uint64_t>size > UINT32_MAX:
            raise CallerError(f"{what}[{i}] has {size} bytes; at most 2**32 - 1 fit in a batch")
        total += <uint64_t>size
    return total


cdef void fill(tuple blobs, uint8_t* lens, uint8_t* content) noexcept:
    # The sizes are still those that `measure` found: no Python code runs in between, and the views hold every buffer.
    cdef const uint8_t* start
    cdef Py_ssize_t i, size
    for i in range(PyTuple_GET_SIZE(blobs)):
        size = span(<object>PyTuple_GET_ITEM(blobs, i), &start)
        store32(lens + 4 * i, <uint32_t>size)
        memcpy(content, start, <size_t>size)
        content += size


cdef int require_count(Py_ssize_t found, Py_ssize_t count, str what) except -1:
    if found != count:
        raise CallerError(f"{what} has {found} entries for {count} messages")
    return 0


cdef bytes pack_order(object order, Py_ssize_t count):
    """Encode the ORDER column."""
    cdef list keys = list(order)
    require_count(len(keys), count, "order")
    cdef bytes column = PyBytes_FromStringAndSize(NULL, 8 * count)
    cdef uint8_t* p = <uint8_t*>PyBytes_AS_STRING(column)
    cdef Py_ssize_t i
    for i in range(count):
        try:
            store64(p + 8 * i, <uint64_t>PyLong_AsLongLong(PyNumber_Index(keys[i])))
        except OverflowError:
            raise CallerError(f"order[{i}] is not a signed 64-bit integer") from None
    return column


cdef bytes pack_origins(object origins, Py_ssize_t count):
    """Encode the ORIGINS column; None becomes an origin of zeros."""
    cdef list entries = list(origins)
    require_count(len(entries), count, "origins")
    cdef bytes column = PyBytes_FromStringAndSize(NULL, ORIGIN * count)
    cdef uint8_t* p = <uint8_t*>PyBytes_AS_STRING(column)
    cdef Py_ssize_t i
    for i in range(count):
        if entries[i] is None:
            memset(p + ORIGIN * i, 0, ORIGIN)
        else:
            put_origin(p + ORIGIN * i, entries[i], i)
    return column


cdef int put_origin(uint8_t* p, object origin, Py_ssize_t i) except -1:
    cdef uint64_t first, second
    queue, generation, message = origin
    if not PyBytes_Check(queue) or PyBytes_GET_SIZE(queue) != 16:
        raise CallerError(f"origins[{i}]: the queue must be 16 bytes")
    try:
        first = PyLong_AsUnsignedLongLong(PyNumber_Index(generation))
        second = PyLong_AsUnsignedLongLong(PyNumber_Index(message))
    except OverflowError:
        raise CallerError(f"origins[{i}]: generation or message id out of range") from None
    if first > <uint64_t>INT64_MAX or second == UINT64_MAX:
        raise CallerError(f"origins[{i}]: generation or message id out of range")
    memcpy(p, PyBytes_AS_STRING(queue), 16)
    store64(p + 16, first)
    store64(p + 24, second)
    return 0


cdef void put(Sink* sink, Layout* to, Batch source, uint64_t start, uint64_t stop,
              uint64_t data, uint64_t data_size, uint64_t props, uint64_t props_size) noexcept:
    """Append messages ``start .. stop - 1`` of the source. Columns that the source lacks are filled with zeros."""
    cdef Layout* at = &source._at
    cdef const uint8_t* p = source._start
    cdef size_t count = <size_t>(stop - start)
    memcpy(sink.lens, p + at.lens + 4 * start, 4 * count)
    sink.lens += 4 * count
    if to.columns & HAS_PROPS:
        if at.columns & HAS_PROPS:
            memcpy(sink.props_lens, p + at.props_lens + 4 * start, 4 * count)
        else:
            memset(sink.props_lens, 0, 4 * count)
        sink.props_lens += 4 * count
    if to.columns & HAS_ORDER:
        if at.columns & HAS_ORDER:
            memcpy(sink.order, p + at.order + 8 * start, 8 * count)
        else:
            memset(sink.order, 0, 8 * count)
        sink.order += 8 * count
    if to.columns & HAS_ORIGINS:
        if at.columns & HAS_ORIGINS:
            memcpy(sink.origins, p + at.origins + ORIGIN * start, ORIGIN * count)
        else:
            memset(sink.origins, 0, ORIGIN * count)
        sink.origins += ORIGIN * count
    memcpy(sink.data, p + data, <size_t>data_size)
    sink.data += data_size
    memcpy(sink.props, p + props, <size_t>props_size)
    sink.props += props_size


cdef Batch adopt(bytes base, Py_ssize_t offset, Py_ssize_t size):
    """The batch in this window of `base`. The caller has checked that the window is inside `base`."""
    cdef Batch batch = Batch.__new__(Batch)
    batch._base = base
    batch._offset = offset
    batch._start = <const uint8_t*>PyBytes_AS_STRING(base) + offset
    batch._scan(<uint64_t>size)
    return batch


cdef Py_ssize_t announced(Py_ssize_t offset, Py_ssize_t total, length) except -1:
    """The size of the window in so many bytes. Raises `MalformedFrame` if it is not inside."""
    if offset < 0 or offset > total:
        raise MalformedFrame(f"batch: offset {offset} is outside of the {total} bytes given")
    cdef Py_ssize_t size = total - offset if length is None else length
    if size < 0 or size > total - offset:
        raise MalformedFrame(f"batch: {size} bytes announced, {total - offset} are left")
    return size


# --- the batch -----------------------------------------------------------------------------------

@cython.final
cdef class Batch:
    """One or more messages, immutable, in the wire layout. ``_batch.pyi`` documents the contract."""

    def __cinit__(self):
        self._base = b""  # Batch.__new__(Batch) must be safe to use: it has no messages and refuses every index.
        self._start = <const uint8_t*>PyBytes_AS_STRING(self._base)

    def __init__(self):
        raise TypeError("use Batch.pack, Batch.parse or Batch.join")

    def __dealloc__(self):
        PyMem_Free(self._data_starts)
        PyMem_Free(self._props_starts)

    # --- making

    @staticmethod
    def pack(data, props=None, order=None, origins=None):
        """Build a batch. Each payload is copied once. The batch has the columns whose arguments are not None.

        Raises:
            CallerError: There are no messages, columns differ in length, or a number or a size is out of range.
            TypeError: A payload is not bytes-like, or a number is not an integer.
        """
        cdef Layout at
        cdef Sink sink
        cdef uint64_t data_size, props_size = 0
        cdef tuple blobs = as_blobs(data, "data"), extras = ()
        cdef bytes keys = b"", sources = b""
        cdef uint32_t columns = 0
        cdef Py_ssize_t count = PyTuple_GET_SIZE(blobs)
        if count == 0:
            raise CallerError("a batch has at least one message")
        if <uint64_t>count > UINT32_MAX:
            raise CallerError(f"{count} messages; at most 2**32 - 1 fit in a batch")
        if props is not None:
            columns |= HAS_PROPS
            extras = as_blobs(props, "props")
            require_count(len(extras), count, "props")
        if order is not None:
            columns |= HAS_ORDER
            keys = pack_order(order, count)
        if origins is not None:
            columns |= HAS_ORIGINS
            sources = pack_origins(origins, count)
        data_size = measure(blobs, "data")
        props_size = measure(extras, "props")
        lay_out(&at, <uint64_t>count, columns)
        cdef bytes block = blank(&at, data_size, props_size, &sink)
        fill(blobs, sink.lens, sink.data)
        fill(extras, sink.props_lens, sink.props)
        memcpy(sink.order, PyBytes_AS_STRING(keys), <size_t>PyBytes_GET_SIZE(keys))
        memcpy(sink.origins, PyBytes_AS_STRING(sources), <size_t>PyBytes_GET_SIZE(sources))
        return adopt(block, 0, PyBytes_GET_SIZE(block))

    @staticmethod
    def parse(raw, Py_ssize_t offset=0, length=None):
        """Parse a batch that fills this window of the bytes exactly. O(len), in C.

        A ``bytes`` object is referenced, not copied, if the window is at least half of it. Otherwise the window is
        copied once, so that a small batch does not keep a large frame alive. Other buffers are always copied once.

        Raises:
            MalformedFrame: The window does not contain exactly one batch.
        """
        cdef Py_buffer window
        cdef bytes base
        cdef Py_ssize_t total, size
        if PyBytes_CheckExact(raw):
            total = PyBytes_GET_SIZE(raw)
            size = announced(offset, total, length)
            if size >= total - size:
                return adopt(raw, offset, size)
            # Copy: a small batch must not keep a large frame alive.
            return adopt(PyBytes_FromStringAndSize(PyBytes_AS_STRING(raw) + offset, size), 0, size)
        try:
            PyObject_GetBuffer(raw, &window, PyBUF_SIMPLE)
        except BufferError as error:
            raise TypeError(str(error)) from None
        try:
            size = announced(offset, window.len, length)
            base = PyBytes_FromStringAndSize(<const char*>window.buf + offset, size)
        finally:
            PyBuffer_Release(&window)
        return adopt(base, 0, size)

    @staticmethod
    def join(batches):
        """Concatenate batches. The result has the union of their columns; missing values become zero.

        Raises:
            CallerError: There are no batches, or they have more than 2**32 - 1 messages.
        """
        cdef list parts = list(batches)
        cdef Layout at
        cdef Sink sink
        cdef Batch part
        cdef uint64_t count = 0, data_size = 0, props_size = 0
        cdef uint32_t columns = 0
        if len(parts) == 1 and type(parts[0]) is Batch:
            return parts[0]
        for item in parts:
            part = <Batch?>item
            count += part._at.count
            columns |= part._at.columns
            data_size += part._at.props - part._at.data
            props_size += part._at.end - part._at.props
        if not 0 < count <= UINT32_MAX:
            raise CallerError(f"a batch has 1 to 2**32 - 1 messages, not {count}")
        lay_out(&at, count, columns)
        cdef bytes block = blank(&at, data_size, props_size, &sink)
        for item in parts:
            part = <Batch>item
            put(&sink, &at, part, 0, part._at.count, part._at.data, part._at.props - part._at.data,
                part._at.props, part._at.end - part._at.props)
        return adopt(block, 0, PyBytes_GET_SIZE(block))

    def cut(self, Py_ssize_t start, Py_ssize_t stop):
        """Messages ``start .. stop - 1``, copied once; this batch itself if that is the whole batch."""
        return self.gather(((start, stop),))

    def gather(self, runs):
        """The messages of these half-open index ranges, copied once; this batch itself if that is the whole batch.

        Raises:
            IndexError: A range is empty or out of range, ranges overlap or do not ascend, or there are none.
        """
        cdef list spans = [(start, stop) for start, stop in runs]
        cdef Layout at
        cdef Sink sink
        cdef uint64_t count = 0, data_size = 0, props_size = 0, data, props
        cdef Py_ssize_t start, stop, last = 0
        for start, stop in spans:
            if not last <= start < stop <= <Py_ssize_t>self._at.count:
                raise IndexError(f"run {start}..{stop} of a batch of {self._at.count}, after {last}")
            last = stop
            count += <uint64_t>(stop - start)
            data_size += self._data_at(stop) - self._data_at(start)
            props_size += self._props_at(stop) - self._props_at(start)
        if count == 0:
            raise IndexError("an empty batch")
        if count == self._at.count:
            return self
        lay_out(&at, count, self._at.columns)
        cdef bytes block = blank(&at, data_size, props_size, &sink)
        for start, stop in spans:
            data, props = self._data_at(start), self._props_at(start)
            put(&sink, &at, self, <uint64_t>start, <uint64_t>stop, data, self._data_at(stop) - data,
                props, self._props_at(stop) - props)
        return adopt(block, 0, PyBytes_GET_SIZE(block))

    def with_origins(self, origins):
        """The same messages with the origins column replaced, copied once. Used when messages move to another queue."""
        cdef Layout at
        cdef Sink sink
        cdef bytes column = pack_origins(origins, <Py_ssize_t>self._at.count)
        lay_out(&at, self._at.count, self._at.columns | HAS_ORIGINS)
        cdef bytes block = blank(&at, self._at.props - self._at.data, self._at.end - self._at.props, &sink)
        cdef uint8_t* target = sink.origins
        put(&sink, &at, self, 0, self._at.count, self._at.data, self._at.props - self._at.data,
            self._at.props, self._at.end - self._at.props)
        memcpy(target, PyBytes_AS_STRING(column), <size_t>PyBytes_GET_SIZE(column))
        return adopt(block, 0, PyBytes_GET_SIZE(block))

    def with_numbers(self, queue, generation, first, step):
        """The same messages with origins of one queue and generation and the ids first, first + step and so on."""
        cdef Layout at
        cdef Sink sink
        cdef Py_ssize_t count = <Py_ssize_t>self._at.count, i
        cdef uint8_t row[32]
        put_origin(row, (queue, generation, first + step * (count - 1)), count - 1)
        put_origin(row, (queue, generation, first), 0)
        cdef uint64_t number = PyLong_AsUnsignedLongLong(first), rise = PyLong_AsUnsignedLongLong(step)
        lay_out(&at, self._at.count, self._at.columns | HAS_ORIGINS)
        cdef bytes block = blank(&at, self._at.props - self._at.data, self._at.end - self._at.props, &sink)
        cdef uint8_t* target = sink.origins
        put(&sink, &at, self, 0, self._at.count, self._at.data, self._at.props - self._at.data,
            self._at.props, self._at.end - self._at.props)
        for i in range(count):
            memcpy(target + ORIGIN * i, row, 24)
            store64(target + ORIGIN * i + 24, number + <uint64_t>i * rise)
        return adopt(block, 0, PyBytes_GET_SIZE(block))

    def without_origins(self):
        """The same messages without their origins column, copied once; this batch itself if it has none.

        Used when messages are published.
        """
        cdef Layout at
        cdef Sink sink
        if not self._at.columns & HAS_ORIGINS:
            return self
        lay_out(&at, self._at.count, self._at.columns & ~<uint32_t>HAS_ORIGINS)
        cdef bytes block = blank(&at, self._at.props - self._at.data, self._at.end - self._at.props, &sink)
        put(&sink, &at, self, 0, self._at.count, self._at.data, self._at.props - self._at.data,
            self._at.props, self._at.end - self._at.props)
        return adopt(block, 0, PyBytes_GET_SIZE(block))

    # --- whole

    @property
    def raw(self):
        """The block as ``bytes``: a copy if the batch is a window of a larger object. To write it, prefer `chunk`."""
        if self._whole():
            return self._base
        return PyBytes_FromStringAndSize(<const char*>self._start, <Py_ssize_t>self._at.end)

    @property
    def chunk(self):
        """The block, not copied: ``bytes`` or a memoryview, for a vectored write or a database parameter."""
        if self._whole():
            return self._base
        return memoryview(self._base)[self._offset:self._offset + <Py_ssize_t>self._at.end]

    @property
    def nbytes(self):
        """Size of the block in bytes."""
        return self._at.end

    @property
    def data_nbytes(self):
        """Sum of the sizes of all data in bytes, without props, header and columns."""
        return self._at.props - self._at.data

    @property
    def columns(self):
        """Bit set of the columns that the batch has: PROPS | ORDER | ORIGINS."""
        return self._at.columns

    @property
    def longest(self):
        """Size in bytes of the data of the largest message."""
        return self._at.longest

    def __len__(self):
        return <Py_ssize_t>self._at.count

    def __iter__(self):
        cdef uint64_t i, at = self._at.data
        cdef uint32_t size
        for i in range(self._at.count):
            size = load32(self._start + self._at.lens + 4 * i)
            yield PyBytes_FromStringAndSize(<const char*>self._start + at, size)
            at += size

    def __eq__(self, other):
        if type(other) is not Batch:
            return NotImplemented
        cdef Batch that = <Batch>other
        return (self._at.end == that._at.end
                and memcmp(self._start, that._start, <size_t>self._at.end) == 0)

    def __hash__(self):
        return hash(self.chunk)  # A read-only memoryview has the same hash as the bytes that it exposes.

    def __repr__(self):
        # Without the payload: representations end up in logs.
        return f"<Batch: {self._at.count} messages, {self._at.end} bytes, columns {self._at.columns}>"

    def __reduce__(self):
        return Batch.parse, (self.raw,)

    # --- one message

    def size(self, Py_ssize_t i):
        """Size in bytes of the data of message i. IndexError if i is out of range."""
        self._require(i)
        return load32(self._start + self._at.lens + 4 * i)

    def data(self, Py_ssize_t i):
        """The data of message i, copied. IndexError if i is out of range."""
        self._require(i)
        cdef uint64_t at = self._data_at(i)
        return PyBytes_FromStringAndSize(<const char*>self._start + at,
                                         load32(self._start + self._at.lens + 4 * i))

    def view(self, Py_ssize_t i):
        """The data of message i as a memoryview, not copied; it keeps the whole block alive.

        IndexError if i is out of range.
        """
        self._require(i)
        cdef Py_ssize_t start = self._offset + <Py_ssize_t>self._data_at(i)
        return memoryview(self._base)[start:start + load32(self._start + self._at.lens + 4 * i)]

    def props(self, Py_ssize_t i):
        """The props of message i, copied; empty if it has none. IndexError if i is out of range."""
        self._require(i)
        if not self._at.columns & HAS_PROPS:
            return b""
        cdef uint64_t at = self._props_at(i)
        return PyBytes_FromStringAndSize(<const char*>self._start + at,
                                         load32(self._start + self._at.props_lens + 4 * i))

    def order(self, Py_ssize_t i):
        """The order key of message i; 0 if it has none. IndexError if i is out of range."""
        self._require(i)
        if not self._at.columns & HAS_ORDER:
            return 0
        return <int64_t>load64(self._start + self._at.order + 8 * i)

    def origin(self, Py_ssize_t i):
        """The queue id, generation and message id that message i came from; None if it has no origin.

        IndexError if i is out of range.
        """
        self._require(i)
        if not self._at.columns & HAS_ORIGINS:
            return None
        cdef const uint8_t* p = self._start + self._at.origins + ORIGIN * i
        cdef bytes queue = PyBytes_FromStringAndSize(<const char*>p, 16)
        cdef uint64_t generation = load64(p + 16), message = load64(p + 24)
        if generation == 0 and message == 0 and queue == bytes(16):
            return None
        return queue, generation, message

    # --- inside

    cdef bint _whole(self) noexcept:
        return self._offset == 0 and <uint64_t>PyBytes_GET_SIZE(self._base) == self._at.end

    cdef int _require(self, Py_ssize_t i) except -1:
        if i < 0 or <uint64_t>i >= self._at.count:
            raise IndexError(f"message {i} of a batch of {self._at.count}")
        return 0

    cdef int _scan(self, uint64_t size) except -1:
        """Validate the window and compute the offsets of its sections. Reads nothing beyond ``size`` bytes."""
        cdef Layout at
        cdef const uint8_t* p = self._start
        cdef uint64_t data_size, props_size = 0
        cdef uint32_t longest_props
        if size < HEADER:
            raise MalformedFrame(f"batch: {size} bytes, less than its header of {HEADER}")
        if p[5] != VERSION:
            raise MalformedFrame(f"batch: layout version {p[5]}, only {VERSION} is known")
        if p[4] & ~HAS_ALL or p[6] or p[7]:
            raise MalformedFrame(f"batch: reserved bits are set (columns {p[4]}, {p[6]}, {p[7]})")
        if load32(p) == 0:
            raise MalformedFrame("batch: it is empty")
        lay_out(&at, load32(p), p[4])
        if at.data > size:
            raise MalformedFrame(f"batch: {at.count} messages need {at.data} bytes of columns, "
                                 f"it has {size} bytes")
        data_size = add_up(p + at.lens, at.count, &at.longest)
        if data_size > size - at.data:
            raise MalformedFrame(f"batch: {data_size} bytes of data, {size - at.data} are left")
        at.props = at.data + data_size
        if at.columns & HAS_PROPS:
            props_size = add_up(p + at.props_lens, at.count, &longest_props)
        if props_size != size - at.props:
            raise MalformedFrame(f"batch: {props_size} bytes of props, {size - at.props} are left")
        at.end = size
        if at.columns & HAS_ORIGINS:
            self._check_origins(&at)
        self._at = at  # Assigned last: if validation fails, this batch has no messages.
        return 0

    cdef int _check_origins(self, Layout* at) except -1:
        cdef const uint8_t* p = self._start + at.origins
        cdef uint64_t i
        for i in range(at.count):
            if load64(p + ORIGIN * i + 16) > <uint64_t>INT64_MAX or load64(p + ORIGIN * i + 24) == UINT64_MAX:
                raise MalformedFrame(f"batch: the origin of message {i} is out of range")
        return 0

    cdef uint64_t _data_at(self, Py_ssize_t i) except 0:
        if i == 0:
            return self._at.data
        if <uint64_t>i == self._at.count:
            return self._at.props
        if self._data_starts is NULL:
            self._data_starts = starts(self._start + self._at.lens, self._at.count, self._at.data)
        return self._data_starts[i]

    cdef uint64_t _props_at(self, Py_ssize_t i) except 0:
        if i == 0 or not self._at.columns & HAS_PROPS:
            return self._at.props
        if <uint64_t>i == self._at.count:
            return self._at.end
        if self._props_starts is NULL:
            self._props_starts = starts(self._start + self._at.props_lens, self._at.count, self._at.props)
        return self._props_starts[i]


cdef uint64_t* starts(const uint8_t* lens, uint64_t count, uint64_t first) except NULL:
    """Prefix sums of the lengths, starting with ``first``. The batch frees them."""
    cdef uint64_t* result = <uint64_t*>PyMem_Malloc(<size_t>count * sizeof(uint64_t))
    cdef uint64_t i
    if result is NULL:
        raise MemoryError
    for i in range(count):
        result[i] = first
        first += load32(lens + 4 * i)
    return result


# --- receiving in place ---------------------------------------------------------------------------

@cython.final
@cython.auto_pickle(False)
cdef class Landing:
    """Buffer for receiving a known number of bytes directly into a ``bytes`` object.

    ``_batch.pyi`` documents the contract.
    """

    def __cinit__(self, Py_ssize_t size):
        if size < 1:
            raise ValueError(f"{size} bytes cannot land")
        self._block = PyBytes_FromStringAndSize(NULL, size)
        self._size = size
        self._filled = 0

    def __len__(self):
        return self._size

    @property
    def filled(self):
        """Number of bytes received so far."""
        return self._filled

    @property
    def rest(self):
        """Number of bytes still missing."""
        return self._size - self._filled

    @property
    def room(self):
        """Writable memory for the missing bytes. Raises BufferError if none are missing."""
        return memoryview(self)

    def __getbuffer__(self, Py_buffer* view, int flags):
        if self._filled == self._size:
            raise BufferError("all bytes have arrived: the memory cannot be written any more")
        PyBuffer_FillInfo(view, self, PyBytes_AS_STRING(self._block) + self._filled, self._size - self._filled, 0, flags)

    def received(self, Py_ssize_t nbytes):
        """Record that ``nbytes`` bytes were written to `room`. Raises ValueError if `room` is smaller than that."""
        if not 0 <= nbytes <= self._size - self._filled:
            raise ValueError(f"{nbytes} bytes cannot have landed in {self._size - self._filled}")
        self._filled += nbytes

    def put(self, data):
        """Append bytes that were received into other memory. Raises ValueError if there is no room for them."""
        cdef const uint8_t* start
        cdef object held = as_blob(data, "data", 0)
        cdef Py_ssize_t size = span(held, &start)
        if size > self._size - self._filled:
            raise ValueError(f"{size} bytes cannot land in {self._size - self._filled}")
        memcpy(PyBytes_AS_STRING(self._block) + self._filled, start, <size_t>size)
        self._filled += size

    def take(self):
        """The complete ``bytes``, not copied. Raises ValueError if bytes are missing."""
        if self._filled < self._size:
            raise ValueError(f"{self._size - self._filled} of {self._size} bytes have not landed")
        return self._block
