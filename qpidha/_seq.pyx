# cython: language_level=3, cdivision=True, auto_pickle=False, autotestdict=False
# cython: embedsignature=True, embedsignature.format=clinic, binding=False
"""Sets of 64-bit sequence ids, kept as runs.

Theory of operation
===================

*Runs.* Acknowledgements and queues are mostly contiguous, so a set is kept as closed runs
``first .. last``. Runs never touch: an id that would make two runs adjacent joins them. One set has
therefore exactly one list of runs: equality is a comparison of runs, and equal sets have equal encodings.

*Two levels.* A plain sorted array of runs shifts the whole array when its first run goes, and a queue
whose every second message was consumed has as many runs as messages. So the runs live in blocks of at most
`capacity` (512) runs, and a small directory lists the blocks::

    directory     [ free | low block | low block | low block | free ]     one binary search
                              |           |           |
    block             [ free | runs | free ]        ...                   one binary search

Blocks and directory keep their free places at *both* ends, and an insertion or a removal moves the shorter
side only. Hence appending, prepending, and removing at either end move nothing, and anything in the middle
moves at most half a block. The directory is 1/512 of the set and moves once per block created or removed.

    a full block grows while it is smaller than `capacity` (a set with one run is small), then
      at the end of the set     a new block is started, and the old one stays full
      at the start of the set   the same, filled from its end
      elsewhere                 it is split in two halves
    a block less than a quarter full is joined with a neighbour if both together fill half a block.
    The distance between one half and one quarter is what keeps a set from splitting and joining for ever.

Invariants (`SequenceSet.check` verifies all of them; the model tests call it after each step):
  - every block of the directory has at least one run
  - first <= last < 2**64 - 1 in each run
  - runs ascend and never touch: last + 1 < the next first, also across blocks
  - an entry's `low` is the first id of its block
  - the counts (ids per block, ids, runs) are exact
  - 0 <= begin <= end <= room in blocks and directory

Memory comes from PyMem_Malloc, so `tracemalloc` sees it. Functions that allocate do so before they change
anything; those that cannot fail are marked `noexcept`.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_Clear
from cpython.long cimport PyLong_Check
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy, memmove

from operator import index as _index

from qpidha.errors import InvariantError, SequenceDecodeError, SequenceError

__all__ = ["SequenceSet"]

cdef extern from *:
    const uint64_t LEN_MAX "PY_SSIZE_T_MAX"

cdef enum:
    ROOM_FIRST = 1         # Runs in the first block of a set, entries in its directory: most sets have one run.
    ROOM_MIN = 4           # The smallest number of runs that blocks may be limited to.
    REPR_RUNS = 8          # A repr shows this many runs at most.
    CHUNK = 512            # Runs of a result that are collected before they become a block.
    SPARSE = 8             # A set with so many times fewer runs is applied run by run.

cdef Py_ssize_t capacity = 512          # Runs per block: 8 KiB. Only tests change it.
cdef Py_ssize_t allocations_left = -1   # Only tests set it; negative is "no limit".


# --- Numbers from Python --------------------------------------------------------------------------------


cdef uint64_t as_id(object value) except? 0xFFFFFFFFFFFFFFFF:
    """The id that a Python integer means. Raises SequenceError (a ValueError) or TypeError."""
    cdef uint64_t id
    if not PyLong_Check(value):
        value = _index(value)
    id = PyLong_AsUnsignedLongLong(value)
    if id == NO_ID:                      # Either an error or the one 64-bit number which is not an id.
        PyErr_Clear()
        raise SequenceError(f"not a sequence id: {value} (ids are 0 .. 2**64 - 2)")
    return id


cdef int as_range(object first, object last, uint64_t* low, uint64_t* high) except -1:
    """The closed range first .. last, where `last` None means first alone."""
    low[0] = as_id(first)
    high[0] = low[0] if last is None else as_id(last)
    if low[0] > high[0]:
        raise SequenceError(f"not a range: first {first} is above last {last}")
    return 0


cdef int as_bound(object value, uint64_t* bound) except -2:
    """For queries, which accept any integer: returns -1, 0 or 1 for below, among and above the ids."""
    if not PyLong_Check(value):
        value = _index(value)
    bound[0] = PyLong_AsUnsignedLongLong(value)
    if bound[0] != NO_ID:
        return 0
    PyErr_Clear()
    return -1 if value < 0 else 1


cdef bint clamp(object first, object last, uint64_t* low, uint64_t* high) except -1:
    """Cut first .. last (None: open) to the ids there are. False when no id is left."""
    low[0] = 0
    high[0] = MAX_ID
    cdef int side
    if first is not None:
        side = as_bound(first, low)
        if side > 0:
            return False
        if side < 0:
            low[0] = 0
    if last is not None:
        side = as_bound(last, high)
        if side < 0:
            return False
        if side > 0:
            high[0] = MAX_ID
    return low[0] <= high[0]


# --- Memory ---------------------------------------------------------------------------------------------


def _set_block_capacity(n):
    """For tests: blocks hold at most `n` runs (4 or more) from now on. Returns the number until now.

    A small capacity makes splits and joins common. Sets made before keep working.
    """
    global capacity
    if n < ROOM_MIN:
        raise ValueError(f"a block holds {ROOM_MIN} runs or more, not {n}")
    before = capacity
    capacity = n
    return before


def _set_allocation_limit(n):
    """For tests: let `n` more allocations of this module succeed, then fail all. None: no limit."""
    global allocations_left
    allocations_left = -1 if n is None else n


cdef void* grab(size_t size) noexcept:
    """Memory, or NULL."""
    global allocations_left
    if allocations_left >= 0:
        if allocations_left == 0:
            return NULL
        allocations_left -= 1
    return PyMem_Malloc(size)


cdef Block* new_block(SequenceSet s, Py_ssize_t room) except NULL:
    """An empty block with at least `room` places: the spare one if it is large enough."""
    cdef Block* block = s._spare
    if block is not NULL and block.room >= room:
        s._spare = NULL
    else:
        block = <Block*>grab(sizeof(Block) + 2 * room * sizeof(uint64_t))
        if block is NULL:
            raise MemoryError
        block.room = room
        block.first = <uint64_t*>(block + 1)
        block.last = block.first + room
    block.begin = block.end = 0
    block.ids = 0
    return block


cdef void release_block(SequenceSet s, Block* block) noexcept:
    """Keep the larger of this block and the spare one; a queue that empties and fills needs it again."""
    if s._spare is NULL or s._spare.room < block.room:
        block, s._spare = s._spare, block
    PyMem_Free(block)


cdef void release_all(SequenceSet s) noexcept:
    cdef Py_ssize_t i
    for i in range(s._begin, s._end):
        PyMem_Free(s._directory[i].block)
    PyMem_Free(s._directory)
    PyMem_Free(s._spare)
    s._directory = NULL
    s._spare = NULL
    s._begin = s._end = s._room = s._runs = 0
    s._ids = 0
    s._version += 1


cdef void swap(SequenceSet a, SequenceSet b) noexcept:
    """Exchange the contents. Both count as changed."""
    a._directory, b._directory = b._directory, a._directory
    a._begin, b._begin = b._begin, a._begin
    a._end, b._end = b._end, a._end
    a._room, b._room = b._room, a._room
    a._runs, b._runs = b._runs, a._runs
    a._ids, b._ids = b._ids, a._ids
    a._spare, b._spare = b._spare, a._spare
    a._version += 1
    b._version += 1


# --- Searching ------------------------------------------------------------------------------------------


cdef struct Place:
    # `block` counts from the lowest block. `run` is an index into it, or its `end`: "after all of these".
    Py_ssize_t block, run


cdef inline Py_ssize_t block_of(const Entry* entries, Py_ssize_t n, uint64_t id) noexcept nogil:
    """Which of n >= 1 entries is the last with low <= id; 0 if none is."""
    cdef Py_ssize_t base = 0, half
    while n > 1:                         # Invariant: base == 0 or entries[base].low <= id.
        half = n >> 1
        base = base + half if entries[base + half].low <= id else base   # No branch to mispredict.
        n -= half
    return base


cdef inline Py_ssize_t run_at(const Block* block, Py_ssize_t start, uint64_t id) noexcept nogil:
    """The first run from `start` on that ends at `id` or after it, or block.end."""
    cdef Py_ssize_t low = start, n = block.end - start, half
    while n > 1:                         # Invariant: the answer is in low .. low + n.
        half = n >> 1
        low = low + half if block.last[low + half - 1] < id else low
        n -= half
    return low + 1 if n and block.last[low] < id else low


cdef inline Block* block_at(SequenceSet s, Py_ssize_t i) noexcept nogil:
    return s._directory[s._begin + i].block


cdef inline Place locate(SequenceSet s, uint64_t id) noexcept nogil:
    """The first run that ends at `id` or after it, unless it is the first of the next block.

    In that case the answer is the end of the block before, which is where `id` would be inserted.
    The set is not empty.
    """
    cdef Place place
    cdef Entry* entries = s._directory + s._begin
    cdef Block* block = entries[0].block
    place.block = 0
    if id <= block.last[block.begin]:    # Queues are consumed from the front: answer without searching.
        place.run = block.begin
        return place
    place.block = block_of(entries, s._end - s._begin, id)
    block = entries[place.block].block
    place.run = run_at(block, block.begin, id)
    return place


cdef inline bint settle_on_run(SequenceSet s, Place* place) noexcept nogil:
    """Turn the end of a block into the start of the next one. False if there is none."""
    if place.run < block_at(s, place.block).end:
        return True
    if place.block + 1 == s._end - s._begin:
        return False
    place.block += 1
    place.run = block_at(s, place.block).begin
    return True


# --- Walking --------------------------------------------------------------------------------------------


cdef struct Cursor:
    # While alive: `first .. last` is run number `run` of `block`, which `entry` points to.
    Entry* entry
    Entry* stop
    Block* block
    Py_ssize_t run
    uint64_t first, last
    bint alive


cdef inline void enter(Cursor* c) noexcept nogil:
    """Load the first run of the block under `entry`, if there is one."""
    c.alive = c.entry != c.stop
    if c.alive:
        c.block = c.entry.block
        c.run = c.block.begin
        c.first = c.block.first[c.run]
        c.last = c.block.last[c.run]


cdef inline Cursor walk(SequenceSet s) noexcept nogil:
    cdef Cursor c
    c.entry = s._directory + s._begin
    c.stop = s._directory + s._end
    c.block = NULL
    c.run = 0
    c.first = c.last = 0
    enter(&c)
    return c


cdef inline void load(Cursor* c) noexcept nogil:
    """Load the run that `run` is the number of: of this block, or the first one of the next."""
    if c.run == c.block.end:
        c.entry += 1
        enter(c)
    else:
        c.first = c.block.first[c.run]
        c.last = c.block.last[c.run]


cdef inline void advance(Cursor* c) noexcept nogil:
    """To the next run. The cursor is alive."""
    c.run += 1
    load(c)


cdef inline void step(Cursor* c, bint on) noexcept nogil:
    """Advance, or stay where it is: without a branch that no processor could foresee."""
    c.run += on
    load(c)


cdef inline void seek(Cursor* c, uint64_t id) noexcept nogil:
    """To the first run that ends at `id` or after it. One step if the next run is it, else a search.

    So a walk over two similar sets is linear, and a walk of a small set over a large one logarithmic.
    """
    while c.alive and c.last < id:
        advance(c)
        if not c.alive or c.last >= id:
            return
        if c.block.last[c.block.end - 1] < id:
            c.entry += block_of(c.entry, c.stop - c.entry, id)
            enter(c)
        c.run = run_at(c.block, c.run, id)
        load(c)


cdef inline Cursor walk_from(SequenceSet s, uint64_t id) noexcept nogil:
    cdef Cursor c = walk(s)
    seek(&c, id)
    return c


# --- Inserting ------------------------------------------------------------------------------------------


cdef void move_runs(Block* to, Py_ssize_t at, Block* source, Py_ssize_t start, Py_ssize_t n) noexcept nogil:
    memmove(to.first + at, source.first + start, n * sizeof(uint64_t))
    memmove(to.last + at, source.last + start, n * sizeof(uint64_t))


cdef uint64_t ids_in(const Block* block, Py_ssize_t start, Py_ssize_t stop) noexcept nogil:
    cdef uint64_t ids = 0
    cdef Py_ssize_t i
    for i in range(start, stop):
        ids += block.last[i] - block.first[i] + 1
    return ids


cdef Py_ssize_t seat(Py_ssize_t room, Py_ssize_t left, Py_ssize_t right) noexcept nogil:
    """Return where `left` + `right` runs should begin, so that the free places are at the side of the next insertion."""
    if right == 0:
        return 0
    if left == 0:
        return room - right
    return (room - left - right) // 2


cdef void reseat(Block* block, Py_ssize_t begin) noexcept nogil:
    cdef Py_ssize_t n = block.end - block.begin
    move_runs(block, begin, block, block.begin, n)
    block.begin = begin
    block.end = begin + n


cdef int reserve_entry(SequenceSet s) except -1:
    """Make sure that the directory has a free entry."""
    cdef Py_ssize_t n = s._end - s._begin, room = s._room, begin
    cdef Entry* fresh
    if s._begin > 0 and s._end < room:
        return 0
    if (room - n) * 4 < room or room == 0:
        room = 2 * room if room else ROOM_FIRST
        fresh = <Entry*>grab(room * sizeof(Entry))
        if fresh is NULL:
            raise MemoryError
    else:
        fresh = s._directory             # One side is used up, the other is not: back to the middle.
    begin = (room - n) // 2
    if n:
        memmove(fresh + begin, s._directory + s._begin, n * sizeof(Entry))
    if fresh != s._directory:
        PyMem_Free(s._directory)
    s._directory = fresh
    s._begin = begin
    s._end = begin + n
    s._room = room
    return 0


cdef void insert_entry(SequenceSet s, Py_ssize_t at, Block* block) noexcept nogil:
    """Put `block` at place `at` of the directory, which has a free entry. Its `low` is set later."""
    cdef Py_ssize_t n = s._end - s._begin
    cdef Entry* entries
    if s._end < s._room and (2 * at >= n or s._begin == 0):
        entries = s._directory + s._begin
        memmove(entries + at + 1, entries + at, (n - at) * sizeof(Entry))
        s._end += 1
    else:
        s._begin -= 1
        entries = s._directory + s._begin
        memmove(entries, entries + 1, at * sizeof(Entry))
    entries[at].block = block
    entries[at].low = block.first[block.begin] if block.begin < block.end else 0


cdef int make_room(SequenceSet s, Place* place) except -1:
    """Make a free place beside `place`, in its block or in another one, and set `place` to it.

    Only this function adds a block to a set that has one: see the picture at the top of this file.
    """
    cdef Block* block = block_at(s, place.block)
    cdef Block* fresh
    cdef Py_ssize_t n = block.end - block.begin
    cdef Py_ssize_t left = place.run - block.begin, right = block.end - place.run
    cdef Py_ssize_t begin, keep
    if n < block.room and (block.room - n) * 4 >= block.room:
        # At least a quarter is free, so this move is paid for by the insertions that it makes cheap.
        reseat(block, seat(block.room, left, right))
        place.run = block.begin + left
        return 0
    if block.room < capacity:
        fresh = new_block(s, min(2 * block.room, capacity))
        fresh.begin = seat(fresh.room, left, right)
        fresh.end = fresh.begin + n
        fresh.ids = block.ids
        move_runs(fresh, fresh.begin, block, block.begin, n)
        s._directory[s._begin + place.block].block = fresh
        PyMem_Free(block)
        place.run = fresh.begin + left
        return 0
    reserve_entry(s)
    fresh = new_block(s, max(capacity, block.room))
    if right == 0 and place.block + 1 == s._end - s._begin:
        place.block += 1
        place.run = 0
        insert_entry(s, place.block, fresh)
        return 0
    if left == 0 and place.block == 0:
        fresh.begin = fresh.end = place.run = fresh.room
        insert_entry(s, 0, fresh)
        return 0
    keep = n // 2
    fresh.begin = (fresh.room - (n - keep)) // 2
    fresh.end = fresh.begin + n - keep
    move_runs(fresh, fresh.begin, block, block.begin + keep, n - keep)
    fresh.ids = ids_in(fresh, fresh.begin, fresh.end)
    block.ids -= fresh.ids
    block.end = block.begin + keep
    reseat(block, (block.room - keep) // 2)
    insert_entry(s, place.block + 1, fresh)
    if left > keep:
        place.block += 1
        place.run = fresh.begin + left - keep
    else:
        place.run = block.begin + left
    return 0


cdef int insert_run(SequenceSet s, Place* place, uint64_t first, uint64_t last) except -1:
    """Insert a run before `place`; it must touch no other run. `place` is set to where the run is stored."""
    cdef Block* block = block_at(s, place.block)
    cdef Py_ssize_t left = place.run - block.begin, right = block.end - place.run
    cdef bint cheap = (right <= left and block.end < block.room) or (left <= right and block.begin > 0)
    if not cheap:
        make_room(s, place)
        block = block_at(s, place.block)
        left = place.run - block.begin
        right = block.end - place.run
    if block.end < block.room and (right <= left or block.begin == 0):
        if right:
            move_runs(block, place.run + 1, block, place.run, right)
        block.end += 1
    else:
        if left:
            move_runs(block, block.begin - 1, block, block.begin, left)
        block.begin -= 1
        place.run -= 1
    block.first[place.run] = first
    block.last[place.run] = last
    block.ids += last - first + 1
    s._ids += last - first + 1
    s._runs += 1
    s._version += 1
    if place.run == block.begin:
        s._directory[s._begin + place.block].low = first
    return 0


cdef inline void resize(SequenceSet s, Place place, uint64_t first, uint64_t last) noexcept nogil:
    """Set the ends of the run at `place`. The caller removes or joins the runs that it touches now."""
    cdef Block* block = block_at(s, place.block)
    # Negative for a run that shrinks; unsigned arithmetic is modulo 2**64, so the sums are right.
    cdef uint64_t more = (block.first[place.run] - first) + (last - block.last[place.run])
    block.first[place.run] = first
    block.last[place.run] = last
    block.ids += more
    s._ids += more
    s._version += 1
    if place.run == block.begin:
        s._directory[s._begin + place.block].low = first


cdef int start_set(SequenceSet s, uint64_t first, uint64_t last) except -1:
    """The first run of an empty set."""
    cdef Place place
    reserve_entry(s)
    cdef Block* block = new_block(s, ROOM_FIRST)
    block.begin = block.end = block.room // 2     # We do not know yet which way it grows.
    insert_entry(s, 0, block)
    place.block = 0
    place.run = block.begin
    return insert_run(s, &place, first, last)


cdef inline int extend_tail(SequenceSet s, uint64_t first, uint64_t last) except -1:
    """Add a range that does not begin before the newest run. 1: added; 0: it begins before it, or the set is empty.

    A queue in its steady state is changed this way, and all set operations write their result so.
    """
    if s._begin == s._end:
        return 0
    cdef Block* block = s._directory[s._end - 1].block
    cdef Py_ssize_t i = block.end - 1
    cdef uint64_t high = block.last[i], more
    cdef Place place
    if first > high:
        if first - 1 != high:
            if block.end == block.room:
                place.block = s._end - s._begin - 1
                place.run = block.end
                insert_run(s, &place, first, last)
                return 1
            i += 1
            block.end = i + 1
            block.first[i] = first
            s._runs += 1
            high = first - 1
    elif first < block.first[i]:
        return 0
    elif last <= high:
        return 1
    more = last - high
    block.last[i] = last
    block.ids += more
    s._ids += more
    s._version += 1
    return 1


cdef inline int append(SequenceSet s, uint64_t first, uint64_t last) except -1:
    """Write the next run of a result: it comes after the newest one and does not touch it."""
    cdef Block* block
    if s._begin != s._end:
        block = s._directory[s._end - 1].block
        if block.end < block.room:       # The same as in `extend_tail`, less what a new set does not need.
            block.first[block.end] = first
            block.last[block.end] = last
            block.end += 1
            block.ids += last - first + 1
            s._ids += last - first + 1
            s._runs += 1
            return 0
    if not extend_tail(s, first, last):
        start_set(s, first, last)
    return 0


cdef struct Chunk:
    # Runs of a result on their way into its blocks: ascending, disjoint, not adjacent.
    uint64_t first[512]
    uint64_t last[512]


cdef inline uint64_t larger(uint64_t a, uint64_t b) noexcept nogil:
    """Return the larger number, without a branch for the reason given in `grow`."""
    return a ^ ((a ^ b) & -<uint64_t>(a < b))


cdef inline uint64_t smaller(uint64_t a, uint64_t b) noexcept nogil:
    return a ^ ((a ^ b) & -<uint64_t>(b < a))


cdef inline Py_ssize_t grow(Chunk* chunk, Py_ssize_t n, uint64_t first, uint64_t last) noexcept nogil:
    """Add a run that does not begin before number `n`, the newest one. Returns the number of the newest one.

    There is no branch: when two sets are merged, the processor cannot predict whether a run touches the newest
    one, and one wrong prediction costs more than this whole function.
    """
    cdef bint apart = first > chunk.last[n] + 1
    cdef uint64_t mask = -<uint64_t>apart
    cdef uint64_t newest_first = chunk.first[n], newest_last = chunk.last[n]
    first = newest_first ^ ((first ^ newest_first) & mask)
    mask |= -<uint64_t>(last > newest_last)
    last = newest_last ^ ((last ^ newest_last) & mask)
    n += apart
    chunk.first[n] = first
    chunk.last[n] = last
    return n


cdef Py_ssize_t write(SequenceSet s, Chunk* chunk, Py_ssize_t n) except -1:
    """Append the first `n` runs of a chunk to a result. Returns 0: the run after them is now the first one."""
    cdef Block* block
    cdef Py_ssize_t i
    if n >= CHUNK - 1 and capacity >= CHUNK:
        reserve_entry(s)
        block = new_block(s, capacity)
        memcpy(block.first, chunk.first, n * sizeof(uint64_t))
        memcpy(block.last, chunk.last, n * sizeof(uint64_t))
        block.end = n
        block.ids = ids_in(block, 0, n)
        insert_entry(s, s._end - s._begin, block)
        s._ids += block.ids
        s._runs += n
    else:
        for i in range(n):
            append(s, chunk.first[i], chunk.last[i])
    chunk.first[0] = chunk.first[n % CHUNK]
    chunk.last[0] = chunk.last[n % CHUNK]
    return 0


# --- Removing -------------------------------------------------------------------------------------------


cdef void cut(SequenceSet s, Block* block, Py_ssize_t start, Py_ssize_t stop) noexcept nogil:
    """Remove the runs start .. stop - 1 of one block, moving the shorter side."""
    cdef uint64_t ids = ids_in(block, start, stop)
    cdef Py_ssize_t left = start - block.begin, right = block.end - stop
    block.ids -= ids
    s._ids -= ids
    s._runs -= stop - start
    if right <= left:
        if right:
            move_runs(block, start, block, stop, right)
        block.end = start + right
    else:
        if left:
            move_runs(block, stop - left, block, block.begin, left)
        block.begin = stop - left


cdef void remove_entries(SequenceSet s, Py_ssize_t start, Py_ssize_t stop) noexcept nogil:
    cdef Entry* entries = s._directory + s._begin
    cdef Py_ssize_t n = s._end - s._begin
    if n - stop <= start:
        memmove(entries + start, entries + stop, (n - stop) * sizeof(Entry))
        s._end -= stop - start
    else:
        memmove(entries + stop - start, entries, start * sizeof(Entry))
        s._begin += stop - start


cdef bint join(SequenceSet s, Py_ssize_t i) noexcept:
    """Join block i + 1 into block i if both together fill half of it at most."""
    cdef Block* block = block_at(s, i)
    cdef Block* other = block_at(s, i + 1)
    cdef Py_ssize_t n = block.end - block.begin, more = other.end - other.begin
    if 2 * (n + more) > block.room:
        return False
    if block.room - block.end < more:
        reseat(block, 0)
    move_runs(block, block.end, other, other.begin, more)
    block.end += more
    block.ids += other.ids
    remove_entries(s, i + 1, i + 2)
    release_block(s, other)
    return True


cdef void settle(SequenceSet s, Py_ssize_t i) noexcept:
    """After a removal: drop block i if it is empty, correct its entry, join it with a neighbour if it became small."""
    cdef Block* block = block_at(s, i)
    if block.begin == block.end:
        remove_entries(s, i, i + 1)
        release_block(s, block)
        return
    s._directory[s._begin + i].low = block.first[block.begin]
    if 4 * (block.end - block.begin) >= block.room:
        return
    if i + 1 < s._end - s._begin and join(s, i):
        return
    if i > 0:
        join(s, i - 1)


cdef void erase(SequenceSet s, Place start, Place stop) noexcept:
    """Remove the runs from `start` up to and without `stop`."""
    cdef Block* block = block_at(s, start.block)
    cdef Py_ssize_t i
    if start.block == stop.block:
        if start.run < stop.run:
            cut(s, block, start.run, stop.run)
            settle(s, start.block)
        return
    cut(s, block, start.run, block.end)
    block = block_at(s, stop.block)
    cut(s, block, block.begin, stop.run)
    for i in range(start.block + 1, stop.block):
        block = block_at(s, i)
        s._ids -= block.ids
        s._runs -= block.end - block.begin
        release_block(s, block)
    remove_entries(s, start.block + 1, stop.block)
    settle(s, start.block + 1)           # The higher block first, because this does not move the lower one.
    settle(s, start.block)


# --- Set algebra ----------------------------------------------------------------------------------------
#
# Each writes its result from the first run to the last, so the blocks are filled in order and to the brim.


cdef inline SequenceSet new_set():
    return <SequenceSet>SequenceSet.__new__(SequenceSet)


cdef bint sparse(SequenceSet small, SequenceSet large) noexcept nogil:
    return small._runs * SPARSE < large._runs


cdef SequenceSet copied(SequenceSet s):
    """The same set in blocks of its own. Copies blocks, not runs."""
    cdef SequenceSet out = new_set()
    cdef Py_ssize_t n = s._end - s._begin, i
    cdef Block* source
    cdef Block* block
    if n == 0:
        return out
    out._directory = <Entry*>grab((n + 2) * sizeof(Entry))
    if out._directory is NULL:
        raise MemoryError
    out._room = n + 2
    out._begin = out._end = 1
    for i in range(n):
        source = block_at(s, i)
        block = new_block(out, source.room)
        block.begin = source.begin
        block.end = source.end
        block.ids = source.ids
        move_runs(block, block.begin, source, source.begin, source.end - source.begin)
        out._directory[out._end].low = s._directory[s._begin + i].low
        out._directory[out._end].block = block
        out._end += 1
    out._runs = s._runs
    out._ids = s._ids
    return out


cdef SequenceSet united(SequenceSet a, SequenceSet b):
    cdef SequenceSet out
    if sparse(a, b):
        a, b = b, a
    if sparse(b, a):
        out = copied(a)
        put_all(out, b)
        return out
    out = new_set()
    cdef Cursor x = walk(a), y = walk(b)
    cdef Chunk chunk
    cdef Py_ssize_t n = 0                # chunk.first[n] .. chunk.last[n] is a run that may still grow.
    cdef uint64_t mask, first, last
    cdef bint from_x, apart
    if not x.alive or not y.alive:
        return copied(a if x.alive else b)
    chunk.first[0] = min(x.first, y.first)
    chunk.last[0] = chunk.first[0]       # The run that begins there comes next, and grows it.
    while x.alive and y.alive:
        from_x = x.first <= y.first
        mask = -<uint64_t>from_x
        first = y.first ^ ((x.first ^ y.first) & mask)
        last = y.last ^ ((x.last ^ y.last) & mask)
        step(&x, from_x)
        step(&y, not from_x)
        n = grow(&chunk, n, first, last)
        if n == CHUNK - 1:
            n = write(out, &chunk, n)
    while x.alive:
        n = grow(&chunk, n, x.first, x.last)
        if n == CHUNK - 1:
            n = write(out, &chunk, n)
        advance(&x)
    while y.alive:
        n = grow(&chunk, n, y.first, y.last)
        if n == CHUNK - 1:
            n = write(out, &chunk, n)
        advance(&y)
    write(out, &chunk, n + 1)
    return out


cdef SequenceSet intersected(SequenceSet a, SequenceSet b):
    if sparse(a, b) or sparse(b, a):
        return searched(a, b)
    cdef SequenceSet out = new_set()
    cdef Cursor x = walk(a), y = walk(b)
    cdef Chunk chunk
    cdef Py_ssize_t n = 0
    cdef bint x_ends_first
    while x.alive and y.alive:
        chunk.first[n] = larger(x.first, y.first)
        chunk.last[n] = smaller(x.last, y.last)
        n += chunk.first[n] <= chunk.last[n]
        if n == CHUNK:
            n = write(out, &chunk, n)
        x_ends_first = x.last <= y.last  # The run that ends first is finished.
        step(&x, x_ends_first)
        step(&y, not x_ends_first)
    write(out, &chunk, n)
    return out


cdef SequenceSet searched(SequenceSet a, SequenceSet b):
    """Return the intersection, where one set has far fewer runs: they are searched for in the other set."""
    cdef SequenceSet out = new_set()
    cdef Cursor x = walk(a), y = walk(b)
    while x.alive and y.alive:
        if x.last < y.first:
            seek(&x, y.first)
        elif y.last < x.first:
            seek(&y, x.first)
        else:
            append(out, max(x.first, y.first), min(x.last, y.last))
            if x.last <= y.last:         # The run that ends first is finished.
                advance(&x)
            else:
                advance(&y)
    return out


cdef SequenceSet subtracted(SequenceSet a, SequenceSet b):
    cdef SequenceSet out
    if sparse(b, a):
        out = copied(a)
        drop_all(out, b)
        return out
    if sparse(a, b):
        return left_over(a, b)
    out = new_set()
    cdef Cursor x = walk(a), y = walk(b)
    cdef Chunk chunk
    cdef Py_ssize_t n = 0
    cdef uint64_t first = x.first, mask  # What is left of the run of x begins here.
    cdef bint y_ends_first
    while x.alive and y.alive:
        chunk.first[n] = first
        chunk.last[n] = smaller(x.last, y.first - 1)
        n += first < y.first
        if n == CHUNK:
            n = write(out, &chunk, n)
        y_ends_first = y.last < x.last
        first = larger(first, y.last + 1)
        step(&y, y_ends_first)
        step(&x, not y_ends_first)
        mask = -<uint64_t>y_ends_first
        first = x.first ^ ((x.first ^ first) & mask)
    while x.alive:
        chunk.first[n] = first
        chunk.last[n] = x.last
        n += 1
        if n == CHUNK:
            n = write(out, &chunk, n)
        advance(&x)
        first = x.first
    write(out, &chunk, n)
    return out


cdef SequenceSet left_over(SequenceSet a, SequenceSet b):
    """Return `a` without `b`, where `a` has far fewer runs: each of them is searched for in b."""
    cdef SequenceSet out = new_set()
    cdef Cursor x = walk(a), y = walk(b)
    cdef uint64_t first
    while x.alive:
        first = x.first
        seek(&y, first)
        while y.alive and y.first <= x.last:
            if first < y.first:
                append(out, first, y.first - 1)
            first = y.last + 1
            if first > x.last:
                break                    # y may reach into the next run of a as well.
            advance(&y)
        if first <= x.last:
            append(out, first, x.last)
        advance(&x)
    return out


cdef SequenceSet differed(SequenceSet a, SequenceSet b):
    """Ids in exactly one of the two.

    A set is also the ascending list of its edges: first, last + 1, first, last + 1, ... An id is inside
    if an odd number of edges is at or before it. Merging two lists of edges and cancelling equal ones
    therefore gives the edges of the symmetric difference.
    """
    cdef SequenceSet out = new_set()
    cdef Cursor x = walk(a), y = walk(b)
    cdef bint x_inside = False, y_inside = False, inside = False
    # NO_ID stands for "no edge left". It is also a real edge, the one after MAX_ID, but only ever the last.
    cdef uint64_t x_edge = x.first if x.alive else NO_ID, y_edge = y.first if y.alive else NO_ID
    cdef uint64_t edge, start = 0
    cdef bint x_moves, y_moves
    while x.alive or y.alive:
        x_moves = x.alive and (x_edge <= y_edge or not y.alive)
        y_moves = y.alive and (y_edge <= x_edge or not x.alive)
        edge = x_edge if x_moves else y_edge
        if x_moves:
            x_edge = next_edge(&x, &x_inside)
        if y_moves:
            y_edge = next_edge(&y, &y_inside)
        if x_moves != y_moves:           # Two equal edges cancel each other.
            inside = not inside
            if inside:
                start = edge
            else:
                append(out, start, edge - 1)
    return out


cdef inline uint64_t next_edge(Cursor* c, bint* inside) noexcept nogil:
    """Step over one edge of a living cursor; returns the next edge, or NO_ID."""
    inside[0] = not inside[0]
    if inside[0]:
        return c.last + 1
    advance(c)
    return c.first if c.alive else NO_ID


cdef SequenceSet sliced(SequenceSet s, uint64_t first, uint64_t last):
    cdef SequenceSet out = new_set()
    cdef Cursor c = walk_from(s, first)
    while c.alive and c.first <= last:
        append(out, max(first, c.first), min(last, c.last))
        advance(&c)
    return out


cdef int put_all(SequenceSet s, SequenceSet other) except -1:
    cdef Cursor c = walk(other)
    while c.alive:
        s.put(c.first, c.last)
        advance(&c)
    return 0


cdef int drop_all(SequenceSet s, SequenceSet other) except -1:
    cdef Cursor c = walk(other)
    while c.alive:
        s.drop(c.first, c.last)
        advance(&c)
    return 0


cdef bint is_subset(SequenceSet a, SequenceSet b) noexcept nogil:
    if a._runs and b._runs == 0 or a._ids > b._ids:
        return False
    cdef Cursor x = walk(a), y = walk(b)
    while x.alive:
        seek(&y, x.first)
        if not y.alive or y.first > x.first or y.last < x.last:
            return False
        advance(&x)
    return True


cdef bint are_disjoint(SequenceSet a, SequenceSet b) noexcept nogil:
    cdef Cursor x = walk(a), y = walk(b)
    while x.alive and y.alive:
        if x.last < y.first:
            seek(&x, y.first)
        elif y.last < x.first:
            seek(&y, x.first)
        else:
            return False
    return True


cdef bint are_equal(SequenceSet a, SequenceSet b) noexcept nogil:
    if a._runs != b._runs or a._ids != b._ids:
        return False
    cdef Cursor x = walk(a), y = walk(b)
    while x.alive:                       # Same number of runs, so y is alive as long as x.
        if x.first != y.first or x.last != y.last:
            return False
        advance(&x)
        advance(&y)
    return True


# --- Encoding -------------------------------------------------------------------------------------------
#
#   set     = count of runs, then for each run: gap, extra
#   gap     = ids between the run before and this one, less 1 (runs never touch); first run: its first id
#   extra   = ids of the run, less 1
#
# All numbers are unsigned LEB128 in their shortest form, so each set has exactly one encoding, and
# overlapping, touching or unsorted runs cannot be written down. There is no limit on the number of runs
# (scenario T09: a 16-bit length made Qpid's set of 8,192 ranges an empty one).


cdef enum:
    VARINT_MAX = 10        # Bytes of a 64-bit number.


cdef inline Py_ssize_t varint_size(uint64_t value) noexcept nogil:
    cdef Py_ssize_t size = 1
    while value >= 0x80:
        value >>= 7
        size += 1
    return size


cdef inline uint8_t* write_varint(uint8_t* at, uint64_t value) noexcept nogil:
    while value >= 0x80:
        at[0] = <uint8_t>(value | 0x80)
        at += 1
        value >>= 7
    at[0] = <uint8_t>value
    return at + 1


cdef inline const uint8_t* read_varint(const uint8_t* at, const uint8_t* end, uint64_t* value) noexcept nogil:
    """Return where the next number begins, or NULL if this one is cut, too large or not in its shortest form."""
    cdef uint64_t byte
    cdef int shift = 0
    value[0] = 0
    while at != end:
        byte = at[0]
        at += 1
        if shift == 63 and byte > 1:     # Only one bit is left for the tenth byte.
            return NULL
        value[0] |= (byte & 0x7F) << shift
        if byte < 0x80:
            if byte == 0 and shift:
                return NULL              # Not the shortest form of the number.
            return at
        shift += 7
    return NULL


cdef bytes encode_runs(Cursor* c, Py_ssize_t runs):
    """The encoding of the next `runs` runs. Moves the cursor behind them."""
    cdef Cursor start = c[0]
    cdef Py_ssize_t size = varint_size(runs), i
    cdef uint64_t after = 0              # `gap` counts from the lowest possible first id.
    for i in range(runs):
        size += varint_size(c.first - after) + varint_size(c.last - c.first)
        after = c.last + 2
        advance(c)
    cdef bytes out = PyBytes_FromStringAndSize(NULL, size)
    cdef uint8_t* at = <uint8_t*>PyBytes_AS_STRING(out)
    at = write_varint(at, runs)
    after = 0
    for i in range(runs):
        at = write_varint(at, start.first - after)
        at = write_varint(at, start.last - start.first)
        after = start.last + 2
        advance(&start)
    return out


cdef SequenceSet decode_runs(const uint8_t* at, Py_ssize_t size, uint64_t max_runs):
    cdef SequenceSet out = new_set()
    cdef const uint8_t* end = at + size
    cdef uint64_t runs, gap, extra, first, after = 0
    at = read_varint(at, end, &runs)
    if at is NULL:
        raise SequenceDecodeError("no count of runs")
    if runs > <uint64_t>(end - at) // 2:              # A run takes two bytes at least.
        raise SequenceDecodeError(f"{runs} runs announced in {end - at} bytes")
    if runs > max_runs:
        raise SequenceDecodeError(f"{runs} runs announced, {max_runs} allowed")
    while runs:
        runs -= 1
        at = read_varint(at, end, &gap)
        if at is NULL:
            raise SequenceDecodeError("a run has no valid gap")
        at = read_varint(at, end, &extra)
        if at is NULL:
            raise SequenceDecodeError("a run has no valid length")
        # After a run that ends at MAX_ID or next to it no other can follow, and `after` is MAX_ID + 1, or 0.
        if after > MAX_ID or (out._runs and after == 0):
            raise SequenceDecodeError("a run after the last id")
        if gap > MAX_ID - after or extra > MAX_ID - after - gap:
            raise SequenceDecodeError("a run reaches beyond the last id")
        first = after + gap
        append(out, first, first + extra)
        after = first + extra + 2
    if at != end:
        raise SequenceDecodeError(f"{end - at} bytes after the last run")
    return out


# --- The set --------------------------------------------------------------------------------------------


@cython.final
@cython.freelist(16)
cdef class SequenceSet:
    """A set of sequence ids (0 .. 2**64 - 2), kept as disjoint ascending runs.

    ``SequenceSet(items)`` takes ids, closed ``(first, last)`` pairs, a `range` or another set.

    Cost, where *runs* is the number of runs and not of ids: changes and questions at either end are O(1)
    amortised, elsewhere O(log runs) plus a move within one block; set algebra is linear in the runs of both
    sets, or O(small * log large) where only a few runs meet many. No operation shifts the whole set.

    Methods that change the set, and `from_range`, raise SequenceError (a ValueError) for what is not an id or
    where ``first > last``. Methods that only ask take any integer: beyond the ids there is nothing, so bounds
    are cut as in a list slice. Anything that is not an integer is a TypeError.

    MemoryError leaves the set as it was, except for in-place operators, which may have done a part.
    Changing the set while iterating over it makes the iterator raise RuntimeError. Not hashable. Not safe for
    use by two threads at once. Pickled in its encoded form.

    >>> s = SequenceSet([(1, 5), 9])
    >>> s.add(6, 7)
    >>> s, len(s), 7 in s, s.first, s.last
    (SequenceSet({1-7, 9}), 8, True, 1, 9)
    >>> s - SequenceSet.from_range(2, 8)
    SequenceSet({1, 9})
    """

    # Every field starts as zero or NULL, which is the empty set.

    __hash__ = None

    def __init__(self, items=(), /):
        release_all(self)
        if type(items) is SequenceSet:
            swap(self, copied(<SequenceSet>items))
        elif type(items) is range and items.step == 1:
            if items:
                self.add(items[0], items[-1])
        else:
            for item in items:
                if isinstance(item, (tuple, list)):
                    first, last = item
                    self.add(first, last)
                else:
                    self.add(item)

    def __dealloc__(self):
        release_all(self)

    @classmethod
    def from_range(cls, first, last):
        """The set of all ids from `first` to `last`, both included. O(1).

        >>> SequenceSet.from_range(3, 5)
        SequenceSet({3-5})
        """
        cdef uint64_t low, high
        as_range(first, last, &low, &high)
        cdef SequenceSet out = new_set()
        start_set(out, low, high)
        return out

    def copy(self):
        """An independent set with the same ids. O(runs), by copying blocks."""
        return copied(self)

    def __reduce__(self):
        return _unpickle, (self.encode(),)

    # -- Changing ----------------------------------------------------------------------------------

    cdef bint has(self, uint64_t id) noexcept nogil:
        if self._begin == self._end:
            return False
        cdef Block* block = self._directory[self._end - 1].block
        cdef Py_ssize_t i = block.end - 1
        if id >= block.first[i]:         # Steady state: the question is about the newest run.
            return id <= block.last[i]
        cdef Place place = locate(self, id)
        block = block_at(self, place.block)
        return place.run < block.end and block.first[place.run] <= id

    cdef bint first_run(self, uint64_t* first, uint64_t* last) noexcept nogil:
        if self._begin == self._end:
            return False
        cdef Block* block = self._directory[self._begin].block
        first[0] = block.first[block.begin]
        last[0] = block.last[block.begin]
        return True

    cdef int put(self, uint64_t first, uint64_t last) except -1:
        if extend_tail(self, first, last):
            return 0
        if self._begin == self._end:
            start_set(self, first, last)
            return 0
        # The first run that touches first .. last, or comes after it.
        cdef Place place = locate(self, first - 1 if first else 0), stop
        cdef Place after = place
        cdef Block* block
        cdef uint64_t high
        if not settle_on_run(self, &after) or block_at(self, after.block).first[after.run] > last + 1:
            insert_run(self, &place, first, last)
            return 0
        place = after
        block = block_at(self, place.block)
        if block.first[place.run] <= first and last <= block.last[place.run]:
            return 0
        # Widen this run to the end of the last one that it now touches, and remove those between.
        high = max(last, block.last[place.run])
        after.run += 1
        stop = after
        if high == last:
            stop = locate(self, last + 1)
            block = block_at(self, stop.block)
            if stop.run < block.end and block.first[stop.run] <= last + 1:
                high = block.last[stop.run]
                stop.run += 1
        block = block_at(self, place.block)
        resize(self, place, min(first, block.first[place.run]), high)
        erase(self, after, stop)
        return 0

    cdef int drop(self, uint64_t first, uint64_t last) except -1:
        if self._begin == self._end:
            return 0
        cdef Place place = locate(self, first), stop, hole
        if not settle_on_run(self, &place):
            return 0
        cdef Block* block = block_at(self, place.block)
        cdef uint64_t low = block.first[place.run], high = block.last[place.run]
        if low > last:
            return 0
        if low < first and last < high:
            # A hole inside one run is the only removal that needs memory. Insert what lies above it, then
            # shorten the run, which is now just before the new one, maybe in another block.
            hole = place
            hole.run += 1
            insert_run(self, &hole, last + 1, high)
            if hole.run == block_at(self, hole.block).begin:
                hole.block -= 1
                hole.run = block_at(self, hole.block).end
            hole.run -= 1
            resize(self, hole, low, first - 1)
            return 0
        if low < first:
            resize(self, place, low, first - 1)
            place.run += 1
        # From `place` on, remove the runs that end within the range, and shorten the one that ends after it.
        stop = place
        if high < last:
            stop = locate(self, last + 1)
        elif high == last and low >= first:
            stop.run += 1
        block = block_at(self, stop.block)
        if stop.run < block.end and block.first[stop.run] <= last:
            resize(self, stop, last + 1, block.last[stop.run])
        erase(self, place, stop)
        self._version += 1
        return 0

    def add(self, first, last=None):
        """Add one id, or the closed range `first` .. `last`. Ids that are members already are fine.

        O(1) amortised at either end, else O(log runs). Runs that become part of another one are removed at no
        further cost: that was paid for when they were added.

        >>> s = SequenceSet([1, 3])
        >>> s.add(2); s
        SequenceSet({1-3})
        """
        cdef uint64_t low, high
        if last is None:
            low = high = as_id(first)
        else:
            as_range(first, last, &low, &high)
        self.put(low, high)

    def discard(self, first, last=None):
        """Remove one id, or all ids of the closed range `first` .. `last`. Absent ids are fine.

        O(1) amortised at either end, else O(log runs).

        >>> s = SequenceSet([(1, 9)])
        >>> s.discard(4, 6); s
        SequenceSet({1-3, 7-9})
        """
        cdef uint64_t low, high
        if last is None:
            low = high = as_id(first)
        else:
            as_range(first, last, &low, &high)
        self.drop(low, high)

    def clear(self):
        """Remove all ids and give the memory back. O(runs / 512)."""
        release_all(self)

    # -- Asking ------------------------------------------------------------------------------------

    def __contains__(self, id):
        cdef uint64_t number
        return as_bound(id, &number) == 0 and self.has(number)

    def __len__(self):
        if self._ids > LEN_MAX:
            raise OverflowError("more ids than len() can tell: use count()")
        return <Py_ssize_t>self._ids

    def __bool__(self):
        return self._ids != 0

    def __iter__(self):
        cdef _Ids ids = _Ids.__new__(_Ids)
        ids._set = self
        ids._cursor = walk(self)
        ids._version = self._version
        return ids

    def runs(self):
        """The runs ``(first, last)``, ascending. Raises RuntimeError if the set changes meanwhile.

        >>> list(SequenceSet([1, 2, 7]).runs())
        [(1, 2), (7, 7)]
        """
        cdef _Runs runs = _Runs.__new__(_Runs)
        runs._set = self
        runs._cursor = walk(self)
        runs._version = self._version
        return runs

    @property
    def run_count(self):
        """How many runs there are. O(1)."""
        return self._runs

    @property
    def first(self):
        """The lowest id. O(1). Raises IndexError if the set is empty."""
        if self._begin == self._end:
            raise IndexError("empty set")
        return self._directory[self._begin].low

    @property
    def last(self):
        """The highest id. O(1). Raises IndexError if the set is empty."""
        if self._begin == self._end:
            raise IndexError("empty set")
        cdef Block* block = self._directory[self._end - 1].block
        return block.last[block.end - 1]

    def count(self, first=None, last=None):
        """How many ids are in the closed range; None is an open bound.

        O(1) for all, else O(log runs + runs / 512). Unlike ``len()`` it has no limit.

        >>> SequenceSet([(1, 5), 9]).count(4, 100)
        3
        """
        if first is None and last is None:
            return self._ids
        cdef uint64_t low, high, ids = 0
        if not clamp(first, last, &low, &high) or self._begin == self._end:
            return 0
        cdef Place start = locate(self, low), stop = locate(self, high)
        cdef Block* block = block_at(self, start.block)
        cdef Py_ssize_t i
        # The whole runs from `start` up to and without `stop`, then what the two bounds add or cut off.
        if start.block == stop.block:
            ids = ids_in(block, start.run, stop.run)
        else:
            ids = ids_in(block, start.run, block.end)
            for i in range(start.block + 1, stop.block):
                ids += block_at(self, i).ids
            block = block_at(self, stop.block)
            ids += ids_in(block, block.begin, stop.run)
        block = block_at(self, stop.block)
        if stop.run < block.end and block.first[stop.run] <= high:
            ids += high - block.first[stop.run] + 1
        block = block_at(self, start.block)
        if start.run < block.end and block.first[start.run] < low:
            ids -= low - block.first[start.run]
        return ids

    def ceiling(self, id):
        """The least member at `id` or above it, or None. O(log runs)."""
        cdef uint64_t number
        cdef int side = as_bound(id, &number)
        if side > 0 or self._begin == self._end:
            return None
        if side < 0:
            number = 0
        cdef Place place = locate(self, number)
        if not settle_on_run(self, &place):
            return None
        return max(number, block_at(self, place.block).first[place.run])

    def floor(self, id):
        """The greatest member at `id` or below it, or None. O(log runs)."""
        cdef uint64_t number
        cdef int side = as_bound(id, &number)
        if side < 0 or self._begin == self._end:
            return None
        if side > 0:
            number = MAX_ID
        cdef Place place = locate(self, number)
        cdef Block* block = block_at(self, place.block)
        if place.run < block.end and block.first[place.run] <= number:
            return number
        if place.run == block.begin:     # Only in the lowest block: another one begins at or below `number`.
            return None
        return block.last[place.run - 1]

    def slice(self, first, last):
        """The members in the closed range, as a new set. O(log runs + runs in the slice).

        >>> SequenceSet([(1, 5), 9]).slice(4, 100)
        SequenceSet({4-5, 9})
        """
        cdef uint64_t low, high
        if not clamp(first, last, &low, &high):
            return new_set()
        return sliced(self, low, high)

    def take(self, n):
        """The `n` lowest ids, or all if there are fewer, as a new set. O(runs taken).

        >>> SequenceSet([(1, 5), 9]).take(3)
        SequenceSet({1-3})
        """
        cdef uint64_t left
        cdef int side = as_bound(n, &left)
        if side < 0:
            raise SequenceError(f"cannot take {n} ids")
        if side > 0 or left >= self._ids:
            return copied(self)
        cdef SequenceSet out = new_set()
        cdef Cursor c = walk(self)
        cdef uint64_t size
        while left:                      # There are more ids than this, so the cursor stays alive.
            size = min(left, c.last - c.first + 1)
            append(out, c.first, c.first + (size - 1))
            left -= size
            advance(&c)
        return out

    # -- Set algebra: with another SequenceSet only ------------------------------------------------

    def __or__(self, other):
        if type(other) is not SequenceSet:
            return NotImplemented
        return united(self, <SequenceSet>other)

    def __and__(self, other):
        if type(other) is not SequenceSet:
            return NotImplemented
        return intersected(self, <SequenceSet>other)

    def __sub__(self, other):
        if type(other) is not SequenceSet:
            return NotImplemented
        return subtracted(self, <SequenceSet>other)

    def __xor__(self, other):
        if type(other) is not SequenceSet:
            return NotImplemented
        return differed(self, <SequenceSet>other)

    # In place: run by run where the other set is small, else a new set whose contents are taken over.

    def __ior__(self, other):
        if type(other) is not SequenceSet:
            return NotImplemented
        if sparse(<SequenceSet>other, self):
            put_all(self, <SequenceSet>other)
        else:
            swap(self, united(self, <SequenceSet>other))
        return self

    def __iand__(self, other):
        if type(other) is not SequenceSet:
            return NotImplemented
        swap(self, intersected(self, <SequenceSet>other))
        return self

    def __isub__(self, other):
        if type(other) is not SequenceSet:
            return NotImplemented
        if sparse(<SequenceSet>other, self):
            drop_all(self, <SequenceSet>other)
        else:
            swap(self, subtracted(self, <SequenceSet>other))
        return self

    def __ixor__(self, other):
        if type(other) is not SequenceSet:
            return NotImplemented
        swap(self, differed(self, <SequenceSet>other))
        return self

    def isdisjoint(self, SequenceSet other not None, /):
        """Whether no id is in both sets."""
        return are_disjoint(self, other)

    def issubset(self, SequenceSet other not None, /):
        """Whether every id of this set is in `other`. Also written ``self <= other``."""
        return is_subset(self, other)

    def __eq__(self, other):
        if type(other) is not SequenceSet:
            return NotImplemented
        return are_equal(self, <SequenceSet>other)

    def __le__(self, other):
        if type(other) is not SequenceSet:
            return NotImplemented
        return is_subset(self, <SequenceSet>other)

    def __lt__(self, other):
        if type(other) is not SequenceSet:
            return NotImplemented
        return self._ids < (<SequenceSet>other)._ids and is_subset(self, <SequenceSet>other)

    def __ge__(self, other):
        if type(other) is not SequenceSet:
            return NotImplemented
        return is_subset(<SequenceSet>other, self)

    def __gt__(self, other):
        if type(other) is not SequenceSet:
            return NotImplemented
        return (<SequenceSet>other)._ids < self._ids and is_subset(<SequenceSet>other, self)

    # -- Bytes -------------------------------------------------------------------------------------

    def encode(self):
        """The set as bytes; equal sets give equal bytes. O(runs), 2 to 20 bytes per run, no limit (I5).

        Law: ``SequenceSet.decode(s.encode()) == s``.

        >>> SequenceSet([(1, 5), 9]).encode().hex()
        '0201040200'
        """
        cdef Cursor c = walk(self)
        return encode_runs(&c, self._runs)

    def encode_chunks(self, max_runs):
        """The set cut into sets of at most `max_runs` runs, each encoded, lowest first. O(runs).

        Never an empty list: the empty set is one chunk. Law: the chunks decode to disjoint sets whose union
        is this set. Raises SequenceError if `max_runs` is less than 1, TypeError if it is no integer.
        """
        max_runs = _index(max_runs)
        if max_runs < 1:
            raise SequenceError(f"a chunk holds one run or more, not {max_runs}")
        cdef Py_ssize_t each = min(max_runs, max(self._runs, 1)), left = self._runs
        cdef Cursor c = walk(self)
        cdef list out = [encode_runs(&c, min(each, left))]
        left -= each
        while left > 0:
            out.append(encode_runs(&c, min(each, left)))
            left -= each
        return out

    @classmethod
    def decode(cls, buffer, *, max_runs=None):
        """The set that `buffer` (any bytes-like object) encodes, all of it. O(runs).

        Memory grows with the runs that are read; it is not allocated from the announced count.

        Raises:
            SequenceDecodeError: The bytes are not exactly one encoded set in its only form: cut short, too
                long, a number not in its shortest form, ids beyond 2**64 - 2, or more than `max_runs` runs.

        >>> SequenceSet.decode(bytes.fromhex("0201040200"))
        SequenceSet({1-5, 9})
        """
        cdef Py_buffer view
        cdef uint64_t limit = NO_ID
        if max_runs is not None and as_bound(max_runs, &limit) < 0:
            raise SequenceError(f"max_runs is {max_runs}")
        PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE)
        try:
            return decode_runs(<const uint8_t*>view.buf, view.len, limit)
        finally:
            PyBuffer_Release(&view)

    def __reduce__(self):
        return _unpickle, (self.encode(),)

    # -- Looking inside ----------------------------------------------------------------------------

    def __repr__(self):
        cdef Cursor c = walk(self)
        cdef list parts = []
        while c.alive and len(parts) < REPR_RUNS:
            parts.append(str(c.first) if c.first == c.last else f"{c.first}-{c.last}")
            advance(&c)
        if c.alive:
            parts.append(f"... {self._runs - REPR_RUNS} more runs")
        return "SequenceSet({" + ", ".join(parts) + "})"

    def __sizeof__(self):
        cdef Py_ssize_t size = SequenceSet.__basicsize__ + self._room * sizeof(Entry), i
        for i in range(self._begin, self._end):
            size += sizeof(Block) + 2 * self._directory[i].block.room * sizeof(uint64_t)
        if self._spare is not NULL:
            size += sizeof(Block) + 2 * self._spare.room * sizeof(uint64_t)
        return size

    def check(self):
        """Raise InvariantError if an invariant of the set does not hold. O(runs). For tests."""
        cdef Py_ssize_t i, j, runs = 0
        cdef uint64_t ids = 0, block_ids, previous = 0
        cdef Entry* entry
        cdef Block* block
        ensure(0 <= self._begin <= self._end <= self._room, "directory out of bounds")
        for i in range(self._begin, self._end):
            entry = &self._directory[i]
            block = entry.block
            ensure(0 <= block.begin <= block.end <= block.room, f"block {i} out of bounds")
            ensure(block.begin < block.end, f"block {i} is empty")
            ensure(entry.low == block.first[block.begin], f"first id of block {i} differs from its entry")
            block_ids = 0
            for j in range(block.begin, block.end):
                ensure(block.first[j] <= block.last[j] <= MAX_ID, f"block {i}, run {j}: ends out of order")
                if runs:
                    ensure(block.first[j] > previous and block.first[j] - previous > 1,
                           f"block {i}, run {j}: touches or precedes the run before")
                previous = block.last[j]
                block_ids += block.last[j] - block.first[j] + 1
                runs += 1
            ensure(block.ids == block_ids, f"block {i} says {block.ids} ids, has {block_ids}")
            ids += block_ids
        ensure(runs == self._runs, f"the set says {self._runs} runs, has {runs}")
        ensure(ids == self._ids, f"the set says {self._ids} ids, has {ids}")


cdef int ensure(bint condition, object what) except -1:
    """Raise InvariantError with the text `what` unless the condition holds."""
    if not condition:
        raise InvariantError(what)
    return 0


def _unpickle(data):
    return SequenceSet.decode(data)


# Both iterators compare the version before they touch the cursor, which points into the set's blocks.


@cython.final
@cython.no_gc                            # A set refers to nothing, so this cannot be part of a cycle.
@cython.freelist(8)
cdef class _Runs:
    """Iterates over the runs of a set."""
    cdef SequenceSet _set
    cdef Cursor _cursor
    cdef uint64_t _version

    def __iter__(self):
        return self

    def __next__(self):
        if self._version != self._set._version:
            raise RuntimeError("SequenceSet changed during iteration")
        if not self._cursor.alive:
            raise StopIteration
        run = (self._cursor.first, self._cursor.last)
        advance(&self._cursor)
        return run


@cython.final
@cython.no_gc
@cython.freelist(8)
cdef class _Ids:
    """Iterates over the ids of a set."""
    cdef SequenceSet _set
    cdef Cursor _cursor
    cdef uint64_t _version

    def __iter__(self):
        return self

    def __next__(self):
        if self._version != self._set._version:
            raise RuntimeError("SequenceSet changed during iteration")
        if not self._cursor.alive:
            raise StopIteration
        cdef uint64_t id = self._cursor.first
        if id == self._cursor.last:
            advance(&self._cursor)
        else:
            self._cursor.first = id + 1
        return id
