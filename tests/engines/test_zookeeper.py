"""What is peculiar to ZooKeeper: the time-outs that it grants, and the counters of its znodes."""

from __future__ import annotations

import contextlib
import time

import pytest

from qpidha.errors import Conflict, Unavailable
from tests.engines.case import Case, Run, cas
from tests.engines.zookeeper import CONNECTIONS_MAX
from tests.support.records import RECORD, newer

pytestmark = [
    pytest.mark.network, pytest.mark.processes, pytest.mark.external,
    pytest.mark.parametrize("engine", ["zookeeper"], indirect=True),
]  # fmt: skip


def test_time_outs_are_told_as_the_server_grants_them(run: Run) -> None:
    """Not less than two ticks, not more than twenty."""

    async def main(case: Case) -> None:
        for wanted_s, granted_s in ((0.1, 0.4), (1.0, 1.0), (60.0, 4.0)):
            session = await case.store.open_session("a", b"", ttl_s=wanted_s)
            assert session.granted_ttl_s == pytest.approx(granted_s)
            assert session.deadline() < time.monotonic() + granted_s
            with contextlib.suppress(Unavailable):  # Two ticks are short on a busy machine.
                await session.close()

    run(main)


def test_a_record_that_was_created_again_is_not_taken_for_the_one_before(run: Run) -> None:
    """The counter of a new znode begins again at the same number. That of the transactions does not."""

    async def main(case: Case) -> None:
        store, other = case.store, case.at(1)
        created = await store.create(RECORD)
        await case.engine.as_root(lambda client: client.delete(store._layout.record))
        assert await other.read() is None
        again = await other.create(newer(7))
        assert again.version > created.version
        assert await store.read() == again
        with pytest.raises(Conflict):
            await cas(store, created.version, 1)
        assert await other.read() == again

    run(main)


def test_connections_that_were_lost_do_not_count_any_more(run: Run) -> None:
    """A server has so many for one address, and a node has two."""

    async def main(case: Case) -> None:
        session = await case.store.open_session("a", b"", ttl_s=4.0)
        for _ in range(CONNECTIONS_MAX + 10):
            await case.store.read()
            case.store._requests._link.drop()
        await case.store.read()
        assert not session.lost
        assert await case.engine.connections() == 2
        await session.close()

    run(main)
