"""What amqtt does without a failover, it does with the library: two nodes, paho's clients."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.mqtt.brokers import Brokers, until
from tests.mqtt.clients import Client
from tests.mqtt.raw import connected

pytestmark = [pytest.mark.slow, pytest.mark.processes]


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers]:
    with Brokers(tmp_path_factory.mktemp("mqtt"), 2) as brokers:
        yield brokers.start()


@pytest.fixture
def client(brokers: Brokers) -> Iterator[Any]:
    """Makes clients, and ends them after the test."""
    made: list[Client] = []

    def make(name: str, **options: Any) -> Client:
        made.append(Client(brokers.ports, name, **options))
        return made[-1]

    yield make
    for each in made:
        each.stop()


@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_message_reaches_its_subscriber_once(client: Any, qos: int, clean: bool) -> None:
    topic = f"plain/{qos}/{clean}"
    subscriber = client(f"s{qos}{clean}", clean=clean).start()
    assert subscriber.subscribe("plain/+/" + str(clean), qos) == [qos]
    publisher = client(f"p{qos}{clean}", clean=clean).start()
    publisher.publish(topic, b"one", qos)
    publisher.publish(topic, b"two", qos)
    until(lambda: len(subscriber.received) == 2)
    assert [(m.topic, m.payload, m.qos, m.retain, m.dup) for m in subscriber.received] == [
        (topic, b"one", qos, False, False),
        (topic, b"two", qos, False, False),
    ]


def test_a_session_keeps_what_comes_while_its_client_is_away(client: Any) -> None:
    away = client("away").start()
    away.subscribe("news/#", 2)
    away.subscribe("news/sport", 1)
    away.stop()
    publisher = client("p").start()
    for number in range(3):
        publisher.publish("news/sport", b"%d" % number, 2)
    again = client("away").start()
    assert again.present == [True]
    until(lambda: len(again.received) == 3)
    assert [(m.payload, m.qos) for m in again.received] == [(b"0", 2), (b"1", 2), (b"2", 2)], (
        "each once, with the higher QoS of two filters"
    )


def test_an_unsubscribed_topic_stays_away(client: Any, brokers: Brokers) -> None:
    subscriber = client("fickle").start()
    subscriber.subscribe("a", 1)
    subscriber.subscribe("b", 1)
    subscriber.unsubscribe("a")
    publisher = client("p").start()
    publisher.publish("a", b"no", 1)
    publisher.publish("b", b"yes", 1)
    until(lambda: subscriber.received)
    assert subscriber.texts() == ["yes"]


def test_a_clean_session_ends_the_one_before_in_the_whole_cluster(client: Any, brokers: Brokers) -> None:
    old = client("fresh").start()
    old.subscribe("fresh", 1)
    old.stop()
    publisher = client("p").start()
    publisher.publish("fresh", b"old", 1)
    for name in brokers.processes:
        assert "mqtt/session/fresh" in queues(brokers, name)
    new = client("fresh", clean=True).start()
    assert new.present == [False]
    for name in brokers.processes:
        until(lambda n=name: "mqtt/session/fresh" not in queues(brokers, n))
    publisher.publish("fresh", b"new", 1)
    new.subscribe("mark", 1)
    publisher.publish("mark", b"mark", 1)
    until(lambda: new.received)
    assert new.texts() == ["mark"]


def test_a_retained_message_comes_at_once_and_can_be_cleared(client: Any) -> None:
    publisher = client("p").start()
    publisher.publish("weather", b"rain", 1, retain=True)
    publisher.publish("weather", b"sun", 1, retain=True)
    first = client("r1").start()
    first.subscribe("weather", 1)
    until(lambda: first.received)
    assert [(m.payload, m.retain, m.qos) for m in first.received] == [(b"sun", True, 1)]
    publisher.publish("weather", b"", 1, retain=True)
    second = client("r2").start()
    second.subscribe("weather", 1)
    publisher.publish("weather", b"fog", 1)
    until(lambda: second.received)
    assert [(m.payload, m.retain) for m in second.received] == [(b"fog", False)]


@pytest.mark.parametrize("clean", [False, True])
def test_a_will_is_published_when_the_connection_breaks_and_not_after_disconnect(
    client: Any, clean: bool
) -> None:
    watcher = client("watcher").start()
    watcher.subscribe(f"wills/{clean}", 1)
    client("polite", clean=clean).will(f"wills/{clean}", b"polite").start().stop()
    client("dead", clean=clean).will(f"wills/{clean}", b"dead").start().cut()
    until(lambda: watcher.received)
    assert watcher.texts() == ["dead"]


def test_a_client_without_a_name_is_refused(brokers: Brokers) -> None:
    nobody = Client(brokers.ports, "nobody")
    nobody.paho.username_pw_set(None)
    with pytest.raises(AssertionError, match="was not connected"):
        nobody.start(patience_s=1.0)
    nobody.stop()


def test_a_hand_over_ends_all_connections_and_loses_nothing(client: Any, brokers: Brokers) -> None:
    subscriber, publisher = client("s").start(), client("p").start()
    subscriber.subscribe("over", 2)
    brokers.wait_in_sync()
    silent = connected(brokers.ports)  # It has sent nothing yet.
    published = [publisher.paho.publish("over", b"%d" % number, 2).mid for number in range(200)]
    brokers.demote()
    with silent, contextlib.suppress(ConnectionResetError):
        assert silent.recv(1) == b"", "the port is closed, and so is each of its connections"
    until(lambda: publisher.published.issuperset(published))
    until(lambda: len(subscriber.received) == 200)
    assert subscriber.texts() == [str(number) for number in range(200)]
    assert subscriber.present == [False, True]
    brokers.wait_in_sync()
    brokers.demote()
    until(lambda: len(subscriber.present) == 3)


def queues(brokers: Brokers, name: str) -> set[str]:
    status: Any = asyncio.run(brokers.processes[name].status())
    return {queue["name"] for queue in status["queues"]}
