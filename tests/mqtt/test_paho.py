"""The defects of paho that docs/mqtt.md describes, and their repair there and in these tests."""

from __future__ import annotations

import socket

import pytest
from paho.mqtt.client import Client as PahoClient
from paho.mqtt.client import MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MessageState

from tests.mqtt.clients import Paho


@pytest.mark.parametrize(
    ("made", "then"),
    [(PahoClient, MessageState.MQTT_MS_PUBLISH), (Paho, MessageState.MQTT_MS_RESEND_PUBREL)],
)
def test_after_two_attempts_to_connect_a_message_that_was_received_is(
    made: type[PahoClient], then: MessageState
) -> None:
    """If paho does not publish it again any more, remove the repair here and in the page."""
    client = made(CallbackAPIVersion.VERSION2, "c", clean_session=False)
    message = MQTTMessage(1, b"t")
    message.qos, message.state = 2, MessageState.MQTT_MS_WAIT_FOR_PUBCOMP
    client._out_messages[1] = message
    for _ in range(2):  # As each attempt to connect begins.
        client._messages_reconnect_reset_out()
    assert message.state == then


@pytest.mark.network
@pytest.mark.parametrize(("made", "first"), [(PahoClient, b"new"), (Paho, b"old")])
def test_what_is_published_before_connack_is_sent(made: type[PahoClient], first: bytes) -> None:
    """If paho sends the older message first by itself, remove the repair here and in the page."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = made(CallbackAPIVersion.VERSION2, "c", clean_session=False)
        client.publish("t", b"old", 1)
        client.connect_async("127.0.0.1", server.getsockname()[1])
        client.loop_start()
        link, _ = server.accept()
        with link:
            received = link.recv(1000)
            assert received[0] == 0x10, "CONNECT"
            client.publish("t", b"new", 1)
            link.sendall(b"\x20\x02\x00\x00")  # CONNACK
            while b"old" not in received or b"new" not in received:
                received += link.recv(1000)
            assert min((b"old", b"new"), key=received.index) == first
            client.disconnect()
        client.loop_stop()
        if (left := client.socket()) is not None:
            left.close()
