"""One link to a node that has several addresses: one handler, and an error that tells about each address."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from qpidha.core.refusals import OTHER_ADDRESS
from qpidha.errors import LinkClosed, SettingsError
from qpidha.interfaces import Link, LinkFactory, LinkHandler
from qpidha.node.attempts import Attempts, Farewells
from qpidha.types import Address
from qpidha.wire import codec
from qpidha.wire.events import Refused
from qpidha.wire.framing import FrameReader
from tests.support.harness import until
from tests.support.node_parts import Wire, run

FIRST, SECOND = ("10.0.0.1", 5671), ("10.1.0.1", 5671)


class Network:
    """A transport that asks the test what becomes of an address."""

    def __init__(self, answer: Callable[[Address], Exception | None]) -> None:
        self.answer = answer
        self.asked: list[Address] = []
        self.wires: list[Wire] = []
        self.together: asyncio.Event | None = None
        self.handlers: list[LinkHandler] = []
        self.answers: dict[Address, asyncio.Event] = {}
        """An address answers after its event."""

    async def connect(
        self, address: Address, on_link: LinkFactory, *, timeout_s: float, expect: str | None = None
    ) -> Link:
        assert (timeout_s, expect) == (5.0, "b")
        self.asked.append(address)
        if self.together:
            await self.together.wait()
        if address in self.answers:
            await self.answers[address].wait()
        if error := self.answer(address):
            raise error
        self.wires.append(wire := Wire(f"{address[0]}:{address[1]}"))
        self.handlers.append(on_link(wire))
        return wire


def attempts(network: Network, made: list[Link], farewells: Farewells | None = None) -> Attempts:
    return Attempts(network, made.append, farewells or Farewells(), timeout_s=5.0, expect="b")  # type: ignore[arg-type]


def test_the_first_address_that_answers_is_used() -> None:
    async def main() -> None:
        made: list[Link] = []
        network = Network(lambda address: LinkClosed("refused") if address == FIRST else None)
        assert await attempts(network, made).first_of([FIRST, SECOND]) == SECOND
        assert (network.asked, made) == ([FIRST, SECOND], network.wires)

    run(main())


def test_the_error_tells_about_each_address() -> None:
    async def main() -> None:
        network = Network(lambda address: LinkClosed(f"cannot connect to {address[0]}"))
        with pytest.raises(LinkClosed, match=r"connect to 10\.0\.0\.1; cannot connect to 10\.1\.0\.1"):
            await attempts(network, []).first_of([FIRST, SECOND])

    run(main())


def test_the_error_of_the_only_address_keeps_its_type() -> None:
    async def main() -> None:
        with pytest.raises(SettingsError, match="in plain text"):
            await attempts(Network(lambda _: SettingsError("in plain text")), []).first_of([FIRST])

    run(main())


def test_two_addresses_that_answer_in_one_turn_give_one_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        made: list[Link] = []
        network = Network(lambda _: None)
        network.together = asyncio.Event()
        racing = asyncio.ensure_future(attempts(network, made).first_of([FIRST, SECOND]))
        await until(lambda: len(network.asked) == 2)
        network.together.set()
        assert await racing == FIRST
        assert made == network.wires[:1]
        said_goodbye(network.wires[1])

    run(main())


def said_goodbye(wire: Wire) -> None:
    reader = FrameReader(4096)
    room = reader.get_buffer(len(wire.written))
    room[: len(wire.written)] = wire.written
    (raw,) = reader.buffer_updated(len(wire.written))
    event = codec.decode(raw).event
    assert isinstance(event, Refused) and event.code == OTHER_ADDRESS
    assert wire.closed and not wire.aborted


def test_an_address_that_answers_late_is_told_that_another_one_is_used() -> None:
    async def main() -> None:
        made: list[Link] = []
        network, farewells = Network(lambda _: None), Farewells()
        network.answers[FIRST] = asyncio.Event()
        assert await attempts(network, made, farewells).first_of([FIRST, SECOND]) == SECOND
        network.answers[FIRST].set()
        await until(lambda: len(network.wires) == 2)
        assert made == network.wires[:1]
        said_goodbye(network.wires[1])
        late = network.handlers[1]
        assert len(late.get_buffer(1)) > 0
        late.received(1)
        late.drained()
        late.closed(None)
        await farewells.close()

    run(main())


class Wrapping(Network):
    """A transport that returns something else than the link that its handler has, as one does that counts bytes."""

    async def connect(
        self, address: Address, on_link: LinkFactory, *, timeout_s: float, expect: str | None = None
    ) -> Link:
        await super().connect(address, on_link, timeout_s=timeout_s, expect=expect)
        return Wire("wrapped")


def test_a_transport_may_return_another_object_than_its_handler_has() -> None:
    async def main() -> None:
        made: list[Link] = []
        network = Wrapping(lambda _: None)
        assert await attempts(network, made).first_of([FIRST]) == FIRST
        assert made == network.wires

    run(main())


def test_an_address_that_fails_late_is_of_no_interest() -> None:
    async def main() -> None:
        network, farewells = Network(lambda a: LinkClosed("late") if a == FIRST else None), Farewells()
        network.answers[FIRST] = asyncio.Event()
        assert await attempts(network, [], farewells).first_of([FIRST, SECOND]) == SECOND
        network.answers[FIRST].set()
        await until(lambda: not farewells._tasks)

    run(main())


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_is_still_being_opened_is_given_up_when_the_node_closes_its_links(when: str) -> None:
    async def main() -> None:
        network, farewells = Network(lambda _: None), Farewells()
        network.answers[FIRST] = asyncio.Event()
        if when == "before":
            await farewells.close()
        assert await attempts(network, [], farewells).first_of([FIRST, SECOND]) == SECOND
        await farewells.close()
        assert len(asyncio.all_tasks()) == 1
        assert len(network.wires) == 1

    run(main())


def test_attempts_that_are_given_up_leave_nothing_behind() -> None:
    async def main() -> None:
        network = Network(lambda _: None)
        network.answers = {FIRST: asyncio.Event(), SECOND: asyncio.Event()}
        racing = asyncio.ensure_future(attempts(network, []).first_of([FIRST, SECOND]))
        await until(lambda: len(network.asked) == 2)
        racing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await racing
        assert len(asyncio.all_tasks()) == 1
        assert network.wires == []

    run(main())
