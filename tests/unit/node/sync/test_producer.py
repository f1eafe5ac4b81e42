"""The methods of a producer, from a thread."""

from __future__ import annotations

import pytest

from qpidha import ArgumentError, SequenceGap, UnknownProducer
from tests.support.threads import nodes


def test_publishes_commits_and_repetitions() -> None:
    with nodes("a", "b") as (_, _, (a, b)):
        q, r = a.sync.declare("q"), a.sync.declare("r")
        ada = a.sync.producer("ada")
        ada.registered.safe()
        op = ada.enqueue(q, b"1", b"p", sequence=1)
        assert op.safe().nodes == {"a", "b"} and op.repeated == 0
        assert ada.enqueue(q, b"1", b"p", sequence=1).repeated == 1
        assert ada.enqueue_many(q, [b"2", b"3"], sequence=2).ids == range(2, 4)
        assert ada.publish([q, r], b"4", sequence=4).ids == range(4, 5)
        with ada.transaction(sequence=5) as t:
            part = t.enqueue(r, b"5")
        t.op.safe()
        assert part.ids == range(2, 3)
        assert ada.answer(6) is None
        answer = ada.answer(5)
        assert answer is not None and answer.repeated == 1 and answer.safe()
        assert ada.give_up(6).repeated == 0 and ada.last == 6
        again = a.sync.producer("ada", epoch=ada.epoch)
        assert (again.name, again.epoch, again.generation) == ("ada", ada.epoch, 1)
        assert [(p.name, p.last) for p in a.sync.producers()] == [("ada", 6)]
        ada.forget().safe()
        assert b.sync.producers() == []
        assert [data for _, data in q] == [b"1", b"2", b"3", b"4"]
        assert "SyncProducer of <Producer 'ada'" in repr(ada)


def test_errors_come_back_to_the_thread() -> None:
    with nodes("a", "b") as (_, _, (a, _)):
        q, ada = a.sync.declare("q"), a.sync.producer("ada")
        with pytest.raises(SequenceGap):
            ada.enqueue(q, b"1", sequence=2)
        with pytest.raises(ArgumentError, match="queue"):
            ada.enqueue("q", b"1", sequence=1)  # type: ignore[arg-type]
        with pytest.raises(ArgumentError, match="queues"):
            ada.publish(["q"], b"1", sequence=1)  # type: ignore[list-item]
        with pytest.raises(UnknownProducer):
            a.sync.producer("bob", epoch=(1, 1))
