"""A real etcd ensemble: three members with TLS, certificates of clients, users and passwords."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shutil
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from qpidha.addresses import address_text
from qpidha.engines.etcd import MEMBERS, member_command
from qpidha.engines.ports import take_ports
from qpidha.records import EtcdRecordStore
from qpidha.records.etcd.layout import text
from tests.engines.certificates import Authority, Identity
from tests.engines.engine import PASSWORD, USER, Engine, Says
from tests.engines.server import Server, require

ROOT_PASSWORD = "of root"


@dataclass
class Answer:
    """An answer of the JSON gateway."""

    status: int
    body: dict[str, Any]


class Machine(Protocol):
    """Where a member runs, if not on this machine."""

    @property
    def address(self) -> str:
        """Its address in the network."""

    def command(self, words: Sequence[str]) -> list[str]:
        """The command line that runs a program there."""


@dataclass
class Ensemble(Engine):
    """Three members. Make it with `Ensemble.make`; stop it with `stop`."""

    name: ClassVar[str] = "etcd"
    says: ClassVar[Says] = Says(
        unreachable="no member of etcd answers",
        no_connection="no member of etcd answers",
        another="another etcd ensemble",
        went_back="went back from revision",
        expired="lease has ended",
        stranger="certificate of this node",
        passwords="user 'qpidha' or the password is wrong",
        anonymous="give a user and a password",
        too_large="raise --max-request-bytes",
    )
    ttl_s: ClassVar[float] = 2.0
    """What etcd grants at least, with its default election time-out."""
    short_ttl_s: ClassVar[float] = 2.0
    delay_s: ClassVar[float] = 0.1
    reserved: ClassVar[tuple[str, ...]] = ("sessions",)

    folder: Path
    authority: Authority
    identity: Identity
    ports: list[int]
    peer_ports: list[int]
    machines: Sequence[Machine] = ()
    """One for each member; none: all are on this machine."""
    members: list[Server] = field(default_factory=list)
    life: int = 0
    """How often it began anew, with nothing in it."""

    def __post_init__(self) -> None:
        self._tls = self.tls()

    @classmethod
    def make(cls, folder: Path, machines: Sequence[Machine] = ()) -> Ensemble:
        """Nothing runs yet. With machines, the thread that calls must be on one that reaches them."""
        require("etcd", "etcd-server")
        ports = [2379] * MEMBERS + [2380] * MEMBERS if machines else take_ports(2 * MEMBERS)
        authority = Authority(folder / "certificates")
        # The gateway shows the member's own certificate to the member: with a common name it would be that user.
        server = authority.issue(
            "member", "127.0.0.1", "localhost", *(machine.address for machine in machines)
        )
        ensemble = cls(folder, authority, server, ports[:MEMBERS], ports[MEMBERS:], machines)
        ensemble.members = [ensemble._member(n) for n in range(MEMBERS)]
        return ensemble

    @property
    def endpoints(self) -> list[str]:
        """The addresses of the members."""
        return [address_text((self.address(n), port)) for n, port in enumerate(self.ports)]

    def address(self, n: int) -> str:
        """The host of a member."""
        return self.machines[n].address if self.machines else "127.0.0.1"

    def _member(self, n: int) -> Server:
        peers = [f"https://{address_text((self.address(i), port))}" for i, port in enumerate(self.peer_ports)]
        certificate, key, ca = (
            str(p) for p in (self.identity.certificate, self.identity.key, self.authority.ca)
        )
        options = {
            "cert-file": certificate,
            "key-file": key,
            "trusted-ca-file": ca,
            "client-cert-auth": "true",
            "peer-cert-file": certificate,
            "peer-key-file": key,
            "peer-trusted-ca-file": ca,
            "peer-client-cert-auth": "true",
            "bcrypt-cost": "4",
            "auth-token-ttl": "3",
        }

        async def ready() -> bool:
            answer = await self.call(n, "/v3/maintenance/status", {})
            return answer.status == 200 and answer.body.get("leader", "0") != "0"

        command = member_command(
            self.folder / f"m{n}.{self.life}",
            n,
            f"https://{self.endpoints[n]}",
            peers,
            token=f"life-{self.life}",
            options=options,
        )
        if self.machines:
            command = self.machines[n].command(command)
        return Server(command, log=self.folder / f"m{n}.log", ready=ready)

    # --- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start all members that do not run; with users and passwords if it is new."""
        new = all(not (self.folder / f"m{n}.{self.life}").exists() for n in range(MEMBERS))
        for member in self.members:
            member.resume()
            if member.pid is None:
                member.launch()
        await asyncio.gather(*(member.wait_ready() for member in self.members))
        if new:
            await self._enable_auth()

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

    async def leader(self) -> int:
        """The number of the member that leads."""
        while True:
            for n, member in enumerate(self.members):
                if member.pid is None:
                    continue
                with contextlib.suppress(OSError, asyncio.TimeoutError):
                    answer = await asyncio.wait_for(self.call(n, "/v3/maintenance/status", {}), 1.0)
                    body = answer.body
                    if body.get("leader", "0") != "0" and body["leader"] == body["header"]["member_id"]:
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

    async def remove_session(self, store: EtcdRecordStore, node: str) -> None:
        await self.as_root("/v3/kv/deleterange", {"key": text(store._layout.session(node))})

    async def spoil(self, store: EtcdRecordStore) -> None:
        await self.as_root("/v3/kv/put", {"key": text(store._layout.record), "value": text(b"{}")})

    async def forget(self, store: EtcdRecordStore, founder: EtcdRecordStore) -> None:
        store._gateway._cluster = None  # The same identity, as after a restore from a copy.
        store._gateway._revision = 10**6

    # --- what an operator does ---------------------------------------------------------------------

    async def _enable_auth(self) -> None:
        steps: list[tuple[str, dict[str, Any]]] = [
            ("user/add", {"name": "root", "password": ROOT_PASSWORD}),
            ("role/add", {"name": "root"}),
            ("user/grant", {"user": "root", "role": "root"}),
            *self._user_steps(USER, PASSWORD, "/qpidha/"),
            ("enable", {}),
        ]
        for path, body in steps:
            await self._must(f"/v3/auth/{path}", body)

    @staticmethod
    def _user_steps(user: str, password: str, prefix: str) -> list[tuple[str, dict[str, Any]]]:
        grant = {"permType": 2, "key": base64_of(prefix), "range_end": base64_of(prefix[:-1] + "0")}
        return [
            ("user/add", {"name": user, "password": password}),
            ("role/add", {"name": user}),
            ("role/grant", {"name": user, "perm": grant}),
            ("user/grant", {"user": user, "role": user}),
        ]

    async def _must(self, path: str, body: dict[str, Any], token: str | None = None) -> dict[str, Any]:
        answer = await self.call(0, path, body, token)
        assert answer.status == 200, (path, answer)
        return answer.body

    async def as_root(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Call the gateway as root."""
        login = await self._must("/v3/auth/authenticate", {"name": "root", "password": ROOT_PASSWORD})
        return await self._must(path, body, login["token"])

    async def compact(self) -> None:
        """Forget all revisions but the newest."""
        status = await self.as_root("/v3/maintenance/status", {})
        await self.as_root("/v3/kv/compaction", {"revision": status["header"]["revision"], "physical": True})

    async def call(self, n: int, path: str, body: dict[str, Any], token: str | None = None) -> Answer:
        """Call one member, with the certificate of the members. Raises OSError."""
        context = self.authority.client_context(self.identity)
        return await post((self.address(n), self.ports[n]), context, path, body, token)

    # --- for clients -----------------------------------------------------------------------------

    async def log_out(self, store: EtcdRecordStore) -> None:
        store._gateway._token = None

    async def read(self, store: EtcdRecordStore, timeout_s: float) -> object:
        return (await store._read_all(timeout_s)).record

    def store(self, place: str = "/qpidha/test", *, first: int = 0, **options: Any) -> EtcdRecordStore:
        endpoints = [*self.endpoints[first:], *self.endpoints[:first]]
        given = {"endpoints": endpoints, "tls": self._tls, "user": USER, "password": PASSWORD, **options}
        return EtcdRecordStore(prefix=place, **given)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Ensemble]:
    """Three members that run, with their files in a new folder."""
    made = Ensemble.make(folder)
    try:
        asyncio.run(made.start())
        yield made
    finally:
        made.stop()


def base64_of(text: str) -> str:
    """Text as the gateway wants keys."""
    return base64.b64encode(text.encode()).decode()


async def post(
    address: tuple[str, int],
    context: ssl.SSLContext,
    path: str,
    body: dict[str, Any],
    token: str | None = None,
) -> Answer:
    """One request over one connection, without the client that is tested."""
    reader, writer = await asyncio.open_connection(*address, ssl=context)
    try:
        data = json.dumps(body).encode()
        head = [f"POST {path} HTTP/1.0", f"Content-Length: {len(data)}", "Content-Type: application/json"]
        if token is not None:
            head.append(f"Authorization: {token}")
        writer.write("\r\n".join([*head, "", ""]).encode() + data)
        answer = await reader.read()
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)
    headers, _, content = answer.partition(b"\r\n\r\n")
    if not headers:
        raise ConnectionResetError("no answer")
    try:
        found = json.loads(content)
    except ValueError:
        found = {"text": content.decode(errors="replace")}
    return Answer(int(headers.split()[1]), found)
