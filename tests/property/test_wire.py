"""The wire under random input: what is sent arrives, and any bytes give a value or a typed error (Z2).

Method: strategies for every event, with values drawn near the limits; then real frames with bytes
changed, cut, doubled and swapped; then streams cut at random places. Batches are compared with lists.
"""

from __future__ import annotations

from itertools import pairwise
from typing import get_args
from uuid import UUID

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qpidha.errors import CallerError, MalformedFrame, RemoteProtocolError
from qpidha.seq import SequenceSet
from qpidha.types import QueueSpec, Settle
from qpidha.wire import events as ev
from qpidha.wire import groups
from qpidha.wire.batch import Batch
from qpidha.wire.codec import KINDS, decode, encode
from qpidha.wire.fields import LIMIT_NAMES
from qpidha.wire.framing import FrameReader, RawFrame

QUICK = settings(max_examples=100, deadline=None)
THOROUGH = settings(max_examples=200, deadline=None)
LIMIT = 2**20


def near(high: int, low: int = 0) -> st.SearchStrategy[int]:
    """Integers of a range, of which both ends and their neighbours are drawn often."""
    edges = [n for n in (low, low + 1, high - 1, high, 127, 128, 2**32, 2**63 - 1) if low <= n <= high]
    return st.sampled_from(edges) | st.integers(low, high)


uuids = st.uuids()
u16 = near(2**16 - 1)
u32 = near(2**32 - 1)
generations = near(2**63 - 1)
positions = near(2**63 - 1)
ids = near(2**64 - 2)
next_ids = near(2**64 - 1)
nodes = st.text(min_size=1, max_size=63)  # At most 4 bytes each.
names = st.text(min_size=1, max_size=300)
specs = st.builds(QueueSpec, name=names, settle=st.sampled_from(Settle), kind=st.text(max_size=63))


@st.composite
def sets(draw: st.DrawFn) -> SequenceSet:
    result = SequenceSet()
    for first in draw(st.lists(ids, max_size=8)):
        result.add(first, min(first + draw(st.integers(0, 5)), 2**64 - 2))
    return result


@st.composite
def lineages(draw: st.DrawFn) -> tuple[tuple[int, int], ...]:
    generation = draw(st.lists(near(2**63 - 1, 1), max_size=5, unique=True))
    first = draw(st.lists(next_ids, min_size=len(generation), max_size=len(generation)))
    return tuple(zip(sorted(generation), sorted(first), strict=True))


payloads = st.binary(max_size=40) | st.integers(0, 9_000).map(bytes)
origins = st.none() | st.tuples(st.binary(min_size=16, max_size=16), near(2**63 - 1, 1), ids)


@st.composite
def batches(draw: st.DrawFn, size: int | None = None) -> Batch:
    data = draw(st.lists(payloads, min_size=size or 1, max_size=size or 5))
    n = len(data)

    def column(of: st.SearchStrategy[object]) -> object:
        return draw(st.none() | st.lists(of, min_size=n, max_size=n))

    keys = st.integers(-(2**63), 2**63 - 1)
    return Batch.pack(data, column(payloads), column(keys), column(origins))  # type: ignore[arg-type]


@st.composite
def plans(draw: st.DrawFn) -> ev.PlanMessages:
    chosen = draw(sets().filter(bool))
    batch = draw(batches(chosen.count()))
    return ev.PlanMessages(queue=draw(uuids), generation_of=draw(generations), ids=chosen, batch=batch)


@st.composite
def skips(draw: st.DrawFn) -> ev.SkipIds:
    first, last = sorted((draw(ids), draw(ids)))
    return ev.SkipIds(queue=draw(uuids), first=first, last=last)


def enqueue(queue: UUID, first: int, batch: Batch) -> ev.Enqueue:
    return ev.Enqueue(queue=queue, first=min(first, 2**64 - 1 - len(batch)), batch=batch)


