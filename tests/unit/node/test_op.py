"""Ops and their ledger: each completes once, with what was true then, or is in doubt for good (O4, K1)."""

from __future__ import annotations

import asyncio
from threading import get_ident

import pytest

from qpidha import SequenceSet
from qpidha.errors import ArgumentError, InDoubt, LocalProtocolError, OpTimeout, WrongThread
from qpidha.node.home import Home
from qpidha.node.ledger import Ledger, Outcome
from qpidha.node.op import Op
from qpidha.node.opdeadlines import OpDeadlines
from tests.support.node_parts import pause, run, turns

A, AB = frozenset({"a"}), frozenset({"a", "b"})
OVER = InDoubt("the term is over")


def ledger(upto: int = 0) -> Ledger:
    return Ledger(3, upto, home=Home(get_ident()), nodes=A)


def op(made: Ledger, cover: int, ids: range = range(0)) -> Op:
    return Op(made, cover, ids, made.expect(cover, Outcome()))


def told(made: Op) -> list[object]:
    answers: list[object] = []
    made.add_safe_callback(lambda _, error: answers.append(error))
    return answers


def test_an_op_is_safe_once_its_cover_is() -> None:
    made = ledger()
    first, second = op(made, 5), op(made, 6)
    made.advance(5, AB)
    assert (first.safe, second.safe) == (True, False)
    assert (first.done, second.done) == (True, False)


def test_a_receipt_says_who_had_it_when_it_completed_and_not_later() -> None:
    made = ledger()
    first, second = op(made, 1, range(1, 2)), op(made, 2, range(2, 3))
    made.advance(1, AB)
    made.advance(2, A)
    assert (first.receipt().nodes, second.receipt().nodes) == (AB, A)
    assert first.receipt().generation == 3


def test_an_op_that_is_covered_already_has_the_nodes_of_now() -> None:
    made = ledger(upto=9)
    assert op(made, 4).receipt().nodes == A


def test_what_was_consumed_before_it_was_safe_is_on_no_node() -> None:
    made = ledger()
    whole, part = op(made, 2, range(1, 3)), op(made, 2, range(2, 4))
    made.advance(2, AB, SequenceSet([1, 2]))
    assert (whole.receipt().consumed, whole.receipt().nodes) == (True, frozenset())
    assert (part.receipt().consumed, part.receipt().nodes) == (False, AB)


def test_what_is_not_known_yet_has_no_receipt() -> None:
    with pytest.raises(LocalProtocolError, match="not known yet"):
        op(ledger(), 1).receipt()


def test_callbacks_are_called_once_in_the_order_of_their_covers() -> None:
    made, order = ledger(), list[int]()
    for cover in (3, 1, 2):
        op(made, cover).add_safe_callback(lambda _, error, cover=cover: order.append(cover))
    made.advance(3, A)
    made.advance(4, A)
    assert order == [1, 2, 3]


def test_a_callback_of_a_known_outcome_is_called_at_once() -> None:
    made = ledger(upto=1)
    assert told(op(made, 1)) == [None]
    late = op(made, 2)
    made.doubt(OVER)
    assert told(late) == [OVER]


def test_in_doubt_is_for_good_but_not_for_what_was_safe() -> None:
    made = ledger()
    safe, lost = op(made, 1), op(made, 2)
    made.advance(1, A)
    answers = told(lost)
    made.doubt(OVER)
    assert answers == [OVER]
    assert safe.receipt().nodes == A
    assert lost.done and not lost.safe
    with pytest.raises(InDoubt):
        lost.receipt()


def test_a_callback_that_raises_keeps_nothing_from_the_next_one() -> None:
    made = ledger()
    first = op(made, 1)
    first.add_safe_callback(lambda _, error: 1 / 0)
    answers = told(first)
    made.advance(1, A)
    assert answers == [None]


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(ArgumentError):
        op(ledger(), 1).add_safe_callback(None)


def test_another_thread_is_refused() -> None:
    made = Ledger(3, 0, home=Home(get_ident() + 1))
    with pytest.raises(WrongThread):
        Op(made, 1, range(0), Outcome()).receipt()


def test_an_op_may_be_awaited_by_several_tasks_and_again_after_a_cancellation() -> None:
    async def main() -> None:
        made = ledger()
        waited = op(made, 1, range(7, 8))

        async def wait() -> range:
            return (await waited).ids

        cancelled, first, second = (asyncio.ensure_future(wait()) for _ in range(3))
        await asyncio.sleep(0)
        cancelled.cancel()
        made.advance(1, A)
        assert await first == await second == range(7, 8)
        assert (await waited).ids == range(7, 8)
        assert cancelled.cancelled() or (await asyncio.wait({cancelled}))

    asyncio.run(main())


