"""A recorded run as a message sequence chart, drawn in SVG.

Time runs downwards, one happening after the other: the distance says nothing, the numbers at the left do.
Each node has a life line, a band in the colour of its role; the cluster manager's line shows the record.

Invariants of the layout
  - what happened later never stands higher
  - no two labels share a place: each lane and each gap to the right of a lane remembers how far it is used
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Final

from qpidha.testing.picture.fold import folded
from qpidha.testing.picture.happenings import RECORD, Arrow, Happening, Kept, Lands, Leaves, Look, Mark, Step
from qpidha.testing.picture.shapes import LANE, chip, clip, clock, head_of, pill
from qpidha.testing.picture.style import STYLE

GUTTER: Final = 262
"""Pixels for times and steps, left of the first line."""
ROW: Final = 16
"""A label needs this much height."""
STEP: Final = 4
"""The least distance of two happenings."""
PAUSE_S: Final = 0.25
"""A gap in time that is worth a gap in the picture."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture in parts, so that a page can keep the names of the lines in view."""

    width: int
    height: int
    heads: str
    title: str
    title_height: int
    body: str
    generations: tuple[int, ...] = ()
    """Each begins at an element ``gen1``, ``gen2`` …"""

    def svg(self) -> str:
        """One self-contained file."""
        total = self.title_height + self.height
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {total}" '
            f'width="{self.width}" height="{total}">\n<style>{STYLE}</style>\n'
            f'<rect class="paper" width="100%" height="100%"/>\n{self.title}\n'
            f'<g transform="translate(0 {self.title_height})">\n{self.heads}\n{self.body}</g>\n</svg>\n'
        )


HEADS: Final = 34
"""Height of the line with the names."""


def draw(happened: Sequence[Happening], nodes: Sequence[str], title: str, about: str = "") -> Chart:
    """The chart of a whole run; ``about`` is a paragraph under the title."""
    lanes = [RECORD, *nodes]
    width = GUTTER + LANE * len(lanes) + 60
    drawing = Drawing(lanes, width)
    for happening in folded(happened):
        drawing.show(happening)
    drawing.finish()
    heads = "".join(
        f'<text class="head" x="{drawing.x(lane)}" y="22">{"record" if lane == RECORD else escape(lane)}</text>'
        for lane in lanes
    )
    top, height = head_of(title, about, width)
    body = "\n".join([*drawing.under, *drawing.bands, *drawing.over, *drawing.labels])
    return Chart(width, drawing.y + 24, heads, top, height, body, tuple(drawing.generations))


