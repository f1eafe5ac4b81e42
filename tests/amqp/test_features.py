"""What the broker of one node does for its clients: exchanges, queue types, settlements, transactions, management."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from proton import Delivery, Link, Message, symbol
from proton.reactor import Copy, Filter, LinkOption
from proton.utils import BlockingConnection, LinkDetached, SendException

from tests.amqp.brokers import Brokers, Refusal, manage, until

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers]:
    with Brokers(tmp_path_factory.mktemp("amqp"), 1, "--replicate", "private.*=none", memory=True) as brokers:
        brokers.start()
        yield brokers


class Session:
    """One connection with what tests say most."""

    def __init__(self, connection: BlockingConnection) -> None:
        self.connection = connection

    def manage(self, operation: str, entity: str, name: str = "", /, **attributes: Any) -> Any:
        return manage(
            self.connection,
            operation,
            entity,
            name,
            {key.replace("__", "."): v for key, v in attributes.items()},
        )

    def queue(self, name: str, **attributes: Any) -> None:
        self.manage("CREATE", "queue", name, **attributes)

    def bind(self, exchange: str, queue: str, key: str = "", **arguments: Any) -> None:
        names = {
            name.replace("_", "-", 1) if name.startswith("x_") else name: v for name, v in arguments.items()
        }
        self.manage("CREATE", "binding", exchange=exchange, queue=queue, key=key, arguments=names)

    def put(self, address: str, *messages: Any) -> None:
        sender = self.connection.create_sender(address)
        try:
            for each in messages:
                sender.send(each if isinstance(each, Message) else Message(body=each))
        finally:
            sender.close()

    def got(self, queue: str) -> list[Any]:
        """The bodies of all messages of a queue, which stay."""
        return [message.body for message in self.browsed(queue)]

    def browsed(self, queue: str) -> list[Message]:
        count = self.manage("READ", "queue", queue)["messages"]
        receiver = self.connection.create_receiver(queue, credit=count or 1, options=Copy())
        found = [receiver.receive(timeout=10) for _ in range(count)]
        receiver.close()
        return found

    def settle(self, queue: str, outcome: int, **remote: bool) -> Message:
        """Take one message, and say this of it."""
        receiver = self.connection.create_receiver(queue, credit=1)
        message = receiver.receive(timeout=10)
        delivery = receiver.fetcher.unsettled.popleft()
        for name, value in remote.items():
            setattr(delivery.local, name, value)
        delivery.update(outcome)
        delivery.settle()
        receiver.close()
        return message


@pytest.fixture
def session(brokers: Brokers) -> Iterator[Session]:
    connection = brokers.connect()
    yield Session(connection)
    connection.close()


# --- exchanges ------------------------------------------------------------------------------------


def test_direct_topic_fanout_and_headers(session: Session) -> None:
    for name in ("d1", "t1", "t2", "f1", "h1"):
        session.queue(name)
    session.bind("amq.direct", "d1", "red")
    session.bind("amq.topic", "t1", "news.*")
    session.bind("amq.topic", "t2", "news.#")
    session.bind("amq.fanout", "f1")
    session.bind("amq.match", "h1", x_match="all", colour="red")
    session.put("amq.direct", Message(body=1, subject="red"))
    session.put("amq.topic", Message(body=2, subject="news.uk"), Message(body=3, subject="news.uk.weather"))
    session.put("amq.topic/news.fr", 4)
    session.put("amq.fanout", 5)
    session.put("amq.match", Message(body=6, properties={"colour": "red"}))
    session.put(None, Message(body=7, address="d1"), Message(body=8, address="amq.topic/news"))
    assert session.got("d1") == [1, 7]
    assert session.got("t1") == [2, 4]
    assert session.got("t2") == [2, 3, 4, 8]
    assert session.got("f1") == [5]
    assert session.got("h1") == [6]


def test_the_subject_of_an_address_is_for_messages_that_have_none(session: Session) -> None:
    for name in ("sport", "music"):
        session.queue(name)
        session.bind("amq.topic", name, name)
    session.put("amq.topic/sport", 1, Message(body=2, subject="music"))
    session.put(None, Message(body=3, address="amq.topic/sport"))
    session.put(None, Message(body=4, address="amq.topic/sport", subject="music"))
    assert session.got("sport") == [1, 3]
    assert session.got("music") == [2, 4]


def test_what_no_queue_takes_is_rejected_or_goes_to_the_alternate_exchange(session: Session) -> None:
    session.queue("lost")
    session.manage("CREATE", "exchange", "rest", type="fanout")
    session.manage("CREATE", "exchange", "main", **{"type": "direct", "alternate-exchange": "rest"})
    with pytest.raises(SendException):
        session.put("main", Message(body=1, subject="x"))
    session.bind("rest", "lost")
    session.put("main", Message(body=2, subject="x"))
    assert session.got("lost") == [2]
    with pytest.raises(Refusal, match="alternate exchange of main"):
        session.manage("DELETE", "exchange", "rest")
    with pytest.raises(LinkDetached):
        session.put("nowhere", 1)


def test_a_subscription_to_an_exchange_has_a_queue_of_its_own(brokers: Brokers, session: Session) -> None:
    other = Session(brokers.connect())
    everything = other.connection.create_receiver("amq.topic", credit=10, name="all")
    wanted = Filter({symbol("subject"): "sport.#"})
    wanted.filter_set = {symbol("legacy-amqp-topic-binding"): "sport.#"}
    some = other.connection.create_receiver("amq.topic", credit=10, name="some", options=wanted)
    session.put("amq.topic", Message(body=1, subject="music"), Message(body=2, subject="sport.golf"))
    assert [everything.receive(timeout=10).body for _ in range(2)] == [1, 2]
    assert some.receive(timeout=10).body == 2
    assert len(temporary(session)) == 3
    other.connection.close()
    until(lambda: len(temporary(session)) == 1 or None)


def queues(session: Session) -> list[str]:
    answer = session.manage("QUERY", "queue", attributeNames=["name"])
    return [name for (name,) in answer["results"]]


def temporary(session: Session) -> list[str]:
    """The temporary queues; the one for this answer is among them."""
    return [name for name in queues(session) if name.startswith("temporary.")]


# --- queues ---------------------------------------------------------------------------------------


def test_priority_ring_and_last_value(session: Session) -> None:
    session.queue("urgent", kind="priority")
    session.put("urgent", Message(body=1, priority=1), Message(body=2, priority=9), Message(body=3))
    assert session.got("urgent") == [2, 3, 1]
    session.queue("ring", kind="ring", qpid__max_count=2)
    session.put("ring", 1, 2, 3)
    assert session.got("ring") == [2, 3]
    session.queue("state", kind="last-value")
    for body, key in ((1, "lamp"), (2, "door"), (3, "lamp")):
        session.put("state", Message(body=body, properties={"qpid.LVQ_key": key}))
    assert session.got("state") == [2, 3]


def test_a_full_queue_refuses(session: Session) -> None:
    session.queue("small", qpid__max_count=1)
    session.put("small", 1)
    with pytest.raises(SendException):
        session.put("small", 2)
    assert session.got("small") == [1]


def test_messages_expire_into_the_queue_for_dead_letters(session: Session) -> None:
    session.queue("dead", qpid__expires=False)
    session.queue("brief", qpid__dead_letters="dead")
    session.put("brief", Message(body=1, ttl=0.05), 2)
    until(lambda: session.got("dead") == [1] or None)
    assert session.got("brief") == [2]
    with pytest.raises(Refusal, match="dead letters"):
        session.manage("DELETE", "queue", "dead")


def test_failed_deliveries_are_counted_up_to_the_limit(session: Session) -> None:
    session.queue("failed", qpid__expires=False)
    session.queue("tried", qpid__delivery_limit=3, qpid__dead_letters="failed")
    session.put("tried", Message(body=1, durable=True))
    session.settle("tried", Delivery.RELEASED)
    counts = [session.settle("tried", Delivery.MODIFIED, failed=True).delivery_count for _ in range(3)]
    assert counts == [0, 1, 2]
    until(lambda: session.got("failed") == [1] or None)
    assert session.got("tried") == []


def test_a_rejected_message_is_a_dead_letter_an_accepted_one_is_gone(session: Session) -> None:
    session.queue("refused")
    session.queue("judged", qpid__dead_letters="refused")
    session.put("judged", 1, 2)
    session.settle("judged", Delivery.REJECTED)
    session.settle("judged", Delivery.ACCEPTED)
    until(lambda: (session.got("refused") == [1] and session.got("judged") == []) or None)


def test_messages_of_a_consumer_that_is_lost_come_again(brokers: Brokers, session: Session) -> None:
    session.queue("again")
    session.put("again", 1, 2)
    other = Session(brokers.connect())
    assert other.connection.create_receiver("again", credit=1).receive(timeout=10).body == 1
    other.connection.close()
    receiver = session.connection.create_receiver("again", credit=2)
    assert {receiver.receive(timeout=10).body for _ in range(2)} == {1, 2}


def test_a_temporary_queue_belongs_to_its_connection(brokers: Brokers, session: Session) -> None:
    other = Session(brokers.connect())
    receiver = other.connection.create_receiver(None, dynamic=True)
    name = receiver.remote_source.address
    with pytest.raises(LinkDetached):
        session.connection.create_receiver(name)
    session.put(name, "for you")
    assert receiver.receive(timeout=10).body == "for you"
    other.connection.close()
    with pytest.raises(Refusal):
        until(lambda: session.manage("READ", "queue", name) and None, 10)


@pytest.mark.parametrize("attribute", ["exclusive", "auto-delete"])
def test_a_temporary_queue_with_a_name_belongs_to_the_connection_that_created_it(
    brokers: Brokers, session: Session, attribute: str
) -> None:
    other = Session(brokers.connect())
    name = f"named {attribute}"
    other.queue(name, **{attribute: True})
    with pytest.raises(LinkDetached):
        session.connection.create_receiver(name)
    with pytest.raises(Refusal, match="another connection"):
        session.queue(name, **{attribute: True})
    session.put(name, 1, 2)
    for body in (1, 2):  # The queue outlives the first link that consumes from it.
        assert other.settle(name, Delivery.ACCEPTED).body == body
    other.connection.close()
    until(lambda: name not in queues(session))


def test_consumers_and_browsers_of_a_deleted_queue_are_told(brokers: Brokers, session: Session) -> None:
    """Also one that has not settled all, and goes on to settle. Its connection stays."""
    session.queue("doomed")
    session.put("doomed", 1, 2, 3)
    other = Session(brokers.connect())
    consumer = other.connection.create_receiver("doomed", credit=2)
    browser = other.connection.create_receiver("doomed", credit=10, name="browser", options=Copy())
    assert [consumer.receive(timeout=10).body for _ in range(2)] == [1, 2]
    consumer.accept()
    session.manage("DELETE", "queue", "doomed")
    for receiver in (consumer, browser):
        with pytest.raises(LinkDetached, match=r"resource-deleted.*queue 'doomed' was deleted"):
            for _ in range(10):
                receiver.receive(timeout=10)
    other.queue("doomed")
    session.put("doomed", 4)
    again = other.connection.create_receiver("doomed", credit=1, name="again")
    assert again.receive(timeout=10).body == 4


class Settled(LinkOption):
    def apply(self, link: Link) -> None:
        link.snd_settle_mode = Link.SND_SETTLED


def test_settled_publishes_and_deliveries(session: Session) -> None:
    session.queue("loose")
    sender = session.connection.create_sender("loose", options=Settled())
    for n in range(3):
        sender.link.send(Message(body=n)).settle()
    until(lambda: len(session.got("loose")) == 3 or None)
    receiver = session.connection.create_receiver("loose", credit=10, name="taker", options=Settled())
    assert [receiver.receive(timeout=10).body for _ in range(3)] == [0, 1, 2]
    assert session.got("loose") == []


def test_large_messages(session: Session) -> None:
    session.queue("large")
    session.put("large", "x" * 1_000_000)
    assert session.got("large") == ["x" * 1_000_000]
    with pytest.raises(SendException):
        session.put("large", "x" * 5_000_000)


def test_levels(session: Session) -> None:
    session.queue("private.one")
    session.queue("private.ring", kind="ring", qpid__max_count=1)
    session.queue("here", qpid__replicate="configuration")
    session.put("private.ring", 1, 2)
    assert session.got("private.ring") == [2]
    levels = [session.manage("READ", "queue", name)["qpid.replicate"] for name in ("private.one", "here")]
    assert levels == ["none", "configuration"]


# --- numbers, management --------------------------------------------------------------------------


def numbered(publisher: str, number: int) -> Message:
    return Message(
        body=number, annotations={symbol("x-opt-publisher"): publisher, symbol("x-opt-number"): number}
    )


def test_a_number_that_comes_again_is_stored_once(session: Session) -> None:
    session.queue("once")
    session.queue("once too", kind="ring", qpid__max_count=10)
    session.manage("CREATE", "exchange", "both", type="fanout")
    session.bind("both", "once")
    session.bind("both", "once too")
    session.put("once", *[numbered("p", n) for n in (1, 2, 2, 1, 3)])
    session.put("both", *[numbered("p", n) for n in (3, 4, 4)])
    assert session.got("once") == [1, 2, 3, 4]
    assert session.got("once too") == [4]
    assert session.manage("READ", "publisher", "p") == {"name": "p", "last": 4}
    with pytest.raises(SendException):
        session.put("once", numbered("p", 9))
    session.manage("DELETE", "publisher", "p")
    with pytest.raises(Refusal):
        session.manage("READ", "publisher", "p")


def test_management_creates_reads_and_deletes(session: Session) -> None:
    session.queue("managed")
    session.queue("managed")
    with pytest.raises(Refusal, match="other properties"):
        session.queue("managed", kind="priority")
    session.manage("CREATE", "exchange", "e", type="topic")
    session.bind("e", "managed", "a.#")
    assert session.manage("READ", "exchange", "e") == {
        "name": "e",
        "kind": "topic",
        "alternate-exchange": None,
        "bindings": 1,
    }
    session.put("e", Message(body=1, subject="a.b"))
    session.manage("DELETE", "binding", exchange="e", queue="managed", key="a.#")
    with pytest.raises(SendException):
        session.put("e", Message(body=2, subject="a.b"))
    session.bind("e", "managed", "a.#")
    session.manage("DELETE", "queue", "managed")
    assert session.manage("READ", "exchange", "e")["bindings"] == 0
    session.manage("DELETE", "exchange", "e")
    for type, name in (("queue", "managed"), ("exchange", "e"), ("heap", "x")):
        with pytest.raises(Refusal):
            session.manage("READ", type, name)


def test_a_browser_sees_what_comes_later(session: Session) -> None:
    session.queue("seen")
    session.put("seen", 1)
    browser = session.connection.create_receiver("seen", credit=10, options=Copy())
    assert browser.receive(timeout=10).body == 1
    session.put("seen", 2)
    assert browser.receive(timeout=10).body == 2
    assert session.manage("READ", "queue", "seen")["messages"] == 2
