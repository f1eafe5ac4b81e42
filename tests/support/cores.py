"""Two nodes that receive a fuzzer's bytes as if from a peer: the whole path from bytes to effects.

As in the library, a peer that breaks the protocol loses its link. Any other error from a node is a bug, and so
are effects that its store cannot apply.
"""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from qpidha.core.limits import limits_of
from qpidha.core.ready import CloseLink, Completion, Notice, Request
from qpidha.core.replica import Replica
from qpidha.errors import RemoteProtocolError
from qpidha.journal import Change, Insert, PutQueue, QueueImage, StoreImage, StoreStatus
from qpidha.seq import SequenceSet
from qpidha.settings import Settings
from qpidha.stores.contents import Contents
from qpidha.stores.schema import lineage_fault
from qpidha.types import Member, QueueSpec, Record, Versioned
from qpidha.wire import codec
from qpidha.wire.batch import Batch
from qpidha.wire.events import Acknowledged, Event, Frame, Hello, Refused, Subscribe, SubscribeQueue, Welcome
from qpidha.wire.framing import FrameReader, RawFrame
from qpidha.wire.version import DIGESTS_SINCE

CLUSTER, BOOT, PEER_BOOT, EPOCH, PEER_EPOCH = (UUID(int=n) for n in range(1, 6))
QUEUE, OTHER = UUID(int=0xA1), UUID(int=0xA2)
GENERATION, SESSION, LINK = 3, 1, 7
ME, PEER = Member("me", EPOCH), Member("peer", PEER_EPOCH)
SETTINGS = Settings(plan_chunk_bytes=64, ids_runs_per_chunk_max=2, window_bytes_max=512, queues_max=4)
"""Small, so that few bytes reach the limits."""

GROUPED = replace(SETTINGS, queues_per_digest=1)
"""Even two queues are compared by groups."""

HELLO = Hello(version_min=1, version_max=1, cluster=CLUSTER, node="peer", boot=PEER_BOOT, wanted="me")
WELCOME = Welcome(version=1, cluster=CLUSTER, node="peer", boot=PEER_BOOT)


class Node:
    """A replica, and the content of a store to which its transactions are applied."""

    def __init__(self, settings: Settings = SETTINGS) -> None:
        held = SequenceSet([(1, 6), (8, 9)])
        lineage = ((1, 1), (2, 5))
        status = StoreStatus(node="me", epoch=EPOCH, cluster=CLUSTER, generation=2)
        full = QueueImage(QUEUE, QueueSpec(name="full"), lineage, 10, [(held, messages(held))])
        empty = QueueImage(OTHER, QueueSpec(name="empty", kind="ring"), ((2, 1),), 1)
        image = StoreImage(status, [full, empty])
        self.replica = Replica(node="me", boot=BOOT, image=image, settings=settings)
        self.contents = Contents(status)
        for q in image.queues:
            self.contents.apply([PutQueue(q.queue, q.spec, q.lineage, q.next)])
            self.contents.apply([Insert(q.queue, ids, batch) for ids, batch in q.held])
        self.closed = False
        self.sent: list[Event] = []
        self.frames: list[tuple[int, Frame]] = []
        """The events sent so far, each with its link and header."""
        self.persisted: list[list[Change]] = []
        """The transactions that were given to the store."""
        self.requests: list[Request] = []
        self.completed: list[Completion] = []
        self.notices: list[Notice] = []
        self.clock = 0.0

    def promoted(self, *members: Member) -> Node:
        """Become primary of generation 3 with these other members, by default the peer. A peer has opened a link."""
        record = seen(3, ("me", BOOT), frozenset({ME, *(members or {PEER})}))
        self.replica.record_seen(record, 0.0)
        self.replica.link_opened(LINK)
        self.perform()
        return self

    def subscribed(self, backup: Member = PEER, link: int = LINK) -> Node:
        """A backup with the content of this primary connects and gets its plan. It has not acknowledged it."""
        self.replica.link_opened(link)
        self.say(replace(HELLO, node=backup.node), session=0, link=link)
        self.say(
            Subscribe(epoch=backup.epoch, stored_generation=2, queues=2),
            SubscribeQueue(
                queue=QUEUE, lineage=((1, 1), (2, 5)), next=10, held=SequenceSet([(1, 6), (8, 9)])
            ),
            SubscribeQueue(queue=OTHER, lineage=((2, 1),), next=1, held=SequenceSet()),
            link=link,
        )
        return self

    def acknowledge(self, position: int, *, link: int = LINK) -> Node:
        """A backup says that everything up to this position is durable there."""
        return self.say(Acknowledged(position=position), link=link)

    def following(self) -> Node:
        """Open a link to the primary of generation 3, and send Hello."""
        self.replica.record_seen(seen(3, ("peer", PEER_BOOT), frozenset({ME, PEER})), 0.0)
        self.replica.link_opened(LINK, to="peer")
        self.perform()
        return self

    def say(
        self, *events: Event, session: int = SESSION, generation: int = GENERATION, link: int = LINK
    ) -> Node:
        """Receive these events from the peer in this session, after the handshake."""
        for event in events:
            self.replica.received(link, Frame(generation, session, event), self.clock)
            self.perform()
        return self

    def work(self) -> Node:
        """Run slices of work until the rest needs more input."""
        while self.replica.unfinished:
            self.perform()
        return self

    def forget(self) -> Node:
        """Forget the effects so far, so that a test sees only those that follow."""
        for effects in (self.sent, self.frames, self.persisted, self.requests, self.completed, self.notices):
            effects.clear()
        return self

    def received(self, raw: RawFrame) -> None:
        """One frame, as `qpidha.node.peer` takes it."""
        try:
            frame = codec.decode(raw)
        except RemoteProtocolError as error:
            self.replica.link_failed(LINK, error)
        else:
            self.replica.received(LINK, frame, self.clock)
        self.perform()

    def perform(self) -> None:
        self.clock += 0.1
        ready = self.replica.ready(self.clock)
        self.contents.apply(ready.persist)
        if ready.persist:
            self.persisted.append(ready.persist)
        for _, frame in ready.send:
            assert b"".join(codec.encode(frame))
            self.sent.append(frame.event)
        self.frames += ready.send
        if ready.request:
            self.requests.append(ready.request)
        self.completed += ready.complete
        self.notices += ready.notify
        self.closed = self.closed or any(isinstance(notice, CloseLink) for notice in ready.notify)

    def check(self) -> None:
        """Check that the store and the replica have the same content, and that the link closes cleanly."""
        self.perform()
        for queue in self.replica.queues.values():
            queue.check()
            kept = self.contents.queues[queue.queue]
            kept.rows.check()
            assert (kept.next, kept.lineage, kept.rows.held) == (queue.next, queue.lineage, len(queue))
            assert lineage_fault(kept.lineage, kept.next, self.contents.status.generation) is None
        if self.replica.primary:
            self.replica.primary.check()
        self.replica.link_closed(LINK)
        self.perform()


