"""Few bytes that ask for much memory, and a program that decodes each of them with little.

Run as a program it prints one line for each input: its name, its size, and how it ended. The address space
of the process is limited while it decodes, so that what compiled code and msgpack allocate counts too, and
memory that is only reserved.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from struct import pack
from typing import Any

import msgpack

from qpidha.errors import QpidhaError
from qpidha.records.file.sessionfile import SessionInfo
from qpidha.records.format import decode_record
from qpidha.seq import SequenceSet
from qpidha.wire import codec
from qpidha.wire.batch import Batch
from qpidha.wire.events import (
    Dequeue,
    Enqueue,
    Hello,
    Operations,
    PlanDrop,
    PlanMessages,
    SkipIds,
    SubscribeQueue,
)
from qpidha.wire.fanout import FanOut
from qpidha.wire.fields import CONTROL_BYTES_MAX, LARGE_BYTES_MAX
from qpidha.wire.framing import FrameReader, RawFrame
from qpidha.wire.groups import GroupsDiffer, SubscribeGroups
from qpidha.wire.info import INFO_BYTES_MAX, decode_info

MULTIPLE = 64
"""Decoding takes at most this many bytes of memory for each byte of input. It is said in docs/fuzzing.md."""
ROOM = 4 * 2**20
"""What an allocator takes at once, however little is asked for."""
QUEUE = bytes(16)

Decoder = Callable[[bytes], object]


def varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def of_kind(event: type[Any]) -> Decoder:
    return lambda body: codec.decode(RawFrame(event.KIND, 1, 1, body))


def touch(raw: bytes) -> object:
    """Ask for a message in the middle too: that is when a batch learns where each begins."""
    batch = Batch.parse(raw)
    return batch.data(len(batch) // 2), batch.props(len(batch) // 2)


def fed(stream: bytes) -> object:
    return FrameReader(2**32 - 1).feed(stream)


def operations(part: type[Any], body: bytes, parts: int) -> bytes:
    header = pack("<BBHI16s", part.PART, 0, 0, len(body), QUEUE)
    return pack("<QI", 1, parts) + (header + body) * parts


def tree(leaf: bytes, size: int) -> bytes:
    """Arrays of 16 in arrays of 16, and so on, with the same leaf everywhere."""
    while 16 * len(leaf) + 3 < size:
        leaf = b"\xdc\x00\x10" + leaf * 16
    return leaf


RUNS = 65_536
SMALLEST_RUNS = varint(RUNS) + b"\1\0" + b"\0\0" * (RUNS - 1)
MANY_RUNS = varint(500_000) + b"\1\0" + b"\0\0" * 499_999
EMPTY_MESSAGES = pack("<IBBH", 200_000, 1, 1, 0) + bytes(8 * 200_000)
LINEAGE = b"".join(pack("<QQ", 2**62 + n, 2**62 + n) for n in range(RUNS))

BOMBS: dict[str, tuple[Decoder, bytes]] = {
    "ids: 2**60 runs announced": (SequenceSet.decode, varint(2**60) + b"\0\0" * 10),
    "ids: as many runs announced as bytes": (SequenceSet.decode, varint(2**19) + bytes(2**20)),
    "ids: one run of 2**60 ids": (SequenceSet.decode, b"\1\0" + varint(2**60)),
    "ids: half a million runs of two bytes": (SequenceSet.decode, MANY_RUNS),
    "batch: 2**32 - 1 messages announced": (Batch.parse, pack("<IBBH", 2**32 - 1, 7, 1, 0) + bytes(100)),
    "batch: 2**32 - 1 bytes announced": (Batch.parse, pack("<IBBHI", 1, 0, 1, 0, 2**32 - 1) + bytes(100)),
    "batch: empty messages": (touch, EMPTY_MESSAGES),
    "frame: 2**32 - 1 bytes announced": (fed, pack("<IBBHQQ", 2**32 - 1, 20, 0, 0, 1, 1) + bytes(100)),
    "frames: empty ones": (fed, pack("<IBBHQQ", 20, 5, 0, 0, 1, 1) * 100_000),
    "operations: 2**32 - 1 parts announced": (of_kind(Operations), pack("<QI", 1, 2**32 - 1) + bytes(2**16)),
    "operations: empty dequeues": (of_kind(Operations), operations(Dequeue, b"\0", 80_000)),
    "operations: single skips": (of_kind(Operations), operations(SkipIds, bytes(16), 60_000)),
    "operations: empty messages": (
        of_kind(Operations),
        operations(Enqueue, bytes(8) + pack("<IBBHI", 1, 0, 1, 0, 0), 60_000),
    ),
    "operations: one dequeue of many runs": (of_kind(Operations), operations(Dequeue, SMALLEST_RUNS, 1)),
    "operations: a fan-out to one queue very often": (
        of_kind(Operations),
        pack("<QI", 1, 2)
        + pack("<BBHI16s", Enqueue.PART, 0, 0, 20, QUEUE)
        + pack("<QIBBHI", 1, 1, 0, 1, 0, 0)
        + pack("<BBHI16s", FanOut.PART, 1, 0, 24 * 80_000, QUEUE)
        + (QUEUE + pack("<Q", 1)) * 80_000,
    ),
    "plan: ids announced beyond its end": (
        of_kind(PlanMessages),
        pack("<16sQI", QUEUE, 1, 2**32 - 1) + b"\0",
    ),
    "plan: an id for each of 2**60 messages": (
        of_kind(PlanMessages),
        pack("<16sQI", QUEUE, 1, 11) + b"\1\0" + varint(2**60) + EMPTY_MESSAGES,
    ),
    "drop: many runs": (of_kind(PlanDrop), msgpack.packb([QUEUE, SMALLEST_RUNS, False])),
    "drop: all ids": (of_kind(PlanDrop), msgpack.packb([QUEUE, b"\1\0" + varint(2**64 - 2), False])),
    "groups: many digests": (
        of_kind(SubscribeGroups),
        msgpack.packb([QUEUE, 0, bytes(16), bytes(LARGE_BYTES_MAX - 100)]),
    ),
    "groups: many that differ": (of_kind(GroupsDiffer), msgpack.packb([SMALLEST_RUNS])),
    "subscribe: a long lineage": (of_kind(SubscribeQueue), msgpack.packb([QUEUE, LINEAGE, 2**63, b"\0"])),
    "msgpack: an array of 2**32 - 1": (of_kind(SubscribeQueue), b"\xdd\xff\xff\xff\xff" + b"\xc0" * 2**16),
    "msgpack: a map of 2**32 - 1": (of_kind(SubscribeQueue), b"\xdf\xff\xff\xff\xff" + b"\xc0" * 2**16),
    "msgpack: bytes of 2**32 - 1": (of_kind(SubscribeQueue), b"\x94\xc6\xff\xff\xff\xff" + bytes(2**16)),
    "msgpack: text of 2**32 - 1": (of_kind(SubscribeQueue), b"\x94\xdb\xff\xff\xff\xff" + bytes(2**16)),
    "msgpack: arrays announced in arrays": (of_kind(SubscribeQueue), b"\xdc\x00\x10" * 10_000),
    "msgpack: arrays of one": (of_kind(SubscribeQueue), tree(b"\x91" * 300 + b"\x90", LARGE_BYTES_MAX)),
    "msgpack: empty arrays": (of_kind(SubscribeQueue), tree(b"\x90", LARGE_BYTES_MAX)),
    "msgpack: numbers": (of_kind(SubscribeQueue), tree(b"\xcd\xff\xff", LARGE_BYTES_MAX)),
    "msgpack: short texts": (of_kind(SubscribeQueue), tree(b"\xa2ab", LARGE_BYTES_MAX)),
    "hello: arrays of one": (of_kind(Hello), tree(b"\x91" * 40 + b"\x90", CONTROL_BYTES_MAX)),
    "info: empty maps": (decode_info, (b"\xdc\x0f\xf0" + b"\x80" * INFO_BYTES_MAX)[:INFO_BYTES_MAX]),
    "record: lists": (lambda data: decode_record(data, "r"), json.dumps([[]] * 250_000).encode()),
    "session: lists": (SessionInfo.decode, json.dumps([0, [[0]] * 10_000]).encode()),
}


def outcome(decode: Decoder, data: bytes, multiple: float) -> str:
    """How decoding ends in a process of its own, which has no freed memory to use again."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limit = size + ROOM + int(multiple * len(data))
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        try:
            ended = b"refused" if decode(data) is None else b"accepted"
        except QpidhaError:
            ended = b"refused"
        except MemoryError:
            ended = b"out of memory"
        os.write(writing, ended)
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        ended = pipe.read()
    os.waitpid(child, 0)
    return ended.decode() or "killed"


def main() -> None:
    multiple = float(sys.argv[1]) if len(sys.argv) > 1 else MULTIPLE
    for name, (decode, data) in BOMBS.items():
        print(f"{name}\t{len(data)}\t{outcome(decode, data, multiple)}")


if __name__ == "__main__":
    main()
