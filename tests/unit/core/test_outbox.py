"""The outbox collects one `Ready`: order within a kind, one acknowledgement for many, no lists shared by two `Ready`."""

from __future__ import annotations

from uuid import UUID

from qpidha.core.outbox import Outbox
from qpidha.core.ready import CloseLink, Doubtful, QueueRemoved, ReadRecord, RoleChanged, Safe
from qpidha.journal import DropQueue
from qpidha.types import Role
from qpidha.wire.events import Acknowledged, Established, Frame

QUEUE = UUID(int=1)


def acknowledged(position: int, session: int = 1) -> Frame:
    return Frame(3, session, Acknowledged(position=position))


def test_a_ready_that_was_taken_is_not_changed_by_later_effects() -> None:
    outbox = Outbox()
    outbox.persist(DropQueue(QUEUE))
    first = outbox.take()
    outbox.persist(DropQueue(QUEUE))
    assert (len(first.persist), len(outbox.take().persist)) == (1, 1)


def test_an_empty_outbox_gives_an_empty_ready() -> None:
    outbox = Outbox()
    assert outbox.empty
    assert not outbox.take()
    outbox.request(ReadRecord())
    assert not outbox.empty
    assert outbox.take().request == ReadRecord()
    assert outbox.empty


def test_effects_of_one_kind_stay_in_order() -> None:
    outbox = Outbox()
    outbox.send(1, Frame(3, 1, Established()))
    outbox.send(2, acknowledged(5))
    outbox.complete(Safe(QUEUE, 1, 3, frozenset()))
    outbox.complete(Doubtful(3))
    ready = outbox.take()
    assert [link for link, _ in ready.send] == [1, 2]
    assert [type(c) for c in ready.complete] == [Safe, Doubtful]


def test_a_later_acknowledgement_replaces_the_one_before_it() -> None:
    """Acknowledgements are cumulative (C6)."""
    outbox = Outbox()
    outbox.acknowledge(1, acknowledged(5))
    outbox.acknowledge(1, acknowledged(6))
    assert outbox.take().send == [(1, acknowledged(6))]


def test_an_acknowledgement_of_another_link_or_session_or_before_another_frame_stays() -> None:
    outbox = Outbox()
    outbox.acknowledge(1, acknowledged(5))
    outbox.acknowledge(2, acknowledged(5))
    outbox.acknowledge(2, acknowledged(6, session=2))
    outbox.send(2, Frame(3, 2, Established()))
    outbox.acknowledge(2, acknowledged(7, session=2))
    assert len(outbox.take().send) == 5


def test_a_link_is_marked_from_the_request_to_close_it_until_it_is_closed() -> None:
    outbox = Outbox()
    outbox.close(7, "the test wants it")
    assert outbox.closing == {7}
    assert outbox.take().notify == [CloseLink(7, "the test wants it")]
    assert outbox.closing == {7}, "only `Replica.link_closed` ends this"


def test_effects_that_need_no_disk_are_taken_alone() -> None:
    outbox = Outbox()
    outbox.persist(DropQueue(QUEUE))
    outbox.complete(Doubtful(3))
    outbox.notify(RoleChanged(Role.JOINING, 3))
    outbox.notify(QueueRemoved(QUEUE))
    last = outbox.take_without_disk()
    assert (last.complete, last.notify, last.persist) == ([Doubtful(3)], [RoleChanged(Role.JOINING, 3)], [])
    rest = outbox.take()
    assert (rest.complete, rest.notify, rest.persist) == ([], [QueueRemoved(QUEUE)], [DropQueue(QUEUE)])
