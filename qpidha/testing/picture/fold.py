"""Attempts that are repeated in vain, as one: a node that is refused ten times a second makes no story."""

from __future__ import annotations

from collections.abc import Sequence

from qpidha.testing.picture.happenings import Arrow, Happening, Lands, Leaves


def folded(happened: Sequence[Happening]) -> list[Happening]:
    """The same run without hellos that were refused like the one before; that one says how many followed."""
    between: dict[frozenset[str], list[Arrow]] = {}
    for happening in happened:
        if isinstance(happening.what, Leaves) and happening.what.arrow.kind in {"hand", "fence"}:
            arrow = happening.what.arrow
            between.setdefault(frozenset((arrow.source, arrow.target)), []).append(arrow)
    gone: set[Arrow] = set()
    for arrows in between.values():
        gone |= _repeated(arrows)
    return [h for h in happened if not isinstance(h.what, (Leaves, Lands)) or h.what.arrow not in gone]


def _repeated(arrows: Sequence[Arrow]) -> set[Arrow]:
    """What can be left out between two nodes."""
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
