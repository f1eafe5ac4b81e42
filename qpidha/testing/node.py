"""One simulated node: a real `Replica` and a real `Driver` on a simulated disk, network and manager.

It does for the core what `qpidha.node` does under asyncio, in the same order. A crash drops the replica, the
driver and what the disk had not finished; a restart makes new ones from what is durable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import UUID

from qpidha.core.manager import Answer
from qpidha.core.ready import CloseLink, Completion, HandOver, Notice, Request, RoleChanged
from qpidha.core.replica import Replica
from qpidha.core.validator import check_start
from qpidha.driver import Done, Driver
from qpidha.errors import LocalProtocolError, PromotionRefused, StoreError
from qpidha.journal import Change
from qpidha.testing.network import End
from qpidha.testing.storage import SimDisk
from qpidha.types import Discarded, NodeId, Role, Versioned
from qpidha.wire.events import Frame

if TYPE_CHECKING:
    from qpidha.testing.simulator import World


class SimNode:
    """See the module. Everything that reaches the core passes `post`, so that a paused node hears nothing."""

    def __init__(self, world: World, name: NodeId) -> None:
        self.world = world
        self.name = name
        self.disk = SimDisk(name, world.new_uuid)
        self.disk.committed = lambda changes: world.checker.committed(self, changes)
        self.up = False
        self.paused = False
        self.boots = 0
        self.auto_connect = True
        self.takes_discarded = True
        """The embedder takes what is handed over; False: it fails to."""
        self.hold_disk = False
        """Commits wait until `release_disk`."""
        self.refused = ""
        """Why the store was refused at the last start."""
        self._backlog: list[Callable[[], None]] = []
        self.replica: Replica
        self.driver: Driver

    # --- life --------------------------------------------------------------------------------------

    def start(self) -> None:
        """A new process on the disk as it is."""
        world = self.world
        assert not self.up
        current = world.manager.current
        image = self.disk.content.image()
        try:
            check_start(image.status, current.record if current else None, world.settings).require()
        except StoreError as error:
            self.refused = str(error)
            world.say(f"{self.name}: start refused: {error}")
            return
        self.up, self.paused, self.refused = True, False, ""
        self.boots += 1
        self.replica = Replica(
            node=self.name,
            boot=world.new_uuid(),
            image=image,
            settings=world.settings,
            now=world.scheduler.now,
        )
        self.driver = Driver(self.replica, self._commit, self, lambda: world.scheduler.now)
        if self.name not in world.manager.unreachable | world.manager.stale:
            self.replica.record_seen(current, world.scheduler.now)
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

    def pause(self) -> None:
        """SIGSTOP."""
        self.paused = self.up

    def resume(self) -> None:
        """SIGCONT: everything that came meanwhile is dealt with at once."""
        if not self.paused:
            return
        self.paused = False
        backlog, self._backlog = self._backlog, []
        for action in backlog:
            self.post(action)
        self.world.network.wake(target=self.name)

    # --- inputs ------------------------------------------------------------------------------------

    def post(self, action: Callable[[], None]) -> None:
        """Run this in the node's own time; never, if it is down."""
        if self.paused:
            self._backlog.append(action)
        elif self.up:
            action()

    def run(self) -> None:
        """Perform what there is, then look at everything."""
        self.driver.run()
        if self.up:
            self.world.checker.stepped(self)

    def link_opened(self, end: End, to: NodeId | None) -> None:
        if end.boot != self.boots or not end.open:
            return
        self.replica.link_opened(end.number, to=to)
        self.run()

    def received(self, end: End, frame: Frame) -> None:
        if not self.up or end.boot != self.boots:
            return
        self.replica.received(end.number, frame, self.world.scheduler.now)
        self.run()

    def link_closed(self, end: End) -> None:
        """The other end is gone, or this one was closed by this node."""

        def closed() -> None:
            if end.boot == self.boots:
                self.replica.link_closed(end.number)
                self.run()

        self.post(closed)

    def record_seen(self, current: Versioned | None, boot: int) -> None:
        if boot == self.boots:
            self.replica.record_seen(current, self.world.scheduler.now)
            self.run()

    def answered(self, request: Request, answer: Answer, boot: int) -> None:
        if boot == self.boots:
            self.world.answered(self, request, answer)
            self.replica.answered(request, answer, self.world.scheduler.now)
            self.run()

    def promote(self) -> str:
        """Try to become primary. Says why not, or nothing."""
        if not self.up or self.paused:
            return "not running"
        try:
            self.replica.promote(found_as=self.world.cluster)
        except (PromotionRefused, LocalProtocolError) as error:
            return str(error)
        self.run()
        return ""

    def demote(self) -> None:
        if self.up and not self.paused and self.replica.primary:
            self.replica.demote()
            self.run()

    # --- time --------------------------------------------------------------------------------------

    def _tick(self, boot: int) -> None:
        if boot != self.boots or not self.up:
            return
        self.world.scheduler.after(self.world.settings.heartbeat_interval_s, lambda: self._tick(boot))
        if self.paused:
            return
        world = self.world
        for end in world.network.silent(self, world.settings.heartbeat_timeout_s):
            world.network.close(end)
            self.replica.link_closed(end.number)
        self.replica.tick(world.scheduler.now)
        self.run()
        if self.auto_connect:
            self.connect()

    def connect(self) -> None:
        """Open a link to the primary that the record names, as a backup keeps trying to."""
        record = self.replica.record if self.up else None
        if record is None or record.primary is None or self.replica.primary or self.replica.stopped:
            return
        if record.primary[0] != self.name and self.replica.follower.link is None:
            self.world.network.connect(self, self.world.nodes[record.primary[0]])

    # --- the disk ----------------------------------------------------------------------------------

    def _commit(self, changes: list[Change], done: Done) -> None:
        boot = self.boots
        self.disk.begin(changes, done)
        if not self.hold_disk:
            self.world.scheduler.after(self.world.disk_delay(), lambda: self._finish(boot))

    def _finish(self, boot: int) -> None:
        def finish() -> None:
            if boot == self.boots:
                self.disk.finish()
                self.world.checker.stepped(self)

        self.post(finish)

    def release_disk(self) -> None:
        self.hold_disk = False
        self._finish(self.boots)

    # --- effects (see `qpidha.driver.Effects`) -------------------------------------------------------

    def send(self, link: int, frame: Frame) -> None:
        self.world.checker.sent(self, frame)
        self.world.network.send(self, link, frame)

    def request(self, request: Request) -> None:
        self.world.requested(self, request)
        self.world.manager.request(self, request)

    def complete(self, completion: Completion) -> None:
        self.world.clients.completed(self, completion)

    def notify(self, notice: Notice) -> None:
        world = self.world
        world.noticed(self, notice)
        match notice:
            case RoleChanged():
                world.checker.role_changed(self, notice)
            case CloseLink(link):
                end = world.network.ends.get((self.name, link))
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
            self.replica.hand_over_failed()
        self.run()

    def store_failed(self, error: BaseException) -> None:
        self.world.say(f"{self.name}: store failed: {error}")
        self.world.scheduler.after(0.0, lambda: self.crash(keep=self.world.random.random() < 0.5))

    # --- what others ask -----------------------------------------------------------------------------

    @property
    def role(self) -> Role:
        return self.replica.role if self.up else Role.STOPPED

    @property
    def epoch(self) -> UUID:
        return self.disk.epoch
