#!/usr/bin/env python3
"""amqtt, an MQTT broker that was there before, made highly available from outside. This is one node of it.

Start three of them, after ``qpidha init`` has written their cluster file:

    python examples/amqtt/broker.py --cluster qpidha.toml --id a
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

try:
    import yaml
    from amqtt.contexts import BrokerConfig
    from dacite import DaciteError
    from replicated import ReplicatedBroker
except ImportError as error:
    sys.exit(f"mqtt: {error}. The broker needs amqtt: pip install 'amqtt==0.12.1'")

from qpidha.clusterfile import ClusterFile
from qpidha.service import NodeProgram, TermBroker

NAMED = "plugins: {amqtt.plugins.authentication.AnonymousAuthPlugin: {allow_anonymous: false}}"
"""Every client has a user name: with amqtt, sessions of anonymous clients end with their connection."""


def broker(args: argparse.Namespace, cluster: ClusterFile) -> TermBroker[ReplicatedBroker]:
    """One with amqtt's own configuration. The address to listen on is that of the cluster file."""
    logging.getLogger("transitions").setLevel(logging.WARNING)
    config = yaml.safe_load(args.amqtt.read_text() if args.amqtt else NAMED)
    listener = config.setdefault("listeners", {}).setdefault("default", {"type": "tcp"})
    listener["bind"] = "{}:{}".format(*cluster.client_address(args.id))
    settings = BrokerConfig.from_dict(config)
    return TermBroker(lambda node: ReplicatedBroker(settings, node))


if __name__ == "__main__":
    program = NodeProgram("mqtt", "One node of a highly available MQTT broker.")
    program.parser.add_argument("--amqtt", type=Path, metavar="YAML", help="amqtt's own configuration")
    program.run(broker, errors=(DaciteError, yaml.YAMLError))
