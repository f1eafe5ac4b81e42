"""amqtt's broker and its connections. What they keep is in queues and tables, and answers wait until it is safe."""

from __future__ import annotations

import asyncio
import functools
from operator import attrgetter
from typing import Any

from amqtt.broker import Broker, RetainedApplicationMessage
from amqtt.contexts import Action, BrokerConfig
from amqtt.errors import AMQTTError
from amqtt.mqtt import PubackPacket, PubcompPacket, PublishPacket, PubrecPacket, PubrelPacket
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from msgpack import packb, unpackb

from qpidha import Answers, Node, QpidhaError, Queue, one_change
from qpidha.queues import Delivery, SessionQueue

TABLES = ("mqtt/subscription", "mqtt/retained", "mqtt/will", "mqtt/taken")
WILL_WAIT_S = 10.0
RELEASED = packb(None)
"""The props of a message of QoS 2 that the client has, and that was not completed yet."""
will_of = attrgetter("will_topic", "will_message", "will_qos", "will_retain", "keep_alive")


class Handler(BrokerProtocolHandler):
    """One connection. Exchanges of QoS 1 and 2 outlive it: they are in the mailbox of its session."""

    def __init__(self, broker: ReplicatedBroker) -> None:
        super().__init__(broker.plugins_manager)
        self.broker, self.answers = broker, broker.answers

    async def refused(self, error: QpidhaError) -> None:
        """What cannot be made safe is not answered: the client goes on to the next primary."""
        await self.handle_connection_closed()

    async def _send_packet(self, packet: Any) -> None:
        await self.answers.give(functools.partial(super()._send_packet, packet))

    async def mqtt_connack_authorize(self, authorize: bool) -> None:
        if authorize:
            self.mailbox = await self.broker.connected(self.session)
        await super().mqtt_connack_authorize(authorize)

    # --- from the client -------------------------------------------------------------------------

    @one_change
    async def _handle_qos1_message_flow(self, message: Any) -> None:
        """Have amqtt route it once, whichever primary it comes to again. PUBACK or PUBREC when that is safe."""
        taken = packb((self.session.client_id, message.packet_id))
        if message.qos == 1 or taken not in self.broker.taken:
            received = asyncio.get_running_loop().create_future()
            received.set_result(message)
            if not await self.broker._handle_message_delivery(self.session, self, received):
                await self.handle_connection_closed()
                return
            if message.qos == 2:
                self.answers.transaction.put(self.broker.taken, taken, b"")
        await self._send_packet((PubackPacket if message.qos == 1 else PubrecPacket).build(message.packet_id))

    _handle_qos2_message_flow = _handle_qos1_message_flow

    @one_change
    async def handle_pubrel(self, pubrel: Any) -> None:
        """The client may use the packet id for another message when it has PUBCOMP."""
        self.answers.transaction.remove(self.broker.taken, packb((self.session.client_id, pubrel.packet_id)))
        await self._send_packet(PubcompPacket.build(pubrel.packet_id))

    # --- to the client ---------------------------------------------------------------------------

    async def mqtt_publish(self, topic: str, data: bytes, qos: int, retain: bool, *args: Any) -> Any:
        """Leave QoS 0 to amqtt. The others are in the mailbox already, but for retained messages."""
        if not qos:
            await super().mqtt_publish(topic, data, qos, retain, *args)
        elif retain:
            _ = self.mailbox.queue.enqueue(bytes(data), packb((topic, qos, True)))

    async def send(self, sent: Delivery) -> None:
        """Of a message that the client has already, only PUBREL is sent. CONNACK has waited until its mark was safe."""
        if sent.props == RELEASED:
            await self._send_packet(PubrelPacket.build(sent.number))
        else:
            topic, *flags = unpackb(sent.props)
            await self._send_packet(PublishPacket.build(topic, sent.data, sent.number, sent.again, *flags))

    @one_change
    async def handle_pubrec(self, pubrec: Any) -> None:
        """Mark the message, so that no primary sends it again, before PUBREL."""
        if id := self.mailbox.id_of(pubrec.packet_id):
            self.answers.transaction.update(self.mailbox.queue, id, RELEASED)
        await self._send_packet(PubrelPacket.build(pubrec.packet_id))

    @one_change
    async def handle_puback(self, packet: Any) -> None:
        if id := self.mailbox.settle(packet.packet_id):
            self.answers.transaction.dequeue(self.mailbox.queue, id)

    handle_pubcomp = handle_puback


