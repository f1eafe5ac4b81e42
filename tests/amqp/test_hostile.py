"""Clients that send what no client should. They are told what is wrong; the broker and the other clients go on."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest
from amqp_broker.codec import NULL, described, symbol
from proton import UNDESCRIBED, Array, Data, Described, char, ulong

from tests.amqp.brokers import Brokers, Refusal, until
from tests.amqp.raw import (
    ATTACH,
    BEGIN,
    CLOSE,
    DETACH,
    DISPOSITION,
    FLOW,
    OPEN,
    TRANSFER,
    Raw,
    begun,
    binary,
    boolean,
    consumes,
    flow,
    frame,
    listed,
    mapped,
    opened,
    publishes,
    source,
    target,
    text,
    transfer,
    uint,
)

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]
BODY = described(0x77, NULL)
QUEUE = text("q")
TRANSACTIONAL = 0x34


@pytest.fixture(scope="module")
def module_brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers]:
    with Brokers(tmp_path_factory.mktemp("amqp"), 1, memory=True) as brokers:
        brokers.start()
        brokers.manage("CREATE", "queue", "q")
        yield brokers


@pytest.fixture
def brokers(module_brokers: Brokers) -> Iterator[Brokers]:
    """After each test: other clients are served, and nothing of Python's is in the log."""
    yield module_brokers
    assert module_brokers.manage("READ", "queue", "q")["name"] == "q"
    log = next(iter(module_brokers.processes.values())).log.read_text()
    assert "Traceback" not in log, log


@pytest.fixture
def client(brokers: Brokers) -> Iterator[Raw]:
    with Raw(brokers.addresses[0]) as client:
        client.send(opened(), begun())
        client.until(BEGIN)
        yield client


def filtered(filters: bytes, exchange: str = "amq.match") -> bytes:
    return consumes(source(text(exchange), NULL, NULL, NULL, NULL, NULL, NULL, filters))


def headers_filter(value: bytes) -> bytes:
    return filtered(mapped(symbol("x"), b"\0" + symbol("apache.org:legacy-amqp-headers-binding:map") + value))


def nested(depth: int) -> bytes:
    value = NULL
    for _ in range(depth):
        value = listed(value)
    return value


def bomb(levels: int = 32) -> bytes:
    """Lists that overlap: in each, three of its four values are in the next ones too."""
    return b"\xd0\0\0\0\x04\0\0\0\x04" * levels + NULL * 4 * levels


@pytest.mark.parametrize(
    ("attach", "condition"),
    [
        (consumes(source(text(b"\xff\xfe"))), "amqp:decode-error"),
        (publishes(text(b"\xff\xfe")), "amqp:decode-error"),
        (consumes(source(text(""))), "amqp:invalid-field"),
        (consumes(source(text("x" * 60_000))), "amqp:not-found"),
        (consumes(source(text("$management"))), "amqp:not-found"),
        (filtered(listed(uint(1))), "amqp:invalid-field"),
        (filtered(uint(1)), "amqp:invalid-field"),
        (headers_filter(uint(7)), "amqp:invalid-field"),
        (headers_filter(mapped(text("k"), binary(b"\xff"))), "amqp:invalid-field"),
        (
            filtered(mapped(symbol("legacy-amqp-topic-binding"), text("a." * 200)), "amq.topic"),
            "amqp:invalid-field",
        ),
    ],
    ids=range(10),
)
def test_a_link_that_cannot_be(client: Raw, attach: bytes, condition: str) -> None:
    client.send(attach)
    assert client.error() == condition


def test_properties_of_a_link_may_be_anything(client: Raw) -> None:
    rest = (source(QUEUE), target(NULL), NULL, NULL, NULL, NULL, NULL, NULL)
    client.send(frame(ATTACH, text("c"), uint(1), boolean(True), NULL, NULL, *rest, listed(uint(1))))
    client.send(frame(DETACH, uint(1), boolean(True)))
    client.until(DETACH)
    client.send(
        frame(ATTACH, text("c"), uint(1), boolean(True), NULL, NULL, *rest, mapped(symbol("a"), nested(3000)))
    )
    assert client.error() == "amqp:decode-error"


