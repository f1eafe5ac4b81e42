r"""Escapes text from outside for a terminal: one line, no control characters, and no name that looks like other output.

Names of queues and nodes, reasons and paths are chosen by clients, peers and users. Printed without escaping they could
move the cursor, change the title of a window, turn the direction of writing, or add a line that seems to be of ours.

    printable   characters that cannot be seen become escapes as in Python: \n, \x1b, \u202e
    name        as it is if it is a single word; otherwise in quotes, so that it cannot be taken for a second column
    one_line    the last step for every line that is printed
"""

from __future__ import annotations

import math
import re
from typing import Any

NAME_CHARS_MAX = 200
LINE_CHARS_MAX = 4_000
"""For people. ``--json`` cuts nothing."""

INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Characters that Python calls printable, and that show nothing."""
NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
BARE = re.compile(r"[\w.@/+#%~-]+")
RESERVED = frozenset({"none", "-", "?"})
"""Words that stand where a name may be missing."""


def one_line(text: str) -> str:
    """The text with everything escaped that is not printable. A second time it changes nothing."""
    if text.isprintable() and INVISIBLE.isdisjoint(text):
        return text
    return "".join(map(_escaped, text))


def printable(text: object, chars_max: int = LINE_CHARS_MAX) -> str:
    """A text from outside, escaped so that the escapes can be told from what it says, and cut if it is very long."""
    whole = str(text)
    return one_line(whole[:chars_max].replace("\\", "\\\\")) + _left_out(whole, chars_max)


def name(text: object) -> str:
    """A name from outside."""
    whole = str(text)
    cut = whole[:NAME_CHARS_MAX]
    if BARE.fullmatch(cut) and cut not in RESERVED and one_line(cut) == cut:
        return cut + _left_out(whole, NAME_CHARS_MAX)
    quoted = cut.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{one_line(quoted)}"' + _left_out(whole, NAME_CHARS_MAX)


def names(texts: list[Any]) -> str:
    """These names, printable, on one line; "none" if there are none."""
    return ", ".join(map(name, texts)) or "none"


def count(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun: "1 node", "2 nodes"."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def number(value: object) -> float | None:
    """A number of an answer. None: it is none, or too large to be true."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e30:
        return float(value)
    return None


def _left_out(text: str, chars_max: int) -> str:
    return f"... ({len(text)} characters)" if len(text) > chars_max else ""


def _escaped(char: str) -> str:
    if char.isprintable() and char not in INVISIBLE:
        return char
    code = ord(char)
    if char in NAMED:
        return NAMED[char]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class View:
    """An answer of a node, of which every value is checked: it may be of another version, or forged."""

    def __init__(self, raw: object) -> None:
        self._raw: dict[str, Any] = raw if isinstance(raw, dict) else {}

    def name(self, key: str) -> str:
        """The name under a key, printable; "none" if there is none."""
        value = self._raw.get(key)
        return "none" if value is None else name(value)

    def text(self, key: str) -> str:
        """The text under a key, printable; empty if there is none."""
        value = self._raw.get(key)
        return "" if value is None else printable(value)

    def number(self, key: str) -> str:
        """The number under a key, as text."""
        value = self._raw.get(key)
        if type(value) is int:
            return f"{value:d}" if abs(value) < 10**30 else "?"
        if type(value) is float and math.isfinite(value):
            return f"{value:.0f}"
        return "?"

    def seconds(self, key: str) -> str:
        """The seconds under a key, as text with one decimal."""
        value = self._raw.get(key)
        return f"{value:.1f}" if type(value) is float and math.isfinite(value) else self.number(key)

    def positive(self, key: str) -> bool:
        """Whether the value is a number above zero."""
        value = self._raw.get(key)
        return isinstance(value, (int, float)) and value is not True and value > 0

    def flag(self, key: str) -> bool:
        """Whether the value is True."""
        return self._raw.get(key) is True

    def names(self, key: str) -> str:
        """The names in the list under a key."""
        return names(self.items(key))

    def items(self, key: str) -> list[Any]:
        """The list under a key; empty if it is none."""
        value = self._raw.get(key)
        return value if isinstance(value, list) else []

    def views(self, key: str) -> list[View]:
        """The items of the list under a key, as views."""
        return [View(item) for item in self.items(key)]

    def same(self, key: str, other: object) -> bool:
        """Whether there is a value under the key, equal to the other."""
        return key in self._raw and self._raw[key] == other

    def raw(self, key: str) -> object:
        """The value under a key as it came; None: there is none."""
        return self._raw.get(key)
