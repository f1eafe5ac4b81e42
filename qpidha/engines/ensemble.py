"""The servers of an engine as one thing: made, started, and removed with all that they wrote."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from qpidha.engines.etcd import plain_etcd
from qpidha.engines.missing import EngineMissing, require_program
from qpidha.engines.postgresql import plain_postgresql
from qpidha.engines.server import START_TIMEOUT_S, Server, ServerFailed
from qpidha.engines.zookeeper import plain_zookeeper
from qpidha.errors import ClusterError
from qpidha.records import open_records

__all__ = ["ENGINES", "EngineMissing", "Ensemble"]

ENGINES: Mapping[str, Callable[[Path, str], tuple[list[Server], str]]] = {
    "etcd": plain_etcd,
    "zookeeper": plain_zookeeper,
    "postgresql": plain_postgresql,
}
"""By name, a function that makes the servers of an engine in a folder, at an address, and the URL of a record there."""


class Ensemble:
    """A context manager: on the way out no server runs, and its files are gone."""

    def __init__(self, engine: str, host: str = "127.0.0.1") -> None:
        """Nothing runs yet.

        Args:
            engine: One of `ENGINES`.
            host: The address where it serves clients, in plain text. Who reaches it can elect a primary: only for
                networks that end in this machine.

        Raises:
            EngineMissing: The engine's programs are not installed.
            SettingsError: The extra of the engine is not installed.
        """
        require_program("setpriv", "util-linux")
        self._folder = Path(tempfile.mkdtemp(prefix=f"qpidha-{engine}-"))
        try:
            self.servers, self.url = ENGINES[engine](self._folder, host)
            if host != "127.0.0.1":
                self.url += f"{'&' if '?' in self.url else '?'}insecure=true"
            open_records(self.url)
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    async def start(self) -> None:
        """Start all servers, and wait until a record can be read. Raises `ServerFailed`."""
        for server in self.servers:
            server.launch()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + START_TIMEOUT_S
        records = open_records(self.url)
        try:
            while True:
                try:
                    await records.read()
                    return
                except ClusterError as error:
                    dead = next((server for server in self.servers if server.pid is None), None)
                    if dead is not None or loop.time() > deadline:
                        said = (dead or self.servers[0]).tail()
                        raise ServerFailed(f"{self.url} does not serve: {error}\n{said}") from error
                await asyncio.sleep(0.1)
        finally:
            await records.close()

    def stop(self) -> None:
        """Kill all servers, and remove their files."""
        for server in self.servers:
            server.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Ensemble:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
