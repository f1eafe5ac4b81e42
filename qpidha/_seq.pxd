# What other .pyx files may rely on, and nothing else. The essay is at the top of _seq.pyx.
#
# Rules for C callers:
#   * ids are 0 .. MAX_ID (2**64 - 2); one more would not leave room for "the id after the last one".
#     Nothing below checks this: the Python methods do.
#   * the GIL must be held, also for the `nogil` functions if another thread may change the same set.
#   * first <= last everywhere; runs are closed at both ends.

from libc.stdint cimport uint64_t

cdef extern from *:
    """
    #define QPIDHA_NO_ID UINT64_MAX         /* not an id: also what a failed conversion returns */
    #define QPIDHA_MAX_ID (UINT64_MAX - 1)  /* so that the id after the last one can be computed */
    """
    const uint64_t NO_ID "QPIDHA_NO_ID"
    const uint64_t MAX_ID "QPIDHA_MAX_ID"

cdef extern from "Python.h":
    # Declared without an exception value: the caller compares with NO_ID, which is cheaper than a try block on a
    # path that costs 40 ns in all.
    unsigned long long PyLong_AsUnsignedLongLong(object value) noexcept


# Numbers from Python, checked: what each accepts is in its docstring.
cdef uint64_t as_id(object value) except? 0xFFFFFFFFFFFFFFFF
cdef int as_range(object first, object last, uint64_t* low, uint64_t* high) except -1
cdef int as_bound(object value, uint64_t* bound) except -2

cdef int ensure(bint condition, object what) except -1


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
    cdef bint first_run(self, uint64_t* first, uint64_t* last) noexcept nogil   # False: the set is empty.
    # All or nothing: on MemoryError (-1) the set is as before.
    cdef int put(self, uint64_t first, uint64_t last) except -1
    cdef int drop(self, uint64_t first, uint64_t last) except -1
