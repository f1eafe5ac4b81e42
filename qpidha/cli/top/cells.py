"""Numbers and names that fit a column. A character of East Asia takes two columns of a terminal."""

from __future__ import annotations

import math
import unicodedata

UNITS = ("", "k", "M", "G", "T", "P")
NOTHING = "-"
CUT = "…"


def width_of(text: str) -> int:
    """How many columns a text takes. It must be printable."""
    if text.isascii():
        return len(text)
    return sum(map(_width, text))


def _width(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def fitted(text: str, width: int, *, right: bool = False) -> str:
    """The text in exactly so many columns: cut, or filled with spaces on its right or left."""
    if width_of(text) > width:
        text = _start(text, width - 1) + CUT
    space = " " * (width - width_of(text))
    return space + text if right else text + space


def _start(text: str, width: int) -> str:
    used, end = 0, 0
    for char in text:
        used += _width(char)
        if used > width:
            break
        end += 1
    return text[:end]


def wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """The text in lines of at most so many columns; all but the first begin with the indent."""
    lines, line, empty = [], "", True
    for word in text.split(" "):
        while not empty and width_of(line) + 1 + width_of(word) > width:
            lines.append(line)
            line, empty = indent, True
        line += word if empty else f" {word}"
        empty = False
        while width_of(line) > width:  # A word that is longer than a line.
            head = _start(line, width)
            lines.append(head)
            line = indent + line[len(head) :]
    return [*lines, line]


def amount(value: float | None) -> str:
    """A number in at most six characters: 0.4, 17, 1,234, 12.3k, 4.5M."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if abs(value) < 10_000:
        return f"{value:.1f}" if 0 < abs(value) < 10 and value != int(value) else f"{value:,.0f}"
    for unit in UNITS:
        if abs(value) < 999.5:
            return f"{value:.1f}{unit}" if abs(value) < 99.95 else f"{value:.0f}{unit}"
        value /= 1000
    return ">999P"


def size(value: float | None) -> str:
    """Bytes in at most seven characters, in powers of 1000: 0 B, 512 B, 1.2 kB, 34.5 MB."""
    if value is None or not math.isfinite(value):
        return NOTHING
    for unit in UNITS:
        if value < 999.5:
            digits = 0 if not unit or value >= 99.95 else 1
            return f"{value:.{digits}f} {unit}B"
        value /= 1000
    return ">999 PB"


def duration(value: float | None) -> str:
    """Seconds in at most five characters: 0.3ms, 12ms, 1.2s, 34s, 12m, 5h, 3d."""
    if value is None or not math.isfinite(value):
        return NOTHING
    value = max(value, 0.0)
    if value < 0.9995:
        return f"{value * 1000:.1f}ms" if value < 0.00995 else f"{value * 1000:.0f}ms"
    if value < 99.5:
        return f"{value:.1f}s" if value < 9.95 else f"{value:.0f}s"
    for unit, seconds in (("m", 60), ("h", 3600)):
        if value < 99.5 * seconds:
            return f"{value / seconds:.0f}{unit}"
    return f"{min(value / 86_400, 9999):.0f}d"
