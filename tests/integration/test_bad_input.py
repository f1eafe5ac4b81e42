"""Bad input on a live listener is refused with a typed error; only that link is closed, nothing else is harmed.

The numbers are those of the bad-input list in docs/invariants.md. Each case is sent to the primary of a
working cluster; afterwards a publish must still become safe on every node.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from qpidha import Node, SequenceSet, Settings
from qpidha.core.limits import limits_of
from qpidha.core.replica import Replica
from qpidha.errors import (
    FrameTooLarge,
    HandshakeError,
    MalformedFrame,
    RemoteProtocolError,
    VersionMismatch,
)
from qpidha.wire import codec
from qpidha.wire.events import (
    Acknowledged,
    Event,
    Fenced,
    Frame,
    Hello,
    Operations,
    Ping,
    PlanEnd,
    Progress,
    Refused,
    SkipIds,
    Subscribe,
    SubscribeQueue,
    Welcome,
)
from qpidha.wire.framing import FrameReader
from tests.support.harness import QUICK, World, run, until

HEADER = struct.Struct("<IBBHQQ")


def encode(event: Event, *, generation: int = 1, session: int = 0) -> bytes:
    return b"".join(bytes(c) for c in codec.encode(Frame(generation, session, event)))


class Peer:
    """A raw connection to a node's port for peers."""

    def __init__(self, node: Node, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.node = node
        self.reader = reader
        self.writer = writer
        self.frames: list[Frame] = []
        self._cut = FrameReader(1 << 24)

    @classmethod
    async def connect(cls, node: Node) -> Peer:
        assert node.address is not None
        return cls(node, *await asyncio.open_connection(*node.address))

    def hello(self, **changes: object) -> Hello:
        fields: dict[str, object] = {
            "version_min": 1,
            "version_max": 1,
            "cluster": self.node._runtime.replica.cluster,
            "node": "stranger",
            "boot": UUID(int=7),
            "wanted": self.node.id,
        }
        return Hello(**{**fields, **changes})  # type: ignore[arg-type]

    def send(self, *chunks: bytes) -> None:
        for chunk in chunks:
            self.writer.write(chunk)

    async def greet(self) -> None:
        self.send(encode(self.hello()))
        frame = await self.next()
        assert isinstance(frame.event, Welcome)

    async def subscribe(self, session: int = 1) -> None:
        """Open a session, as a new node with an empty store, and receive its plan."""
        await self.greet()
        self.send(encode(Subscribe(epoch=uuid4(), stored_generation=0, queues=0), session=session))
        while not isinstance((await self.next()).event, PlanEnd):
            pass

    async def next(self) -> Frame:
        while not self.frames:
            data = await asyncio.wait_for(self.reader.read(1 << 16), 10)
            if not data:
                raise ConnectionError("closed")
            self.frames += [codec.decode(raw) for raw in self._cut.feed(data)]
        return self.frames.pop(0)

    async def refusal(self) -> int:
        """Return the error code with which the node closes the link."""
        code = 0
        try:
            while True:
                event = (await self.next()).event
                if isinstance(event, Refused):
                    code = event.code
        except ConnectionError:
            self.writer.close()
            return code


Attack = Callable[[Peer], Awaitable[None]]


def after_hello(*chunks: bytes) -> Attack:
    async def attack(peer: Peer) -> None:
        await peer.greet()
        peer.send(*chunks)

    return attack


def in_session(*events: Event, session: int = 1, generation: int = 1) -> Attack:
    async def attack(peer: Peer) -> None:
        await peer.subscribe()
        for event in events:
            peer.send(encode(event, session=session, generation=generation))

    return attack


def at_once(*chunks: bytes) -> Attack:
    async def attack(peer: Peer) -> None:
        peer.send(*chunks)

    return attack


def hello_with(**changes: object) -> Attack:
    async def attack(peer: Peer) -> None:
        peer.send(encode(peer.hello(**changes)))

    return attack


async def two_hellos(peer: Peer) -> None:
    await peer.greet()
    peer.send(encode(peer.hello()))


def frame(kind: int, body: bytes, *, flags: int = 0, zero: int = 0, length: int | None = None) -> bytes:
    size = HEADER.size - 4 + len(body) if length is None else length
    return HEADER.pack(size, kind, flags, zero, 1, 0) + body


LINEAGE = ((1, 1),)
HELD = SequenceSet([(5, 9)])

CASES: list[tuple[str, Attack, type[RemoteProtocolError]]] = [
    ("B01 length 0", at_once(struct.pack("<I", 0)), MalformedFrame),
    ("B02 length below the header", at_once(struct.pack("<I", 19) + bytes(19)), MalformedFrame),
    ("B03 one over the handshake limit", at_once(frame(1, b"", length=4097)), FrameTooLarge),
    ("B04 length 2**31", at_once(struct.pack("<I", 1 << 31)), FrameTooLarge),
    ("B04 length 2**32 - 1", at_once(struct.pack("<I", (1 << 32) - 1)), FrameTooLarge),
    ("B04 top bit of the generation", after_hello(HEADER.pack(20, 5, 0, 0, 1 << 63, 0)), MalformedFrame),
    ("B09 unknown kind", at_once(frame(200, b"\x90")), MalformedFrame),
    ("B09 unknown flag", at_once(frame(1, b"", flags=1)), MalformedFrame),
    (
        "B09 unknown version",
        hello_with(version_min=7, version_max=9, limits=limits_of(Settings())),
        VersionMismatch,
    ),
    ("B10 trailing bytes", after_hello(frame(5, b"\x90\x00")), MalformedFrame),
    ("B11 damaged body", after_hello(frame(10, b"\xc1\xff\xff")), MalformedFrame),
    ("B12 frame before hello", at_once(encode(Ping()), encode(Acknowledged(position=1))), HandshakeError),
    ("B13 two hellos", two_hellos, RemoteProtocolError),
    ("B14 another cluster", hello_with(cluster=UUID(int=99)), HandshakeError),
    ("B15 our own node id", hello_with(node="a"), HandshakeError),
    ("B15 wants another node", hello_with(wanted="b"), HandshakeError),
    ("B17 generation 0", in_session(Acknowledged(position=1), generation=0), RemoteProtocolError),
    ("B17 higher generation", in_session(Acknowledged(position=1), generation=9), RemoteProtocolError),
    (
        "B18 operations from a backup",
        in_session(Operations(first=2, operations=((SkipIds(queue=UUID(int=5), first=1, last=2),),))),
        RemoteProtocolError,
    ),
    ("B19 ack of the future", in_session(Acknowledged(position=10**6)), RemoteProtocolError),
    ("B19 ack going back", in_session(Acknowledged(position=0)), RemoteProtocolError),
    ("B19 progress of chunks never sent", in_session(Progress(chunks=3)), RemoteProtocolError),
    (
        "B20 held ids not ascending",
        in_session(
            Subscribe(epoch=UUID(int=3), stored_generation=1, queues=3),
            SubscribeQueue(queue=UUID(int=4), lineage=LINEAGE, next=50, held=HELD),
            SubscribeQueue(queue=UUID(int=4), lineage=LINEAGE, next=50, held=HELD),
            session=2,
        ),
        RemoteProtocolError,
    ),
    (
        "B20 malformed id set",
        after_hello(frame(11, bytes.fromhex("94c410") + bytes(16) + b"\x90\x01\xc4\x02\xff\xff")),
        MalformedFrame,
    ),
    (
        "B28 node id of 64 KiB",
        at_once(frame(1, b"\x96\x01\x01\xc0\xda\xff\xff" + b"x" * 65535)),
        FrameTooLarge,
    ),
    (
        "B28 node id not UTF-8",
        at_once(frame(1, b"\x96\x01\x01\xc0\xa2\xff\xfe\xc4\x10" + bytes(16) + b"\xa1a")),
        MalformedFrame,
    ),
    (
        "B28 empty node id",
        at_once(frame(1, b"\x96\x01\x01\xc0\xa0\xc4\x10" + bytes(16) + b"\xa1a")),
        MalformedFrame,
    ),
]


async def unharmed(world: World, a: Node) -> None:
    receipt = await asyncio.wait_for(_publish(a), 10)
    assert receipt == {"a", "b"}
    for node in world.nodes.values():
        node._runtime.replica.check()


async def _publish(a: Node) -> frozenset[str]:
    return (await a.queue("q").enqueue(b"still here")).nodes


@pytest.mark.parametrize(("attack", "error"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_bad_input_closes_only_its_link_with_a_reason(
    attack: Attack, error: type[RemoteProtocolError]
) -> None:
    async def main(world: World) -> None:
        a, _ = await world.cluster("a", "b")
        a.declare("q")
        peer = await Peer.connect(a)
        await attack(peer)
        assert await peer.refusal() == error.code
        await unharmed(world, a)

    run(main)


def test_split_and_merged_frames_are_frames() -> None:
    """B07, B08: one byte at a time, and a thousand frames in one write."""

    async def main(world: World) -> None:
        a, _ = await world.cluster("a", "b")
        a.declare("q")
        peer = await Peer.connect(a)
        for byte in encode(peer.hello()):
            peer.send(bytes([byte]))
            await peer.writer.drain()
        assert isinstance((await peer.next()).event, Welcome)
        peer.send(encode(Ping()) * 1000)
        peer.send(encode(Subscribe(epoch=uuid4(), stored_generation=0, queues=0), session=1))
        while not isinstance((await peer.next()).event, PlanEnd):
            pass
        peer.writer.close()
        await unharmed(world, a)

    run(main)


def test_a_large_announcement_costs_no_memory_and_silence_is_cut_off() -> None:
    """B05: the peer announces the largest allowed frame, sends one byte and waits."""

    async def main(world: World) -> None:
        a, _ = await world.cluster("a", "b")
        a.declare("q")
        peer = await Peer.connect(a)
        await peer.greet()
        peer.send(HEADER.pack(16 << 20, 14, 0, 0, 1, 1) + b"x")
        await asyncio.sleep(0.05)
        ours = next(
            p
            for p in a._parts.links.peers.values()
            if p.to is None and p.link.peer.address.endswith(_port(peer))
        )
        assert ours._reader.capacity < 1 << 20
        assert await peer.refusal() == 0  # Closed by the heartbeat.
        await unharmed(world, a)

    run(main)


def test_a_frame_that_arrives_too_slowly_is_cut_off() -> None:
    """B06: single bytes with pauses keep the link from being silent, but never complete a frame."""

    async def main(world: World) -> None:
        a, _ = await world.cluster("a", "b")
        a.declare("q")
        peer = await Peer.connect(a)
        await peer.greet()
        for byte in HEADER.pack(1 << 20, 14, 0, 0, 1, 1) + bytes(1 << 20):
            peer.send(bytes([byte]))
            await asyncio.sleep(0.1)
            if peer.reader.at_eof() or not [
                p for p in a._parts.links.peers.values() if p.welcomed and _is(p, peer)
            ]:
                break
        else:
            raise AssertionError("never cut off")
        peer.writer.close()
        await unharmed(world, a)

    run(main)


def _is(ours: object, peer: Peer) -> bool:
    return bool(ours.link.peer.address.endswith(_port(peer)))  # type: ignore[attr-defined]


def _port(peer: Peer) -> str:
    return str(peer.writer.get_extra_info("sockname")[1])


def test_frames_after_a_violation_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames that arrive after a violation and before the link is closed are ignored."""

    async def main(world: World) -> None:
        a, _ = await world.cluster("a", "b")
        a.declare("q")
        peer = await Peer.connect(a)
        await until(lambda: any(_is(p, peer) for p in a._parts.links.peers.values()))
        ours = next(p for p in a._parts.links.peers.values() if _is(p, peer))
        obeyed: list[int] = []

        def feed(data: bytes) -> None:
            ours.get_buffer(len(data))[: len(data)] = data
            ours.received(len(data))

        with monkeypatch.context() as patch:
            patch.setattr(Replica, "received", lambda self, number, frame, now: obeyed.append(number))
            feed(HEADER.pack(HEADER.size - 4, 250, 0, 0, 1, 0))
            feed(encode(peer.hello()))
        assert obeyed == []
        assert await peer.refusal() == MalformedFrame.code
        await unharmed(world, a)

    run(main)


def test_a_peer_that_does_not_read_is_cut_off() -> None:
    """The link is cut once more than link_buffer_bytes_max bytes wait to be sent, and not before."""

    async def main(world: World) -> None:
        a, _ = await world.cluster("a", "b")
        a.declare("q")
        peer = await Peer.connect(a)
        await until(lambda: any(_is(p, peer) for p in a._parts.links.peers.values()))
        ours = next(p for p in a._parts.links.peers.values() if _is(p, peer))
        real, full = ours.link, Full()
        ours.link = full  # type: ignore[assignment]
        for full.buffered in (0, a.settings.link_buffer_bytes_max, a.settings.link_buffer_bytes_max + 1):
            assert not full.aborted
            ours.send([Frame(1, 0, Ping())])
        ours.link = real
        assert full.aborted
        assert "it does not read" in ours.why
        peer.writer.close()
        await unharmed(world, a)

    run(main)


class Full:
    """A link in which bytes wait."""

    def __init__(self) -> None:
        self.buffered = 0
        self.aborted = False

    def write(self, chunks: object) -> None:
        pass

    def abort(self) -> None:
        self.aborted = True


def test_links_before_their_handshake_are_limited() -> None:
    """At the limit a new link is closed at once; a place becomes free when a handshake times out or its link closes."""

    async def main(world: World) -> None:
        a = await world.start("a")
        await a.promote()
        silent = [await Peer.connect(a) for _ in range(2)]
        await until(lambda: len(a._parts.links.peers) == 2)
        refused = await Peer.connect(a)
        assert await asyncio.wait_for(refused.reader.read(), 10) == b""
        assert all(any(_is(p, peer) for p in a._parts.links.peers.values()) for peer in silent)
        for peer in silent:
            peer.writer.close()
        await until(lambda: not a._parts.links.peers)
        taken = await Peer.connect(a)
        taken.send(encode(taken.hello()))
        assert isinstance((await taken.next()).event, Welcome)
        for peer in (refused, taken):
            peer.writer.close()

    run(main, replace(QUICK, links_unauthenticated_max=2, handshake_timeout_s=60.0))


def test_a_stranger_with_a_known_node_id_is_refused() -> None:
    """B16, T40: the stranger presents another boot of a node that is connected."""

    async def main(world: World) -> None:
        a, _ = await world.cluster("a", "b")
        a.declare("q")
        peer = await Peer.connect(a)
        peer.send(encode(peer.hello(node="b")))
        assert await peer.refusal() == 17
        await unharmed(world, a)

    run(main)


def test_a_bogus_generation_makes_the_primary_ask_the_record_and_nothing_else() -> None:
    """B17, T32, F6: a higher generation is believed only if the manager confirms it."""

    async def main(world: World) -> None:
        a, _ = await world.cluster("a", "b")
        a.declare("q")
        for event in (
            Fenced(generation=2**62),
            Subscribe(epoch=uuid4(), stored_generation=2**62, queues=0),
        ):
            peer = await Peer.connect(a)
            await peer.greet()
            peer.send(encode(event, session=1))
            await peer.refusal()
            await unharmed(world, a)
            assert a.generation == 1 and a.serving

    run(main)


def test_acks_of_another_session_are_ignored() -> None:
    """An acknowledgement counts in its own session only (B19, T19)."""

    async def main(world: World) -> None:
        a, _ = await world.cluster("a", "b")
        a.declare("q")
        peer = await Peer.connect(a)
        await peer.subscribe()
        peer.send(encode(Acknowledged(position=10**6), session=77))
        await asyncio.sleep(0.05)
        assert all(s.acked < 10**6 for s in a._runtime.replica.primary.sessions.values())
        peer.writer.close()
        await until(lambda: len(a._runtime.replica.primary.sessions) == 1)
        await unharmed(world, a)

    run(main)
