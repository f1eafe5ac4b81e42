"""Clients of the MQTT broker: paho's, each with its own thread, with reconnection over a list of addresses."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from typing import Any

from paho.mqtt.client import Client as PahoClient
from paho.mqtt.client import MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MessageState, MQTTErrorCode

from tests.mqtt.brokers import Brokers, until

RELEASE_AGAIN = MessageState.MQTT_MS_RESEND_PUBREL


class Paho(PahoClient):
    """Paho 2.2 with two repairs.

    An attempt to connect that fails must not undo that a message of QoS 2 was received. And what another thread publishes
    between connection and CONNACK must not be sent before the older messages that are sent again then (MQTT 4.6).
    """

    _greeted = False
    """CONNACK has come: what was under way is sent again first."""

    def reconnect(self) -> MQTTErrorCode:
        self._greeted = False
        return super().reconnect()

    def _handle_connack(self) -> MQTTErrorCode:
        with self._out_message_mutex:  # Reentrant. `publish` waits for it, and then may send.
            self._greeted = True
            return super()._handle_connack()

    def _send_publish(self, *given: Any, **options: Any) -> MQTTErrorCode:
        if not self._greeted:
            return MQTTErrorCode.MQTT_ERR_NO_CONN  # Then paho keeps it, in its order.
        return super()._send_publish(*given, **options)

    def _messages_reconnect_reset_out(self) -> None:
        released = [m for m in self._out_messages.values() if m.state == RELEASE_AGAIN]
        super()._messages_reconnect_reset_out()
        for message in released:
            message.state = RELEASE_AGAIN


class Client:
    """One client. After each attempt, good or bad, it goes on to the next address."""

    def __init__(self, ports: list[int], name: str, *, clean: bool = False) -> None:
        self.name = name
        self.ports = itertools.cycle(ports)
        self.received: list[MQTTMessage] = []
        self.answers: dict[int, list[int]] = {}
        """By packet id, what SUBACK and UNSUBACK said."""
        self.published: set[int] = set()
        """Packet ids of publishes that are answered for good."""
        self.present: list[bool] = []
        """The flag "session present" of each CONNACK."""
        self.connected = threading.Event()
        self.paho = paho = Paho(CallbackAPIVersion.VERSION2, name, clean_session=clean)
        paho.username_pw_set(name or "somebody")
        paho.suppress_exceptions = False
        paho.reconnect_delay_set(0, 0)
        paho.max_inflight_messages_set(50)
        paho.on_connect, paho.on_disconnect = self._connected, self._disconnected
        paho.on_connect_fail = lambda *_: self._next_address()
        paho.on_message = lambda client, userdata, message: self.received.append(message)
        paho.on_subscribe = lambda c, u, mid, codes, p: self.answers.update({mid: [c.value for c in codes]})
        paho.on_unsubscribe = lambda c, u, mid, codes, p: self.answers.update({mid: []})
        paho.on_publish = lambda c, u, mid, *_: self.published.add(mid)

    def will(self, topic: str, text: bytes, qos: int = 1, retain: bool = False) -> Client:
        self.paho.will_set(topic, text, qos, retain)
        return self

    def start(self, keepalive: int = 60, patience_s: float = 60) -> Client:
        self.paho.connect_async("127.0.0.1", next(self.ports), keepalive)
        self.paho.loop_start()
        assert self.connected.wait(patience_s), f"{self.name} was not connected"
        return self

    def _next_address(self) -> None:
        self.paho._port = next(self.ports)  # What paho offers for it is to connect anew, without its state.

    def _connected(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        self.present.append(flags.session_present)
        if not reason.is_failure:
            self.connected.set()

    def _disconnected(self, *_: Any) -> None:
        self.connected.clear()
        self._next_address()

    def subscribe(self, topic_filter: str, qos: int) -> list[int]:
        """Subscribe; returns when SUBACK has come, with what it said."""
        _, mid = self.paho.subscribe(topic_filter, qos)
        return until(lambda: self.answers.get(mid))

    def unsubscribe(self, topic_filter: str) -> None:
        _, mid = self.paho.unsubscribe(topic_filter)
        until(lambda: mid in self.answers)

    def publish(self, topic: str, text: bytes, qos: int, retain: bool = False) -> None:
        """Publish; returns when the broker has answered for good."""
        mid = self.paho.publish(topic, text, qos, retain).mid  # Without a connection, paho sends it later.
        until(lambda: mid in self.published)

    def texts(self, topic: str | None = None) -> list[str]:
        """What has come, of one topic or of all."""
        return [m.payload.decode() for m in list(self.received) if topic in (None, m.topic)]

    def cut(self) -> Client:
        """End the connection without DISCONNECT, and do not come back."""
        self.paho._reconnect_on_failure = False
        if (link := self.paho.socket()) is not None:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
        return self._stopped()

    def stop(self) -> Client:
        """End the connection in order."""
        self.paho.disconnect()
        return self._stopped()

    def _stopped(self) -> Client:
        self.paho.loop_stop()
        if (
            link := self.paho.socket()
        ) is not None:  # Its thread was stopped before it saw the end of the connection.
            link.close()
        return self

    def die_with(self, brokers: Brokers) -> None:
        """Be gone for good together with the primary, which is killed, and started again as a backup."""
        brokers.wait_in_sync()
        self.paho._reconnect_on_failure = False
        process = brokers.kill_primary()
        self.cut()
        process.start()
