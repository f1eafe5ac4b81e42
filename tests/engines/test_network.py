"""What a record store does when the network between it and its engine is bad."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from qpidha.errors import OutcomeUnknown, Unavailable
from tests.engines.case import Case, Run, cas, first, reaches
from tests.support.records import RECORD, newer

pytestmark = [pytest.mark.network, pytest.mark.processes, pytest.mark.external]


def test_endpoints_that_refuse_are_passed_over_and_named(run: Run) -> None:
    async def main(case: Case) -> None:
        created = await case.store.create(RECORD)
        async with case.wires() as wires:
            last, *others = wires
            wired = case.through([*others, last])
            for wire in others:
                await wire.refuse()
            assert await wired.read() == created
            second = await cas(wired, created.version, 1)
            await last.refuse()
            with pytest.raises(Unavailable) as caught:
                await refused(wired, second.version)
            assert all(f"127.0.0.1:{wire.port}" in str(caught.value) for wire in wires)
            assert await case.store.read() == second
            await (others[0] if case.engine.quorum else last).mend()
            assert (await cas(wired, second.version, 2)).record == newer(2)
            await wired.close()

    run(main)


async def refused(store: Any, expected: int) -> None:
    """Write once the end of the connection is known: before, a write may have been sent."""
    while True:
        try:
            await cas(store, expected, 2, 1.0)
        except OutcomeUnknown:
            continue


def test_slow_connections_are_only_slow(run: Run) -> None:
    async def main(case: Case) -> None:
        created = await case.store.create(RECORD)
        async with case.wires() as wires:
            wired = case.through(wires)
            watch = wired.watch()
            assert await first(watch) == created
            for wire in wires:
                wire.delay_s = case.engine.delay_s
            second = await cas(wired, created.version, 1)
            third = await cas(case.store, second.version, 2)
            assert await reaches(watch, lambda found: found == third)
            await wired.close()

    run(main)


@pytest.mark.parametrize("sent", [1, 400])
def test_a_connection_that_is_cut_within_a_write_leaves_its_outcome_open(run: Run, sent: int) -> None:
    """It is asked over another connection; if that is silent as well, the outcome is unknown."""

    async def main(case: Case) -> None:
        created = await case.store.create(RECORD)
        async with case.wires() as wires:
            wired, alone = case.through(wires), case.through(wires[:1])
            assert await wired.read() == await alone.read() == created
            wires[0].cut_after(sent)
            second = await cas(wired, created.version, 1)
            assert second.record == newer(1)
            assert await alone.read() == second
            await asyncio.sleep(0.1)
            wires[0].silence(there=False)
            with pytest.raises(OutcomeUnknown):
                await cas(alone, second.version, 2, 0.5)
            await wires[0].mend()
            third = await cas(alone, second.version, 2)
            assert third.record == newer(2) and await case.store.read() == third
            await wired.close()
            await alone.close()

    run(main)


def test_a_silent_network_delays_and_then_fails(run: Run) -> None:
    """Nothing was sent while no connection could be made; with a connection, nobody knows."""

    async def main(case: Case) -> None:
        second = await case.store.create(RECORD)
        async with case.wires() as wires:
            wired = case.through(wires)
            assert await wired.read() == second
            if case.engine.quorum:
                wires[0].silence()
                second = await cas(wired, second.version, 1)
            for wire in wires:
                wire.silence()
            with pytest.raises(OutcomeUnknown):
                await cas(wired, second.version, 2, 0.5)
            fresh = case.through(wires)
            with pytest.raises(Unavailable, match=case.engine.says.no_connection):
                await cas(fresh, second.version, 2, 0.5)
            for wire in wires:
                await wire.mend()
            assert (await cas(wired, second.version, 2)).record == newer(2)
            await wired.close()
            await fresh.close()

    run(main)
