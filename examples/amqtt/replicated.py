"""amqtt's broker and its connections. What they keep is in the state, too; answers wait until it is safe there."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

from amqtt.broker import Broker, RetainedApplicationMessage
from amqtt.contexts import Action, BrokerConfig
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.mqtt.puback import PubackPacket
from amqtt.mqtt.pubcomp import PubcompPacket
from amqtt.mqtt.publish import PublishPacket
from amqtt.mqtt.pubrec import PubrecPacket
from amqtt.mqtt.pubrel import PubrelPacket
from amqtt.session import OUTGOING, Session
from state import PREFIX, Mailbox, State, one_change, pack, unpack

from qpidha import Node, QpidhaError

IN_FLIGHT_MAX = 100
PACKET_IDS = 65_535
WILL_WAIT_S = 10.0
LEAVE_S = 3.0
REFUSED = 0x80
RELEASED = [2]
"""The props of a message of QoS 2 that the client has, and that was not completed yet."""


class Handler(BrokerProtocolHandler):
    """One connection. Exchanges of QoS 1 and 2 outlive it, unless its session is clean or anonymous."""

    handle_publish = one_change(BrokerProtocolHandler.handle_publish)

    def __init__(self, broker: ReplicatedBroker) -> None:
        super().__init__(broker.plugins_manager)
        self.broker, self.state, self.unacked = broker, broker.state, dict[int, int]()

    @property
    def mailbox(self) -> Mailbox | None:
        """None: the session ends with the connection, and amqtt alone keeps it."""
        return self.state.mailboxes.get(self.session.client_id)

    async def _send_packet(self, packet: Any) -> None:
        send = functools.partial(super()._send_packet, packet)
        if change := self.state.changes.get(asyncio.current_task()):
            change[1].append(send)
        else:
            await send()

    async def mqtt_connack_authorize(self, authorize: bool) -> None:
        if authorize:
            await self.broker.connected(self.session)
        await super().mqtt_connack_authorize(authorize)

    # --- from the client -------------------------------------------------------------------------

    async def _handle_message_flow(self, app_message: Any) -> None:
        """Of a message that comes: route it once. PUBACK or PUBREC when it is safe."""
        if app_message.direction == OUTGOING:
            await super()._handle_message_flow(app_message)
            return
        qos, packet_id = app_message.qos, app_message.packet_id
        if qos < 2 or not self.state.has("taken", self.session.client_id, packet_id):
            done = asyncio.get_running_loop().create_future()
            done.set_result(app_message)
            if not await self.broker._handle_message_delivery(self.session, self, done):
                await self.handle_connection_closed()
                return
        if qos == 2:
            self.state.keep((), "taken", self.session.client_id, packet_id)
        if qos:
            await self._send_packet((PubackPacket if qos == 1 else PubrecPacket).build(packet_id))

    @one_change
    async def handle_pubrel(self, pubrel: PubrelPacket) -> None:
        """The client may use the packet id for another message when it has PUBCOMP."""
        self.state.keep(None, "taken", self.session.client_id, pubrel.packet_id)
        await self._send_packet(PubcompPacket.build(pubrel.packet_id))

    # --- to the client ---------------------------------------------------------------------------

    async def mqtt_publish(self, topic: str, data: bytes, qos: int, retain: bool, *args: Any) -> Any:
        """Leave QoS 0, and sessions without a mailbox, to amqtt. Only retained messages are not in the mailbox yet."""
        if not qos or not self.mailbox:
            await super().mqtt_publish(topic, data, qos, retain, *args)
        elif retain:
            await self.mailbox.queue.enqueue(bytes(data), pack(topic, qos, True))

    async def deliver(self) -> None:
        """Send what is safe, in order. A message has the same packet id on each primary: it comes from its place."""
        mailbox, place = self.mailbox, 0
        while mailbox:
            mailbox.wake.clear()
            found = mailbox.queue.read(place, messages_max=1)
            place = mailbox.queue.places(found[0]).first if found else place
            packet_id, full = place % PACKET_IDS + 1, len(self.unacked) >= IN_FLIGHT_MAX
            if not found or place > mailbox.safe or packet_id in self.unacked or full:
                await mailbox.wake.wait()
                continue
            props, data, self.unacked[packet_id] = (
                unpack(found[1].props(0)),
                bytes(found[1].data(0)),
                found[0].first,
            )
            again, mailbox.sent = place <= mailbox.sent, max(place, mailbox.sent)
            if props == RELEASED:
                packet = PubrelPacket.build(packet_id)
            else:
                topic, qos, retain = props
                packet = PublishPacket.build(topic, data, packet_id, again, qos, retain)
            await self._send_packet(packet)
            place += 1

    async def handle_puback(self, puback: PubackPacket) -> None:
        await (self._settle(puback) if self.mailbox else super().handle_puback(puback))

    async def handle_pubrec(self, pubrec: PubrecPacket) -> None:
        await (self._settle(pubrec) if self.mailbox else super().handle_pubrec(pubrec))

    async def handle_pubcomp(self, pubcomp: PubcompPacket) -> None:
        await (self._settle(pubcomp) if self.mailbox else super().handle_pubcomp(pubcomp))

    @one_change
    async def _settle(self, packet: PubackPacket | PubrecPacket | PubcompPacket) -> None:
        """PUBREC marks the message, so that no primary sends it again; PUBACK and PUBCOMP end it."""
        packet_id, mailbox = packet.variable_header.packet_id, self.mailbox
        if mailbox and isinstance(packet, PubrecPacket):
            if packet_id in self.unacked:
                self.state.t.update(mailbox.queue, self.unacked[packet_id], pack(*RELEASED))
            await self._send_packet(PubrelPacket.build(packet_id))
        elif mailbox and (id := self.unacked.pop(packet_id, None)):
            self.state.t.dequeue(mailbox.queue, id)
            mailbox.wake.set()


class ReplicatedBroker(Broker):
    """One term of a primary: `start` it in ``on_promote``, `leave` it in ``on_demote``."""

    _delete_session = one_change(Broker._delete_session)
    _cleanup_session = one_change(Broker._cleanup_session)
    _handle_unsubscription = one_change(Broker._handle_unsubscription)

    def __init__(self, config: BrokerConfig, node: Node) -> None:
        super().__init__(config)
        self.state, self._writers, self._wills = State(node), set[Any](), dict[str, asyncio.Task[None]]()

    async def _start_listeners(self) -> None:
        """Restore what earlier primaries kept, before the first client comes."""
        for client in self.state.mailboxes:
            handler, session = self.create_offline_session(client)
            session.clean_session, self._sessions[client] = False, (session, handler)
        for (client, topic_filter), (qos,) in self.state.rows("subscription"):
            self._subscriptions.setdefault(topic_filter, []).append((self._sessions[client][0], qos))
        for (topic,), (data, qos) in self.state.rows("retained"):
            self._retained_messages[topic] = RetainedApplicationMessage(None, topic, data, qos)
        for (client,), will in self.state.rows("will"):
            self._wills[client] = asyncio.create_task(self._fire_will(client, *will))
        for key, _ in self.state.rows("taken"):
            if key[0] not in self._sessions:  # A session that has ended with its connection.
                _ = self.state.tables["taken"].remove(pack(*key))
        await super()._start_listeners()

    async def leave(self) -> None:
        """End all connections without another packet, also those that have not sent CONNECT yet."""
        self.state.leaving, self.state.mailboxes = True, {}
        for will in self._wills.values():
            will.cancel()
        for writer in self._writers:
            (getattr(writer, "_writer", None) or writer._protocol).transport.abort()
        await asyncio.wait_for(self.shutdown(), LEAVE_S)

    # --- connections and sessions ----------------------------------------------------------------

    async def _client_connected(self, listener_name: str, reader: Any, writer: Any) -> None:
        self._writers.add(writer)
        try:
            await super()._client_connected(listener_name, reader, writer)
        except QpidhaError as error:
            self.logger.warning("connection ends: %s", error)
        finally:
            self._writers.discard(writer)
            await writer.close()

    async def _initialize_client_session(self, *connection: Any) -> tuple[Handler, Session]:
        return Handler(self), (await super()._initialize_client_session(*connection))[1]

    async def _client_message_loop(self, client_session: Session, handler: Handler) -> None:
        delivering = asyncio.create_task(handler.deliver())
        try:
            await super()._client_message_loop(client_session, handler)
        finally:
            delivering.cancel()

    @one_change
    async def connected(self, session: Session) -> None:
        """Keep the session, and the will instead of an earlier one, before CONNACK."""
        if waiting := self._wills.pop(session.client_id, None):
            waiting.cancel()
        if (
            not session.clean_session
            and not session.is_anonymous
            and session.client_id not in self.state.mailboxes
        ):
            queue = self.state.node.declare(PREFIX + session.client_id)
            self.state.mailboxes[session.client_id] = Mailbox(queue)
        will = (
            session.will_topic,
            session.will_message,
            session.will_qos,
            session.will_retain,
            session.keep_alive,
        )
        self.state.keep(will if session.will_flag else None, "will", session.client_id)

    @one_change
    async def _handle_disconnect(self, client_session: Session, *args: Any) -> None:
        """Publish the will, or drop it. After the term the next primary has it, and waits for the client."""
        client_session.will_flag = client_session.will_flag and not self.state.leaving
        self.state.keep(None, "will", client_session.client_id)
        await super()._handle_disconnect(client_session, *args)

    @one_change
    async def _fire_will(
        self, client: str, topic: str, data: bytes, qos: int, retain: bool, alive: int
    ) -> None:
        """The will of a client of an earlier primary, when it has been silent for too long."""
        await asyncio.sleep(1.5 * alive or WILL_WAIT_S)
        self.state.keep(None, "will", client)
        await self._broadcast_message(None, topic, data, qos)
        if retain:
            await self.retain_message(None, topic, data, qos)

    # --- subscriptions ---------------------------------------------------------------------------

    @one_change
    async def add_subscription(self, subscription: tuple[str, int], session: Session) -> Any:
        """A second one of the same filter changes nothing, as in amqtt."""
        code, row = (
            await super().add_subscription(subscription, session),
            (session.client_id, subscription[0]),
        )
        if (
            code < REFUSED
            and session.client_id in self.state.mailboxes
            and not self.state.has("subscription", *row)
        ):
            self.state.keep((code,), "subscription", *row)
        return code

    def _del_subscription(self, a_filter: str, session: Session) -> Any:
        self.state.keep(None, "subscription", session.client_id, a_filter)
        return super()._del_subscription(a_filter, session)

    async def _del_all_subscriptions(self, session: Session) -> None:
        """The session is over, or has expired."""
        await super()._del_all_subscriptions(session)
        self.state.forget(session.client_id)

    # --- messages --------------------------------------------------------------------------------

    @one_change
    async def _broadcast_message(
        self, session: Any, topic: str, data: bytes, force_qos: int | None = None
    ) -> None:
        """Put the message into all mailboxes, once for all. amqtt delivers it to the other subscribers."""
        targets = dict[str, int]()
        for topic_filter, subscriptions in list(self._subscriptions.items()):
            for target, granted in list(subscriptions) if self._matches(topic, topic_filter) else ():
                qos, client = granted if force_qos is None else force_qos, target.client_id
                if (
                    qos
                    and client in self.state.mailboxes
                    and await self._topic_filtering(target, topic, Action.RECEIVE)
                ):
                    targets[client] = max(qos, targets.get(client, 0))
        boxes = [
            (self.state.mailboxes[client], qos)
            for client, qos in targets.items()
            if client in self.state.mailboxes
        ]
        for qos in {qos for _, qos in boxes}:
            queues = [box.queue for box, granted in boxes if granted == qos]
            self.state.t.publish(queues, bytes(data), pack(topic, qos, False))
        await super()._broadcast_message(session, topic, data, force_qos)

    async def _retain_broadcast_message(self, broadcast: Any, qos: int, target_session: Session) -> None:
        """Nothing: the message is in the mailbox."""

    @one_change
    async def retain_message(
        self, session: Any, topic: str, data: bytes | None, qos: int | None = None
    ) -> None:
        self.state.keep((bytes(data), qos) if data else None, "retained", topic)
        await super().retain_message(session, topic, data, qos)
