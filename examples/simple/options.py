"""The command line of the broker, and the parts of its node: from a cluster file, or from options."""

from __future__ import annotations

import argparse
from pathlib import Path

from protocol import Address

from qpidha import ArgumentError, Settings, logs
from qpidha.addresses import parse_address
from qpidha.clusterfile import ClusterFile, NodeArguments
from qpidha.promoters import OperatorPromoter, PriorityPromoter
from qpidha.records import open_records
from qpidha.stores import MemoryStore, SqliteStore
from qpidha.transports import TcpTransport

ACK_TIMEOUT_S = 5.0
LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Here everybody on the machine may read metrics and the page."""


def address(text: str) -> Address:
    try:
        return parse_address(text)
    except ArgumentError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="One node of a small, highly available message broker.")
    parser.add_argument(
        "--id", "--node", dest="id", required=True, help="name of this node; keep it over restarts"
    )
    parser.add_argument(
        "--cluster",
        required=True,
        help="the cluster file, whose name ends in .toml; or, with the options below, where the record is kept: "
        "a directory that all nodes share, or a URL such as etcd://host:2379/prefix?ca=FILE",
    )
    parser.add_argument("--dir", type=Path, help="where this node keeps its messages")
    parser.add_argument(
        "--listen", type=address, action="append", help="for the other nodes; may be repeated"
    )
    parser.add_argument("--advertise", type=address, action="append", help="where they find it, if not there")
    parser.add_argument("--tls-ca", type=Path, metavar="PEM", help="authority of all nodes' certificates")
    parser.add_argument("--tls-certificate", type=Path, metavar="PEM", help="of this node, with its key")
    parser.add_argument("--client", type=address, metavar="HOST:PORT", help="for clients")
    parser.add_argument(
        "--client-listen",
        type=address,
        metavar="HOST:PORT",
        help="where it listens for them, if not there (NAT)",
    )
    parser.add_argument("--priority", type=int, default=0, help="the highest is promoted first")
    parser.add_argument(
        "--promoter",
        choices=["priority", "operator"],
        default="priority",
        help="operator: become primary only when ordered to, by `qpidha promote` or Pacemaker",
    )
    parser.add_argument("--memory", action="store_true", help="keep messages in memory only")
    parser.add_argument("--window", type=int, default=100_000, help="unconfirmed publishes per client")
    parser.add_argument(
        "--ack-timeout", type=float, default=ACK_TIMEOUT_S, help="seconds; slower backups are removed"
    )
    parser.add_argument(
        "--web",
        type=address,
        metavar="HOST:PORT",
        help="metrics and a page; TLS with certificates of operators and viewers, unless it is a loopback address",
    )
    parser.add_argument(
        "--log-format", choices=logs.FORMATS, default="text", help="json: one object a line (docs/logs.md)"
    )
    parser.add_argument("--until-eof", action="store_true", help="stop when standard input closes")
    args = parser.parse_args()
    if not args.cluster.endswith(".toml") and (args.dir is None or args.client is None):
        parser.error("--dir and --client are needed, or a cluster file")
    return args


def node_arguments(args: argparse.Namespace) -> NodeArguments:
    """The arguments of `qpidha.Node`, with a client address. Raises `qpidha.SettingsError`."""
    found = of_cluster_file(args) if args.cluster.endswith(".toml") else of_options(args)
    found["control"].parent.mkdir(parents=True, exist_ok=True)
    if args.memory:
        found["store"] = MemoryStore()
    return found


def of_cluster_file(args: argparse.Namespace) -> NodeArguments:
    found = ClusterFile.load(args.cluster).arguments(args.id)
    if found["client_address"] is None:
        raise ArgumentError(f"{args.cluster}: nodes.{args.id} has no client_address")
    return found


def of_options(args: argparse.Namespace) -> NodeArguments:
    return {
        "store": SqliteStore(args.dir),
        "transport": transport(args),
        "records": open_records(args.cluster),
        "listen": args.listen or [("127.0.0.1", 0)],
        "advertise": args.advertise,
        "client_address": args.client,
        "promoter": OperatorPromoter() if args.promoter == "operator" else PriorityPromoter(args.priority),
        "settings": Settings(ack_timeout_s=args.ack_timeout, rejoin_timeout_s=2 * args.ack_timeout),
        "control": args.dir / "control.sock",
    }


def web_files(args: argparse.Namespace) -> dict[str, Path]:
    """The node's certificate for the HTTP port, and the authority of operators; nothing on a loopback address."""
    if args.web[0] in LOOPBACK or not args.cluster.endswith(".toml"):
        return {}
    return ClusterFile.load(args.cluster).tls_paths(args.id)


def transport(args: argparse.Namespace) -> TcpTransport:
    """Links between nodes: plain text on one machine, or TLS with the node's id in its certificate."""
    if args.tls_certificate is None:
        return TcpTransport()
    return TcpTransport.with_certificates(ca=args.tls_ca, certificate=args.tls_certificate)
