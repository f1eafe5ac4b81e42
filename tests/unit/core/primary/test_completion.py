"""A move is not an accept: a publish whose message was moved completes with the publish that the move made (O3, O6)."""

from __future__ import annotations

from uuid import UUID

import pytest

from qpidha import SequenceSet, Settle
from qpidha.core.primary.completion import Guards, QueueGuard

A, B, C = (UUID(int=n) for n in (1, 2, 3))
BOTH = pytest.mark.parametrize("settle", list(Settle))


def guards(settle: Settle) -> tuple[QueueGuard, QueueGuard]:
    return QueueGuard(settle, 0), QueueGuard(settle, 0)


@BOTH
def test_a_move_completes_nothing(settle: Settle) -> None:
    source, target = guards(settle)
    source.published(1, 1, 5)
    target.published(1, 1, 6)
    source.moved(SequenceSet([1]), target)
    assert source.advance(4) is None
    assert source.advance(5) is None, "position 6 made the copy that is left of it"
    assert source.advance(6) == 1


def test_a_moved_message_that_is_accepted_holds_its_publish_until_the_dequeue() -> None:
    source, target = guards(Settle.REPLICATED)
    source.published(1, 2, 5)
    target.published(1, 1, 6)
    source.moved(SequenceSet([2]), target)
    target.dequeued(SequenceSet([1]), 9)
    assert source.advance(8) is None, "a member that took its plan after the dequeue never had it"
    assert source.advance(9) == 2
    assert target.advance(9) == 1


def test_moves_in_a_chain_are_followed() -> None:
    first, second, third = QueueGuard(Settle.REPLICATED, 0), *guards(Settle.REPLICATED)
    first.published(1, 1, 5)
    second.published(1, 1, 6)
    first.moved(SequenceSet([1]), second)
    third.published(1, 1, 7)
    second.moved(SequenceSet([1]), third)
    third.dequeued(SequenceSet([1]), 8)
    assert first.advance(7) is None
    assert first.advance(8) == 1


def test_a_message_moved_to_the_end_of_its_own_queue() -> None:
    guard = QueueGuard(Settle.REPLICATED, 0)
    guard.published(1, 1, 5)
    guard.published(2, 2, 6)
    guard.moved(SequenceSet([1]), guard)
    assert guard.advance(5) is None
    assert guard.advance(6) == 2


def test_a_move_does_not_touch_publishes_that_were_complete() -> None:
    source, target = guards(Settle.REPLICATED)
    source.published(1, 1, 5)
    assert source.advance(5) == 1
    target.published(1, 1, 6)
    source.moved(SequenceSet([1]), target)
    assert len(source) == 0


@BOTH
def test_a_publish_that_is_moved_in_two_steps_waits_for_both(settle: Settle) -> None:
    source, target = guards(settle)
    source.published(1, 4, 5)
    target.published(1, 2, 6)
    source.moved(SequenceSet([1, 2]), target)
    target.published(3, 3, 8)
    source.moved(SequenceSet([4]), target)
    assert source.advance(7) is None
    assert source.advance(8) == 4


def test_a_publish_between_two_that_lost_messages_is_left_alone() -> None:
    guard = QueueGuard(Settle.IMMEDIATE, 0)
    for n in range(3):
        guard.published(2 * n + 1, 2 * n + 2, n + 5)
    guard.dequeued(SequenceSet([1, 2, 5]), 9)
    assert guard.advance(0) == 2, "consumed before it was complete: that completes it"
    guard.dequeued(SequenceSet([6]), 10)
    assert guard.advance(0) is None, "the third is consumed, the second still waits before it"
    assert guard.advance(6) == 6


def test_an_accept_answers_no_publish_that_it_does_not_cover() -> None:
    """O6: with settle replicated a publish that was accepted waits for its dequeue, and so do those behind it."""
    guard = QueueGuard(Settle.REPLICATED, 0)
    guard.published(1, 1, 5)
    guard.published(2, 2, 6)
    guard.dequeued(SequenceSet([1]), 9)
    assert guard.advance(4) is None, "only the primary has it, and its accept is not confirmed"
    assert guard.advance(8) is None
    assert guard.advance(9) == 2


