"""A core and its driver handle a removed record, a slow disk and a node that fails meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

import pytest

from qpidha import Batch, Settings
from qpidha.core.births import born
from qpidha.core.manager import Lost
from qpidha.core.ready import (
    CloseLink,
    CompareAndSet,
    Doubtful,
    Notice,
    QueueRemoved,
    ReadRecord,
    Ready,
    RoleChanged,
    Safe,
    Settled,
)
from qpidha.core.replica import Replica
from qpidha.driver import PORTION, SLICE_S, Done, Driver, in_portions, is_portion
from qpidha.errors import StoreFailed
from qpidha.journal import Change, DropQueue, StoreImage, StoreStatus
from qpidha.seq import SequenceSet
from qpidha.types import Member, QueueId, QueueSpec, Record, Role, Versioned
from qpidha.wire.events import Dequeue, Established, Frame, Operations

CLUSTER, BOOT, EPOCH = (UUID(int=n) for n in range(1, 4))
QUEUE = born(1, 1)
ME = Member("P", EPOCH)


def founded() -> Versioned:
    return Versioned(Record(cluster=CLUSTER, generation=0, primary=None, members=frozenset({ME})), 1)


class Node:
    """A replica and a driver, with a disk that answers when the test says so."""

    def __init__(self, *, slow: bool = False, settings: Settings | None = None) -> None:
        image = StoreImage(StoreStatus(node="P", epoch=EPOCH, cluster=CLUSTER))
        self.replica = Replica(node="P", boot=BOOT, image=image, settings=settings, read=self._read)
        self.driver = Driver(self.replica, self._commit, self, lambda: 0.0)
        self.slow = slow
        self.done: list[Done] = []
        self.requests: list[object] = []
        self.effects: list[object] = []
        self.error: BaseException | None = None

    def _read(self, queue: QueueId, ids: SequenceSet) -> Batch:
        raise StoreFailed("nothing comes back")

    def _commit(self, changes: list[Change], done: Done) -> None:
        if self.slow:
            self.done.append(done)
        else:
            done(None)

    def send(self, frames: Sequence[tuple[int, Frame]]) -> None:
        self.effects += [frame for _, frame in frames]

    def request(self, request: object) -> None:
        self.requests.append(request)

    def complete(self, completion: object) -> None:
        self.effects.append(completion)

    def notify(self, notice: Notice) -> None:
        self.effects.append(notice)

    def store_failed(self, error: BaseException) -> None:
        self.error = error

    def promoted(self) -> Node:
        self.replica.record_seen(founded(), 0.0)
        self.replica.promote(found_as=CLUSTER)
        self.driver.run()
        request = self.requests[-1]
        assert isinstance(request, CompareAndSet)
        self.replica.record_seen(Versioned(request.new, 2), 0.0)
        self.driver.run()
        return self


def test_a_primary_whose_record_was_removed_steps_down() -> None:
    """M4: its compare-and-set is refused, and there is no newer record."""
    node = Node().promoted()
    assert node.replica.role is Role.ACTIVE
    node.replica.demote()
    node.driver.run()
    request = node.requests[-1]
    assert isinstance(request, CompareAndSet)
    node.replica.answered(request, Lost(None), 0.0)
    node.driver.run()
    assert node.replica.primary is None
    assert Doubtful(1) in node.effects


def test_it_does_not_take_its_old_record_for_a_new_promotion() -> None:
    """P2: the last known record names this boot as primary, in a generation that it has already left."""
    node = Node().promoted()
    node.replica.demote()
    node.driver.run()
    request = node.requests[-1]
    assert isinstance(request, CompareAndSet)
    node.replica.answered(request, Lost(None), 0.0)
    node.replica.record_seen(None, 1.0)
    node.driver.run()
    assert node.replica.primary is None


def test_nothing_is_confirmed_after_a_failure_even_if_the_earlier_transaction_succeeds() -> None:
    """Pending operations are reported in doubt once; the node does not become primary afterwards."""
    node = Node()
    node.replica.record_seen(founded(), 0.0)
    node.replica.promote(found_as=CLUSTER)
    node.driver.run()
    request = node.requests[-1]
    assert isinstance(request, CompareAndSet)
    node.slow = True
    node.replica.record_seen(Versioned(request.new, 2), 0.0)
    node.driver.run()  # The activation is being made durable.
    node.driver.fail(RuntimeError("injected"), node.replica.ready(0.0))
    assert isinstance(node.error, RuntimeError)
    node.done.pop()(None)
    roles = [effect.role for effect in node.effects if isinstance(effect, RoleChanged)]
    assert not any(role.is_primary for role in roles)
    assert roles[-1] is Role.STOPPED


def test_a_message_that_the_store_does_not_give_back_is_a_failure_of_the_store() -> None:
    """Whoever asked for it is told; nothing that the core did since is performed."""
    node = Node(settings=Settings(memory_bytes_max=1)).promoted()
    queue, _ = node.replica.declare(QueueSpec(name="q"))
    node.replica.enqueue(queue, Batch.pack([b"one"]))
    node.driver.run()
    held = node.replica.queues[queue]
    assert held.absent_bytes == held.bytes > 0 and node.replica.unreadable is None
    with pytest.raises(StoreFailed, match="nothing comes back"):
        next(held.select(held.held))
    node.effects.clear()
    node.replica.enqueue(queue, Batch.pack([b"two"]))
    node.driver.run()
    assert node.error is node.replica.unreadable is node.driver.failed is not None
    assert not any(isinstance(effect, Safe | Settled) for effect in node.effects)
    assert Doubtful(1) in node.effects


def test_operations_left_in_doubt_by_a_step_down_are_reported_after_a_failure_too() -> None:
    """The step-down waited for the disk when the node failed."""
    node = Node().promoted()
    node.replica.declare(QueueSpec(name="q"))
    node.replica.enqueue(QUEUE, Batch.pack([b"x"]))
    node.slow = True
    node.replica.step_down("the test wants it")
    node.driver.run()
    assert Doubtful(1) not in node.effects
    node.driver.fail(RuntimeError("injected"), node.replica.ready(0.0))
    node.done.pop()(None)
    assert node.effects.count(Doubtful(1)) == 1
    assert not any(isinstance(effect, Safe) for effect in node.effects)


# --- the order of effects, with a core that is scripted by the test ----------------------------------------


class Script:
    """A core whose effects are given by hand."""

    def __init__(self, *readies: Ready) -> None:
        self.readies = list(readies)
        self.calls: list[object] = []
        self.unfinished = False
        self.unreadable: Exception | None = None
        self.primary = None
        self.stopped = ""

    @property
    def out(self) -> Script:
        return self

    @property
    def empty(self) -> bool:
        return not self.readies

    def ready(self, now: float) -> Ready:
        self.calls.append("ready")
        return self.readies.pop(0) if self.readies else Ready()

    def performed(self, now: float) -> None:
        self.calls.append("performed")

    def stop(self, why: str) -> None:
        self.stopped = why


class Unreadable(Script):
    """A core whose store does not give back what it wants to look at when it ends."""

    def stop(self, why: str) -> None:
        super().stop(why)
        raise StoreFailed("nothing comes back")


class Loop:
    """Performs effects into the calls of a `Script`, and has turns and a disk that are moved by hand."""

    def __init__(self, core: Script, *, slow: bool = False, slices: bool = True) -> None:
        self.core = core
        self.slow = slow
        self.turns: list[Callable[[], None]] = []
        self.done: list[Done] = []
        self.time = 0.0
        self.cost_s = 0.0
        """What each effect takes."""
        self.driver = Driver(
            core, self.commit, self, lambda: self.time, self.turns.append if slices else None
        )

    def _did(self, what: object) -> None:
        self.time += self.cost_s
        self.core.calls.append(what)

    def commit(self, changes: list[Change], done: Done) -> None:
        self._did("commit")
        if self.slow:
            self.done.append(done)
        else:
            done(None)

    def send(self, frames: Sequence[tuple[int, Frame]]) -> None:
        self._did(("send", len(frames)))

    def request(self, request: object) -> None:
        self._did("request")

    def complete(self, completion: object) -> None:
        self._did("complete")

    def notify(self, notice: object) -> None:
        self._did("notify")

    def store_failed(self, error: BaseException) -> None:
        self._did(("failed", str(error)))

    def next_turn(self) -> None:
        self.turns.pop(0)()


ALL = ["commit", ("send", 1), "request", "complete", "notify", "performed"]
FRAME = (1, Frame(3, 1, Established()))


def whole(frames: int = 1, notices: int = 1) -> Ready:
    return Ready(
        [DropQueue(QUEUE)],
        [FRAME] * frames,
        ReadRecord(),
        [Settled(1, 3, frozenset())],
        [QueueRemoved(QUEUE) for _ in range(notices)],
    )


def test_effects_are_performed_in_the_order_of_their_kinds() -> None:
    loop = Loop(Script(whole()))
    loop.driver.run()
    assert [call for call in loop.core.calls if call != "ready"] == ALL
    assert loop.driver.idle


def test_nothing_but_the_commit_happens_before_the_disk_answers() -> None:
    loop = Loop(Script(whole(), whole()), slow=True)
    loop.driver.run()
    loop.driver.run()  # An input came in: what follows from it waits as well.
    assert loop.core.calls == ["ready", "commit"]
    assert not loop.driver.idle
    loop.done.pop()(None)
    assert loop.core.calls[2:] == [*ALL[1:], "ready", "commit"]


def test_a_core_that_cannot_read_while_it_fails_still_tells_what_is_in_doubt() -> None:
    def unreadable(*_: object) -> Ready:
        raise StoreFailed("the disk cannot be read")

    core = Script()
    core.stop = core.ready = unreadable  # type: ignore[assignment, method-assign]
    loop = Loop(core)
    loop.driver.fail(RuntimeError("bug"), Ready(complete=[Settled(1, 3, frozenset()), Doubtful(3)]))
    assert core.calls == ["complete", ("failed", "bug")]


def early(frames: int) -> Ready:
    ready = whole(frames)
    ready.early = True
    return ready


def test_frames_that_need_no_disk_leave_while_it_works() -> None:
    loop = Loop(Script(early(2), whole()), slow=True)
    loop.driver.run()
    assert loop.core.calls == ["ready", ("send", 2), "commit"]
    loop.done.pop()(None)
    assert loop.core.calls[3:] == ["request", "complete", "notify", "performed", "ready", "commit"]


def test_so_many_of_them_that_they_are_sent_in_slices_wait_for_it() -> None:
    loop = Loop(Script(early(PORTION + 1)), slow=True)
    loop.driver.run()
    assert loop.core.calls == ["ready", "commit"]
    loop.done.pop()(None)
    while loop.turns:
        loop.next_turn()
    assert loop.core.calls[2:-1] == [
        ("send", PORTION),
        ("send", 1),
        "request",
        "complete",
        "notify",
        "performed",
    ]


def test_a_large_ready_is_sent_in_slices_and_performed_once() -> None:
    loop = Loop(Script(whole(frames=3 * PORTION, notices=100), whole()))
    loop.cost_s = 2 * SLICE_S
    loop.driver.run()
    assert loop.core.calls == ["ready", "commit", ("send", PORTION)]
    assert not loop.driver.idle
    while loop.turns:
        loop.next_turn()
    first = loop.core.calls[: loop.core.calls.index("performed") + 1]
    assert [call for call in first if call not in ("ready", "notify")] == [
        "commit", *[("send", PORTION)] * 3, "request", "complete", "performed",
    ]  # fmt: skip
    assert first.count("notify") == 100
    assert loop.core.calls.count("performed") == 2, "the next one follows, whole"


def test_the_next_ready_waits_for_the_last_slice_of_the_one_before() -> None:
    loop = Loop(Script(whole(frames=3 * PORTION), whole()))
    loop.cost_s = 2 * SLICE_S
    loop.driver.run()
    loop.driver.run()
    assert loop.core.calls.count("commit") == 1


def test_without_another_turn_all_is_done_in_one() -> None:
    loop = Loop(Script(whole(frames=3 * PORTION, notices=1000)), slices=False)
    loop.cost_s = 2 * SLICE_S
    loop.driver.run()
    assert loop.driver.idle
    assert loop.core.calls.count("notify") == 1000
    assert loop.core.calls.count("performed") == 1


def test_a_failed_commit_promises_nothing() -> None:
    loop = Loop(Script(whole()), slow=True)
    loop.driver.run()
    loop.done.pop()(RuntimeError("disk"))
    assert loop.core.calls == ["ready", "commit", "ready", ("failed", "disk")]
    assert loop.core.stopped == "failed: RuntimeError('disk')"
    loop.core.readies.append(whole())
    loop.driver.run()
    assert loop.core.calls[-1] == ("failed", "disk"), "nothing is performed any more"


def test_a_failure_between_two_slices_drops_all_effects_but_those_that_need_no_disk() -> None:
    ready = whole(frames=3 * PORTION)
    ready.notify.append(CloseLink(7, "why"))
    loop = Loop(Script(ready))
    loop.cost_s = 2 * SLICE_S
    loop.driver.run()
    sent = loop.core.calls.count(("send", PORTION))
    loop.driver.fail(RuntimeError("bug"), Ready())
    assert loop.core.calls.count("notify") == 1, "the link is closed"
    assert "complete" not in loop.core.calls and "request" not in loop.core.calls
    while loop.turns:
        loop.next_turn()
    assert loop.core.calls.count(("send", PORTION)) == sent


def test_of_several_failures_the_first_one_counts() -> None:
    loop = Loop(Script())
    loop.driver.fail(RuntimeError("first"), Ready())
    loop.driver.fail(RuntimeError("second"), Ready())
    assert str(loop.driver.failed) == "first"
    assert [call for call in loop.core.calls if call != "ready"] == [("failed", "first")]


def test_an_effect_that_gives_the_core_an_input_does_not_start_the_driver_twice() -> None:
    loop = Loop(Script(whole()))
    original = loop.complete

    def complete(completion: object) -> None:
        original(completion)
        if len(loop.core.calls) < 20:
            loop.core.readies.append(Ready(notify=[QueueRemoved(QUEUE)]))
            loop.driver.run()
            assert loop.core.calls[-1] == "complete", "its effects follow when this `Ready` is done"

    loop.complete = complete
    loop.driver.run()
    assert loop.core.calls.count("notify") == 2


def test_frames_are_a_portion_exactly_if_they_are_not_cut() -> None:
    def frames(*weights: int) -> list[tuple[int, Frame]]:
        one = (Dequeue(queue=QUEUE, ids=SequenceSet([1])),)
        return [(7, Frame(1, 1, Operations(first=2, operations=(one,) * weight))) for weight in weights]

    small, large = frames(1), frames(PORTION)
    established = (7, Frame(1, 1, Established()))
    for cut in ([], small, large, small * PORTION, small * (PORTION - 1) + [established]):
        assert is_portion(cut)
        assert len(list(in_portions(cut))) <= 1
    for cut in (large + small, [*large, established], small * (PORTION + 1), [established] * (PORTION + 1)):
        assert not is_portion(cut)
        assert len(list(in_portions(cut))) == 2


def test_a_store_that_cannot_be_read_does_not_keep_a_node_from_ending() -> None:
    """A backup that ends in the middle of a flip completes it, and reads for that: nobody else would end it then."""
    core = Unreadable()
    loop = Loop(core)
    loop.driver.fail(StoreFailed("the disk"), Ready())
    assert core.calls == ["ready", ("failed", "the disk")] and core.stopped == "failed: the disk"
