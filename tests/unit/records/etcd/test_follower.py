"""What a watch of etcd tells is taken if it is newer than what was read, and nothing ever goes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest

from qpidha.errors import ClusterError, Unavailable
from qpidha.records import soon
from qpidha.records.etcd.follower import Follower
from qpidha.records.etcd.layout import Layout, Snapshot, text
from qpidha.records.format import encode_value
from qpidha.types import Record, Versioned
from tests.support.harness import until
from tests.support.node_parts import turns
from tests.support.records import RECORD, newer

LAYOUT = Layout("/qpidha")
NEVER_S = 3600.0
NAME = b"n" * 16
"""What names the store that opened a session."""


def put(key: bytes, value: bytes, revision: int) -> dict[str, Any]:
    return {"kv": {"key": text(key), "value": text(value), "mod_revision": str(revision)}}


def record_put(record: Record, revision: int) -> dict[str, Any]:
    return put(LAYOUT.record, encode_value(record), revision)


def session_put(node: str, info: bytes, revision: int) -> dict[str, Any]:
    return put(LAYOUT.session(node), NAME + info, revision)


def removed(key: bytes, revision: int) -> dict[str, Any]:
    return {"type": "DELETE", "kv": {"key": text(key), "mod_revision": str(revision)}}


class Etcd:
    """Reader and gateway of a follower: it reads what a test says, and its watch tells what a test says."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | Exception = Snapshot(5, Versioned(RECORD, 5), b"", {"a": b"1"})
        self.reads = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.remembered: list[tuple[int, bytes]] = []
        self.heard_at: list[int] = []
        self.begun: list[int] = []
        """The revisions from which watches began."""
        self.avoided = 0
        self._lines: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.follower = self._follower(NEVER_S)

    def _follower(self, check_interval_s: float) -> Follower:
        return Follower(
            self,  # type: ignore[arg-type]
            LAYOUT,
            self.read_all,
            lambda *told: self.remembered.append(told),
            check_interval_s=check_interval_s,
        )

    async def read_all(self, timeout_s: float) -> Snapshot:
        self.reads += 1
        found = self.snapshot
        await self.gate.wait()
        if isinstance(found, Exception):
            raise found
        return found

    async def stream(self, path: str, bodies: list[dict[str, Any]]) -> AsyncGenerator[dict[str, Any], None]:
        self.begun.append(int(bodies[0]["create_request"]["start_revision"]))
        while (line := await self._lines.get()) != {}:
            yield line
        raise Unavailable("it has ended the watch")

    def heard(self, revision: int) -> None:
        self.heard_at.append(revision)

    def avoid(self) -> None:
        self.avoided += 1

    async def tell(self, *events: dict[str, Any], **others: Any) -> None:
        """One line of the watch. Nothing: its connection ends."""
        self._lines.put_nowait({"events": list(events), **others} if events or others else {})
        await turns()

    def seen(self) -> tuple[Versioned | None, dict[str, bytes]]:
        return self.follower.record.value, dict(self.follower.live.value)


def play(main: Callable[[Etcd], Awaitable[None]]) -> None:
    """Follow from revision 5 on, with one live node."""

    async def wrapped() -> None:
        etcd = Etcd()
        watch = etcd.follower.record.watch()
        assert await anext(watch) == Versioned(RECORD, 5)
        await until(lambda: etcd.begun == [6])
        try:
            await asyncio.wait_for(main(etcd), 30)
        finally:
            await etcd.follower.close()

    asyncio.run(wrapped())


def test_what_a_watch_tells_is_taken_without_a_read() -> None:
    async def main(etcd: Etcd) -> None:
        watch, before = etcd.follower.record.watch(), etcd.reads
        etcd.follower.poll()
        await anext(watch)
        await etcd.tell(record_put(newer(1), 6), record_put(newer(2), 7))
        assert await anext(watch) == Versioned(newer(2), 7)
        await etcd.tell(session_put("b", b"2", 8), session_put("a", b"3", 9))
        await etcd.tell(removed(LAYOUT.session("a"), 10))
        assert etcd.seen() == (Versioned(newer(2), 7), {"b": b"2"})
        await etcd.tell(removed(LAYOUT.record, 11))
        assert etcd.seen() == (None, {"b": b"2"})
        assert etcd.remembered == [(7, encode_value(newer(2)))], (
            "so that the next change compares the content, too"
        )
        assert max(etcd.heard_at) == 11, "an etcd that is below it was reset"
        assert etcd.reads == before + 1

    play(main)


