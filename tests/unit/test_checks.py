"""The parts of a node and the arguments of calls on its queues and ops are checked before anything changes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from qpidha import Batch, Node, NotPrimary, Queue, Role, SequenceSet, Settings, Settle, UnknownQueue
from qpidha.checks import AWAITED, CALLBACK, shown
from qpidha.errors import (
    ArgumentError,
    CallerError,
    LocalProtocolError,
    QueueMismatch,
    SettingsError,
)
from qpidha.promoters import PriorityPromoter
from qpidha.records import FileRecordStore, MemoryRecordStore
from qpidha.stores import MemoryStore, SqliteStore
from qpidha.transports import MemoryNetwork, MemoryTransport, TcpTransport
from tests.support.harness import Recorder


def parts(**changes: Any) -> dict[str, Any]:
    """The arguments of a node, with changes."""
    return {
        "id": "a",
        "broker": Recorder(),
        "store": MemoryStore(),
        "transport": MemoryTransport(MemoryNetwork()),
        "records": MemoryRecordStore(),
        "listen": ("a", 1),
        **changes,
    }


def refusal(**changes: Any) -> str:
    """The message with which a constructor refuses."""
    with pytest.raises(SettingsError) as caught:
        Node(**parts(**changes))
    return str(caught.value)


# --- the constructor of a node -------------------------------------------------------------------


class PlainPromote(Recorder):
    def on_promote(self, generation: int) -> None:  # type: ignore[override]
        """Not a coroutine function."""


class WaitingOnQueue(Recorder):
    async def on_queue(self, queue: object, spec: object) -> None:
        """A coroutine function where a plain one is needed."""


class NoDiscarded:
    on_promote = Recorder.on_promote
    on_demote = Recorder.on_demote


class NumberForAMethod(Recorder):
    on_demote = 7  # type: ignore[assignment]


class NoBlocking(MemoryStore):
    blocking = None  # type: ignore[assignment]


class Named(str, Enum):
    """Equal to the text, and with another hash."""

    A = "a"


class RaisingProperty(Recorder):
    @property
    def on_discarded(self) -> Any:
        raise RuntimeError("not yet")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"id": 7}, "id must be text of 1 to 255 bytes"),
        ({"id": ""}, "id must be text"),
        ({"id": "n" * 256}, "it has 256 bytes"),
        ({"id": b"a"}, "decode bytes"),
        ({"id": Named.A}, "give a plain str"),
        ({"broker": Recorder}, r"give an instance: Recorder\(…\)"),
        ({"broker": None}, "broker must be a Broker"),
        ({"broker": PlainPromote()}, r"on_promote\(\) must be written with 'async def'"),
        ({"broker": NoDiscarded()}, r"it has no method on_discarded\(\)"),
        ({"broker": NumberForAMethod()}, r"it has no method on_demote\(\)"),
        ({"broker": RaisingProperty()}, r"it has no method on_discarded\(\)"),
        ({"broker": WaitingOnQueue()}, "broker.on_queue must be a plain method"),
        ({"store": MemoryStore}, "give an instance"),
        ({"store": "/var/lib/node"}, "store must be a MessageStore"),
        ({"store": NoBlocking()}, "store.blocking must be True or False"),
        ({"transport": TcpTransport}, "give an instance"),
        ({"transport": MemoryStore()}, r"it has no method listen\(\); it has no method connect\(\)"),
        ({"records": "directory"}, "records must be a RecordStore"),
        ({"promoter": PriorityPromoter}, "give an instance"),
        ({"promoter": 3}, "promoter must be None or a Promoter"),
        ({"settings": {"ack_timeout_s": 1}}, "settings must be None or a Settings"),
        ({"settings": Settings}, "settings must be None or a Settings"),
        ({"score": "3"}, r"convert text with int\(…\)"),
        ({"score": True}, "score must be an integer"),
        ({"score": 2**63}, "score must be an integer"),
        ({"score": 1.5}, "score must be an integer"),
        ({"control": 7}, "control must be None or a path"),
        ({"control": ""}, "control must be None or a path"),
        ({"control": "a\0b"}, "control must be None or a path"),
        ({"control": Path("d") / ("s" * 100)}, "at most 80 bytes"),
        ({"listen": "localhost:5671"}, r"give host and port apart: \(\"host\", 5671\)"),
        ({"listen": ("localhost", "5671")}, r"convert the port with int\(…\)"),
        ({"listen": ["localhost", 5671]}, "give a tuple"),
        ({"listen": ("localhost", 65_536)}, "listen must be an address"),
        ({"listen": ("localhost", -1)}, "listen must be an address"),
        ({"listen": ("localhost", True)}, "listen must be an address"),
        ({"listen": ("localhost",)}, "listen must be an address"),
        ({"listen": (b"localhost", 1)}, "listen must be an address"),
        ({"listen": ("h" * 256, 1)}, "listen must be an address"),
        ({"listen": ("a\0b", 1)}, "listen must be an address"),
        ({"listen": None}, "listen must be an address"),
        ({"listen": ("0.0.0.0", 0)}, "give advertise="),
        ({"listen": ("::", 5671)}, "give advertise="),
        ({"listen": ("", 5671)}, "give advertise="),
        ({"advertise": ("0.0.0.0", 5671)}, "advertise must be None or an address"),
        ({"advertise": ("b", 0)}, "that others can connect to"),
        ({"advertise": "b:5671"}, "give host and port apart"),
        ({"client_address": ("::", 5672)}, "client_address must be None or an address"),
        ({"client_address": ("b", 0)}, "client_address must be None or an address"),
        ({"client_address": 5672}, "client_address must be None or an address"),
    ],
)
def test_a_node_is_made_of_the_right_parts(changes: dict[str, Any], said: str) -> None:
    """A class for an object, a plain method for a coroutine, text for a number: refused with a hint."""
    message = refusal(**changes)
    assert re.search(said, message), message
    assert next(iter(changes)) in message


def test_valid_parts_are_accepted(tmp_path: Path) -> None:
    """A wildcard to listen on with an address to publish; text for a path; a promoter's priority for a score."""
    node = Node(
        **parts(
            listen=("0.0.0.0", 0),
            advertise=("node-a.example", 5671),
            client_address=("192.0.2.1", 5672),
            control=str(tmp_path / "control.sock"),
            promoter=PriorityPromoter(7),
            settings=Settings(),
        )
    )
    assert node.client_address == ("192.0.2.1", 5672)
    assert Node(**parts(score=-3)).id == "a"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "0", "0.0", "0x0.0", "[::]", "::0", "0:0:0:0:0:0:0:0",
                                  "::ffff:0.0.0.0", "224.0.0.1", "ff02::1", "255.255.255.255", "*"])  # fmt: skip