def seen(generation: int, primary: tuple[str, UUID], members: frozenset[Member]) -> Versioned:
    record = Record(cluster=CLUSTER, generation=generation, primary=primary, members=members)
    return Versioned(record, generation)


def refused(node: Node, why: str) -> bool:
    """Whether the last event sent gives this reason and the link is closed."""
    last = node.sent[-1]
    assert isinstance(last, Refused)
    assert why in last.reason
    return node.closed


def messages(ids: SequenceSet) -> Batch:
    return Batch.pack([b"message %d" % id for id in ids])


# --- targets -------------------------------------------------------------------------------------


def handshake(data: bytes) -> None:
    """Feed the first bytes on a new link to a primary or, if the first byte is odd, to a backup that opened the link."""
    node = Node().following() if data[:1] and data[0] & 1 else Node().promoted()
    reader = FrameReader(SETTINGS.handshake_frame_bytes_max)
    try:
        frames = reader.feed(data[1:])
    except RemoteProtocolError:
        return
    for raw in frames:
        if node.closed:
            break
        node.received(raw)
    node.check()


def snapshot(data: bytes) -> None:
    """Feed events of a resync to a subscribed backup or, if the first byte is odd, to the primary that serves it.

    Each event is encoded as its kind, the size of its body in two bytes, and the body. Its header is always valid.
    """
    if data[:1] and data[0] & 1:
        node = Node().promoted().say(HELLO, session=0)
        subscribe = Subscribe(epoch=PEER_EPOCH, stored_generation=2, queues=data[0] >> 1)
        node.say(subscribe)
        node.replica.enqueue(QUEUE, messages(SequenceSet([(10, 12)])))
        node.replica.dequeue(QUEUE, SequenceSet([1, 11]))
    else:
        node = Node().following().say(WELCOME, session=0)
    _feed(node, data)


def comparison(data: bytes) -> None:
    """The same for a comparison of groups: to a backup that has sent digests, or a primary that was not sent any yet."""
    limits = limits_of(GROUPED)
    if data[:1] and data[0] & 1:
        hello = replace(HELLO, version_max=DIGESTS_SINCE, limits=limits)
        node = Node(GROUPED).promoted().say(hello, session=0)
    else:
        node = (
            Node(GROUPED).following().say(replace(WELCOME, version=DIGESTS_SINCE, limits=limits), session=0)
        )
    _feed(node.work(), data)


def _feed(node: Node, data: bytes) -> None:
    at = 1
    while at + 3 <= len(data) and not node.closed:
        kind, size = data[at], int.from_bytes(data[at + 1 : at + 3], "big")
        node.received(RawFrame(kind, GENERATION, SESSION, data[at + 3 : at + 3 + size]))
        at += 3 + size
    node.check()
