"""What the wire costs per batch of 1,000 messages of 100 bytes, and per small frame.

Budget, on one core of an ordinary server: pack 25 µs, parse 2 µs, encode and decode 10 µs a batch, and
1 µs to cut a small frame from the stream.
"""

from __future__ import annotations

from typing import TypeAlias
from uuid import UUID

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from qpidha.seq import SequenceSet
from qpidha.wire import codec
from qpidha.wire.batch import Batch
from qpidha.wire.events import Acknowledged, Enqueue, Frame, Operations, PlanMessages
from qpidha.wire.framing import FrameReader, RawFrame

MESSAGES = [bytes([i % 256]) * 100 for i in range(1000)]
BATCH = Batch.pack(MESSAGES)
QUEUE = UUID(int=1)


def operations() -> Operations:
    return Operations(first=1, operations=((Enqueue(queue=QUEUE, first=1, batch=BATCH),),))


Sample: TypeAlias = Operations | PlanMessages | Acknowledged

EVENTS: dict[str, Sample] = {
    "operations": operations(),
    "plan": PlanMessages(queue=QUEUE, generation_of=1, ids=SequenceSet.from_range(1, 1000), batch=BATCH),
    "acknowledged": Acknowledged(position=1),
}


def sent(event: Sample) -> bytes:
    return b"".join(codec.encode(Frame(1, 1, event)))


def raw(event: Sample) -> RawFrame:
    (frame,) = FrameReader(2**24).feed(sent(event))
    return frame


def test_pack(benchmark: BenchmarkFixture) -> None:
    assert len(benchmark(Batch.pack, MESSAGES)) == 1000


def test_pack_all_columns(benchmark: BenchmarkFixture) -> None:
    origins = [(QUEUE.bytes, 1, i) for i in range(1000)]
    assert len(benchmark(Batch.pack, MESSAGES, MESSAGES, list(range(1000)), origins)) == 1000


def test_parse(benchmark: BenchmarkFixture) -> None:
    assert benchmark(Batch.parse, BATCH.raw) == BATCH


def test_cut_all_but_two(benchmark: BenchmarkFixture) -> None:
    assert len(benchmark(BATCH.cut, 1, 999)) == 998


def test_gather_every_second(benchmark: BenchmarkFixture) -> None:
    assert len(benchmark(BATCH.gather, [(i, i + 1) for i in range(0, 1000, 2)])) == 500


def test_join_ten(benchmark: BenchmarkFixture) -> None:
    assert len(benchmark(Batch.join, [BATCH] * 10)) == 10_000


def test_iterate(benchmark: BenchmarkFixture) -> None:
    assert benchmark(list, BATCH) == MESSAGES


@pytest.mark.parametrize("name", list(EVENTS))
def test_encode(benchmark: BenchmarkFixture, name: str) -> None:
    """For operations: to a second session, the body is there already."""
    assert benchmark(codec.encode, Frame(1, 1, EVENTS[name]))


def test_encode_operations_first_time(benchmark: BenchmarkFixture) -> None:
    assert benchmark(lambda: codec.encode(Frame(1, 1, operations())))


@pytest.mark.parametrize("name", list(EVENTS))
def test_decode(benchmark: BenchmarkFixture, name: str) -> None:
    assert benchmark(codec.decode, raw(EVENTS[name])).event == EVENTS[name]


def test_decode_a_hundred_small_operations(benchmark: BenchmarkFixture) -> None:
    one = Batch.pack([b"x" * 100])
    parts = tuple((Enqueue(queue=QUEUE, first=i, batch=one),) for i in range(1, 101))
    assert benchmark(codec.decode, raw(Operations(first=1, operations=parts)))


@pytest.mark.parametrize(("count", "message"), [(1000, 0), (1, 100_000), (1, 1_000_000)])
def test_read_frames(benchmark: BenchmarkFixture, count: int, message: int) -> None:
    large = Enqueue(queue=QUEUE, first=1, batch=Batch.pack([bytes(message)]))
    data = sent(Operations(first=1, operations=((large,),)) if message else Acknowledged(position=1))
    reader = FrameReader(2**24)
    assert len(benchmark(reader.feed, data * count)) == count
