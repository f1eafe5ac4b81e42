"""What is kept in real engines: larger records than usual, several clusters, and content that somebody has edited."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from qpidha.errors import ClusterError, ManagerRefused, SettingsError
from qpidha.types import Member
from tests.engines.case import TIMEOUT_S, Case, Run, first, reaches
from tests.support.records import RECORD, newer

pytestmark = [pytest.mark.network, pytest.mark.processes, pytest.mark.external]


def test_a_large_record_and_large_sessions(run: Run) -> None:
    async def main(case: Case) -> None:
        store = case.store
        members = frozenset(Member(f"node-{n}-{'x' * 200}", UUID(int=n)) for n in range(2000))
        watch = store.watch()
        assert await first(watch) is None
        created = await store.create(replace(RECORD, members=members))
        assert await reaches(watch, lambda found: found == created)
        sessions = [await store.open_session(f"n{n}", bytes(32 * 1024), ttl_s=10) for n in range(8)]
        assert {node: len(info) for node, info in (await store.live()).items()} == {
            f"n{n}": 32768 for n in range(8)
        }
        for session in sessions:
            await session.close()
        huge = replace(RECORD, members=frozenset(Member(f"{n:0>250}", UUID(int=n)) for n in range(8000)))
        if case.engine.says.too_large is None:
            written = await store.compare_and_set(created.version, huge, timeout_s=TIMEOUT_S)
            assert await store.read() == written and written.record == huge
        else:
            with pytest.raises(ManagerRefused, match=case.engine.says.too_large):
                await store.compare_and_set(created.version, huge, timeout_s=TIMEOUT_S)

    run(main)


def test_two_clusters_in_one_engine_do_not_see_each_other(run: Run) -> None:
    async def main(case: Case) -> None:
        store = case.store
        below = "inner" if "record" in case.engine.reserved else "record"
        inner, beside = case.elsewhere(f"{case.place}/{below}"), case.elsewhere(f"{case.place}-2")
        watch = store.watch_live()
        assert await first(watch) == {}
        sessions = []
        for n, one in enumerate((store, inner, beside)):
            assert await one.read() is None
            await one.create(newer(n))
            sessions.append(await one.open_session("a", bytes([n]), ttl_s=case.engine.ttl_s))
        for n, one in enumerate((store, inner, beside)):
            found = await one.read()
            assert found is not None and found.record == newer(n)
            assert dict(await one.live()) == {"a": bytes([n])}
        assert await reaches(watch, lambda live: dict(live) == {"a": b"\0"})
        for session in sessions:
            await session.close()
        for name in case.engine.reserved:
            with pytest.raises(SettingsError, match=f"'{name}'"):
                case.elsewhere(f"{case.place}/{name}")

    run(main)


def test_a_record_that_was_edited_by_hand_is_damaged(run: Run) -> None:
    async def main(case: Case) -> None:
        await case.store.create(RECORD)
        watch = case.store.watch()
        await first(watch)
        await case.engine.spoil(case.store)
        with pytest.raises(ClusterError, match="damaged"):
            await case.store.read()
        with pytest.raises(ClusterError, match="damaged"):
            await reaches(watch, lambda found: found is None)

    run(main)
