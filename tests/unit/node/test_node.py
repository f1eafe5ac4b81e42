"""The facade of a node: what it answers before the start, what it refuses, and from which thread it may be used."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import UUID

import pytest

from qpidha import Node, Role, Settings
from qpidha.errors import (
    ArgumentError,
    CallerError,
    LocalProtocolError,
    NodeStopped,
    SettingsError,
    WrongThread,
)
from qpidha.records.memory import MemoryRecordStore
from qpidha.stores.memory import MemoryStore
from qpidha.transports.memory import MemoryNetwork, MemoryTransport
from qpidha.types import NodeId
from tests.support.harness import Recorder

ADDRESS = ("a", 1)
CLIENTS = ("127.0.0.1", 5672)
Ask = Callable[[Node], object]
AskAndWait = Callable[[Node], Coroutine[Any, Any, object]]

ANSWERS: dict[str, Ask] = {
    "id": lambda node: node.id == "a",
    "settings": lambda node: node.settings == Settings(),
    "role": lambda node: node.role is Role.STOPPED,
    "serving": lambda node: not node.serving,
    "primary": lambda node: node.primary is None,
    "primary_client_address": lambda node: node.primary_client_address is None,
    "client_address": lambda node: node.client_address == CLIENTS,
    "live": lambda node: node.live == [],
    "queues": lambda node: node.queues == [],
    "status": lambda node: node.status().node == "a",
}
"""True before the start, and after the stop."""

CALLS: dict[str, Ask] = {
    "queue": lambda node: node.queue("q"),
    "declare": lambda node: node.declare("q"),
    "renew_listener": lambda node: node.renew_listener("q"),
    "give_place_away": lambda node: node.give_place_away("a reason"),
}
WAITS: dict[str, AskAndWait] = {
    "wait_serving": lambda node: node.wait_serving(1.0),
    "wait_in_sync": lambda node: node.wait_in_sync(1.0),
    "barrier": lambda node: node.barrier(),
    "promote": lambda node: node.promote(timeout_s=1.0),
    "demote": lambda node: node.demote(timeout_s=1.0),
}
WRONG: dict[str, AskAndWait] = {
    "queue of a number": lambda node: at_once(lambda: node.queue(7)),  # type: ignore[arg-type]
    "declare without a name": lambda node: at_once(lambda: node.declare("")),
    "declare with a settle of 1": lambda node: at_once(lambda: node.declare("x", settle=1)),  # type: ignore[arg-type]
    "status of fewer than no queues": lambda node: at_once(lambda: node.status(queues_max=-1)),
    "give_place_away without a reason": lambda node: at_once(lambda: node.give_place_away(None)),  # type: ignore[arg-type]
    "wait for less than no time": lambda node: node.wait_serving(-1.0),
    "wait for text": lambda node: node.wait_in_sync("soon"),  # type: ignore[arg-type]
    "promote for no number": lambda node: node.promote(timeout_s=float("nan")),
    "demote for less than no time": lambda node: node.demote(timeout_s=-0.1),
}


async def at_once(ask: Callable[[], object]) -> object:
    return ask()


def fresh(name: NodeId = "a", **arguments: Any) -> Node:
    parts: dict[str, Any] = {
        "broker": Recorder(),
        "store": MemoryStore(),
        "transport": MemoryTransport(MemoryNetwork()),
        "records": MemoryRecordStore(),
        "listen": ADDRESS,
        "client_address": CLIENTS,
    }
    return Node(name, **{**parts, **arguments})


async def started() -> Node:
    node = fresh()
    await node.start()
    await node.promote()
    return node


# --- before the start and after the stop ---------------------------------------------------------


@pytest.mark.parametrize("name", ANSWERS)
def test_a_node_answers_before_its_start_and_after_its_stop(name: str) -> None:
    async def main() -> None:
        node = fresh()
        assert ANSWERS[name](node)
        assert (node.generation, node.stopped) == (0, None)
        await node.start()
        await node.stop()
        assert ANSWERS[name](node)
        assert node.stopped is not None

    asyncio.run(main())


@pytest.mark.parametrize("name", CALLS)
def test_what_needs_a_running_node_is_refused_before_the_start_and_after_the_stop(name: str) -> None:
    async def main() -> None:
        node = fresh()
        with pytest.raises(LocalProtocolError):
            CALLS[name](node)
        await node.start()
        await node.stop()
        with pytest.raises(CallerError):
            CALLS[name](node)

    asyncio.run(main())


@pytest.mark.parametrize("name", WAITS)
def test_nothing_waits_for_a_node_that_does_not_run(name: str) -> None:
    async def main() -> None:
        node = fresh()
        with pytest.raises(LocalProtocolError):
            await WAITS[name](node)
        await node.start()
        await node.stop()
        with pytest.raises(CallerError):
            await WAITS[name](node)

    asyncio.run(main())


def test_a_node_is_started_once_and_may_be_stopped_twice() -> None:
    async def main() -> None:
        node = fresh()
        async with node as entered:
            assert entered is node and node.address is not None
            with pytest.raises(LocalProtocolError, match="start"):
                await node.start()
        await node.stop()
        assert (await node.wait_stopped()).error is None
        with pytest.raises(LocalProtocolError):
            await node.start()
        with pytest.raises(NodeStopped):
            await node.wait_serving(1.0)

    asyncio.run(main())


def test_a_node_that_never_started_is_stopped() -> None:
    async def main() -> None:
        node = fresh()
        await node.stop()
        assert node.role is Role.STOPPED and node.address is None

    asyncio.run(main())


# --- while it runs -------------------------------------------------------------------------------


def test_the_facade_shows_the_term_of_a_primary() -> None:
    async def main() -> None:
        node = await started()
        assert (node.role, node.serving, node.generation) == (Role.ACTIVE, True, 1)
        assert (node.primary, node.primary_client_address) == ("a", CLIENTS)
        queue = node.declare("q")
        assert node.queue("q") is queue and node.queues == [queue] and node.declare("q") is queue
        await queue.enqueue(b"one")
        assert await node.barrier() == 1
        assert list(node.status(queues_max=0).queues) == []
        assert node.renew_listener("q") is False, "the broker follows no queue"
        await node.stop()

    asyncio.run(main())


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_argument_is_refused_and_changes_nothing(name: str) -> None:
    async def main() -> None:
        node = await started()
        before = node.status()
        with pytest.raises(ArgumentError):
            await WRONG[name](node)
        assert (node.status().position, node.status().queues) == (before.position, before.queues)
        await node.stop()

    asyncio.run(main())


@pytest.mark.parametrize("name", [*CALLS, *WAITS, "status", "stop"])
def test_another_thread_is_refused(name: str) -> None:
    asked: dict[str, Callable[[Node], Any]] = {
        **CALLS,
        **WAITS,
        "status": lambda node: node.status(),
        "stop": lambda node: node.stop(),
    }
    found: list[BaseException] = []

    def call(node: Node) -> None:
        try:
            made = asked[name](node)
            if asyncio.iscoroutine(made):
                asyncio.run(made)
        except BaseException as error:
            found.append(error)

    async def main() -> None:
        node = await started()
        node.declare("q")
        thread = threading.Thread(target=call, args=(node,))
        thread.start()
        await asyncio.to_thread(thread.join)
        assert [type(error) for error in found] == [WrongThread]
        assert node.serving
        await node.stop()

    asyncio.run(main())


# --- how it is made ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        {"broker": object()},
        {"store": None},
        {"transport": "tcp"},
        {"records": object()},
        {"promoter": object()},
        {"settings": {}},
        {"listen": "a:1"},
        {"listen": ("0.0.0.0", 0)},
        {"client_address": ("a", 70_000)},
        {"score": "high"},
        {"on_event": 7},
    ],
    ids=lambda arguments: next(iter(arguments)),
)
def test_a_node_is_not_made_of_wrong_parts(arguments: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(arguments))):
        fresh(**arguments)


@pytest.mark.parametrize("name", ["", "x" * 256, UUID(int=1), None])
def test_a_node_needs_a_name(name: Any) -> None:
    with pytest.raises(SettingsError):
        fresh(name)
