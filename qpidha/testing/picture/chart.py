"""A recorded run as a message sequence chart, drawn in SVG.

Time runs downwards, in the order of what happened; distances mean nothing, times are at the left. Each node has a
life line, a band in the colour of its role; the cluster manager's line shows the record.

Invariants of the layout
  - what happened later is never drawn higher
  - labels do not overlap: each lane and each gap to the right of a lane keeps how far down it is used
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Final

from qpidha.testing.picture.fold import folded
from qpidha.testing.picture.happenings import (
    RECORD,
    Arrived,
    Arrow,
    Happening,
    Mark,
    NodeSeen,
    RecordSeen,
    Sent,
    Step,
)
from qpidha.testing.picture.shapes import LANE, chip, clip, clock, head_of, pill
from qpidha.testing.picture.style import STYLE

GUTTER: Final = 262
"""Pixels for times and steps, left of the first line."""
ROW: Final = 16
"""Height of a label in pixels."""
STEP: Final = 4
"""Least vertical distance of two happenings, in pixels."""
PAUSE_S: Final = 0.25
"""Time without happenings, in seconds, that is shown as a gap."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart in parts, so that a page can keep the names of the lines visible. Sizes are in pixels."""

    width: int
    height: int
    heads: str
    title: str
    title_height: int
    body: str
    generations: tuple[int, ...] = ()
    """Generations of the record, each with an element ``gen1``, ``gen2`` … to jump to."""

    def svg(self) -> str:
        """Return the chart as one self-contained SVG file."""
        total = self.title_height + self.height
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {total}" '
            f'width="{self.width}" height="{total}">\n<style>{STYLE}</style>\n'
            f'<rect class="paper" width="100%" height="100%"/>\n{self.title}\n'
            f'<g transform="translate(0 {self.title_height})">\n{self.heads}\n{self.body}</g>\n</svg>\n'
        )


HEADS: Final = 34
"""Height of the line with the names, in pixels."""


