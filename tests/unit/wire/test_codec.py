"""Every event is decoded as it was encoded, no payload is copied, and the error of a bad frame names the defect.

Method: one sample of each event, shared with the golden frames of docs/wire.md; then bodies with one
defect each, and values that must not leave this node.
"""

from __future__ import annotations

import dataclasses
import re
import tracemalloc
from enum import IntEnum
from pathlib import Path
from struct import pack, unpack_from
from typing import get_args
from uuid import UUID

import msgpack
import pytest

from qpidha import errors
from qpidha.errors import LocalProtocolError, MalformedFrame, VersionMismatch
from qpidha.seq import SequenceSet
from qpidha.types import QueueSpec, Settle
from qpidha.wire import codec, payload
from qpidha.wire.batch import Batch
from qpidha.wire.events import (
    Acknowledged,
    Copy,
    Declare,
    Dequeue,
    Drop,
    Enqueue,
    Established,
    Event,
    Fenced,
    Frame,
    Hello,
    Limits,
    Operations,
    Part,
    Ping,
    PlanDrop,
    PlanEnd,
    PlanMessages,
    PlanQueue,
    PlanWithdraw,
    Progress,
    Refused,
    Resubscribe,
    SkipIds,
    Subscribe,
    SubscribeQueue,
    Welcome,
)
from qpidha.wire.fanout import FanOut
from qpidha.wire.framing import FrameReader, RawFrame
from qpidha.wire.groups import GroupsDiffer, SubscribeGroups, SubscribeRest
from qpidha.wire.version import PROTOCOL_MAX, PROTOCOL_MIN, negotiate

DOC = Path(__file__).parents[3] / "docs" / "wire.md"

QUEUE = UUID("00112233-4455-6677-8899-aabbccddeeff")
OTHER = UUID(int=7)
SPEC = QueueSpec(name="orders", settle=Settle.REPLICATED, kind="fifo")
LINEAGE = ((1, 1), (3, 500))


def ids(*runs: tuple[int, int]) -> SequenceSet:
    result = SequenceSet()
    for first, last in runs:
        result.add(first, last)
    return result


LIMITS = Limits(
    frame_bytes_max=16_777_216, message_bytes_max=8_388_608, queues_max=100_000, ids_runs_per_chunk_max=65_536
)

SAMPLES: dict[str, Event] = {
    "hello": Hello(
        version_min=1, version_max=2, cluster=None, node="b1", boot=OTHER, wanted="p", limits=LIMITS
    ),
    "hello-1": Hello(version_min=1, version_max=1, cluster=QUEUE, node="b1", boot=OTHER, wanted="p"),
    "welcome": Welcome(version=2, cluster=QUEUE, node="p", boot=OTHER, limits=LIMITS),
    "welcome-1": Welcome(version=1, cluster=QUEUE, node="p", boot=OTHER),
    "refused": Refused(code=5, reason="not the primary"),
    "fenced": Fenced(generation=2**63 - 1),
    "ping": Ping(),
    "subscribe": Subscribe(epoch=QUEUE, stored_generation=0, queues=2**32 - 1),
    "subscribe-groups": SubscribeGroups(
        epoch=QUEUE,
        stored_generation=2,
        key=bytes(range(16)),
        digests=(
            bytes.fromhex("083aac7ba77bc664005d821eb8bfa4d9"),
            bytes.fromhex("105218a4949688fe2400b2067b01726b"),
        ),
    ),
    "groups-differ": GroupsDiffer(groups=ids((1, 1))),
    "subscribe-rest": SubscribeRest(queues=1),
    "subscribe-queue": SubscribeQueue(queue=QUEUE, lineage=LINEAGE, next=501, held=ids((1, 3), (500, 500))),
    "plan-queue": PlanQueue(queue=QUEUE, spec=SPEC, lineage=LINEAGE, next=2**64 - 1, held=4),
    "plan-drop": PlanDrop(queue=QUEUE, ids=ids((0, 2**64 - 2)), staged=True),
    "plan-messages": PlanMessages(
        queue=QUEUE, generation_of=3, ids=ids((500, 500), (502, 502)), batch=Batch.pack([b"one", b"two"])
    ),
    "plan-end": PlanEnd(position=0, queues=0),
    "progress": Progress(chunks=8),
    "resubscribe": Resubscribe(),
    "operations": Operations(
        first=17,
        operations=(
            (
                Enqueue(queue=QUEUE, first=503, batch=Batch.pack([b"hello"], [b"p"])),
                Dequeue(queue=OTHER, ids=ids((9, 9))),
            ),
            (SkipIds(queue=QUEUE, first=504, last=510),),
            (Declare(queue=OTHER, spec=SPEC, lineage=((3, 1),), next=1),),
        ),
    ),
    "copies": Operations(
        first=18,
        operations=(
            (
                Copy(queue=OTHER, first=7, source=QUEUE, ids=ids((503, 504)), replacement=True),
                Dequeue(queue=QUEUE, ids=ids((503, 504))),
            ),
            (
                Copy(
                    queue=QUEUE,
                    first=511,
                    source=QUEUE,
                    ids=ids((9, 9), (12, 12)),
                    replacement=False,
                    props=(b"", b"seen"),
                ),
            ),
            (Drop(queue=OTHER),),
        ),
    ),
    "fan-out": Operations(
        first=17,
        operations=(
            (
                Enqueue(queue=QUEUE, first=503, batch=Batch.pack([b"hello"])),
                Copy(queue=OTHER, first=7, source=QUEUE, ids=ids((503, 503)), replacement=False),
                Copy(queue=UUID(int=8), first=1, source=QUEUE, ids=ids((503, 503)), replacement=False),
            ),
        ),
    ),
    "plan-withdraw": PlanWithdraw(queue=QUEUE),
    "acknowledged": Acknowledged(position=19),
    "established": Established(),
}


