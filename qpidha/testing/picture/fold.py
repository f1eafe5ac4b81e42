"""Repeated attempts: a node that is refused ten times a second is drawn once, with the number of times."""

from __future__ import annotations

from collections.abc import Sequence

from qpidha.testing.picture.happenings import Arrived, Arrow, Happening, Sent


def folded(happened: Sequence[Happening]) -> list[Happening]:
    """Leave out each hello that was refused like the one before, with its refusal; the first keeps their number."""
    between: dict[frozenset[str], list[Arrow]] = {}
    for happening in happened:
        if isinstance(happening.what, Sent) and happening.what.arrow.kind in {"hand", "fence"}:
            arrow = happening.what.arrow
            between.setdefault(frozenset((arrow.source, arrow.target)), []).append(arrow)
    gone: set[Arrow] = set()
    for arrows in between.values():
        gone |= _repeated(arrows)
    return [h for h in happened if not isinstance(h.what, (Sent, Arrived)) or h.what.arrow not in gone]


def _repeated(arrows: Sequence[Arrow]) -> set[Arrow]:
    """Return the arrows between two nodes that can be left out."""
    gone: set[Arrow] = set()
    first: Arrow | None = None  # The refusal that stands for those that follow.
    count, at = 1, 0
    while at + 1 < len(arrows):
        hello, refused = arrows[at], arrows[at + 1]
        pair = (hello.kind, refused.kind) == ("hand", "fence") and refused.source == hello.target
        if not pair or refused.fate != "arrived":
            first, at = None, at + 1
            continue
        if first is not None and first.text == refused.text and first.source == refused.source:
            count += 1
            gone |= {hello, refused}
            first.times = count
        else:
            first, count = refused, 1
        at += 2
    return gone
