"""A store accepts only what it can read back; invalid rows written by an older version are damage, not a crash."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import msgpack
import pytest

from qpidha.errors import ArgumentError, StoreDamaged
from qpidha.journal import (
    Audit,
    DropQueue,
    Insert,
    PutQueue,
    PutStatus,
    Quarantine,
    Release,
    Remove,
    Skip,
)
from qpidha.seq import SequenceSet
from qpidha.stores import MemoryStore, SqliteStore, inspect, sqlite
from qpidha.stores.changes import check_changes
from qpidha.stores.schema import decode_lineage, encode_lineage, read_queue_row
from qpidha.testing.conformance.changes import (
    CREATE,
    QUEUE,
    SPEC,
    STATUS,
    batch,
    ids,
    insert,
    plain,
    quarantine,
)
from qpidha.types import Fate, QueueSpec, Settle

ONE = ids(9)
CALL: Any = lambda kind, *fields: kind(*fields)  # noqa: E731 - past the type checker.
WRONG = [
    "no change",
    None,
    CALL(PutStatus, "cluster", 1, True),
    CALL(PutStatus, UUID(int=1), -1, True),
    CALL(PutStatus, UUID(int=1), 2**63, True),
    CALL(PutStatus, UUID(int=1), True, True),
    CALL(PutStatus, UUID(int=1), 1, 1),
    CALL(PutQueue, b"q", SPEC, (), 1),
    CALL(PutQueue, QUEUE, "spec", (), 1),
    CALL(PutQueue, QUEUE, QueueSpec(name="q", settle=7), (), 1),  # type: ignore[arg-type]
    CALL(PutQueue, QUEUE, QueueSpec(name="q", settle=1), (), 1),  # type: ignore[arg-type]
    CALL(PutQueue, QUEUE, QueueSpec(name="\ud800"), (), 1),
    CALL(PutQueue, QUEUE, QueueSpec(name="q", kind=None), (), 1),  # type: ignore[arg-type]
    CALL(PutQueue, QUEUE, SPEC, [(1, 1)], 1),
    CALL(PutQueue, QUEUE, SPEC, ((1,),), 1),
    CALL(PutQueue, QUEUE, SPEC, ((1, "1"),), 1),
    CALL(PutQueue, QUEUE, SPEC, ((2, 1), (1, 1)), 1),
    CALL(PutQueue, QUEUE, SPEC, ((1, 5),), 1),
    CALL(PutQueue, QUEUE, SPEC, (), -1),
    CALL(PutQueue, QUEUE, SPEC, (), 2**64),
    CALL(DropQueue, "q"),
    CALL(Insert, "q", ONE, batch(ONE)),
    CALL(Insert, QUEUE, [9], batch(ONE)),
    CALL(Insert, QUEUE, SequenceSet(), batch(ONE)),
    CALL(Insert, QUEUE, ONE, [b"x"]),
    CALL(Remove, None, ONE),
    CALL(Remove, QUEUE, 9),
    CALL(Skip, 1, 10),
    CALL(Skip, QUEUE, 2**64),
    CALL(Skip, QUEUE, "10"),
    CALL(Quarantine, "q", "orders", 1, ONE, batch(ONE), Fate.REWOUND),
    CALL(Quarantine, QUEUE, "", 1, ONE, batch(ONE), Fate.REWOUND),
    CALL(Quarantine, QUEUE, "orders", -1, ONE, batch(ONE), Fate.REWOUND),
    CALL(Quarantine, QUEUE, "orders", 1, SequenceSet(), batch(ONE), Fate.REWOUND),
    CALL(Quarantine, QUEUE, "orders", 1, ONE, None, Fate.REWOUND),
    CALL(Quarantine, QUEUE, "orders", 1, ONE, batch(ONE), "rewound"),
    CALL(Release, "q", 1, ONE),
    CALL(Release, QUEUE, 2**63, ONE),
    CALL(Release, QUEUE, 1, {9}),
    CALL(Audit, 1, 1, "orders", "x"),
    CALL(Audit, "rewound", "1", "orders", "x"),
    CALL(Audit, "rewound", 1, None, "x"),
    CALL(Audit, "rewound", 1, "orders", b"x"),
]


LINEAGE = ((1, 5),)
"""One object, as the queues of a promotion share it."""
WRONG_AFTER_A_RIGHT_ONE = [
    CALL(PutQueue, QUEUE, SPEC, LINEAGE, 4),
    CALL(PutQueue, QUEUE, SPEC, LINEAGE, 2**64),
    CALL(PutQueue, QUEUE, SPEC, LINEAGE, "5"),
    CALL(PutQueue, QUEUE, SPEC, LINEAGE, True),
    CALL(PutQueue, "q", SPEC, LINEAGE, 5),
    CALL(PutQueue, QUEUE, QueueSpec(name=""), LINEAGE, 5),
    CALL(PutQueue, QUEUE, "spec", LINEAGE, 5),
]


def test_a_queue_with_the_lineage_of_the_one_before_is_checked_like_that() -> None:
    right = PutQueue(QUEUE, SPEC, LINEAGE, 5)
    check_changes([right, right, PutQueue(QUEUE, QueueSpec(name="ä"), LINEAGE, 2**64 - 1)])
    for change in WRONG_AFTER_A_RIGHT_ONE:
        with pytest.raises(ArgumentError):
            check_changes([right, change])
    for lineage in (None, (), [(1, 5)]):
        with pytest.raises(ArgumentError):
            check_changes(
                [CALL(PutQueue, QUEUE, SPEC, lineage, -1), CALL(PutQueue, QUEUE, SPEC, lineage, -1)]
            )
    check_changes([PutQueue(QUEUE, SPEC, (), 5), PutQueue(QUEUE, SPEC, (), 5)])


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return MemoryStore() if request.param == "memory" else SqliteStore(tmp_path)


def test_changes_that_could_not_be_read_back_are_refused_and_not_applied(store: Any) -> None:
    """No change of such a commit is applied; the store goes on and later opens with the valid commits."""
    store.open("a")
    store.commit([STATUS, CREATE, insert(ids((4, 6)))])
    for change in WRONG:
        with pytest.raises(ArgumentError):
            store.commit([insert(ids(7)), change])
    for changes in (None, "x", iter([STATUS]), {STATUS}):
        with pytest.raises(ArgumentError, match="changes"):
            store.commit(changes)
    store.commit([insert(ids(7)), quarantine(ids(9))])
    store.close(clean=True)
    image = store.open("a")
    assert plain(image)[4][QUEUE][3].keys() == {4, 5, 6, 7}  # type: ignore[index]
    store.close(clean=True)


@pytest.mark.parametrize("node", [None, 7, "", "n" * 256])
def test_open_checks_its_arguments(store: Any, node: Any) -> None:
    with pytest.raises(ArgumentError, match="node id"):
        store.open(node)
    with pytest.raises(ArgumentError, match="refuse_dirty"):
        store.open("a", refuse_dirty="no")
    store.open("a")
    store.close(clean=True)


@pytest.mark.parametrize(
    "change",
    [
        PutQueue(QUEUE, QueueSpec(name="orders", settle=7), (), 1),  # type: ignore[arg-type]
        PutQueue(QUEUE, SPEC, ((1, 1, 1),), 1),  # type: ignore[arg-type]
        PutQueue(QUEUE, SPEC, (1,), 1),  # type: ignore[arg-type]
    ],
)
def test_a_queue_that_no_version_would_write_is_damage(
    change: PutQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checksum is valid: a version without the check wrote the row. Report damage, do not raise an internal error."""
    store = SqliteStore(tmp_path)
    store.open("a")
    with monkeypatch.context() as before:
        before.setattr(sqlite, "check_changes", lambda changes: None)
        store.commit([STATUS, change])
    store.close(clean=True)
    report = inspect(tmp_path)
    assert any("cannot be read" in str(damage) for damage in report.damage)
    with pytest.raises(StoreDamaged, match="orders"):
        SqliteStore(tmp_path).open("a")


