"""A read that can wait for a moment is made once for all that ask for it."""

from __future__ import annotations

import asyncio

import pytest

from qpidha.records import soon
from qpidha.records.soon import Soon
from tests.support.harness import until


def test_several_that_ask_get_one_read_in_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soon, "SOON_S", 0.01)

    async def main() -> None:
        read: list[None] = []
        one = Soon(lambda: read.append(None))
        one.ask()
        one.ask()
        assert not read
        await until(lambda: bool(read))
        one.ask()
        one.now()
        await asyncio.sleep(0.05)
        assert len(read) == 2, "what was made at once stands for what was asked for before"
        one.ask()
        one.cancel()
        one.cancel()
        await asyncio.sleep(0.05)
        assert len(read) == 2
        one.ask()
        await until(lambda: len(read) == 3)

    asyncio.run(main())
