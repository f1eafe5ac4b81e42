"""A real PostgreSQL: a primary and a synchronous standby that streams from it, with TLS and passwords."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg

from qpidha.records import PostgreSqlRecordStore, TlsFiles
from tests.engines.certificates import Authority
from tests.engines.server import Server, free_ports
from tests.support.missing import leave_out

PASSWORD = "correct horse"
USER = "qpidha"
DATABASE = "ha"
SYSTEM_USER = "postgres"
"""PostgreSQL refuses to run as root."""


def binaries() -> Path:
    """The folder of PostgreSQL's programs. Skips the test without it; fails where nothing may be left out (CI)."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if found:
        return found[-1].parent
    known = shutil.which("initdb")
    if known is None:
        leave_out("PostgreSQL is not installed. On Debian and Ubuntu: apt-get install postgresql")
    return Path(known).parent


class Pair:
    """Servers 0, the primary at the beginning, and 1. Make and stop it with `running`."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self._bin = binaries()
        self._folder = folder
        self.authority = authority
        self.ports = free_ports(2)
        self.primary = 0
        self.tls = TlsFiles(ca=authority.ca)
        self._give(folder)
        identity = authority.issue("postgresql")
        self._certificate, self._key = folder / "server.pem", folder / "server.key"
        for source, target in ((identity.certificate, self._certificate), (identity.key, self._key)):
            shutil.copy(source, target)
            target.chmod(0o600)
            self._give(target)
        self._secret = folder / "secret"
        self._secret.write_text(PASSWORD)
        self._give(self._secret)
        self.servers = [self._server(n) for n in range(2)]

    @property
    def endpoints(self) -> list[str]:
        """The addresses of the servers."""
        return [f"127.0.0.1:{port}" for port in self.ports]

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
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.ports[n]),
            "unix_socket_directories": "",
            "ssl": "on",
            "ssl_cert_file": str(self._certificate),
            "ssl_key_file": str(self._key),
            "hba_file": str(self._folder / "hba.conf"),
            "max_connections": "60",
            "shared_buffers": "16MB",
            "synchronous_standby_names": "*" if n == 0 else "",
            "synchronous_commit": "off",
            "wal_receiver_status_interval": "1s",
        }

        async def ready() -> bool:
            try:
                await self.sql("SELECT 1", n=n, database="postgres")
            except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncio.TimeoutError):
                return False
            return True

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
        rules = ("hostssl all all", "hostssl replication all")
        hba.write_text("".join(f"{rule} 127.0.0.1/32 scram-sha-256\n" for rule in rules))
        self._give(hba)
        self._program(
            "initdb", "-D", str(self.data(0)), "-U", "postgres", "--pwfile", str(self._secret),
            "--auth=scram-sha-256", "--no-sync", "--no-locale", "--encoding=UTF8",
        )  # fmt: skip
        await self.servers[0].start()
        for line in (
            f"CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'",
            f"CREATE DATABASE {DATABASE} OWNER {USER}",
        ):
            await self.sql(line, database="postgres")
        address = ("-h", "127.0.0.1", "-p", str(self.ports[0]), "-U", "postgres")
        await asyncio.to_thread(
            self._program, "pg_basebackup", *address, "-D", str(self.data(1)), "-R", "-X", "stream",
            "--checkpoint=fast", "--no-sync", PGPASSWORD=PASSWORD, PGSSLMODE="require",
        )  # fmt: skip
        await self.start()

    async def start(self) -> None:
        """Let both run, and the standby follow."""
        for n, server in enumerate(self.servers):
            self.resume(n)
            if server.pid is None:
                await server.start()
        if self.primary == 0:
            while not await self.sql(  # noqa: ASYNC110 - only PostgreSQL knows.
                "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'", database="postgres"
            ):
                await asyncio.sleep(0.02)

    def _family(self, n: int) -> list[int]:
        """The processes of a server, its postmaster first: each is in a process group of its own."""
        pid = self.servers[n].pid
        if pid is None:
            return []
        children = Path(f"/proc/{pid}/task/{pid}/children")
        return [pid, *map(int, children.read_text().split())]

    def _signal(self, n: int, number: int) -> list[int]:
        family = self._family(n)
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return family

    def kill(self, n: int) -> None:
        """End a server as a crash does."""
        self._signal(n, signal.SIGSTOP)
        self._signal(n, signal.SIGKILL)
        self.servers[n].kill()

    def pause(self, n: int) -> None:
        """Stop a server as a hung machine does."""
        self._signal(n, signal.SIGSTOP)
        self._signal(n, signal.SIGSTOP)  # What was started meanwhile.

    def resume(self, n: int) -> None:
        """Let it go on."""
        self._signal(n, signal.SIGCONT)

    async def promote(self) -> None:
        """Make the standby the primary."""
        await self.sql("SELECT pg_promote(true, 30)", n=1, database="postgres")
        self.primary = 1

    def stop(self) -> None:
        """End both at once."""
        for n in range(2):
            self.kill(n)

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

    def store(self, name: str = "test", **options: Any) -> PostgreSqlRecordStore:
        """A store that knows both servers."""
        given = {
            "endpoints": self.endpoints, "database": DATABASE, "tls": self.tls, "user": USER, "password": PASSWORD
        }  # fmt: skip
        return PostgreSqlRecordStore(name=name, **{**given, **options})


@contextlib.contextmanager
def running() -> Iterator[Pair]:
    """A pair that runs. Its folder is none of pytest's, which PostgreSQL's user may not enter."""
    folder = Path(tempfile.mkdtemp(prefix="qpidha-postgresql-"))
    pair: Pair | None = None
    try:
        authority = Authority(Path(tempfile.mkdtemp(dir=folder)))
        pair = Pair(folder, authority)
        asyncio.run(pair.make())
        yield pair
    finally:
        if pair is not None:
            pair.stop()
        shutil.rmtree(folder, ignore_errors=True)
