"""A ledger gives each outcome to what it covers, tells each waiter once, lowest first, and ends with its term: O4, K1."""

from __future__ import annotations

from qpidha import SequenceSet
from qpidha.errors import InDoubt, QpidhaError
from qpidha.node.ledger import NO_NODES, Ledger, Outcome

A, AB = frozenset({"a"}), frozenset({"a", "b"})
OVER = InDoubt("the term is over")


class Waiting:
    """What waits for a watermark, and was told."""

    def __init__(self, ledger: Ledger, cover: int, order: list[int]) -> None:
        self._cover = cover
        self.order = order
        self.told: list[QpidhaError | None] = []
        ledger.enter(self)

    def _tell(self, error: QpidhaError | None) -> None:
        self.told.append(error)
        self.order.append(self._cover)


def test_an_outcome_is_written_when_it_is_covered_and_not_changed_later() -> None:
    made = Ledger(3, 0, nodes=A)
    first, second = made.expect(1, Outcome()), made.expect(2, Outcome())
    assert first.nodes == second.nodes == NO_NODES
    made.advance(1, AB, SequenceSet([1]))
    made.advance(2, A)
    assert (first.nodes, first.consumed) == (AB, SequenceSet([1]))
    assert (second.nodes, second.consumed) == (A, None)


def test_what_is_covered_already_has_the_nodes_of_now() -> None:
    made = Ledger(3, 9, nodes=AB)
    assert made.expect(9, Outcome()).nodes == AB


def test_the_outcome_of_an_earlier_op_is_that_of_what_it_covers() -> None:
    made = Ledger(3, 4)
    one, two = made.expect(6, Outcome()), made.expect(9, Outcome())
    assert made.covering(5) is made.covering(6) is one
    assert made.covering(7) is two
    new = made.covering(10)
    assert new is not one and new is not two and made.covering(10) is new
    assert made.covering(4) not in (one, two, new)


def test_waiters_are_told_once_the_lowest_first_and_those_of_one_cover_as_they_came() -> None:
    made, order = Ledger(3), list[int]()
    waiting = [Waiting(made, cover, order) for cover in (3, 1, 2, 1)]
    made.advance(2, A)
    assert order == [1, 1, 2]
    made.advance(3, A)
    made.advance(4, A)
    assert [each.told for each in waiting] == [[None]] * 4


def test_what_a_waiter_enters_when_it_is_told_waits_for_its_own_cover() -> None:
    made, order = Ledger(3), list[int]()

    class Again(Waiting):
        def _tell(self, error: QpidhaError | None) -> None:
            super()._tell(error)
            Waiting(made, 5, order)

    Again(made, 1, order)
    made.advance(1, A)
    assert order == [1]
    made.advance(5, A)
    assert order == [1, 5]


def test_at_its_end_those_who_wait_are_in_doubt_and_nothing_more_is_written() -> None:
    made, order = Ledger(3), list[int]()
    safe, lost = Waiting(made, 1, order), Waiting(made, 2, order)
    outcome = made.expect(2, Outcome())
    made.advance(1, A)
    assert made.error is None
    made.doubt(OVER)
    assert (safe.told, lost.told, made.error) == ([None], [OVER], OVER)
    assert made.expect(3, Outcome()).nodes == NO_NODES
    made.advance(3, AB)
    assert outcome.nodes == NO_NODES and order == [1, 2]