@dataclass
class Drawing:
    """Gives each happening its place."""

    lanes: list[str]
    width: int
    y: int = HEADS
    under: list[str] = field(default_factory=list)
    bands: list[str] = field(default_factory=list)
    over: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    generations: list[int] = field(default_factory=list)
    _lane: dict[str, int] = field(default_factory=dict)
    """Down to where a line is used; likewise gaps, by the lane at their left, and the gutter."""
    _gap: dict[str, int] = field(default_factory=dict)
    _gutter: int = HEADS
    _time: float = 0.0
    _shown: str = ""
    _looks: dict[str, tuple[int, Look]] = field(default_factory=dict)
    _stripes: dict[str, int] = field(default_factory=dict)
    _left: dict[Arrow, int] = field(default_factory=dict)

    def x(self, lane: str) -> int:
        """Return the x coordinate of the line of a node or of the cluster manager."""
        return GUTTER + 60 + LANE * self.lanes.index(lane)

    def _gap_between(self, source: str, target: str) -> str:
        """The gap in which an arrow begins, named by the lane at its left."""
        at = self.lanes.index(source)
        return source if self.x(target) > self.x(source) else self.lanes[at - 1]

    def _place(self, *, lane: str = "", gap: str = "", above: int = 0, below: int = 4) -> int:
        """The next free place on this lane and in this gap: below what is there."""
        free = [self.y + STEP]
        if lane:
            free.append(self._lane.get(lane, HEADS) + above)
        if gap:
            free.append(self._gap.get(gap, HEADS) + ROW)
        self.y = max(free)
        if lane:
            self._lane[lane] = self.y + below
        if gap:
            self._gap[gap] = self.y
        return self.y

    # --- what is shown -------------------------------------------------------------------------------

    def show(self, happening: Happening) -> None:
        """Draw what happened below everything that happened before."""
        if happening.time - self._time > PAUSE_S:
            self.y += ROW
        self._time = happening.time
        match happening.what:
            case Step():
                self._step(happening.what)
            case Leaves(arrow):
                self._leaves(arrow)
            case Lands(arrow):
                self._lands(arrow)
            case Mark():
                self._mark(happening.what)
            case Look():
                self._look(happening.what)
            case Kept():
                self._kept(happening.what)
        self._clock()

    def _clock(self) -> None:
        text = clock(self._time)
        if text != self._shown and self.y >= self._gutter + ROW:
            self._shown, self._gutter = text, self.y
            self.labels.append(f'<text class="time" x="56" y="{self.y}">{text}</text>')

    def _step(self, step: Step) -> None:
        if step.kind == "comment":
            self.y = max([self.y, self._gutter, *self._gap.values(), *self._lane.values()]) + ROW + 4
            self._gutter = self.y
            self._gap = dict.fromkeys(self.lanes, self.y)
            self._lane = dict.fromkeys(self.lanes, self.y + 4)
            self.labels.append(f'<text class="comment" x="66" y="{self.y}">{escape(step.text)}</text>')
            return
        self.y = max(self.y + STEP + 2, self._gutter + ROW)
        self._gutter = self.y
        self.under.append(f'<path class="rule {step.kind}" d="M66 {self.y + 4}H{self.width}"/>')
        text = escape(clip(step.text, 40))
        self.labels.append(
            f'<text class="step {step.kind}" x="66" y="{self.y}"><title>{escape(step.text)}</title>{text}</text>'
        )
        text = clock(self._time)
        if text != self._shown:
            self._shown = text
            self.labels.append(f'<text class="time" x="56" y="{self.y}">{text}</text>')

    def _mark(self, mark: Mark) -> None:
        y = self._place(lane=mark.node, gap=mark.node, above=8, below=6)
        x = self.x(mark.node)
        text = chip(mark.kind, clip(mark.text), f"{mark.node}: {mark.text}, {clock(self._time)}")
        self.labels.append(
            f'<g class="m-{mark.kind}"><circle class="dot {mark.kind}" cx="{x}" cy="{y - 4}" r="4"/>'
            f'<g transform="translate({x + 14} {y})">{text}</g></g>'
        )

    def _kept(self, kept: Kept) -> None:
        y = self._place(lane=RECORD, above=13, below=10)
        record = kept.record
        if record.generation not in self.generations:
            self.generations.append(record.generation)
            self.under.append(f'<path id="gen{record.generation}" d="M0 {max(y - 80, 0)}h1"/>')
        primary = record.primary[0] if record.primary else "nobody"
        members = " ".join(sorted(m.node for m in record.members))
        text = f"gen {record.generation}: {primary} of {members}"
        title = f"record {kept.version}: generation {record.generation}, primary {primary}, in sync {members}"
        self.labels.append(
            f'<g transform="translate({self.x(RECORD)} {y})"><title>{escape(title)}</title>'
            f"{pill('record', text)}</g>"
        )

    # --- life lines ----------------------------------------------------------------------------------

    def _look(self, look: Look) -> None:
        began, old = self._looks.get(look.node, (HEADS, None))
        named = old is None or (old.role, old.generation) != (look.role, look.generation)
        y = self._place(lane=look.node, above=13 if named else 2, below=10 if named else 2)
        if old is None:
            began = y
        if old is not None and old.member != look.member:
            self._stripe(old, y)
        if old is None or old.member != look.member:
            self._stripes[look.node] = y
        if not named:
            self._looks[look.node] = began, look
            return
        if old is not None:
            self._band(old, began, y)
        self._looks[look.node] = y, look
        text = look.role if look.role == "down" else f"{look.role} · gen {look.generation}"
        title = f"{look.node}: {look.role}, generation {look.generation}"
        self.labels.append(
            f'<g transform="translate({self.x(look.node)} {y})">'
            f"<title>{escape(title)}, {clock(self._time)}</title>{pill(look.role, text)}</g>"
        )

    def _band(self, look: Look, top: int, bottom: int) -> None:
        x = self.x(look.node)
        self.bands.append(
            f'<path class="down" d="M{x} {top}V{bottom}"/>'
            if look.role == "down"
            else f'<rect class="band r-{look.role}" x="{x - 6}" y="{top}" width="12" height="{bottom - top}"/>'
        )

    def _stripe(self, look: Look, bottom: int) -> None:
        top = self._stripes[look.node]
        if look.member:
            x = self.x(look.node) - 12
            self.bands.append(f'<rect class="member" x="{x}" y="{top}" width="4" height="{bottom - top}"/>')

    # --- arrows --------------------------------------------------------------------------------------

    def _leaves(self, arrow: Arrow) -> None:
        gap = self._gap_between(arrow.source, arrow.target)
        self._left[arrow] = self._place(lane=arrow.source, gap=gap, above=6)

    def _lands(self, arrow: Arrow) -> None:
        y = self._place(lane=arrow.target, above=6)
        if arrow in self._left:
            self._arrow(arrow, self._left.pop(arrow), y)

    def _arrow(self, arrow: Arrow, top: int, bottom: int) -> None:
        towards = 1 if self.x(arrow.target) > self.x(arrow.source) else -1
        x, end = self.x(arrow.source) + 7 * towards, self.x(arrow.target) - 7 * towards
        if arrow.landed is not None:
            line = f"M{x} {top}L{end} {bottom}m{-6 * towards} -3.5l{6 * towards} 3.5l{-6 * towards} 3.5"
        else:
            end = x + int(LANE * 0.85) * towards  # Behind its label, before the next line.
            line = f"M{x} {top}L{end} {bottom}"
        anchor = "" if towards > 0 else ' text-anchor="end"'
        fate = arrow.fate if arrow.landed is None else f"{arrow.fate} {clock(arrow.landed)}"
        target = "the record" if arrow.target == RECORD else arrow.target
        title = f"{arrow.source} → {target}  {arrow.text}\nsent {clock(arrow.left)}, {fate}"
        label = arrow.label if arrow.times == 1 else f"{arrow.times} × {arrow.label}"
        if arrow.fate in {"lost", "refused"}:
            ending = f'<path class="lost" d="M{end - 4} {bottom - 4}l8 8m0 -8l-8 8"/>'
        elif arrow.fate == "under way":
            ending = f'<circle class="waiting" cx="{end}" cy="{bottom}" r="4"/>'
        else:
            ending = ""
        self.over.append(
            f'<g class="{arrow.kind}{" waited" if arrow.waits else ""}"><title>{escape(title)}</title>'
            f'<path d="{line}"/>{ending}'
            f'<text x="{x + 8 * towards}" y="{top - 3}"{anchor}>{escape(clip(label))}</text></g>'
        )

    # --- the end -------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Draw what has no end yet."""
        for arrow, top in self._left.items():
            self._arrow(arrow, top, top + 2)
        self.y += ROW
        for began, look in self._looks.values():
            self._band(look, began, self.y)
            self._stripe(look, self.y)
        x = self.x(RECORD)
        self.bands.insert(0, f'<path class="record" d="M{x} {HEADS}V{self.y}"/>')
