"""A time-out does not count a pause of the waiting process (T42).

Method: the loop is blocked until the time-out is over; the awaited result arrives meanwhile.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from pathlib import Path

import pytest

from qpidha.errors import Unavailable
from qpidha.node.ask import ShortPath
from qpidha.records.file.worker import Worker
from qpidha.system.within import Limit, until_set, within
from tests.support.harness import World, run


def block(seconds: float) -> None:
    time.sleep(seconds)


def test_a_line_that_arrived_during_the_pause_is_read() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=ours)
        loop = asyncio.get_running_loop()
        threading.Timer(0.1, theirs.sendall, [b"line\n"]).start()
        loop.call_later(0.01, block, 0.4)
        assert await within(reader.readline(), 0.2) == b"line\n"
        writer.close()
        await writer.wait_closed()
        theirs.close()

    asyncio.run(main())


def test_a_wait_without_a_result_is_cancelled() -> None:
    async def main() -> None:
        ended: list[str] = []

        async def never() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("cancelled")

        with pytest.raises(asyncio.TimeoutError):
            await within(never(), 0.01)
        assert ended == ["cancelled"]
        waiting = asyncio.ensure_future(within(never(), 60.0))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert ended == ["cancelled"] * 2

    asyncio.run(main())


def test_a_wait_for_an_event_that_is_cancelled_in_the_turn_of_the_event_ends() -> None:
    async def main() -> None:
        event = asyncio.Event()
        await until_set(event, 0.01)
        waiting = asyncio.ensure_future(until_set(event, 60.0))
        await asyncio.sleep(0.01)
        event.set()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await until_set(event, 60.0)
        assert event.is_set()

    asyncio.run(main())


def test_an_exception_of_the_awaited_call_is_raised() -> None:
    async def fails() -> None:
        raise KeyError("why")

    with pytest.raises(KeyError, match="why"):
        asyncio.run(within(fails(), 1.0))


def test_a_job_that_ended_during_the_pause_returns_its_result() -> None:
    """The thread ran while the loop was blocked: the disk answered in time."""

    async def main() -> None:
        worker = Worker("test")

        def job() -> str:
            time.sleep(0.05)
            return "done"

        loop = asyncio.get_running_loop()
        loop.call_later(0.01, block, 0.4)
        assert await worker.run(job, 0.2, changes=True) == "done"
        with pytest.raises(Unavailable):
            await worker.run(lambda: time.sleep(0.3), 0.05)
        await worker.close()

    asyncio.run(main())


def test_an_operator_is_answered_by_a_node_that_was_blocked(tmp_path: Path) -> None:
    """The question waits in the socket for longer than its time-out."""

    async def main(world: World) -> None:
        path = tmp_path / "control.sock"
        await world.start("a", control=path)
        loop = asyncio.get_running_loop()
        answers: list[bytes] = []

        def ask() -> None:
            with ShortPath(path) as short, socket.socket(socket.AF_UNIX) as asking:
                asking.connect(short)
                connected.set()
                time.sleep(0.3)
                asking.sendall(b'{"command": "status"}\n')
                answers.append(asking.recv(65536))

        connected = threading.Event()
        thread = threading.Thread(target=ask)
        thread.start()
        await asyncio.to_thread(connected.wait)
        await asyncio.sleep(0.1)
        loop.call_soon(block, 0.8)
        await asyncio.to_thread(thread.join)
        assert answers and answers[0].startswith(b'{"ok": true')

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qpidha.node.control.QUESTION_TIMEOUT_S", 0.5)
        run(main)


def test_a_polling_wait_does_not_count_a_pause() -> None:
    clock = [100.0]
    limit = Limit(lambda: clock[0], 2.0)
    for now, over in ((101.0, False), (101.4, False), (161.4, False), (161.8, False), (162.2, False)):
        clock[0] = now
        assert limit.is_over is over, now
    clock[0] = 162.5
    assert limit.is_over is False
    for _ in range(4):
        clock[0] += 0.4
        over = limit.is_over
    assert over, "time without a pause counts"


def test_a_promotion_granted_during_a_pause_succeeds() -> None:
    """The loop was blocked for longer than the caller wanted to wait."""

    async def main(world: World) -> None:
        a = await world.start("a")
        asyncio.get_running_loop().call_soon(block, 0.8)
        await a.promote(timeout_s=0.6)
        assert a.serving

    run(main)
