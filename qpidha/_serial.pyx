# cython: language_level=3, cdivision=True, auto_pickle=False, autotestdict=False
# cython: embedsignature=True, embedsignature.format=clinic, binding=False
"""Serial numbers of 32 bits (RFC 1982), and the tracker that gives out and follows 64-bit ids.

Inside the library an id has 64 bits, so it never wraps (I2). A broker or a protocol with 32-bit
numbers keeps the low 32 bits only; `SequenceTracker.unwrap` finds the 64-bit id again, and the span guard of
`SequenceTracker.allocate` keeps that possible: the ids alive at one time span less than 2**31.

Invariants (`SequenceTracker.check` verifies them; the model tests call it after each step):
  - a tracker has seen only ids in base .. next_id - 1   (so next_id is above every id seen: I4)
  - lowest_live <= next_id
"""

cimport cython
from cpython.exc cimport PyErr_Clear
from cpython.long cimport PyLong_Check
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from qpidha._seq cimport MAX_ID, NO_ID, PyLong_AsUnsignedLongLong, SequenceSet, as_bound, as_id, as_range, ensure

from operator import index as _index

from qpidha.errors import SequenceDecodeError, SequenceError, SequenceOrderError, SequenceSpanError

__all__ = [
    "SequenceTracker",
    "serial_add",
    "serial_compare",
    "serial_distance",
    "serial_le",
    "serial_lt",
    "serial_unwrap",
    "serial_wrap",
]

cdef extern from *:
    """
    #define QPIDHA_HALF ((int64_t)1 << 31)
    """
    const int64_t HALF "QPIDHA_HALF"


# --- Serial numbers (RFC 1982) --------------------------------------------------------------------------


cdef uint32_t as_serial(object value) except? 0xFFFFFFFF:
    """The 32-bit number that a Python integer means. Raises SequenceError (a ValueError) or TypeError."""
    if not PyLong_Check(value):
        value = _index(value)
    cdef unsigned long long number = PyLong_AsUnsignedLongLong(value)
    if number > 0xFFFFFFFF:
        if number == NO_ID:
            PyErr_Clear()
        raise SequenceError(f"not a 32-bit serial number: {value}")
    return <uint32_t>number


cdef int64_t distance(uint32_t a, uint32_t b) except? 0x7FFFFFFFFFFFFFFF:
    """How far b lies ahead of a, -(2**31 - 1) .. 2**31 - 1."""
    cdef int64_t ahead = <int32_t>(b - a)
    if ahead == -HALF:
        raise SequenceOrderError(f"serial numbers {a} and {b} are 2**31 apart: neither is first")
    return ahead


def serial_add(a, n):
    """The serial number `n` after `a`, modulo 2**32. O(1).

    Raises:
        SequenceError: `a` is not 0 .. 2**32 - 1, or `n` is not 0 .. 2**31 - 1. RFC 1982 defines no
            larger step, because the sum would not come after `a`.

    >>> serial_add(2**32 - 1, 2)
    1
    """
    cdef uint32_t start = as_serial(a), step = as_serial(n)
    if step >= <uint32_t>1 << 31:
        raise SequenceError(f"a serial number moves by 0 .. 2**31 - 1, not by {n}")
    return <uint32_t>(start + step)


def serial_lt(a, b):
    """Whether `a` comes before `b`. O(1).

    Raises:
        SequenceError: One of them is not 0 .. 2**32 - 1.
        SequenceOrderError: They are exactly 2**31 apart.

    >>> serial_lt(2**32 - 1, 0), serial_lt(0, 2**32 - 1)
    (True, False)
    """
    return distance(as_serial(a), as_serial(b)) > 0


def serial_le(a, b):
    """Whether `a` comes before `b` or is `b`. O(1). Raises as `serial_lt` does."""
    return distance(as_serial(a), as_serial(b)) >= 0


def serial_compare(a, b):
    """-1, 0 or 1: `a` comes before `b`, is `b`, comes after `b`. O(1). Raises as `serial_lt` does.

    >>> serial_compare(5, 2**32 - 5)
    1
    """
    cdef int64_t ahead = distance(as_serial(a), as_serial(b))
    return (ahead < 0) - (ahead > 0)


def serial_distance(a, b):
    """How many steps lead from `a` to `b`; negative when `b` comes first. O(1). Raises as `serial_lt` does.

    Law: where `n` is 0 .. 2**31 - 1, ``serial_distance(a, serial_add(a, n)) == n``.

    >>> serial_distance(2**32 - 2, 3), serial_distance(3, 2**32 - 2)
    (5, -5)
    """
    return distance(as_serial(a), as_serial(b))


