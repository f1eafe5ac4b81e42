"""Sequence numbers: serial arithmetic on the wire's 32 bits, sets of 64-bit ids, and the id tracker.

    serial_*           RFC 1982 arithmetic; `serial_wrap` and `serial_unwrap` lead to the wire and back
    SequenceSet        a set of ids as runs: what a queue holds, an acknowledgement names, a resync compares
    SequenceTracker    gives out ids, follows those received, guards the live span (I2, I3, I4)

Errors: `SequenceError` (a ValueError) and below it `SequenceOrderError`, `SequenceSpanError` and
`SequenceDecodeError`. The work is done in compiled code; its source begins with the theory of operation.
"""

from qpidha._seq import SequenceSet
from qpidha._serial import (
    SequenceTracker,
    serial_add,
    serial_compare,
    serial_distance,
    serial_le,
    serial_lt,
    serial_unwrap,
    serial_wrap,
)
from qpidha.errors import SequenceDecodeError, SequenceError, SequenceOrderError, SequenceSpanError

__all__ = [
    "SequenceDecodeError",
    "SequenceError",
    "SequenceOrderError",
    "SequenceSet",
    "SequenceSpanError",
    "SequenceTracker",
    "serial_add",
    "serial_compare",
    "serial_distance",
    "serial_le",
    "serial_lt",
    "serial_unwrap",
    "serial_wrap",
]
