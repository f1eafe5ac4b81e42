"""``qpidha init``: writes a cluster file, and certificates for a trial."""

from __future__ import annotations

import argparse
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from qpidha.cli.console import OK, PROBLEM, about, deliver, fail, why
from qpidha.cli.text import name, one_line
from qpidha.cli.work import write_new
from qpidha.errors import ArgumentError, QpidhaError
from qpidha.wildcard import is_wildcard

if TYPE_CHECKING:
    from qpidha.clusterfile.draft import Draft

NODE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,62}", re.ASCII)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_. -]{0,62}", re.ASCII)
TRIAL_NODES = {"a": ("127.0.0.1:5671",), "b": ("127.0.0.1:5672",), "c": ("127.0.0.1:5673",)}
TRIAL_CLIENTS = {"a": "127.0.0.1:5681", "b": "127.0.0.1:5682", "c": "127.0.0.1:5683"}


def add_init(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``qpidha init``."""
    parser.add_argument(
        "file", type=Path, nargs="?", default=Path("qpidha.toml"), help="what to write (qpidha.toml)"
    )
    parser.add_argument("--name", default="qpidha", help="the name of the cluster, for people (qpidha)")
    parser.add_argument(
        "--node",
        type=assignment,
        action="append",
        metavar="NODE=HOST:PORT[,…]",
        help="a node and its addresses for the others, once for each node (three nodes on this machine)",
    )
    parser.add_argument(
        "--client", type=assignment, action="append", metavar="NODE=HOST:PORT", help="its address for clients"
    )
    parser.add_argument(
        "--record",
        type=utf_8,
        metavar="PLACE",
        help="the URL of an engine such as etcd://a:2379,b:2379/qpidha, or a directory",
    )
    parser.add_argument(
        "--store",
        type=utf_8,
        metavar="DIR",
        help="where nodes keep their messages; {node} is the id (stores/{node})",
    )
    parser.add_argument(
        "--certificates",
        action="store_true",
        help="also make an authority, and certificates of nodes and an operator, for a trial, in certificates/",
    )
    parser.set_defaults(run=run_init, json=False, parser=parser)


def utf_8(text: str) -> str:
    """A text that can be written. A path of the system need not be one."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(
            f"{name(text)} is not UTF-8, as a cluster file must be: give another name"
        ) from None
    return text


def assignment(text: str) -> tuple[str, tuple[str, ...]]:
    """A node and its addresses from the command line."""
    from qpidha.addresses import parse_address

    node, equals, rest = utf_8(text).partition("=")
    if not equals or not NODE.fullmatch(node):
        raise argparse.ArgumentTypeError(
            f"{name(text)} is not NODE=HOST:PORT; a node's id is letters, digits, '-', '_' and '.'"
        )
    for address in rest.split(","):
        try:
            host, port = parse_address(address)
        except ArgumentError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
        if is_wildcard(host) or not port:
            raise argparse.ArgumentTypeError(
                f"others cannot connect to {name(address)}: give a host and a port"
            )
    return node, tuple(rest.split(","))


def run_init(args: argparse.Namespace) -> int:
    """Run ``qpidha init``; returns the exit code."""
    draft = drafted(args)
    folder = args.file.parent / "certificates"
    try:
        written = write(args.file, draft, folder if args.certificates else None)
    except FileExistsError:
        return fail(f"{name(str(args.file))} is there already: nothing was written", PROBLEM)
    except QpidhaError as error:
        return fail(f"nothing was written: {why(error)}", PROBLEM)
    except OSError as error:
        return fail(f"nothing was written: {about(args.file, error)}", PROBLEM)
    lines = [f"wrote {name(str(path))}" for path in written]
    if args.certificates:
        lines.append(
            f"keep {name(str(folder / 'ca.key'))} away from the nodes; give each node ca.pem and its own two files, and "
            "operators those of operator"
        )
    elif draft.tls:
        lines.append(
            f"put ca.pem, NODE.pem and NODE.key of each node into {name(str(folder))}, or change [tls]"
        )
    return deliver(args, OK, None, lines)


def drafted(args: argparse.Namespace) -> Draft:
    """The file that was asked for. Ends the command if that makes no sense."""
    from qpidha.clusterfile.draft import Draft
    from qpidha.records.url import is_url

    nodes: Mapping[str, tuple[str, ...]] = dict(args.node) if args.node else TRIAL_NODES
    clients = {node: addresses[0] for node, addresses in args.client or ()}
    if not args.node and not args.client:
        clients = TRIAL_CLIENTS
    wrong = mistake(args, nodes, clients)
    if wrong:
        args.parser.error(one_line(wrong))
    record = args.record or "record"
    remote = not all(is_local(address) for addresses in nodes.values() for address in addresses)
    return Draft(
        cluster=args.name,
        nodes=nodes,
        clients=clients,
        record=record,
        store=args.store or "stores/{node}",
        tls=remote or args.certificates,
        roles_required=args.certificates,
        record_tls=is_url(record) and not record.startswith("file:") and (remote or args.certificates),
    )


def mistake(
    args: argparse.Namespace, nodes: Mapping[str, tuple[str, ...]], clients: Mapping[str, str]
) -> str | None:
    """What is wrong with the options together; None: nothing."""
    from qpidha.records.url import is_url

    if not NAME.fullmatch(args.name):
        return f"--name {name(args.name)}: it must be letters, digits, spaces, '-', '_' and '.'"
    if len(args.node or ()) != len(dict(args.node or ())):
        return "--node: a node is given twice"
    strange = next((node for node in clients if node not in nodes), None)
    if strange is not None:
        return f"--client: there is no node {name(strange)}"
    if args.store is not None and "{node}" not in args.store:
        return "--store: write {node} in it for the node's id"
    if args.file.suffix != ".toml":
        return f"{name(str(args.file))}: the name of a cluster file ends in .toml"
    local = all(is_local(address) for addresses in nodes.values() for address in addresses)
    if not local and not (args.record and is_url(args.record)):
        return "--record: nodes of several machines need an engine, such as etcd://HOST:2379/qpidha"
    return None


def is_local(address: str) -> bool:
    """Whether an address is one of the loopback interface: there links may be plain text."""
    from qpidha.addresses import parse_address
    from qpidha.transports.sockets import is_loopback

    host, _ = parse_address(address)
    return host == "localhost" or is_loopback(host)


def write(file: Path, draft: Draft, folder: Path | None) -> list[Path]:
    """Write the certificates, if asked for, then the file. Returns what was written.

    Raises:
        FileExistsError: The file is there.
        SettingsError: The certificates cannot be made, or what was drafted is no valid cluster file.
        OSError: Something cannot be written.
    """
    from qpidha.addresses import parse_address
    from qpidha.clusterfile import ClusterFile
    from qpidha.clusterfile.authority import make_certificates

    if file.exists():
        raise FileExistsError
    if folder is not None:
        hosts = {
            node: [parse_address(address)[0] for address in addresses]
            for node, addresses in draft.nodes.items()
        }
        make_certificates(folder, draft.cluster, hosts)
    try:
        write_new(file, draft.text())
        try:
            ClusterFile.load(file)
        except BaseException:
            file.unlink()
            raise
    except BaseException:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return [file] if folder is None else [folder, file]
