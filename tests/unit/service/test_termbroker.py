"""A broker that is a new object in each term."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from qpidha import ArgumentError
from qpidha.interfaces import Broker
from qpidha.service import TermBroker


class OneTerm:
    def __init__(self, node: Any, fails: bool = False) -> None:
        self.node, self.fails, self.calls = node, fails, list[str]()

    async def start(self) -> None:
        self.calls.append("start")
        if self.fails:
            raise OSError("no port")

    async def leave(self) -> None:
        self.calls.append("leave")


def test_each_term_has_an_object_of_its_own() -> None:
    async def main() -> None:
        discarded, node = list[Any](), object()

        async def keep(messages: Any) -> None:
            discarded.extend(messages)

        broker = TermBroker(OneTerm, discarded=keep)
        broker.node = node  # type: ignore[assignment]
        assert isinstance(broker, Broker) and broker.term is None
        await broker.on_promote(1)
        first = broker.term
        assert first is not None and first.node is node and first.calls == ["start"]
        await broker.on_demote(1)
        assert broker.term is None and first.calls == ["start", "leave"]
        await broker.on_promote(3)
        assert broker.term is not first
        await broker.on_discarded(["message"])  # type: ignore[list-item]
        assert discarded == ["message"]

    asyncio.run(main())


def test_a_start_that_fails_is_left_and_what_cannot_be_made_is_not() -> None:
    async def main() -> None:
        broker = TermBroker(lambda node: OneTerm(node, fails=True))
        broker.node = object()  # type: ignore[assignment]
        with pytest.raises(OSError, match="no port"):
            await broker.on_promote(1)
        term = broker.term
        await broker.on_demote(1)
        assert term is not None and term.calls == ["start", "leave"]
        await broker.on_demote(1)
        await broker.on_discarded([])

    asyncio.run(main())


def test_its_arguments_are_checked() -> None:
    with pytest.raises(ArgumentError, match="make must be"):
        TermBroker(7)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="discarded must be"):
        TermBroker(OneTerm, discarded=7)  # type: ignore[arg-type]