class ReplicatedBroker(Broker):
    """One term of a primary: `start` it in ``on_promote``, `leave` it in ``on_demote``."""

    _handle_unsubscription = one_change(Broker._handle_unsubscription)

    def __init__(self, config: BrokerConfig, node: Node) -> None:
        super().__init__(config)
        self.node, self.answers, self.mailboxes = node, Answers(node), dict[Queue, SessionQueue[Queue]]()
        self.kept, self.retained, self.wills, self.taken = map(node.table, TABLES)
        self.connections, self.waiting = set[Any](), dict[str, asyncio.Task[None]]()

    async def refused(self, error: QpidhaError) -> None:
        """It ends the connection. A will, or a session that is over, is left to the next primary."""
        if asyncio.current_task() in self.connections:
            raise AMQTTError(f"not safe: {error}") from error

    async def _start_listeners(self) -> None:
        """Restore what earlier primaries kept, before the first client comes. amqtt ends sessions that are clean."""
        for queue in self.node.queues:
            kind, client = queue.name.removeprefix("mqtt/").split("/", 1)
            handler, session = self.create_offline_session(client)
            session.clean_session, self._sessions[client] = kind == "clean", (session, handler)
        for key, qos in self.kept.items():
            client, topic_filter = unpackb(key)
            subscription = self._sessions[client][0], unpackb(qos)
            self._subscriptions.setdefault(topic_filter, []).append(subscription)
        for topic, row in self.retained.items():
            message = RetainedApplicationMessage(None, topic.decode(), *unpackb(row))
            self._retained_messages[message.topic] = message
        for name, will in self.wills.items():
            self.waiting[name.decode()] = asyncio.create_task(self._fire_will(name, will))
        await super()._start_listeners()

    async def leave(self) -> None:
        """End all connections, also those that have not sent CONNECT yet. Sessions are left to the next primary."""
        for task in (*self.connections, *self.waiting.values()):
            task.cancel()
        self._sessions.clear()
        await self.shutdown()

    # --- connections and sessions ----------------------------------------------------------------

    async def _client_connected(self, listener_name: str, reader: Any, writer: Any) -> None:
        self.connections.add(task := asyncio.current_task())
        try:
            await super()._client_connected(listener_name, reader, writer)
        finally:
            self.connections.discard(task)
            await writer.close()

    async def _initialize_client_session(self, *connection: Any) -> tuple[Handler, Any]:
        return Handler(self), (await super()._initialize_client_session(*connection))[1]

    async def _client_message_loop(self, client_session: Any, handler: Handler) -> None:
        async with handler.mailbox.delivering(handler.send):
            await super()._client_message_loop(client_session, handler)

    @one_change
    async def connected(self, session: Any) -> SessionQueue[Queue]:
        """Keep the session, and the will instead of an earlier one, before CONNACK."""
        if waiting := self.waiting.pop(session.client_id, None):
            waiting.cancel()
        self.answers.transaction.remove(self.wills, session.client_id.encode())
        if session.will_flag:
            self.answers.transaction.put(self.wills, session.client_id.encode(), packb(will_of(session)))
        return self.mailbox(session)

    def mailbox(self, session: Any) -> SessionQueue[Queue]:
        """The messages of QoS 1 and 2 that a session has not acknowledged."""
        kind = "clean" if session.clean_session or session.is_anonymous else "session"
        queue = self.node.declare(f"mqtt/{kind}/{session.client_id}")
        if queue not in self.mailboxes:
            self.mailboxes[queue] = SessionQueue(queue)
        return self.mailboxes[queue]

    @one_change
    async def _handle_disconnect(self, client_session: Any, *args: Any) -> None:
        """Publish the will, or drop it. After the term this is refused: the next primary has it, and waits."""
        self.answers.transaction.remove(self.wills, client_session.client_id.encode())
        await super()._handle_disconnect(client_session, *args)

    @one_change
    async def _fire_will(self, client: bytes, will: bytes) -> None:
        """The will of a client of an earlier primary, when it has been silent for too long."""
        topic, data, qos, retain, alive = unpackb(will)
        await asyncio.sleep(1.5 * alive or WILL_WAIT_S)
        self.answers.transaction.remove(self.wills, client)
        await self._broadcast_message(None, topic, data, qos)
        if retain:
            await self.retain_message(None, topic, data, qos)

    @one_change
    async def _del_all_subscriptions(self, session: Any) -> None:
        """The session is over, or has expired."""
        await super()._del_all_subscriptions(session)
        self.answers.transaction.delete(queue := self.mailbox(session).queue)
        await self.answers.give(functools.partial(self.mailboxes.pop, queue, None))
        for key in (key for key in self.taken if unpackb(key)[0] == session.client_id):
            self.answers.transaction.remove(self.taken, key)

    # --- subscriptions and messages --------------------------------------------------------------

    @one_change
    async def add_subscription(self, subscription: tuple[str, int], session: Any) -> Any:
        code = await super().add_subscription(subscription, session)
        if code in (0, 1, 2):
            self.mailbox(session)
            self.answers.transaction.put(self.kept, packb((session.client_id, subscription[0])), packb(code))
        return code

    def _del_subscription(self, a_filter: str, session: Any) -> Any:
        if deleted := super()._del_subscription(a_filter, session):
            self.answers.transaction.remove(self.kept, packb((session.client_id, a_filter)))
        return deleted

    @one_change
    async def _broadcast_message(self, session: Any, topic: str, data: bytes, qos: int | None = None) -> None:
        """Put the message into all mailboxes, once for all. amqtt delivers it to subscribers of QoS 0."""
        targets = dict[Queue, int]()
        for topic_filter, subscriptions in list(self._subscriptions.items()):
            for target, granted in list(subscriptions) if self._matches(topic, topic_filter) else ():
                if await self._topic_filtering(target, topic, Action.RECEIVE):
                    queue = self.mailbox(target).queue
                    targets[queue] = max(granted if qos is None else qos, targets.get(queue, 0))
        for level in {1, 2} & set(targets.values()):
            queues = [queue for queue, granted in targets.items() if granted == level]
            self.answers.transaction.publish(queues, bytes(data), packb((topic, level, False)))
        await super()._broadcast_message(session, topic, data, qos)

    async def _retain_broadcast_message(self, broadcast: Any, qos: int, target_session: Any) -> None:
        """Nothing: the message is in the mailbox."""

    @one_change
    async def retain_message(self, session: Any, topic: str, data: bytes, qos: int = 0) -> None:
        self.answers.transaction.remove(self.retained, topic.encode())
        if data:
            self.answers.transaction.put(self.retained, topic.encode(), packb((bytes(data), qos)))
        await super().retain_message(session, topic, data, qos)
