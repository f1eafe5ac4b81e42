"""A node starts step by step: nothing is opened to others before the store is checked, and a failure ends the start."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from threading import get_ident
from types import SimpleNamespace
from typing import Any, TypeVar
from uuid import UUID

import pytest

from qpidha import Batch, Role, SequenceSet, Settings
from qpidha.addresses import Addresses
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.replica import Replica
from qpidha.errors import StoreDirty, StoreFailed, StoreMismatch, Unavailable
from qpidha.journal import QueueImage, StoreImage, StoreState, StoreStatus
from qpidha.node.runtime import Runtime
from qpidha.node.starter import Starter
from qpidha.types import Address, NodeInfo, QueueSpec, Versioned
from tests.support.node_parts import CLIENTS, CLUSTER, Engine, member, record, run

T = TypeVar("T")
QUEUE = UUID(int=1)
LISTEN, BOUND, ADVERTISED = ("127.0.0.1", 0), ("127.0.0.1", 4711), ("a.example", 5)
SEEN = record(1, None, "a", version=1)
WITH_STORE = ["open", "read", "work", "engine", "load"]
WHOLE = [*WITH_STORE, "listen", "broker", "control", "cluster", "heartbeat"]


def image(**status: Any) -> StoreImage:
    held = SequenceSet([(1, 2)])
    queue = QueueImage(QUEUE, QueueSpec(name="q"), ((1, 1),), 3, [(held, Batch.pack([b"1", b"2"]))])
    found = StoreStatus(node="a", epoch=member("a").epoch, generation=1, **{"cluster": CLUSTER, **status})
    return StoreImage(found, [queue])


class Parts:
    """What the starter starts. Each step is noted; the one named by ``fails`` raises, the one by ``hangs`` waits."""

    def __init__(self, settings: Settings, found: StoreImage, seen: Versioned | None) -> None:
        self.runtime = Runtime("a", settings, CLIENTS)
        self.runtime.connect(Engine())
        self.done: list[str] = []
        self.fails: dict[str, BaseException] = {}
        self.hangs = ""
        self.info: NodeInfo | None = None
        self.listened_at: Sequence[Address] = ()
        self.loaded: list[ReplicatedQueue] = []
        self.replica: Replica | None = None
        self.after_run: Callable[[], None] | None = None
        self.looks = self.counts = 0
        self.runtime.waits = SimpleNamespace(look=self._look)  # type: ignore[assignment]
        self._image, self._seen = found, seen
        self.engine, self.records = (
            SimpleNamespace(
                open=self._open,
                work=self._work,
                start=self._engine,
                lock_name="lock of a",
                read=None,
                read_staged=None,
            ),
            self,
        )
        self.effects = SimpleNamespace(load_all=self._load, count_queues=self._count)
        self.presence = SimpleNamespace(succeed=self._succeed)
        self.links = SimpleNamespace(listen=self._listen)
        self.notifier = SimpleNamespace(start=lambda: self._note("broker"))
        self.control = SimpleNamespace(start=lambda: self._step("control"))
        self.cluster = SimpleNamespace(start=self._join)
        self.heartbeat = SimpleNamespace(start=lambda: self._note("heartbeat"))

    def _note(self, what: str) -> None:
        self.done.append(what)
        if what in self.fails:
            raise self.fails[what]

    async def _step(self, what: str) -> None:
        self._note(what)
        if self.hangs == what:
            await asyncio.Event().wait()

    def _succeed(self, lock_name: str) -> None:
        """The session of an earlier process on this store may be replaced: the lock is held by now."""
        assert lock_name == "lock of a" and self.done[-1] == "open"

    def _look(self) -> None:
        self.looks += 1

    def _count(self) -> None:
        self.counts += 1

    async def _open(self) -> StoreImage:
        await self._step("open")
        return self._image

    async def read(self) -> Versioned | None:
        await self._step("read")
        return self._seen

    async def _work(self, job: Callable[[], T]) -> T:
        await self._step("work")
        return job()

    def _engine(self, replica: Replica, effects: object, after_run: Callable[[], None]) -> None:
        self._note("engine")
        assert effects is self.effects
        self.replica, self.after_run = replica, after_run

    def _load(self, queues: Iterable[ReplicatedQueue]) -> Iterator[None]:
        self._note("load")
        for queue in queues:
            self.loaded.append(queue)
            yield

    async def _listen(self, addresses: Sequence[Address]) -> tuple[Address, ...]:
        self.listened_at = addresses
        await self._step("listen")
        return BOUND, *addresses[1:]

    async def _join(self, info: NodeInfo) -> None:
        self.info = info
        await self._step("cluster")


def play(
    main: Callable[[Parts, Starter], Coroutine[Any, Any, None]],
    *,
    settings: Settings | None = None,
    found: StoreImage | None = None,
    seen: Versioned | None = SEEN,
    listen: Addresses = LISTEN,
    advertise: Addresses | None = None,
    control: bool = True,
) -> None:
    async def work() -> None:
        parts = Parts(settings or Settings(), found or image(), seen)
        starter = Starter(
            parts,  # type: ignore[arg-type]
            parts.control if control else None,  # type: ignore[arg-type]
            listen=listen,
            advertise=advertise,
            score=7,
        )
        try:
            await main(parts, starter)
        finally:
            parts.runtime.stalls.stop()

    run(work())


# --- the whole way -------------------------------------------------------------------------------


def test_others_can_reach_the_node_only_after_its_store_was_checked_and_loaded() -> None:
    async def main(parts: Parts, starter: Starter) -> None:
        await starter.start()
        assert parts.done == WHOLE
        assert parts.runtime.thread == get_ident()

    play(main)


def test_the_core_begins_with_the_content_of_the_store_and_the_record() -> None:
    async def main(parts: Parts, starter: Starter) -> None:
        await starter.start()
        core = parts.runtime.replica
        assert core is parts.replica
        assert (core.node, core.boot, core.settings) == ("a", parts.runtime.boot, parts.runtime.settings)
        assert parts.loaded == list(core.queues.values()) and len(core.queues[QUEUE]) == 2
        assert core.in_sync and core.role is not Role.STOPPED

    play(main)


def test_the_node_publishes_its_bound_or_its_configured_address() -> None:
    async def main(parts: Parts, starter: Starter) -> None:
        await starter.start()
        assert parts.listened_at == (LISTEN,)
        assert parts.info == NodeInfo(peer=BOUND, client=CLIENTS, boot=parts.runtime.boot, score=7)

    async def behind_a_proxy(parts: Parts, starter: Starter) -> None:
        await starter.start()
        assert parts.info is not None and parts.info.peer == ADVERTISED

    play(main)
    play(behind_a_proxy, advertise=ADVERTISED)


def test_the_node_publishes_all_of_its_addresses_in_their_order() -> None:
    second = ("10.1.0.1", 5671)

    async def on_two_networks(parts: Parts, starter: Starter) -> None:
        await starter.start()
        assert parts.listened_at == (LISTEN, second)
        assert parts.info is not None and parts.info.peers == (BOUND, second)

    async def by_names(parts: Parts, starter: Starter) -> None:
        await starter.start()
        assert parts.info is not None and parts.info.peers == (ADVERTISED, second)

    play(on_two_networks, listen=[LISTEN, second])
    play(by_names, advertise=(ADVERTISED, second))


def test_a_node_without_a_control_socket_starts_without_that_step() -> None:
    async def main(parts: Parts, starter: Starter) -> None:
        await starter.start()
        assert parts.done == [step for step in WHOLE if step != "control"]

    play(main, control=False)


def test_the_first_node_of_a_cluster_starts_without_a_record() -> None:
    async def main(parts: Parts, starter: Starter) -> None:
        await starter.start()
        assert parts.done == WHOLE and parts.runtime.replica.record is None

    new = StoreImage(StoreStatus(node="a", epoch=member("a").epoch, state=StoreState.EMPTY))
    play(main, found=new, seen=None)


def test_after_every_run_of_the_driver_queues_are_counted_and_waits_are_looked_at() -> None:
    async def main(parts: Parts, starter: Starter) -> None:
        await starter.start()
        assert parts.after_run is not None
        before = parts.looks
        parts.after_run()
        assert (parts.counts, parts.looks) == (1, before + 1)

    play(main)


# --- what ends it --------------------------------------------------------------------------------


def test_a_store_of_another_cluster_is_refused_before_anything_is_loaded() -> None:
    async def main(parts: Parts, starter: Starter) -> None:
        with pytest.raises(StoreMismatch):
            await starter.start()
        assert parts.done == ["open", "read"]
        assert parts.runtime.replica.stopped, "the empty one of before"

    play(main, found=image(cluster=UUID(int=0xC2)))


def test_a_dirty_store_is_refused_if_the_settings_say_so() -> None:
    async def main(parts: Parts, starter: Starter) -> None:
        with pytest.raises(StoreDirty):
            await starter.start()
        assert parts.done == ["open", "read"]

    async def verified(parts: Parts, starter: Starter) -> None:
        await starter.start()

    dirty = image(state=StoreState.DIRTY)
    play(main, found=dirty, settings=Settings(dirty_start="refuse"))
    play(verified, found=dirty)


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("open", StoreFailed("no such disk")),
        ("read", Unavailable("no answer")),
        ("work", StoreFailed("no such disk")),
        ("listen", OSError("in use")),
        ("control", OSError("in use")),
        ("cluster", Unavailable("no answer")),
    ],
)
def test_the_first_step_that_fails_is_the_last_one(step: str, error: Exception) -> None:
    async def main(parts: Parts, starter: Starter) -> None:
        parts.fails[step] = error
        with pytest.raises(type(error)):
            await starter.start()
        assert parts.done == WHOLE[: WHOLE.index(step) + 1]

    play(main)


@pytest.mark.parametrize("step", ["open", "read", "work", "listen", "control", "cluster"])
def test_a_start_that_is_cancelled_takes_no_further_step(step: str) -> None:
    async def main(parts: Parts, starter: Starter) -> None:
        parts.hangs = step
        starting = asyncio.ensure_future(starter.start())
        await asyncio.sleep(1.0)
        starting.cancel()
        await asyncio.wait({starting})
        assert starting.cancelled() and parts.done == WHOLE[: WHOLE.index(step) + 1]

    play(main)


def test_garbage_collection_is_off_only_while_the_store_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is on again if loading fails, and stays on during the read of the record store, which may take long."""
    paused: list[bool] = []

    class Pause:
        def __enter__(self) -> None:
            paused.append(True)

        def __exit__(self, *_: object) -> None:
            paused.append(False)

    async def main(parts: Parts, starter: Starter) -> None:
        monkeypatch.setattr(parts.runtime.freezing, "loading", Pause)
        parts.hangs = "read"
        starting = asyncio.ensure_future(starter.start())
        await asyncio.sleep(1.0)
        assert paused == [True, False]
        starting.cancel()
        parts.hangs, parts.fails["work"] = "", StoreFailed("no such disk")
        with pytest.raises(StoreFailed):
            await starter.start()
        assert paused == [True, False] * 3

    play(main)
