"""The facts of a run, its verdict, and both as text and as JSON."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from typing import Any

from qpidha.demo.topology import Facts

EXIT_OK, EXIT_LOST, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130


@dataclass(slots=True, kw_only=True)
class Kill:
    """One SIGKILL, or one host cut off, and what became of it. Times are seconds; ``at`` is since the stream began."""

    number: int
    node: str
    at: float
    generation: int
    """Of the primary that was killed."""
    cut_off: bool = False
    """The primary's host was cut off from all others; the process was not killed."""
    successor: str | None = None
    promoted_s: float | None = None
    """Kill to the first sight of the next primary."""
    failover_s: float | None = None
    """Kill to the first new acknowledgement."""
    returned_s: float | None = None
    """Kill to the moment when the killed node, started again, is back in the in-sync set."""
    resync_messages: int = 0
    resync_bytes: int = 0
    queue_messages: int = 0
    queue_bytes: int = 0
    """The queue, when the node was back."""


@dataclass(slots=True, kw_only=True)
class Sample:
    """The counters at one moment, for the picture."""

    at: float
    published: int
    acknowledged: int
    delivered: int
    depth: int
    generation: int
    phases: dict[str, str]


@dataclass(slots=True, kw_only=True)
class Report:
    """What happened. Filled in as it happens, so that it can be shown after any end."""

    input: str
    files: int
    messages: int
    nbytes: int
    nodes: int
    store: str
    seed: int
    kills_wanted: int
    broker: str = "simple"
    """The example that was run."""
    records: str = "file"
    """What keeps the record."""
    duration_s: float = 0.0
    published: int = 0
    acknowledged: int = 0
    resent: int = 0
    delivered: int = 0
    """Duplicates included."""
    distinct: int = 0
    duplicates: int = 0
    missing: int = 0
    """Acknowledged and never delivered."""
    left_in_queue: int | None = None
    resync_messages: int = 0
    resync_bytes: int = 0
    went_in: str = ""
    came_out: str = ""
    equal: bool = False
    topology: Facts | None = field(default_factory=Facts)
    """None: the clients of this broker change nothing besides the stream."""
    kills: list[Kill] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Whatever else went wrong: a broker that ended by itself, a stream that stood still."""

    @property
    def failovers(self) -> list[float]:
        """The seconds that each finished failover took."""
        return [kill.failover_s for kill in self.kills if kill.failover_s is not None]

    @property
    def lost(self) -> int:
        """Acknowledged messages that no node has any more; those that still wait in the queue are not lost."""
        return self.missing if self.left_in_queue == 0 else 0

    @property
    def complaints(self) -> list[str]:
        """Why this run is not a success; empty if it is one."""
        found = list(self.problems)
        if self.lost:
            found.append(f"{self.lost:,} acknowledged messages were lost")
        elif self.missing:
            found.append(
                f"{self.missing:,} acknowledged messages were not delivered before the end of the run"
            )
        if self.acknowledged != self.messages:
            found.append(f"only {self.acknowledged:,} of {self.messages:,} messages were acknowledged")
        if self.distinct != self.messages:
            found.append(f"{self.distinct:,} distinct messages came out, {self.messages:,} went in")
        if self.topology is not None:
            found += self.topology.differences
            if not self.topology.compared:
                found.append("queues and objects were not compared")
        if not self.equal:
            found.append("what came out differs from what went in")
        if len(self.kills) < self.kills_wanted:
            found.append(f"only {len(self.kills)} of {self.kills_wanted} kills took place")
        return found

    @property
    def exit_code(self) -> int:
        """0, or the exit code that reports a failed run."""
        return EXIT_LOST if self.complaints else EXIT_OK

    def to_json(self) -> str:
        """The report as one JSON document."""
        facts: dict[str, Any] = asdict(self)
        facts["failover_median_s"] = statistics.median(self.failovers) if self.failovers else None
        facts["failover_worst_s"] = max(self.failovers, default=None)
        facts["verdict"] = "nothing lost" if not self.complaints else self.complaints
        return json.dumps(facts, indent=1) + "\n"

    def lines(self) -> list[str]:
        """The report as a person reads it."""
        rate = self.messages / self.duration_s if self.duration_s else 0
        brokers = f"{self.nodes} of examples/{self.broker}, {self.store} stores, record in {self.records}"
        source = f"{self.input}: {counted(self.files, 'file')}, {counted(self.messages, 'message')}, {size(self.nbytes)}"
        return [
            "",
            *rows(
                ("input", source),
                ("brokers", f"{brokers}; seed {self.seed}"),
                ("duration", f"{self.duration_s:.1f} s, {rate:,.0f} messages a second end to end"),
                ("published", f"{self.published:,}, and {self.resent:,} again after failovers"),
                ("acknowledged", f"{self.acknowledged:,}"),
                ("delivered", f"{self.delivered:,}"),
                ("duplicates", f"{self.duplicates:,} seen and removed by (publisher, number)"),
                ("distinct", f"{self.distinct:,}"),
                ("missing", f"{self.missing:,} of the acknowledged"),
                ("left in queue", "unknown" if self.left_in_queue is None else f"{self.left_in_queue:,}"),
            ),
            "",
            *self._kill_lines(),
            "",
            *self._topology_lines(),
            *rows(("SHA-256 in", self.went_in), ("SHA-256 out", self.came_out)),
            "",
            *self._verdict_lines(),
        ]

    def _topology_lines(self) -> list[str]:
        facts = self.topology
        if facts is None:
            return []
        changes = (
            f"{facts.changes:,} confirmed, {counted(facts.steps, 'step')}; {facts.repeated:,} sent again"
        )
        there = (
            f"{counted(facts.queues, 'queue')}, {counted(facts.messages, 'message')} in them, "
            f"{counted(facts.objects, 'object')}"
        )
        verdict = f"{len(facts.differences):,} differ" if facts.compared else "not compared"
        return [
            *rows(("changes", changes), ("at the end", f"{there}: {verdict} from what was confirmed")),
            "",
        ]

    def _kill_lines(self) -> list[str]:
        if not self.kills:
            return ["no primary was killed"]
        found = ["kill   primary  next  first new ack   back in sync   resynchronised / queue then"]
        for k in self.kills:
            resync = f"{size(k.resync_bytes)} / {size(k.queue_bytes)}" if k.returned_s is not None else "-"
            how = "   (cut off)" if k.cut_off else ""
            found.append(
                f"{k.number:>4}   {k.node:<7}  {k.successor or '-':<4}  {seconds(k.failover_s):>13}"
                f"   {seconds(k.returned_s):>12}   {resync}{how}"
            )
        if self.failovers:
            median, worst = statistics.median(self.failovers), max(self.failovers)
            found.append(
                f"failover: median {median:.3f} s, worst {worst:.3f} s (kill to first new acknowledgement)"
            )
        found.append(f"resynchronised in all: {self.resync_messages:,} messages, {size(self.resync_bytes)}")
        return found

    def _verdict_lines(self) -> list[str]:
        if not self.complaints:
            return [
                f"OK: {counted(len(self.kills), 'kill')}, nothing lost, nothing out of order, nothing changed"
            ]
        return [f"FAILED: {complaint}" for complaint in self.complaints]


def rows(*pairs: tuple[str, str]) -> list[str]:
    """Names and values in two columns."""
    width = max(len(name) for name, _ in pairs) + 2
    return [f"{name:<{width}}{value}" for name, value in pairs]


def counted(number: int, noun: str) -> str:
    """1 kill, 2 kills."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def seconds(value: float | None) -> str:
    """Seconds as text with three decimals; "-" for None."""
    return "-" if value is None else f"{value:.3f} s"


def size(nbytes: int) -> str:
    """Bytes as people say them: three digits, binary units."""
    value = float(nbytes)
    for unit in ("B", "KiB", "MiB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:,.2f} GiB"
