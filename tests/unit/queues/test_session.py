"""One client over many connections: in order, only what is safe, under numbers that every primary gives."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from qpidha import ArgumentError, CallerError, Queue
from qpidha.queues import Delivery, FifoQueue, SessionQueue
from tests.support.content_parts import Room
from tests.support.node_parts import run


class Client:
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.got: list[Delivery] = []

    async def send(self, delivery: Delivery) -> None:
        self.got.append(delivery)

    @property
    def seen(self) -> list[tuple[int, bytes, bool]]:
        return [(each.number, each.data, each.again) for each in self.got]


async def turns(room: Room) -> None:
    """Let all that was begun be done."""
    for _ in range(5):
        room.turn()
        await asyncio.sleep(0)


def test_what_is_not_answered_comes_again_in_the_next_connection() -> None:
    async def main() -> None:
        room = Room().lead()
        mailbox: SessionQueue[Queue] = SessionQueue(room.declare("q"))
        first, second = Client(), Client()
        async with mailbox.delivering(first.send):
            for data in (b"1", b"2", b"3"):
                mailbox.queue.enqueue(data, b"p")
            await asyncio.sleep(0)
            assert first.got == [], "they are not safe yet"
            await turns(room)
            assert first.got == [Delivery(n + 1, b"%d" % n, b"p", False) for n in (1, 2, 3)]
            assert mailbox.id_of(3) == 2 and mailbox.settle(3) == 2
            assert mailbox.id_of(3) is None and mailbox.settle(3) is None
            mailbox.queue.dequeue(2)
        async with mailbox.delivering(second.send):
            mailbox.queue.enqueue(b"4")
            await turns(room)
        assert second.seen == [(2, b"1", True), (4, b"3", True), (5, b"4", False)]
        mailbox.queue.enqueue(b"5")
        await turns(room)
        assert len(second.got) == 3, "its connection has ended"

    run(main())


def test_what_is_not_safe_waits_also_when_there_is_room() -> None:
    async def main() -> None:
        room = Room().lead()
        mailbox: SessionQueue[Queue] = SessionQueue(room.declare("q"))
        client = Client()
        async with mailbox.delivering(client.send):
            await turns(room)
            mailbox.queue.enqueue(b"1")
            mailbox.settle(99)  # An answer makes it look again.
            for _ in range(5):
                await asyncio.sleep(0)
            assert client.got == []
            await turns(room)
            assert client.seen == [(2, b"1", False)]

    run(main())


def test_a_message_that_was_updated_keeps_its_number() -> None:
    async def main() -> None:
        room = Room().lead()
        mailbox: SessionQueue[Queue] = SessionQueue(room.declare("q"))
        mailbox.queue.enqueue_many([b"1", b"2"])
        for props in (b"", b"marked"):
            client = Client()
            async with mailbox.delivering(client.send):
                await turns(room)
                assert [(each.number, each.props) for each in client.got] == [(2, props), (3, b"")]
                id = mailbox.id_of(2)
                assert id == (1 if not props else 3)
                mailbox.queue.update(id, b"marked")
        mailbox.queue.dequeue(3)

    run(main())


def test_the_window_and_numbers_that_are_in_use_hold_it_up() -> None:
    async def main() -> None:
        room = Room().lead()
        narrow: SessionQueue[Queue] = SessionQueue(room.declare("narrow"), window=2)
        few: SessionQueue[Queue] = SessionQueue(room.declare("few"), numbers=3)
        for mailbox in (narrow, few):
            mailbox.queue.enqueue_many([b"1", b"2", b"3", b"4", b"5"])
        one, two = Client(), Client()
        async with narrow.delivering(one.send), few.delivering(two.send):
            await turns(room)
            assert one.seen == [(2, b"1", False), (3, b"2", False)]
            assert two.seen == [(2, b"1", False), (3, b"2", False), (1, b"3", False)]
            few.settle(3)
            await turns(room)
            assert len(two.got) == 3, "the fourth has the number of the first"
            for mailbox in (narrow, few):
                mailbox.settle(2)
            await turns(room)
            assert one.seen[2:] == [(4, b"3", False)]
            assert two.seen[3:] == [(2, b"4", False), (3, b"5", False)]

    run(main())


def test_what_an_earlier_primary_left_waits_until_it_is_safe_and_may_have_been_sent() -> None:
    async def main() -> None:
        room = Room().lead()
        room.declare("q").enqueue(b"old")
        room.turn()
        room.follow(2).lead(generation=3)
        mailbox: SessionQueue[Queue] = SessionQueue(room.queue("q"))
        client = Client()
        async with mailbox.delivering(client.send):
            await turns(room)
        assert client.seen == [(2, b"old", True)]

    run(main())


def test_nothing_comes_if_the_term_ends_first() -> None:
    async def main() -> None:
        room = Room().lead("b")
        room.declare("q").enqueue(b"never safe")
        mailbox: SessionQueue[Queue] = SessionQueue(room.queue("q"))
        client = Client()
        async with mailbox.delivering(client.send):
            await turns(room)
            assert client.got == []
            room.follow()
            await turns(room)
        assert client.got == []

    run(main())


def test_a_second_connection_ends_the_delivering_of_the_first() -> None:
    async def main() -> None:
        room = Room().lead()
        mailbox: SessionQueue[Queue] = SessionQueue(room.declare("q"))
        first, second = Client(), Client()
        async with mailbox.delivering(first.send):
            async with mailbox.delivering(second.send):
                mailbox.queue.enqueue(b"1")
                await turns(room)
            assert (first.got, len(second.got)) == ([], 1)

    run(main())


def test_an_error_of_send_is_raised_at_the_end() -> None:
    async def main() -> None:
        room = Room().lead()
        mailbox: SessionQueue[Queue] = SessionQueue(room.declare("q"))

        async def broken(delivery: Delivery) -> None:
            raise ConnectionError("gone")

        ended = False
        with pytest.raises(ConnectionError, match="gone"):
            async with mailbox.delivering(broken):
                mailbox.queue.enqueue(b"1")
                await turns(room)
                ended = True
        assert ended
        client = Client()
        async with mailbox.delivering(client.send):
            await turns(room)
        assert client.seen == [(2, b"1", True)], "it was perhaps sent"

    run(main())


def test_its_arguments_are_checked_and_it_is_the_only_one() -> None:
    async def main() -> None:
        room = Room().lead()
        queue: Any = room.declare("q")
        for wrong in ({"window": 0}, {"numbers": 0}, {"numbers": True}):
            with pytest.raises(ArgumentError):
                SessionQueue(queue, **wrong)  # type: ignore[arg-type]
        with pytest.raises(ArgumentError, match="queue"):
            SessionQueue(7)  # type: ignore[type-var]
        mailbox: SessionQueue[Queue] = SessionQueue(queue)
        with pytest.raises(ArgumentError, match="send must be"):
            async with mailbox.delivering(7):  # type: ignore[arg-type]
                pytest.fail("it cannot be called")
        for asked in (mailbox.id_of, mailbox.settle):
            with pytest.raises(ArgumentError, match="number must be"):
                asked("1")  # type: ignore[arg-type]
        with pytest.raises(CallerError, match="has a SessionQueue"):
            FifoQueue(queue)

    run(main())
