"""The bridge gives a thread without asyncio record, live nodes, answers and decisions, and shows that it is alive."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from qpidha import Settings
from qpidha.bridge import Answered, Bridge, BridgeEvent, Decided, Failed, LiveSeen, RecordSeen, Retrying
from qpidha.core.manager import Applied, Lost, NotSent, Read, Unknown
from qpidha.core.ready import CompareAndSet, ReadRecord
from qpidha.errors import Conflict, LocalProtocolError, Unavailable
from qpidha.interfaces import ClusterView, Session
from qpidha.promoters import OperatorPromoter, PriorityPromoter
from qpidha.records import FileRecordStore, MemoryRecordStore
from qpidha.records.memory import Fault
from qpidha.types import Member, NodeInfo, Record, Versioned

LONG_S = 20.0
INFO = NodeInfo(peer=("127.0.0.1", 1), boot=UUID(int=7), score=1)
RECORD = Record(
    cluster=UUID(int=1), generation=1, primary=None, members=frozenset({Member("a", UUID(int=2))})
)
SETTINGS = Settings(session_ttl_s=4.0, record_timeout_s=1.0)
"""A thread that the machine stops for a second or two is not silent yet."""


class Board:
    """A thread's side of the bridge: what it was woken for."""

    def __init__(self, bridge: Callable[[Callable[[], None]], Bridge]) -> None:
        self.woken = threading.Event()
        self.events: list[BridgeEvent] = []
        self.bridge = bridge(self.woken.set)
        self.living = True

    def until(self, wanted: Callable[[BridgeEvent], bool]) -> BridgeEvent:
        """The first event like this; the ones before it stay in the list."""
        deadline = time.monotonic() + LONG_S
        while time.monotonic() < deadline:
            if self.living:
                self.bridge.alive(eligible=True)
            for n, event in enumerate(self.events):
                if wanted(event):
                    del self.events[: n + 1]
                    return event
            self.woken.wait(0.05)
            self.woken.clear()
            self.events += self.bridge.take()
        raise AssertionError(f"not among {self.events}")

    def until_kind(self, kind: type[BridgeEvent]) -> BridgeEvent:
        return self.until(lambda event: isinstance(event, kind))


@pytest.fixture
def memory() -> MemoryRecordStore:
    return MemoryRecordStore()


@pytest.fixture
def board(memory: MemoryRecordStore) -> Iterator[Board]:
    board = Board(lambda wake: Bridge("a", lambda: memory, wake=wake, settings=SETTINGS))
    assert board.bridge.open() is None
    board.bridge.join(INFO)
    yield board
    board.bridge.close()


def answer_to(board: Board, request: CompareAndSet | ReadRecord) -> object:
    board.bridge.request(request)
    answered = board.until_kind(Answered)
    assert isinstance(answered, Answered) and answered.request == request
    return answered.answer


def test_record_and_live_nodes_are_shown(board: Board) -> None:
    assert board.until_kind(LiveSeen) == LiveSeen({"a": INFO})
    created = answer_to(board, CompareAndSet(None, RECORD))
    assert isinstance(created, Applied)
    assert board.until(lambda e: e == RecordSeen(created.current))


async def never(expected: int, new: Record, *, timeout_s: float) -> Versioned:
    await asyncio.sleep(0)
    raise asyncio.TimeoutError


def test_each_outcome_of_a_request_has_its_own_answer(board: Board, memory: MemoryRecordStore) -> None:
    """The core draws different conclusions from a refusal, a request that was not sent, and an unknown outcome."""
    first = answer_to(board, CompareAndSet(None, RECORD))
    assert isinstance(first, Applied)
    assert answer_to(board, ReadRecord()) == Read(first.current)
    assert answer_to(board, CompareAndSet(None, RECORD)) == Lost(first.current)
    memory.fail_next(Fault.UNAVAILABLE)
    assert answer_to(board, CompareAndSet(first.current.version, RECORD)) == NotSent()
    memory.fail_next(Fault.LOST)
    assert answer_to(board, CompareAndSet(first.current.version, RECORD)) == Unknown()
    second = answer_to(board, CompareAndSet(first.current.version, replace(RECORD, generation=2)))
    assert isinstance(second, Applied)
    memory.compare_and_set = never  # type: ignore[method-assign]
    assert answer_to(board, CompareAndSet(second.current.version, RECORD)) == Unknown(), "no answer in time"


def test_a_silent_thread_loses_its_session_and_gets_it_back(memory: MemoryRecordStore) -> None:
    """Otherwise a primary whose thread hangs would look alive, and no other node would take over (L1)."""
    settings = replace(SETTINGS, session_ttl_s=0.4)
    board = Board(lambda wake: Bridge("a", lambda: memory, wake=wake, settings=settings))
    board.bridge.open()
    board.bridge.join(INFO)
    board.living = False
    told = board.until(lambda e: isinstance(e, Retrying) and e.cause == "session")
    assert "silent" in str(told)
    board.until(lambda e: e == LiveSeen({}))
    assert not board.bridge.eligible
    board.living = True
    board.until(lambda e: e == LiveSeen({"a": INFO}))
    while not board.bridge.eligible:  # Unless the machine stops this thread for longer than the TTL just now.
        board.bridge.alive(eligible=True)
    board.bridge.close()


def test_a_lost_session_is_opened_again(board: Board, memory: MemoryRecordStore) -> None:
    board.until_kind(LiveSeen)
    board.bridge.call_soon(lambda: memory.expire("a"))
    board.until(lambda e: isinstance(e, Retrying) and "lost" in e.text)
    board.until(lambda e: e == LiveSeen({"a": INFO}))


