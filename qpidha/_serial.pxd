# What other .pyx files may rely on. The rules for C callers are at the top of _seq.pxd.

from libc.stdint cimport uint64_t

from qpidha._seq cimport SequenceSet


cdef class SequenceTracker:
    cdef SequenceSet _seen               # Within _base .. _next - 1.
    cdef uint64_t _base, _next, _live    # _live <= _next.
    cdef uint64_t _span_limit, _duplicates