def test_a_message_moved_again_and_again_before_it_is_safe_completes() -> None:
    """A poisoned message that bounces between two queues while a backup is silent."""
    guards = [QueueGuard(Settle.REPLICATED, 0), QueueGuard(Settle.REPLICATED, 0)]
    guards[0].published(1, 1, 2)
    rounds = 5000
    for n in range(rounds):
        source, target = guards[n % 2], guards[(n + 1) % 2]
        id = n // 2 + 1
        new = (n + 1) // 2 + 1
        target.published(new, new, n + 3)
        source.moved(SequenceSet([id]), target)
    assert guards[0].advance(rounds + 1) is None, "the last move is not safe yet"
    assert guards[0].advance(rounds + 2) == rounds // 2 + 1
    assert guards[1].advance(rounds + 2) == rounds // 2


# --- what an operator asks -------------------------------------------------------------------------


def test_a_pending_publish_waits_for_those_before_it() -> None:
    guard = QueueGuard(Settle.REPLICATED, 0)
    assert guard.oldest(0) is None and guard.pending(1, 0) is None
    guard.published(1, 2, 5)
    guard.published(3, 3, 6)
    guard.published(7, 9, 7)
    assert guard.pending(2, 4) == (1, 2, 5)
    assert guard.pending(3, 4) == guard.pending(3, 5) == (3, 3, 6)
    assert guard.pending(3, 6) is None, "it is complete, though not counted as that yet"
    assert guard.pending(5, 4) is None, "skipped"
    assert guard.pending(10, 4) is None
    guard.dequeued(SequenceSet([1]), 9)
    assert guard.pending(3, 6) == (3, 3, 9)
    assert guard.oldest(6) == (1, 2, 9)
    guard.advance(9)
    assert guard.oldest(9) is None and guard.pending(8, 9) is None


def test_a_publish_that_was_consumed_at_once_holds_none_back() -> None:
    guard = QueueGuard(Settle.IMMEDIATE, 0)
    guard.published(1, 1, 5)
    guard.published(2, 2, 6)
    guard.dequeued(SequenceSet([1]), 7)
    assert guard.pending(1, 4) is None
    assert guard.pending(2, 4) == (2, 2, 6)


def test_queues_are_named_in_the_order_in_which_they_are_due() -> None:
    all_guards = Guards()
    assert all_guards.queue_count == 0 and all_guards.waiting_longest(5) == []
    for queue, position in ((A, 7), (B, 5), (C, 6)):
        all_guards.published(queue, Settle.REPLICATED, 1, 1, position)
    assert all_guards.queue_count == 3
    assert all_guards.waiting_longest(5) == [B, C, A] and all_guards.waiting_longest(1) == [B]
    assert all_guards.oldest(B, 4) == all_guards.pending(B, 1, 4) == (1, 1, 5)
    assert all_guards.oldest(UUID(int=9), 4) is None and all_guards.pending(UUID(int=9), 1, 4) is None


def test_what_the_last_round_has_done_is_known_until_the_next_one() -> None:
    all_guards = Guards()
    for id in (1, 2, 3):
        all_guards.published(A, Settle.REPLICATED, id, id, 4 + id)
    all_guards.dequeued(A, SequenceSet([2]), 8)
    list(all_guards.advance(5))
    recent = all_guards.recent
    assert [recent.just_completed(A, id) for id in (1, 2, 3)] == [True, False, False]
    assert recent.accepted_at(A, 2, 0) == 8
    list(all_guards.advance(8))
    assert [recent.just_completed(A, id) for id in (1, 2, 3)] == [False, True, True]
    assert recent.accepted_at(A, 2, 0) == 8
    list(all_guards.advance(8))
    assert not any(recent.just_completed(A, id) for id in (1, 2, 3))
    assert recent.accepted_at(A, 2, 0) is None


def test_a_publish_completed_because_it_was_consumed_is_known_as_well() -> None:
    all_guards = Guards()
    all_guards.published(A, Settle.IMMEDIATE, 1, 1, 5)
    all_guards.published(A, Settle.IMMEDIATE, 2, 2, 6)
    all_guards.dequeued(A, SequenceSet([1]), 7)
    list(all_guards.advance(4))
    assert [all_guards.recent.just_completed(A, id) for id in (1, 2)] == [True, False]
    list(all_guards.advance(6))
    assert [all_guards.recent.just_completed(A, id) for id in (1, 2)] == [False, True]