def wire(event: Event, generation: int = 3, session: int = 4) -> bytes:
    return b"".join(codec.encode(Frame(generation, session, event)))


def cut(data: bytes) -> RawFrame:
    (raw,) = FrameReader(2**32 - 1).feed(data)
    return raw


def body_of(event: Event) -> bytes:
    return cut(wire(event)).body


def decode(kind: int, body: bytes) -> Frame:
    return codec.decode(RawFrame(kind, 3, 4, body))


# --- round trip ----------------------------------------------------------------------------------


@pytest.mark.parametrize("event", list(SAMPLES.values()), ids=list(SAMPLES))
def test_every_event_comes_back_equal(event: Event) -> None:
    frame = Frame(2**63 - 1, 2**64 - 1, event)
    assert codec.decode(cut(b"".join(codec.encode(frame)))) == frame


def test_samples_and_tables_know_every_event_and_every_field() -> None:
    events = set(get_args(Event))
    assert {type(event) for event in SAMPLES.values()} == events == set(codec.KINDS.values())
    assert len(codec.KINDS) == len(events) and all(0 < kind < 256 for kind in codec.KINDS)
    assert set(codec.CONTROL) == events - {PlanMessages, Operations}
    for event, table in codec.CONTROL.items():
        assert [name for name, _ in table] == [field.name for field in dataclasses.fields(event)]
    assert [name for name, _ in payload.DECLARE] == [f.name for f in dataclasses.fields(Declare)][1:]
    assert len({part.PART for part in get_args(Part)}) == len(get_args(Part)) == len(payload.DECODERS)


def test_large_payloads_are_not_copied_on_either_side() -> None:
    batch = Batch.pack([b"x" * 100] * 1000)
    enqueue = Operations(first=1, operations=((Enqueue(queue=QUEUE, first=1, batch=batch),),))
    plan = PlanMessages(queue=QUEUE, generation_of=3, ids=ids((1, 1000)), batch=batch)
    for event in (enqueue, plan):
        assert any(chunk is batch.chunk for chunk in codec.encode(Frame(3, 4, event)))
    raw = cut(wire(enqueue))
    decoded = codec.decode(raw).event
    assert isinstance(decoded, Operations)
    (part,) = decoded.operations[0]
    assert isinstance(part, Enqueue) and part.batch.view(0).obj is raw.body


def test_operations_are_encoded_once_for_all_sessions() -> None:
    batch = Batch.pack([b"x" * 5000])
    event = Operations(first=1, operations=((Enqueue(queue=QUEUE, first=1, batch=batch),),) * 3)
    one, two = codec.encode(Frame(3, 4, event)), codec.encode(Frame(3, 5, event))
    assert len(one) == len(two) > 1 and len(one[0]) == 24
    assert all(a is b for a, b in zip(one[1:], two[1:], strict=True))
    assert [codec.decode(cut(b"".join(chunks))).session for chunks in (one, two)] == [4, 5]


def test_small_batches_travel_in_one_chunk() -> None:
    operations = tuple((Enqueue(queue=QUEUE, first=i, batch=Batch.pack([b"x" * 100])),) for i in range(50))
    assert len(codec.encode(Frame(3, 4, Operations(first=1, operations=operations)))) == 2


# --- what a peer may not send --------------------------------------------------------------------


def array(*values: object) -> bytes:
    return bytes(msgpack.packb(values))


def operations(
    *parts: tuple[int, int, bytes], first: int = 1, count: int | None = None, zero: int = 0
) -> bytes:
    body = pack("<QI", first, len(parts) if count is None else count)
    for kind, flags, content in parts:
        body += pack("<BBHI16s", kind, flags, zero, len(content), QUEUE.bytes) + content
    return body


LONG_LINEAGE = tuple((i, i) for i in range(1, 65_538))
MANY = ids(*((2 * i, 2 * i) for i in range(65_537)))
RAW = Batch.pack([b"abc", b""]).raw
SKIP = pack("<QQ", 5, 6)
UUID16 = QUEUE.bytes
RUN = ids((1, 2)).encode()
DECLARED = array(["a name of some length", 1, ""], b"", 1)
DEEP = b"\x91" * 900 + b"\xc0"


def copy(
    *,
    first: int = 7,
    replacement: int = 0,
    props: int = 0,
    ids: bytes = b"\x01\x05\x00",
    size: int | None = None,
) -> bytes:
    """The body of a Copy of message 5, or a broken one."""
    return pack("<QBB16sI", first, replacement, props, bytes(16), len(ids) if size is None else size) + ids