def test_what_was_read_or_told_before_is_not_taken_again() -> None:
    """A watch begins again after the last read, and repeats what an earlier one has told."""

    async def main(etcd: Etcd) -> None:
        await etcd.tell(record_put(newer(1), 4), session_put("old", b"", 5))
        assert etcd.seen() == (Versioned(RECORD, 5), {"a": b"1"})
        await etcd.tell(record_put(newer(2), 7), session_put("b", b"", 8), removed(LAYOUT.session("b"), 9))
        await etcd.tell(record_put(newer(1), 6), session_put("b", b"", 8))
        assert etcd.seen() == (Versioned(newer(2), 7), {"a": b"1"})

    play(main)


def test_a_read_that_began_before_a_change_does_not_take_it_back() -> None:
    async def main(etcd: Etcd) -> None:
        etcd.gate.clear()
        etcd.follower.poll()
        await turns()
        before = etcd.reads
        await etcd.tell(record_put(newer(1), 6), session_put("b", b"", 7))
        etcd.snapshot = Snapshot(8, Versioned(newer(1), 6), b"", {"b": b""})
        etcd.gate.set()
        await until(lambda: etcd.reads > before)
        assert etcd.seen()[0] == Versioned(newer(1), 6)
        await until(lambda: etcd.seen() == (Versioned(newer(1), 6), {"b": b""}))

    play(main)


@pytest.mark.parametrize(
    "line",
    [
        {"events": [{}]},
        {"events": [{"kv": {"key": "%%", "mod_revision": "6"}}]},
        {"events": [{"kv": {"key": text(LAYOUT.record), "mod_revision": "x"}}]},
        {"events": [put(LAYOUT.record, b"no record", 6)]},
        {"events": [{"kv": {"key": text(LAYOUT.record), "mod_revision": float("inf")}}]},
        {"events": 1},
    ],
    ids=repr,
)
def test_what_is_not_understood_is_read(line: dict[str, Any]) -> None:
    async def main(etcd: Etcd) -> None:
        etcd.snapshot = ClusterError("the record is damaged")
        watch = etcd.follower.record.watch()
        await etcd.tell(**line)
        with pytest.raises(ClusterError, match="damaged"):
            await anext(watch)
        reads = etcd.reads
        etcd.snapshot = Snapshot(9, Versioned(newer(1), 9), b"", {})
        await etcd.tell(record_put(newer(1), 9))
        await until(lambda: etcd.reads > reads, timeout_s=10.0)

    play(main)


def test_a_watch_that_ends_or_is_cancelled_begins_again_after_a_read() -> None:
    async def main(etcd: Etcd) -> None:
        etcd.snapshot = Snapshot(7, None, b"", {})
        await etcd.tell()
        await until(lambda: etcd.begun[-1] == 8)
        etcd.snapshot = Snapshot(8, None, b"", {})
        await etcd.tell(canceled=True)
        await until(lambda: etcd.begun[-1] == 9)

    play(main)


def test_a_poll_is_left_to_a_watch_that_listens_and_is_made_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(soon, "SOON_S", 0.01)

    async def main(etcd: Etcd) -> None:
        before = etcd.reads
        for _ in range(3):
            etcd.follower.poll_soon()
        await turns()
        assert etcd.reads == before
        await until(lambda: etcd.reads == before + 1)
        etcd.follower.poll_soon()
        etcd.follower.poll()
        await asyncio.sleep(0.05)
        assert etcd.reads == before + 2, "one poll stands for those that were asked for before it"
        etcd.follower.poll_soon()

    play(main)


def test_a_poll_is_made_at_once_while_no_watch_listens() -> None:
    async def main() -> None:
        etcd = Etcd()
        etcd.gate.clear()
        watch = etcd.follower.record.watch()
        value = asyncio.ensure_future(anext(watch))
        await turns()
        etcd.follower.poll_soon()
        etcd.gate.set()
        await until(lambda: etcd.reads == 2)
        await value
        await etcd.follower.close()

    asyncio.run(main())


def test_a_change_that_no_watch_has_told_makes_it_watch_elsewhere() -> None:
    async def main() -> None:
        etcd = Etcd()
        etcd.follower = etcd._follower(0.01)
        watch = etcd.follower.record.watch()
        await anext(watch)
        await until(lambda: len(etcd.begun) == 1)
        await etcd.tell(record_put(newer(1), 6))
        etcd.snapshot = Snapshot(6, Versioned(newer(1), 6), b"", {"a": b"1"})
        reads = etcd.reads
        await until(lambda: etcd.reads > reads + 3)
        assert etcd.avoided == 0, "what was told is no surprise"
        etcd.snapshot = Snapshot(8, Versioned(newer(2), 8), b"", {"a": b"1"})
        await until(lambda: etcd.avoided == 1)
        await etcd.follower.close()

    asyncio.run(main())
