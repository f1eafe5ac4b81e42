"""Paho's clients, and a primary that is killed five times while they work: an exact ledger.

Method: three real processes. Two publishers send numbered messages, of QoS 1 and of QoS 2, each with a window. Three
subscribers have sessions that outlive connections; one of them is away until the end. A retained message
changes all the time, and with each kill a client with a will is gone.
"""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import pytest

from tests.mqtt.brokers import Brokers, until
from tests.mqtt.clients import Client

KILLS = 5
WINDOW = 40
BETWEEN_KILLS = 60


class Publisher(Client):
    """Publishes 1, 2, 3 … until it is told to stop, and then waits for the answers that are due."""

    def __init__(self, ports: list[int], name: str, topic: str, qos: int, retain: bool = False) -> None:
        super().__init__(ports, name)
        self.topic, self.qos, self.retain = topic, qos, retain
        self.numbers: dict[int, int] = {}
        """By packet id, what was published."""
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    @property
    def last(self) -> int:
        return len(self.numbers)

    def _run(self) -> None:
        while not self.over.is_set():
            if self.last - len(self.published) >= WINDOW:
                self.over.wait(0.002)
                continue
            number = self.last + 1
            mid = self.paho.publish(self.topic, str(number).encode(), self.qos, self.retain).mid
            self.numbers[mid] = number
            self.over.wait(0.001)

    def finish(self) -> None:
        self.over.set()
        self.thread.join(10)
        until(lambda: len(self.published) == self.last)


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.timeout(280)
def test_five_kills_lose_nothing_and_repeat_nothing_of_qos_2(tmp_path: Path) -> None:
    with Brokers(tmp_path) as brokers:
        brokers.start()
        ports = brokers.ports
        subscribers = [Client(ports, name).start() for name in ("one", "two", "away")]
        one, two, away = subscribers
        assert one.subscribe("q1", 1) == [1]
        assert two.subscribe("q2", 2) == away.subscribe("q2", 2) == [2]
        assert two.subscribe("wills/#", 2) == [2]
        away.stop()
        publishers = [
            Publisher(ports, "p1", "q1", 1),
            Publisher(ports, "p2", "q2", 2),
            Publisher(ports, "p3", "kept", 1, retain=True),
        ]
        for publisher in publishers:
            publisher.start()
            publisher.thread.start()
        clients = [*publishers, *subscribers]
        try:
            for kill in range(KILLS):
                Client(ports, f"gone{kill}").will(f"wills/{kill}", b"gone", 2).start(keepalive=1).die_with(
                    brokers
                )
                marks = {p: len(p.published) + BETWEEN_KILLS for p in publishers}
                until(lambda m=marks: all(len(p.published) >= mark for p, mark in m.items()))
            for publisher in publishers:
                publisher.finish()
            away = Client(ports, "away").start()
            assert away.present == [True]
            p1, p2, p3 = publishers
            until(lambda: set(one.texts()) >= numbers(p1))
            for client in (two, away):
                until(
                    lambda c=client: (
                        {m.payload.decode() for m in list(c.received) if m.topic == "q2"} >= numbers(p2)
                    )
                )
            until(lambda: sum(m.topic.startswith("wills/") for m in list(two.received)) >= KILLS)
            late = Client(ports, "late").start()
            late.subscribe("kept", 1)
            until(lambda: late.received)
        except AssertionError as error:
            raise AssertionError(
                f"{error}\n{[(c.name, len(c.received)) for c in clients]}\n{brokers.logs()}"
            ) from error

        for client in (two, away):
            counts = Counter((m.topic, m.payload) for m in client.received)
            assert not [message for message, count in counts.items() if count > 1]
            assert [int(m.payload) for m in client.received if m.topic == "q2"] == list(range(1, p2.last + 1))
        assert set(one.texts()) == numbers(p1)
        assert {m.topic for m in two.received} == {"q2", *(f"wills/{n}" for n in range(KILLS))}
        assert [int(m.payload) for m in late.received] == [p3.last]
        for client in [*clients, away, late]:
            client.stop()
        print([(p.name, p.last) for p in publishers], "again:", len(one.received) - p1.last)


def numbers(publisher: Publisher) -> set[str]:
    return {str(number) for number in range(1, publisher.last + 1)}