BAD_BODIES: dict[str, tuple[int, bytes, str]] = {
    # msgpack
    "nothing": (5, b"", "Ping"),
    "not an array": (5, b"\x01", "must be an array"),
    "trailing bytes (B10)": (5, b"\x90\x00", "Ping"),
    "truncated array": (21, b"\x91", "Acknowledged"),
    "never used byte": (21, b"\x91\xc1", "Acknowledged"),
    "a field too few": (22, b"", "Established"),
    "a field too many": (22, b"\x91\x01", "must have 0 fields, not 1"),
    "map (B29)": (21, b"\x91\x80", "position"),
    "filled map (B29)": (21, b"\x91\x81\x01\x02", "Acknowledged"),
    "map32 of 2**32 - 1 (B29)": (21, b"\x91\xdf\xff\xff\xff\xff", "Acknowledged"),
    "array32 of 2**32 - 1": (21, b"\xdd\xff\xff\xff\xff", "Acknowledged"),
    "str32 of 2**32 - 1": (21, b"\x91\xdb\xff\xff\xff\xff", "Acknowledged"),
    "bin32 of 2**32 - 1": (21, b"\x91\xc6\xff\xff\xff\xff", "Acknowledged"),
    "ext (B31)": (21, b"\x91\xd4\x05a", "Acknowledged"),
    "empty ext (B31)": (21, b"\x91\xc7\x00\x05", "Acknowledged"),
    "fixext truncated (B31)": (21, b"\x91\xd8\x05", "Acknowledged"),
    "ext32 of 2**32 - 1 (B31)": (21, b"\x91\xc9\xff\xff\xff\xff\x01", "Acknowledged"),
    "timestamp (B30)": (21, b"\x91\xd6\xff\0\0\0\0", "Acknowledged"),
    "timestamp of year 10**9 (B30)": (21, b"\x91\xc7\x0c\xff" + b"\0" * 4 + b"\x7f" * 8, "Acknowledged"),
    "deep (B29)": (21, DEEP, "must have 1 fields|position.*not tuple"),
    "deeper than the unpacker (B29)": (21, b"\x91" * 3000, "Acknowledged"),
    "larger than any control event": (21, b"\x91" + b"\xc0" * 5000, "5001 bytes, at most 4096"),
    "larger than a large one": (13, bytes(3 * 1024 * 1024 + 1), "PlanDrop: .* at most"),
    # integers
    "bool": (21, array(True), "position: must be an integer .*not True"),
    "float": (21, array(1.0), r"position: .*not 1\.0"),
    "NaN (B30)": (21, array(float("nan")), "not nan"),
    "nil": (21, array(None), "not None"),
    "negative position": (21, array(-1), "from 0 to 9223372036854775807, not -1"),
    "position 2**63": (21, array(2**63), "position"),
    "negative generation (B17)": (4, array(-1), "Fenced.generation"),
    "generation 2**63 (B17)": (4, array(2**63), "Fenced.generation"),
    "code 2**16": (3, array(65_536, ""), "Refused.code"),
    "queues 2**32": (15, array(1, 2**32), "PlanEnd.queues"),
    # text
    "reason too long": (3, array(1, "x" * 1025), "Refused.reason"),
    "reason of bytes": (3, array(1, b"x"), "Refused.reason"),
    "empty node": (2, array(1, UUID16, "", UUID16), "Welcome.node"),
    "node of 256 bytes": (2, array(1, UUID16, "é" * 128, UUID16), "Welcome.node"),
    "node not UTF-8 (B28)": (2, b"\x94\x01\xc4\x10" + UUID16 + b"\xa2\xff\xfe\xc4\x10" + UUID16, "Welcome"),
    "uuid of 15 bytes": (2, array(1, UUID16[1:], "n", UUID16), "Welcome.cluster: must be a UUID"),
    "uuid as text": (2, array(1, str(QUEUE), "n", UUID16), "Welcome.cluster"),
    "no cluster": (2, array(1, None, "n", UUID16), "Welcome.cluster"),
    # limits
    "limits in version 1": (2, array(1, UUID16, "n", UUID16, [1, 1, 1, 1]), "must have 4 fields, not 5"),
    "no limits in version 2": (2, array(2, UUID16, "n", UUID16), "must have 5 fields, not 4"),
    "limits are no array": (2, array(2, UUID16, "n", UUID16, 1), "Welcome.limits: must be an array of 4"),
    "three limits": (2, array(2, UUID16, "n", UUID16, [1, 1, 1]), "Welcome.limits: must be an array of 4"),
    "limit of 0": (2, array(2, UUID16, "n", UUID16, [1, 0, 1, 1]), "Welcome.limits.message_bytes_max"),
    "limit of 2**63": (
        1,
        array(1, 2, None, "b", UUID16, "p", [2**63, 1, 1, 1]),
        "Hello.limits.frame_bytes_max",
    ),
    "version as text": (2, array("1", UUID16, "n", UUID16), "Welcome.version"),
    "welcome of nothing": (2, array(), "must have 5 fields, not 0"),
    # queues
    "empty queue name (B28)": (12, array(UUID16, ["", 1, ""], b"", 1, 0), "PlanQueue.spec.name"),
    "queue name of 32,768 bytes (B28)": (12, array(UUID16, ["x" * 32_768, 1, ""], b"", 1, 0), "PlanQueue"),
    "queue name as bytes": (12, array(UUID16, [b"q", 1, ""], b"", 1, 0), "spec.name"),
    "unknown settle": (12, array(UUID16, ["q", 2, ""], b"", 1, 0), "spec.settle"),
    "settle as bool": (12, array(UUID16, ["q", True, ""], b"", 1, 0), "spec.settle"),
    "kind of 256 bytes": (12, array(UUID16, ["q", 1, "k" * 256], b"", 1, 0), "spec.kind"),
    "spec of two": (12, array(UUID16, ["q", 1], b"", 1, 0), "PlanQueue.spec"),
    "spec is not an array": (12, array(UUID16, "q", b"", 1, 0), "PlanQueue.spec"),
    "next as float": (12, array(UUID16, ["q", 1, ""], b"", 2.0**64, 0), "PlanQueue.next"),
    "negative held": (12, array(UUID16, ["q", 1, ""], b"", 1, -1), "PlanQueue.held"),
    "staged as int": (13, array(UUID16, RUN, 1), "PlanDrop.staged: must be true or false, not 1"),
    # lineages
    "lineage not of 16 bytes each": (11, array(UUID16, bytes(17), 1, RUN), "lineage: .*entries of 16"),
    "lineage as array": (11, array(UUID16, [[1, 1]], 1, RUN), "SubscribeQueue.lineage"),
    "lineage of 65,537": (11, array(UUID16, bytes(16 * 65_537), 1, RUN), "lineage: .*at most 65536"),
    "lineage generation 0": (11, array(UUID16, pack("<QQ", 0, 1), 1, RUN), "lineage: generations"),
    "lineage generation 2**63": (11, array(UUID16, pack("<QQ", 2**63, 1), 1, RUN), "lineage: generations"),
    "lineage generation twice": (11, array(UUID16, pack("<4Q", 2, 1, 2, 1), 1, RUN), "must ascend"),
    "lineage descends": (11, array(UUID16, pack("<4Q", 2, 1, 1, 1), 1, RUN), "generations must ascend"),
    "lineage ids descend": (11, array(UUID16, pack("<4Q", 1, 5, 2, 4), 1, RUN), "first ids must not descend"),
    # id sets
    "ids as array": (13, array(UUID16, [1, 2], False), "PlanDrop.ids"),
    "ids empty bytes": (13, array(UUID16, b"", False), "PlanDrop.ids"),
    "ids with 65,537 runs (B20)": (13, array(UUID16, MANY.encode(), False), "PlanDrop.ids: .*65536"),
    "ids truncated (B20)": (13, array(UUID16, RUN[:-1], False), "PlanDrop.ids"),
    "ids with more behind (B20)": (13, array(UUID16, RUN + b"\0", False), "PlanDrop.ids"),
    "ids announce 2**63 runs (B20)": (13, array(UUID16, b"\xff" * 8 + b"\x7f", False), "PlanDrop.ids"),
    "id beyond the last (B20)": (13, array(UUID16, b"\1" + b"\xff" * 9 + b"\1\0", False), "PlanDrop.ids"),
    # plan messages
    "plan too short": (14, bytes(27), "PlanMessages: 27 bytes"),
    "plan ids beyond the end": (14, pack("<16sQI", UUID16, 1, 100) + RUN + RAW, "ids: 100 bytes"),
    "plan ids 2**32 - 1": (14, pack("<16sQI", UUID16, 1, 2**32 - 1) + RUN + RAW, "PlanMessages.ids"),
    "plan without batch": (14, pack("<16sQI", UUID16, 1, len(RUN)) + RUN, "batch"),
    "plan generation": (14, pack("<16sQI", UUID16, 2**63, len(RUN)) + RUN + RAW, "generation_of"),
    "plan with more behind (B10)": (14, pack("<16sQI", UUID16, 1, len(RUN)) + RUN + RAW + b"\0", "batch"),
    "plan with 1 id for 2": (14, pack("<16sQI", UUID16, 1, 3) + ids((1, 1)).encode() + RAW, "1 ids for 2"),
    "plan with all ids": (
        14,
        pack("<16sQI", UUID16, 1, len(ids((0, 2**64 - 2)).encode())) + ids((0, 2**64 - 2)).encode() + RAW,
        "18446744073709551615 ids for 2",
    ),
    # operations
    "operations too short": (20, bytes(11), "Operations: 11 bytes"),
    "no parts": (20, operations(), "there is no operation"),
    "no parts, but bytes (B10)": (20, operations() + b"\0", "1 bytes after"),
    "a part too few": (20, operations((3, 0, SKIP), count=2), "2 parts do not fit"),
    "a part too many (B10)": (20, operations((3, 0, SKIP), (3, 0, SKIP), count=1), "40 bytes after"),
    "2**32 - 1 parts": (20, operations((3, 0, SKIP), count=2**32 - 1), "do not fit"),
    "header of a part cut": (20, operations((4, 0, DECLARED), count=2), "0 bytes left for a part's header"),
    "body of a part cut": (20, operations((3, 0, SKIP))[:-1], "15 are left"),
    "part kind 0": (20, operations((0, 0, SKIP)), "part kind 0"),
    "part kind 8": (20, operations((8, 0, SKIP)), "part kind 8"),
    "fan-out of nothing published": (20, operations((7, 0, bytes(24))), "is no Enqueue of its queue"),
    "fan-out after another operation": (
        20,
        operations((1, 0, pack("<Q", 1) + RAW), (7, 0, bytes(24))),
        "is no Enqueue of its queue",
    ),
    "fan-out of the messages of another queue": (
        20,
        operations((1, 0, pack("<Q", 1) + RAW))[:8]
        + pack("<I", 2)
        + operations((1, 0, pack("<Q", 1) + RAW))[12:]
        + pack("<BBHI16s", 7, 1, 0, 24, bytes(16))
        + bytes(24),
        "is no Enqueue of its queue",
    ),
    "fan-out to nobody": (20, operations((1, 0, pack("<Q", 1) + RAW), (7, 1, b"")), "FanOut: 0 bytes"),
    "fan-out cut": (20, operations((1, 0, pack("<Q", 1) + RAW), (7, 1, bytes(25))), "FanOut: 25 bytes"),
    "fan-out to 2**64 - 1": (
        20,
        operations((1, 0, pack("<Q", 1) + RAW), (7, 1, bytes(16) + pack("<Q", 2**64 - 2))),
        "Copy.last",
    ),
    "copy too short": (20, operations((5, 0, SKIP)), "Copy: 16 bytes, at least 30"),
    "copy with a flag of 2": (20, operations((5, 0, copy(replacement=2))), "flags must be 0 or 1"),
    "copy with too many ids": (20, operations((5, 0, copy(size=9))), "Copy.ids: 9 bytes, 3 are left"),
    "copy of nothing": (20, operations((5, 0, copy(ids=b"\x00"))), "Copy.ids: there is no id"),
    "copy with more": (20, operations((5, 0, copy() + b"x")), "Copy: 1 bytes after the ids"),
    "copy to 2**64 - 1": (20, operations((5, 0, copy(first=2**64 - 1))), "Copy.first"),
    "copy without sizes of props": (20, operations((5, 0, copy(props=1))), "Copy.props: 1 sizes do not fit"),
    "copy with long props": (20, operations((5, 0, copy(props=1) + pack("<I", 1))), "1 bytes too many"),
    "copy with more props": (
        20,
        operations((5, 0, copy(props=1) + pack("<I", 0) + b"x")),
        "1 bytes after the last",
    ),
    "drop with a body": (20, operations((6, 0, b"x")), "Drop: must be empty"),
    "first part continues": (20, operations((3, 1, SKIP)), "continues nothing"),
    "flag 2": (20, operations((3, 0, SKIP), (3, 2, SKIP)), "reserved bits"),
    "part zero is not zero": (20, operations((3, 0, SKIP), zero=1), "reserved bits"),
    "first position 2**63": (20, operations((3, 0, SKIP), first=2**63), "Operations.first"),
    "last position 2**63": (20, operations((3, 0, SKIP), (3, 0, SKIP), first=2**63 - 1), "Operations.last"),
    "enqueue of 7 bytes": (20, operations((1, 0, bytes(7))), "Enqueue: 7 bytes"),
    "enqueue without batch": (20, operations((1, 0, bytes(8))), "batch"),
    "enqueue with more behind": (20, operations((1, 0, pack("<Q", 1) + RAW + b"\0")), "batch"),
    "enqueue of id 2**64 - 1": (20, operations((1, 0, pack("<Q", 2**64 - 1) + RAW)), "Enqueue.first"),
    "enqueue runs out of ids": (20, operations((1, 0, pack("<Q", 2**64 - 2) + RAW)), "Enqueue.last"),
    "dequeue of nothing at all": (20, operations((2, 0, b"")), "Dequeue.ids"),
    "skip of 15 bytes": (20, operations((3, 0, bytes(15))), "SkipIds: must be 16"),
    "skip backwards": (20, operations((3, 0, pack("<QQ", 6, 5))), "first 6 is above last 5"),
    "skip to 2**64 - 1": (20, operations((3, 0, pack("<QQ", 6, 2**64 - 1))), "SkipIds.last"),
    "declare of a map": (20, operations((4, 0, b"\x80")), "Declare: must be an array"),
    "declare of two": (20, operations((4, 0, array(["q", 1, ""], b""))), "Declare: must have 3"),
    "declare too large": (20, operations((4, 0, bytes(3 * 1024 * 1024 + 1))), "Declare: .* at most"),
}


