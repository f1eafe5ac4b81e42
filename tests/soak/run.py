"""The schedule of faults, the verdict after each of them, and the report at the end."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random

from tests.soak.cluster import SoakCluster
from tests.soak.faults import FAULTS
from tests.soak.scene import Fault, Scene
from tests.soak.watch import Logs, Memory

JUDGE_EVERY = 10
BACKLOG = 0.3
"""Share of rounds in which the consumer accepts nothing during the fault, so that backups have data to copy."""


def schedule(seed: int, kinds: Sequence[str]) -> Iterator[tuple[str, Random]]:
    """Yield kinds of faults, each once before any comes again. Each round has its own random generator."""
    number = 0
    while True:
        for kind in Random(f"{seed} {number}").sample(kinds, len(kinds)):
            number += 1
            yield kind, Random(f"{seed} {number} {kind}")


class Soak:
    """One soak run. `run` raises AssertionError if a message is lost or out of order, or if a log line is unexpected."""

    def __init__(
        self, work: Path, seed: int, kinds: Sequence[str] = tuple(FAULTS), *,
        cluster: SoakCluster | None = None, faults: Mapping[str, Fault] = FAULTS, known: str = "",
    ) -> None:  # fmt: skip
        """Prepare a run.

        Args:
            work: Where stores and logs are.
            seed: Determines the schedule.
            kinds: Of faults: names in ``faults``.
            cluster: The brokers and their clients, not entered yet; by default three on this machine.
            faults: What each kind does.
            known: A pattern of log lines that are expected besides `watch.KNOWN`.
        """
        self.cluster = cluster or SoakCluster(work, seed)
        self.logs = Logs(
            {name: process.log for name, process in self.cluster.cluster.processes.items()}, known
        )
        self._faults = faults
        self.memory = Memory()
        self.faults: Counter[str] = Counter()
        self.unavailable_ms: dict[str, list[float]] = {}
        self.failovers = 0
        self.judgements = 0
        self._schedule = schedule(seed, kinds)
        self._began = time.monotonic()

    async def run(self, *, minutes: float = float("inf"), rounds: int | None = None) -> None:
        """Run until the first limit is reached; then drain all queues and compare the stores."""
        async with self.cluster as cluster:
            while len(self) != rounds and self.elapsed_s < 60 * minutes:
                await self.round()
                if len(self) % JUDGE_EVERY == 0:
                    await cluster.judge()
                    self.judgements += 1
                    cluster.go_on()
            await cluster.verify()
            self.judgements += 1
            self._read_logs(set())
        assert not self.logs.unexplained, f"{len(self.logs.unexplained)} unexplained log lines"

    def __len__(self) -> int:
        """Number of rounds so far."""
        return self.faults.total()

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began

    async def round(self) -> None:
        """Do one fault, and wait until everything holds again."""
        cluster = self.cluster
        primary = await cluster.whole()
        await cluster.serving()
        for publisher in cluster.publishers:
            publisher.longest_s = 0.0
        kind, random = next(self._schedule)
        backlog = random.random() < BACKLOG
        backups = [name for name in cluster.cluster.processes if name != primary]
        random.shuffle(backups)
        cluster.eat(not backlog)
        said = await self._faults[kind](Scene(cluster, random, primary, (backups[0], backups[1])))
        full = set(cluster.full)
        ended = set(cluster.cluster.dead()) - full
        assert not ended, f"brokers ended, but not by a fault of the test: {ended}"
        await cluster.heal()
        healed = time.monotonic()
        await cluster.serving()
        after = await cluster.whole()
        whole_s = time.monotonic() - healed
        await cluster.caught_up()
        self.memory.look(cluster.pids())
        self._read_logs(full)
        self.failovers = await self._generation(after) - 1
        self.faults[kind] += 1
        gap_ms = 1000 * max(publisher.longest_s for publisher in cluster.publishers)
        self.unavailable_ms.setdefault(kind, []).append(gap_ms)
        print(
            f"{self.elapsed_s:7.1f} s  #{len(self):<4} {kind:<22} {said}{', with a backlog' if backlog else ''}: "
            f"primary {primary}{f' > {after}' if after != primary else ''}, silent for {gap_ms:.0f} ms, "
            f"whole {whole_s:.1f} s after the repair, {cluster.acknowledged} acknowledged",
            flush=True,
        )

    def _read_logs(self, full: set[str]) -> None:
        """An unexplained log line fails the run but does not end it, so later lines are also collected."""
        for line in self.logs.look(full):
            print(f"unexplained log line: {line}", flush=True)

    async def _generation(self, primary: str) -> int:
        """Return the generation of the primary; an estimate if it does not answer."""
        status = await self.cluster[primary].status()
        return int(status["generation"]) if status else self.failovers + 1

    def report(self) -> str:
        """Return the report, also for a run that failed, up to that point."""
        cluster, ledger, changes = self.cluster, self.cluster.ledger, self.cluster.changes.facts
        lines = [
            (
                f"{self.elapsed_s:.0f} s, {len(self)} faults, {self.failovers} failovers and hand-overs, "
                f"{cluster.starts} brokers started again, {self.logs.resyncs} resyncs, "
                f"{self.judgements} times drained and compared"
            ),
            (
                f"published {cluster.published}, acknowledged {cluster.acknowledged}, delivered {ledger.delivered}, "
                f"of them {ledger.fresh} for the first time and {ledger.duplicates} again; "
                f"sent again {sum(p.resent for p in cluster.publishers)}"
            ),
            (
                f"changes of queues and objects {changes.changes} with {changes.steps} steps, "
                f"{changes.repeated} sent again; "
                f"compared at the end {changes.queues} queues, {changes.messages} messages, {changes.objects} objects"
            ),
            (
                f"log lines {self.logs.lines}, unexplained {len(self.logs.unexplained)}; "
                f"rewound messages handed over {self.logs.discarded} times"
            ),
        ]
        with contextlib.suppress(ValueError, statistics.StatisticsError):
            lines.append(self.memory.report())
        lines.append("longest time without a confirmation, ms:        faults   median      max")
        for kind, times in sorted(self.unavailable_ms.items()):
            lines.append(f"  {kind:<44} {len(times):>7} {statistics.median(times):>8.0f} {max(times):>8.0f}")
        return "\n".join(lines)
