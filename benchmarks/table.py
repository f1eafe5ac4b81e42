"""The goals, and what is measured for each."""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Callable, Iterator
from operator import and_, or_, sub

from benchmarks import larger, measures, peers, queues, raw, sets, singlerows, state
from benchmarks.row import RAW, REDIS, US, Row, ahead, named

THOUSAND = 1000
COPIES = 4
"""Three brokers hold each message; some more is under way."""
KIB = 1024
QUEUES_S_MAX = {"failover": 0.5, "start": 2.0}
"""Goals of the steps with very many queues."""


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
            "publishing during a resync", "of the rate after it", "≥ 0.6",
            {US: lambda: measures.publish_during_resync(2_000_000 // scale, 100)},
            lambda m: m[US] >= 0.6, touches=COPIES * 10_000_000 // scale * 100,
        ),
        Row(
            "a node joins under load, 1 KiB", "× the time at rest", "≤ 3",
            {US: lambda: measures.join_under_load(300_000 // scale, 1024)},
            lambda m: m[US] <= 3, touches=COPIES * 600_000 // scale * 1024,
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
        Row(
            "a queue of 10 × memory_bytes_max", "of the rate of one that fits", "≥ 0.5",
            {US: lambda: larger.slowest(64 * larger.MIB // scale)},
            lambda m: m[US] >= 0.5,
        ),
        Row(
            "a queue of 10 × memory_bytes_max: memory", "of the limit", "≤ 1.1",
            {US: lambda: larger.grown(64 * larger.MIB // scale)},
            lambda m: m[US] <= 1.1,
        ),
        *_recovery_rows(scale),
        *singlerows.rows(scale),
        *_state_rows(scale),
        *_queue_rows(100_000 // scale),
        *_amqp_rows(50_000 // scale),
        *_set_rows(),
    ]  # fmt: skip


def _publish_rows(scale: int) -> Iterator[Row]:
    goals = {
        100: ("≥ 1,500,000 and 3 × Redis", 3_000_000, lambda m: m[US] >= 1_500_000 and ahead(m, 3)),
        1024: ("≥ 400,000, 3 × Redis, half of raw", 400_000,
               lambda m: m[US] >= 400_000 and ahead(m, 3) and m[US] >= 0.5 * m[RAW]),
        65536: ("≥ 0.6 of raw", 10_000, lambda m: m[US] >= 0.6 * m[RAW]),
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
        yield Row(f"publish, {named(size)}", "msg/s", goal, runs, met, touches=COPIES * few * size)


def _stream_rows(scale: int) -> Iterator[Row]:
    """Consumed as fast as it is published: the memory of one message serves the next."""
    for size, count in ((100, 2_000_000), (1024, 400_000)):
        few = count // scale

        def measured(run: peers.Measure, few: int = few, size: int = size) -> Callable[[], float]:
            return lambda: run(few, size)

        runs = {US: measured(measures.stream)}
        if peers.PEERS[REDIS][1]:
            runs[REDIS] = measured(peers.redis_stream)
        yield Row(
            f"publish and consume, {named(size)}", "msg/s", "faster than Redis", runs, lambda m: ahead(m, 1),
            touches=COPIES * few * size,
        )  # fmt: skip


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
            touches=COPIES * few * size,
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


def _state_rows(scale: int) -> Iterator[Row]:
    """What a broker has besides messages (docs/configuration.md)."""
    count = 100_000 // scale
    objects = state.Together(lambda: state.objects_failover(count))
    for unit, part, goal, most in (
        ("ms to ready", "ms", "≤ 100", 100),
        ("B sent", "bytes", "≤ 20 KiB", 20 * KIB),
        ("B sent, 1 changed", "changed_bytes", "≤ 21 KiB", 21 * KIB),
    ):
        name = f"failover with {count:,} objects"
        yield Row(name, unit, goal, {US: objects.part(part)}, lambda m, most=most: m[US] <= most)  # type: ignore[misc]
    depth = 1_000_000 // scale
    for kind in state.TYPES:
        yield Row(
            f"failover with {depth:,} messages, {kind}", "ms to the first delivery", "≤ 100",
            {US: lambda kind=kind: state.typed_failover(kind, depth)["ms"]}, lambda m: m[US] <= 100,  # type: ignore[misc]
        )  # fmt: skip
    fan_out = state.Together(lambda: state.fan_out(100, KIB, 100))
    yield Row(
        "1 KiB to 100 queues", "B to a backup", "≤ 1 KiB + 32 B each",
        {US: fan_out.part("bytes")}, lambda m: m[US] <= KIB + 100 * 32,
    )  # fmt: skip
    yield Row(
        "1 KiB to 100 queues",
        "× publish and 100 puts",
        "≤ 2",
        {US: fan_out.part("ratio")},
        lambda m: m[US] <= 2,
    )
    yield Row(
        "commit of 10 over 3 queues", "× as one batch", "≤ 1.3",
        {US: lambda: state.commit_ratio(1000 // scale)}, lambda m: m[US] <= 1.3,
    )  # fmt: skip
    yield Row(
        "commit of 64 MiB", "MiB/s", "works",
        {US: lambda: state.large_commit(64 << 20)}, lambda m: m[US] > 0, touches=COPIES * (128 << 20),
    )  # fmt: skip
    yield Row(
        "declare, with bindings, one by one", "objects/s", "≥ 20,000",
        {US: lambda: state.declare_rate(count)}, lambda m: m[US] >= 20_000,
    )  # fmt: skip
    for size in (100, KIB):
        yield Row(
            f"batches of one producer, 100 × {named(size)}", "× plain", "≥ 0.8",
            {US: lambda size=size: state.producer_ratio(500 // scale, size)}, lambda m: m[US] >= 0.8,  # type: ignore[misc]
        )  # fmt: skip
    yield Row(
        f"{count:,} queues: memory", "B a queue", "≤ 1 KiB",
        {US: lambda: state.queue_bytes(count)}, lambda m: m[US] <= KIB,
    )  # fmt: skip


def _queue_rows(count: int) -> Iterator[Row]:
    for step in queues.STEPS:
        name, most = f"{count:,} queues: {step}", QUEUES_S_MAX.get(step, float("inf"))
        goal = f"≤ {most:g}" if step in QUEUES_S_MAX else "linear"
        yield Row(
            name, "s", goal,
            {US: queues.once(count, step, "seconds")}, lambda m, most=most: m[US] <= most,  # type: ignore[misc]
        )  # fmt: skip
        yield Row(
            name,
            "s, longest stall",
            "≤ 0.2",
            {US: queues.once(count, step, "stall_s")},
            lambda m: m[US] <= 0.2,
        )


def _amqp_rows(messages: int) -> Iterator[Row]:
    """The AMQP broker, from publish to accept (docs/amqp.md); nothing without Proton."""
    if importlib.util.find_spec("proton") is None:
        return
    from benchmarks import amqp

    name, size = "AMQP 1.0, publish to accept, 200 B, durable", 200
    published = state.Together(lambda: amqp.measure(messages, size))
    yield Row(name, "msg/s", "≥ 10,000", {US: published.part("rate")}, lambda m: m[US] >= 10_000)
    yield Row(name, "µs of the primary", "≤ 100", {US: published.part("primary")}, lambda m: m[US] <= 100)
    yield Row(
        name, "of it in the library", "≤ 0.25",
        {US: lambda: amqp.profiled(messages, size)}, lambda m: m[US] <= 0.25,
    )  # fmt: skip


ROARING, VECTOR = "pyroaring, BitMap64", "C++, sorted vector"


def _set_rows() -> Iterator[Row]:
    """A SequenceSet beside what else could hold the ids; the rows of two sizes show whether it grows."""
    makes: dict[str, sets.Sets] = {US: sets.ours}
    if sets.has_roaring():
        makes[ROARING] = sets.roaring

    def timed(work: Callable[..., float], *more: object) -> dict[str, Callable[[], float]]:
        return {who: lambda make=make: work(make, *more) for who, make in makes.items()}  # type: ignore[misc]

    for name, work in (("the next id added", sets.add_next), ("contains", sets.contains)):
        yield Row(f"ids: {name}", "ns", "≤ 60", timed(work), lambda m: m[US] <= 60)
    for count in (20_000, 1_000_000):
        for at, (name, change) in enumerate(
            (("the first removed", sets.remove_first), ("one put between", sets.put_between))
        ):
            contenders = timed(change, count)
            if sets.has_compiler():
                contenders[VECTOR] = lambda count=count, at=at: sets.cpp(count)[at]  # type: ignore[misc]
            yield Row(
                f"{count:,} single ids: {name}", "ns", "faster than the vector", contenders,
                lambda m: VECTOR not in m or m[US] < m[VECTOR],
            )  # fmt: skip
    for name, combine in (("union", or_), ("intersection", and_), ("difference", sub)):
        yield Row(
            f"100,000 runs of ids: {name}", "ms", "≤ 2, faster than pyroaring",
            timed(sets.algebra, combine, 100_000),
            lambda m: m[US] <= 2 and (ROARING not in m or m[US] < m[ROARING]),
        )  # fmt: skip
