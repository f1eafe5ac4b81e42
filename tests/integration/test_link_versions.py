"""What each version of the protocol added is said only on links of that version, and older backups get the same content.

Method: the backups of a cluster speak versions up to a limit. The primary does everything that can be said; each event
and part that goes over a link is compared with the version that added it. So a feature that needs every member, and not
only the ends of a link, fails here: as content that differs, or as something said on a link that is too old.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from qpidha import Node
from qpidha.errors import BackupTooOld
from qpidha.types import BytesLike
from qpidha.wire import codec, events, version
from qpidha.wire.framing import LENGTH_MAX, FrameReader
from tests.support.harness import QUICK, Gate, GatedLink, World, run, until

VERSIONS = range(version.PROTOCOL_MIN, version.PROTOCOL_MAX + 1)
SINCE: dict[type[Any], int] = {
    events.Hello: 1, events.Welcome: 1, events.Refused: 1, events.Fenced: 1, events.Ping: 1,
    events.Subscribe: 1, events.SubscribeQueue: 1, events.PlanQueue: 1, events.PlanDrop: 1,
    events.PlanMessages: 1, events.PlanEnd: 1, events.Progress: 1, events.Resubscribe: 1,
    events.Operations: 1, events.Acknowledged: 1, events.Established: 1,
    events.PlanWithdraw: 3,
    events.SubscribeGroups: 5, events.GroupsDiffer: 5, events.SubscribeRest: 5,
    events.Enqueue: 1, events.Dequeue: 1, events.SkipIds: 1, events.Declare: 1,
    events.Copy: 3, events.Drop: 3,
}  # fmt: skip
"""Each event and part, and the version that added it."""
COMPARING = replace(QUICK, queues_per_digest=1)
"""So that few queues are compared by digests."""
ROW = re.compile(r"^\| (\d+) \| .*\|.*\|.*\|.*\|$", re.MULTILINE)


def test_each_event_and_part_has_its_version() -> None:
    assert SINCE.keys() == {*get_args(events.Event), *get_args(events.Part)}
    assert set(SINCE.values()) <= set(VERSIONS)


def test_the_page_says_for_each_version_who_must_know_it() -> None:
    page = (Path(__file__).parents[2] / "docs/wire.md").read_text()
    section = page.partition("### Upgrades\n")[2].partition("\n## ")[0]
    assert {int(number) for number in ROW.findall(section)} == set(VERSIONS) - {1}
    since = {getattr(version, name) for name in version.__all__ if name.endswith("_SINCE")}
    assert since == set(VERSIONS) - {1}


class Heard:
    """What nodes say on links of old versions, beginning with the handshake."""

    def __init__(self) -> None:
        self.newest = 0
        self._readers: dict[GatedLink, FrameReader] = {}

    def gate(self) -> Gate:
        """The transport of a node that is listened to."""
        return Gate(self._sent)

    def _sent(self, link: GatedLink, chunks: Sequence[BytesLike]) -> None:
        reader = self._readers.setdefault(link, FrameReader(LENGTH_MAX))
        for raw in reader.feed(b"".join(chunks)):
            event = codec.decode(raw).event
            operations = event.operations if isinstance(event, events.Operations) else ()
            for what in (event, *(part for operation in operations for part in operation)):
                self.newest = max(self.newest, SINCE[type(what)])


async def everything(a: Node, *, deletes: bool) -> None:
    """Say everything that a primary can say to its backups."""
    one, two, table = a.declare("one"), a.declare("two"), a.table("table")
    await one.enqueue_many([b"%d" % n for n in range(10)])
    with a.transaction() as t:
        t.publish([one, two], b"both")
        t.enqueue(two, b"last", b"props")
        t.put(table, b"key", b"value")
    await t.op
    await one.move([1, 2], two)
    with a.transaction() as t:
        t.dequeue(one, [3, 4])
        t.update(one, [5], b"changed")
        t.move(one, [6], two)
        t.put_object("kind", "name", b"value")
    await t.op
    old = a.declare("old")
    await old.enqueue(b"of old")
    if deletes:
        await a.delete(old, to=two)
    else:
        with pytest.raises(BackupTooOld):
            a.delete(old, to=two)


def content(node: Node) -> dict[str, list[tuple[int, bytes]]]:
    """All messages of all queues."""
    return {
        q.name: [(id, bytes(data)) for id, data in node.queue(q.name)]
        for q in node.status().queues
        if not q.name.startswith("$")
    }


@pytest.mark.parametrize("when", ["connected", "absent"])
@pytest.mark.parametrize("spoken", VERSIONS)
def test_an_older_backup_is_told_nothing_newer_and_has_the_same(
    monkeypatch: pytest.MonkeyPatch, spoken: int, when: str
) -> None:
    monkeypatch.setattr("qpidha.core.backup.follower.PROTOCOL_MAX", spoken)
    if spoken < version.LIMITS_SINCE:
        monkeypatch.setattr("qpidha.core.backup.follower.limits_of", lambda settings: None)
    heard = Heard()

    async def main(world: World) -> None:
        a = await world.start("a", transport=heard.gate())
        await a.promote()
        if when == "connected":
            b = await world.start("b", transport=heard.gate())
            await until(lambda: world.members() == {"a", "b"})
        await everything(a, deletes=when == "absent" or spoken >= version.DELETION_SINCE)
        if when == "absent":
            b = await world.start("b", transport=heard.gate())
            await until(lambda: world.members() == {"a", "b"})
        await a.queue("two").enqueue(b"end")
        assert content(b) == content(a)
        assert 1 <= heard.newest <= spoken
        await b.promote()
        await until(lambda: a.status().in_sync and world.members() == {"a", "b"})
        if spoken >= version.DIGESTS_SINCE:
            assert heard.newest == version.DIGESTS_SINCE, "the old primary has compared its queues"
        await b.queue("two").enqueue(b"of the next primary")
        assert content(b) == content(a)

    run(main, COMPARING)