@pytest.mark.parametrize(("kind", "body", "said"), list(BAD_BODIES.values()), ids=list(BAD_BODIES))
def test_a_bad_body_is_refused_and_the_error_says_what_was_wrong(kind: int, body: bytes, said: str) -> None:
    with pytest.raises(MalformedFrame, match=said) as caught:
        decode(kind, body)
    assert len(str(caught.value)) < 250
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", sorted(set(range(256)) - set(codec.KINDS)))
def test_an_unknown_kind_is_refused(kind: int) -> None:
    with pytest.raises(MalformedFrame, match=f"kind {kind} is unknown"):
        decode(kind, b"\x90")


@pytest.mark.parametrize("event", list(SAMPLES.values()), ids=list(SAMPLES))
def test_a_generation_beyond_63_bits_is_refused(event: Event) -> None:
    with pytest.raises(MalformedFrame, match="generation"):
        codec.decode(RawFrame(event.KIND, 2**63, 1, body_of(event)))


@pytest.mark.parametrize("event", list(SAMPLES.values()), ids=list(SAMPLES))
def test_a_body_cut_or_continued_anywhere_is_refused(event: Event) -> None:
    body = body_of(event)
    for bad in [body[:n] for n in range(len(body))] + [body + b"\0", b"\0" + body]:
        with pytest.raises(MalformedFrame):
            decode(event.KIND, bad)