def test_wildcards_are_no_destination(host: str) -> None:
    refusal(advertise=(host, 5671))


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "::1", "10.0.0.1", "node-a", "0a.example", "x", "fe80::1", "0.0.0.1"]
)
def test_names_and_addresses_of_one_machine_are_destinations(host: str) -> None:
    Node(**parts(advertise=(host, 5671)))


def test_a_priority_that_cannot_travel_is_no_score() -> None:
    promoter = PriorityPromoter()
    promoter.priority = "high"  # type: ignore[assignment]
    assert "promoter.priority must be an integer" in refusal(promoter=promoter)


# --- the constructors of its parts ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda tmp: PriorityPromoter("5"), "priority must be an integer"),  # type: ignore[arg-type]
        (lambda tmp: PriorityPromoter(True), "priority must be an integer"),
        (lambda tmp: PriorityPromoter(2**63), "priority must be an integer"),
        (lambda tmp: PriorityPromoter(settle_s="1"), "settle_s must be a number"),  # type: ignore[arg-type]
        (lambda tmp: PriorityPromoter(settle_s=-1), "settle_s must be a number"),
        (lambda tmp: PriorityPromoter(patience_s=float("nan")), "patience_s must be a number"),
        (lambda tmp: SqliteStore(7), "directory must be"),  # type: ignore[arg-type]
        (lambda tmp: SqliteStore(""), "directory must be"),
        (lambda tmp: SqliteStore("a\0b"), "directory must be"),
        (lambda tmp: SqliteStore(tmp, new_uuid=7), "new_uuid must be a function"),
        (lambda tmp: MemoryStore(new_uuid="x"), "new_uuid must be a function"),  # type: ignore[arg-type]
        (lambda tmp: FileRecordStore(7), "directory must be"),  # type: ignore[arg-type]
        (lambda tmp: FileRecordStore(tmp, poll_interval_s="0.02"), "poll_interval_s must be a number"),
        (lambda tmp: FileRecordStore(tmp, poll_interval_s=0), "poll_interval_s must be a number"),
        (lambda tmp: FileRecordStore(tmp, calm_interval_s=float("inf")), "calm_interval_s must be a number"),
        (lambda tmp: TcpTransport(insecure="no"), "insecure must be True or False"),  # type: ignore[arg-type]
        (lambda tmp: TcpTransport(ssl_context_server=1), "ssl_context_server must be None or an SSLContext"),  # type: ignore[arg-type]
        (
            lambda tmp: TcpTransport(ssl_context_client="x"),
            "ssl_context_client must be None or an SSLContext",
        ),  # type: ignore[arg-type]
        (lambda tmp: TcpTransport.with_certificates(ca=1, certificate=tmp), "ca must be"),  # type: ignore[arg-type]
        (lambda tmp: TcpTransport.with_certificates(ca="ca", certificate=None), "certificate must be"),  # type: ignore[arg-type]
        (lambda tmp: TcpTransport.with_certificates(ca="ca", certificate="c", key=1), "key must be"),  # type: ignore[arg-type]
        (lambda tmp: MemoryTransport("net"), "network must be a MemoryNetwork"),  # type: ignore[arg-type]
        (lambda tmp: MemoryNetwork(delivery_bytes_max=0), "delivery_bytes_max must be None or"),
        (lambda tmp: MemoryTransport(MemoryNetwork(), identity=7), "identity must be None or text"),  # type: ignore[arg-type]
    ],
)
def test_parts_check_their_own_arguments(make: Callable[[Any], object], said: str, tmp_path: Path) -> None:
    """Refused where it is written, not at the first use."""
    with pytest.raises(SettingsError, match=said):
        make(tmp_path)