@st.composite
def copies(draw: st.DrawFn) -> ev.Copy:
    wanted = draw(sets().filter(bool))
    count = wanted.count()
    props = draw(st.none() | st.tuples(*[st.binary(max_size=9)] * count)) if count < 20 else None
    first = draw(near(2**64 - 1 - count))
    return ev.Copy(
        queue=draw(uuids),
        first=first,
        source=draw(uuids),
        ids=wanted,
        replacement=draw(st.booleans()),
        props=props,
    )


@st.composite
def fan_outs(draw: st.DrawFn) -> tuple[ev.Part, ...]:
    """A publish, and copies of it or nearly so: some of them are written in the compact form."""
    batch = draw(batches())
    published = enqueue(draw(uuids), draw(ids), batch)
    whole = SequenceSet.from_range(published.first, published.first + len(batch) - 1)

    def copy() -> ev.Copy:
        wanted = draw(st.sampled_from([whole, whole, SequenceSet([published.first])]))
        source = draw(st.sampled_from([published.queue, published.queue, UUID(int=1)]))
        first = draw(near(2**64 - 1 - len(batch)))
        replacement = draw(st.sampled_from([False, False, True]))
        return ev.Copy(queue=draw(uuids), first=first, source=source, ids=wanted, replacement=replacement)

    return (published, *(copy() for _ in range(draw(st.integers(1, 4)))))


declares = st.builds(ev.Declare, queue=uuids, spec=specs, lineage=lineages(), next=next_ids)
parts = (
    st.builds(enqueue, uuids, ids, batches())
    | st.builds(ev.Dequeue, queue=uuids, ids=sets())
    | copies()
    | st.builds(ev.Drop, queue=uuids)
    | skips()
    | declares
)
one_operation = st.lists(parts, min_size=1, max_size=3).map(tuple) | fan_outs()
operations = st.lists(one_operation, min_size=1, max_size=3).map(tuple)

limits = st.builds(ev.Limits, **dict.fromkeys(LIMIT_NAMES, st.integers(1, 2**63 - 1)))  # type: ignore[arg-type]


def hellos(version_max: int) -> st.SearchStrategy[ev.Hello]:
    return st.builds(
        ev.Hello,
        version_min=u16,
        version_max=st.just(version_max),
        cluster=st.none() | uuids,
        node=nodes,
        boot=uuids,
        wanted=nodes,
        limits=st.none() if version_max < 2 else limits,
    )


def welcomes(version: int) -> st.SearchStrategy[ev.Welcome]:
    return st.builds(
        ev.Welcome,
        version=st.just(version),
        cluster=uuids,
        node=nodes,
        boot=uuids,
        limits=st.none() if version < 2 else limits,
    )


EVENTS: dict[type[object], st.SearchStrategy[ev.Event]] = {
    ev.Hello: u16.flatmap(hellos),
    ev.Welcome: u16.flatmap(welcomes),
    ev.Refused: st.builds(ev.Refused, code=u16, reason=st.text(max_size=256)),
    ev.Fenced: st.builds(ev.Fenced, generation=generations),
    ev.Ping: st.just(ev.Ping()),
    ev.Subscribe: st.builds(ev.Subscribe, epoch=uuids, stored_generation=generations, queues=u32),
    groups.SubscribeGroups: st.builds(
        groups.SubscribeGroups,
        epoch=uuids,
        stored_generation=generations,
        key=st.binary(min_size=groups.KEY_BYTES, max_size=groups.KEY_BYTES),
        digests=st.lists(
            st.binary(min_size=groups.DIGEST_BYTES, max_size=groups.DIGEST_BYTES), min_size=1, max_size=5
        ).map(tuple),
    ),
    groups.GroupsDiffer: st.builds(groups.GroupsDiffer, groups=sets()),
    groups.SubscribeRest: st.builds(groups.SubscribeRest, queues=u32),
    ev.SubscribeQueue: st.builds(
        ev.SubscribeQueue, queue=uuids, lineage=lineages(), next=next_ids, held=sets()
    ),
    ev.PlanQueue: st.builds(
        ev.PlanQueue, queue=uuids, spec=specs, lineage=lineages(), next=next_ids, held=positions
    ),
    ev.PlanDrop: st.builds(ev.PlanDrop, queue=uuids, ids=sets(), staged=st.booleans()),
    ev.PlanMessages: plans(),
    ev.PlanWithdraw: st.builds(ev.PlanWithdraw, queue=uuids),
    ev.PlanEnd: st.builds(ev.PlanEnd, position=positions, queues=u32),
    ev.Progress: st.builds(ev.Progress, chunks=positions),
    ev.Resubscribe: st.just(ev.Resubscribe()),
    ev.Operations: st.builds(ev.Operations, first=near(2**63 - 10), operations=operations),
    ev.Acknowledged: st.builds(ev.Acknowledged, position=positions),
    ev.Established: st.just(ev.Established()),
}
frames = st.builds(ev.Frame, generations, near(2**64 - 1), st.one_of(*EVENTS.values()))