@pytest.mark.parametrize("name", ["../../etc/passwd", "a\0b", "\n", "x" * 32_767, "é" * 16_383, " "])
def test_a_queue_name_is_only_a_name(name: str) -> None:
    """B28: a name is never used as a path, so any UTF-8 text that is not too long is a name."""
    event = PlanQueue(queue=QUEUE, spec=QueueSpec(name=name), lineage=(), next=1, held=0)
    assert codec.decode(cut(wire(event))).event == event


@pytest.mark.parametrize("body", [b"\xdc\xff\xff" * 1300, b"\xdd\x00\x00\x00\x10" * 800, b"\x9f" * 4096])
def test_nested_announcements_cost_no_memory(body: bytes) -> None:
    """An unpacker reserves an announced array before it reads it: 3 bytes must not claim half a megabyte."""
    with pytest.raises(MalformedFrame):
        decode(1, body)
    tracemalloc.start()
    try:
        with pytest.raises(MalformedFrame):
            decode(1, body)
        assert tracemalloc.get_traced_memory()[1] < 256 * 1024
    finally:
        tracemalloc.stop()


class Number(IntEnum):
    SEVEN = 7


def test_a_number_of_a_subclass_is_sent_as_the_number() -> None:
    found = codec.decode(cut(wire(Acknowledged(position=Number.SEVEN)))).event
    assert found == Acknowledged(position=7) and type(found.position) is int


