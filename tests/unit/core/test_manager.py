"""One compare-and-set in flight, resolved by its answer or by a higher version, and by nothing else (M1–M4)."""

from __future__ import annotations

from uuid import UUID

import pytest

from qpidha.core.manager import Applied, Lost, Manager, NotSent, Read, Unknown
from qpidha.core.ready import CompareAndSet, ReadRecord
from qpidha.errors import InvariantError
from qpidha.types import Record, Versioned

MINE = Record(cluster=UUID(int=1), generation=1, primary=("P", UUID(int=2)), members=frozenset())
RETRY_S = 0.5


@pytest.fixture
def manager() -> Manager:
    manager = Manager(UUID(int=2), RETRY_S)
    manager.seen(Versioned(MINE, 3))
    manager.propose(MINE)
    return manager


def sent(manager: Manager) -> CompareAndSet:
    request = manager.request(0.0)
    assert isinstance(request, CompareAndSet)
    return request


def other(version: int) -> Versioned:
    return Versioned(Record(cluster=UUID(int=1), generation=2, primary=None, members=frozenset()), version)


def test_a_request_is_sent_once_and_no_other_may_be_proposed(manager: Manager) -> None:
    assert sent(manager).expected == 3
    assert manager.request(99.0) is None
    with pytest.raises(InvariantError):
        manager.propose(MINE)


def test_an_answer_resolves_the_request(manager: Manager) -> None:
    request = sent(manager)
    assert manager.answer(request, Applied(Versioned(request.new, 4)), 0.0) is None
    assert manager.in_flight is None
    assert manager.known == Versioned(request.new, 4)


def test_a_higher_version_with_another_nonce_shows_that_the_request_lost(manager: Manager) -> None:
    request = sent(manager)
    assert manager.seen(other(4)) == request
    assert manager.in_flight is None


def test_the_proposed_record_in_a_watch_shows_that_the_request_won(manager: Manager) -> None:
    request = sent(manager)
    assert manager.seen(Versioned(request.new, 4)) is None
    assert manager.in_flight is None


def test_the_old_version_resolves_nothing(manager: Manager) -> None:
    """A02: the lost request may still arrive."""
    request = sent(manager)
    assert manager.answer(request, Unknown(), 1.0) is None
    assert manager.answer(ReadRecord(), Read(Versioned(MINE, 3)), 1.1) is None
    assert manager.in_flight == request
    assert manager.request(1.4) is None
    assert manager.request(1.5) == request, "the very same request, at the same version"


def test_a_retry_that_meets_its_own_first_try_has_won(manager: Manager) -> None:
    request = sent(manager)
    manager.answer(request, Unknown(), 0.0)
    assert manager.request(RETRY_S) == request
    assert manager.answer(request, Lost(Versioned(request.new, 4)), 1.0) is None
    assert manager.in_flight is None


def test_a_request_that_was_not_sent_is_retried_because_an_earlier_try_may_be_under_way(
    manager: Manager,
) -> None:
    request = sent(manager)
    manager.answer(request, Unknown(), 0.0)
    manager.answer(manager.request(RETRY_S) or request, NotSent(), 1.0)
    assert manager.in_flight == request
    assert manager.request(1.0 + RETRY_S) == request


def test_late_answers_of_a_resolved_request_change_nothing(manager: Manager) -> None:
    request = sent(manager)
    manager.seen(other(4))
    manager.propose(MINE)
    second = sent(manager)
    assert manager.answer(request, Unknown(), 0.0) is None
    assert manager.answer(request, Lost(other(4)), 0.0) is None
    assert manager.in_flight == second


def test_a_removed_record_is_a_refusal(manager: Manager) -> None:
    request = sent(manager)
    assert manager.answer(request, Lost(None), 0.0) == request


def test_older_records_are_ignored(manager: Manager) -> None:
    manager.seen(other(9))
    manager.seen(Versioned(MINE, 5))
    assert manager.known == other(9)


def test_a_read_waits_for_the_request_in_flight_and_is_asked_once(manager: Manager) -> None:
    manager.ask(0.0)
    manager.ask(0.1)
    sent(manager)
    assert manager.request(5.0) is None
    manager.seen(other(4))
    assert isinstance(manager.request(5.0), ReadRecord)
    assert manager.request(5.0) is None
    manager.answer(ReadRecord(), Unknown(), 6.0)
    assert isinstance(manager.request(6.0 + RETRY_S), ReadRecord)


def test_a_late_answer_to_a_resolved_request_changes_nothing(manager: Manager) -> None:
    """A watch showed the outcome before the time-out of the request came."""
    request = sent(manager)
    manager.seen(Versioned(request.new, 4))
    assert manager.answer(request, Unknown(), 1.0) is None
    assert manager.answer(request, NotSent(), 1.0) is None
    assert manager.request(99.0) is None


def test_reads_do_not_pile_up_while_the_manager_is_silent() -> None:
    """A backup that is refused asks for a read each time. At most one read is under way, and one more may follow it."""
    manager = Manager(UUID(int=2), 0.1)
    sent = 0
    for step in range(1000):
        manager.ask(step * 0.05)
        sent += isinstance(manager.request(step * 0.05), ReadRecord)
    assert sent == 1
    manager.answer(ReadRecord(), Unknown(), 50.0)
    assert isinstance(manager.request(51.0), ReadRecord)
    manager.ask(51.0)  # The read under way may return a record older than the change that caused this call.
    manager.answer(ReadRecord(), Read(Versioned(MINE, 1)), 52.0)
    assert isinstance(manager.request(52.0), ReadRecord)
    manager.answer(ReadRecord(), Read(Versioned(MINE, 1)), 53.0)
    assert manager.request(60.0) is None


def test_it_waits_until_the_answer_to_a_read_has_come() -> None:
    """A request that was sent is not wanted any more, and its answer is still to come: so a silent manager is noticed."""
    manager = Manager(UUID(int=2), RETRY_S)
    assert not manager.waits
    manager.ask(1.0)
    assert manager.waits
    assert isinstance(manager.request(1.0), ReadRecord)
    assert manager.waits and not manager.wants_request
    manager.answer(ReadRecord(), Read(Versioned(MINE, 3)), 1.0)
    assert not manager.waits