@pytest.mark.parametrize(
    "header",
    [
        (NULL, NULL, b"\x82" + struct.pack(">d", float("inf"))),
        (NULL, NULL, uint(1), NULL, b"\x80" + b"\xff" * 8),
        (NULL, NULL, NULL, NULL, b"\x81" + b"\xff" * 8),
        (NULL, text("x")),
        (NULL, uint(300)),
        (listed(), listed(), listed()),
    ],
    ids=range(6),
)
def test_a_message_that_could_not_be_delivered_is_rejected(
    brokers: Brokers, client: Raw, header: tuple[bytes]
) -> None:
    """It would break the connection of every consumer that it is delivered to."""
    client.send(publishes(QUEUE))
    client.until(FLOW)
    client.send(transfer(0, described(0x70, listed(*header)) + BODY))
    assert client.error() == "amqp:decode-error"
    assert brokers.manage("READ", "queue", "q")["messages"] == 0


@pytest.mark.parametrize(
    "message",
    [
        described(0x70, bomb()) + BODY,
        described(0x72, mapped(symbol("a"), NULL)) + described(0x70, listed(NULL)) + BODY,
        described(0x73, listed(*[NULL] * 8, b"\x82" + struct.pack(">d", float("inf")))) + BODY,
        described(0x74, mapped(text("a"), binary(b"x" * 300_000))) + BODY,
        described(0x70, nested(40)) + BODY,
    ],
    ids=range(5),
)
def test_a_message_that_cannot_be_read_is_rejected(client: Raw, message: bytes) -> None:
    client.send(publishes(QUEUE))
    client.until(FLOW)
    for at in range(0, len(message), 60_000):
        more = boolean(at + 60_000 < len(message))
        client.send(transfer(0, message[at : at + 60_000], boolean(False), more))
    assert client.error() == "amqp:decode-error"


def test_the_largest_delivery_count_stays_when_a_delivery_fails(brokers: Brokers, client: Raw) -> None:
    client.send(publishes(QUEUE))
    client.until(FLOW)
    client.send(transfer(0, described(0x70, listed(NULL, NULL, NULL, NULL, uint(2**32 - 1))) + BODY))
    client.until(DISPOSITION)
    client.send(consumes(source(QUEUE)), flow(1))
    failed = described(0x27, listed(boolean(True)))
    client.send(frame(DISPOSITION, boolean(True), uint(0), uint(0), boolean(True), failed))
    client.send(frame(DETACH, uint(1), boolean(True)))
    client.until(DETACH)
    assert len(brokers.drained("q")) == 1


def test_a_subject_of_any_length(client: Raw) -> None:
    """It is looked for among the bindings in time that does not grow with the square of its length."""
    client.send(publishes(text("amq.topic")))
    client.until(FLOW)
    properties = described(0x73, listed(NULL, NULL, NULL, text("a." * 20_000)))
    client.send(transfer(0, properties + BODY))
    assert client.error() == "amqp:invalid-field"


def test_a_filter_with_numbers_as_names_breaks_no_publisher(client: Raw) -> None:
    client.send(headers_filter(mapped(uint(3), uint(4))), publishes(text("amq.match")))
    client.until(FLOW)
    client.send(transfer(0, BODY))
    assert client.error() == "amqp:not-found"


HALF = b"\x73\0\0\xd8\0"
"""A char that is half of a surrogate pair: no text in UTF-8 has it."""
HUGE = b"\x80" + b"\xff" * 8


@pytest.mark.parametrize(
    "attach",
    [
        filtered(mapped(symbol("legacy-amqp-topic-binding"), HALF), "amq.topic"),
        headers_filter(mapped(text("k"), HALF)),
        headers_filter(mapped(HALF, text("v"))),
        headers_filter(mapped(text("k"), listed(uint(1), listed(HALF)))),
        headers_filter(mapped(text("k"), HUGE)),
        headers_filter(mapped(text("k"), listed(mapped(text("k"), HUGE)))),
        headers_filter(mapped(text("k"), nested(40))),
        headers_filter(mapped(text("k"), nested(480))),
    ],
    ids=range(8),
)
def test_a_filter_that_no_client_could_be_told_of_is_refused(
    brokers: Brokers, client: Raw, attach: bytes
) -> None:
    client.send(attach)
    assert client.error() == "amqp:invalid-field"
    brokers.manage("QUERY", "binding")


