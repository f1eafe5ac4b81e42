"""The screen of ``qpidha top`` as lines: the cluster in, text out. Knows neither a terminal nor a clock.

80 columns are enough. A line has a mood, which a terminal may show as a colour; what it means is in its words, too: what
is wrong begins with "!", and the chosen node with ">".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from qpidha.amounts import NOTHING, amount, duration, size
from qpidha.cli.console import why
from qpidha.cli.nodes import FAULTS, Row, catch_up_in_words, hold_in_words
from qpidha.cli.text import View, name, names, number, printable
from qpidha.cli.top.cells import fitted, width_of, wrapped
from qpidha.cli.top.cluster import Cluster, Seen
from qpidha.cli.top.places import Elsewhere
from qpidha.cli.top.samples import Lag, Latency
from qpidha.cli.work import TimeUp

Mood: TypeAlias = Literal["plain", "title", "good", "bad", "dim"]
WIDTH_MIN = 80
NAME_WIDTH, NAME_WIDTH_MAX = 13, 40
CLUSTER_CHARS = 8
"""Of its uuid: enough to tell two clusters apart."""
QUEUES_SHOWN = 20
HELD_SHOWN_S = 1.0
"""Something that is waited for longer than this is wrong, or will be."""
STALL_SHOWN_S = 0.2
LEGEND = "STORE and MANAGER: mean/99 % in milliseconds, of the last seconds; LATE: age of what a backup lacks"


@dataclass(frozen=True, slots=True)
class Line:
    """One line, as wide as the screen at most."""

    text: str
    mood: Mood = "plain"
    node: str | None = None
    """The node whose row this is."""


def screen(
    cluster: Cluster, *, width: int = WIDTH_MIN, chosen: str | None = None, clock: str = ""
) -> list[Line]:
    """All lines."""
    width = max(width, WIDTH_MIN)
    made = _Screen(cluster, width, chosen)
    parts = (made.head(clock), made.nodes(), made.backups(), made.waits(), made.troubles(), made.queues())
    lines: list[Line] = []
    for part in parts:
        found = list(part)
        lines += [*([Line("")] if found and lines else []), *found]
    return [*lines, Line(""), *(Line(line, "dim") for line in wrapped(LEGEND, width))]


def label(seen: Seen) -> str:
    """How a node is called: by its id, or by its directory or its port before it has said its id."""
    return name(seen.id) if seen.id is not None else seen.place.label


class _Screen:
    def __init__(self, cluster: Cluster, width: int, chosen: str | None) -> None:
        self._cluster = cluster
        self._width = width
        self._chosen = chosen
        self._best = cluster.best
        self._facts = View(self._best.status if self._best is not None else None)
        self._name_width = min(NAME_WIDTH + width - WIDTH_MIN, NAME_WIDTH_MAX)

    def _wrapped(
        self, text: str, mood: Mood, node: str | None = None, indent: str = "    "
    ) -> Iterator[Line]:
        for line in wrapped(text, self._width, indent):
            yield Line(line, mood, node)

    # --- the cluster -----------------------------------------------------------------------------

    def head(self, clock: str) -> Iterator[Line]:
        """What is true of the cluster as a whole."""
        best, s = self._best, self._facts
        if best is None:
            yield Line(f"qpidha top  {clock}", "title")
            answered, asked = self._cluster.answers()
            yield Line("! no node answers" if not answered and asked else "! no node is known to run", "bad")
            return
        head = f"qpidha top  {clock}  generation {s.number('generation')}, primary {s.name('primary')}"
        cluster = s.text("cluster")[:CLUSTER_CHARS] or "none"
        yield from self._wrapped(f"{head}, cluster {cluster}…", "title")
        members, live = s.items("members"), s.items("live")
        absent = [id for id in live if id not in members]
        yield from self._wrapped(
            f"in sync: {names(members)}; live: {names(live)}; live and not in sync: {names(absent)}", "plain"
        )
        if s.raw("primary") is None:
            yield Line("! there is no primary", "bad")
        elif self._cluster.primary is None:
            yield from self._wrapped(f"! primary {s.name('primary')} does not answer here", "bad")
        if s.flag("below_min_in_sync"):
            there = f"{len(members)} of {s.number('min_in_sync')} members (min_in_sync)"
            yield from self._wrapped(
                f"! operations are refused: {there}; missing {s.names('missing')}", "bad"
            )

    # --- nodes -----------------------------------------------------------------------------------

    def nodes(self) -> Iterator[Line]:
        """A row for each node."""
        yield Line(
            self._row("NODE", "ROLE", "SYNC", "GEN", "OPS/S", "DEPTH", "BYTES", "STORE", "MANAGER"), "title"
        )
        for seen in self._cluster.rows:
            yield from self._node(seen)
        for id in self._cluster.unasked():
            yield from self._unasked(id, id == self._chosen)

    def _row(self, *cells: str, mark: str = "  ") -> str:
        widths = (10, 4, 6, 6, 6, 7, 9, 9)
        row = f"{mark}{fitted(cells[0], self._name_width)}"
        for position, (cell, width) in enumerate(zip(cells[1:], widths, strict=True)):
            row += f" {fitted(cell, width, right=position > 1)}"
        return row

    def _mark(self, id: str | None, wrong: bool) -> str:
        return (">" if id is not None and id == self._chosen else " ") + ("!" if wrong else " ")

    def _node(self, seen: Seen) -> Iterator[Line]:
        if isinstance(seen.error, Elsewhere) and seen.id is not None:
            yield from self._unasked(seen.id, seen.id == self._chosen)
            return
        s, wrong = seen.view, Row(seen.place.directory, seen.status, seen.error)
        bad = seen.error is not None or wrong.wrong
        head = f"{self._mark(seen.id, bad)}{fitted(label(seen), self._name_width)} "
        if seen.status is None:
            reason = why(seen.error) if seen.error is not None else "asked, no answer yet"
            no = "" if isinstance(seen.error, TimeUp) or seen.error is None else "no answer: "
            yield from self._wrapped(f"{head}{no}{reason}", "bad" if bad else "dim", seen.id, " " * len(head))
            return
        if wrong.stopped is not None:
            yield from self._wrapped(
                f"{head}stopped: {printable(wrong.stopped)}", "bad", seen.id, " " * len(head)
            )
            return
        queues, rate = s.views("queues"), seen.samples.rate("position")
        depth, held = (_sum(queues, key) for key in ("depth", "bytes"))
        row = self._row(
            label(seen), s.name("role"), "yes" if s.flag("in_sync") else "no", s.number("generation"), amount(rate),
            amount(depth), size(held), _latency(seen.samples.latency("store_commits")),
            _latency(seen.samples.latency("manager_answers")), mark=self._mark(seen.id, bad),
        )  # fmt: skip
        yield Line(row, "bad" if bad else "good" if seen.is_primary else "plain", seen.id)

    def _unasked(self, id: str, chosen: bool) -> Iterator[Line]:
        """A node that has no control socket here: what the best one knows of it."""
        s = self._facts
        member, live = id in s.items("members"), id in s.items("live")
        mark = ">" if chosen else " "
        head = f"{mark} {fitted(name(id), self._name_width)} "
        if self._best is None:
            facts = "elsewhere, or not started yet: no node answers that knows"
        else:
            seen = f"{'live' if live else 'not live'}, says {label(self._best)}"
            facts = f"elsewhere  {'yes' if member else 'no':3}  {seen}"
        yield from self._wrapped(head + facts, "plain" if live else "dim", id, " " * width_of(head))

    # --- backups ---------------------------------------------------------------------------------

    def backups(self) -> Iterator[Line]:
        """A row for each backup, as the primary sees it."""
        primary = self._cluster.primary
        if primary is None:
            return
        s = primary.view
        yield Line(self._backup("BACKUP", "STATE", "SYNC", "BEHIND", "BYTES", "LATE", "TO COPY"), "title")
        left = {str(one.raw("backup")): number(one.raw("left_bytes")) for one in s.views("slowed")}
        connected: list[object] = []
        for b in s.views("sessions"):
            connected.append(b.raw("node"))
            behind = number(b.raw("behind"))
            lag = primary.samples.lag(behind)
            joining = s.same("joining", b.raw("node"))
            sync = "yes" if b.flag("member") else "soon" if joining else "no"
            late = lag is not None and lag.seconds >= HELD_SHOWN_S
            row = self._backup(
                b.name("node"), b.name("state"), sync, amount(behind), size(number(b.raw("window_bytes"))),
                _lag(lag), size(_to_copy(b, left)), mark=" !" if late else "  ",
            )  # fmt: skip
            yield Line(row, "bad" if late else "plain")
            if said := catch_up_in_words(b):
                yield from self._wrapped(f"    catches up: {said}", "plain")
        for id in s.items("members"):
            if id not in connected and not s.same("node", id):
                row = self._backup(name(id), "absent", "yes", *[NOTHING] * 4, mark=" !")
                yield Line(row, "bad")

    def _backup(self, *cells: str, mark: str = "  ") -> str:
        widths = (12, 4, 9, 9, 7, 9)
        row = f"{mark}{fitted(cells[0], self._name_width)}"
        for position, (cell, width) in enumerate(zip(cells[1:], widths, strict=True)):
            row += f" {fitted(cell, width, right=position > 1)}"
        return row

    # --- what is wrong ---------------------------------------------------------------------------

    def waits(self) -> Iterator[Line]:
        """What is held, and for whom: always a line for the primary, so that the screen does not jump."""
        for seen in self._cluster.rows:
            holds = seen.view.views("held_by")
            if not holds and not seen.is_primary:
                continue
            long = any((number(hold.raw("since_s")) or 0) >= HELD_SHOWN_S for hold in holds)
            text = ", ".join(map(hold_in_words, holds)) or "nothing"
            yield from self._wrapped(
                f"{'!' if long else ' '} {label(seen)} waits for {text}", "bad" if long else "plain"
            )
            for b in seen.view.views("slowed"):
                yield from self._wrapped(
                    f"! {label(seen)}: publishers are slowed to {size(number(b.raw('bytes_per_s')))}/s while"
                    f" {b.name('backup')} catches up, since {duration(number(b.raw('since_s')))}", "bad",
                )  # fmt: skip

    def troubles(self) -> Iterator[Line]:
        """What is wrong now, node by node."""
        for seen in self._cluster.rows:
            s = seen.view
            for t in s.views("troubles"):
                often = f"{t.number('attempts')} times in {duration(number(t.raw('began_ago_s')))}"
                yield from self._wrapped(
                    f"! {label(seen)}: {t.text('cause')}: {t.text('text')} ({often})", "bad"
                )
            for key, what in FAULTS.items():
                if s.raw(key):
                    yield from self._wrapped(f"! {label(seen)}: {what}: {s.text(key)}", "bad")
            if s.raw("broker") not in (None, "standby", "serving"):
                for_s = duration(number(s.raw("broker_since_s")))
                yield from self._wrapped(f"! {label(seen)}: broker {s.name('broker')}, for {for_s}", "bad")
            stall = number(s.raw("loop_stall_recent_s"))
            if stall is not None and stall > STALL_SHOWN_S:
                yield from self._wrapped(
                    f"! {label(seen)}: its event loop stood still for {duration(stall)} in the last minute",
                    "bad",
                )
            if s.positive("quarantined"):
                yield from self._wrapped(
                    f"  {label(seen)}: {s.number('quarantined')} messages in quarantine", "plain"
                )

    # --- queues ----------------------------------------------------------------------------------

    def queues(self) -> Iterator[Line]:
        """The queues of the node to believe: those first whose publishes wait, then the deepest."""
        best = self._best
        queues = self._facts.views("queues")
        if best is None or not queues:
            return
        wide = self._width - 2 - 5 * 9
        title = f"QUEUE (on {label(best)})"
        yield Line(f"  {fitted(title, wide)}" + "".join(fitted(c, 9, right=True) for c in
                   ("MESSAGES", "BYTES", "WAITING", "IN/S", "LEVEL")), "title")  # fmt: skip
        queues.sort(
            key=lambda q: (-(number(q.raw("pending")) or 0), -(number(q.raw("depth")) or 0), q.name("name"))
        )
        for q in queues[:QUEUES_SHOWN]:
            level = {"messages": "all", "configuration": "config"}.get(q.text("level"), q.text("level"))
            cells = (
                amount(number(q.raw("depth"))), size(number(q.raw("bytes"))), amount(number(q.raw("pending"))),
                amount(best.samples.queue_rate(q.raw("id"))), level,
            )  # fmt: skip
            yield Line(f"  {fitted(q.name('name'), wide)}" + "".join(fitted(c, 9, right=True) for c in cells))
        total = number(self._facts.raw("queue_count")) or 0
        if total > min(len(queues), QUEUES_SHOWN):
            more = f"{total - min(len(queues), QUEUES_SHOWN):,.0f}"
            asked = (
                ""
                if total <= len(queues)
                else f"; sums and order are of the {len(queues):,} that were asked for"
            )
            yield from self._wrapped(f"  … and {more} more queues{asked}", "dim")


def _to_copy(session: View, slowed: Mapping[str, float | None]) -> float | None:
    """What a backup still lacks. An older node says it only of those for which publishers are slowed."""
    catch_up = session.raw("catch_up")
    return number(View(catch_up).raw("left_bytes")) if catch_up else slowed.get(str(session.raw("node")))


def _sum(queues: list[View], key: str) -> float:
    return sum(number(queue.raw(key)) or 0 for queue in queues)


def _latency(found: Latency | None) -> str:
    return NOTHING if found is None else f"{_ms(found.mean_s)}/{_ms(found.p99_s)}"


def _ms(seconds: float) -> str:
    """Milliseconds in at most four characters."""
    ms = seconds * 1000
    if ms < 9.95:
        return f"{ms:.1f}"
    return f"{ms:.0f}" if ms < 9_999.5 else ">10s"


def _lag(lag: Lag | None) -> str:
    if lag is None:
        return NOTHING
    return (
        ("0s" if lag.seconds == 0 else duration(lag.seconds))
        if not lag.at_least
        else f">{duration(lag.seconds)}"
    )
