"""A batch is one block of bytes: what goes in comes out, whatever is not a batch is refused.

Method: small batches with every combination of columns, checked against plain lists; then the block is
broken in each place where it can be.
"""

from __future__ import annotations

import gc
import pickle
import struct
import sys
from collections.abc import Sequence
from itertools import product

import pytest

from qpidha.errors import CallerError, MalformedFrame
from qpidha.types import BytesLike
from qpidha.wire._batch import ORDER, ORIGINS, PROPS
from qpidha.wire.batch import Batch, Landing

DATA = [b"alpha", b"", b"gamma-long", b"d"]
EXTRA = [b"", b"p1", b"p", b"pppp"]
KEYS = [-(2**63), 0, 7, 2**63 - 1]
EIGHT = struct.pack("<2I", 1, 2)
FROM = [None, (b"q" * 16, 1, 5), (b"\xff" * 16, 2**63 - 1, 2**64 - 2), (bytes(16), 0, 3)]

Origins = Sequence[tuple[bytes, int, int] | None]


def full() -> Batch:
    return Batch.pack(DATA, EXTRA, KEYS, FROM)


def rows(batch: Batch) -> list[tuple[bytes, bytes, int, object]]:
    return [(batch.data(i), batch.props(i), batch.order(i), batch.origin(i)) for i in range(len(batch))]


ROWS = list(zip(DATA, EXTRA, KEYS, FROM, strict=True))


def test_layout_is_the_specified_one() -> None:
    batch = Batch.pack([b"ab", b"c"], [b"", b"P"], [1, -2], [None, (b"Q" * 16, 3, 4)])
    assert batch.raw == (
        struct.pack("<IBBH", 2, PROPS | ORDER | ORIGINS, 1, 0)
        + struct.pack("<II", 2, 1)
        + struct.pack("<II", 0, 1)
        + struct.pack("<qq", 1, -2)
        + bytes(32)
        + struct.pack("<16sQQ", b"Q" * 16, 3, 4)
        + b"abc"
        + b"P"
    )


@pytest.mark.parametrize("columns", list(product([False, True], repeat=3)))
def test_what_is_packed_can_be_read_with_any_columns(columns: tuple[bool, bool, bool]) -> None:
    with_props, with_order, with_origins = columns
    batch = Batch.pack(
        DATA,
        EXTRA if with_props else None,
        KEYS if with_order else None,
        FROM if with_origins else None,
    )
    for seen in (batch, Batch.parse(batch.raw)):
        assert [row[0] for row in rows(seen)] == DATA == list(seen)
        assert [row[1] for row in rows(seen)] == (EXTRA if with_props else [b""] * 4)
        assert [row[2] for row in rows(seen)] == (KEYS if with_order else [0] * 4)
        assert [row[3] for row in rows(seen)] == (FROM if with_origins else [None] * 4)
        assert [bytes(seen.view(i)) for i in range(4)] == DATA
        assert [seen.size(i) for i in range(4)] == [5, 0, 10, 1]
        assert seen.columns == PROPS * with_props + ORDER * with_order + ORIGINS * with_origins
        assert (seen.data_nbytes, seen.longest, seen.nbytes) == (16, 10, len(batch.raw))