@pytest.mark.parametrize(
    ("operation", "type", "name", "attributes"),
    [
        ("CREATE", "binding", "x", {"exchange": "amq.topic", "queue": "q", "key": char("\ud800")}),
        (
            "CREATE",
            "binding",
            "x",
            {"exchange": "amq.match", "queue": "q", "arguments": {"a": [char("\ud800")]}},
        ),
        ("CREATE", "binding", "x", {"exchange": "amq.match", "queue": "q", "arguments": {char("\ud800"): 1}}),
        ("CREATE", "binding", "x", {"exchange": "amq.match", "queue": "q", "arguments": {"a": ulong(2**63)}}),
        ("CREATE", "link", "x", {"address": "127.0.0.1:1", "source": char("\ud800"), "target": "q"}),
        ("CREATE", "queue", char("\ud800"), {}),
        ("CREATE", "queue", "x", {char("\ud800"): 1}),
        ("CREATE", "queue", "x", {"qpid.group": [{"a": Described("b", char("\ud800"))}]}),
        ("CREATE", "queue", "x", {"qpid.group": Array(UNDESCRIBED, Data.CHAR, char("\ud800"))}),
        ("CREATE", "queue", "x", {"qpid.last_value_queue_key": char("\ud800")}),
        ("CREATE", "exchange", "x", {"alternate-exchange": char("\ud800")}),
        ("DELETE", "queue", char("\ud800"), {}),
        ("READ", char("\ud800"), "q", {}),
        (char("\ud800"), "queue", "q", {}),
        ("QUERY", "queue", "", {"attributeNames": [char("\ud800")]}),
    ],
    ids=range(15),
)
def test_a_request_that_no_client_could_be_told_of_is_refused(
    brokers: Brokers, operation: str, type: str, name: str, attributes: dict[str, Any]
) -> None:
    """Else each query of any client would fail, also after a restart."""
    with pytest.raises(Refusal) as caught:
        brokers.manage(operation, type, name, **attributes)
    assert caught.value.args[0] == 400
    for kind in ("queue", "exchange", "binding", "link"):
        brokers.manage("QUERY", kind)


@pytest.mark.parametrize("host", ["a..b", "x" * 70, "a\0b"], ids=range(3))
def test_a_link_goes_past_a_host_that_cannot_be_looked_up(brokers: Brokers, host: str) -> None:
    address = f"{host}:1,{':'.join(map(str, brokers.addresses[0]))}"
    for queue in ("from", "to"):
        brokers.manage("CREATE", "queue", queue)
    brokers.manage("CREATE", "link", "x", address=address, source="from", target="to")
    with Raw(brokers.addresses[0]) as client:
        client.send(opened(), begun(), publishes(text("from")))
        client.until(FLOW)
        client.send(transfer(0, BODY))
        client.until(DISPOSITION)
    until(lambda: brokers.manage("READ", "queue", "to")["messages"] == 1, 10)
    brokers.manage("DELETE", "link", "x")
    for queue in ("from", "to"):
        brokers.manage("DELETE", "queue", queue)


def test_the_largest_number_in_a_binding_can_be_queried(brokers: Brokers) -> None:
    arguments = {"a": 2**63 - 1, "b": -(2**63), "c": [char("x"), "ä\U0001f600"]}
    brokers.manage(
        "CREATE", "binding", "x", exchange="amq.match", queue="q", key="largest", arguments=arguments
    )
    found = brokers.manage("QUERY", "binding", attributeNames=["key", "arguments"])["results"]
    assert ["largest", arguments] in found


@pytest.mark.parametrize(
    "state", [uint(4), listed(text("x")), mapped(uint(4), uint(5)), listed()], ids=range(4)
)
def test_states_of_transactions_that_are_none(client: Raw, state: bytes) -> None:
    client.send(publishes(QUEUE))
    client.until(FLOW)
    client.send(transfer(0, BODY, NULL, NULL, NULL, described(TRANSACTIONAL, state)))
    assert client.error() == "amqp:transaction:unknown-id"


