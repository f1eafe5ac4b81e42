"""What is fuzzed: one function for each kind of bytes that come from outside.

A target takes any bytes and returns nothing. It lets pass the errors that are documented for such bytes,
and nothing else; where bytes are accepted, it demands what must then hold: what was decoded is valid, can
be encoded, and decodes again to the same. `TARGETS` is the list; ``docs/fuzzing.md`` says how it is run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import pairwise
from typing import Final

from qpidha.errors import ClusterError, MalformedFrame, RemoteProtocolError, SequenceDecodeError
from qpidha.records.file.sessionfile import SessionInfo
from qpidha.records.format import _checksum, decode_record, encode_record
from qpidha.seq import SequenceSet, SequenceTracker
from qpidha.wire import codec
from qpidha.wire.batch import Batch
from qpidha.wire.events import Frame
from qpidha.wire.framing import FrameReader, RawFrame
from qpidha.wire.info import decode_info, encode_info
from tests.fuzz.objects import objects
from tests.fuzz.rows import status, store
from tests.support.cores import comparison, handshake, snapshot

FRAME_BYTES_MAX = 2**20
SAID_MAX = 250
"""Characters of an error that a peer can cause: it is logged, and sent back."""

# --- frames --------------------------------------------------------------------------------------


def frame(data: bytes) -> None:
    """A stream of frames; the first byte says in what portions it arrives, which must make no difference."""
    stream, step = data[1:], 1 + (data[0] if data else 0)
    whole, portions = FrameReader(FRAME_BYTES_MAX), FrameReader(FRAME_BYTES_MAX)
    frames = cut(whole, [stream])
    assert cut(portions, [stream[at : at + step] for at in range(0, len(stream), step)]) == frames
    assert type(whole.error) is type(portions.error)
    for raw in frames:
        for found in decoded(raw):
            (again,) = cut(FrameReader(16 * FRAME_BYTES_MAX), codec.encode(found))
            assert codec.decode(again) == found


def cut(reader: FrameReader, pieces: Iterable[bytes | memoryview]) -> list[RawFrame]:
    frames: list[RawFrame] = []
    with suppress(RemoteProtocolError):
        for piece in pieces:
            frames += reader.feed(piece)
    return frames


def decoded(raw: RawFrame) -> Iterator[Frame]:
    """The frame, or nothing if it is refused as documented."""
    try:
        yield codec.decode(raw)
    except RemoteProtocolError as error:
        assert len(str(error)) < SAID_MAX


# --- what frames are made of ---------------------------------------------------------------------


def ids(data: bytes) -> None:
    """An encoded set of ids. It may claim 2**64 of them in a few bytes: nothing here counts them one by one."""
    try:
        found = SequenceSet.decode(data)
    except SequenceDecodeError:
        return
    found.check()
    runs = list(found.runs())
    assert len(runs) == found.run_count
    assert all(first <= last for first, last in runs)
    assert all(last + 1 < first for (_, last), (first, _) in pairwise(runs))
    assert found.count() == sum(last - first + 1 for first, last in runs)
    again = SequenceSet.decode(found.encode())
    assert again == found == SequenceSet(runs)
    for chunk in found.encode_chunks(3):
        again -= SequenceSet.decode(chunk, max_runs=3)
    assert not again
    assert found & found == found | found == found
    assert not found - found
    with suppress(SequenceDecodeError):  # As the gaps of a tracker that is resumed.
        SequenceTracker.resume((1, 1, 1, 1, 0, data)).check()


def batch(data: bytes) -> None:
    """A batch; the first byte says how much of the rest is not part of it, as in a frame."""
    offset = min(data[0] if data else 0, len(data))
    try:
        found = Batch.parse(data, offset)
    except MalformedFrame:
        return
    assert Batch.parse(found.raw) == found
    n = len(found)
    assert b"".join(found) == b"".join(bytes(found.view(i)) for i in range(n))
    messages = [(found.data(i), found.props(i), found.order(i), found.origin(i)) for i in range(n)]
    assert list(map(len, found)) == [found.size(i) for i in range(n)]
    assert max(map(len, found)) == found.longest
    copy = Batch.pack(*zip(*messages, strict=True))
    assert [(copy.data(i), copy.props(i), copy.order(i), copy.origin(i)) for i in range(n)] == messages
    half = (n + 1) // 2
    parts = [found.cut(0, half)] + ([found.cut(half, n)] if half < n else [])
    assert Batch.join(parts) == found == found.gather([(0, half), *([(half, n)] if half < n else [])])
    assert found.with_origins([origin for *_, origin in messages]).data_nbytes == found.data_nbytes


# --- files of the cluster manager ----------------------------------------------------------------


def record(data: bytes) -> None:
    """A record file; or only its content, in a file whose checksum is right."""
    with suppress(ClusterError):
        again(data)
    with suppress(ValueError, RecursionError):
        content = json.loads(data)
        file = {"format": 1, "checksum": _checksum(content), "record": content}
        with suppress(ClusterError):
            again(json.dumps(file).encode())


def again(data: bytes) -> None:
    found = decode_record(data, "record.json")
    assert decode_record(encode_record(found), "record.json") == found


def session(data: bytes) -> None:
    """What a node says about itself: the file of its session, or its content, or what that carries."""
    for text in (data, with_checksum(data)):
        info = SessionInfo.decode(text)
        if info is not None and info.ttl_s == info.ttl_s:
            assert SessionInfo.decode(info.encode()) == info
    about = decode_info(data)
    if about is not None:
        assert decode_info(encode_info(about)) == about


def with_checksum(data: bytes) -> bytes:
    from qpidha.records.file.sessionfile import _checksum as checksum

    try:
        content = json.loads(data)
        return json.dumps([checksum(content), content]).encode()
    except (ValueError, RecursionError):
        return b""


Target = Callable[[bytes], None]

TARGETS: Final[dict[str, Target]] = {
    "frame": frame,
    "handshake": handshake,
    "ids": ids,
    "batch": batch,
    "snapshot": snapshot,
    "comparison": comparison,
    "status": status,
    "store": store,
    "objects": objects,
    "record": record,
    "session": session,
}
