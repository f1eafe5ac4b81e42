"""The command line of one node: see ``examples/amqp/broker.py``."""

from __future__ import annotations

import argparse
import asyncio
import gc
import secrets
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from amqp_broker.broker import Access, Broker, tls_context
from amqp_broker.sasl import Users, line_of
from qpidha import ArgumentError, Node, QpidhaError, Settings, logs
from qpidha.addresses import parse_address
from qpidha.interfaces import MessageStore
from qpidha.promoters import PriorityPromoter
from qpidha.queues import queue_types
from qpidha.records import open_records
from qpidha.service import run_node
from qpidha.stores import MemoryStore, SqliteStore
from qpidha.transports import TcpTransport
from qpidha.types import Address


def address(text: str) -> Address:
    try:
        return parse_address(text)
    except ArgumentError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def pattern(text: str) -> tuple[str, str]:
    name, equals, level = text.rpartition("=")
    if not equals:
        raise argparse.ArgumentTypeError("give PATTERN=none, PATTERN=configuration or PATTERN=messages")
    return name, level


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="amqp", description="One node of a highly available AMQP 1.0 broker."
    )
    parser.add_argument("--id", required=True, help="name of this node; keep it over restarts")
    parser.add_argument("--dir", required=True, type=Path, help="where this node keeps its messages")
    parser.add_argument(
        "--cluster",
        required=True,
        help="where the record is kept: a directory that all share, or a URL",
    )
    parser.add_argument(
        "--listen", type=address, action="append", help="for the other nodes; may be repeated"
    )
    parser.add_argument("--advertise", type=address, action="append", help="where they find it, if not there")
    parser.add_argument("--tls-ca", type=Path, metavar="PEM", help="authority of all nodes' certificates")
    parser.add_argument("--tls-certificate", type=Path, metavar="PEM", help="of this node, with its key")
    parser.add_argument(
        "--client", type=address, required=True, metavar="HOST:PORT", help="for clients, while primary"
    )
    parser.add_argument(
        "--client-certificate", type=Path, metavar="PEM", help="for TLS: the broker's certificate"
    )
    parser.add_argument("--client-key", type=Path, metavar="PEM", help="its key")
    parser.add_argument("--client-ca", type=Path, metavar="PEM", help="of clients that may use EXTERNAL")
    parser.add_argument(
        "--users", type=Path, metavar="FILE", help="names and passwords, for PLAIN: see --add-user"
    )
    parser.add_argument("--no-anonymous", action="store_true", help="refuse clients without a name")
    parser.add_argument(
        "--idle-timeout", type=float, default=30.0, help="seconds; silent clients are dropped"
    )
    parser.add_argument("--priority", type=int, default=0, help="the highest is promoted first")
    parser.add_argument("--memory", action="store_true", help="keep messages in memory only")
    parser.add_argument("--ack-timeout", type=float, default=5.0, help="seconds; slower backups are removed")
    parser.add_argument(
        "--replicate", type=pattern, action="append", default=[], metavar="PATTERN=LEVEL",
        help="how much of queues and objects of such names the other nodes have; the first that matches counts",
    )  # fmt: skip
    parser.add_argument(
        "--log-format", choices=logs.FORMATS, default="text", help="json: one object a line (docs/logs.md)"
    )
    parser.add_argument("--until-eof", action="store_true", help="stop when standard input closes")
    return parser


def parse_arguments() -> argparse.Namespace:
    parser = make_parser()
    args = parser.parse_args()
    if problem := contradiction(args):
        parser.error(problem)
    return args


def contradiction(args: argparse.Namespace) -> str | None:
    """Options that would be ignored, or let no client in; None: there are none."""
    if args.client_certificate is None and (args.client_key or args.client_ca):
        return "--client-key and --client-ca need --client-certificate: without it clients have no TLS"
    if (args.tls_certificate is None) != (args.tls_ca is None):
        return "--tls-certificate and --tls-ca belong together: give both, or none for plain text"
    if args.no_anonymous and args.users is None and args.client_ca is None:
        return "--no-anonymous needs --users or --client-ca: no client could connect"
    return None


def settings(args: argparse.Namespace) -> Settings:
    return Settings(
        ack_timeout_s=args.ack_timeout,
        rejoin_timeout_s=2 * args.ack_timeout,
        replicate=dict(args.replicate),
    )


def access(args: argparse.Namespace) -> Access:
    certificate = args.client_certificate
    return Access(
        users=Users(args.users),
        anonymous=not args.no_anonymous,
        tls=None
        if certificate is None
        else tls_context(certificate, args.client_key or certificate, args.client_ca),
        idle_timeout_s=args.idle_timeout,
    )


def make_node(args: argparse.Namespace, broker: Broker) -> Node:
    args.dir.mkdir(parents=True, exist_ok=True)
    store: MessageStore = MemoryStore() if args.memory else SqliteStore(args.dir)
    certificate = args.tls_certificate
    transport = (
        TcpTransport()
        if certificate is None
        else TcpTransport.with_certificates(ca=args.tls_ca, certificate=certificate)
    )
    return Node(
        args.id,
        broker=broker,
        store=store,
        transport=transport,
        records=open_records(args.cluster),
        listen=args.listen or ("127.0.0.1", 0),
        advertise=args.advertise,
        client_address=args.client,
        promoter=PriorityPromoter(priority=args.priority),
        settings=broker.settings,
        control=args.dir / "control.sock",
        queue_types=queue_types(fifo=True),
    )


async def run(args: argparse.Namespace) -> None:
    broker = Broker(args.id, args.client, settings(args), access(args))
    broker.node = node = make_node(args, broker)
    await run_node(node, until_eof=args.until_eof)


def add_user(name: str) -> None:
    """Print the line of one user; its password is read from standard input."""
    print(line_of(name, sys.stdin.readline().rstrip("\n"), secrets.token_hex(8)))


def main() -> None:
    if len(sys.argv) == 3 and sys.argv[1] == "--add-user":
        try:
            add_user(sys.argv[2])
        except ValueError as error:
            sys.exit(f"amqp: {error}")
        return
    args = parse_arguments()
    logs.configure(args.log_format, node=args.id)
    gc.freeze()  # What was imported stays: full collections, of 15 to 45 ms without this, need not visit it.
    try:
        run_loop(run(args))
    except KeyboardInterrupt:
        pass
    except (QpidhaError, OSError) as error:
        sys.exit(f"amqp: {error}")


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """Under uvloop, if it is there."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)


if __name__ == "__main__":
    main()
