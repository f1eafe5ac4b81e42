"""One run of the demo, from the first broker's start to the last one's stop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

from qpidha.demo.cluster import Cluster
from qpidha.demo.pace import Pace
from qpidha.demo.progress import Display, Numbers
from qpidha.demo.report import Kill, Report, Sample, seconds, size
from qpidha.demo.topology import Topology, Untouched
from qpidha.demo.traffic import Traffic
from qpidha.demo.watch import Phase, Resync, Totals, View, look

POLL_S = 0.01
STATUS_INTERVAL_S = 0.05
SAMPLE_INTERVAL_S = 0.02
START_TIMEOUT_S = 30.0
RESTART_AFTER_S = 3.0
"""A killed broker is started again after the first new acknowledgement, or after this long without one."""
MEND_AFTER_S = 15.0
"""The same for one whose host was cut off: sessions must end and clients notice, which takes seconds."""
IDLE_S = 1.0
"""The same if nothing is published that could be acknowledged: a very short input."""
STALL_S = 30.0
"""If nothing at all changes for this long, something is broken."""
DRAINED_S = 5.0
"""The same if everything was published and the queue is empty."""
SETTLE_TIMEOUT_S = 15.0
KILL_DELAY_S_MAX = 0.1
"""A kill waits up to this long, drawn from the seed, so as to meet the brokers at different moments."""


class DemoFailed(Exception):
    """The run cannot go on; the message says why."""


class Session:
    """Owns everything that moves. Fills in the report as it goes, so that there is one whatever happens."""

    def __init__(
        self,
        cluster: Cluster,
        traffic: Traffic,
        topology: Topology | Untouched,
        pace: Pace,
        display: Display,
        report: Report,
    ) -> None:
        self.cluster = cluster
        self.traffic = traffic
        self.topology = topology
        self.pace = pace
        self.display = display
        self.report = report
        self.view: View | None = None
        self._numbers = Numbers(report.messages)
        self._totals = Totals()
        self._random = Random(report.seed)
        self._began = 0.0
        self._kill: Kill | None = None
        self._kill_at = 0.0
        self._moved: tuple[object, float] = ((), time.monotonic())
        self._streamed = False
        self._worked = False
        """The stream is through, and all kills took place."""
        self._stopping = False

    async def run(self, timeout_s: float) -> None:
        """The whole run. Raises `DemoFailed`; the report is complete either way."""
        watch = asyncio.create_task(self._watch())
        play = asyncio.create_task(self._play())
        try:
            await asyncio.wait({watch, play}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if not watch.done() and not play.done():
                raise DemoFailed(f"not finished after {timeout_s:.0f} s")
            for task in (play, watch):
                if task.done():
                    task.result()
        finally:
            for task in (play, watch):
                task.cancel()
            await asyncio.wait({watch, play})
            self._fill_in()

    async def _play(self) -> None:
        self.display.say(f"starting {len(self.cluster.processes)} brokers")
        self.cluster.start()
        await self._until(lambda: self._in_sync, START_TIMEOUT_S, "all brokers to be in sync at the start")
        self.display.say("all brokers are in sync")
        self._began = time.monotonic()
        async with self.traffic.publisher, self.traffic.consumer, self.topology.changer:
            work = together(self._stream(), self._kill_primaries(), self._sample())
            await together(self.topology.change_until(lambda: self._worked), self._marked(work))
            await self.topology.compare()
            # The consumer has everything; its last accepts are still on their way to the backups.
            await self._until(lambda: self._depth == 0, SETTLE_TIMEOUT_S, "the last accepts to be settled")
            self.report.left_in_queue = self._depth
        self._stopping = True
        stubborn = await asyncio.to_thread(self.cluster.stop)
        self.report.problems += [f"broker {name} did not stop in order" for name in stubborn]

    async def _marked(self, work: Coroutine[Any, Any, None]) -> None:
        await work
        self._worked = True

    async def _stream(self) -> None:
        await together(self.traffic.publish(), self.traffic.consume())
        self.report.duration_s = self.now
        self._streamed = True

    @property
    def now(self) -> float:
        """Seconds since the stream began; 0 before."""
        return time.monotonic() - self._began if self._began else 0.0

    @property
    def _in_sync(self) -> bool:
        return self.view is not None and self.view.all_in_sync

    @property
    def _depth(self) -> int | None:
        return self.view.depth if self.view and self.view.primary else None

    # --- killing ---------------------------------------------------------------------------------

    async def _kill_primaries(self) -> None:
        while self.pace.kills_left:
            await self._until(self._kill_is_due)
            await asyncio.sleep(self._random.uniform(0, KILL_DELAY_S_MAX))
            await self._kill_one()
        self.pace.next()

    def _kill_is_due(self) -> bool:
        ends = (self.traffic.publisher.connection, self.traffic.consumer.connection)
        return self.pace.due(self.traffic.publisher.confirmed) and self._in_sync and None not in ends

    async def _kill_one(self) -> None:
        """Kill the primary, wait for its successor, start it again, wait until it is back."""
        assert self.view is not None
        assert self.view.primary is not None
        process, hosts = self.cluster.processes[self.view.primary], self.cluster.hosts
        number = len(self.report.kills) + 1
        cut = hosts is not None and number % 2 == 0
        before = self._totals.seen.get((process.name, process.lives)) if cut else None
        if cut and hosts:
            hosts.cut(process.name)
            self._kill_at = time.monotonic()
        else:
            self._kill_at = process.kill()
        self._kill = kill = Kill(
            number=number, node=process.name, at=self.now, generation=self.view.generation, cut_off=cut
        )
        self.report.kills.append(kill)
        self.pace.next()
        done = f"the host of {process.name} is cut off" if cut else f"SIGKILL to {process.name}"
        self.display.say(f"{self.now:6.1f} s  kill {kill.number}: {done}, the primary")
        patience_s = MEND_AFTER_S if cut else RESTART_AFTER_S
        if not cut:
            await asyncio.to_thread(process.wait, RESTART_AFTER_S)
        await self._until(lambda: self._failed_over(kill) or self._nothing_comes(patience_s))
        if cut and hosts:
            await self._until(lambda: self._promoted(kill) or self._since_kill() > MEND_AFTER_S)
            hosts.mend(process.name)
        else:
            process.start()
        await self._until(lambda: self._in_sync and self._promoted(kill))
        self._back(kill, before)
        await self._until(lambda: self._failed_over(kill) or self._nothing_comes(1e9))

    def _nothing_comes(self, patience_s: float) -> bool:
        """Whether to wait no longer for an acknowledgement; soon, if the publisher has nothing on its way."""
        idle = self.traffic.publisher.unconfirmed == 0
        return self._since_kill() > (min(IDLE_S, patience_s) if idle else patience_s)

    def _since_kill(self) -> float:
        return time.monotonic() - self._kill_at

    def _promoted(self, kill: Kill) -> bool:
        """Whether the watch has seen a successor."""
        return kill.promoted_s is not None

    def _failed_over(self, kill: Kill) -> bool:
        """Whether an acknowledgement has come on a connection that is younger than the kill."""
        publisher = self.traffic.publisher
        if kill.failover_s is None and publisher.confirmed_since > self._kill_at:
            kill.failover_s = publisher.confirmed_since - self._kill_at
            self.display.say(
                f"{self.now:6.1f} s  first new acknowledgement {seconds(kill.failover_s)} after the kill"
            )
        return kill.failover_s is not None

    def _back(self, kill: Kill, before: Resync | None) -> None:
        """The killed node is a member again: what did that cost? ``before``: what its process had received already."""
        assert self.view is not None
        kill.returned_s = self._since_kill()
        kill.queue_messages, kill.queue_bytes = self.view.depth, self.view.queue_bytes
        status = self.view.statuses[kill.node]
        if status is not None:
            life = self.cluster.processes[kill.node].lives
            resync = self._totals.note(kill.node, life, status)
            kill.resync_messages = resync.messages - (before.messages if before else 0)
            kill.resync_bytes = resync.nbytes - (before.nbytes if before else 0)
        self.display.say(
            f"{self.now:6.1f} s  {kill.node} is back in sync: {size(kill.resync_bytes)} resynchronised"
            f" of a queue of {size(kill.queue_bytes)}"
        )

    # --- watching --------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Look at the brokers again and again, show it, and notice when something is badly wrong."""
        while True:
            statuses = await self.cluster.statuses()
            self.view = view = look(statuses)
            for name, status in statuses.items():
                if status is not None:
                    self._totals.note(name, self.cluster.processes[name].lives, status)
            kill = self._kill
            if kill and kill.promoted_s is None and view.primary and view.generation > kill.generation:
                kill.promoted_s, kill.successor = self._since_kill(), view.primary
                self.display.say(
                    f"{self.now:6.1f} s  {view.primary} is primary of generation {view.generation}"
                )
            self._check()
            publisher, came_out = self.traffic.publisher, self.traffic.came_out
            if self._began and not self._stopping:
                self._numbers.update(self.now, publisher.confirmed, came_out.messages, view)
                self.display.show(self._numbers)
            await asyncio.sleep(STATUS_INTERVAL_S)

    def _check(self) -> None:
        """Raise `DemoFailed` if a broker ended by itself, or nothing has moved for a long time."""
        if not self._stopping and (dead := self.cluster.dead()):
            raise DemoFailed(
                ", ".join(f"broker {name} ended with exit code {code}" for name, code in dead.items())
            )
        assert self.view is not None
        publisher, came_out = self.traffic.publisher, self.traffic.came_out
        state = (
            publisher.published,
            publisher.confirmed,
            came_out.messages,
            self.view.phases,
            self.view.generation,
        )
        if state != self._moved[0]:
            self._moved = (state, time.monotonic())
            return
        # An empty queue in front of a consumer that still waits: what is missing will never come.
        drained = self.traffic.all_published and publisher.unconfirmed == 0 and self._depth == 0
        limit_s = DRAINED_S if drained and self._began else STALL_S
        if time.monotonic() - self._moved[1] > limit_s:
            raise DemoFailed(f"nothing has moved for {limit_s:.0f} s; {self._state()}")

    def _state(self) -> str:
        """Where the stream stands, for a diagnosis."""
        publisher, view = self.traffic.publisher, self.view
        connected = "connected" if publisher.connection else "without a primary"
        waiting = (
            {s["node"]: s["waiting_for"] for s in view.statuses.values() if s and s["waiting_for"]}
            if view
            else {}
        )
        return (
            f"published {publisher.published:,}, acknowledged {publisher.confirmed:,}, publisher {connected}, "
            f"out {self.traffic.came_out.messages:,}; phases {dict(view.phases) if view else {}}; waiting for {waiting}"
        )

    async def _sample(self) -> None:
        """Note the counters for the picture, as long as the stream runs."""
        publisher, came_out = self.traffic.publisher, self.traffic.came_out
        depth = 0
        while True:
            view = self.view
            depth = view.depth if view and view.primary else depth  # Between two primaries nobody counts.
            self.report.samples.append(
                Sample(
                    at=self.now,
                    published=publisher.published,
                    acknowledged=publisher.confirmed,
                    delivered=came_out.messages,
                    depth=depth,
                    generation=view.generation if view else 0,
                    phases=self._phases(),
                )
            )
            if self._streamed:
                return
            await asyncio.sleep(SAMPLE_INTERVAL_S)

    def _phases(self) -> dict[str, str]:
        """What each broker was at the last look; one that we killed since then is known to be down."""
        phases = self.view.phases if self.view else {}
        dead = {name for name, process in self.cluster.processes.items() if process.exit_code is not None}
        return {name: (Phase.DOWN if name in dead else phase).value for name, phase in phases.items()}

    async def _until(self, reached: Callable[[], bool], timeout_s: float = 1e9, what: str = "") -> None:
        """Wait for a condition. Without a time-out the watchdog is the time-out."""
        deadline = time.monotonic() + timeout_s
        while not reached():
            if time.monotonic() > deadline:
                raise DemoFailed(f"waited {timeout_s:.0f} s for {what}; {self._state()}")
            await asyncio.sleep(POLL_S)

    def _fill_in(self) -> None:
        """What the two ends and the brokers counted."""
        report, traffic = self.report, self.traffic
        publisher, consumer = traffic.publisher, traffic.consumer
        report.duration_s = report.duration_s or self.now
        report.published, report.acknowledged, report.resent = (
            publisher.published,
            publisher.confirmed,
            publisher.resent,
        )
        report.delivered, report.distinct = consumer.delivered, traffic.came_out.messages
        report.duplicates, report.missing = consumer.deduplicator.duplicates, traffic.missing
        report.left_in_queue = self._depth if report.left_in_queue is None else report.left_in_queue
        report.resync_messages, report.resync_bytes = self._totals.messages, self._totals.nbytes
        report.went_in, report.came_out = traffic.went_in.sha256, traffic.came_out.sha256
        report.topology = self.topology.facts
        report.equal = traffic.went_in.same_as(traffic.came_out)


async def together(*work: Coroutine[Any, Any, None]) -> None:
    """Run all; when one fails, cancel the others and raise what it raised."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