# --- calls ---------------------------------------------------------------------------------------


def with_primary(main: Callable[[Node, Queue], Awaitable[None]], settings: Settings | None = None) -> None:
    """Call something with a lone primary and its queue; then check that nothing has changed."""

    async def run() -> None:
        node = Node(**parts(settings=settings))
        async with node:
            await node.promote()
            queue = node.declare("q")
            await queue.enqueue_many([b"1", b"2", b"3"])
            await main(node, queue)
            assert node.serving
            assert list(queue) == [(1, b"1"), (2, b"2"), (3, b"3")]
            assert (await queue.enqueue(b"4")).ids == range(4, 5)

    asyncio.run(run())


def test_messages_are_bytes_of_the_allowed_size() -> None:
    async def main(node: Node, queue: Queue) -> None:
        limit = node.settings.message_bytes_max
        released = memoryview(b"x")
        released.release()
        call: Any = queue.enqueue
        for wrong in ("text", 7, None, [b"x"], True, released, bytes, object()):
            with pytest.raises(ArgumentError, match="data"):
                call(wrong)
            with pytest.raises(ArgumentError, match="props"):
                call(b"x", wrong)
        for large in (bytes(limit + 1), bytearray(limit + 1)):
            with pytest.raises(ArgumentError, match="message_bytes_max"):
                call(large)
        with pytest.raises(ArgumentError, match="message_bytes_max"):
            call(bytes(limit), b"x")

    with_primary(main, SMALL)


SMALL = Settings(
    frame_bytes_max=1 << 18,
    message_bytes_max=1 << 16,
    plan_chunk_bytes=1 << 16,
    operations_bytes=1 << 15,
    ids_runs_per_chunk_max=1 << 10,
)


def test_batches_are_bytes_of_the_allowed_size() -> None:
    async def main(node: Node, queue: Queue) -> None:
        call: Any = queue.enqueue_many
        for wrong in ("text", b"bytes", 7, None, {b"x"}, iter([b"x"]), [], (), [b"x", "text"], [None], Batch):
            with pytest.raises(ArgumentError, match="batch"):
                call(wrong)
        large = bytes(node.settings.message_bytes_max + 1)
        with pytest.raises(ArgumentError, match="message_bytes_max"):
            call([b"small", large])
        with pytest.raises(ArgumentError, match="message_bytes_max"):
            call(Batch.pack([large, b"small"]))
        with pytest.raises(ArgumentError, match="half of frame_bytes_max"):
            call(Batch.pack([b"x"] * 2, [b"", bytes(node.settings.frame_bytes_max)]))

    with_primary(main, SMALL)


def failing() -> Iterator[int]:
    yield 1
    raise ZeroDivisionError("the caller's own")


