"""What an answer of PostgreSQL, and the lack of one, means for a statement. The servers here are played."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from qpidha.errors import ClusterError, Conflict, ForkedError, ManagerRefused, OutcomeUnknown, Unavailable
from qpidha.records import PostgreSqlRecordStore
from qpidha.records.format import encode_value
from qpidha.records.postgresql import layout
from qpidha.records.postgresql.layout import CHANGE_RECORD, CREATE_RECORD, MAKE_TABLES, READ_RECORD_SURELY
from qpidha.types import Versioned
from tests.support.harness import until
from tests.support.records import RECORD, newer
from tests.unit.records.postgresql.fake import RESET, SILENT, WARNED, Fake


def run(fake: Fake, main: Callable[[PostgreSqlRecordStore], Awaitable[None]]) -> None:
    async def wrapped() -> None:
        store = fake.store()
        try:
            await main(store)
        finally:
            await store.close()

    asyncio.run(wrapped())


def put(fake: Fake, n: int, version: int) -> None:
    fake.records["qpidha"] = (version, encode_value(newer(n)).decode())


async def write(store: PostgreSqlRecordStore, expected: int, n: int, timeout_s: float = 0.6) -> Versioned:
    return await store.compare_and_set(expected, newer(n), timeout_s=timeout_s)


def test_a_statement_that_is_cancelled_as_its_answer_comes_leaves_no_connection_open(fake: Fake) -> None:
    async def main(store: PostgreSqlRecordStore) -> None:
        def cancelled() -> list[object]:
            reading.cancel()
            return []

        fake.script[READ_RECORD_SURELY] = [cancelled]
        reading = asyncio.ensure_future(store.read())
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert all(one.closed for server in fake.servers for one in server.connections)

    run(fake, main)


def test_a_call_that_is_cancelled_while_it_makes_the_tables_leaves_no_connection_open(fake: Fake) -> None:
    async def main(store: PostgreSqlRecordStore) -> None:
        fake.script[READ_RECORD_SURELY] = [asyncpg.UndefinedTableError("no table")]
        fake.script[MAKE_TABLES] = [SILENT]
        reading = asyncio.ensure_future(store.read())
        await until(lambda: fake.count(MAKE_TABLES))
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert all(one.closed for server in fake.servers for one in server.connections)

    run(fake, main)


def test_of_two_writers_one_wins(fake: Fake) -> None:
    async def main(store: PostgreSqlRecordStore) -> None:
        other = fake.store()
        with pytest.raises(Conflict, match="there is no record"):
            await write(store, 3, 1)
        first = await store.create(RECORD)
        assert await other.read() == first
        with pytest.raises(Conflict):
            await other.create(newer(5))
        second = await write(other, first.version, 1)
        with pytest.raises(Conflict) as caught:
            await write(store, first.version, 2)
        assert caught.value.current == second
        with pytest.raises(Conflict):
            await store.create(newer(7))
        assert fake.count(CREATE_RECORD) == 1, "what was seen is there"
        await other.close()

    run(fake, main)


@pytest.mark.parametrize("said", [RESET, WARNED])
def test_a_write_without_its_answer_is_recognised_as_our_own(fake: Fake, said: str) -> None:
    """A warning means: committed by this server, and perhaps by no standby."""

    async def main(store: PostgreSqlRecordStore) -> None:
        first = await store.create(RECORD)

        def lost() -> Any:
            if said == RESET:
                put(fake, 1, 2)
            return said

        fake.script[CHANGE_RECORD] = [lost]
        second = await write(store, first.version, 1)
        assert second == Versioned(newer(1), 2)
        assert fake.count(CHANGE_RECORD) == 2 and fake.count(READ_RECORD_SURELY) == 1

    run(fake, main)


def test_without_an_answer_nobody_knows(fake: Fake) -> None:
    async def main(store: PostgreSqlRecordStore) -> None:
        first = await store.create(RECORD)
        fake.script[CHANGE_RECORD] = [SILENT]
        with pytest.raises(OutcomeUnknown, match=r"no answer in 0\.\d+ s"):
            await write(store, first.version, 1, 0.1)

        def cut() -> str:
            for server in fake.servers:
                server.fails = OSError("down")
            return RESET

        fake.script[CHANGE_RECORD] = [cut]
        with pytest.raises(OutcomeUnknown, match="down"):
            await write(store, first.version, 1, 0.2)
        with pytest.raises(Unavailable, match="no server of PostgreSQL can be used"):
            await write(store, first.version, 1)

    run(fake, main)


def test_a_lost_race_that_cannot_be_looked_at_is_unknown(fake: Fake) -> None:
    async def main(store: PostgreSqlRecordStore) -> None:
        await store.create(RECORD)
        fake.script[READ_RECORD_SURELY] = [asyncpg.InsufficientPrivilegeError("no")]
        with pytest.raises(OutcomeUnknown, match="what is there cannot be read"):
            await write(store, 9, 1)

    run(fake, main)


def test_a_read_is_repeated_and_no_time_is_no_answer(fake: Fake) -> None:
    async def main(store: PostgreSqlRecordStore) -> None:
        created = await store.create(RECORD)
        fake.script[READ_RECORD_SURELY] = [SILENT, SILENT]
        assert await store.read() == created
        with pytest.raises(Unavailable, match="no time was left of 0 s"):
            await write(store, created.version, 1, 0)
        fake.script[READ_RECORD_SURELY] = [SILENT] * 9
        with pytest.raises(Unavailable, match="does not answer"):
            await store._read_surely(0.3)

    run(fake, main)


@pytest.mark.parametrize("kind", [asyncpg.ReadOnlySQLTransactionError, asyncpg.DeadlockDetectedError])
def test_what_was_rolled_back_for_the_moment_is_tried_again(fake: Fake, kind: type[Exception]) -> None:
    async def main(store: PostgreSqlRecordStore) -> None:
        created = await store.create(RECORD)
        fake.script[CHANGE_RECORD] = [kind("later")]
        assert (await write(store, created.version, 1)).record == newer(1)
        fake.script[CHANGE_RECORD] = [kind("later")] * 99
        with pytest.raises(Unavailable, match="later"):
            await write(store, 2, 2, 0.2)

    run(fake, main)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (asyncpg.InsufficientPrivilegeError("no"), "GRANT SELECT"),
        (asyncpg.DiskFullError("full"), "PostgreSQL refuses: full"),
    ],
)
def test_what_postgresql_refuses_was_not_done(fake: Fake, error: Exception, why: str) -> None:
    async def main(store: PostgreSqlRecordStore) -> None:
        created = await store.create(RECORD)
        fake.script[CHANGE_RECORD] = [error]
        with pytest.raises(ManagerRefused, match=why):
            await write(store, created.version, 1)
        assert fake.count(CHANGE_RECORD) == 1

    run(fake, main)


@pytest.mark.parametrize("error", [asyncpg.AdminShutdownError("stopping"), asyncpg.PostgresError("?")])
def test_an_error_that_ends_a_connection_says_nothing_of_the_statement(fake: Fake, error: Exception) -> None:
    async def main(store: PostgreSqlRecordStore) -> None:
        created = await store.create(RECORD)
        fake.script[CHANGE_RECORD] = [error] * 99
        with pytest.raises(OutcomeUnknown):
            await write(store, created.version, 1, 0.1)

    run(fake, main)


def test_tables_are_made_on_first_use(fake: Fake) -> None:
    async def main(store: PostgreSqlRecordStore) -> None:
        missing = asyncpg.UndefinedTableError("none")
        fake.script[CREATE_RECORD] = [missing, missing]
        fake.script[MAKE_TABLES] = [OSError("cut")]
        assert (await store.create(RECORD)).version == 1
        fake.script[READ_RECORD_SURELY] = [missing]
        fake.script[MAKE_TABLES] = [asyncpg.InsufficientPrivilegeError("no")]
        with pytest.raises(ManagerRefused, match="SCHEMA_SQL as the owner"):
            await store.read()

    run(fake, main)


def test_a_record_that_went_back_is_an_error(fake: Fake) -> None:
    async def main(store: PostgreSqlRecordStore) -> None:
        put(fake, 1, 5)
        assert await store.read() == Versioned(newer(1), 5)
        put(fake, 2, 4)
        with pytest.raises(ClusterError, match="went back from version 5 to 4") as caught:
            await store.read()
        assert not isinstance(caught.value, (Unavailable, Conflict))
        put(fake, 2, 5)
        with pytest.raises(ClusterError, match="went back from version 5 to 5"):
            await store.read()
        with pytest.raises(ClusterError, match="went back"):
            await write(store, 5, 3)
        fake.records.clear()
        with pytest.raises(ClusterError, match="went back from version 5 to 0"):
            await store.create(RECORD)
        assert not fake.records
        fake.records["qpidha"] = (6, "{}")
        with pytest.raises(ClusterError, match="damaged"):
            await store.read()

    run(fake, main)


def test_of_many_connections_few_are_kept_and_a_closed_store_keeps_none(fake: Fake) -> None:
    async def main(store: PostgreSqlRecordStore) -> None:
        async def slow() -> None:
            await store.live()

        fake.script[layout.READ_SESSIONS] = []
        await asyncio.gather(*(slow() for _ in range(5)))
        open_ones = [one for server in fake.servers for one in server.connections if not one.closed]
        assert 1 <= len(open_ones) <= 2
        await store.close()
        assert all(one.closed for server in fake.servers for one in server.connections)
        await store.live()
        assert all(one.closed for server in fake.servers for one in server.connections)

    run(fake, main)


def test_a_cancelled_statement_leaves_nothing_behind(fake: Fake) -> None:
    async def main(store: PostgreSqlRecordStore) -> None:
        said: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
        fake.script[READ_RECORD_SURELY] = [SILENT]
        task = asyncio.ensure_future(store.read())
        await until(lambda: fake.count(READ_RECORD_SURELY))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        import gc

        del task
        gc.collect()
        await asyncio.sleep(0)
        assert not said
        assert all(one.closed for server in fake.servers for one in server.connections)

    run(fake, main)


def test_in_a_forked_child_nothing_is_done(fake: Fake) -> None:
    async def main(store: PostgreSqlRecordStore) -> None:
        await store.read()
        for pool in (store._records, store._sessions):
            assert list(pool.forked()) == []
        with pytest.raises(ForkedError):
            await store.read()
        with pytest.raises(ForkedError):
            await store._records.connect(1.0)

    run(fake, main)
