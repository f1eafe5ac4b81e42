"""One link of a node: frames in and out, a heartbeat, and limits for a peer that is silent, slow or does not read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet, Settings
from qpidha.errors import LinkClosed
from qpidha.node.peer import READ_BYTES_MAX, READ_BYTES_MIN, READ_S, Peer
from qpidha.node.runtime import Runtime
from qpidha.wire import codec
from qpidha.wire.events import Frame, Hello, Ping, PlanMessages, Refused, Welcome
from qpidha.wire.framing import FrameReader
from tests.support.node_parts import CLUSTER, Engine, Wire

SETTINGS = Settings(
    heartbeat_interval_s=0.25, heartbeat_timeout_s=1.5, handshake_timeout_s=5.0, link_buffer_bytes_max=2**24
)
ALLOWED_S = SETTINGS.heartbeat_timeout_s + 1.0
"""More than the silence that is allowed, with what the slowest link needs."""
HELLO = Hello(version_min=1, version_max=1, cluster=CLUSTER, node="b", boot=UUID(int=7), wanted="a")
WELCOME = Welcome(version=1, cluster=CLUSTER, node="b", boot=UUID(int=7))


class Core:
    """Notes what it is given. A frame needs no run of the driver, unless a test says so."""

    generation = 3

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.failed: list[BaseException] = []
        self.follows = False
        self.on_frame: Callable[[], None] = lambda: None

    def received(self, link: int, frame: Frame, now: float) -> bool:
        assert link == 9
        self.frames.append(frame)
        self.on_frame()
        return self.follows

    def link_failed(self, link: int, error: BaseException) -> None:
        assert link == 9
        self.failed.append(error)


class Seat:
    """A link with everything around it, and a clock that a test sets."""

    def __init__(
        self, *, to: str | None = None, wire: Wire | None = None, settings: Settings = SETTINGS
    ) -> None:
        self.runtime = Runtime("a", settings, None)
        self.engine, self.core, self.now = Engine(), Core(), 1000.0
        self.runtime.connect(self.engine)
        self.runtime.clock = lambda: self.now
        self.runtime.replica = self.core  # type: ignore[assignment]
        self.wire = wire or Wire()
        self.ended: list[tuple[Peer, Exception | None]] = []
        self.peer = Peer(self.runtime, 9, self.wire, to, lambda *end: self.ended.append(end))

    def welcomed(self) -> Seat:
        self.receive(WELCOME)
        self.core.frames.clear()
        return self

    def receive(self, *events: object) -> None:
        """Frames with these events arrive together."""
        self.receive_bytes(encoded(*events))

    def receive_bytes(self, data: bytes) -> None:
        while data:
            room = self.peer.get_buffer(len(data))
            taken = min(len(room), len(data))
            room[:taken] = data[:taken]
            self.peer.received(taken)
            data = data[taken:]

    @property
    def events(self) -> list[object]:
        return [frame.event for frame in self.core.frames]

    @property
    def sent(self) -> list[object]:
        """What was written to the link."""
        reader = FrameReader(SETTINGS.frame_bytes_max)
        return [codec.decode(raw).event for raw in reader.feed(bytes(self.wire.written))]


def encoded(*events: object) -> bytes:
    return b"".join(bytes(chunk) for event in events for chunk in codec.encode(Frame(3, 0, event)))  # type: ignore[arg-type]


@pytest.fixture
def seat() -> Seat:
    return Seat()


# --- what arrives --------------------------------------------------------------------------------


def test_frames_reach_the_core_in_order_however_they_are_cut(seat: Seat) -> None:
    for byte in encoded(HELLO, Refused(code=1, reason="x")):
        seat.receive_bytes(bytes([byte]))
    assert seat.events == [HELLO, Refused(code=1, reason="x")]


def test_the_driver_runs_only_if_something_follows(seat: Seat) -> None:
    seat.receive(HELLO)
    assert seat.engine.pokes == 0
    seat.core.follows = True
    seat.receive(HELLO, HELLO)
    assert seat.engine.pokes == 1, "once for all that arrived together"


def test_heartbeats_are_not_for_the_core(seat: Seat) -> None:
    seat.welcomed().receive(Ping())
    assert seat.events == [] and seat.engine.pokes == 0


def test_large_frames_are_allowed_only_after_the_handshake(seat: Seat) -> None:
    batch = Batch.pack([bytes(2 * SETTINGS.handshake_frame_bytes_max)])
    large = PlanMessages(queue=CLUSTER, generation_of=1, ids=SequenceSet([1]), batch=batch)
    seat.receive(large)
    assert seat.events == [] and len(seat.core.failed) == 1
    later = Seat().welcomed()
    later.receive(large)
    assert later.events == [large] and later.core.failed == []


def test_to_welcome_a_peer_is_the_end_of_the_handshake_as_well(seat: Seat) -> None:
    seat.peer.send([Frame(3, 0, WELCOME)])
    assert seat.peer.welcomed


def test_a_peer_that_breaks_the_protocol_is_reported_to_the_core_once(seat: Seat) -> None:
    seat.receive_bytes(b"\xff" * 64)
    seat.receive(HELLO)
    assert len(seat.core.failed) == 1
    assert seat.events == [], "nothing of what follows is looked at"
    assert seat.engine.pokes == 1


def test_what_was_complete_before_the_bad_bytes_counts(seat: Seat) -> None:
    seat.receive_bytes(encoded(HELLO) + b"\xff" * 64)
    assert seat.events == [HELLO] and len(seat.core.failed) == 1


def test_a_frame_that_cannot_be_decoded_is_the_peer_s_fault(seat: Seat) -> None:
    whole = bytearray(encoded(HELLO))
    whole[4] = 0xEE  # A kind of frame that there is not.
    seat.receive_bytes(bytes(whole))
    assert len(seat.core.failed) == 1


def test_after_this_node_closed_the_link_nothing_more_of_it_counts(seat: Seat) -> None:
    seat.core.on_frame = lambda: seat.peer.close("two links of one node")
    seat.receive(HELLO, HELLO)
    assert len(seat.events) == 1, "not even of the same read"
    seat.receive(HELLO)
    assert len(seat.events) == 1


# --- how much is read at once --------------------------------------------------------------------


def test_less_is_read_at_once_while_what_was_read_took_long_and_more_again_later(seat: Seat) -> None:
    seat.welcomed()
    pings = encoded(Ping()) * 2000
    whole = len(seat.peer.get_buffer(-1))

    def read(took_s: float) -> int:
        """One read that takes so long. How much is read at once after it."""
        room = seat.peer.get_buffer(-1)
        nbytes = min(len(room), len(pings)) // len(encoded(Ping())) * len(encoded(Ping()))
        room[:nbytes] = pings[:nbytes]
        began = seat.now
        times = iter([began])
        seat.runtime.clock = lambda: next(times, began + took_s)
        seat.peer.received(nbytes)
        return len(seat.peer.get_buffer(-1))

    assert read(READ_S) == whole, "that is not long"
    slow = [read(2 * READ_S) for _ in range(6)]
    assert slow == sorted(slow, reverse=True) and slow[-1] == READ_BYTES_MIN
    assert read(READ_S / 2) == READ_BYTES_MIN, "neither long nor short: as before"
    quick = [read(0.0) for _ in range(9)]
    assert quick == sorted(quick) and quick[-1] == whole


def test_what_is_read_at_once_has_a_largest_size_after_it_took_too_long(seat: Seat) -> None:
    seat.peer._pace(10 * READ_BYTES_MAX, 2 * READ_S)
    assert seat.peer._read_bytes == READ_BYTES_MAX


# --- what is sent --------------------------------------------------------------------------------


def test_all_frames_of_one_call_are_one_write(seat: Seat) -> None:
    seat.peer.send([Frame(3, 0, HELLO), Frame(3, 0, Ping())])
    assert seat.sent == [HELLO, Ping()] and seat.wire.writes == 1


def test_a_peer_that_does_not_read_is_cut_off(seat: Seat) -> None:
    seat.wire.buffered = SETTINGS.link_buffer_bytes_max
    seat.peer.send([Frame(3, 0, HELLO)])
    assert not seat.wire.aborted
    seat.wire.buffered += 1
    seat.peer.send([Frame(3, 0, HELLO)])
    assert seat.wire.aborted
    assert seat.peer.why == f"it does not read: more than {SETTINGS.link_buffer_bytes_max} bytes wait for it"


def test_the_first_reason_for_closing_a_link_counts(seat: Seat) -> None:
    seat.peer.close("the first")
    seat.peer.close("the second")
    assert (seat.peer.why, seat.wire.closed) == ("the first", True)
    seat.peer.drained()
    seat.peer.closed(None)
    assert seat.ended == [(seat.peer, None)]


def test_the_end_of_a_link_is_told_with_its_error(seat: Seat) -> None:
    error = LinkClosed("reset")
    seat.peer.closed(error)
    assert seat.ended == [(seat.peer, error)]


# --- time ----------------------------------------------------------------------------------------


def test_a_heartbeat_is_sent_if_nothing_else_was(seat: Seat) -> None:
    seat.welcomed()
    seat.peer.beat(seat.now + 0.24)
    assert seat.sent == []
    seat.now += 0.25
    seat.peer.beat(seat.now)
    seat.peer.beat(seat.now + 0.2)
    assert seat.sent == [Ping()]


def test_before_the_handshake_there_are_no_heartbeats(seat: Seat) -> None:
    seat.peer.beat(seat.now + 1.0)
    assert seat.sent == []


def test_a_handshake_has_a_limit_whatever_the_peer_sends(seat: Seat) -> None:
    seat.receive(HELLO)
    seat.now += SETTINGS.handshake_timeout_s
    seat.receive(HELLO)
    seat.peer.beat(seat.now)
    assert not seat.wire.aborted
    seat.peer.beat(seat.now + 0.1)
    assert seat.wire.aborted and seat.peer.why == "no handshake in 5 s"


@pytest.mark.parametrize(("rate", "allowed_s"), [(512 * 1024, 1.5625), (1024, 33.5)])
def test_a_silent_peer_is_cut_off_after_what_the_slowest_link_needs(rate: int, allowed_s: float) -> None:
    """What arrives together is seen together: on a slow link that takes a while."""
    settings = replace(SETTINGS, link_bytes_per_s_min=rate)
    for seat in (Seat(settings=settings).welcomed(), Seat(to="b", settings=settings)):
        seat.peer.sent_at = seat.peer.opened_at = seat.now + 100.0
        seat.peer.beat(seat.now + allowed_s)
        assert not seat.wire.aborted
        seat.peer.beat(seat.now + allowed_s + 0.01)
        assert seat.wire.aborted and f"silent for more than {allowed_s:.2f} s" in seat.peer.why


def test_a_stranger_has_the_whole_time_of_the_handshake_to_say_something(seat: Seat) -> None:
    seat.peer.beat(seat.now + ALLOWED_S)
    assert not seat.wire.aborted


@pytest.mark.parametrize(("rate", "slowest"), [(512 * 1024, 1024), (16, 16)])
def test_a_frame_that_arrives_in_single_bytes_is_silence(rate: int, slowest: int) -> None:
    seat = Seat(settings=replace(SETTINGS, link_bytes_per_s_min=rate)).welcomed()
    began = seat.now
    seat.receive_bytes(encoded(HELLO)[:1])
    allowed_s = SETTINGS.heartbeat_timeout_s + 32 * 1024 / rate + 1 / slowest
    seat.now = seat.peer.heard_at = began + allowed_s
    seat.peer.beat(seat.now)
    assert not seat.wire.aborted
    seat.now = seat.peer.heard_at = began + allowed_s + 0.01
    seat.peer.beat(seat.now)
    assert seat.peer.why == f"a frame arrives more slowly than {slowest} bytes a second"


def test_between_frames_no_time_runs(seat: Seat) -> None:
    seat.welcomed()
    for _ in range(20):
        seat.now += 1.0
        seat.receive(Ping())
        seat.peer.beat(seat.now)
    assert not seat.wire.aborted


def test_the_time_of_a_frame_begins_anew_with_each_frame(seat: Seat) -> None:
    """The end of one and the begin of the next arrive together: the next one has its full time."""
    seat.welcomed()
    frame = encoded(HELLO)
    seat.receive_bytes(frame[:5])
    for _ in range(20):
        seat.now += 1.0
        seat.receive_bytes(frame[5:] + frame[:5])
        seat.peer.beat(seat.now)
    assert not seat.wire.aborted


@pytest.mark.parametrize("welcomed", [True, False])
def test_a_pause_of_this_process_counts_against_no_peer(seat: Seat, welcomed: bool) -> None:
    if welcomed:
        seat.welcomed()
    seat.receive_bytes(encoded(HELLO)[:5])
    seat.now += 60.0
    seat.peer.fresh_round(seat.now)
    seat.peer.beat(seat.now)
    assert not seat.wire.aborted


def test_a_pause_between_frames_begins_no_frame(seat: Seat) -> None:
    seat.welcomed()
    seat.peer.fresh_round(seat.now + 60.0)
    assert seat.peer._frame_since is None


# --- names ---------------------------------------------------------------------------------------


def test_a_peer_is_named_by_what_it_says_or_else_by_its_host(seat: Seat) -> None:
    assert seat.peer.name == "127.0.0.1"
    seat.receive(HELLO)
    assert seat.peer.name == "node 'b'"
    assert Seat(to="c").peer.name == "node 'c'"


def test_a_link_that_ends_without_a_word_has_a_likely_reason(seat: Seat) -> None:
    assert "it may expect TLS" in seat.peer.silence
    assert "certificate" in Seat(wire=Wire(identity=frozenset({"b"}))).peer.silence
    seat.receive_bytes(b"\x01")
    assert seat.peer.heard and seat.peer.silence == "closed by the other end"