def test_ids_are_ids_that_were_given_out() -> None:
    """This holds for every form of ids; an error of the caller's generator is raised unchanged."""

    async def main(node: Node, queue: Queue) -> None:
        other = node.declare("other")
        wrong: list[Any] = [
            0, 4, -1, 2**64, 2**64 - 2, True, 1.0, None, "1", b"\1", [1, "2"], [1, True], [2**70], [-1], [4], [0],
            range(2), range(1, 5), range(2, 10**30), range(3, -2, -1), range(1, 5, 3), range(1, 2**63, 2),
            SequenceSet([(1, 4)]), SequenceSet([0]), SequenceSet, object(), {"a": 1}, [[1, 2]], (1, None),
        ]  # fmt: skip
        for ids in wrong:
            with pytest.raises(ArgumentError, match="ids"):
                queue.dequeue(ids)
            with pytest.raises(ArgumentError, match="ids"):
                queue.move(ids, other)
        with pytest.raises(ZeroDivisionError):
            queue.dequeue(failing())
        for nothing in ((), [], range(5, 5), range(9, 1), SequenceSet(), iter(())):
            assert queue.dequeue(nothing).ids == range(0)
        assert other.depth == 0

    with_primary(main)


@pytest.mark.parametrize(
    "ids", [2, range(2, 3), range(2, 0, -5), [2], {2}, (2, 2), SequenceSet([2]), iter([2])]
)
def test_ids_may_be_named_in_many_ways(ids: Any) -> None:
    async def main(node: Node, queue: Queue) -> None:
        other = node.declare("other")
        assert (await queue.move(ids, other)).ids == range(1, 2)
        assert other.get(1) == b"2"
        await other.move(1, queue)
        await queue.dequeue([4])
        assert list(queue) == [(1, b"1"), (3, b"3")]

    async def run() -> None:
        node = Node(**parts())
        async with node:
            await node.promote()
            queue = node.declare("q")
            await queue.enqueue_many([b"1", b"2", b"3"])
            await main(node, queue)

    asyncio.run(run())


def test_a_range_with_steps_takes_what_is_held() -> None:
    async def run() -> None:
        async with Node(**parts()) as node:
            await node.promote()
            queue = node.declare("q")
            await queue.enqueue_many([b"%d" % n for n in range(1, 10)])
            await queue.dequeue(range(9, 0, -4))
            assert [id for id, _ in queue] == [2, 3, 4, 6, 7, 8]

    asyncio.run(run())


def test_a_move_is_to_another_queue_of_the_same_node() -> None:
    async def main(node: Node, queue: Queue) -> None:
        async with Node(**parts(id="b", listen=("b", 1))) as stranger:
            await stranger.promote()
            for target in (
                queue,
                node.queue("q"),
                stranger.declare("q"),
                stranger.declare("x"),
                "q",
                None,
                Queue,
            ):
                with pytest.raises(ArgumentError, match="target"):
                    queue.move(1, target)  # type: ignore[arg-type]

    with_primary(main)


def test_reading_takes_numbers_in_range() -> None:
    async def main(node: Node, queue: Queue) -> None:
        read: Any = queue.read
        get: Any = queue.get
        for wrong in (-1, 2**64, True, None, 1.0, "1"):
            with pytest.raises(ArgumentError, match="first_id"):
                read(wrong)
            with pytest.raises(ArgumentError, match="id"):
                get(wrong)
        for wrong in (-1, 2**63, True, None, 1.0, "1", float("inf")):
            with pytest.raises(ArgumentError, match="messages_max"):
                read(1, messages_max=wrong)
            with pytest.raises(ArgumentError, match="bytes_max"):
                read(1, bytes_max=wrong)
        assert queue.read(1, messages_max=0) is None
        assert queue.get(9) is None

    with_primary(main)


def test_callbacks_can_be_called() -> None:
    async def main(node: Node, queue: Queue) -> None:
        op = queue.dequeue(())
        for wrong in (None, 7, "f", [print]):
            for add in (queue.on_content, queue.on_safe_upto, op.add_safe_callback):
                with pytest.raises(ArgumentError, match="callback must be a function"):
                    add(wrong)  # type: ignore[operator]

    with_primary(main)