def test_many_temporary_queues_end_with_their_connection(brokers: Brokers, client: Raw) -> None:
    dynamic = source(NULL, NULL, NULL, NULL, boolean(True))
    client.send(*[consumes(dynamic, n, f"d{n}") for n in range(1001)])
    assert client.error() == "amqp:resource-limit-exceeded"
    client.socket.close()
    until(lambda: len(brokers.manage("QUERY", "queue", attributeNames=["name"])["results"]) < 5)


@pytest.mark.parametrize("name", ["always the same", "n{}"])
def test_links_that_come_and_go_take_no_memory(brokers: Brokers, client: Raw, name: str) -> None:
    """Proton keeps a link that is closed, until it is freed."""

    def come_and_go(first: int) -> None:
        for n in range(first, first + 400):
            client.send(
                publishes(QUEUE, name=name.format(n) + "x" * 10_000), frame(DETACH, uint(0), boolean(True))
            )
            client.until(DETACH)

    come_and_go(0)
    before = memory(brokers)
    come_and_go(400)
    assert memory(brokers) < before + 2 * 1024


def memory(brokers: Brokers) -> int:
    """In KiB, of the broker's process."""
    process = next(iter(brokers.processes.values()))._process
    assert process is not None
    with open(f"/proc/{process.pid}/status") as status:
        return int(next(line for line in status if line.startswith("VmRSS")).split()[1])


def test_messages_that_never_end_take_bounded_memory(client: Raw) -> None:
    client.send(*[publishes(QUEUE, handle, f"p{handle}") for handle in range(20)])
    client.until(FLOW)
    part = bytes(60_000)
    for _ in range(57):
        for handle in range(20):
            client.send(transfer(handle, part, boolean(False), boolean(True), handle=handle))
    assert client.error() == "amqp:resource-limit-exceeded"


def test_sessions_that_take_nothing_take_bounded_memory(brokers: Brokers, client: Raw) -> None:
    """Each of them takes one frame. The rest of the queue is for others."""
    brokers.manage("CREATE", "queue", "large")
    queue, part, count = text("large"), described(0x75, binary(bytes(60_000))), 720
    client.send(publishes(queue))
    client.until(FLOW)
    client.send(*[transfer(n, part, boolean(True)) for n in range(count)])
    until(lambda: brokers.manage("READ", "queue", "large")["messages"] == count)
    for channel in range(1, 41):
        client.send(begun(channel, window=1), consumes(source(queue), channel=channel))
        client.send(flow(1000, channel=channel, window=1))
        client.until(ATTACH)
    with Raw(brokers.addresses[0]) as other:
        other.send(opened(), begun(), consumes(source(queue)), flow(1000))
        for _ in range(count // 2):
            other.until(TRANSFER)
    brokers.manage("DELETE", "queue", "large")


def test_what_comes_after_a_refusal_is_ignored(brokers: Brokers, client: Raw) -> None:
    client.send(publishes(QUEUE), publishes(text(b"\xff"), 1, "bad"))
    client.until(CLOSE)
    client.send(transfer(0, BODY))
    assert brokers.manage("READ", "queue", "q")["messages"] == 0


def test_sasl_that_is_none(brokers: Brokers) -> None:
    for body in (bomb(30), described(0x41, mapped(NULL, NULL)), nested(30), b""):
        with Raw(brokers.addresses[0]) as client:
            client.send(b"AMQP\x03\x01\0\0", struct.pack(">IBBH", 8 + len(body), 2, 1, 0) + body)
            with pytest.raises((EOFError, ConnectionError)):
                while True:
                    client.receive()


def test_an_idle_time_out_of_one_millisecond(brokers: Brokers) -> None:
    with Raw(brokers.addresses[0]) as client:
        client.send(opened(idle=uint(1)), begun())
        client.until(OPEN)
        time.sleep(0.3)
        client.send(frame(CLOSE))
        client.until(CLOSE)
