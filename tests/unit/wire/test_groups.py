"""The events by which groups of queues are compared: what they may hold, and that they fit every frame (C8)."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from qpidha.errors import LocalProtocolError, MalformedFrame
from qpidha.seq import SequenceSet
from qpidha.settings import FRAME_BYTES_MIN
from qpidha.wire import codec
from qpidha.wire.events import Event, Frame
from qpidha.wire.framing import FrameReader
from qpidha.wire.groups import DIGEST_BYTES, GROUPS_MAX, KEY_BYTES, GroupsDiffer, SubscribeGroups

EVENT = SubscribeGroups(
    epoch=UUID(int=1), stored_generation=2, key=bytes(KEY_BYTES), digests=(bytes(DIGEST_BYTES),)
)


def wire(event: Event) -> bytes:
    return b"".join(codec.encode(Frame(3, 4, event)))


@pytest.mark.parametrize(
    "event",
    [
        replace(EVENT, digests=tuple(bytes([n % 256] * DIGEST_BYTES) for n in range(GROUPS_MAX))),
        GroupsDiffer(groups=SequenceSet(range(0, GROUPS_MAX, 2))),
    ],
)
def test_as_many_groups_as_there_may_be_fit_the_smallest_frame(event: Event) -> None:
    data = wire(event)
    (raw,) = FrameReader(FRAME_BYTES_MIN).feed(data)
    assert codec.decode(raw).event == event


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"key": b""}, "key: must be 16 bytes"),
        ({"key": bytearray(16)}, "key: must be 16 bytes"),
        ({"digests": ()}, "digests: must be 1 to 4000 digests, not 0"),
        ({"digests": (bytes(16),) * (GROUPS_MAX + 1)}, "digests: must be 1 to 4000 digests, not 4001"),
        ({"digests": (bytes(15),)}, "digests: must be a tuple of 16 bytes each"),
        ({"digests": [bytes(16)]}, "digests: must be a tuple of 16 bytes each"),
    ],
)
def test_what_no_peer_would_accept_is_not_sent(changed: dict[str, object], message: str) -> None:
    with pytest.raises(LocalProtocolError, match=message):
        wire(replace(EVENT, **changed))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("was", "now"),
    [
        (b"\xc4\x10" + bytes(16), b"\xc4\x0f" + bytes(15)),
        (b"\xc4\x10" + bytes(16) + b"\xc4\x10", b"\xc4\x10" + bytes(16) + b"\xa4abcd"),
    ],
)
def test_digests_that_are_cut_are_refused(was: bytes, now: bytes) -> None:
    body = wire(EVENT)[24:].replace(was, now)
    with pytest.raises(MalformedFrame):
        codec.decode(FrameReader(4096).feed(wire(EVENT))[0]._replace(body=body))
