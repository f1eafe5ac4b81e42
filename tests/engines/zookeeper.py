"""A real ZooKeeper ensemble: three members with TLS, certificates of clients, and digest authentication."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from qpidha.engines.ports import take_ports
from qpidha.engines.zookeeper import JAR, MEMBERS, member_command
from qpidha.records import ZooKeeperRecordStore
from tests.engines.certificates import Authority, Identity
from tests.engines.engine import PASSWORD, USER, Engine, Says
from tests.engines.server import Server, require
from tests.support.missing import leave_out

ROOT_PASSWORD = "of root"
CONNECTIONS_MAX = 60
"""Of one address: the default of ZooKeeper. All clients have one address here."""


@dataclass
class Ensemble(Engine):
    """Three members. Make it with `Ensemble.make`; stop it with `stop`."""

    name: ClassVar[str] = "zookeeper"
    says: ClassVar[Says] = Says(
        unreachable="no member of ZooKeeper answers",
        no_connection="no member of ZooKeeper answers",
        another="another ZooKeeper ensemble",
        went_back="went back from transaction",
        expired="expired",
        stranger="certificate of this node",
        passwords="all permissions to user 'qpidha' with this password",
        anonymous="or give a user and a password",
        too_large="shorten the node ids",
    )
    ttl_s: ClassVar[float] = 2.5
    """Longer than an election."""
    short_ttl_s: ClassVar[float] = 1.0
    hung_s: ClassVar[float] = 0.7
    reserved: ClassVar[tuple[str, ...]] = ("record", "sessions", "claims")

    folder: Path
    authority: Authority
    identity: Identity
    ports: list[int]
    """For clients with TLS."""
    plain_ports: list[int]
    """For the operator."""
    peer_ports: list[int]
    members: list[Server] = field(default_factory=list)
    life: int = 0
    """How often it began anew, with nothing in it."""

    def __post_init__(self) -> None:
        self._tls = self.tls()

    @classmethod
    def make(cls, folder: Path) -> Ensemble:
        """Nothing runs yet."""
        require("java", "default-jre-headless")
        if not JAR.exists():
            message = f"{JAR} is not there. On Debian and Ubuntu: apt-get install zookeeper"
            leave_out(message)
        ports = take_ports(4 * MEMBERS)
        authority = Authority(folder / "certificates")
        server = authority.issue("member")
        ensemble = cls(folder, authority, server, ports[:3], ports[3:6], ports[6:])
        key = load_pem_private_key(server.key.read_bytes(), None)
        pkcs8 = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / "member.pem").write_bytes(pkcs8 + server.certificate.read_bytes())
        ensemble.members = [ensemble._member(n) for n in range(MEMBERS)]
        return ensemble

    def _member(self, n: int) -> Server:
        data = self.folder / f"m{n}.{self.life}"
        options = {
            "clientPort": self.plain_ports[n],
            "clientPortAddress": "127.0.0.1",
            "secureClientPort": self.ports[n],
            "secureClientPortAddress": "127.0.0.1",
            "serverCnxnFactory": "org.apache.zookeeper.server.NettyServerCnxnFactory",
            "ssl.keyStore.location": self.folder / "member.pem",
            "ssl.keyStore.type": "PEM",
            "ssl.trustStore.location": self.authority.ca,
            "ssl.trustStore.type": "PEM",
            "4lw.commands.whitelist": "srvr",
            "maxClientCnxns": CONNECTIONS_MAX,
        }
        digest = hashlib.sha1(f"super:{ROOT_PASSWORD}".encode(), usedforsecurity=False).digest()
        root = base64.b64encode(digest).decode()
        java = [f"-Dzookeeper.DigestAuthenticationProvider.superDigest=super:{root}"]
        command = member_command(data, n, self.peer_ports, options=options, java=java)

        async def ready() -> bool:
            return await self.mode(n) in ("leader", "follower")

        return Server(command, log=self.folder / f"m{n}.log", ready=ready)

    # --- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start all members that do not run."""
        for member in self.members:
            member.resume()
            if member.pid is None:
                member.launch()
        await asyncio.gather(*(member.wait_ready() for member in self.members))

    def stop(self) -> None:
        """End all members at once. Nothing is lost: each write was synced."""
        for member in self.members:
            member.kill()

    async def wipe(self) -> None:
        """Begin anew at the same addresses, with nothing in it."""
        for n, member in enumerate(self.members):
            member.kill()
            shutil.rmtree(self.folder / f"m{n}.{self.life}")
        self.life += 1
        self.members = [self._member(n) for n in range(MEMBERS)]
        await self.start()

    async def mode(self, n: int) -> str:
        """What a member is: leader, follower, or "" while it serves nobody. Raises OSError."""
        return (await self._srvr(n)).partition("Mode: ")[2].partition("\n")[0]

    async def connections(self) -> int:
        """How many connections of clients all members have, without those that ask for this."""
        answers = [await self._srvr(n) for n in range(len(self.members))]
        return sum(int(answer.partition("Connections: ")[2].partition("\n")[0]) - 1 for answer in answers)

    async def _srvr(self, n: int) -> str:
        """What a member says of itself; nothing if it is silent. Raises OSError."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.plain_ports[n])
        try:
            writer.write(b"srvr")
            answer = await asyncio.wait_for(reader.read(), 1.0)
        except asyncio.TimeoutError:
            return ""
        finally:
            writer.transport.abort()
            await asyncio.sleep(0)
        return answer.decode()

    async def leader(self) -> int:
        """The number of the member that leads."""
        while True:
            for n, member in enumerate(self.members):
                if member.pid is not None:
                    with contextlib.suppress(OSError):
                        if await self.mode(n) == "leader":
                            return n
            await asyncio.sleep(0.02)

    # --- faults ----------------------------------------------------------------------------------

    def kill(self, n: int) -> None:
        self.members[n].kill()

    def runs(self, n: int) -> bool:
        return self.members[n].pid is not None

    def pause(self, n: int) -> None:
        self.members[n].pause()

    def resume(self, n: int) -> None:
        self.members[n].resume()

    async def answers(self, n: int) -> None:
        await self.members[n].wait_ready()

    async def remove_session(self, store: ZooKeeperRecordStore, node: str) -> None:
        await self.as_root(lambda client: client.delete(store._layout.session(node)))

    async def spoil(self, store: ZooKeeperRecordStore) -> None:
        await self.as_root(lambda client: client.set(store._layout.record, b"{}"))

    async def forget(self, store: ZooKeeperRecordStore, founder: ZooKeeperRecordStore) -> None:
        store._requests._identity = founder._requests._identity  # As after a restore from a copy.
        store._requests._zxid = 2**40

    # --- what an operator does ---------------------------------------------------------------------

    async def as_root(self, act: Callable[[Any], Any]) -> Any:
        """Act with a client that may do everything."""
        from kazoo.client import KazooClient

        def work() -> Any:
            hosts = ",".join(f"127.0.0.1:{port}" for port in self.plain_ports)
            client = KazooClient(hosts, auth_data=[("digest", f"super:{ROOT_PASSWORD}")])
            client.start()
            try:
                return act(client)
            finally:
                client.stop()
                client.close()

        return await asyncio.to_thread(work)

    # --- for clients -----------------------------------------------------------------------------

    async def read(self, store: ZooKeeperRecordStore, timeout_s: float) -> object:
        return (await store._read_all(timeout_s)).record

    def store(self, place: str = "/qpidha/test", *, first: int = 0, **options: Any) -> ZooKeeperRecordStore:
        endpoints = [*self.endpoints[first:], *self.endpoints[:first]]
        given = {"endpoints": endpoints, "tls": self._tls, "user": USER, "password": PASSWORD, **options}
        return ZooKeeperRecordStore(prefix=place, **given)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Ensemble]:
    """Three members that run, with their files in a new folder."""
    made = Ensemble.make(folder)
    try:
        asyncio.run(made.start())
        yield made
    finally:
        made.stop()
