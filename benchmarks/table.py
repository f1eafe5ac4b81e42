"""The goals, and what is measured for each: runs of all contenders in turn (A B A B …), medians, spread, ratios."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from benchmarks import measures, peers, raw

US, THOUSAND = "qpidha", 1000


@dataclass
class Series:
    """What one contender reached, run by run."""

    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """Half the distance of the extremes, as a share of the median."""
        return (max(self.values) - min(self.values)) / 2 / self.median if self.median else 0.0


@dataclass
class Row:
    """One line of the table."""

    name: str
    unit: str
    goal: str
    runs: dict[str, Callable[[], float]]
    met: Callable[[dict[str, float]], bool]
    results: dict[str, Series] = field(default_factory=dict)

    def measure(self, repeats: int, say: Callable[[str], None]) -> None:
        for turn in range(repeats):
            for who, run in self.runs.items():
                value = run()
                self.results.setdefault(who, Series()).values.append(value)
                say(f"{self.name:32} {turn + 1}/{repeats} {who:22} {number(value):>12} {self.unit}")

    @property
    def is_met(self) -> bool:
        return self.met({who: series.median for who, series in self.results.items()})


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.3g}"


def rows(quick: bool) -> list[Row]:
    """The whole table. ``quick``: a tenth of the messages, to see that everything works."""
    scale = 10 if quick else 1
    return [
        *_publish_rows(scale),
        *_stream_rows(scale),
        Row(
            "publish, 100 B, durable", "msg/s", "≥ 200,000",
            {US: lambda: measures.publish_durable(1_000_000 // scale, 100)},
            lambda m: m[US] >= 200_000,
        ),
        *_resync_rows(scale),
        Row(
            "publishing during a resync", "of the rate before", "≥ 0.6",
            {US: lambda: measures.publish_during_resync(2_000_000 // scale, 100)},
            lambda m: m[US] >= 0.6,
        ),
        Row(
            "wire, beside the payload", "B/message", "≤ 8",
            {US: lambda: measures.wire_per_message(100)},
            lambda m: m[US] <= 8,
        ),
        Row(
            "memory, beside the payload", "B/message", "≤ 160",
            {US: lambda: measures.memory_per_message(1_000_000 // scale, 100)},
            lambda m: m[US] <= 160,
        ),
        *_recovery_rows(scale),
    ]  # fmt: skip


def _publish_rows(scale: int) -> Iterator[Row]:
    goals = {
        100: ("≥ 1,500,000 and 3 × Redis", 3_000_000, lambda m: m[US] >= 1_500_000 and ahead(m, 3)),
        1024: ("≥ 400,000, 3 × Redis, half of raw", 400_000,
               lambda m: m[US] >= 400_000 and ahead(m, 3) and m[US] >= 0.5 * m[RAW]),
        65536: ("≥ 0.6 of raw", 20_000, lambda m: m[US] >= 0.6 * m[RAW]),
    }  # fmt: skip
    for size, (goal, count, met) in goals.items():
        few = count // scale

        def measured(run: peers.Measure, share: int, few: int = few, size: int = size) -> Callable[[], float]:
            return lambda: run(max(1000, few // share), size)

        runs = {
            US: measured(measures.publish, 1),
            RAW: measured(raw.raw_sockets, 1),
            f"{RAW}, all kept": measured(raw.raw_sockets_kept, 1),
        }
        for name, (run, installed, share) in peers.PEERS.items():
            if installed:
                runs[name] = measured(run, share * (3 if size == 100 else 1))
        yield Row(f"publish, {named(size)}", "msg/s", goal, runs, met)


def _stream_rows(scale: int) -> Iterator[Row]:
    """Consumed as fast as it is published: the memory of one message serves the next."""
    for size, count in ((100, 2_000_000), (1024, 400_000)):
        few = count // scale

        def measured(run: peers.Measure, few: int = few, size: int = size) -> Callable[[], float]:
            return lambda: run(few, size)

        runs = {US: measured(measures.stream)}
        if peers.PEERS[REDIS][1]:
            runs[REDIS] = measured(peers.redis_stream)
        yield Row(f"publish and consume, {named(size)}", "msg/s", "3 × Redis", runs, lambda m: ahead(m, 3))


RAW, REDIS = "raw sockets", "Redis, WAIT 2"


def ahead(medians: dict[str, float], times: float) -> bool:
    """So many times as fast as Redis, if that is installed."""
    return REDIS not in medians or medians[US] >= times * medians[REDIS]


def named(size: int) -> str:
    return f"{size} B" if size < 1024 else f"{size // 1024} KiB"


def _resync_rows(scale: int) -> Iterator[Row]:
    for size, count, goal in ((100, 2_000_000, 2_000_000), (1024, 300_000, 500_000)):
        few = count // scale
        runs: dict[str, Callable[[], float]] = {
            US: lambda few=few, size=size: measures.resync(few, size)  # type: ignore[misc]
        }
        if peers.PEERS[REDIS][1]:
            runs["Redis, fresh replica"] = lambda few=few, size=size: peers.redis_resync(few, size)  # type: ignore[misc]
        yield Row(
            f"resync of a fresh node, {named(size)}", "msg/s", f"≥ {goal:,}", runs,
            lambda m, goal=goal: m[US] >= goal,  # type: ignore[misc]
        )  # fmt: skip


def _recovery_rows(scale: int) -> Iterator[Row]:
    depth = 1_000_000 // scale
    yield Row(
        f"failover with {depth:,} messages", "ms to ready", "≤ 50",
        {US: lambda: measures.failover_resync(depth)[0] * THOUSAND}, lambda m: m[US] <= 50,
    )  # fmt: skip
    yield Row(
        f"failover with {depth:,} messages", "B sent", "≤ 20 KiB",
        {US: lambda: measures.failover_resync(depth)[1]}, lambda m: m[US] <= 20 * 1024,
    )  # fmt: skip
    found: list[float] = []

    def failovers() -> float:
        found[:] = measures.failovers(max(5, 50 // scale))
        return statistics.median(found) * THOUSAND

    yield Row("SIGKILL to first confirmation", "ms, median", "≤ 150", {US: failovers}, lambda m: m[US] <= 150)
    yield Row(
        "SIGKILL to first confirmation", "ms, worst", "≤ 400",
        {US: lambda: max(found) * THOUSAND}, lambda m: m[US] <= 400,
    )  # fmt: skip
    yield from _latency_rows(3000 // scale)


def _latency_rows(rounds: int) -> Iterator[Row]:
    contenders = {US: measures.latencies, RAW: raw.latencies}
    last: dict[str, list[float]] = {}

    def median(who: str) -> float:
        last[who] = contenders[who](rounds)
        return statistics.median(last[who]) * 1e6

    def p99(who: str) -> float:
        return measures.percentile(last[who], 0.99) * 1e6

    yield Row(
        "one message at a time", "µs, median", "≤ 250",
        {US: lambda: median(US), RAW: lambda: median(RAW)}, lambda m: m[US] <= 250,
    )  # fmt: skip
    yield Row(
        "one message at a time", "µs, p99", "≤ 1,000",
        {US: lambda: p99(US), RAW: lambda: p99(RAW)}, lambda m: m[US] <= 1000,
    )  # fmt: skip