def test_new_info_is_published(board: Board) -> None:
    board.until_kind(LiveSeen)
    board.bridge.publish(replace(INFO, score=None))
    board.until(lambda e: e == LiveSeen({"a": replace(INFO, score=None)}))


def test_only_the_newest_of_what_is_repeated_is_kept(memory: MemoryRecordStore) -> None:
    """Events do not pile up for a thread that does not read them."""
    board = Board(
        lambda wake: Bridge("a", lambda: memory, wake=wake, settings=SETTINGS, promoter=PriorityPromoter(1))
    )
    board.bridge.open()
    board.bridge.join(INFO)
    for _ in range(8):
        board.bridge.alive(eligible=True)
        time.sleep(0.1)
    events = board.bridge.take()
    assert events.count(Decided("promote")) == 1
    assert len(events) <= 3
    board.until_kind(Decided)
    board.bridge.close()


def test_an_operator_decides_from_another_thread(memory: MemoryRecordStore) -> None:
    operator = OperatorPromoter()
    board = Board(lambda wake: Bridge("a", lambda: memory, wake=wake, settings=SETTINGS, promoter=operator))
    board.bridge.open()
    board.bridge.join(INFO)
    board.bridge.call_soon(operator.promote)
    assert board.until_kind(Decided) == Decided("promote")
    board.bridge.close()


class Broken(PriorityPromoter):
    async def decisions(self, view: ClusterView):  # type: ignore[no-untyped-def, override]
        yield "promote"
        raise ZeroDivisionError


def test_a_task_that_fails_is_reported(memory: MemoryRecordStore) -> None:
    """If its end were not reported, the node would look alive and never act."""
    board = Board(lambda wake: Bridge("a", lambda: memory, wake=wake, settings=SETTINGS, promoter=Broken()))
    board.bridge.open()
    board.bridge.join(INFO)
    failed = board.until_kind(Failed)
    assert isinstance(failed, Failed) and isinstance(failed.error, ZeroDivisionError)
    board.bridge.close()


def test_a_second_process_with_the_same_name_is_refused(tmp_path: Path) -> None:
    bridges = [Bridge("a", lambda: FileRecordStore(tmp_path), settings=SETTINGS) for _ in range(2)]
    for bridge in bridges:
        assert bridge.open() is None
    bridges[0].join(INFO)
    with pytest.raises(Conflict):
        bridges[1].join(INFO)
    bridges[0].close()
    bridges[1].join(INFO)
    assert bridges[1].run(bridges[1].records.live).keys() == {"a"}
    bridges[1].poll_soon()
    bridges[1].close()


def test_a_record_that_cannot_be_read_leaves_nothing_behind(memory: MemoryRecordStore) -> None:
    memory.reachable = False
    bridge = Bridge("z", lambda: memory)
    with pytest.raises(Unavailable):
        bridge.open()
    assert not [t for t in threading.enumerate() if t.name == "qpidha-bridge-z"]


def test_calls_in_the_wrong_order_are_refused(memory: MemoryRecordStore) -> None:
    bridge = Bridge("a", lambda: memory)
    with pytest.raises(LocalProtocolError, match="not open"):
        bridge.join(INFO)
    with pytest.raises(LocalProtocolError, match="not open"):
        bridge.records.read()
    bridge.call_soon(lambda: None)
    bridge.close()
    bridge.open()
    with pytest.raises(LocalProtocolError, match="once"):
        bridge.open()
    bridge.close()
    with pytest.raises(LocalProtocolError, match="closed"):
        bridge.run(memory.read)


SELDOM = replace(SETTINGS, record_retry_s=0.01, record_retry_max_s=10.0)


def attempts_in_a_second(records: MemoryRecordStore, count: Callable[[], int]) -> int:
    """How many there are in a second, or until there are two if the machine is slow."""
    board = Board(lambda wake: Bridge("a", lambda: records, wake=wake, settings=SELDOM))
    board.bridge.open()
    board.bridge.join(INFO)
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline or count() < 2:
        board.bridge.alive(eligible=True)
        time.sleep(0.02)
    board.bridge.close()
    return count()


def test_a_watch_that_ends_after_one_value_is_reopened_at_growing_intervals() -> None:
    """The watch works for a moment each time, but this does not reset the interval."""

    class Brief(MemoryRecordStore):
        watches = 0

        async def watch(self) -> AsyncIterator[Versioned | None]:
            self.watches += 1
            yield None
            raise Unavailable("the watch has ended")

    records = Brief()
    assert 2 <= attempts_in_a_second(records, lambda: records.watches) <= 12


def test_a_session_that_is_lost_at_once_is_opened_again_at_growing_intervals() -> None:
    class Brief(MemoryRecordStore):
        sessions = 0

        async def open_session(self, node: str, info: bytes, *, ttl_s: float) -> Session:
            self.sessions += 1
            session = await super().open_session(node, info, ttl_s=ttl_s)
            asyncio.get_running_loop().call_soon(self.expire, node)
            return session

    records = Brief()
    assert 2 <= attempts_in_a_second(records, lambda: records.sessions) <= 12


def test_a_session_that_is_lost_for_no_reason_is_opened_again() -> None:
    class Curt(MemoryRecordStore):
        sessions = 0

        async def open_session(self, node: str, info: bytes, *, ttl_s: float) -> Session:
            self.sessions += 1
            session: Any = await super().open_session(node, info, ttl_s=ttl_s)
            asyncio.get_running_loop().call_soon(self.expire, node)
            ended = session.wait_lost

            async def wait_lost() -> None:
                await ended()

            session.wait_lost = wait_lost
            return session  # type: ignore[no-any-return]

    records = Curt()
    assert 2 <= attempts_in_a_second(records, lambda: records.sessions) <= 12
