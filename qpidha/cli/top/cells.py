"""Names that fit a column. A character of East Asia takes two columns of a terminal."""

from __future__ import annotations

import unicodedata

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
