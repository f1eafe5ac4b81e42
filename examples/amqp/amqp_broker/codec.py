"""AMQP's type system, as far as a broker that does not open messages needs it (AMQP 1.0, part 1).

`decode` reads any value; the functions below it write the few that the broker writes itself.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class DecodeError(ValueError):
    """The bytes are no AMQP value."""


@dataclass(frozen=True, slots=True)
class Described:
    """A value with a descriptor."""

    descriptor: Any
    value: Any


class Symbol(str):
    """A text of ASCII characters that names something."""

    __slots__ = ()


def decode(data: bytes, at: int = 0) -> tuple[Any, int]:
    """The value that begins here, and where the next one begins.

    Raises:
        DecodeError: There is none.
    """
    try:
        return _decode(data, at, 0)
    except (IndexError, struct.error, UnicodeDecodeError, TypeError) as error:
        raise DecodeError(f"no AMQP value: {error}") from error


DEPTH_MAX = 32


def _decode(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    if depth > DEPTH_MAX:
        raise DecodeError(f"values in values, more than {DEPTH_MAX} deep")
    code = data[at]
    at += 1
    if code == 0:
        descriptor, at = _decode(data, at, depth + 1)
        value, at = _decode(data, at, depth + 1)
        return Described(descriptor, value), at
    return _of_code(code, data, at, depth)


def _of_code(code: int, data: bytes, at: int, depth: int) -> tuple[Any, int]:
    if code in FIXED:
        return FIXED[code], at
    if code in NUMBERS:
        number = NUMBERS[code]
        return number.unpack_from(data, at)[0], at + number.size
    if code in WIDTHS:
        end = at + WIDTHS[code]
        return _slice(data, at, end), end
    if code == 0x56:
        return data[at] != 0, at + 1
    if code in VARIABLE:
        wide, make = VARIABLE[code]
        size, at = (U32.unpack_from(data, at)[0], at + 4) if wide else (data[at], at + 1)
        end = at + size
        return make(_slice(data, at, end)), end
    if code in COMPOUND:
        return _compound(code, data, at, depth)
    raise DecodeError(f"no type has the code {code:#x}")


def _slice(data: bytes, at: int, end: int) -> bytes:
    if end > len(data):
        raise DecodeError("it ends too early")
    return bytes(data[at:end])


def _compound(code: int, data: bytes, at: int, depth: int) -> tuple[Any, int]:
    wide = code & 0xF0 in (0xD0, 0xF0)
    if wide:
        size, count = U32.unpack_from(data, at)[0], U32.unpack_from(data, at + 4)[0]
        end, at = at + 4 + size, at + 8
    else:
        size, count = data[at], data[at + 1]
        end, at = at + 1 + size, at + 2
    if end > len(data) or count > size:
        raise DecodeError("a list, map or array ends too early")
    values = []
    if code in (0xE0, 0xF0):  # An array: one constructor for all of its values.
        element, at = data[at], at + 1
        if element == 0:
            _, at = _decode(data, at, depth + 1)
            element, at = data[at], at + 1
        for _ in range(count):
            value, at = _of_code(element, data, at, depth + 1)
            if at > end:
                raise DecodeError("a value ends after the array that it is in")
            values.append(value)
        return values, end
    for _ in range(count):
        value, at = _decode(data, at, depth + 1)
        if at > end:  # Else values could overlap, and few bytes have billions of them.
            raise DecodeError("a value ends after the list or map that it is in")
        values.append(value)
    if code in (0xC1, 0xD1):
        return dict(zip(values[::2], values[1::2], strict=False)), end
    return values, end


def _symbol(data: bytes) -> Symbol:
    return Symbol(data.decode("ascii"))


def _text(data: bytes) -> str:
    return data.decode()


U32 = struct.Struct(">I")
FIXED: dict[int, Any] = {0x40: None, 0x41: True, 0x42: False, 0x43: 0, 0x44: 0, 0x45: []}
NUMBERS = {
    0x50: struct.Struct(">B"),
    0x51: struct.Struct(">b"),
    0x52: struct.Struct(">B"),
    0x53: struct.Struct(">B"),
    0x54: struct.Struct(">b"),
    0x55: struct.Struct(">b"),
    0x60: struct.Struct(">H"),
    0x61: struct.Struct(">h"),
    0x70: U32,
    0x71: struct.Struct(">i"),
    0x72: struct.Struct(">f"),
    0x73: U32,
    0x80: struct.Struct(">Q"),
    0x81: struct.Struct(">q"),
    0x82: struct.Struct(">d"),
    0x83: struct.Struct(">q"),
}
WIDTHS = {0x74: 4, 0x84: 8, 0x94: 16, 0x98: 16}
"""Decimals and UUIDs stay bytes."""
VARIABLE: dict[int, tuple[bool, Callable[[bytes], Any]]] = {
    0xA0: (False, bytes),
    0xA1: (False, _text),
    0xA3: (False, _symbol),
    0xB0: (True, bytes),
    0xB1: (True, _text),
    0xB3: (True, _symbol),
}
COMPOUND = (0xC0, 0xC1, 0xD0, 0xD1, 0xE0, 0xF0)

# --- what the broker writes --------------------------------------------------------------------------

NULL = b"\x40"
TRUE = b"\x41"
FALSE = b"\x42"


def ubyte(value: int) -> bytes:
    """A number of 8 bits."""
    return bytes((0x50, value))


def uint(value: int) -> bytes:
    """A number of 32 bits."""
    return b"\x70" + U32.pack(value)


def symbol(value: str) -> bytes:
    """A symbol."""
    content = value.encode("ascii")
    return b"\xb3" + U32.pack(len(content)) + content


def array_of_symbols(values: list[str]) -> bytes:
    """An array."""
    contents = b"".join(U32.pack(len(value)) + value.encode("ascii") for value in values)
    return b"\xf0" + U32.pack(len(contents) + 5) + U32.pack(len(values)) + b"\xb3" + contents


def listed(*values: bytes) -> bytes:
    """A list of values that are encoded already."""
    contents = b"".join(values)
    return b"\xd0" + U32.pack(len(contents) + 4) + U32.pack(len(values)) + contents


def described(code: int, value: bytes) -> bytes:
    """A value with one of the descriptors that the specification names by a small number."""
    return bytes((0x00, 0x53, code)) + value
