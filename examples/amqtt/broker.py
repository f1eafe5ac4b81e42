#!/usr/bin/env python3
"""amqtt, an MQTT broker that was there before, made highly available from outside. This is one node of it.

Start three of them, after ``qpidha init`` has written their cluster file:

    python examples/amqtt/broker.py --cluster qpidha.toml --id a

state.py        the part of MQTT's state that all nodes have: a queue for each session, and four tables
replicated.py   amqtt's broker and its connections: what they keep is in the state, too; answers wait until it is safe
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys

from amqtt.contexts import BrokerConfig
from amqtt.utils import read_yaml_config
from replicated import ReplicatedBroker

from qpidha import Node, QpidhaError
from qpidha.clusterfile import ClusterFile

NAMED = {"plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": False}}}
"""Every client has a user name: with amqtt, sessions of anonymous clients end with their connection."""


class Service:
    """What the library calls."""

    node: Node
    broker: ReplicatedBroker

    def __init__(self, config: BrokerConfig) -> None:
        self.config = config

    async def on_promote(self, generation: int) -> None:
        self.broker = ReplicatedBroker(self.config, self.node)
        await self.broker.start()

    async def on_demote(self, generation: int) -> None:
        await self.broker.leave()

    async def on_discarded(self, messages: object) -> None:
        """No publisher was told that they are safe: it sends them again."""


async def run(args: argparse.Namespace) -> None:
    arguments = ClusterFile.load(args.cluster).arguments(args.id)
    config = (read_yaml_config(args.amqtt) if args.amqtt else None) or dict(NAMED)
    listener = config.setdefault("listeners", {}).setdefault("default", {"type": "tcp"})
    listener["bind"] = "{}:{}".format(*arguments["client_address"] or ("127.0.0.1", 1883))
    service = Service(BrokerConfig.from_dict(config))
    service.node = Node(args.id, broker=service, **arguments)
    async with service.node as node:
        ending = asyncio.ensure_future(node.wait_stopped())
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, ending.cancel)
        await asyncio.wait({ending})
    await arguments["records"].close()
    if not ending.cancelled() and (error := ending.result().error):
        sys.exit(f"mqtt: node {args.id} has stopped: {error}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="One node of a highly available MQTT broker.")
    parser.add_argument("--id", required=True, help="name of this node in the cluster file")
    parser.add_argument("--cluster", required=True, help="the cluster file, such as qpidha.toml")
    parser.add_argument("--amqtt", metavar="YAML", help="amqtt's own configuration: plug-ins, TLS, limits")
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
    logging.getLogger("qpidha").setLevel(logging.INFO)
    try:
        asyncio.run(run(parser.parse_args()))
    except (QpidhaError, OSError) as error:
        sys.exit(f"mqtt: {error}")
