"""The state that the parts of a node share can be read before the start, and then belongs to no thread."""

from __future__ import annotations

import asyncio
import time
from threading import Thread

import pytest

from qpidha import Role, Settings
from qpidha.core.refusals import not_primary_text
from qpidha.errors import CallerError, LocalProtocolError, WrongThread
from qpidha.events import BrokerUnfit, NodeEvent
from qpidha.node.runtime import Runtime
from tests.support.node_parts import run


def runtime(on_event: object = None) -> Runtime:
    return Runtime("a", Settings(), ("127.0.0.1", 5672), on_event)


def test_before_the_start_it_is_stopped_and_knows_no_other_node() -> None:
    made = runtime()
    assert (made.role, made.serving, made.primary, made.primary_client_address) == (
        Role.STOPPED,
        False,
        None,
        None,
    )
    assert not made.is_current(0)


def test_two_processes_of_one_node_have_different_boots() -> None:
    assert runtime().boot != runtime().boot


def test_before_the_start_every_thread_is_the_wrong_one() -> None:
    with pytest.raises(LocalProtocolError, match=r"before Node\.start"):
        runtime().require_thread("Node.declare")


def test_once_in_a_loop_only_its_thread_may_call() -> None:
    async def main() -> None:
        made, errors = runtime(), list[CallerError]()
        made.enter_loop()
        made.require_thread("Node.declare")
        assert made.now() <= asyncio.get_running_loop().time()

        def elsewhere() -> None:
            try:
                made.require_thread("Node.declare")
            except CallerError as error:
                errors.append(error)

        other = Thread(target=elsewhere)
        other.start()
        other.join()
        assert isinstance(errors[0], WrongThread)

    asyncio.run(main())


def test_it_refuses_calls_in_a_forked_child() -> None:
    made = runtime()
    made.running, made.serving_generation = True, 3
    assert list(made.forked()) == []
    assert (made.running, made.serving) == (False, False)
    with pytest.raises(CallerError, match="fork"):
        made.require_thread("Node.declare")


def test_events_reach_the_hook_and_its_errors_stay_there(caplog: pytest.LogCaptureFixture) -> None:
    told: list[NodeEvent] = []

    def hook(event: NodeEvent) -> None:
        told.append(event)
        raise RuntimeError("the hook is broken")

    made = runtime(hook)
    made.tell(BrokerUnfit("late"))
    made.tell(BrokerUnfit("later"), logged=False)
    assert told == [BrokerUnfit("late"), BrokerUnfit("later")]
    assert "the hook is broken" in caplog.text


def test_the_error_of_a_backup_says_what_the_node_is() -> None:
    error = runtime().not_primary()
    assert "'a' is stopped" in str(error)
    assert (error.primary, error.address) == (None, None)


def test_the_clock_is_that_of_the_loop() -> None:
    async def main() -> None:
        made = runtime()
        made.enter_loop()
        assert made.now() == made.clock() == asyncio.get_running_loop().time()

    run(main())  # Its time stands still.


def test_with_the_clock_of_asyncio_no_step_is_between() -> None:
    async def main() -> None:
        made = runtime()
        made.enter_loop()
        assert made.clock is time.monotonic

    loop = asyncio.SelectorEventLoop()
    loop.run_until_complete(main())
    loop.close()


@pytest.mark.parametrize(
    ("role", "primary", "said"),
    [(Role.READY, "b", "node 'a' is not the primary (ready): the primary is 'b'"),
     (Role.JOINING, None, "node 'a' is not the primary (joining): no primary is known"),
     (Role.JOINING, "a", "node 'a' is not the primary (joining): no primary is known"),
     (Role.STOPPED, "b", "node 'a' is stopped")],
)  # fmt: skip
def test_a_backup_says_who_is_the_primary(role: Role, primary: str | None, said: str) -> None:
    assert not_primary_text("a", role, primary) == said