def serial_wrap(id):
    """The 32 bits of an id that travel on the wire. O(1).

    >>> serial_wrap(2**32 + 7)
    7
    """
    return <uint32_t>as_id(id)


cdef object unwrapped(uint32_t wire, uint64_t reference):
    cdef int64_t ahead = distance(<uint32_t>reference, wire)
    if ahead < 0 and reference < <uint64_t>-ahead:
        raise SequenceOrderError(f"wire number {wire} lies before id 0, seen from id {reference}")
    if ahead > 0 and MAX_ID - reference < <uint64_t>ahead:
        raise SequenceOrderError(f"wire number {wire} lies after the last id, seen from id {reference}")
    return reference + <uint64_t>ahead


def serial_unwrap(wire, reference):
    """The id nearest to the id `reference` whose low 32 bits are `wire`. O(1).

    Law: ``serial_unwrap(serial_wrap(id), reference) == id`` while ``abs(id - reference) < 2**31``.

    Raises:
        SequenceError: `wire` is not 0 .. 2**32 - 1, or `reference` is not an id.
        SequenceOrderError: Two ids are equally near, or the nearest would lie outside 0 .. 2**64 - 2.

    >>> serial_unwrap(4, 2**32 - 3) == 2**32 + 4
    True
    """
    return unwrapped(as_serial(wire), as_id(reference))


# --- The tracker ----------------------------------------------------------------------------------------


cdef enum:
    STATE_FORM = 1         # First item of `state()`. A change of the tuple takes the next number.


cdef uint64_t as_next_id(object value) except? 0:
    """A next id: 0 .. 2**64 - 1. One above the last id means that the ids are used up."""
    cdef uint64_t number
    if as_bound(value, &number) == 0 or value == NO_ID:
        return number
    raise SequenceError(f"not a next id: {value} (it is 0 .. 2**64 - 1)")


cdef uint64_t as_live(SequenceTracker tracker, object value) except? 0xFFFFFFFFFFFFFFFF:
    cdef uint64_t live = as_next_id(value)
    if live > tracker._next:
        raise SequenceError(f"the lowest live id is {value}, but the next id is {tracker._next}")
    return live


