"""One link to a node that has several addresses: one handler, and an error that tells about each address."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from qpidha.errors import LinkClosed, SettingsError
from qpidha.interfaces import Link, LinkFactory
from qpidha.node.attempts import Attempts
from qpidha.types import Address
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

    async def connect(
        self, address: Address, on_link: LinkFactory, *, timeout_s: float, expect: str | None = None
    ) -> Link:
        assert (timeout_s, expect) == (5.0, "b")
        self.asked.append(address)
        if self.together:
            await self.together.wait()
        if error := self.answer(address):
            raise error
        self.wires.append(wire := Wire(f"{address[0]}:{address[1]}"))
        on_link(wire)
        return wire


def attempts(network: Network, made: list[Link]) -> Attempts:
    return Attempts(network, made.append, timeout_s=5.0, expect="b")  # type: ignore[arg-type]


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

    run(main())