# --- what this node may not send -----------------------------------------------------------------

LOCAL: dict[str, Frame] = {
    "generation": Frame(2**63, 0, Ping()),
    "negative generation": Frame(-1, 0, Ping()),
    "session": Frame(0, 2**64, Ping()),
    "position": Frame(0, 0, Acknowledged(position=-1)),
    "huge position": Frame(0, 0, Acknowledged(position=10**5000)),
    "bool": Frame(0, 0, Acknowledged(position=True)),
    "uuid": Frame(0, 0, Welcome(version=1, cluster="x", node="n", boot=OTHER)),  # type: ignore[arg-type]
    "node": Frame(0, 0, Welcome(version=1, cluster=QUEUE, node="n" * 256, boot=OTHER)),
    "limits before version 2": Frame(
        0, 0, Welcome(version=1, cluster=QUEUE, node="n", boot=OTHER, limits=LIMITS)
    ),
    "no limits in version 2": Frame(0, 0, Welcome(version=2, cluster=QUEUE, node="n", boot=OTHER)),
    "surrogate": Frame(0, 0, Welcome(version=1, cluster=QUEUE, node="\ud800", boot=OTHER)),
    "spec": Frame(0, 0, PlanQueue(queue=QUEUE, spec="s", lineage=(), next=1, held=0)),  # type: ignore[arg-type]
    "settle": Frame(
        0, 0, PlanQueue(queue=QUEUE, spec=QueueSpec(name="q", settle=1), lineage=(), next=1, held=0)
    ),  # type: ignore[arg-type]
    "queue name": Frame(0, 0, PlanQueue(queue=QUEUE, spec=QueueSpec(name=""), lineage=(), next=1, held=0)),
    "lineage": Frame(0, 0, PlanQueue(queue=QUEUE, spec=SPEC, lineage=((2, 1), (1, 1)), next=1, held=0)),
    "lineage of triples": Frame(
        0, 0, PlanQueue(queue=QUEUE, spec=SPEC, lineage=((2, 1, 1),), next=1, held=0)
    ),  # type: ignore[arg-type]
    "lineage of text": Frame(0, 0, PlanQueue(queue=QUEUE, spec=SPEC, lineage=(("2", 1),), next=1, held=0)),  # type: ignore[arg-type]
    "lineage of 65,537": Frame(0, 0, PlanQueue(queue=QUEUE, spec=SPEC, lineage=LONG_LINEAGE, next=1, held=0)),
    "ids": Frame(0, 0, PlanDrop(queue=QUEUE, ids={1, 2}, staged=False)),  # type: ignore[arg-type]
    "too many runs": Frame(0, 0, PlanDrop(queue=QUEUE, ids=MANY, staged=False)),
    "ids and batch": Frame(
        0, 0, PlanMessages(queue=QUEUE, generation_of=1, ids=ids((1, 3)), batch=Batch.pack([b"a", b"b"]))
    ),
    "no operation": Frame(0, 0, Operations(first=1, operations=())),
    "empty operation": Frame(0, 0, Operations(first=1, operations=((),))),
    "last position": Frame(
        0, 0, Operations(first=2**63 - 1, operations=((SkipIds(queue=QUEUE, first=1, last=1),),) * 2)
    ),
    "skip backwards": Frame(
        0, 0, Operations(first=1, operations=((SkipIds(queue=QUEUE, first=2, last=1),),))
    ),
    "ids run out": Frame(
        0,
        0,
        Operations(
            first=1, operations=((Enqueue(queue=QUEUE, first=2**64 - 2, batch=Batch.pack([b"", b""])),),)
        ),
    ),
}


@pytest.mark.parametrize("frame", list(LOCAL.values()), ids=list(LOCAL))
def test_a_frame_that_could_not_be_decoded_is_not_encoded(frame: Frame) -> None:
    with pytest.raises(LocalProtocolError, match="cannot be sent") as caught:
        codec.encode(frame)
    assert len(str(caught.value)) < 250
    if isinstance(frame.event, Operations):
        assert frame.event.chunks == []


