"""amqtt's broker and its connections. What they keep is in the state, too; answers wait until it is safe there."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import msgpack
from amqtt.broker import Broker, RetainedApplicationMessage
from amqtt.contexts import Action, BrokerConfig
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.mqtt.puback import PubackPacket
from amqtt.mqtt.pubcomp import PubcompPacket
from amqtt.mqtt.publish import PublishPacket
from amqtt.mqtt.pubrec import PubrecPacket
from amqtt.mqtt.pubrel import PubrelPacket
from amqtt.session import IncomingApplicationMessage, Session

from mqtt_broker.state import Mailbox, State, one_change, or_close, pack
from qpidha import Node, QpidhaError

IN, OUT = 0, 1
IN_FLIGHT_MAX = 100
PACKET_IDS = 65_535
WILL_WAIT_S = 10.0
LEAVE_S = 3.0


class Handler(BrokerProtocolHandler):
    """One connection, with exchanges of QoS 1 and 2 that outlive it."""

    def __init__(self, broker: ReplicatedBroker) -> None:
        super().__init__(broker.plugins_manager)
        self.broker, self.state = broker, broker.state
        self.unacked = dict[int, int]()
        """By packet id, the messages of the mailbox that were sent and not acknowledged."""
        self._delivering: asyncio.Task[None] | None = None

    @property
    def mailbox(self) -> Mailbox | None:
        """None: the session ends with this connection, and amqtt alone keeps it."""
        assert self.session is not None and self.session.client_id is not None
        return self.state.mailboxes.get(self.session.client_id)

    async def _send_packet(self, packet: Any) -> None:
        send = functools.partial(super()._send_packet, packet)
        if change := self.state.changes.get(asyncio.current_task()):
            change[1].append(send)
        else:
            await send()

    @one_change
    async def mqtt_connack_authorize(self, authorize: bool) -> None:
        if authorize:
            self.broker.connected(self.session)
        await super().mqtt_connack_authorize(authorize)

    # --- from the client -------------------------------------------------------------------------

    @or_close
    @one_change
    async def handle_publish(self, publish_packet: PublishPacket) -> None:
        """Route a message, unless it is one of QoS 2 that was routed before. PUBACK or PUBREC when it is safe."""
        id, qos, topic = publish_packet.packet_id, publish_packet.qos, publish_packet.topic_name
        key = self._flow(IN, id)
        if qos < 2 or key not in self.state.flows:
            message = IncomingApplicationMessage(
                id, topic, qos, publish_packet.data, publish_packet.retain_flag
            )
            message.publish_packet = publish_packet
            done = asyncio.get_running_loop().create_future()
            done.set_result(message)
            if not await self.broker._handle_message_delivery(self.session, self, done):
                await self.handle_connection_closed()
                return
            if qos == 2:
                self.state.t.put(self.state.flows, key, b"")
        if qos:
            await self._send_packet(PubackPacket.build(id) if qos == 1 else PubrecPacket.build(id))

    @or_close
    @one_change
    async def handle_pubrel(self, pubrel: PubrelPacket) -> None:
        """Forget the packet id before the client may use it again."""
        self.state.t.remove(self.state.flows, self._flow(IN, pubrel.packet_id))
        await self._send_packet(PubcompPacket.build(pubrel.packet_id))

    # --- to the client ---------------------------------------------------------------------------

    async def mqtt_publish(self, topic: str, data: bytes, qos: int, retain: bool, *args: Any) -> Any:
        """What amqtt delivers itself: QoS 0, and to sessions without a mailbox."""
        if not qos or not self.mailbox:
            return await super().mqtt_publish(topic, data, qos, retain, *args)
        return await self._keep(topic, data, qos) if retain else None  # Others are in the mailbox already.

    @one_change
    async def _keep(self, topic: str, data: bytes, qos: int) -> None:
        self.state.t.enqueue(self.mailbox.queue, bytes(data), pack(topic, qos, True))

    async def start(self) -> None:
        await super().start()
        if self.mailbox:
            self._delivering = asyncio.create_task(self._deliver(self.mailbox))

    async def stop(self) -> None:
        if self._delivering:
            self._delivering.cancel()
        await super().stop()

    @or_close
    async def _deliver(self, mailbox: Mailbox) -> None:
        """Send what is safe, in order. On each primary a message has the same packet id, which comes from its id."""
        await self._release_again()
        place = 0
        while True:
            mailbox.wake.clear()
            found = mailbox.queue.read(place, messages_max=1) if place <= mailbox.safe else None
            id = found[0].first if found else 0
            packet_id = id % PACKET_IDS + 1
            in_use = packet_id in self.unacked or self._flow(OUT, packet_id) in self.state.flows
            if not found or in_use or len(self.unacked) >= IN_FLIGHT_MAX:
                await mailbox.wake.wait()
                continue
            (topic, qos, retain), data = msgpack.unpackb(found[1].props(0)), bytes(found[1].data(0))
            place, self.unacked[packet_id], again = id + 1, id, id <= mailbox.sent
            mailbox.sent = max(id, mailbox.sent)
            await self._send_packet(PublishPacket.build(topic, data, packet_id, again, qos, retain))

    @one_change
    async def _release_again(self) -> None:
        """Messages of QoS 2 that this client has, and was perhaps not told to deliver. Waits for all earlier changes."""
        for client, direction, packet_id in map(msgpack.unpackb, self.state.flows):
            if client == self.session.client_id and direction == OUT:
                await self._send_packet(PubrelPacket.build(packet_id))

    @or_close
    async def handle_puback(self, puback: Any) -> None:
        """The client has the message. If a failover undoes this, it gets it again, as QoS 1 allows."""
        if not (mailbox := self.mailbox):
            await super().handle_puback(puback)
        elif id := self.unacked.pop(puback.packet_id, None):
            mailbox.queue.dequeue(id)
            mailbox.wake.set()

    @or_close
    async def handle_pubrec(self, pubrec: Any) -> None:
        """The message goes and its packet id stays, as one change: it is not sent again by any primary."""
        await (self._release(pubrec.packet_id) if self.mailbox else super().handle_pubrec(pubrec))

    @one_change
    async def _release(self, packet_id: int) -> None:
        if id := self.unacked.pop(packet_id, None):
            self.state.t.dequeue(self.mailbox.queue, id)
            self.state.t.put(self.state.flows, self._flow(OUT, packet_id), b"")
        await self._send_packet(PubrelPacket.build(packet_id))

    @or_close
    async def handle_pubcomp(self, pubcomp: Any) -> None:
        """The packet id is free."""
        if not (mailbox := self.mailbox):
            await super().handle_pubcomp(pubcomp)
        else:
            _ = self.state.flows.remove(self._flow(OUT, pubcomp.packet_id))
            mailbox.wake.set()

    def _flow(self, direction: int, packet_id: int) -> bytes:
        return pack(self.session.client_id, direction, packet_id)


class ReplicatedBroker(Broker):
    """One term of a primary: `start` it in ``on_promote``, `leave` it in ``on_demote``."""

    def __init__(self, config: BrokerConfig, node: Node) -> None:
        super().__init__(config)
        self.state, self.leaving = State(node), False
        self._writers, self._waiting_wills = set[Any](), dict[str, asyncio.Task[None]]()

    async def _start_listeners(self) -> None:
        """Restore what earlier primaries kept, before the first client comes."""
        for client in self.state.mailboxes:
            handler, session = self.create_offline_session(client)
            session.clean_session = False
            self._sessions[client] = session, handler
        for key, value in self.state.subscriptions.items():
            client, topic_filter = msgpack.unpackb(key)
            subscription = self._sessions[client][0], msgpack.unpackb(value)[0]
            self._subscriptions.setdefault(topic_filter, []).append(subscription)
        for topic, value in self.state.retained.items():
            qos, data = msgpack.unpackb(value)
            self._retained_messages[topic.decode()] = RetainedApplicationMessage(
                None, topic.decode(), data, qos
            )
        for client, will in (
            (key.decode(), msgpack.unpackb(value)) for key, value in self.state.wills.items()
        ):
            self._waiting_wills[client] = asyncio.create_task(self._fire_will(client, *will))
        await super()._start_listeners()

    async def leave(self) -> None:
        """End all connections without another packet, also those that have not sent CONNECT yet."""
        self.leaving = True
        for will in self._waiting_wills.values():
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
            self.logger.info("connection ends: %s", error)
        finally:
            self._writers.discard(writer)
            await writer.close()

    async def _initialize_client_session(self, *connection: Any) -> tuple[Handler, Session]:
        return Handler(self), (await super()._initialize_client_session(*connection))[1]

    def connected(self, session: Session) -> None:
        """Before CONNACK: keep the session, and the will."""
        if will := self._waiting_wills.pop(session.client_id, None):
            will.cancel()
        if not session.clean_session and not session.is_anonymous:
            self.state.open(session.client_id)
        if session.will_flag:
            will = session.will_topic, session.will_message, session.will_qos, session.will_retain
            self.state.t.put(self.state.wills, session.client_id.encode(), pack(*will, session.keep_alive))
        else:
            self.state.t.remove(self.state.wills, session.client_id.encode())

    @one_change
    async def _handle_disconnect(self, client_session: Session, *args: Any) -> None:
        """Publish the will, or drop it. If this node leaves, the next primary waits whether the client comes back."""
        if self.leaving:
            client_session.will_flag = False
        else:
            self.state.t.remove(self.state.wills, client_session.client_id.encode())
        await super()._handle_disconnect(client_session, *args)

    @one_change
    async def _fire_will(
        self, client: str, topic: str, data: bytes, qos: int, retain: bool, alive: int
    ) -> None:
        """The will of a client of an earlier primary, which may be silent for so long."""
        await asyncio.sleep(1.5 * alive or WILL_WAIT_S)
        self.state.t.remove(self.state.wills, client.encode())
        await self._broadcast_message(None, topic, data, qos)
        if retain:
            await self.retain_message(None, topic, data, qos)

    @one_change
    async def _delete_session(self, client_id: str) -> None:
        await super()._delete_session(client_id)
        self.state.forget(client_id)

    @one_change
    async def _cleanup_session(self, client_id: str) -> None:
        await super()._cleanup_session(client_id)
        if not self.leaving:  # It has expired.
            self.state.forget(client_id)

    # --- subscriptions ---------------------------------------------------------------------------

    @one_change
    async def add_subscription(self, subscription: tuple[str, int], session: Session) -> int:
        topic_filter, code = subscription[0], await super().add_subscription(subscription, session)
        if session.client_id in self.state.mailboxes:
            for subscriber, qos in self._subscriptions.get(
                topic_filter, ()
            ):  # amqtt may keep an earlier QoS.
                if subscriber.client_id == session.client_id:
                    self.state.t.put(
                        self.state.subscriptions, pack(session.client_id, topic_filter), pack(qos)
                    )
        return code

    @one_change
    async def _handle_unsubscription(self, session: Session, handler: Any, waiter: Any) -> None:
        for topic_filter in waiter.result().topics:
            self.state.t.remove(self.state.subscriptions, pack(session.client_id, topic_filter))
        await super()._handle_unsubscription(session, handler, waiter)

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
        for qos in set(targets.values()):
            queues = [box.queue for client, box in self.state.mailboxes.items() if targets.get(client) == qos]
            self.state.t.publish(queues, bytes(data), pack(topic, qos, False))
        await super()._broadcast_message(session, topic, data, force_qos)

    async def _retain_broadcast_message(self, broadcast: Any, qos: int, target_session: Session) -> None:
        """Nothing: the message is in the mailbox."""

    @one_change
    async def retain_message(
        self, session: Any, topic: str, data: bytes | None, qos: int | None = None
    ) -> None:
        if data:
            self.state.t.put(self.state.retained, topic.encode(), pack(qos, bytes(data)))
        else:
            self.state.t.remove(self.state.retained, topic.encode())
        await super().retain_message(session, topic, data, qos)
