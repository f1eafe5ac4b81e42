"""The small shapes of a chart, and its head: title, paragraph, legend."""

from __future__ import annotations

import textwrap
from html import escape
from typing import Final

from qpidha.testing.picture.style import BOLD_MARKS, KINDS, LEGEND_ROLES, MARK_KINDS

LANE: Final = 284
"""Distance of two lines in pixels."""
CHARACTER: Final = 6.1
"""Assumed width of a character in a label, in pixels: the font is unknown, so rather too much."""
BOLD: Final = 6.8
"""The same in bold."""
FITS: Final = int((LANE - 40) / CHARACTER)
"""Characters that fit between two lines."""


def clip(text: str, most: int = FITS) -> str:
    """Shorten a text to at most so many characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def clock(seconds: float) -> str:
    """Format a time in seconds."""
    return f"{seconds:.3f} s"


def head_of(title: str, about: str, width: int) -> tuple[str, int]:
    """Return title, paragraph and legend as SVG, and their height in pixels."""
    lines = [line for part in about.splitlines() for line in textwrap.wrap(part, int(width / 6.6))]
    out = [f'<text class="title" x="16" y="30">{escape(title)}</text>']
    y = 52
    for line in lines:
        out.append(f'<text class="about" x="16" y="{y}">{escape(line)}</text>')
        y += 17
    x, y = 16, y + 8
    for role in LEGEND_ROLES:
        out.append(f'<g transform="translate({x} {y})">{pill(role, role, 0)}</g>')
        x += pill_width(role) + 8
    x += 4
    out.append(f'<rect class="member" x="{x}" y="{y - 11}" width="4" height="15"/>')
    out.append(f'<text class="key" x="{x + 9}" y="{y}">in the in-sync set</text>')
    x, y = 16, y + 24
    for kind, word in KINDS.items():
        out.append(f'<g class="{kind}"><path d="M{x} {y - 4}h24m-5 -3l5 3l-5 3"/></g>')
        out.append(f'<text class="key" x="{x + 29}" y="{y}">{word}</text>')
        x += 44 + int(len(word) * CHARACTER)
    out.append(f'<path class="lost" d="M{x} {y - 4}h20m-4 -4l8 8m0 -8l-8 8"/>')
    out.append(f'<text class="key" x="{x + 29}" y="{y}">lost</text>')
    x += 64
    out.append(f'<g class="op waited"><path d="M{x} {y - 4}h24m-5 -3l5 3l-5 3"/></g>')
    out.append(f'<text class="key" x="{x + 29}" y="{y}">had to wait</text>')
    x, y = 16, y + 24
    for kind, word in MARK_KINDS.items():
        out.append(f'<g transform="translate({x} {y})">{chip(kind, word)}</g>')
        x += chip_width(kind, word) + 8
    return "\n".join(out), y + 14


def pill_width(text: str) -> int:
    """Return the width of a pill with this text, in pixels."""
    return int(len(text) * BOLD) + 14


def pill(role: str, text: str, x: float | None = None) -> str:
    """Return a pill, the box on a line that names its state from here on: centred at 0, or from ``x`` on."""
    width = pill_width(text)
    left = -width / 2 if x is None else x
    return (
        f'<g class="pill r-{role}"><rect x="{left:g}" y="-11" width="{width}" height="15" rx="7.5"/>'
        f'<text x="{left + width / 2:g}" y="0">{escape(text)}</text></g>'
    )


def chip_width(kind: str, text: str) -> int:
    """Return the width of a chip with this text, in pixels."""
    return int(len(text) * (BOLD if kind in BOLD_MARKS else CHARACTER)) + 12


def chip(kind: str, text: str, title: str = "") -> str:
    """Return a chip, the small box of a mark; ``title`` is shown when the mouse rests on it."""
    hover = f"<title>{escape(title)}</title>" if title else ""
    return (
        f'<g class="chip {kind}">{hover}<rect y="-11" width="{chip_width(kind, text)}" height="14" rx="3"/>'
        f'<text x="6" y="0">{escape(text)}</text></g>'
    )
