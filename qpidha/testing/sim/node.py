"""One simulated node: a real `Replica` and a real `Driver` on a simulated disk, network and manager.

It does for the core what `qpidha.node` does under asyncio, in the same order. A crash drops the replica, the
driver and what the disk had not finished; a restart makes new ones from what is durable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from uuid import UUID

from qpidha.core.manager import Answer
from qpidha.core.ready import CloseLink, Completion, HandOver, Notice, Request, RoleChanged
from qpidha.core.replica import Replica
from qpidha.driver import Done, Driver
from qpidha.errors import LocalProtocolError, PromotionRefused, RemoteProtocolError, StoreError
from qpidha.journal import Adopt, Change
from qpidha.queues import STANDARD_TYPES
from qpidha.recovery.validator import check_start
from qpidha.testing.sim import hints, media, place
from qpidha.testing.sim.clock import SimClock
from qpidha.testing.sim.disk import SimDisk
from qpidha.testing.sim.link import End
from qpidha.testing.sim.reading import Watched, receives, working
from qpidha.testing.sim.surroundings import Surroundings
from qpidha.types import Discarded, NodeId, Role, Versioned
from qpidha.wire.events import Frame, Hello, Refused
from qpidha.wire.version import PROTOCOL_MAX, PROTOCOL_MIN


class SimNode:
    """One process with its disk. Every input passes `post`, so that a paused node receives nothing."""

    def __init__(self, world: Surroundings[SimNode], name: NodeId, host: str = "") -> None:
        self.world = world
        self.name = name
        self.host = host or name
        """Its address in the network; differs from its name for a second process with the same name."""
        self.disk = SimDisk(name, world.new_uuid)
        self.disk.committed = lambda changes: world.checker.committed(self, changes)
        self.up = False
        self.paused = False
        self.boots = 0
        self.auto_connect = True
        self.takes_discarded = True
        """Whether the broker accepts discarded messages that are handed over; False: its callback fails."""
        self.hold_disk = False
        """Commits wait until `release_disk`."""
        self.refused = ""
        """Why the store was refused at the last start."""
        self.versions = (PROTOCOL_MIN, PROTOCOL_MAX)
        """The lowest and highest protocol version that its release announces."""
        self.clock = SimClock(world.scheduler)
        """Its clock; its rate is the rate of the timers too."""
        self.stall_s = self.committing_since = 0.0
        """Additional time of the next commit, and the node's time at which the last one began."""
        self.jump_s = 0.0
        """How far its clock jumps at the next resume."""
        self._backlog: list[Callable[[], None]] = []
        self.replica: Replica
        self.driver: Driver

    # --- life --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start a new process on the disk as it is; set `refused` if the store must not be used."""
        world = self.world
        assert not self.up
        current = world.manager.current
        try:
            image = self.disk.image()
            decision = check_start(image.status, current.record if current else None, world.settings)
            world.sometimes(f"start {decision.finding.code}")
            decision.require()
        except StoreError as error:
            self.refused = str(error)
            world.say(f"{self.host}: start refused: {error}")
            return
        self.up, self.paused, self.refused = True, False, ""
        self.boots += 1
        self.replica = Replica(
            node=self.name,
            boot=world.new_uuid(),
            image=image,
            settings=world.settings,
            now=self.now(),
            types=STANDARD_TYPES,
            read=lambda queue, ids: media.read_again(self.disk, self.world.sometimes, queue, ids),
            read_staged=lambda queue, ids: media.read_staged(self.disk, self.world.sometimes, queue, ids),
        )
        self.driver = Driver(self.replica, self._commit, Watched(self, self.disk), self.now, self._later)
        if self.host not in world.manager.unreachable | world.manager.stale:
            self.replica.record_seen(current, self.now())
        self._tick(self.boots)
        self.run()

    def crash(self, *, keep: bool = False, silent: bool = False, lose: bool = False) -> None:
        """The process dies; a commit under way is kept or lost as a whole."""
        if not self.up:
            return
        self.up = self.paused = False
        self._backlog.clear()
        self.disk.crash(keep=keep)
        self.world.network.crashed(self, silent=silent, lose=lose)
        self.world.clients.crashed(self)

    def replace_disk(self) -> None:
        """Crash, and replace the disk by an empty one without faults."""
        self.crash()
        self.disk.wipe()

    def pause(self) -> None:
        """Stop the process (SIGSTOP): inputs wait until `resume`."""
        self.paused = self.up

    def resume(self) -> None:
        """Continue the process (SIGCONT) and perform the inputs that arrived meanwhile at once."""
        if not self.paused:
            return
        self.paused = False
        if self.jump_s:
            self.clock.set(self.now() + self.jump_s)
            self.jump_s = 0.0
            self.world.sometimes("fault clock_jump")
        backlog, self._backlog = self._backlog, []
        for action in backlog:
            self.post(action)
        self.world.network.wake(target=self.host)

    # --- inputs ------------------------------------------------------------------------------------

    def post(self, action: Callable[[], None]) -> None:
        """Run this action now, after the pause if the node is paused, or never if it is down."""
        if self.paused:
            self._backlog.append(action)
        elif self.up:
            action()

    def run(self) -> None:
        """Perform the pending effects, then check the invariants."""
        self._turn(self.boots, self.driver.run)

    def _turn(self, boot: int, work: Callable[[], object]) -> None:
        """Do this if the boot is still this one. Then check the invariants, unless a read failed in the middle."""
        if boot != self.boots:
            return
        with working(self):
            work()
        if self.up and self.replica.unreadable is None:
            self.world.checker.stepped(self)

    def _later(self, work: Callable[[], None]) -> None:
        """Run the next slice of the core in a separate turn."""
        boot = self.boots
        self.world.scheduler.after(0.0, lambda: self.post(lambda: self._turn(boot, work)))

    def link_opened(self, end: End, to: NodeId | None) -> None:
        """Report an open link to the core."""
        if end.boot != self.boots or not end.open:
            return
        self.replica.link_opened(end.number, to=to)
        self.run()

    def received(self, end: End, frame: Frame) -> None:
        """Pass a frame to the core; one for an earlier boot is dropped."""
        if self.up and end.boot == self.boots and receives(self, end.number, frame):
            self.run()

    def link_failed(self, end: End, error: RemoteProtocolError) -> None:
        """Report bytes that are no valid frame to the core."""
        if self.up and end.boot == self.boots:
            self.replica.link_failed(end.number, error)
            self.run()

    def link_closed(self, end: End) -> None:
        """Report a closed link to the core, whichever end closed it."""

        def closed() -> None:
            if end.boot == self.boots:
                self.replica.link_closed(end.number)
                self.run()

        self.post(closed)

    def record_seen(self, current: Versioned | None, boot: int) -> None:
        """Pass the record that the watch of this boot reports to the core."""
        if boot == self.boots:
            self.replica.record_seen(current, self.now())
            self.run()

    def answered(self, request: Request, answer: Answer, boot: int) -> None:
        """Pass the answer to a request of this boot to the core."""
        if boot == self.boots:
            self.world.answered(self, request, answer)
            self.replica.answered(request, answer, self.now())
            self.run()

    def promote(self) -> str:
        """Try to become primary. Returns the reason of a refusal, or ""."""
        if not self.up or self.paused:
            return "not running"
        try:
            self.replica.promote(found_as=self.world.cluster)
        except (PromotionRefused, LocalProtocolError) as error:
            return str(error)
        self.run()
        return ""

    def demote(self) -> None:
        """Step down, if the node runs and is primary."""
        if self.up and not self.paused and self.replica.primary:
            self.replica.demote()
            self.run()

    # --- time --------------------------------------------------------------------------------------

    def now(self) -> float:
        """The time of this node's clock in seconds; not comparable between nodes."""
        return self.clock.now()

    def _tick(self, boot: int) -> None:
        if boot != self.boots or not self.up:
            return
        limits = self.world.settings
        self.world.scheduler.after(limits.heartbeat_interval_s / self.clock.rate, lambda: self._tick(boot))
        if self.paused:
            return
        world = self.world
        for end in world.network.silent(self, limits.heartbeat_timeout_s / self.clock.rate):
            world.network.close(end)
            self.replica.link_closed(end.number)
        hints.look(self)
        self.replica.tick(self.now())
        place.look(self)
        self.run()
        if self.auto_connect:
            self.connect()

    def connect(self) -> None:
        """Open a link to the primary that the record names, as a backup keeps trying to."""
        record = self.replica.record if self.up else None
        if record is None or record.primary is None or self.replica.primary or self.replica.stopped:
            return
        if record.primary[0] != self.name and self.replica.follower.link is None:
            found = self.world.processes(record.primary[0])
            self.world.network.connect(self, found[0] if len(found) == 1 else self.world.random.choice(found))

    # --- the disk ----------------------------------------------------------------------------------

    def _commit(self, changes: list[Change], done: Done) -> None:
        boot, primary = self.boots, self.replica.primary
        leaves = (primary.generation, primary.position) if primary else None
        self.world.removals.proposed(self)

        def durable(error: Exception | None) -> None:
            if leaves is not None and error is None:
                self.world.removals.durable(self, *leaves)
            if error is None and any(isinstance(change, Adopt) for change in changes):
                self.world.sometimes("plan adopted from the disk")
            done(error)

        self.disk.begin(changes, durable)
        delay_s = place.begin(self)
        if not self.hold_disk:
            self.world.scheduler.after(delay_s, lambda: self._finish(boot))

    def _finish(self, boot: int) -> None:
        self.post(lambda: self._turn(boot, self.disk.finish))

    def release_disk(self) -> None:
        """End `hold_disk`, and complete the commit that waits."""
        self.hold_disk = False
        self._finish(self.boots)

    # --- effects (see `qpidha.driver.Effects`) -------------------------------------------------------

    def send(self, frames: Sequence[tuple[int, Frame]]) -> None:
        """Send frames, as (link number, frame)."""
        for link, frame in frames:
            self._send(link, frame)

    def _send(self, link: int, frame: Frame) -> None:
        if link not in self.world.network.spoiled or not isinstance(frame.event, Refused):
            self.world.checker.sent(self, frame)  # Else what it read is not what its peer wrote.
        if isinstance(frame.event, Hello):
            low, high = self.versions
            if (low, high) != (PROTOCOL_MIN, PROTOCOL_MAX):
                frame = replace(frame, event=replace(frame.event, version_min=low, version_max=high))
        self.world.network.send(self, link, frame)

    def request(self, request: Request) -> None:
        """Send a request to the cluster manager."""
        self.world.requested(self, request)
        self.world.manager.request(self, request)

    def complete(self, completion: Completion) -> None:
        """Answer the clients."""
        self.world.clients.completed(self, completion)

    def notify(self, notice: Notice) -> None:
        """Act on a notice of the core: close a link, hand over messages, check a role."""
        world = self.world
        world.noticed(self, notice)
        match notice:
            case RoleChanged():
                world.checker.role_changed(self, notice)
            case CloseLink(link):
                end = world.network.ends.get((self.host, link))
                if end is not None:
                    world.network.close(end)
                    world.scheduler.after(0.0, lambda: self.link_closed(end))
            case HandOver(messages):
                world.checker.handed_over(self, messages)
                boot = self.boots
                world.scheduler.after(
                    world.disk_delay(), lambda: self.post(lambda: self._taken(messages, boot))
                )

            case _:
                pass  # Content is looked at where it is durable: on the disk.

    def _taken(self, messages: tuple[Discarded, ...], boot: int) -> None:
        if boot != self.boots:
            return
        if self.takes_discarded:
            self.replica.handed_over(messages)
        else:
            self.world.checker.not_taken(self, messages)
            self.replica.hand_over_failed(self.now())
        self.run()

    def store_failed(self, error: BaseException) -> None:
        """Crash after a failed commit, as a process does whose store is dead."""
        self.world.say(f"{self.host}: store failed: {error}")
        self.world.scheduler.after(0.0, lambda: self.crash(keep=self.world.random.random() < 0.5))

    # --- what others ask -----------------------------------------------------------------------------

    @property
    def role(self) -> Role:
        """The role of the node; `Role.STOPPED` while it is down."""
        return self.replica.role if self.up else Role.STOPPED

    @property
    def epoch(self) -> UUID:
        """The epoch of the store on its disk."""
        return self.disk.epoch
