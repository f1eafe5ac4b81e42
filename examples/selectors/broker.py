"""A broker with threads and `selectors`, on `qpidha.core` and `qpidha.driver`. It does not use asyncio.

    python examples/selectors/broker.py a /tmp/q 127.0.0.1:5001
    python examples/selectors/broker.py b /tmp/q 127.0.0.1:5002
    python examples/selectors/broker.py c /tmp/q 127.0.0.1:5003

Three threads: this one owns the core and all sockets; one writes to the disk; the bridge's talks to the record
store. The numbers in brackets are those of the duties in docs/without-asyncio.md.

Clients send lines: ``PUT text`` is answered by ``OK id`` when every member has it on disk, ``LIST`` by all texts
and an empty line. A broker that is not primary closes the connection.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

from links import Loop, Stream

from qpidha import Batch, PromotionRefused, Settings
from qpidha.bridge import Answered, Bridge, Decided, Failed, LiveSeen, RecordSeen, Retrying
from qpidha.core import CloseLink, Completion, Doubtful, HandOver, Notice, Replica, Request, RoleChanged, Safe
from qpidha.driver import Done, Driver
from qpidha.errors import LocalProtocolError, RemoteProtocolError
from qpidha.events import NodeEvent
from qpidha.journal import Change
from qpidha.promoters import PriorityPromoter
from qpidha.records import FileRecordStore
from qpidha.recovery import check_start
from qpidha.stores import SqliteStore
from qpidha.types import NodeId, NodeInfo, QueueSpec
from qpidha.wire import Frame, FrameReader, Ping, Welcome, decode, encode

QUEUE = "work"
TICK_S = 0.25


class Link:
    """A connection to another node: bytes to frames and back, and a heartbeat (4, 5, 6)."""

    def __init__(self, broker: Broker, stream: Stream, to: NodeId | None) -> None:
        self.broker, self.stream, self.to = broker, stream, to
        self.reader = FrameReader(broker.settings.handshake_frame_bytes_max)
        self.welcomed = False
        self.opened_at = self.heard_at = self.sent_at = time.monotonic()
        if (
            sum(not link.welcomed for link in broker.links.values())
            >= broker.settings.links_unauthenticated_max
        ):
            stream.close()
        broker.links[stream.number] = self
        broker.replica.link_opened(stream.number, to=to)
        broker.loop.call(broker.driver.run)

    def received(self, data: bytes) -> None:
        self.heard_at = time.monotonic()
        try:
            for raw in self.reader.feed(data):
                frame = decode(raw)
                if isinstance(frame.event, Ping):
                    continue
                if isinstance(frame.event, Welcome):
                    self.widen()
                self.broker.replica.received(self.stream.number, frame, self.heard_at)
            if self.reader.error is not None:
                raise self.reader.error
        except RemoteProtocolError as error:
            self.broker.replica.link_failed(self.stream.number, error)
        self.broker.driver.run()

    def widen(self) -> None:
        """The handshake is over: larger frames are allowed."""
        self.welcomed, self.reader.limit = True, self.broker.settings.frame_bytes_max

    def send(self, frame: Frame) -> None:
        if isinstance(frame.event, Welcome):
            self.widen()
        self.sent_at = time.monotonic()
        self.stream.write(b"".join(encode(frame)))
        if self.stream.waiting > self.broker.settings.link_buffer_bytes_max:
            self.stream.abort()  # It does not read.

    def tick(self, now: float) -> None:
        settings = self.broker.settings
        late = not self.welcomed and now - self.opened_at > settings.handshake_timeout_s
        if late or now - self.heard_at > settings.heartbeat_timeout_s:
            self.stream.abort()
        elif self.welcomed and now - self.sent_at >= settings.heartbeat_interval_s:
            self.send(Frame(self.broker.replica.generation, 0, Ping()))

    def closed(self) -> None:
        del self.broker.links[self.stream.number]
        self.broker.replica.link_closed(self.stream.number)
        self.broker.bridge.poll_soon()
        self.broker.driver.run()


class Client:
    """A connection of a client."""

    def __init__(self, broker: Broker, stream: Stream) -> None:
        self.broker, self.stream = broker, stream
        self.rest = b""
        broker.clients.add(self)
        if not broker.serving:
            stream.close()

    def received(self, data: bytes) -> None:
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            if not self.broker.serving:
                self.stream.close()
            elif line.startswith(b"PUT "):
                _, ids = self.broker.replica.enqueue(self.broker.queue, Batch.pack([line[4:]]))
                self.broker.unconfirmed[ids.first] = self
            elif line == b"LIST":
                queue = self.broker.replica.queues[self.broker.queue]
                texts = [text for _, batch in queue.select(queue.held) for text in batch]
                self.stream.write(b"\n".join([*texts, b"", b""]))
        self.broker.driver.run()

    def closed(self) -> None:
        self.broker.clients.discard(self)


class Broker:
    """One node. Its methods `send` to `store_failed` are the `Effects` that the driver performs (7 to 10, 19)."""

    def __init__(self, name: NodeId, directory: Path, client: tuple[str, int]) -> None:
        self.loop, self.settings = Loop(), Settings()
        self.links: dict[int, Link] = {}
        self.attempts = 0
        self.clients: set[Client] = set()
        self.unconfirmed: dict[int, Client] = {}
        self.live: dict[NodeId, NodeInfo | None] = {}
        self.serving = False
        """What the last `RoleChanged` said (19)."""
        self.stopping = ""
        self.committing_since: float | None = None
        self.boot = uuid4()
        self.disk = ThreadPoolExecutor(1)  # Opens, writes and closes the store, one call at a time (2).
        self.store = SqliteStore(directory / name)
        image = self.disk.submit(self.store.open, name).result()
        records, promoter = directory / "cluster", PriorityPromoter()
        self.bridge = Bridge(
            name,
            lambda: FileRecordStore(records),
            promoter=promoter,
            wake=lambda: self.loop.call(self.bridge_events),
        )
        found = self.bridge.open()
        check_start(image.status, found.record if found else None, self.settings).require()  # (1)
        self.replica = Replica(
            node=name, boot=self.boot, image=image, settings=self.settings, now=time.monotonic()
        )
        self.replica.record_seen(found, time.monotonic())
        self.driver = Driver(self.replica, self.commit, self, time.monotonic, self.loop.call)
        peer = self.loop.listen(("127.0.0.1", 0), lambda stream: Link(self, stream, None))
        self.loop.listen(client, lambda stream: Client(self, stream))
        self.bridge.join(NodeInfo(peer=peer, client=client, boot=self.boot, score=promoter.priority))

    def run(self) -> None:
        """Until it is asked to stop, or fails."""
        while not self.stopping:
            self.loop.turn(TICK_S)
            self.tick(time.monotonic())
        self.replica.stop(self.stopping)  # What is pending is in doubt (18).
        self.driver.run()
        self.bridge.close()
        while not self.driver.idle:
            self.loop.turn(TICK_S)
        self.disk.submit(self.store.close, clean=self.driver.failed is None).result()

    def tick(self, now: float) -> None:
        """Everything that had arrived was read before (14)."""
        late_s = 0.0 if self.committing_since is None else now - self.committing_since
        if late_s > self.settings.commit_timeout_s:  # The disk hangs: let another node take over (12).
            if self.replica.role.is_primary:
                self.replica.demote()
            self.driver.bypass()
        else:
            self.bridge.alive(eligible=self.eligible())
        self.replica.tick(now)
        for link in list(self.links.values()):
            link.tick(now)
        self.connect()
        self.driver.run()

    def eligible(self) -> bool:
        replica = self.replica
        is_new = replica.record is None and replica.cluster is None and not replica.queues
        return not replica.role.is_primary and (replica.in_sync or is_new)

    def connect(self) -> None:
        """A backup keeps one link, to the primary that the record names (3)."""
        record = self.replica.record
        primary = record.primary[0] if record and record.primary else None
        info = self.live.get(primary) if primary else None
        if info and primary != self.replica.node and not any(link.to for link in self.links.values()):
            self.attempts += 1  # One address after the other, until one answers.
            self.loop.connect(
                info.peers[self.attempts % len(info.peers)], lambda stream: Link(self, stream, primary)
            )

    def bridge_events(self) -> None:
        now = time.monotonic()
        for event in self.bridge.take():
            if isinstance(event, RecordSeen):
                self.replica.record_seen(event.current, now)
            elif isinstance(event, Answered):
                self.replica.answered(event.request, event.answer, now)
            elif isinstance(event, LiveSeen):
                self.live = dict(event.nodes)
            elif isinstance(event, Decided):
                self.decided(event.decision)
            elif isinstance(event, Failed):
                self.stopping = f"the bridge failed: {event.error!r}"
            elif isinstance(event, Retrying):
                print(f"{event.cause}: {event.text}", flush=True)
        self.connect()
        self.driver.run()

    def decided(self, decision: str) -> None:
        try:
            if decision == "promote":
                self.replica.promote(found_as=uuid4())
            else:
                self.replica.demote()
        except (PromotionRefused, LocalProtocolError) as error:
            print(f"{decision}: {error}", flush=True)

    # --- effects -----------------------------------------------------------------------------------

    def commit(self, changes: list[Change], done: Done) -> None:
        self.committing_since = time.monotonic()

        def answered(error: BaseException | None) -> None:
            self.committing_since = None
            done(error if error is None or isinstance(error, Exception) else RuntimeError(repr(error)))

        future = self.disk.submit(self.store.commit, changes)
        future.add_done_callback(lambda f: self.loop.call(lambda: answered(f.exception())))

    def send(self, frames: Sequence[tuple[int, Frame]]) -> None:
        for number, frame in frames:
            if number in self.links:
                self.links[number].send(frame)

    def request(self, request: Request) -> None:
        self.bridge.request(request)

    def complete(self, completion: Completion) -> None:
        if isinstance(completion, Safe):
            while self.unconfirmed and (id := next(iter(self.unconfirmed))) <= completion.upto:
                self.unconfirmed.pop(id).stream.write(b"OK %d\n" % id)
        elif isinstance(completion, Doubtful):
            self.drop_clients()

    def notify(self, notice: Notice) -> None:
        if isinstance(notice, RoleChanged):
            print(f"{self.replica.node} is {notice.role.value}", flush=True)
            self.serving = notice.role.is_primary
            if not self.serving:
                self.drop_clients()
            else:
                self.queue = self.replica.find(QUEUE) or self.replica.declare(QueueSpec(name=QUEUE))[0]
        elif isinstance(notice, CloseLink) and notice.link in self.links:
            self.links[notice.link].stream.close()
        elif isinstance(notice, HandOver):
            for message in notice.messages:
                print("undone:", message.data, flush=True)
            self.loop.call(lambda: self.replica.handed_over(notice.messages))
        elif isinstance(notice, NodeEvent):
            print(notice.line, flush=True)

    def store_failed(self, error: BaseException) -> None:
        self.stopping = str(error)

    def drop_clients(self) -> None:
        """Close all connections. Unconfirmed messages are in doubt; clients send them to the next primary."""
        self.unconfirmed.clear()
        for client in list(self.clients):
            client.stream.abort()


def main(name: str, directory: str, client: str) -> int:
    host, _, port = client.rpartition(":")
    broker = Broker(name, Path(directory), (host, int(port)))

    def stop(number: int, frame: object) -> None:
        broker.stopping = "asked to stop"

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    broker.run()
    return 0 if broker.driver.failed is None else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
