"""A real PostgreSQL: a primary and a synchronous standby that streams from it, with TLS, certificates and passwords."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlencode

import asyncpg

from qpidha.engines.ports import take_ports
from qpidha.records import PostgreSqlRecordStore
from tests.engines.certificates import Authority, Identity
from tests.engines.engine import PASSWORD, USER, Engine, Says, repeated
from tests.engines.server import Server
from tests.support.missing import leave_out

DATABASE = "ha"
SYSTEM_USER = "postgres"
"""PostgreSQL refuses to run as root."""
RULES = (
    f"hostssl all {USER} 127.0.0.1/32 scram-sha-256 clientcert=verify-full",
    "hostssl all postgres 127.0.0.1/32 scram-sha-256",
    "hostssl replication postgres 127.0.0.1/32 scram-sha-256",
)
OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "ssl": "on",
    "max_connections": "60",
    "shared_buffers": "16MB",
    "dynamic_shared_memory_type": "mmap",  # In its folder: a killed server leaves nothing elsewhere.
    "synchronous_commit": "off",
    "wal_receiver_status_interval": "1s",
    "wal_retrieve_retry_interval": "100ms",
}
STANDBY = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"


def binaries() -> Path:
    """The folder of PostgreSQL's programs. Skips the test without it; fails where nothing may be left out (CI)."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if found:
        return found[-1].parent
    known = shutil.which("initdb")
    if known is None:
        leave_out("PostgreSQL is not installed. On Debian and Ubuntu: apt-get install postgresql")
    return Path(known).parent


