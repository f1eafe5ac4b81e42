"""Promoters decide to promote at the right times only; the record decides whether the promotion succeeds.

Method: a record store in memory and a loop in which time jumps; the tests open and expire sessions and count the
decisions of each node.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

import pytest

from qpidha.interfaces import Decision, Promoter, RecordStore
from qpidha.promoters import OperatorPromoter, PriorityPromoter
from qpidha.promoters.priority import Seen, candidates, primary_lives
from qpidha.records import MemoryRecordStore
from qpidha.types import Member, NodeInfo, Record
from qpidha.wire.info import encode_info
from tests.support.node_parts import pause, run

BOOT = UUID(int=1)
OTHER_BOOT = UUID(int=2)


def record(primary: tuple[str, UUID] | None = ("p", BOOT), members: str = "pab") -> Record:
    return Record(
        cluster=UUID(int=9),
        generation=1,
        primary=primary,
        members=frozenset(Member(node, UUID(int=5)) for node in members),
        nonce=b"x",
    )


def info(boot: UUID = BOOT, score: int | None = 0) -> bytes:
    return encode_info(NodeInfo(peer=("127.0.0.1", 1), boot=boot, score=score))


@dataclass
class View:
    """A `ClusterView`."""

    node: str
    records: RecordStore
    eligible: bool = True


class Decisions:
    """Follows one promoter and remembers its decisions and their times."""

    def __init__(self) -> None:
        self.made: list[Decision] = []
        self.times: list[float] = []

    async def follow(self, promoter: Promoter, view: View) -> None:
        async with aclosing(promoter.decisions(view)) as decisions:  # type: ignore[type-var]
            async for decision in decisions:
                self.made.append(decision)
                self.times.append(asyncio.get_running_loop().time())

    async def some(self, n: int = 1) -> None:
        have = len(self.made) + n

        async def wait() -> None:
            while len(self.made) < have:  # noqa: ASYNC110 - the promoter is what is tested
                await asyncio.sleep(0.005)

        await asyncio.wait_for(wait(), 5)

    async def none_for(self, seconds: float) -> None:
        have = len(self.made)
        await asyncio.sleep(seconds)
        assert self.made[have:] == []


@asynccontextmanager
async def following(promoter: Promoter, view: View) -> AsyncIterator[Decisions]:
    decisions = Decisions()
    task = asyncio.ensure_future(decisions.follow(promoter, view))
    try:
        yield decisions
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0)
        assert not [t for t in asyncio.all_tasks() if t.get_name() == f"qpidha-promoter-{view.node}"]


def test_a_node_tries_only_when_the_primary_is_gone() -> None:
    async def main() -> None:
        store = MemoryRecordStore()
        await store.create(record())
        await store.open_session("p", info(), ttl_s=1)
        await store.open_session("a", info(), ttl_s=1)
        async with following(PriorityPromoter(), View("a", store)) as decisions:
            await decisions.none_for(0.25)
            store.expire("p")
            await decisions.some(3)
            assert set(decisions.made) == {"promote"}
            gaps = [b - a for a, b in zip(decisions.times, decisions.times[1:], strict=False)]
            assert min(gaps) > 0.09
            await store.open_session("p", info(), ttl_s=1)
            await asyncio.sleep(0.01)
            await decisions.none_for(0.25)

    run(main())


def test_the_highest_score_tries_and_the_greatest_name_breaks_ties() -> None:
    async def main() -> None:
        store = MemoryRecordStore()
        await store.create(record())
        sessions = {node: await store.open_session(node, info(score=1), ttl_s=1) for node in "ab"}
        async with (
            following(PriorityPromoter(1), View("a", store)) as low,
            following(PriorityPromoter(1), View("b", store)) as high,
        ):
            await high.some()
            assert low.made == []
            await sessions["a"].update(info(score=2))
            await asyncio.sleep(0.01)
            await low.some()
            await high.none_for(0.25)
            await sessions["a"].update(info(score=None))
            await asyncio.sleep(0.01)
            await high.some()
            store.expire("b")
            await low.some()

    run(main())


def test_a_restarted_primary_is_not_the_primary() -> None:
    async def main() -> None:
        store = MemoryRecordStore()
        await store.create(record())
        await store.open_session("p", info(OTHER_BOOT), ttl_s=1)
        async with following(PriorityPromoter(), View("p", store)) as decisions:
            await decisions.some()

    run(main())


def test_the_first_primary_needs_no_record() -> None:
    async def main() -> None:
        store = MemoryRecordStore()
        await store.open_session("a", info(), ttl_s=1)
        async with following(PriorityPromoter(), View("a", store)) as decisions:
            await decisions.some()

    run(main())


def test_settling_delays_the_first_try_only() -> None:
    async def main() -> None:
        store = MemoryRecordStore()
        await store.create(record(primary=None))
        async with following(PriorityPromoter(settle_s=0.4), View("a", store)) as decisions:
            await decisions.none_for(0.3)
            await decisions.some(2)

    run(main())


def test_a_node_waits_only_for_a_limited_time_for_a_better_candidate() -> None:
    async def main() -> None:
        store = MemoryRecordStore()
        await store.create(record())
        await store.open_session("b", info(score=9), ttl_s=1)
        async with following(PriorityPromoter(patience_s=0.4), View("a", store)) as decisions:
            await decisions.none_for(0.3)
            await decisions.some()

    run(main())


@pytest.mark.parametrize(
    ("found", "live", "lives"),
    [
        (None, {}, False),
        (record(primary=None), {"p": info()}, False),
        (record(), {}, False),
        (record(), {"a": info()}, False),
        (record(), {"p": info()}, True),
        (record(), {"p": info(OTHER_BOOT)}, False),
        (record(), {"p": b"not an info"}, True),
    ],
)
def test_whether_the_primary_lives(found: Record | None, live: dict[str, bytes], lives: bool) -> None:
    assert primary_lives(found, live) is lives


def test_candidates_are_live_members_with_a_score() -> None:
    live = {"a": info(score=3), "b": info(score=None), "p": b"\xff", "stranger": info(score=7)}
    assert candidates(record(), live) == {"a": 3}
    assert candidates(None, live) == {"a": 3, "stranger": 7}


def test_a_cancellation_in_the_turn_of_a_change_is_not_lost() -> None:
    """The task that waits for a decision ends, as promised."""

    async def main() -> None:
        seen = Seen(0.1)
        waiting = asyncio.ensure_future(seen.wait(60.0))
        await asyncio.sleep(0.01)
        seen.set_live({})
        waiting.cancel()
        await asyncio.wait({waiting}, timeout=20)
        assert waiting.cancelled()

    run(main())


def test_each_request_of_an_operator_gives_one_decision() -> None:
    async def main() -> None:
        promoter = OperatorPromoter()
        async with following(promoter, View("a", MemoryRecordStore())) as decisions:
            await decisions.none_for(0.05)
            promoter.promote()
            await decisions.some()
            promoter.demote()
            promoter.demote()
            await decisions.some()
            await decisions.none_for(0.05)
            promoter.promote()
            promoter.demote()
            await decisions.some()
        assert decisions.made == ["promote", "demote", "demote"]

    run(main())


def test_a_pause_of_this_process_does_not_count_as_silence_of_the_primary() -> None:
    """T42: the whole machine was paused. The promoter gives the primary time to renew its session."""

    async def main() -> None:
        records = MemoryRecordStore()
        await records.create(record())
        await records.open_session("p", info(), ttl_s=10)
        await records.open_session("a", info(), ttl_s=10)
        async with following(PriorityPromoter(), View("a", records)) as decisions:
            await decisions.none_for(0.3)
            pause(1.5)
            records.expire("p")
            await decisions.none_for(0.4)
            await records.open_session("p", info(), ttl_s=10)
            await decisions.none_for(1.0)
            records.expire("p")
            await decisions.some()
            assert decisions.made[-1] == "promote"
        await records.close()

    run(main())


def test_a_missing_primary_is_replaced_after_a_pause_too() -> None:
    async def main() -> None:
        records = MemoryRecordStore()
        await records.create(record())
        await records.open_session("a", info(), ttl_s=10)
        async with following(PriorityPromoter(), View("a", records)) as decisions:
            await decisions.some()
            pause(1.5)
            await decisions.some()
        await records.close()

    run(main())
