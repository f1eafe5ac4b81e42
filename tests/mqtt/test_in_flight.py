"""Exchanges of QoS 2 that a kill interrupts at each of their steps, and what the next primary restores."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.mqtt.brokers import Brokers, until
from tests.mqtt.clients import Client
from tests.mqtt.raw import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, Raw, text

pytestmark = [pytest.mark.slow, pytest.mark.processes]
ID = bytes([0, 7])


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers]:
    with Brokers(tmp_path_factory.mktemp("mqtt"), 2) as brokers:
        yield brokers.start()


def kill(brokers: Brokers) -> None:
    brokers.wait_in_sync()
    brokers.kill_primary().start()


def test_what_a_publisher_sends_again_is_published_once(brokers: Brokers) -> None:
    """Killed after PUBREC, and after PUBREL and PUBCOMP: then the packet id belongs to a new message."""
    watcher = Client(brokers.ports, "w1").start()
    watcher.subscribe("in", 2)
    with Raw(brokers.ports, "raw1") as publisher:
        publisher.publish(7, "in", b"first")
        assert publisher.expect(PUBREC) == ID
        kill(brokers)
    with Raw(brokers.ports, "raw1") as publisher:
        assert publisher.present
        publisher.publish(7, "in", b"first", again=True)
        assert publisher.expect(PUBREC) == ID
        publisher.answer(PUBREL, ID)
        assert publisher.expect(PUBCOMP) == ID
        publisher.answer(PUBREL, ID)
        assert publisher.expect(PUBCOMP) == ID, "an answer also for one that is not known any more"
        kill(brokers)
    with Raw(brokers.ports, "raw1") as publisher:
        publisher.publish(7, "in", b"second")
        assert publisher.expect(PUBREC) == ID
    until(lambda: "second" in watcher.texts())
    assert watcher.texts() == ["first", "second"]
    watcher.stop()


def test_a_packet_id_that_waits_for_pubrel_hides_no_message_of_qos_1(brokers: Brokers) -> None:
    """A publisher that has lost its memory, and not its session, counts from the beginning."""
    watcher = Client(brokers.ports, "w5").start()
    watcher.subscribe("lost", 1)
    with Raw(brokers.ports, "raw5") as publisher:
        publisher.publish(7, "lost", b"of QoS 2")
        assert publisher.expect(PUBREC) == ID
    with Raw(brokers.ports, "raw5") as publisher:
        publisher.send(PUBLISH, 0b0010, text("lost") + ID + b"of QoS 1")
        assert publisher.expect(PUBACK) == ID
    until(lambda: "of QoS 1" in watcher.texts())
    watcher.stop()


def test_what_a_subscriber_has_received_is_not_sent_again(brokers: Brokers) -> None:
    """Killed before PUBREC: the message comes again, under its packet id. Killed after it: only PUBREL comes."""
    publisher = Client(brokers.ports, "p2").start()
    with Raw(brokers.ports, "raw2") as subscriber:
        subscriber.subscribe("out")
        publisher.publish("out", b"message", 2)
        kind, flags, body = subscriber.receive()
        assert (kind, flags) == (PUBLISH, 0b0100)
        id = body[5:7]
        kill(brokers)
    with Raw(brokers.ports, "raw2") as subscriber:
        kind, flags, body = subscriber.receive()
        assert (kind, flags, body) == (PUBLISH, 0b1100, b"\0\3out" + id + b"message"), (
            "its packet id, and DUP"
        )
        subscriber.answer(PUBREC, id)
        assert subscriber.expect(PUBREL) == id
        kill(brokers)
    with Raw(brokers.ports, "raw2") as subscriber:
        assert subscriber.expect(PUBREL) == id
        subscriber.answer(PUBCOMP, id)
        assert subscriber.silent()
        publisher.publish("out", b"another", 2)
        body = subscriber.expect(PUBLISH)
        assert body[7:] == b"another" and body[5:7] != id
    publisher.stop()


def test_what_is_not_safe_is_not_delivered(brokers: Brokers) -> None:
    """A subscriber that acknowledges makes room for the next message, which the stopped backup does not have yet."""
    publisher = Client(brokers.ports, "p4").start()
    brokers.wait_in_sync()
    primary = until(brokers.primary)
    (backup,) = (process for name, process in brokers.processes.items() if name != primary)
    with Raw(brokers.ports, "raw4") as subscriber:
        subscriber.subscribe("safe")
        publisher.publish("safe", b"one", 2)
        id = subscriber.expect(PUBLISH)[6:8]
        subscriber.answer(PUBREC, id)
        assert subscriber.expect(PUBREL) == id
        backup._signal(signal.SIGSTOP)
        try:
            publisher.paho.publish("safe", b"two", 2)
            time.sleep(0.3)  # It is in the queue of the primary.
            subscriber.answer(PUBCOMP, id)
            assert subscriber.silent()
        finally:
            backup._signal(signal.SIGCONT)
        assert subscriber.expect(PUBLISH)[8:] == b"two"
    publisher.stop()


def test_subscriptions_retained_messages_and_sessions_are_the_same_after_a_kill(brokers: Brokers) -> None:
    first = Client(brokers.ports, "c1").start()
    first.subscribe("x/#", 2)
    first.subscribe("y/+", 1)
    first.subscribe("gone", 1)
    first.unsubscribe("gone")
    first.publish("kept/1", b"one", 1, retain=True)
    first.publish("kept/2", b"two", 2, retain=True)
    first.publish("kept/1", b"", 1, retain=True)
    kill(brokers)
    until(lambda: first.present == [False, True])
    for topic in ("x/1/2", "y/1", "gone", "x/end"):
        first.publish(topic, topic.encode(), 1)
    until(lambda: "x/end" in first.texts())
    assert [(m.topic, m.qos) for m in first.received] == [("x/1/2", 2), ("y/1", 1), ("x/end", 2)]
    second = Client(brokers.ports, "c2").start()
    second.subscribe("kept/#", 2)
    until(lambda: second.received)
    assert [(m.topic, m.payload, m.qos, m.retain) for m in second.received] == [("kept/2", b"two", 2, True)]
    first.stop()
    second.stop()


def test_the_will_of_a_client_that_comes_back_is_not_published(brokers: Brokers) -> None:
    watcher = Client(brokers.ports, "w3").start()
    watcher.subscribe("wills", 2)
    back = Client(brokers.ports, "back", clean=True).will("wills", b"back").start(keepalive=1)
    gone = Client(brokers.ports, "gone", clean=True).will("wills", b"gone", retain=True).start(keepalive=1)
    gone.die_with(brokers)
    until(lambda: watcher.texts("wills"))
    until(lambda: len(back.present) == 2)
    back.publish("wills", b"end", 1)
    until(lambda: "end" in watcher.texts("wills"))
    assert watcher.texts("wills") == ["gone", "end"]
    late: Any = Client(brokers.ports, "late").start()
    late.subscribe("wills", 1)
    until(lambda: late.texts("wills"))
    assert set(late.texts("wills")) == {"gone"}
    for client in (watcher, back, late):
        client.stop()