def test_a_fate_that_no_version_would_write_is_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Strange:
        value = "strange"

    store = SqliteStore(tmp_path)
    store.open("a")
    change = Quarantine(QUEUE, "orders", 1, ONE, batch(ONE), Strange())  # type: ignore[arg-type]
    with monkeypatch.context() as before:
        before.setattr(sqlite, "check_changes", lambda changes: None)
        store.commit([STATUS, change])
    store.close(clean=True)
    with pytest.raises(StoreDamaged, match="strange"):
        SqliteStore(tmp_path).open("a")


def test_queue_columns_of_a_wrong_type_are_refused() -> None:
    row = (QUEUE.bytes, "orders", 1, "fifo", b"\x90", 4, 0, 0)
    assert read_queue_row(row) == (QUEUE, QueueSpec(name="orders", settle=Settle.REPLICATED), (), 4)
    for n, wrong in enumerate(["id", b"orders", 7, 4, "lineage", None, "0", b"0"]):
        with pytest.raises(ValueError, match=r"valid Settle|another kind"):
            read_queue_row((*row[:n], wrong, *row[n + 1 :]))
    with pytest.raises(ValueError, match="another kind"):
        read_queue_row((QUEUE.bytes[:15], *row[1:]))


@pytest.mark.parametrize("entries", [0, 1, 3, 100])
def test_lineages_of_any_length_are_decoded_and_short_ones_are_shared(entries: int) -> None:
    lineage = tuple((n, 1000 * n) for n in range(1, entries + 1))
    packed = encode_lineage(lineage)
    assert decode_lineage(packed) == lineage
    assert (decode_lineage(packed) is decode_lineage(bytes(bytearray(packed)))) is (entries < 100)
    with pytest.raises(ValueError, match="pairs of numbers"):
        decode_lineage(msgpack.packb([(1, "1")] * max(1, entries)))