def test_a_declaration_is_checked_before_anything_changes() -> None:
    async def main(node: Node, queue: Queue) -> None:
        declare: Any = node.declare
        for settle in (1, 0, 7, "immediate", "IMMEDIATE", None, True, Settle):
            with pytest.raises(
                ArgumentError, match=r"settle must be Settle\.IMMEDIATE or Settle\.REPLICATED"
            ):
                declare("new", settle=settle)
        for name in (7, None, b"q", "", "q" * 40_000, "\ud800", ["q"]):
            with pytest.raises(ArgumentError, match="queue name"):
                declare(name)
            with pytest.raises((ArgumentError, UnknownQueue)):
                node.queue(name)  # type: ignore[arg-type]
        for kind in (7, None, b"k", "k" * 256, "\ud800"):
            with pytest.raises(ArgumentError, match="kind"):
                declare("new", kind=kind)
        assert [q.name for q in node.queues] == ["q"]
        for timeout_s in ("1", None, True, -1, float("nan"), float("inf")):
            with pytest.raises(ArgumentError, match="timeout_s"):
                await node.promote(timeout_s=timeout_s)  # type: ignore[arg-type]
            with pytest.raises(ArgumentError, match="timeout_s"):
                await node.demote(timeout_s=timeout_s)  # type: ignore[arg-type]

    with_primary(main)


def test_a_queue_that_exists_with_other_properties_is_refused() -> None:
    """The error names what is there and what was asked for; `queue` returns it as it is."""

    async def main(node: Node, queue: Queue) -> None:
        with pytest.raises(QueueMismatch, match=r"settle REPLICATED.*settle IMMEDIATE") as caught:
            node.declare("q", settle=Settle.IMMEDIATE)
        assert caught.value.existing.settle is Settle.REPLICATED
        assert caught.value.asked.settle is Settle.IMMEDIATE
        with pytest.raises(QueueMismatch, match="kind 'ring'"):
            node.declare("q", kind="ring")
        assert node.declare("q") is node.queue("q") is queue

    with_primary(main)


def test_no_more_queues_than_a_backup_takes() -> None:
    async def main(node: Node, queue: Queue) -> None:
        node.declare("second")
        with pytest.raises(CallerError, match="queues_max"):
            node.declare("third")
        assert node.declare("second").name == "second"
        assert len(node.queues) == 2

    with_primary(main, Settings(queues_max=2))


def test_a_backup_declares_nothing() -> None:
    """This holds for an existing queue too: its handle could not publish."""

    async def run() -> None:
        async with Node(**parts()) as node:
            with pytest.raises(NotPrimary):
                node.declare("q")

    asyncio.run(run())


def test_before_the_start_there_is_nothing_to_ask() -> None:
    """A typed error that says so."""

    async def run() -> None:
        node = Node(**parts())
        assert node.status().role == Role.STOPPED.value
        for ask in (lambda: node.queue("q"), lambda: node.declare("q")):
            with pytest.raises(LocalProtocolError, match=r"before Node\.start"):
                ask()
        for wait in (node.promote, node.demote):
            with pytest.raises(LocalProtocolError, match=r"before Node\.start"):
                await wait()
        assert (node.generation, node.primary, node.serving, node.queues) == (0, None, False, [])
        await node.stop()

    asyncio.run(run())


def test_values_are_shown_short_and_without_raising() -> None:
    class Unshowable:
        def __repr__(self) -> str:
            raise RuntimeError

    for value in ("x" * 10_000, [list(range(1000))] * 1000, 10**6000, Unshowable(), b"x" * 10_000):
        assert len(shown(value)) < 140


class Awaited:
    async def method(self) -> None:
        """Nothing."""

    def plain(self) -> None:
        """Nothing."""

    async def __call__(self) -> None:
        """Nothing."""


async def awaited() -> None:
    """Nothing."""


def marked() -> None:
    """Nothing."""


marked.written = "by somebody"  # type: ignore[attr-defined]


def test_what_cannot_be_called_or_would_have_to_be_awaited_is_no_callback() -> None:
    for value in (awaited, Awaited().method, partial(awaited), 5, None):
        assert not CALLBACK.fits(value), value


def test_all_else_that_can_be_called_is_a_callback() -> None:
    for value in (marked, lambda: None, print, [].append, Awaited().plain, partial(marked), Awaited):
        assert CALLBACK.fits(value), value


def test_what_is_awaited_may_be_anything_that_can_be_called() -> None:
    for value in (awaited, Awaited().method, partial(awaited), marked, print):
        assert AWAITED.fits(value), value
    for value in (5, None, "marked"):
        assert not AWAITED.fits(value), value
