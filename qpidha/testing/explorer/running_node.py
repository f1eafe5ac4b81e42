"""One step of one node: a real `Replica` and a real `Driver`, restored from a snapshot for one input.

There is no clock: time moves only when a time-out is asked for. What the node does to its surroundings is a list
of effects, in the order of the driver; the caller carries them out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from uuid import UUID

from qpidha.core.manager import Answer
from qpidha.core.ready import CloseLink, Completion, HandOver, Notice, Ready, Request
from qpidha.core.replica import Replica
from qpidha.driver import Done, Driver
from qpidha.errors import CallerError, LocalProtocolError, PromotionRefused, StoreError, ensure
from qpidha.journal import Change
from qpidha.recovery.validator import check_start
from qpidha.seq import SequenceSet
from qpidha.settings import Settings
from qpidha.testing.invariants.peers import check_frame
from qpidha.testing.sim.content import Content
from qpidha.types import MessageId, NodeId, QueueId, QueueSpec, Versioned
from qpidha.wire import codec
from qpidha.wire.batch import Batch
from qpidha.wire.events import Frame
from qpidha.wire.framing import FrameReader

Effect: TypeAlias = tuple[str, Any, Any]
"""(kind, subject, rest). Kinds: send, close, request, complete, hand over, published, accepted, moved."""

NO_DELAY_S = 1e-300
"""A delay so short that adding it to any reading of the clock changes nothing."""
SMALLEST = Settings(
    window_operations_max=1,
    operations_bytes=1,
    plan_chunk_bytes=1,
    plan_chunks_in_flight_max=1,
    catch_up_time_max_s=None,
    ack_timeout_s=1.0,
    rejoin_timeout_s=1.0,
    readmission_delay_s=NO_DELAY_S,
    readmission_delay_max_s=NO_DELAY_S,
    record_retry_s=NO_DELAY_S,
)
"""Limits so small that each operation is a frame and each message a chunk; a backup that owes two frames lags (C7)."""
START_S = 1.0
TICK_S = 0.45
"""Shorter than what the replica takes for a pause of its process; three are longer than any time-out."""
FRAME_BYTES_MAX = 1 << 16


@dataclass(slots=True)
class Snapshot:
    """The whole state of one node."""

    name: NodeId
    content: Content
    """What is durable."""
    boots: int = 0
    now: float = START_S
    replica: Replica | None = None
    under_way: Ready | None = None
    """What the driver is committing now."""


class _Driver(Driver):
    """Remembers what it commits, so that the next step can restore it."""

    under_way: Ready | None = None

    def _persist(self, ready: Ready) -> None:
        self.under_way = ready
        super()._persist(ready)


@dataclass
class RunningNode:
    """A node restored from a snapshot. The methods in `INPUTS` return False if the input has no meaning now."""

    snapshot: Snapshot
    effects: list[Effect] = field(default_factory=list)
    _done: Done | None = None
    _muted: bool = False

    def wake(self, replica: Replica) -> None:
        """Restore the driver, in the middle of a commit if the snapshot is."""
        self.snapshot.replica = self.replica = replica
        self.driver = _Driver(replica, self._commit, self, lambda: self.snapshot.now)
        if self.snapshot.under_way is not None:
            self._muted = True  # Its effects before the commit were carried out in an earlier step.
            self.driver._persist(self.snapshot.under_way)
            self._muted = False

    def start(self, current: Versioned | None, boot: UUID, settings: Settings) -> bool:
        """Start a new process on the disk as it is. False: the store is refused."""
        snapshot = self.snapshot
        image = snapshot.content.image()
        try:
            check_start(image.status, current.record if current else None, settings).require()
        except StoreError:
            return False
        snapshot.boots += 1
        self.wake(Replica(node=snapshot.name, boot=boot, image=image, settings=settings, now=snapshot.now))
        self.replica.record_seen(current, snapshot.now)
        self.run()
        return True

    def crash(self, *, keep: bool) -> None:
        """Kill the process; a commit under way is kept or lost as a whole."""
        snapshot = self.snapshot
        if keep and snapshot.under_way is not None:
            snapshot.content.apply(snapshot.under_way.persist)
        snapshot.replica = snapshot.under_way = None
        snapshot.now = START_S

    def run(self) -> None:
        """Run the driver until it is idle or waits for the disk.

        Links that it closes are closed at once; the broker takes discarded messages at once.
        """
        self.driver.run()
        at = 0
        while at < len(self.effects):
            what, of, _ = self.effects[at]
            at += 1
            if what == "close":
                self.replica.link_closed(of)
            elif what == "hand over":
                self.replica.handed_over(of)
            self.driver.run()
        self.snapshot.under_way = None if self.driver.idle else self.driver.under_way

    # --- effects (see `qpidha.driver.Effects`) -------------------------------------------------------

    def _commit(self, changes: list[Change], done: Done) -> None:
        self._done = done

    def _did(self, what: str, of: object, more: object = None) -> None:
        if not self._muted:
            self.effects.append((what, of, more))

    def send(self, frames: Sequence[tuple[int, Frame]]) -> None:
        """Encode and check frames, and add them to the effects."""
        for link, frame in frames:
            check_frame(self.snapshot.name, frame)
            self._did("send", link, b"".join(codec.encode(frame)))

    def request(self, request: Request) -> None:
        """Add a request to the effects."""
        self._did("request", request)

    def complete(self, completion: Completion) -> None:
        """Add a completion to the effects."""
        self._did("complete", completion)

    def notify(self, notice: Notice) -> None:
        """Add the notices to close a link and to hand messages over to the effects."""
        if isinstance(notice, CloseLink):
            self._did("close", notice.link)
        elif isinstance(notice, HandOver):
            self._did("hand over", notice.messages)

    def store_failed(self, error: BaseException) -> None:
        """Raise AssertionError: the store of the explorer does not fail."""
        raise AssertionError("no disk fails here") from error

    # --- inputs --------------------------------------------------------------------------------------

    def committed(self) -> bool:
        """End the commit under way: it is durable. False: there is none."""
        if self._done is None or self.driver.under_way is None:
            return False
        done, self._done = self._done, None
        self.snapshot.content.apply(self.driver.under_way.persist)
        done(None)
        return True

    def opened(self, link: int, to: NodeId) -> bool:
        """Report a link that this node opened to another one."""
        self.replica.link_opened(link, to=to)
        return True

    def received(self, link: int, raw: bytes) -> bool:
        """Deliver the bytes of whole frames."""
        for frame in FrameReader(FRAME_BYTES_MAX).feed(raw):
            self.replica.received(link, codec.decode(frame), self.snapshot.now)
        return True

    def closed(self, link: int) -> bool:
        """Report that a link is closed."""
        self.replica.link_closed(link)
        return True

    def seen(self, current: Versioned) -> bool:
        """Show the record."""
        self.replica.record_seen(current, self.snapshot.now)
        return True

    def answered(self, request: Request, answer: Answer) -> bool:
        """Deliver the answer of the cluster manager to a request."""
        self.replica.answered(request, answer, self.snapshot.now)
        return True

    def promote(self, cluster: UUID) -> bool:
        """Promote the node. False: a request is under way, or the core refuses."""
        if self.replica.manager.in_flight is not None:
            return False
        try:
            self.replica.promote(found_as=cluster)
        except (PromotionRefused, LocalProtocolError):
            return False
        return True

    def demote(self) -> bool:
        """Demote the node. False: it is no primary, or is handing over already."""
        if self.replica.primary is None or self.replica.demotion_wanted:
            return False
        self.replica.demote()
        return True

    def late(self) -> bool:
        """Let time pass, longer than any time-out. False: this node is no primary."""
        if self.replica.primary is None:
            return False
        for _ in range(3):
            self.snapshot.now += TICK_S
            self.replica.tick(self.snapshot.now)
        return True

    def declare(self, queue: QueueId, name: str) -> bool:
        """Declare a queue."""
        made, _ = self.replica.declare(QueueSpec(name=name))
        ensure(made == queue, "the explorer knows the queues from the beginning")
        return True

    def publish(self, queue: QueueId, value: str) -> bool:
        """Enqueue one message. False: this generation does not have the queue."""
        try:
            _, ids = self.replica.enqueue(queue, Batch.pack([value.encode()]))
        except CallerError:
            return False  # This generation never had the queue.
        self._did("published", queue, ids.first)
        return True

    def accept(self, queue: QueueId, id: MessageId) -> bool:
        """Dequeue one message."""
        position, _ = self.replica.dequeue(queue, SequenceSet([id]))
        self._did("accepted", (queue, id), position)
        return True

    def move(self, queue: QueueId, id: MessageId, target: QueueId) -> bool:
        """Move one message to another queue."""
        _, new = self.replica.move(queue, SequenceSet([id]), target)
        self._did("moved", (target, new.first), (queue, id))
        return True


INPUTS: dict[str, Callable[..., bool]] = {
    name: getattr(RunningNode, name)
    for name in (
        "committed", "opened", "received", "closed", "seen", "answered", "promote", "demote", "late", "declare",
        "publish", "accept", "move",
    )
}  # fmt: skip
"""The methods that are inputs."""