@pytest.mark.parametrize("reason", ["x" * 5000, "é" * 1000, "\ud800", "ab" * 512 + "€"])
def test_a_reason_is_cut_rather_than_refused(reason: str) -> None:
    event = codec.decode(cut(wire(Refused(code=1, reason=reason)))).event
    assert isinstance(event, Refused)
    assert len(event.reason.encode()) <= 1024
    assert event.reason[:1] in (reason[0], "?")


LARGEST = Limits(
    frame_bytes_max=2**63 - 1,
    message_bytes_max=2**63 - 1,
    queues_max=2**63 - 1,
    ids_runs_per_chunk_max=2**63 - 1,
)


def test_the_largest_of_each_limit_fits() -> None:
    lineage = tuple((2**62 + i, 2**63 + i) for i in range(65_536))
    step = (2**64 - 2) // 65_536
    held = ids(*((i * step, i * step + step // 2) for i in range(65_536)))
    spec = QueueSpec(name="n" * 32_767, kind="k" * 255)
    for event in (
        SubscribeQueue(queue=QUEUE, lineage=lineage, next=2**64 - 1, held=held),
        PlanQueue(queue=QUEUE, spec=spec, lineage=lineage, next=2**64 - 1, held=2**63 - 1),
        PlanDrop(queue=QUEUE, ids=held, staged=False),
        Operations(first=1, operations=((Declare(queue=QUEUE, spec=spec, lineage=lineage, next=1),),)),
        Hello(
            version_min=0,
            version_max=65_535,
            cluster=QUEUE,
            node="é" * 127,
            boot=OTHER,
            wanted="w" * 255,
            limits=LARGEST,
        ),
        Refused(code=65_535, reason="r" * 1024),
    ):
        assert codec.decode(cut(wire(event))).event == event
    assert (
        len(
            wire(
                Hello(
                    version_min=0,
                    version_max=2,
                    cluster=QUEUE,
                    node="n" * 255,
                    boot=OTHER,
                    wanted="w" * 255,
                    limits=LARGEST,
                )
            )
        )
        <= 1024
    )


# --- versions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "chosen"),
    [(1, 1, 1), (0, 1, 1), (1, 2, 2), (2, 2, 2), (1, 3, 3), (1, 4, 4), (2, 9, 5), (0, 65_535, 5)],
)
def test_the_highest_version_that_both_speak_is_chosen(low: int, high: int, chosen: int) -> None:
    assert negotiate(low, high) == chosen <= PROTOCOL_MAX == 5


@pytest.mark.parametrize(("low", "high"), [(0, 0), (6, 9), (1, 0), (9, 1)])
def test_versions_without_overlap_are_refused(low: int, high: int) -> None:
    with pytest.raises(VersionMismatch, match=f"{low} to {high}"):
        negotiate(low, high)
    assert PROTOCOL_MIN <= PROTOCOL_MAX


LIMITS_ARRAY = [16_777_216, 8_388_608, 100_000, 65_536]


def hello(version_max: int, *more: object) -> bytes:
    return array(1, version_max, None, "b1", UUID16, "p", *more)


def test_the_hello_of_a_later_version_may_say_more_and_no_other_may() -> None:
    event = decode(1, hello(6, LIMITS_ARRAY, "new", [1, 2])).event
    assert isinstance(event, Hello) and (event.version_max, event.limits) == (6, LIMITS)
    for bad in (
        hello(1, LIMITS_ARRAY),
        hello(2, LIMITS_ARRAY, "new"),
        hello(2),
        hello(3),
        hello(3, LIMITS_ARRAY, "new"),
        hello(2, LIMITS_ARRAY)[:-3],
        hello("2", LIMITS_ARRAY),  # type: ignore[arg-type]
        hello(5, LIMITS_ARRAY, {1: 2}),
    ):
        with pytest.raises(MalformedFrame, match="Hello"):
            decode(1, bad)


def test_a_peer_of_version_1_is_understood_and_answered_in_version_1() -> None:
    """Its Hello has six fields, and its Welcome four; of a later Hello it reads the first six (V2)."""
    event = decode(1, hello(1)).event
    assert isinstance(event, Hello) and event.limits is None
    assert body_of(SAMPLES["welcome-1"]) == array(1, UUID16, "p", OTHER.bytes)
    assert body_of(SAMPLES["hello"]).startswith(b"\x97" + array(1, 2, None, "b1", OTHER.bytes, "p")[1:])


# --- the specification ---------------------------------------------------------------------------


def documented_frames() -> dict[str, bytes]:
    """The hex dumps of docs/wire.md: blocks of ``hex NAME``, with comments after ``|``."""
    blocks = re.findall(r"^```hex (\S+)\n(.*?)^```", DOC.read_text(), re.MULTILINE | re.DOTALL)
    return {
        name: bytes.fromhex("".join(line.partition("|")[0] for line in text.splitlines()))
        for name, text in blocks
    }


def test_the_specification_shows_what_is_sent() -> None:
    shown = documented_frames()
    assert set(shown) >= {
        "hello",
        "welcome",
        "welcome-1",
        "subscribe-queue",
        "plan-queue",
        "plan-messages",
        "operations",
        "fan-out",
    }
    for name, data in shown.items():
        assert wire(SAMPLES[name]) == data, name
        assert codec.decode(cut(data)) == Frame(3, 4, SAMPLES[name])


def test_the_specification_lists_every_kind_and_every_code() -> None:
    text = DOC.read_text()
    for kind, event in codec.KINDS.items():
        assert re.search(rf"^\| {kind} \| `{event.__name__}` \|", text, re.MULTILINE), event
    for part in (*get_args(Part), FanOut):
        assert re.search(rf"^\| {part.PART} \| `{part.__name__}` \|", text, re.MULTILINE), part
    for error in vars(errors).values():
        if isinstance(error, type) and issubclass(error, errors.RemoteProtocolError):
            assert re.search(rf"^\| {error.code} \| `{error.__name__}` \|", text, re.MULTILINE), error


def other_copy(**changed: object) -> Copy:
    """A copy of messages 5 and 6 of a queue, or of others, or with more than that."""
    fields: dict[str, object] = {
        "queue": OTHER,
        "first": 7,
        "source": QUEUE,
        "ids": ids((5, 6)),
        "replacement": False,
    }
    return Copy(**fields | changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("copies", "parts"),
    [
        ([other_copy(), other_copy(first=1)], 2),
        ([other_copy(replacement=True)], 2),
        ([other_copy(props=(b"", b""))], 2),
        ([other_copy(source=OTHER)], 2),
        ([other_copy(ids=ids((5, 5)))], 2),
        ([other_copy(ids=ids((4, 6)))], 2),
        ([other_copy(ids=ids((5, 7)))], 2),
        ([other_copy(ids=ids((5, 6), (8, 8)))], 2),
        ([other_copy(), other_copy(ids=ids((5, 5))), other_copy()], 4),
    ],
    ids=["all", "moved", "new props", "of another", "fewer", "before", "more", "with a hole", "mixed"],
)
def test_copies_of_all_that_was_just_published_share_one_part(copies: list[Copy], parts: int) -> None:
    """The form on the wire is smaller; what arrives is the same (docs/wire.md)."""
    published = Enqueue(queue=QUEUE, first=5, batch=Batch.pack([b"a", b"b"]))
    event = Operations(first=1, operations=((published, *copies),))
    data = wire(event)
    assert codec.decode(cut(data)) == Frame(3, 4, event)
    assert unpack_from("<I", cut(data).body, 8) == (parts,)
    compact = parts == 2 and len(copies) == 2
    assert (len(cut(data).body) == 12 + 24 + 8 + published.batch.nbytes + 24 + 2 * 24) is compact


def test_a_fan_out_costs_24_bytes_for_each_queue() -> None:
    def size(queues: int) -> int:
        copies = [other_copy(queue=UUID(int=n)) for n in range(queues)]
        published = Enqueue(queue=QUEUE, first=5, batch=Batch.pack([b"a", b"b"]))
        return len(wire(Operations(first=1, operations=((published, *copies),))))

    assert size(100) - size(1) == 99 * 24


def test_a_copy_has_new_props_for_each_message_or_for_none() -> None:
    wrong = Copy(queue=QUEUE, first=1, source=OTHER, ids=ids((1, 3)), replacement=True, props=(b"", b""))
    frame = Frame(3, 1, Operations(first=1, operations=((wrong,),)))
    with pytest.raises(LocalProtocolError, match="2 for 3 messages"):
        codec.encode(frame)


@pytest.mark.parametrize("bits", range(64))
def test_a_position_of_any_size_is_read_as_msgpack_reads_it(bits: int) -> None:
    """Most acknowledgements have one of a few forms, which are read without msgpack."""
    for position in {max(0, 2**bits - 1), min(2**bits, 2**63 - 1), min(2**bits + 1, 2**63 - 1)}:
        event = Acknowledged(position=position)
        body = b"".join(codec.encode(Frame(1, 1, event)))[24:]
        assert body == msgpack.packb([position])
        assert codec.decode(RawFrame(21, 1, 1, body)).event == event
        for wide in (b"\xcc", b"\xcd", b"\xce", b"\xcf"):  # A longer form of the same number is legal, too.
            size = 1 << (wide[0] - 0xCC)
            if position < 1 << 8 * size:
                long = b"\x91" + wide + position.to_bytes(size, "big")
                assert codec.decode(RawFrame(21, 1, 1, long)).event == event


def test_headers_beyond_the_usual_range_are_checked() -> None:
    ping = Ping()
    for generation, session in ((2**63 - 1, 1), (1, 2**64 - 1), (2**62 + 1, 2**62 + 1)):
        raw = b"".join(codec.encode(Frame(generation, session, ping)))
        assert codec.decode(FrameReader(100).feed(raw)[0]) == Frame(generation, session, ping)
    for generation, session in ((2**63, 1), (1, 2**64), (-1, 1), (True, 1), (1, None)):
        with pytest.raises(LocalProtocolError):
            codec.encode(Frame(generation, session, ping))  # type: ignore[arg-type]
    with pytest.raises(MalformedFrame):
        codec.decode(RawFrame(5, 2**63, 1, b"\x90"))


def test_a_part_whose_queue_is_no_uuid_is_not_sent() -> None:
    part = Dequeue(queue="q", ids=SequenceSet([1]))  # type: ignore[arg-type]
    with pytest.raises(LocalProtocolError, match=r"Dequeue\.queue: must be a UUID"):
        codec.encode(Frame(1, 1, Operations(first=1, operations=((part,),))))
