"""`MessageIndex` keeps the rules of an index; indexes that break one are found by the check for it."""

from __future__ import annotations

import random
from typing import Any

import pytest

from qpidha.core.indexed import QueueIndex
from qpidha.errors import ensure
from qpidha.queues import MSGPACK, MessageIndex
from qpidha.seq import SequenceSet
from qpidha.testing import conformance
from qpidha.testing.conformance import Check, RuleBroken
from qpidha.types import QueueSpec
from qpidha.wire.batch import Batch


def draw(rng: random.Random) -> bytes:
    return MSGPACK.pack(priority=rng.randint(0, 3), key=rng.choice([None, b"a", b"b"]))


def standard(spec: QueueSpec) -> QueueIndex:
    return MessageIndex(MSGPACK, levels=3, keyed=True)


def view(index: MessageIndex) -> object:
    assert index.keys is not None
    return [list(level) for level in index.levels], index.nbytes, list(index.keys.superseded)


@pytest.mark.parametrize("check", conformance.index_checks(standard, view, draw), ids=str)
def test_the_standard_index(check: Check) -> None:
    check()


class ByLabel:
    """Places by the first byte of the props."""

    def __init__(self) -> None:
        self.label: dict[int, int] = {}
        self.nbytes = 0

    def read(self, props: bytes) -> int:
        return props[0] if props else -1

    def place(self, id: int, batch: Batch, n: int) -> int:
        return batch.order(n) or id

    def inserted(self, ids: SequenceSet, batch: Batch) -> None:
        self.nbytes += batch.data_nbytes
        for n, id in enumerate(ids):
            self.label[self.place(id, batch, n)] = self.read(bytes(batch.props(n)))

    def removed(self, places: SequenceSet, data_nbytes: int) -> None:
        self.nbytes -= data_nbytes
        for place in places:
            self.label.pop(place, None)

    def check(self, ids: SequenceSet, batch: Batch) -> None:
        for n, id in enumerate(ids):
            label = self.read(bytes(batch.props(n)))
            ensure(self.label.get(self.place(id, batch, n)) == label, "a label")

    def view(self) -> object:
        return dict(self.label), self.nbytes


class Leaks(ByLabel):
    """Does not subtract what is gone."""

    def removed(self, places: SequenceSet, data_nbytes: int) -> None:
        super().removed(places, 0)


class ById(ByLabel):
    """Does not look at order keys."""

    def place(self, id: int, batch: Batch, n: int) -> int:
        return id


class KeepsTheFirst(ByLabel):
    """Remembers the label of an id that was there before."""

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[int, int] = {}

    def inserted(self, ids: SequenceSet, batch: Batch) -> None:
        super().inserted(ids, batch)
        for id in ids:
            self.label[id] = self.known.setdefault(id, self.label.get(id, -1))


class Strict(ByLabel):
    """Raises for props that it does not know."""

    def read(self, props: bytes) -> int:
        return int(props.decode("ascii")[0])


class LooksAtTheFirst(ByLabel):
    """Takes all messages of a batch for alike."""

    def inserted(self, ids: SequenceSet, batch: Batch) -> None:
        super().inserted(ids, batch)
        for n, id in enumerate(ids):
            self.label[self.place(id, batch, n)] = self.read(bytes(batch.props(0)))


class Arrivals(ByLabel):
    """Has the order in which messages came, not the order of the queue."""

    def view(self) -> object:
        return list(self.label)


class Shares(ByLabel):
    """Keeps the set that it was given."""

    ids = SequenceSet()

    def inserted(self, ids: SequenceSet, batch: Batch) -> None:
        super().inserted(ids, batch)
        self.ids = ids if not self.ids else self.ids | ids

    def removed(self, places: SequenceSet, data_nbytes: int) -> None:
        super().removed(places, data_nbytes)
        self.ids = self.ids - places

    def view(self) -> object:
        return list(self.ids), self.nbytes


class Trusting(ByLabel):
    """Checks nothing."""

    def check(self, ids: SequenceSet, batch: Batch) -> None:
        return


def checks(kind: type[ByLabel]) -> list[Check[Any]]:
    return conformance.index_checks(lambda spec: kind(), kind.view, lambda rng: b"%d" % rng.randrange(5))


@pytest.mark.parametrize("check", checks(ByLabel), ids=str)
def test_a_small_index(check: Check) -> None:
    check()


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Leaks, "what-is-gone-leaves-nothing"),
        (Leaks, "random-lives-leave-a-function-of-the-messages"),
        (ById, "an-update-takes-the-place-of-its-message"),
        (KeepsTheFirst, "an-id-may-come-back-with-other-props"),
        (Strict, "no-props-raise"),
        (LooksAtTheFirst, "messages-are-indexed-in-any-cut"),
        (Arrivals, "messages-may-fall-between-others"),
        (Shares, "what-is-given-is-not-changed"),
        (Trusting, "a-missing-message-is-noticed"),
    ],
)
def test_each_broken_index_is_found(kind: type[ByLabel], name: str) -> None:
    [found] = [check for check in checks(kind) if str(check) == name]
    with pytest.raises(RuleBroken):
        found()
