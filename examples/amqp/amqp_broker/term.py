"""What the broker has while it is primary: everything in it belongs to one term."""

from __future__ import annotations

from amqp_broker.exchanges import Exchanges
from amqp_broker.numbers import Numbers
from amqp_broker.queues import Queues
from amqp_broker.transfers import Transfers
from qpidha import Node, Op, Settings


class Term:
    """Queues, exchanges, numbered publishers and links of one term. Made in ``on_promote``."""

    def __init__(self, node: Node, settings: Settings) -> None:
        self.node = node
        self.settings = settings
        self.queues = Queues(node, settings)
        self.exchanges = Exchanges(node)
        self.numbers = Numbers(node)
        self.transfers = Transfers(self)

    def delete_queue(self, name: str) -> Op:
        """Delete a queue with its messages and bindings, in one operation. Raises `Refused`."""
        with self.node.transaction() as t:
            self.queues.delete(name, t)
            self.exchanges.unbind_queue(name, t)
        self.queues.deleted(name)
        self.exchanges.unbound_queue(name)
        return t.op
