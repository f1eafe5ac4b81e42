"""Frames come out of a byte stream the same however it is split, and nothing a peer announces costs memory.

Method: one stream, fed in every way a transport can split it; then headers with one defect each.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable

import pytest

from qpidha.errors import FrameTooLarge, LocalProtocolError, MalformedFrame, RemoteProtocolError
from qpidha.wire import framing
from qpidha.wire.framing import HEADER, HEADER_BYTES, FrameReader, RawFrame

LIMIT = 16 * 1024 * 1024


def frame(body: bytes = b"", *, kind: int = 7, generation: int = 1, session: int = 2) -> bytes:
    return HEADER.pack(HEADER_BYTES - 4 + len(body), kind, 0, 0, generation, session) + body


def receive(reader: FrameReader, pieces: Iterable[bytes]) -> list[RawFrame]:
    """Pass the data to the reader by the pair of calls that a BufferedProtocol makes."""
    frames = []
    for piece in pieces:
        while piece:
            room = reader.get_buffer(65_536)
            n = min(len(room), len(piece))
            room[:n] = piece[:n]
            room.release()
            frames += reader.buffer_updated(n)
            piece = piece[n:]
    return frames


def split(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


STREAM = [RawFrame(k, 2**64 - k, 2**64 - 1, bytes([k]) * (k * 37 % 251)) for k in range(1, 40)]
BYTES = b"".join(frame(f.body, kind=f.kind, generation=f.generation, session=f.session) for f in STREAM)


def test_the_header_is_the_specified_one() -> None:
    assert HEADER_BYTES == 24
    assert FrameReader(LIMIT).feed(
        bytes.fromhex("17000000 14 00 0000 0300000000000000 0400000000000000 616263")
    ) == [RawFrame(0x14, 3, 4, b"abc")]


def test_frames_split_at_every_byte_are_equal() -> None:
    data = frame(b"first") + frame(b"") + frame(b"third")
    for cut in range(len(data) + 1):
        for take in (receive, lambda reader, pieces: [f for p in pieces for f in reader.feed(p)]):
            got = take(FrameReader(LIMIT), [data[:cut], data[cut:]])
            assert [f.body for f in got] == [b"first", b"", b"third"]


@pytest.mark.parametrize("size", [1, 2, 3, 23, 24, 25, 100, 4096, len(BYTES)])
@pytest.mark.parametrize("limit", [300, 5000, LIMIT])
def test_any_piece_size_gives_the_same_frames(size: int, limit: int) -> None:
    reader = FrameReader(limit)
    assert receive(reader, split(BYTES, size)) == STREAM
    assert reader.pending == 0
    reader = FrameReader(limit)
    assert [f for piece in split(BYTES, size) for f in reader.feed(piece)] == STREAM


def test_a_thousand_frames_in_one_read() -> None:
    assert len(FrameReader(LIMIT).feed(frame(b"x" * 30) * 1000)) == 1000


def test_body_is_the_frames_own_bytes() -> None:
    reader = FrameReader(LIMIT)
    (first,) = reader.feed(frame(b"one"))
    reader.feed(frame(b"two"))
    assert type(first.body) is bytes and first.body == b"one"


# --- what is refused -----------------------------------------------------------------------------

BAD: dict[str, tuple[bytes, type[RemoteProtocolError]]] = {
    "length 0 (B01)": (b"\0\0\0\0", MalformedFrame),
    "length below the header (B02)": (b"\x13\0\0\0", MalformedFrame),
    "limit + 1 (B03)": ((LIMIT + 1).to_bytes(4, "little"), FrameTooLarge),
    "2**31 (B04)": (b"\0\0\0\x80", FrameTooLarge),
    "2**32 - 1 (B04)": (b"\xff\xff\xff\xff", FrameTooLarge),
    "flags (B09)": (HEADER.pack(20, 7, 1, 0, 1, 1), MalformedFrame),
    "top flag (B09)": (HEADER.pack(20, 7, 128, 0, 1, 1), MalformedFrame),
    "zero is not zero (B09)": (HEADER.pack(20, 7, 0, 256, 1, 1), MalformedFrame),
    "another protocol": (b"GET / HTTP/1.1\r\n\r\n", FrameTooLarge),
}


@pytest.mark.parametrize(("data", "error"), list(BAD.values()), ids=list(BAD))
def test_a_bad_header_ends_the_reader_as_soon_as_it_can_be_seen(
    data: bytes, error: type[RemoteProtocolError]
) -> None:
    for pieces in ([data], split(data, 1)):
        reader = FrameReader(LIMIT)
        with pytest.raises(error, match=r"^frame: ") as caught:
            receive(reader, pieces)
        assert reader.error is caught.value
        for more in (frame(), b""):
            with pytest.raises(error):
                reader.feed(more)
        with pytest.raises(error):
            reader.buffer_updated(0)
        assert len(reader.get_buffer()) > 0  # A transport that still reads must not fail.


@pytest.mark.parametrize(("data", "error"), list(BAD.values()), ids=list(BAD))
def test_good_frames_before_a_bad_one_are_not_lost(data: bytes, error: type[RemoteProtocolError]) -> None:
    for take in (lambda reader, piece: receive(reader, [piece]), FrameReader.feed):
        reader = FrameReader(LIMIT)
        assert [f.body for f in take(reader, frame(b"one") + frame(b"two") + data)] == [b"one", b"two"]
        assert isinstance(reader.error, error)
        with pytest.raises(error):
            reader.feed(frame())


def test_feed_keeps_good_frames_across_its_pieces() -> None:
    reader = FrameReader(5000)  # A small buffer, so that the bad header is in a later piece.
    data = frame(b"x" * 4000) * 3 + b"\0" * 100
    assert len(reader.feed(data)) == 3
    assert isinstance(reader.error, MalformedFrame)


def test_feed_keeps_good_frames_when_a_later_piece_is_bad_from_its_first_byte() -> None:
    reader = FrameReader(100)
    good = frame(bytes(8)) * (reader.capacity // len(frame(bytes(8))))
    assert len(good) == reader.capacity
    assert len(reader.feed(good + b"\0" * 30)) == 128
    assert isinstance(reader.error, MalformedFrame)


def test_limit_counts_and_can_be_raised_between_frames() -> None:
    reader = FrameReader(100)
    assert len(reader.feed(frame(bytes(80)))) == 1
    reader.limit = 1_000_000
    assert len(reader.feed(frame(bytes(900_000)))) == 1
    with pytest.raises(FrameTooLarge, match="1000020 exceeds the limit of 1000000"):
        reader.feed(frame(bytes(1_000_000)))


def test_limit_raised_in_the_middle_of_a_frame() -> None:
    reader = FrameReader(100)
    data = frame(bytes(70)) + frame(b"y" * 80)
    assert len(reader.feed(data[:100])) == 1
    reader.limit = LIMIT
    assert [f.body for f in reader.feed(data[100:] + frame(b"z" * 5000))] == [b"y" * 80, b"z" * 5000]


@pytest.mark.parametrize("nbytes", [-1, 2**20])
def test_a_transport_cannot_report_more_than_it_was_given(nbytes: int) -> None:
    reader = FrameReader(100)
    with pytest.raises(LocalProtocolError):
        reader.buffer_updated(nbytes)


# --- memory and time -----------------------------------------------------------------------------


def test_announcing_costs_no_memory() -> None:
    """B05: 16 MiB announced, 1 byte sent, wait."""
    tracemalloc.start()
    try:
        reader = FrameReader(LIMIT)
        reader.feed(HEADER.pack(LIMIT, 7, 0, 0, 1, 1) + b"x")
        reader.get_buffer()
        assert tracemalloc.get_traced_memory()[1] < 1024 * 1024
    finally:
        tracemalloc.stop()


def test_an_unauthenticated_peer_costs_16_kib() -> None:
    tracemalloc.start()
    try:
        reader = FrameReader(4096)
        with pytest.raises(FrameTooLarge):
            reader.feed(frame(bytes(4096)))
        assert tracemalloc.get_traced_memory()[1] < 16 * 1024 + len(frame(bytes(4096)))
    finally:
        tracemalloc.stop()


def test_the_buffer_follows_what_was_received() -> None:
    reader = FrameReader(LIMIT)
    received, data = 0, frame(bytes(LIMIT - 20))
    frames: list[RawFrame] = []
    while received < len(data):
        room = reader.get_buffer()
        n = min(len(room), len(data) - received, 65_536)
        assert n > 0
        assert reader.capacity <= framing.BUFFER_BYTES + framing.LANDING_SHARE * received
        room[:n] = data[received : received + n]
        received += n
        frames = reader.buffer_updated(n)
    assert [len(f.body) for f in frames] == [LIMIT - 20]
    reader.get_buffer()
    assert reader.capacity == framing.BUFFER_BYTES  # The memory for one large frame was given back.


def test_large_bodies_are_received_without_a_copy() -> None:
    """After the first, each costs one read of its head and the reads of its body; the buffer does not grow."""
    reader = FrameReader(LIMIT)
    bodies = [bytes([n]) * (1024 * 1024 + 100 * n) for n in range(1, 5)]
    stream, sent, taken = b"".join(map(frame, bodies)), 0, []
    reads = []
    while sent < len(stream):
        room = reader.get_buffer()
        n = min(len(room), len(stream) - sent)
        room[:n] = stream[sent : sent + n]
        taken += reader.buffer_updated(n)
        sent += n
        reads.append(n)
        assert len(reader._buffer) == framing.BUFFER_BYTES
    assert [f.body for f in taken] == bodies
    assert all(type(f.body) is bytes for f in taken)
    assert len(reads) == 2 * len(bodies)
    assert reads[2::2] == [framing.HEAD_BYTES] * 3
    assert reader.pending == 0
    assert reader.capacity == framing.BUFFER_BYTES


def test_a_large_body_ends_where_its_frame_ends() -> None:
    reader = FrameReader(LIMIT)
    data = frame(b"x" * (1 << 20))
    with pytest.raises(LocalProtocolError):
        reader.feed(data[: 1 << 19])
        reader.buffer_updated(1 << 20)
    assert reader.pending == 1 << 19
    assert [f.body for f in reader.feed(data[1 << 19 :] + frame(b"small"))] == [b"x" * (1 << 20), b"small"]
    assert len(reader.get_buffer()) == framing.BUFFER_BYTES


def test_a_header_alone_takes_no_memory() -> None:
    reader = FrameReader(LIMIT)
    assert reader.feed(frame(bytes(1 << 20))[: HEADER_BYTES + 100]) == []
    assert reader.capacity == framing.BUFFER_BYTES


class Counting(FrameReader):
    """Counts the bytes that the reader moves inside or between buffers."""

    moved = 0

    def _make_room(self) -> None:
        before = self._start, id(self._buffer)
        super()._make_room()
        if (self._start, id(self._buffer)) != before:
            self.moved += self.pending


@pytest.mark.parametrize("body", [10, 3_000, 200_000, 600_000])
def test_moving_is_linear_in_what_was_received(body: int) -> None:
    """B06, B07: however small the pieces, a byte is moved twice at most, plus the doublings."""
    reader = Counting(LIMIT)
    count = max(3, 200_000 // (body + 24))
    data = frame(bytes(body)) * count
    piece = max(1, body // 1000)
    assert sum(len(reader.feed(data[i : i + piece])) for i in range(0, len(data), piece)) == count
    assert reader.moved <= 2 * len(data)


@pytest.mark.parametrize("start", ["160301020001000f", "150301000202", "1503030002022a"])
def test_the_error_recognises_bytes_of_tls(start: str) -> None:
    """A handshake or an alert: the two ends are configured differently, which the length alone would not show."""
    with pytest.raises(FrameTooLarge, match="the other end speaks TLS, this node plain text"):
        FrameReader(4096).feed(bytes.fromhex(start))
    with pytest.raises(FrameTooLarge, match=r"bytes$"):
        FrameReader(4096).feed(bytes.fromhex("1700010000"))
