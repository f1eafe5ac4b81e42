"""One call is answered once, with its value or its error; without an answer its error says what may have happened."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from qpidha.errors import CallerError, CallTimeout, InDoubt, NodeStopped, WaitTimeout
from qpidha.node.queue import Queue
from qpidha.node.sync.call import Call, Wait, name_of


def work() -> int:
    return 5


async def later() -> int:
    await asyncio.sleep(0)
    return 6


def failing() -> int:
    raise KeyError("k")


async def failing_later() -> int:
    raise KeyError("k")


def test_the_value_of_a_function() -> None:
    call = Call("a", work, work, changes=True)
    assert not call.answered.wait(0)
    assert call.begin() is None
    assert call.answered.wait(0)
    assert call.result() == 5


def test_the_error_of_a_function() -> None:
    call = Call("a", failing, failing, changes=True)
    assert call.begin() is None
    with pytest.raises(KeyError, match="k"):
        call.result()


def test_what_is_meant_for_the_loop_goes_to_both() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    call = Call("a", work, interrupted, changes=True)
    with pytest.raises(KeyboardInterrupt):
        call.begin()
    with pytest.raises(KeyboardInterrupt):
        call.result()


def test_the_value_and_the_error_of_a_coroutine() -> None:
    async def main() -> None:
        good, bad = Wait("a", later, later, changes=False), Wait("a", later, failing_later, changes=False)
        tasks = [good.begin(), bad.begin()]
        assert not good.answered.wait(0)
        await asyncio.gather(*filter(None, tasks), return_exceptions=True)
        await asyncio.sleep(0)
        assert good.result() == 6
        with pytest.raises(KeyError):
            bad.result()

    asyncio.run(main())


@pytest.mark.parametrize(("changes", "expected"), [(True, InDoubt), (False, NodeStopped)])
def test_a_coroutine_that_is_cancelled_fails_as_the_loop_ends(
    changes: bool, expected: type[Exception]
) -> None:
    async def main() -> None:
        call = Wait("a", later, later, changes=changes)
        task = call.begin()
        assert task is not None
        task.cancel()  # As the loop does with all tasks, at its end.
        await asyncio.wait({task})
        with pytest.raises(expected, match="node 'a' has ended"):
            call.result()

    asyncio.run(main())


def test_a_coroutine_that_its_thread_has_given_up_ends_without_an_answer() -> None:
    """The thread does not wait any more, and says itself why: the loop has not ended."""

    async def main() -> None:
        call = Wait("a", later, later, changes=True)
        call.cancel()  # Not begun: nothing to do.
        task = call.begin()
        assert task is not None
        call.cancel()
        await asyncio.wait({task})
        assert task.cancelled() and not call.answered.wait(0)

    asyncio.run(main())


def test_a_function_cannot_be_cancelled() -> None:
    call = Call("a", work, work, changes=True)
    call.cancel()
    call.begin()
    assert call.result() == 5


@pytest.mark.parametrize(
    ("changes", "begun", "ended", "late"),
    [
        (True, True, InDoubt, CallTimeout),
        (True, False, NodeStopped, WaitTimeout),
        (False, True, NodeStopped, WaitTimeout),
        (False, False, NodeStopped, WaitTimeout),
    ],
)
def test_only_a_change_that_was_begun_is_in_doubt(
    changes: bool, begun: bool, ended: type[Exception], late: type[Exception]
) -> None:
    call = Call("a", work, work, changes=changes)
    errors = [call.unanswered(begun=begun), call.late(2.0, begun=begun)]
    assert [type(error) for error in errors] == [ended, late]
    in_doubt = changes and begun
    for error in errors:
        assert isinstance(error, InDoubt if in_doubt else CallerError)
        assert ("may have been made" if in_doubt else "nothing was changed") in str(error)
    assert "within 2 s" in str(errors[1])
    assert isinstance(errors[1], TimeoutError)


def test_a_call_is_named_as_the_thread_has_called_it() -> None:
    queue = object.__new__(Queue)
    assert name_of(queue.enqueue) == "SyncQueue.enqueue"
    assert name_of(lambda: None) == "test_a_call_is_named_as_the_thread_has_called_it"
    assert Call("a", queue.purge, partial(work), changes=True).name == "SyncQueue.purge"