def test_pack_takes_every_bytes_like_and_any_iterable_twice_the_same() -> None:
    # The last one has items of four bytes: what counts is the buffer.
    mixed: list[BytesLike] = [b"a", bytearray(b"bcd"), memoryview(b"xyz")[1:], memoryview(EIGHT).cast("I")]
    assert list(Batch.pack(mixed)) == [b"a", b"bcd", b"yz", EIGHT]
    assert Batch.pack(tuple(mixed)) == Batch.pack(mixed)


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (([],), CallerError, "at least one"),
        (([b"a"], []), CallerError, "props has 0 entries for 1"),
        (([b"a"], None, [1, 2]), CallerError, "order has 2 entries for 1"),
        (([b"a"], None, None, []), CallerError, "origins has 0 entries for 1"),
        (([b"a"], None, [2**63]), CallerError, r"order\[0\]"),
        (([b"a"], None, [-(2**63) - 1]), CallerError, r"order\[0\]"),
        (([b"a"], None, ["1"]), TypeError, "str"),
        (([b"a"], None, [1.0]), TypeError, "float"),
        (([b"a"], None, None, [(b"short", 1, 1)]), CallerError, "16 bytes"),
        (([b"a"], None, None, [(b"q" * 16, 2**63, 1)]), CallerError, "generation"),
        (([b"a"], None, None, [(b"q" * 16, -1, 1)]), CallerError, "generation"),
        (([b"a"], None, None, [(b"q" * 16, 1, 2**64 - 1)]), CallerError, "message id out of range"),
        ((["text"],), TypeError, r"data\[0\] must be bytes-like, not str"),
        (([b"a", 5],), TypeError, r"data\[1\]"),
        (([b"a"], [None]), TypeError, r"props\[0\]"),
        (([memoryview(b"abcd")[::2]],), TypeError, "gaps"),
    ],
)
def test_pack_refuses(arguments: tuple[object, ...], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        Batch.pack(*arguments)  # type: ignore[arg-type]


def test_batches_are_made_by_their_three_makers_only() -> None:
    with pytest.raises(TypeError, match=r"Batch\.pack"):
        Batch()
    hollow = Batch.__new__(Batch)  # It has no messages, and every access must raise an error.
    assert (len(hollow), hollow.raw, list(hollow)) == (0, b"", [])
    with pytest.raises(IndexError):
        hollow.data(0)


# --- parse ---------------------------------------------------------------------------------------


def broken() -> dict[str, bytes]:
    """Blocks that are not a batch, each by one defect."""
    good = full().raw
    return {
        "nothing": b"",
        "one byte more": good + b"\0",
        "empty": struct.pack("<IBBH", 0, 0, 1, 0),
        "version 0": good[:5] + b"\0" + good[6:],
        "version 2": good[:5] + b"\2" + good[6:],
        "unknown column": good[:4] + b"\x0f" + good[5:],
        "high column": good[:4] + b"\x87" + good[5:],
        "reserved low": good[:6] + b"\1" + good[7:],
        "reserved high": good[:7] + b"\1" + good[8:],
        "count 2**32 - 1": b"\xff" * 4 + good[4:],
        "data length 2**32 - 1": good[:8] + b"\xff" * 4 + good[12:],
        "all lengths 2**32 - 1": good[:8] + b"\xff" * 32 + good[40:],
        "props length one more": good[:24] + b"\1" + good[25:],
        "data and props lengths disagree": good[:8] + b"\x06" + good[9:],
        "generation of an origin": Batch.pack([b""], None, None, [(bytes(16), 1, 1)]).raw[:-16]
        + struct.pack("<QQ", 2**63, 1),
        "id of an origin": Batch.pack([b""], None, None, [(bytes(16), 1, 1)]).raw[:-8] + b"\xff" * 8,
        "id of the second origin": Batch.pack([b""] * 2, None, None, [(bytes(16), 1, 1)] * 2).raw[:-8]
        + b"\xff" * 8,
    }


@pytest.mark.parametrize("raw", list(broken().values()), ids=list(broken()))
def test_parse_refuses_what_is_not_exactly_a_batch(raw: bytes) -> None:
    for given in (raw, bytearray(raw), memoryview(raw)):
        with pytest.raises(MalformedFrame, match=r"^batch: "):
            Batch.parse(given)
    with pytest.raises(MalformedFrame):
        Batch.parse(b"\xff" * 7 + raw + b"\xff" * 9, 7, len(raw))


def test_parse_refuses_a_batch_cut_at_any_byte() -> None:
    raw = full().raw
    for n in range(len(raw)):
        with pytest.raises(MalformedFrame):
            Batch.parse(raw[:n])
        with pytest.raises(MalformedFrame):
            Batch.parse(raw, 0, n)


@pytest.mark.parametrize(("offset", "length"), [(-1, None), (200, None), (0, -1), (0, 200), (9, 2**62)])
def test_parse_refuses_windows_that_are_not_inside(offset: int, length: int | None) -> None:
    with pytest.raises(MalformedFrame):
        Batch.parse(bytes(100), offset, length)


def test_parse_keeps_bytes_and_copies_anything_else() -> None:
    raw = bytes(full().raw)
    assert Batch.parse(raw).raw is raw
    assert Batch.parse(raw).chunk is raw
    changing = bytearray(raw)
    batch = Batch.parse(changing)
    changing[:] = bytes(len(raw))
    assert batch.raw == raw


def test_a_large_window_is_shared_and_a_small_one_is_copied() -> None:
    raw = full().raw
    frame = b"head" + raw
    large = Batch.parse(frame, 4)
    assert isinstance(large.chunk, memoryview)
    assert large.chunk.obj is frame
    assert large.view(0).obj is frame
    assert large.raw == raw == bytes(large.chunk)
    assert rows(large) == ROWS
    padded = raw + bytes(len(raw) + 1)
    before = sys.getrefcount(padded)
    small = Batch.parse(padded, 0, len(raw))
    assert sys.getrefcount(padded) == before
    assert small.chunk == raw and isinstance(small.chunk, bytes)


# --- parts and sums ------------------------------------------------------------------------------


def test_cut_and_gather_take_the_right_messages() -> None:
    batch = full()
    for start in range(4):
        for stop in range(start + 1, 5):
            assert rows(batch.cut(start, stop)) == ROWS[start:stop]
    for mask in range(1, 16):
        chosen = [i for i in range(4) if mask >> i & 1]
        assert rows(batch.gather([(i, i + 1) for i in chosen])) == [ROWS[i] for i in chosen]
    assert batch.cut(0, 4) is batch
    assert batch.gather([(0, 1), (1, 4)]) is batch


@pytest.mark.parametrize(
    "runs", [[], [(0, 0)], [(2, 1)], [(-1, 1)], [(0, 5)], [(0, 2), (1, 3)], [(2, 3), (0, 1)], [(4, 5)]]
)
def test_gather_refuses_runs_that_are_not_ascending_inside(runs: list[tuple[int, int]]) -> None:
    with pytest.raises(IndexError):
        full().gather(runs)


def test_join_fills_missing_columns() -> None:
    plain, rich = Batch.pack([b"x", b"yy"]), full()
    joined = Batch.join([plain, rich, plain])
    nothing = [(b"x", b"", 0, None), (b"yy", b"", 0, None)]
    assert rows(joined) == nothing + ROWS + nothing
    assert joined.columns == PROPS | ORDER | ORIGINS
    assert Batch.join([plain, plain]).columns == 0
    assert Batch.join((rich,)) is rich
    with pytest.raises(CallerError):
        Batch.join([])
    with pytest.raises(TypeError):
        Batch.join([plain, b"no"])  # type: ignore[list-item]


def test_with_origins_replaces_only_the_origins() -> None:
    origins: Origins = [(b"z" * 16, 9, i + 1) for i in range(4)]
    for batch in (full(), Batch.pack(DATA)):
        moved = batch.with_origins(origins)
        assert [row[:3] for row in rows(moved)] == [row[:3] for row in rows(batch)]
        assert [moved.origin(i) for i in range(4)] == origins
    with pytest.raises(CallerError):
        full().with_origins(origins[:3])


def test_without_origins_drops_only_the_origins() -> None:
    bare = full().without_origins()
    assert [row[:3] for row in rows(bare)] == [row[:3] for row in rows(full())]
    assert (bare.columns, bare.origin(1)) == (PROPS | ORDER, None)
    assert bare == Batch.pack(DATA, EXTRA, KEYS)
    assert bare.without_origins() is bare
    assert Batch.pack(DATA, origins=FROM).without_origins() == Batch.pack(DATA)


# --- as a value ----------------------------------------------------------------------------------


def test_equality_and_hash_are_those_of_the_bytes() -> None:
    batch = full()
    window = Batch.parse(b"12345678" + batch.raw, 8)
    assert batch == window == Batch.parse(batch.raw)
    assert hash(batch) == hash(window) == hash(batch.raw)
    assert batch != Batch.pack(DATA) and batch != batch.raw
    assert len({batch, window, Batch.pack(DATA)}) == 2
    assert Batch.pack([b"ab"]) != Batch.pack([b"ba"]), "as long, and as many"


def test_a_window_shows_nothing_of_what_is_around_it() -> None:
    """At the start of larger bytes, at their end, and in the middle; none of them is copied for it."""
    raw = full().raw
    for before, after in ((b"", b"after"), (b"before", b""), (b"before", b"after")):
        window = Batch.parse(before + raw + after, len(before), len(raw))
        assert (window.raw, bytes(window.chunk), hash(window)) == (raw, raw, hash(raw))


def test_pickle_and_repr() -> None:
    batch = Batch.parse(b"1" + full().raw, 1)
    assert pickle.loads(pickle.dumps(batch)) == batch
    assert "alpha" not in repr(batch)


@pytest.mark.parametrize("i", [-1, 4, 2**40])
def test_an_index_outside_is_refused(i: int) -> None:
    batch = full()
    for method in (batch.data, batch.view, batch.props, batch.order, batch.origin, batch.size):
        with pytest.raises(IndexError):
            method(i)


def test_views_keep_the_bytes_alive() -> None:
    views = [Batch.parse(b"x" * 8 + full().raw, 8).view(i) for i in range(4)]
    assert [bytes(view) for view in views] == DATA
    assert all(view.readonly for view in views)


def test_bytes_are_received_into_their_final_memory() -> None:
    landing = Landing(10)
    landing.put(b"0123")
    assert (len(landing), landing.filled, landing.rest) == (10, 4, 6)
    landing.room[:5] = b"45678"
    landing.received(5)
    for refused in (lambda: landing.put(b"90"), lambda: landing.received(2), lambda: landing.received(-1)):
        with pytest.raises(ValueError, match="cannot"):
            refused()
    with pytest.raises(ValueError, match="1 of 10 bytes"):
        landing.take()
    landing.put(memoryview(b"9"))
    taken = landing.take()
    assert taken == b"0123456789"
    assert landing.take() is taken
    with pytest.raises(BufferError):
        landing.room  # noqa: B018
    with pytest.raises(ValueError, match="0 bytes cannot land"):
        Landing(0)
    with pytest.raises(TypeError):
        landing.put("text")  # type: ignore[arg-type]


def test_a_view_keeps_the_received_bytes_alive() -> None:
    view = Landing(1000).room
    gc.collect()
    view[:] = bytes(1000)
    assert view == bytes(1000)


def test_with_numbers_is_with_origins_of_consecutive_ids() -> None:
    queue = bytes(range(16))
    for batch in (full(), Batch.pack([b"", b"2"]), Batch.pack([b"1"], [b"p"])):
        for generation, first, step in ((7, 5, 1), (2**63 - 1, 2**64 - 9, 1), (1, 4, 0)):
            origins = [(queue, generation, first + step * n) for n in range(len(batch))]
            assert batch.with_numbers(queue, generation, first, step) == batch.with_origins(origins)
    for wrong in ((b"", 1, 1, 1), (queue, 2**63, 1, 1), (queue, 1, 2**64 - 4, 1), (queue, 1, -1, 1)):
        with pytest.raises(CallerError, match="origins"):
            full().with_numbers(*wrong)
