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
from pathlib import Path
from typing import Any

try:
    import yaml
    from amqtt.contexts import BrokerConfig
    from dacite import DaciteError
    from replicated import ReplicatedBroker
except ImportError as error:
    sys.exit(f"mqtt: {error}. The broker needs amqtt: pip install 'amqtt==0.12.1'")

from qpidha import Node, QpidhaError
from qpidha.clusterfile import ClusterFile

NAMED: dict[str, Any] = {
    "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": False}}
}
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


def configuration(file: Path | None) -> dict[str, Any]:
    """What amqtt is to do, as its documentation describes it. The address is that of the cluster file."""
    return NAMED if file is None else dict(yaml.safe_load(file.read_text()))


async def run(args: argparse.Namespace) -> None:
    arguments = ClusterFile.load(args.cluster).arguments(args.id)
    if (client := arguments["client_address"]) is None:
        sys.exit(f"mqtt: {args.cluster}: nodes.{args.id} has no client_address")
    config = configuration(args.amqtt)
    listener = config.setdefault("listeners", {}).setdefault("default", {"type": "tcp"})
    listener["bind"] = "{}:{}".format(*client)
    service = Service(BrokerConfig.from_dict(config))
    service.node = Node(args.id, broker=service, **arguments)
    async with service.node as node:
        ending = asyncio.ensure_future(node.wait_stopped())
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, ending.cancel)
        if args.until_eof:
            asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ending.cancel)
        await asyncio.wait({ending})
    await arguments["records"].close()
    if not ending.cancelled() and (error := ending.result().error):
        sys.exit(f"mqtt: node {args.id} has stopped: {error}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="One node of a highly available MQTT broker.")
    parser.add_argument("--id", required=True, help="name of this node in the cluster file")
    parser.add_argument("--cluster", required=True, help="the cluster file, such as qpidha.toml")
    parser.add_argument(
        "--amqtt", type=Path, metavar="YAML", help="amqtt's own configuration: plug-ins, TLS, limits"
    )
    parser.add_argument("--until-eof", action="store_true", help="stop when standard input closes")
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
    logging.getLogger("qpidha").setLevel(logging.INFO)
    try:
        asyncio.run(run(parser.parse_args()))
    except (QpidhaError, OSError, DaciteError, yaml.YAMLError) as error:
        sys.exit(f"mqtt: {error}")
