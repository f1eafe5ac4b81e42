# What other .pyx files may rely on, and nothing else. The essay is at the top of _seq.pyx.
#
# Rules for C callers:
#   * ids are 0 .. MAX_ID (2**64 - 2); one more would not leave room for "the id after the last one".
#     Nothing below checks this: the Python methods do.
#   * the GIL must be held, also for the `nogil` functions if another thread may change the same set.
#   * first <= last everywhere; runs are closed at both ends.

from libc.stdint cimport int32_t, uint32_t, uint64_t


cdef inline bint precedes(uint32_t a, uint32_t b) noexcept nogil:
    # RFC 1982, section 3.2. Meaningful while the two are less than 2**31 apart.
    return <int32_t>(a - b) < 0


cdef struct Block:
    # first[i] .. last[i] for begin <= i < end are closed, disjoint, not adjacent, ascending runs.
    # The free places are before `begin` and from `end` on, so both ends are cheap.
    Py_ssize_t begin, end, room
    uint64_t ids         # How many ids the runs of this block hold together.
    uint64_t* first      # Both arrays have `room` places and live in the block's own allocation.
    uint64_t* last


cdef struct Entry:
    uint64_t low         # == block.first[block.begin], here so that a search reads one array only.
    Block* block         # Never NULL, never empty.


cdef class SequenceSet:
    cdef Entry* _directory               # Entries _begin .. _end - 1 are in use, of _room.
    cdef Py_ssize_t _begin, _end, _room
    cdef Py_ssize_t _runs
    cdef uint64_t _ids
    cdef uint64_t _version               # Grows with every change; iterators compare it.
    cdef Block* _spare                   # The last emptied block, kept for the next need, or NULL.

    cdef bint has(self, uint64_t id) noexcept nogil
    # All or nothing: on MemoryError (-1) the set is as before.
    cdef int put(self, uint64_t first, uint64_t last) except -1
    cdef int drop(self, uint64_t first, uint64_t last) except -1


cdef class SequenceTracker:
    cdef SequenceSet _seen               # Within _base .. _next - 1.
    cdef uint64_t _base, _next, _live    # _live <= _next.
    cdef uint64_t _span_limit, _duplicates