def test_there_is_a_strategy_for_every_event() -> None:
    assert set(EVENTS) == set(get_args(ev.Event))


@pytest.mark.parametrize("event", list(EVENTS), ids=lambda event: event.__name__)
def test_every_event_comes_back_equal(event: type[object]) -> None:
    @settings(max_examples=40, deadline=None)
    @given(generation=generations, session=near(2**64 - 1), event=EVENTS[event])
    def comes_back(generation: int, session: int, event: ev.Event) -> None:
        frame = ev.Frame(generation, session, event)
        data = b"".join(encode(frame))
        (raw,) = FrameReader(LIMIT).feed(data)
        assert decode(raw) == frame
        # One value has one encoding: encoding what was decoded gives the same bytes.
        assert b"".join(encode(decode(raw))) == data

    comes_back()


# --- any bytes -----------------------------------------------------------------------------------


def value_or_typed_error(raw: RawFrame) -> None:
    try:
        frame = decode(raw)
    except RemoteProtocolError as error:
        said = str(error)
    else:
        # An event that was decoded can be encoded: both directions refuse the same values.
        (again,) = FrameReader(LIMIT * 16).feed(b"".join(encode(frame)))
        assert decode(again) == frame
        return
    assert len(said) < 250


@THOROUGH
@given(
    kind=st.sampled_from(sorted(KINDS)) | st.integers(0, 255),
    generation=near(2**64 - 1),
    body=st.binary(max_size=200),
)
def test_random_bodies(kind: int, generation: int, body: bytes) -> None:
    value_or_typed_error(RawFrame(kind, generation, 0, body))


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=33)
    | st.binary(min_size=16, max_size=16)
)
shapes = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(scalars, inner, max_size=2),
    max_leaves=12,
)


@QUICK
@given(kind=st.sampled_from(sorted(KINDS)), values=st.lists(shapes, max_size=7))
def test_random_msgpack(kind: int, values: list[object]) -> None:
    value_or_typed_error(RawFrame(kind, 1, 1, msgpack.packb(values, default=repr)))