class Pair(Engine):
    """Servers 0, the primary at the beginning, and 1. Make and stop it with `running`.

    `elect` is what an operator does, or Patroni: it promotes the standby. `start` then makes the old primary a standby.
    """

    name: ClassVar[str] = "postgresql"
    says: ClassVar[Says] = Says(
        unreachable="no server of PostgreSQL can be used|PostgreSQL does not answer",
        no_connection="no connection in",
        another="another cluster of PostgreSQL",
        went_back="went back from version",
        expired="row was removed",
        stranger="certificate of this node",
        passwords="user 'qpidha' or the password is wrong",
        anonymous="give a user",
    )
    quorum: ClassVar[bool] = False
    ttl_s: ClassVar[float] = 2.0
    short_ttl_s: ClassVar[float] = 1.0
    delay_s: ClassVar[float] = 0.03

    def __init__(self, folder: Path) -> None:
        self._bin = binaries()
        self._folder = folder
        self._give(folder)
        secrets = folder / "certificates"
        self.authority = Authority(secrets)
        self.ports = take_ports(2)
        self.primary = 0
        self._replaced = False
        self._tls = self.tls()
        identity = self.authority.issue("postgresql")
        self._certificate, self._key, self._ca = (
            folder / name for name in ("server.pem", "server.key", "ca.pem")
        )
        for source, target in (
            (identity.certificate, self._certificate),
            (identity.key, self._key),
            (self.authority.ca, self._ca),
        ):
            shutil.copy(source, target)
            target.chmod(0o600)
            self._give(target)
        self._secret = folder / "secret"
        self._secret.write_text(PASSWORD)
        self._give(self._secret)
        self.servers = [self._server(n) for n in range(2)]

    def data(self, n: int) -> Path:
        """The folder of a server."""
        return self._folder / f"data{n}"

    @staticmethod
    def _give(path: Path) -> None:
        if os.geteuid() == 0:
            shutil.chown(path, SYSTEM_USER, SYSTEM_USER)

    def _program(self, *command: str, **environment: str) -> None:
        wrapper = []
        if os.geteuid() == 0:
            wrapper = ["setpriv", "--reuid", SYSTEM_USER, "--regid", SYSTEM_USER, "--clear-groups", "--"]
        done = subprocess.run(
            [*wrapper, str(self._bin / command[0]), *command[1:]],
            cwd=self._folder,
            env={**os.environ, "LC_ALL": "C", "HOME": str(self._folder), **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _server(self, n: int) -> Server:
        async def ready() -> bool:
            try:
                await self.sql("SELECT 1", n=n, database="postgres")
            except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncio.TimeoutError):
                return False
            return True

        options = {
            **OPTIONS,
            "port": str(self.ports[n]),
            "ssl_cert_file": str(self._certificate),
            "ssl_key_file": str(self._key),
            "ssl_ca_file": str(self._ca),
            "hba_file": str(self._folder / "hba.conf"),
        }
        command = [str(self._bin / "postgres"), "-D", str(self.data(n))]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        # The standby looks for a certificate in its home, and must not do so in root's.
        environment = {"HOME": str(self._folder)}
        log = self._folder / f"{n}.log"
        return Server(command, log=log, ready=ready, environment=environment, user=SYSTEM_USER)

    # --- life ------------------------------------------------------------------------------------

    async def make(self) -> None:
        """Start both for the first time, with a database and a user."""
        hba = self._folder / "hba.conf"
        hba.write_text("".join(f"{rule}\n" for rule in RULES))
        self._give(hba)
        self.primary, self._replaced = 0, False
        await asyncio.to_thread(
            self._program, "initdb", "-D", str(self.data(0)), "-U", "postgres", "--pwfile", str(self._secret),
            "--auth=scram-sha-256", "--no-sync", "--no-locale", "--encoding=UTF8", "--wal-segsize=1",
        )  # fmt: skip
        await self.servers[0].start()
        for line in (
            f"CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'",
            f"CREATE DATABASE {DATABASE} OWNER {USER}",
        ):
            await self.sql(line, database="postgres")
        await self._make_standby(1)

    async def _make_standby(self, n: int) -> None:
        """A synchronous one, of the present primary. What it had is removed."""
        self.kill(n)
        shutil.rmtree(self.data(n), ignore_errors=True)
        address = ("-h", "127.0.0.1", "-p", str(self.ports[self.primary]), "-U", "postgres")
        await self._set_synchronous("'*'")
        await asyncio.to_thread(
            self._program, "pg_basebackup", *address, "-D", str(self.data(n)), "-R", "-X", "stream",
            "--checkpoint=fast", "--no-sync", PGPASSWORD=PASSWORD, PGSSLMODE="require",
        )  # fmt: skip
        self._replaced = False
        await self.start()

    async def _set_synchronous(self, names: str) -> None:
        await self.sql(f"ALTER SYSTEM SET synchronous_standby_names = {names}", database="postgres")
        await self.sql("SELECT pg_reload_conf()", database="postgres")

    async def start(self) -> None:
        for n in range(2):
            self.resume(n)
        if self._replaced:
            await self._make_standby(1 - self.primary)
            return
        for server in self.servers:
            if server.pid is None:
                await server.start()
        await repeated(lambda: self.sql(STANDBY, database="postgres"))

    def stop(self) -> None:
        for n in range(2):
            self.kill(n)

    async def wipe(self) -> None:
        self.stop()
        for n in range(2):
            shutil.rmtree(self.data(n))
        await self.make()

    async def leader(self) -> int:
        return self.primary

    async def elect(self) -> None:
        """Promote the standby. It takes changes at once: its own standby is made by `start`."""
        n = 1 - self.primary
        await self.sql("SELECT pg_promote(true, 30)", n=n, database="postgres")
        self.primary, self._replaced = n, True
        await self._set_synchronous("''")

    # --- faults ----------------------------------------------------------------------------------

    async def lose_quorum(self) -> None:
        self.kill(self.primary)

    def _family(self, n: int) -> list[int]:
        """The processes of a server, its postmaster first: each is in a process group of its own."""
        pid = self.servers[n].pid
        if pid is None:
            return []
        children = Path(f"/proc/{pid}/task/{pid}/children")
        return [pid, *map(int, children.read_text().split())]

    def _signal(self, n: int, number: int) -> None:
        for pid in self._family(n):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self, n: int) -> None:
        self._signal(n, signal.SIGSTOP)
        self._signal(n, signal.SIGKILL)
        self.servers[n].kill()

    def runs(self, n: int) -> bool:
        return self.servers[n].pid is not None

    def pause(self, n: int) -> None:
        self._signal(n, signal.SIGSTOP)
        self._signal(n, signal.SIGSTOP)  # What was started meanwhile.

    def resume(self, n: int) -> None:
        self._signal(n, signal.SIGCONT)

    async def answers(self, n: int) -> None:
        await self.servers[n].wait_ready()

    async def remove_session(self, store: PostgreSqlRecordStore, node: str) -> None:
        where = "WHERE name = $1 AND node = $2"
        await self.sql(f"DELETE FROM qpidha_sessions {where}", store._name, node.encode())

    async def spoil(self, store: PostgreSqlRecordStore) -> None:
        await self.sql("UPDATE qpidha_records SET value = '{}' WHERE name = $1", store._name)

    async def forget(self, store: PostgreSqlRecordStore, founder: PostgreSqlRecordStore) -> None:
        mine, others = store._records._servers, founder._records._servers
        mine._identity, mine._timeline = others._identity, others._timeline  # As after a restore from a copy.
        store._seen = (10**6, "what was there")

    # --- what an operator does ---------------------------------------------------------------------

    async def sql(self, text: str, *given: Any, n: int | None = None, database: str = DATABASE) -> list[Any]:
        """Run a statement as superuser, at the primary if no server is named."""
        connection = await asyncpg.connect(
            host="127.0.0.1",
            port=self.ports[self.primary if n is None else n],
            user="postgres",
            password=PASSWORD,
            database=database,
            ssl=self.authority.client_context(),
            server_settings={"synchronous_commit": "local"},
            timeout=10,
        )
        try:
            return list(await connection.fetch(text, *given))
        finally:
            await connection.close()

    # --- for clients -----------------------------------------------------------------------------

    def issue(self, name: str) -> Identity:
        return self.authority.issue(name, common_name=USER)

    async def read(self, store: PostgreSqlRecordStore, timeout_s: float) -> object:
        return await store._read_surely(timeout_s)

    def store(self, place: str = "/qpidha/test", *, first: int = 0, **options: Any) -> PostgreSqlRecordStore:
        endpoints = [*self.endpoints[first:], *self.endpoints[:first]]
        given = {
            "endpoints": endpoints, "database": DATABASE, "tls": self._tls, "user": USER, "password": PASSWORD
        }  # fmt: skip
        return PostgreSqlRecordStore(name=place.strip("/"), **{**given, **options})

    def _url(self, place: str, given: dict[str, Any]) -> str:
        options = urlencode({"name": place.strip("/"), **given})
        return f"postgresql://{','.join(self.endpoints)}/{DATABASE}?{options}"


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Pair]:
    """A pair that runs, with its files in a new folder, which everybody can enter."""
    folder.mkdir(parents=True, exist_ok=True)
    pair = Pair(folder)
    try:
        asyncio.run(pair.make())
        yield pair
    finally:
        pair.stop()
