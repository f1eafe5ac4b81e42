"""Settings of amqtt and of the cluster that change what a session or an answer means; and errors of the operator."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from qpidha.demo.cluster import STOP_TIMEOUT_S
from tests.mqtt.brokers import BROKER, Brokers, until
from tests.mqtt.clients import Client

pytestmark = [pytest.mark.slow, pytest.mark.processes]


def test_amqtts_own_configuration_is_used_and_an_expired_session_is_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "amqtt.yaml"
    file.write_text(
        "session_expiry_interval: 1\n"
        "plugins:\n  amqtt.plugins.authentication.AnonymousAuthPlugin:\n    allow_anonymous: false\n"
    )
    with Brokers(tmp_path, 1, "--amqtt", str(file)) as brokers:
        brokers.start()
        Client(brokers.ports, "short").start().stop()
        assert "mqtt/session/short" in queues(brokers)
        until(lambda: "mqtt/session/short" not in queues(brokers))


def test_what_cannot_be_made_safe_is_not_answered(tmp_path: Path) -> None:
    """With two nodes required and one there, the connection of a publisher ends, again and again, until both are."""
    with Brokers(tmp_path, 2, settings="min_in_sync = 2\nack_timeout_s = 1.0") as brokers:
        brokers.start()
        subscriber, publisher = (Client(brokers.ports, name).start() for name in ("s", "p"))
        subscriber.subscribe("t", 2)
        primary = until(brokers.primary)
        (backup,) = (process for name, process in brokers.processes.items() if name != primary)
        backup.kill()
        backup.wait(STOP_TIMEOUT_S)
        connections, mids = len(publisher.present), set[int]()
        while publisher.connected.is_set() and len(publisher.present) == connections:
            mids.add(publisher.paho.publish("t", b"%d" % len(mids), 2).mid)
            time.sleep(0.05)
            assert len(mids) < 500
        assert not publisher.published and not subscriber.received
        backup.start()
        until(lambda: publisher.published >= mids)
        until(lambda: len(subscriber.received) == len(mids))
        assert subscriber.texts() == [str(number) for number in range(len(mids))]
        for client in (subscriber, publisher):
            client.stop()


@pytest.mark.parametrize(
    ("yaml", "client", "says"),
    [
        (None, None, "nodes.a has no client_address"),
        ("a: [", "127.0.0.1:1883", "while parsing"),
        ("no_such_key: 1", "127.0.0.1:1883", "no_such_key"),
    ],
)
def test_an_error_of_the_operator_is_named_without_a_traceback(
    tmp_path: Path, yaml: str | None, client: str | None, says: str
) -> None:
    file, options = tmp_path / "qpidha.toml", list[str]()
    lines = ['cluster = "mqtt"', "[record]", 'url = "record"', "[nodes.a]", 'addresses = ["127.0.0.1:1"]']
    lines += ['store = "a"', *([f'client_address = "{client}"'] if client else [])]
    file.write_text("\n".join(lines) + "\n")
    if yaml is not None:
        (tmp_path / "amqtt.yaml").write_text(yaml)
        options = ["--amqtt", str(tmp_path / "amqtt.yaml")]
    command = [sys.executable, str(BROKER), "--id", "a", "--cluster", str(file), *options]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("mqtt: ") and says in ended.stderr
    assert "Traceback" not in ended.stderr


def queues(brokers: Brokers) -> set[str]:
    status: Any = asyncio.run(brokers.processes["a"].status())
    return {queue["name"] for queue in status["queues"]}