def draw(happened: Sequence[Happening], nodes: Sequence[str], title: str, about: str = "") -> Chart:
    """Draw the chart of a whole run. Costs O(happenings).

    Args:
        happened: In order, as a `Recorder` has it.
        nodes: Names, in the order of their lines from left to right.
        title: Above the chart.
        about: A paragraph under the title.
    """
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
    """Places happenings one after the other, and collects SVG elements in layers."""

    lanes: list[str]
    width: int
    y: int = HEADS
    under: list[str] = field(default_factory=list)
    bands: list[str] = field(default_factory=list)
    over: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    generations: list[int] = field(default_factory=list)
    _lane: dict[str, int] = field(default_factory=dict)
    """How far down each lane is used; likewise gaps, by the lane at their left, and the gutter."""
    _gap: dict[str, int] = field(default_factory=dict)
    _gutter: int = HEADS
    _time: float = 0.0
    _shown: str = ""
    _seen: dict[str, tuple[int, NodeSeen]] = field(default_factory=dict)
    _stripes: dict[str, int] = field(default_factory=dict)
    _unarrived: dict[Arrow, int] = field(default_factory=dict)

    def x(self, lane: str) -> int:
        """Return the x coordinate of the line of a node or of the cluster manager."""
        return GUTTER + 60 + LANE * self.lanes.index(lane)

    def _gap_between(self, source: str, target: str) -> str:
        """Return the gap in which an arrow begins, by the lane at its left."""
        at = self.lanes.index(source)
        return source if self.x(target) > self.x(source) else self.lanes[at - 1]

    def _place(self, *, lane: str = "", gap: str = "", above: int = 0, below: int = 4) -> int:
        """Return the next free y on this lane and in this gap, and mark it as used."""
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

    # --- happenings ----------------------------------------------------------------------------------

    def show(self, happening: Happening) -> None:
        """Draw what happened below everything that happened before."""
        if happening.time - self._time > PAUSE_S:
            self.y += ROW
        self._time = happening.time
        match happening.what:
            case Step():
                self._step(happening.what)
            case Sent(arrow):
                self._sent(arrow)
            case Arrived(arrow):
                self._arrived(arrow)
            case Mark():
                self._mark(happening.what)
            case NodeSeen():
                self._node(happening.what)
            case RecordSeen():
                self._record(happening.what)
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

    def _record(self, seen: RecordSeen) -> None:
        y = self._place(lane=RECORD, above=13, below=10)
        record = seen.record
        if record.generation not in self.generations:
            self.generations.append(record.generation)
            self.under.append(f'<path id="gen{record.generation}" d="M0 {max(y - 80, 0)}h1"/>')
        primary = record.primary[0] if record.primary else "nobody"
        members = " ".join(sorted(m.node for m in record.members))
        text = f"gen {record.generation}: {primary} of {members}"
        title = f"record {seen.version}: generation {record.generation}, primary {primary}, in sync {members}"
        self.labels.append(
            f'<g transform="translate({self.x(RECORD)} {y})"><title>{escape(title)}</title>'
            f"{pill('record', text)}</g>"
        )

    # --- life lines ----------------------------------------------------------------------------------

    def _node(self, seen: NodeSeen) -> None:
        began, old = self._seen.get(seen.node, (HEADS, None))
        named = old is None or (old.role, old.generation) != (seen.role, seen.generation)
        y = self._place(lane=seen.node, above=13 if named else 2, below=10 if named else 2)
        if old is None:
            began = y
        if old is not None and old.member != seen.member:
            self._stripe(old, y)
        if old is None or old.member != seen.member:
            self._stripes[seen.node] = y
        if not named:
            self._seen[seen.node] = began, seen
            return
        if old is not None:
            self._band(old, began, y)
        self._seen[seen.node] = y, seen
        text = seen.role if seen.role == "down" else f"{seen.role} · gen {seen.generation}"
        title = f"{seen.node}: {seen.role}, generation {seen.generation}"
        self.labels.append(
            f'<g transform="translate({self.x(seen.node)} {y})">'
            f"<title>{escape(title)}, {clock(self._time)}</title>{pill(seen.role, text)}</g>"
        )

    def _band(self, seen: NodeSeen, top: int, bottom: int) -> None:
        x = self.x(seen.node)
        self.bands.append(
            f'<path class="down" d="M{x} {top}V{bottom}"/>'
            if seen.role == "down"
            else f'<rect class="band r-{seen.role}" x="{x - 6}" y="{top}" width="12" height="{bottom - top}"/>'
        )

    def _stripe(self, seen: NodeSeen, bottom: int) -> None:
        top = self._stripes[seen.node]
        if seen.member:
            x = self.x(seen.node) - 12
            self.bands.append(f'<rect class="member" x="{x}" y="{top}" width="4" height="{bottom - top}"/>')

    # --- arrows --------------------------------------------------------------------------------------

    def _sent(self, arrow: Arrow) -> None:
        gap = self._gap_between(arrow.source, arrow.target)
        self._unarrived[arrow] = self._place(lane=arrow.source, gap=gap, above=6)

    def _arrived(self, arrow: Arrow) -> None:
        y = self._place(lane=arrow.target, above=6)
        if arrow in self._unarrived:
            self._arrow(arrow, self._unarrived.pop(arrow), y)

    def _arrow(self, arrow: Arrow, top: int, bottom: int) -> None:
        towards = 1 if self.x(arrow.target) > self.x(arrow.source) else -1
        x, end = self.x(arrow.source) + 7 * towards, self.x(arrow.target) - 7 * towards
        if arrow.arrived_at is not None:
            line = f"M{x} {top}L{end} {bottom}m{-6 * towards} -3.5l{6 * towards} 3.5l{-6 * towards} 3.5"
        else:
            end = x + int(LANE * 0.85) * towards  # Behind its label, before the next line.
            line = f"M{x} {top}L{end} {bottom}"
        anchor = "" if towards > 0 else ' text-anchor="end"'
        fate = arrow.fate if arrow.arrived_at is None else f"{arrow.fate} {clock(arrow.arrived_at)}"
        target = "the record" if arrow.target == RECORD else arrow.target
        title = f"{arrow.source} → {target}  {arrow.text}\nsent {clock(arrow.sent_at)}, {fate}"
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
        """Draw arrows that never arrived, and the rest of all lines."""
        for arrow, top in self._unarrived.items():
            self._arrow(arrow, top, top + 2)
        self.y += ROW
        for began, seen in self._seen.values():
            self._band(seen, began, self.y)
            self._stripe(seen, self.y)
        x = self.x(RECORD)
        self.bands.insert(0, f'<path class="record" d="M{x} {HEADS}V{self.y}"/>')
