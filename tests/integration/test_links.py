"""Links of a broker are objects of its configuration: a new primary opens them again, and loses nothing (LC7)."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path

from tests.support.harness import Recorder, World, run, until

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "links"))

import links as example


class Upstream:
    """Another broker: each of its queues has these messages."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.accepted: Counter[str] = Counter()
        """By queue."""
        self.published = asyncio.Event()
        self.fails = False
        self.connections: list[Connection] = []

    async def connect(self, address: str, queue: str) -> Connection:
        await asyncio.sleep(0)
        if self.fails:
            raise ConnectionRefusedError(address)
        self.connections.append(Connection(self, address, queue))
        return self.connections[-1]

    @property
    def open(self) -> list[Connection]:
        return [each for each in self.connections if not each.closed]

    def publish(self, count: int) -> None:
        first = len(self.messages) + 1
        self.messages += [b"%d" % n for n in range(first, first + count)]
        self.published.set()


class Connection:
    """One client of it."""

    def __init__(self, upstream: Upstream, address: str, queue: str) -> None:
        self._upstream = upstream
        self.address, self.queue = address, queue
        self.closed = False

    async def next(self, after: int) -> tuple[int, bytes]:
        while len(self._upstream.messages) <= after:
            self._upstream.published.clear()
            await self._upstream.published.wait()
        assert not self.closed
        return after + 1, self._upstream.messages[after]

    async def accept(self, upto: int) -> None:
        assert upto >= self._upstream.accepted[self.queue], "a successor knows what was accepted"
        self._upstream.accepted[self.queue] = upto

    async def close(self) -> None:
        self.closed = True


class Linked(Recorder):
    """A broker with links to this other broker."""

    def __init__(self, world: World, upstream: Upstream, name: str) -> None:
        super().__init__()
        self.links = example.Links(upstream.connect)
        self._world, self._name = world, name

    async def on_promote(self, generation: int) -> None:
        self.links.open(self._world.nodes[self._name])
        await super().on_promote(generation)

    async def on_demote(self, generation: int) -> None:
        await self.links.close()
        await super().on_demote(generation)


LINK = example.Link("paris:5672", "orders", "incoming")


async def cluster(world: World, upstream: Upstream, *names: str) -> None:
    """Start nodes with linked brokers; the first becomes primary."""
    for name in names:
        await world.start(name, broker=Linked(world, upstream, name))
    await world.nodes[names[0]].promote()
    await until(lambda: world.members() == set(names))


def links_of(world: World, name: str) -> example.Links:
    broker = world.brokers[name]
    assert isinstance(broker, Linked)
    return broker.links


def pulled(world: World, name: str) -> list[bytes]:
    return [data for _, data in world.nodes[name].queue("incoming")]


def test_a_new_primary_opens_the_links_again_and_loses_and_repeats_nothing() -> None:
    async def main(world: World) -> None:
        upstream = Upstream()
        await cluster(world, upstream, "a", "b", "c")
        a, b = world.nodes["a"], world.nodes["b"]
        await links_of(world, "a").put(a, "from paris", LINK)
        upstream.publish(20)
        await until(lambda: upstream.accepted["orders"] == 20)
        assert [(each.address, each.queue) for each in upstream.open] == [("paris:5672", "orders")]
        world.gates["a"].mute = True  # The next message is pulled, and reaches no backup.
        upstream.publish(20)
        await until(lambda: len(pulled(world, "a")) == 21)
        await b.promote()
        await until(lambda: upstream.accepted["orders"] == 40)
        assert pulled(world, "b") == upstream.messages
        await until(lambda: bool(world.brokers["a"].demoted))
        assert len(upstream.open) == 1, "the old primary has closed its link"
        world.gates["a"].mute = False
        await until(lambda: world.members() == {"a", "b", "c"})
        await world.kill("b")
        await a.promote()
        upstream.publish(10)
        await until(lambda: upstream.accepted["orders"] == 50)
        assert pulled(world, "a") == upstream.messages

    run(main)


def test_a_link_that_was_deleted_while_a_node_was_away_is_not_opened_there() -> None:
    async def main(world: World) -> None:
        upstream = Upstream()
        await cluster(world, upstream, "a", "b")
        a, links = world.nodes["a"], links_of(world, "a")
        await links.put(a, "from paris", LINK)
        await links.put(a, "stays", example.Link("rome:5672", "mail", "letters"))
        upstream.publish(5)
        await until(lambda: upstream.accepted["orders"] == 5 and len(upstream.open) == 2)
        await world.stop("b")
        await links.delete(a, "from paris")
        await until(lambda: [each.queue for each in upstream.open] == ["mail"])
        b = await world.start("b", broker=Linked(world, upstream, "b"))
        await until(lambda: world.members() == {"a", "b"})
        await world.kill("a")
        before = len(upstream.connections)
        await b.promote()
        await until(lambda: len(upstream.connections) > before)
        await b.barrier()
        assert [each.queue for each in upstream.connections[before:]] == ["mail"]
        assert b.configuration.objects("link") == [
            ("link", "stays", example.Link("rome:5672", "mail", "letters").encode())
        ]
        assert b.table(example.POSITIONS).get(b"from paris") is None

    run(main)


def test_a_link_that_is_changed_is_opened_anew_and_one_that_fails_is_tried_again() -> None:
    async def main(world: World) -> None:
        upstream = Upstream()
        upstream.fails = True
        await cluster(world, upstream, "a")
        a, links = world.nodes["a"], links_of(world, "a")
        await links.put(a, "l", LINK)
        await asyncio.sleep(0.05)
        assert upstream.connections == []
        upstream.fails = False
        upstream.publish(3)
        await until(lambda: upstream.accepted["orders"] == 3)
        other = Upstream()
        other.publish(2)
        links._connect = other.connect
        await links.put(a, "l", example.Link("oslo:5672", "fish", "incoming"))
        await until(lambda: other.accepted["fish"] == 2)
        assert upstream.open == []
        assert pulled(world, "a") == [b"1", b"2", b"3", b"1", b"2"], (
            "another source begins at its first message"
        )

    run(main)
