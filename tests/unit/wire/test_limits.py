"""Sizes that no frame can have, and wrong values in what a node publishes about itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import msgpack
import pytest

from qpidha.checks import ADDRESSES_MAX
from qpidha.errors import ArgumentError, LocalProtocolError, MalformedFrame
from qpidha.types import NodeInfo
from qpidha.wire import codec
from qpidha.wire.events import Enqueue, Frame, Operations, Progress, SkipIds
from qpidha.wire.fields import CONTROL_BYTES_MAX
from qpidha.wire.framing import RawFrame
from qpidha.wire.info import INFO_BYTES_MAX, decode_info, encode_info

QUEUE, BOOT = UUID(int=1), UUID(int=2)


class Huge:
    """Stands for a batch of 4 GiB, which is too large to allocate in a test."""

    nbytes = 2**32

    def __len__(self) -> int:
        return 1


def test_a_part_beyond_4_gib_is_not_sent() -> None:
    part = Enqueue(queue=QUEUE, first=1, batch=Huge())  # type: ignore[arg-type]
    with pytest.raises(LocalProtocolError, match="4294967304 bytes are too many for one part"):
        codec.encode(Frame(1, 1, Operations(first=2, operations=((part,),))))


def test_a_frame_beyond_4_gib_is_not_sent() -> None:
    """Each part fits, but all together, as encoded for an earlier session, they do not."""
    operations = Operations(first=2, operations=((SkipIds(queue=QUEUE, first=1, last=1),),))
    operations.chunks.append(range(2**32))  # type: ignore[arg-type]
    with pytest.raises(LocalProtocolError, match="Operations of 4294967316 bytes"):
        codec.encode(Frame(1, 1, operations))


def test_a_control_event_has_at_most_4_kib() -> None:
    """The size is checked before msgpack reads the body."""
    body = msgpack.packb([1]).ljust(CONTROL_BYTES_MAX + 1, b"\0")
    with pytest.raises(MalformedFrame, match="4097 bytes, at most 4096 are allowed"):
        codec.decode(RawFrame(Progress.KIND, 1, 1, body))


def test_no_more_is_encoded_than_would_be_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each field has its own limit, so no event of today can reach this one: the check is for future events."""
    monkeypatch.setattr("qpidha.wire.fields.CONTROL_BYTES_MAX", 9)
    with pytest.raises(LocalProtocolError, match="Progress: 10 bytes, at most 9 are allowed"):
        codec.encode(Frame(1, 1, Progress(chunks=2**62)))


# --- what a node says about itself ---------------------------------------------------------------------

INFO = NodeInfo(peer=("::1", 5671), client=("host", 5672), boot=BOOT, score=3)
FIELDS = {"peer": ["::1", 5671], "client": ["host", 5672], "boot": BOOT.bytes, "score": 3}


def test_an_info_comes_back_equal() -> None:
    assert decode_info(encode_info(INFO)) == INFO
    assert decode_info(msgpack.packb(FIELDS | {"later": 1})) == INFO, "fields may be added"
    assert decode_info(msgpack.packb({"peer": ["h", 1], "boot": BOOT.bytes})) == NodeInfo(
        peer=("h", 1), boot=BOOT
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"peer": None},
        {"peer": ["::1"]},
        {"peer": ["::1", 65_536]},
        {"peer": [1, 1]},
        {"client": "host"},
        {"client": ["host", True]},
        {"boot": "0123456789abcdef"},
        {"boot": list(range(16))},
        {"boot": b"short"},
        {"score": "high"},
        {"score": 2**64 - 1},
        {"later": bytes(INFO_BYTES_MAX)},
    ],
    ids=repr,
)
def test_wrong_fields_are_no_info(fields: dict[str, object]) -> None:
    assert decode_info(msgpack.packb(FIELDS | fields)) is None


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_driver_may_give_any_kind_of_bytes(kind: Callable[[bytes], object]) -> None:
    assert decode_info(kind(encode_info(INFO))) == INFO


def test_what_is_no_bytes_is_no_info() -> None:
    released = memoryview(encode_info(INFO))
    released.release()
    for wrong in (None, "text", 7, [1], released):
        assert decode_info(wrong) is None


def test_further_addresses_come_back_in_their_order() -> None:
    more = (("10.1.0.1", 5671), ("node-a", 5671))
    assert decode_info(encode_info(replace(INFO, more=more))) == replace(INFO, more=more)
    assert b"more" not in encode_info(INFO), "an older node reads the rest as before"
    with pytest.raises(ArgumentError, match=r"info\.more must be a tuple of at most 7 addresses"):
        encode_info(replace(INFO, more=(("h", 1),) * ADDRESSES_MAX))


@pytest.mark.parametrize("bad", [1, "h:1", ["h"], ["h", 65_536], [1, 1], None])
def test_a_further_address_that_is_none_is_left_out(bad: object) -> None:
    """The node can be reached at the others."""
    found = decode_info(msgpack.packb(FIELDS | {"more": [bad, ["h", 1]]}))
    assert found == replace(INFO, more=(("h", 1),))
    assert decode_info(msgpack.packb(FIELDS | {"more": bad})) == INFO
    many = decode_info(msgpack.packb(FIELDS | {"more": [["h", 1]] * 20}))
    assert many is not None and len(many.peers) == ADDRESSES_MAX


@pytest.mark.parametrize("client", [["host", 0], ["0.0.0.0", 5000]])
def test_a_client_address_that_nobody_can_connect_to_is_left_out(client: list[object]) -> None:
    """The node itself can be reached. What is decoded can be encoded again."""
    found = decode_info(msgpack.packb(FIELDS | {"client": client}))
    assert found is not None
    assert found == replace(INFO, client=None)
    assert decode_info(encode_info(found)) == found


@pytest.mark.parametrize("raw", [b"", b"\xc1", b"\x01", b"\x90", msgpack.packb({1: 2}), b"\x81\xa4peer"])
def test_bytes_that_are_no_map_are_no_info(raw: bytes) -> None:
    assert decode_info(raw) is None
