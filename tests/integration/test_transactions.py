"""Primaries are killed while transactions, tables and objects change: each change is whole on every node, or absent."""

from __future__ import annotations

import asyncio

from qpidha import InDoubt, Node, Op
from qpidha.errors import CallerError
from tests.support.harness import World, run, until

ROUNDS = 3
NAMES = ("a", "b", "c")


class Client:
    """Makes numbered transactions. Each writes its number to two queues, a table and the configuration."""

    def __init__(self) -> None:
        self.ops: dict[int, Op] = {}
        self.count = 0

    def work(self, node: Node) -> None:
        number = self.count = self.count + 1
        text = str(number)
        q, n = node.declare("q"), node.declare("n")
        with node.transaction() as t:
            t.enqueue(q, text.encode())
            t.publish([n, q], b"fan " + text.encode())
            t.put(node.table("t"), text.encode(), b"v")
            t.put_object("number", text, b"v")
            t.put(node.table("t"), b"last", text.encode())
        self.ops[number] = t.op

    async def until_killed(self, node: Node) -> None:
        """Work without waiting for answers, until the node is gone."""
        while node.serving:
            try:
                self.work(node)
            except CallerError:
                return
            await asyncio.sleep(0.001)

    @property
    def acknowledged(self) -> set[int]:
        return {number for number, op in self.ops.items() if op.safe}


def kept(node: Node) -> dict[str, set[int]]:
    """The numbers that each place holds on this node."""
    queues = {queue.name: [data for _, data in queue] for queue in node.queues}
    return {
        "q": {int(data) for data in queues["q"] if not data.startswith(b"fan")},
        "fan in q": {int(data[4:]) for data in queues["q"] if data.startswith(b"fan")},
        "fan in n": {int(data[4:]) for data in queues["n"]},
        "t": {int(key) for key in node.table("t") if key != b"last"},
        "objects": {int(name) for _, name, _ in node.configuration.objects("number")},
    }


def everything(node: Node) -> object:
    """What must be equal on all nodes, the order included."""
    queues = {queue.name: (queue.id, list(queue.messages())) for queue in node.queues}
    return queues, list(node.table("t").items()), node.configuration.objects()


def test_a_transaction_is_whole_or_absent_on_each_node_however_many_primaries_are_killed() -> None:
    async def main(world: World) -> None:
        await world.cluster(*NAMES)
        client = Client()
        primary = "a"
        for _ in range(ROUNDS):
            working = asyncio.create_task(client.until_killed(world.nodes[primary]))
            before = len(client.acknowledged)
            await until(lambda before=before: len(client.acknowledged) > before + 20)  # type: ignore[misc]
            node = world.nodes[primary]
            await world.kill(primary)
            await working
            assert not node.serving
            killed, primary = primary, NAMES[(NAMES.index(primary) + 1) % 3]
            await world.nodes[primary].promote()
            await until(lambda p=primary: world.nodes[p].serving)  # type: ignore[misc]
            await world.start(killed)
            await until(lambda: all(n.status().in_sync for n in world.nodes.values()))
        client.work(world.nodes[primary])
        await client.ops[client.count]
        acknowledged = client.acknowledged
        doubtful = set(client.ops) - acknowledged
        assert len(acknowledged) > ROUNDS * 20
        for number in doubtful:
            assert isinstance(client.ops[number]._ledger.error, InDoubt) or not client.ops[number].done
        nodes = list(world.nodes.values())
        await until(lambda: all(everything(node) == everything(nodes[0]) for node in nodes))
        for node in nodes:
            places = kept(node)
            numbers = places["q"]
            assert all(place == numbers for place in places.values()), "a transaction is half"
            assert acknowledged <= numbers <= acknowledged | doubtful
            assert node.table("t").get(b"last") == str(max(numbers)).encode()
            order = [int(data) for _, data in node.queue("q") if not data.startswith(b"fan")]
            assert order == sorted(order)

    run(main)
