"""The rows for messages one by one (`benchmarks.singles`): each says what is batched, for all contenders alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence

from benchmarks import crowd, measures, peers, raw, singles
from benchmarks.row import ETCD, NATS, RAW, REDIS, US, Row, ahead, named
from benchmarks.state import Together

Runs = Callable[[str], dict[str, Callable[[], float]]]
"""What measures one figure, for each contender."""
SERVERS = "µs of processor time, servers"
CONTENDERS = {REDIS: singles.REDIS, NATS: singles.NATS, ETCD: singles.ETCD}


def rows(scale: int) -> Iterator[Row]:
    """The rows, for a part of the work: 1 / ``scale``."""
    for durable in (False, True):
        yield from _latency_rows((1000 if durable else 3000) // scale, durable=durable)
    for what, measure, size, count, times in (
        ("one a frame, in blocks of 128 KiB", singles.in_blocks, 100, 300_000, 1.5),
        ("one a frame, in blocks of 128 KiB", singles.in_blocks, 1024, 100_000, 2.0),
        ("one a frame, a send() each, 1,000 under way", singles.a_send_each, 100, 100_000, 1.0),
        ("one a frame, a send() each, 1,000 under way", singles.a_send_each, 1024, 100_000, 1.0),
    ):
        runs = _runs(lambda who, measure=measure, n=count // scale, size=size: measure(who, n, size))  # type: ignore[misc]
        name = f"{what}, {named(size)}"
        yield Row(name, "msg/s", f"≥ {times:g} × Redis", runs("rate"), lambda m, t=times: ahead(m, t))  # type: ignore[misc]
        yield Row(name, SERVERS, "", runs("spent"), lambda m: True)
    yield from _crowd_rows(1000 // scale)
    yield from _own_rows(scale)


def _runs(measure: Callable[[singles.Contender], singles.Figures], others: Sequence[str] = (REDIS,)) -> Runs:
    contenders = {US: singles.OURS} | {name: CONTENDERS[name] for name in others if peers.installed(name)}
    found = {name: Together(lambda who=who: measure(who)) for name, who in contenders.items()}  # type: ignore[misc]
    return lambda part: {name: of.part(part) for name, of in found.items()}


def _latency_rows(rounds: int, *, durable: bool) -> Iterator[Row]:
    """Figures of the same runs. Only qpidha and etcd store anything in the durable rows: they show what the disk adds."""
    others = (REDIS, ETCD) if durable else (REDIS, NATS, ETCD)
    runs = _runs(lambda who: singles.one_at_a_time(who, rounds, durable=durable), others)

    def bare() -> dict[str, float]:
        found = raw.latencies(rounds)
        return {"median": statistics.median(found) * 1e6, "p99": measures.percentile(found, 0.99) * 1e6}

    sockets = Together(bare)
    name = "one message at a time" + (", durable" if durable else "")
    for part, times in (("median", 1.5), ("p99", 2.0)):
        goal = f"≤ {times:g} × Redis" + (", ahead of NATS and etcd" if part == "median" else "")
        yield Row(
            name, f"µs, {part}", "ahead of etcd" if durable else goal, {**runs(part), RAW: sockets.part(part)},
            lambda m, times=None if durable else times, of=part: _is_soon(  # type: ignore[misc]
                m, times, before_others=durable or of == "median"
            ),
        )  # fmt: skip
    yield Row(name, SERVERS, "", runs("spent"), lambda m: True)


def _is_soon(latencies: dict[str, float], times: float | None, *, before_others: bool) -> bool:
    """Whether ours is within so many times the latency of Redis, if given, and before those of NATS and etcd, if asked.

    Who is not installed sets no goal.
    """
    ours = latencies[US]
    if times is not None and ours > times * latencies.get(REDIS, ours):
        return False
    return not before_others or all(ours <= latencies.get(who, ours) for who in (NATS, ETCD))


def _crowd_rows(connections: int) -> Iterator[Row]:
    """One message at a time on each of so many connections. The client is one process for all of them."""
    runs = _runs(lambda who: crowd.crowd(who, connections, 20), (REDIS, NATS))
    name = f"one message at a time, {connections:,} connections"
    yield Row(name, "msg/s", "≥ 3 × NATS", runs("rate"), lambda m: NATS not in m or m[US] >= 3 * m[NATS])
    yield Row(name, "worst connection / median", "≤ 5", runs("worst"), lambda m: m[US] <= 5)
    yield Row(name, SERVERS, "", runs("spent"), lambda m: True)


def _own_rows(scale: int) -> Iterator[Row]:
    """Microseconds of processor time, through the library alone."""
    life = Together(lambda: singles.lives(100_000 // scale))
    for part, most in (("primary", 4.0), ("backup", 2.0)):
        yield Row(
            "life of single messages, 1,000 a turn", f"µs, {part}", f"≤ {most:g}",
            {US: life.part(part)}, lambda m, most=most: m[US] <= most,  # type: ignore[misc]
        )  # fmt: skip
    for depth in (10_000, 1_000_000 // scale):
        taken = Together(lambda depth=depth: singles.dequeues(depth))  # type: ignore[misc]
        for part, unit, most in (("call", "µs, the call", 0.6), ("safe", "µs, three nodes, until safe", 2.0)):
            yield Row(
                f"dequeue of one id, random order, {depth:,} messages", unit, f"≤ {most:g}",
                {US: taken.part(part)}, lambda m, most=most: m[US] <= most,  # type: ignore[misc]
            )  # fmt: skip
