"""Numbers for people, in few characters: amounts, bytes, seconds, and how far some work has come."""

from __future__ import annotations

import math

UNITS = ("", "k", "M", "G", "T", "P")
NOTHING = "-"
BYTES = "bytes"
SPEED_S_MIN = 0.5
"""A shorter time says nothing about the rest."""


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


def advance(done: int, total: int, rate: float | None = None, unit: str = BYTES) -> str:
    """How far some work has come: "12.3 MB of 45.6 MB, 26 %, 8.1 MB/s, about 4.1s left".

    Args:
        done: Never shown as more than ``total``.
        total: 0: it is not known.
        rate: So much a second; None: that is not known yet.
        unit: What is counted, in the plural.
    """
    done, of_bytes = min(done, total) if total else done, unit == BYTES
    shown = size if of_bytes else amount
    text = shown(done) + (f" of {shown(total)}" if total else "") + ("" if of_bytes else f" {unit}")
    if total:
        text += f", {100 * done // total} %"
    if rate:
        text += f", {shown(rate)}{'' if of_bytes else ' ' + unit}/s"
        if done < total and math.isfinite(left_s := (total - done) / rate):
            text += f", about {duration(left_s)} left"
    return text


class Speed:
    """How fast some work goes on, on average since something of it was done for the first time."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None

    def at(self, now: float, done: int) -> float | None:
        """So much a second; None: that is not known yet."""
        if self._first is None:
            if done:
                self._first = (now, done)
            return None
        began, before = self._first
        if now - began < SPEED_S_MIN or done <= before:
            return None
        return (done - before) / (now - began)