@st.composite
def mutated(draw: st.DrawFn) -> RawFrame:
    """A real frame with a few bytes changed, removed, repeated or taken from elsewhere in it."""
    (raw,) = FrameReader(LIMIT).feed(b"".join(encode(draw(frames))))
    body = bytearray(raw.body)
    for _ in range(draw(st.integers(1, 4))):
        at, to = sorted((draw(st.integers(0, len(body))), draw(st.integers(0, len(body)))))
        match draw(st.sampled_from(["byte", "bits", "cut", "insert", "repeat", "end"])):
            case "byte" if at < len(body):
                body[at] = draw(st.sampled_from([0, 1, 127, 128, 255]))
            case "bits" if at < len(body):
                body[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del body[at : min(to, at + 64)]
            case "insert":
                body[at:at] = draw(st.binary(min_size=1, max_size=9))
            case "repeat":
                body[to:to] = body[at : min(to, at + 64)]
            case "end":
                del body[at:]
            case _:
                pass
    return raw._replace(body=bytes(body))


@THOROUGH
@given(raw=mutated())
def test_mutated_frames(raw: RawFrame) -> None:
    value_or_typed_error(raw)


@THOROUGH
@given(
    data=st.binary(max_size=300), limit=st.integers(20, 400), cuts=st.lists(st.integers(0, 300), max_size=5)
)
def test_random_streams_give_frames_or_one_lasting_error(data: bytes, limit: int, cuts: list[int]) -> None:
    reader, whole = FrameReader(limit), FrameReader(limit)
    got, error = feed(reader, pieces(data, cuts))
    expected, expected_error = feed(whole, [data])
    assert (got, type(error)) == (expected, type(expected_error))
    for raw in got:
        value_or_typed_error(raw)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def feed(reader: FrameReader, data: list[bytes]) -> tuple[list[RawFrame], RemoteProtocolError | None]:
    got: list[RawFrame] = []
    for piece in data:
        try:
            got += reader.feed(piece)
        except RemoteProtocolError:
            break
    return got, reader.error


@QUICK
@given(sent=st.lists(frames, min_size=1, max_size=6), size=st.integers(1, 400))
def test_a_split_stream_gives_the_same_frames(sent: list[ev.Frame], size: int) -> None:
    data = b"".join(chunk for frame in sent for chunk in encode(frame))
    reader = FrameReader(LIMIT)
    got = [raw for at in range(0, len(data), size) for raw in reader.feed(data[at : at + size])]
    assert [decode(raw) for raw in got] == sent


# --- batches -------------------------------------------------------------------------------------


def rows(batch: Batch) -> list[tuple[bytes, bytes, int, object]]:
    return [(batch.data(i), batch.props(i), batch.order(i), batch.origin(i)) for i in range(len(batch))]


@THOROUGH
@given(batch=batches(), before=st.binary(max_size=300), after=st.binary(max_size=300))
def test_a_window_is_as_good_as_the_whole(batch: Batch, before: bytes, after: bytes) -> None:
    window = Batch.parse(before + batch.raw + after, len(before), batch.nbytes)
    assert window == batch and rows(window) == rows(batch) and list(window) == list(batch)
    assert window.raw == bytes(window.chunk) == batch.raw


@QUICK
@given(batch=batches(), edges=st.sets(st.integers(0, 5), max_size=6))
def test_gather_is_slicing(batch: Batch, edges: set[int]) -> None:
    cuts = sorted(edge for edge in edges if edge <= len(batch))
    runs = list(zip(cuts[::2], cuts[1::2], strict=False))
    if runs:
        all_rows = rows(batch)
        assert rows(batch.gather(runs)) == [row for a, b in runs for row in all_rows[a:b]]


@QUICK
@given(several=st.lists(batches(), max_size=4))
def test_join_is_concatenation(several: list[Batch]) -> None:
    if not several:
        with pytest.raises(CallerError):
            Batch.join(several)
        return
    joined = Batch.join(several)
    assert rows(joined) == [row for batch in several for row in rows(batch)]
    assert Batch.parse(joined.raw) == joined


@THOROUGH
@given(raw=st.binary(max_size=120), batch=batches(), at=st.integers(0, 400), byte=st.integers(0, 255))
def test_any_bytes_are_a_batch_or_malformed(raw: bytes, batch: Batch, at: int, byte: int) -> None:
    changed = bytearray(batch.raw)
    changed[at % len(changed)] = byte
    for given_bytes in (raw, raw[:4] + b"\x00\x01\x00\x00" + raw[8:], bytes(changed)):
        try:
            parsed = Batch.parse(given_bytes)
        except MalformedFrame:
            continue
        assert parsed.raw == given_bytes
        assert sum(len(data) for data in parsed) == parsed.data_nbytes
        assert len(rows(parsed)) == len(parsed) > 0