@pytest.mark.parametrize(("upto", "state"), [(0, "pending"), (1, "safe")])
def test_it_says_its_state(upto: int, state: str) -> None:
    assert repr(op(ledger(upto), 1, range(1, 2))) == f"<Op range(1, 2) {state}>"


# --- deadlines -----------------------------------------------------------------------------------------


def test_an_op_that_is_not_safe_in_time_is_in_doubt_and_stays_pending() -> None:
    async def main() -> None:
        made = ledger()
        late = op(made, 1, range(7, 8))
        with pytest.raises(OpTimeout, match=r"not safe after 2 s; nothing was undone") as caught:
            await late.within(2)
        assert isinstance(caught.value, InDoubt) and isinstance(caught.value, TimeoutError)
        assert not late.done
        with pytest.raises(LocalProtocolError):
            late.receipt()
        again = asyncio.create_task(late.within(2))
        await turns()
        made.advance(1, AB)
        assert (await again).nodes == AB
        assert (await late).nodes == AB
        assert (await late.within(0)).nodes == AB

    run(main())


def test_the_setting_is_for_every_op_that_is_awaited_or_has_a_callback() -> None:
    async def main() -> None:
        made = Ledger(3, 0, home=Home(get_ident()), nodes=A, deadlines=OpDeadlines(5.0))
        late, began = op(made, 1), asyncio.get_running_loop().time()
        answers = told(late)
        with pytest.raises(OpTimeout):
            await late
        assert asyncio.get_running_loop().time() - began == pytest.approx(5.0, abs=0.1)
        assert [type(error) for error in answers] == [OpTimeout]
        more = told(late)
        with pytest.raises(OpTimeout):
            await late.within(1)
        made.advance(1, AB)
        assert (len(answers), more) == (1, [None]), "each callback is called once"

    run(main())


def test_a_callback_has_its_own_time() -> None:
    async def main() -> None:
        made = ledger()
        late = op(made, 1)
        answers: list[tuple[float, object]] = []
        for timeout_s in (3.0, 1.0):
            late.add_safe_callback(
                lambda _, error, s=timeout_s: answers.append((s, type(error))), timeout_s=timeout_s
            )
        patient = told(late)
        await asyncio.sleep(2)
        assert answers == [(1.0, OpTimeout)]
        made.doubt(OVER)
        assert answers[1:] == [(3.0, InDoubt)]
        assert patient == [OVER]

    run(main())


def test_an_op_that_nobody_asks_about_has_no_deadline() -> None:
    async def main() -> None:
        deadlines = OpDeadlines(1.0)
        made = Ledger(3, 0, home=Home(get_ident()), deadlines=deadlines)
        op(made, 1)
        assert len(deadlines) == 0 and deadlines._timer is None

    run(main())


def test_what_becomes_safe_in_the_turn_of_its_deadline_is_safe() -> None:
    async def main() -> None:
        made = ledger()
        late = op(made, 1)
        waiting = asyncio.create_task(late.within(0.1))
        await turns()
        late.add_safe_callback(lambda _, error: made.advance(1, AB), timeout_s=0.1)
        pause(0.12)  # Both end in one turn.
        assert (await waiting).nodes == AB

    run(main())


def test_a_callback_that_raises_at_the_deadline_keeps_nothing_from_the_next_one() -> None:
    async def main() -> None:
        made = ledger()
        late = op(made, 1)
        late.add_safe_callback(lambda _, error: 1 / 0, timeout_s=1.0)
        answers: list[object] = []
        late.add_safe_callback(lambda _, error: answers.append(error), timeout_s=1.0)
        await asyncio.sleep(2)
        assert len(answers) == 1

    run(main())


def test_a_cancelled_wait_with_a_deadline_leaves_nothing_that_fails() -> None:
    async def main() -> None:
        made = ledger()
        waiting = asyncio.create_task(op(made, 1).within(1))
        await turns()
        waiting.cancel()
        await asyncio.sleep(2)
        assert waiting.cancelled()

    run(main())


@pytest.mark.parametrize("value", [-1, "5", None, True])
def test_what_is_no_time_is_refused(value: object) -> None:
    async def main() -> None:
        with pytest.raises(ArgumentError, match="timeout_s"):
            await op(ledger(), 1).within(value)  # type: ignore[arg-type]
        if value is not None:
            with pytest.raises(ArgumentError, match="timeout_s"):
                op(ledger(), 1).add_safe_callback(print, timeout_s=value)  # type: ignore[arg-type]

    run(main())
