"""The defect of paho that docs/mqtt.md describes, and its repair there and in these tests."""

from __future__ import annotations

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
