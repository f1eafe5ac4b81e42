"""A client that stops in the middle of an exchange: it sends and expects single packets."""

from __future__ import annotations

import socket

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = range(1, 8)
SUBSCRIBE, SUBACK = 8, 9


def text(value: str) -> bytes:
    return len(value).to_bytes(2, "big") + value.encode()


class Raw:
    """One connection, of a session that outlives it."""

    def __init__(self, ports: list[int], name: str) -> None:
        self.socket = connected(ports)
        body = text("MQTT") + bytes([4, 0b1000_0000, 0, 60]) + text(name) + text(name)
        self.send(CONNECT, 0, body)
        answer = self.expect(CONNACK)
        assert answer[1] == 0
        self.present = answer[0] == 1

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, kind: int, flags: int, body: bytes) -> None:
        assert len(body) < 128
        self.socket.sendall(bytes([kind << 4 | flags, len(body)]) + body)

    def receive(self) -> tuple[int, int, bytes]:
        """The next packet: kind, flags, body."""
        kind, size = self._exactly(2)
        return kind >> 4, kind & 15, self._exactly(size)

    def expect(self, kind: int) -> bytes:
        found, _, body = self.receive()
        assert found == kind, (found, body)
        return body

    def publish(self, id: int, topic: str, payload: bytes, *, again: bool = False) -> None:
        """Send a PUBLISH of QoS 2."""
        self.send(PUBLISH, 0b0100 | again << 3, text(topic) + id.to_bytes(2, "big") + payload)

    def subscribe(self, topic: str) -> None:
        """Subscribe with QoS 2."""
        self.send(SUBSCRIBE, 2, bytes([0, 9]) + text(topic) + b"\2")
        self.expect(SUBACK)

    def answer(self, kind: int, id: bytes) -> None:
        """Send one of the four short packets of the exchanges."""
        self.send(kind, 2 if kind == PUBREL else 0, id)

    def silent(self) -> bool:
        """Whether nothing comes for a moment."""
        self.socket.settimeout(0.3)
        try:
            return not self.socket.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(20)

    def _exactly(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            part = self.socket.recv(count - len(found))
            if not part:
                raise ConnectionError("the broker has closed the connection")
            found += part
        return found


def connected(ports: list[int]) -> socket.socket:
    """A connection to the one port that is open: that of the primary."""
    from tests.mqtt.brokers import until

    def attempt() -> socket.socket | None:
        for port in ports:
            try:
                return socket.create_connection(("127.0.0.1", port), timeout=20)
            except OSError:
                continue
        return None

    return until(attempt)
