"""Members of etcd: what they are told, for demonstrations and tests alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from qpidha.engines.missing import require_program
from qpidha.engines.ports import take_ports
from qpidha.engines.server import Server

MEMBERS = 3
HEARTBEAT_MS, ELECTION_MS = 100, 1000
"""The defaults of etcd: what the documentation says of times is tested with them."""


def member_command(
    data: Path, number: int, url: str, peers: Sequence[str], *, token: str, options: Mapping[str, str]
) -> list[str]:
    """The command line of one member.

    Args:
        data: Its directory.
        number: Which of the members it is.
        url: Where it serves clients.
        peers: Where the members serve each other.
        token: Of the cluster: another one for another life at the same addresses.
        options: Further ones, without the dashes before them.
    """
    every = {
        "name": f"m{number}",
        "data-dir": str(data),
        "listen-client-urls": url,
        "advertise-client-urls": url,
        "listen-peer-urls": peers[number],
        "initial-advertise-peer-urls": peers[number],
        "initial-cluster": ",".join(f"m{n}={peer}" for n, peer in enumerate(peers)),
        "initial-cluster-token": token,
        "heartbeat-interval": str(HEARTBEAT_MS),
        "election-timeout": str(ELECTION_MS),
        "logger": "zap",
        "log-level": "warn",
        **options,
    }
    return ["etcd", *(f"--{name}={value}" for name, value in every.items())]


def plain_etcd(folder: Path, host: str) -> tuple[list[Server], str]:
    """Three members that serve plain text at an address, and the URL of the record there. Nothing runs yet.

    Raises:
        EngineMissing: etcd is not installed.
    """
    require_program("etcd", "etcd-server")
    ports = take_ports(2 * MEMBERS)
    clients = [f"http://{host}:{port}" for port in ports[:MEMBERS]]
    peers = [f"http://127.0.0.1:{port}" for port in ports[MEMBERS:]]
    servers = [
        Server(
            member_command(folder / f"m{n}", n, clients[n], peers, token=folder.name, options={}),
            log=folder / f"m{n}.log",
        )
        for n in range(MEMBERS)
    ]
    return servers, f"etcd://{','.join(f'{host}:{port}' for port in ports[:MEMBERS])}/qpidha/demo"
