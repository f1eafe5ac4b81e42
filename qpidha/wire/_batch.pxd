# What other .pyx files may rely on, and nothing else. The layout and the invariants are in _batch.pyx.
#
# Rules for C callers:
#   * `_start .. _start + _at.end` is the checked block; nothing outside of it may be read.
#   * `_data_at` and `_props_at` take 0 .. count, not one index more; they allocate on first use.

from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef enum:
    HAS_PROPS = 1
    HAS_ORDER = 2
    HAS_ORIGINS = 4
    HAS_ALL = 7
    VERSION = 1
    HEADER = 8
    ORIGIN = 32


cdef struct Layout:
    # Offsets from the first byte of the batch. data .. props .. end are contiguous.
    uint64_t count
    uint64_t lens
    uint64_t props_lens
    uint64_t order
    uint64_t origins
    uint64_t data
    uint64_t props
    uint64_t end
    uint32_t longest
    uint32_t columns


# Byte by byte, so that neither alignment nor the host's byte order matters; compilers fuse these into
# one load or store where the host is little-endian.

cdef inline uint32_t load32(const uint8_t* p) noexcept nogil:
    return (<uint32_t>p[0]) | (<uint32_t>p[1] << 8) | (<uint32_t>p[2] << 16) | (<uint32_t>p[3] << 24)


cdef inline uint64_t load64(const uint8_t* p) noexcept nogil:
    return (<uint64_t>load32(p)) | (<uint64_t>load32(p + 4) << 32)


cdef inline void store32(uint8_t* p, uint32_t value) noexcept nogil:
    p[0] = <uint8_t>value
    p[1] = <uint8_t>(value >> 8)
    p[2] = <uint8_t>(value >> 16)
    p[3] = <uint8_t>(value >> 24)


cdef inline void store64(uint8_t* p, uint64_t value) noexcept nogil:
    store32(p, <uint32_t>value)
    store32(p + 4, <uint32_t>(value >> 32))


cdef class Batch:
    cdef bytes _base
    cdef Py_ssize_t _offset
    cdef const uint8_t* _start
    cdef Layout _at
    # Where the data (and props) of message i starts; built when a message in the middle is first asked for.
    cdef uint64_t* _data_starts
    cdef uint64_t* _props_starts

    cdef bint _whole(self) noexcept
    cdef int _require(self, Py_ssize_t i) except -1
    cdef int _scan(self, uint64_t size) except -1
    cdef int _check_origins(self, Layout* at) except -1
    cdef uint64_t _data_at(self, Py_ssize_t i) except 0
    cdef uint64_t _props_at(self, Py_ssize_t i) except 0


cdef class Landing:
    cdef bytes _block
    cdef Py_ssize_t _size
    cdef Py_ssize_t _filled
