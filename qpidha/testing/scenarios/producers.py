"""Commands of a scenario about producers: register, produce, repeat, gap, surrender, forget."""

from __future__ import annotations

from qpidha.testing.scenarios.commands import Commands
from qpidha.testing.scenarios.error import ScenarioError
from qpidha.testing.sim.producing import ProducerClient, Producing


class ProducerCommands(Commands):
    """Commands of clients that number what they publish."""

    def __init__(self) -> None:
        super().__init__()
        self._producers: dict[str, ProducerClient] = {}

    def register(self, name: str, producer: str) -> None:
        """``register P ada``: a producer registers, for the first time or again. It has a new epoch then."""
        client = self._producers.setdefault(producer, ProducerClient(producer))
        self._producing.register(self._node(name), client)

    def produce(self, name: str, producer: str, queue: str, *values: str) -> None:
        """``produce P ada q v1 v2``: publish new messages as one batch, with the producer's next numbers."""
        client = self._producer(producer)
        self._producing.publish(self._node(name), client, self._queue(queue), self._values(values))
        self._say_if_unknown(name, client)

    def repeat(self, name: str, producer: str, queue: str, count: str = "10") -> None:
        """``repeat B1 ada q 2``: send everything that was not answered again, in batches of two."""
        client = self._producer(producer)
        self._producing.repeat(self._node(name), client, self._queue(queue), int(count))
        self._say_if_unknown(name, client)

    def gap(self, name: str, producer: str, queue: str) -> None:
        """``gap P ada q``: publish with a number above the next one. It must be refused."""
        self._producing.gap(self._node(name), self._producer(producer), self._queue(queue))
        self._say(f"{name}: refused: numbers before it are missing")

    def surrender(self, name: str, producer: str) -> None:
        """``surrender P ada``: give up the first number that was not answered: it is used for nothing."""
        self._producing.give_up_one(self._node(name), self._producer(producer))

    def forget(self, name: str, producer: str) -> None:
        """``forget P ada``: the primary forgets a producer."""
        self._producing.forget(self._node(name), self._producer(producer))

    def _say_if_unknown(self, name: str, client: ProducerClient) -> None:
        if client.epoch is None:
            self._say(f"{name}: refused: {client.name} is not registered")

    @property
    def _producing(self) -> Producing:
        return Producing(self.world.clients)

    def _producer(self, name: str) -> ProducerClient:
        client = self._producers.get(name)
        if client is None or client.epoch is None:
            raise ScenarioError(f"producer {name} is not registered")
        return client
