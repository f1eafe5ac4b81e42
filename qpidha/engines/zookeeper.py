"""Servers of ZooKeeper: what they are told, for demonstrations and tests alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from qpidha.engines.missing import require_file, require_program
from qpidha.engines.ports import take_ports
from qpidha.engines.server import Server

MEMBERS = 3
TICK_S = 0.2
JAR = Path("/usr/share/java/zookeeper.jar")
"""Of Debian's package. It names the other files that it needs."""
TLS_JARS = ("netty-codec", "netty-resolver", "slf4j-simple")
"""What Debian's package needs besides for TLS and does not name, and a log."""


def member_command(
    data: Path,
    number: int,
    peer_ports: Sequence[int],
    *,
    options: Mapping[str, object],
    java: Sequence[str] = (),
) -> list[str]:
    """Write the configuration of one server into a directory that is new, and return its command line.

    Args:
        data: Its directory.
        number: Which of the members it is.
        peer_ports: Two of each member, for the others.
        options: Further lines of the configuration, such as where it serves clients.
        java: Further options of Java.
    """
    data.mkdir(parents=True)
    (data / "myid").write_text(f"{number + 1}\n")
    every = {
        "tickTime": round(TICK_S * 1000),
        "initLimit": 20,
        "syncLimit": 4,
        "dataDir": data,
        "admin.enableServer": "false",
        **{
            f"server.{n + 1}": f"127.0.0.1:{peer_ports[2 * n]}:{peer_ports[2 * n + 1]}"
            for n in range(len(peer_ports) // 2)
        },
        **options,
    }
    file = data / "zoo.cfg"
    file.write_text("".join(f"{name}={value}\n" for name, value in every.items()))
    jars = [JAR, *(JAR.with_name(f"{name}.jar") for name in TLS_JARS)]
    return [
        *("java", "-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"),
        *java,
        "-Dzookeeper.cnxTimeout=500",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        *("-cp", ":".join(map(str, jars))),
        "org.apache.zookeeper.server.quorum.QuorumPeerMain",
        str(file),
    ]


def plain_zookeeper(folder: Path, host: str) -> tuple[list[Server], str]:
    """Three servers that serve plain text at an address, and the URL of the record there. Nothing runs yet.

    Raises:
        EngineMissing: Java or ZooKeeper is not installed.
    """
    require_program("java", "default-jre-headless")
    require_file(JAR, "zookeeper")
    ports = take_ports(3 * MEMBERS)
    clients, peers = ports[:MEMBERS], ports[MEMBERS:]
    servers = []
    for n in range(MEMBERS):
        options = {"clientPort": clients[n], "clientPortAddress": host}
        command = member_command(folder / f"m{n}", n, peers, options=options)
        servers.append(Server(command, log=folder / f"m{n}.log"))
    return servers, f"zookeeper://{','.join(f'{host}:{port}' for port in clients)}/qpidha/demo"