@cython.final
@cython.no_gc
cdef class SequenceTracker:
    """Gives out ids and follows the ids seen, for one queue in one generation.

    An id is *seen* when it was given out here (`allocate`) or came from elsewhere (`receive`). Following
    begins at `base`, the `next_id` of the start: what lies below is settled and counts as seen. One tracker
    serves a node in both roles: after a promotion it goes on allocating above everything received (I4). ::

        settled | seen ....... | gap | seen | gap | seen | not yet
                base           watermark + 1             next_id
                    lowest_live <------- span ---------->

    Args:
        next_id: The first id to give out or to expect.
        span_limit: The ids alive at one time span less than this (I3), so that their 32-bit wire form
            tells them apart. 2 .. 2**31; the default leaves a margin of 65,536.

    Cost: O(1) in the steady state, O(log gaps) for an id out of order. Memory grows with the number of gaps,
    not of ids. Errors change nothing.

    >>> t = SequenceTracker()
    >>> t.allocate(3), t.next_id, t.receive(7, 8), t.watermark, t.gaps()
    (1, 4, 2, 3, SequenceSet({4-6}))
    """

    def __cinit__(self):
        self._seen = SequenceSet()

    def __init__(self, next_id=1, *, span_limit=2**31 - 2**16):
        cdef uint64_t start = as_next_id(next_id)
        span_limit = _index(span_limit)
        if not 2 <= span_limit <= 2**31:
            raise SequenceError(f"the span limit is 2 .. 2**31, not {span_limit}")
        self._span_limit = span_limit
        self._base = self._next = self._live = start
        self._duplicates = 0
        self._seen.clear()

    def __reduce__(self):
        raise TypeError("a SequenceTracker is stored as its state(), not pickled")

    # -- Giving out --------------------------------------------------------------------------------

    def allocate(self, count=1, lowest_live=None):
        """Give out `count` ids in a row and return the first. They count as seen. O(1).

        Ids strictly increase and none is given out twice (I2). Only `rewind` takes ids back; they are given
        out again under another generation.

        Args:
            count: How many ids.
            lowest_live: As in `retain`, in the same call.

        Raises:
            SequenceSpanError: The live ids would span `span_limit`. Hold the publish, and ask again when
                messages at the low end are gone.
            OverflowError: The 64-bit ids are used up.
            SequenceError: `count` is less than 1, or `lowest_live` is above `next_id`.
        """
        cdef uint64_t n = as_id(count), first = self._next, live = self._live, span
        if n == 0:
            raise SequenceError("cannot allocate 0 ids")
        if lowest_live is not None:
            live = as_live(self, lowest_live)
        if n > NO_ID - first:
            raise OverflowError("the 64-bit ids are used up")
        span = first + n - live
        if span >= self._span_limit:
            raise SequenceSpanError(
                f"with the lowest live id {live}, ids up to {first + (n - 1)} would span {span}, "
                f"not less than {self._span_limit}"
            )
        self._seen.put(first, first + (n - 1))
        self._next = first + n
        self._live = live
        return first

    def retain(self, lowest_live, /):
        """Say that no id below `lowest_live` is alive any more, so that the span can move on. O(1).

        `next_id` means that nothing is alive. Until told otherwise every id counts as alive from the moment
        it is seen: forgetting to call this holds publishes early and mis-sorts nothing.

        Raises:
            SequenceError: `lowest_live` is above `next_id`.
        """
        self._live = as_live(self, lowest_live)

    @property
    def next_id(self):
        """The id that `allocate` gives out next. Above every id seen."""
        return self._next

    @property
    def lowest_live(self):
        """No id below this one is alive. It is `next_id` if nothing is alive."""
        return self._live

    @property
    def span(self):
        """How many ids the live ones span: ``next_id - lowest_live``."""
        return self._next - self._live

    @property
    def span_limit(self):
        """What `allocate` keeps `span` below."""
        return self._span_limit

    @property
    def room(self):
        """How many ids `allocate` can give out now."""
        cdef uint64_t span = self._next - self._live
        return 0 if span >= self._span_limit else min(self._span_limit - span - 1, NO_ID - self._next)

    # -- Following ---------------------------------------------------------------------------------

    def receive(self, first, last=None):
        """Record that an id, or a closed range, came from elsewhere. Returns how many of them are new.

        Moves `next_id` above them. Ids seen before or below `base` are counted in `duplicates`. O(1) for the
        next id, else O(log gaps). The span is not checked: the node that gave out these ids has checked it.

        >>> t = SequenceTracker()
        >>> t.receive(1, 4), t.receive(3, 6), t.duplicates
        (4, 2, 2)
        """
        cdef uint64_t low, high, offered, new
        if last is None:
            low = high = as_id(first)
        else:
            as_range(first, last, &low, &high)
        offered = high - low + 1
        if high < self._base:
            self._duplicates += offered
            return 0
        low = max(low, self._base)
        new = self._seen._ids
        self._seen.put(low, high)
        new = self._seen._ids - new
        self._duplicates += offered - new
        if new:
            # If nothing was alive, a jump ahead does not widen the span; else `low` may lower it.
            self._live = low if self._live == self._next else min(low, self._live)
            self._next = max(self._next, high + 1)
        return new

    def advance(self, next_id, /):
        """Move `next_id` up to at least this, without seeing the ids between, which are gaps. O(1).

        For a next id that was stored or told by a peer (I4).
        """
        cdef uint64_t number = as_next_id(next_id)
        if number > self._next:
            if self._live == self._next:
                self._live = number
            self._next = number

    def rewind(self, to_id, /):
        """Forget every id at `to_id` and above, so that `next_id` is `to_id`. Returns those that were seen.

        For a backup that was ahead of the new primary (LM1b): its extra ids will be given out again under the
        new generation. Log the result. If `to_id` is below `base`, following begins there from now on.
        O(log gaps + gaps forgotten).

        Raises:
            SequenceError: `to_id` is above `next_id`.

        >>> t = SequenceTracker()
        >>> t.allocate(5), t.rewind(4), t.next_id, t.watermark
        (1, SequenceSet({4-5}), 4, 3)
        """
        cdef uint64_t to = as_next_id(to_id)
        if to > self._next:
            raise SequenceError(f"cannot rewind to {to_id}: the next id is {self._next}")
        cdef SequenceSet forgotten = self._seen.slice(to, None)
        if to <= MAX_ID:
            self._seen.drop(to, MAX_ID)      # Cuts off the end, which takes no memory.
        self._next = to
        self._base = min(self._base, to)
        self._live = min(self._live, to)
        return forgotten

    def __contains__(self, id):
        """Whether the id was seen. O(1) for the newest ids, else O(log gaps)."""
        cdef uint64_t number
        cdef int side = as_bound(id, &number)
        return side == 0 and (number < self._base or self._seen.has(number))

    @property
    def base(self):
        """Where following began. All ids below are taken as seen."""
        return self._base

    @property
    def watermark(self):
        """The highest id such that all from `base` up to it were seen; ``base - 1`` (maybe -1) if none.

        O(1). Only at or below it is the absence of an id a fact (R-c).
        """
        cdef uint64_t first, last
        if self._seen.first_run(&first, &last) and first == self._base:  # Once seen, `base` begins the first run.
            return last
        return <object>self._base - 1

    @property
    def missing(self):
        """How many ids below `next_id` were not seen. O(1)."""
        return self._next - self._base - self._seen._ids

    @property
    def duplicates(self):
        """How many ids `receive` was told that had been seen before, modulo 2**64."""
        return self._duplicates

    def gaps(self):
        """The ids from `base` to ``next_id - 1`` that were not seen. O(gaps).

        Law: ``t.missing == t.gaps().count()``.
        """
        cdef SequenceSet out = SequenceSet()
        if self._next > self._base:
            out.put(self._base, self._next - 1)
        return out - self._seen

    # -- The wire ----------------------------------------------------------------------------------

    @staticmethod
    def wrap(id, /):
        """The low 32 bits of an id, its form on the wire. O(1)."""
        return <uint32_t>as_id(id)

    def unwrap(self, wire, reference=None):
        """The id nearest to `reference` (normally `next_id`) whose low 32 bits are `wire`. O(1).

        Law: ``t.unwrap(t.wrap(id)) == id`` for every live id, because the live span is below 2**31, and for
        as many ids ahead.

        Raises:
            SequenceOrderError: Two ids are equally near (2**31 away), or the nearest is not 0 .. 2**64 - 2.
            SequenceError: `wire` is not 0 .. 2**32 - 1, or `reference` is not an id.

        >>> SequenceTracker(2**32 - 2).unwrap(1) == 2**32 + 1
        True
        """
        cdef uint64_t near = min(self._next, MAX_ID) if reference is None else as_id(reference)
        return unwrapped(as_serial(wire), near)

    # -- Storing -----------------------------------------------------------------------------------

    def state(self):
        """All that must survive a restart, as a tuple of int and bytes. O(gaps). See `resume`."""
        return (STATE_FORM, self._base, self._next, self._live, self._duplicates, self.gaps().encode())

    @classmethod
    def resume(cls, state, *, span_limit=2**31 - 2**16):
        """A tracker that goes on from a stored `state`. O(gaps).

        Law: ``SequenceTracker.resume(t.state()).state() == t.state()``.

        Raises:
            SequenceDecodeError: This is not the state of a tracker.
            SequenceError: `span_limit` is wrong.

        >>> t = SequenceTracker.resume(SequenceTracker(7).state())
        >>> t.allocate()
        7
        """
        try:
            form, base, next_id, live, duplicates, gaps = state
            if form != STATE_FORM:
                raise SequenceDecodeError(f"unknown form {form!r} of a tracker's state")
            base, next_id, live = as_next_id(base), as_next_id(next_id), as_next_id(live)
            duplicates = as_next_id(duplicates)
            missing = SequenceSet.decode(gaps)
        except (TypeError, ValueError) as error:
            raise SequenceDecodeError(f"not the state of a tracker: {error}") from error
        if base > next_id or live > next_id or missing.count() != missing.count(base, next_id - 1):
            raise SequenceDecodeError("the state of a tracker contradicts itself")
        cdef SequenceTracker tracker = cls(base, span_limit=span_limit)
        if next_id > base:
            tracker._seen.put(base, next_id - 1)
            tracker._seen -= missing
        tracker._next = next_id
        tracker._live = live
        tracker._duplicates = duplicates
        return tracker

    # -- Looking inside ----------------------------------------------------------------------------

    def __repr__(self):
        return (
            f"SequenceTracker(next_id={self._next}, watermark={self.watermark}, missing={self.missing}, "
            f"lowest_live={self._live})"
        )

    def check(self):
        """Raise InvariantError if an invariant of the tracker or its set does not hold. O(gaps). For tests."""
        self._seen.check()
        ensure(self._base <= self._next, "base above next_id")
        if self._seen._runs:
            ensure(self._base <= self._seen.first and self._seen.last < self._next, "seen outside base .. next_id - 1")
        ensure(self._live <= self._next, "lowest_live above next_id")
