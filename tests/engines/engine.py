"""An engine under test: what a test may do to it, whichever it is."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlencode

from qpidha.records import TlsFiles
from tests.engines.certificates import Authority, Identity

PASSWORD = "correct horse"
USER = "qpidha"
MEMORY, MEMORY_BYTES = Path("/dev/shm"), 4 * 1024**3
"""A file system in memory, and how much must be free there."""


@dataclass(frozen=True)
class Says:
    """What the messages of an engine have in them, as regular expressions."""

    unreachable: str
    """No member answers."""
    no_connection: str
    """The same for a store that has never reached one."""
    another: str
    """It is not the one that it was."""
    went_back: str
    """It has forgotten something."""
    expired: str
    """A session whose owner was silent."""
    stranger: str
    """A certificate of the node that is not accepted."""
    passwords: str
    """A wrong password."""
    anonymous: str
    """Neither a user nor a password."""
    too_large: str | None = None
    """A record of two megabytes. None: it is taken."""


class Engine(ABC):
    """Members that run, with users, passwords and TLS. Tests share one: `start` mends what a test has left behind."""

    name: ClassVar[str]
    says: ClassVar[Says]
    quorum: ClassVar[bool] = True
    """Each member answers for all, and another one leads when the leader is lost. Else only the leader answers, and
    `elect` must make another one lead."""
    ttl_s: ClassVar[float]
    """For sessions that are to outlive the loss of a leader."""
    short_ttl_s: ClassVar[float]
    """For sessions that are to expire: the shortest that is granted, or a second."""
    delay_s: ClassVar[float] = 0.05
    """Of slow connections."""
    hung_s: ClassVar[float] = 0.5
    """How long a member that hangs is asked: not so long that another connection to it is tried."""
    reserved: ClassVar[tuple[str, ...]] = ()
    """Names below the place of a cluster that no other cluster may have as its place."""

    authority: Authority
    ports: list[int]

    # --- life ------------------------------------------------------------------------------------

    @abstractmethod
    async def start(self) -> None:
        """Let all members run and answer. Those that were paused go on; those that do not run are started."""

    @abstractmethod
    def stop(self) -> None:
        """End all members at once."""

    @abstractmethod
    async def wipe(self) -> None:
        """Begin anew at the same addresses, with nothing in it."""

    @abstractmethod
    async def leader(self) -> int:
        """The number of the member that leads."""

    async def follower(self) -> int:
        """The number of another one."""
        return (await self.leader() + 1) % len(self.ports)

    # --- faults ----------------------------------------------------------------------------------

    @abstractmethod
    def kill(self, n: int) -> None:
        """End a member as a crash does."""

    @abstractmethod
    def runs(self, n: int) -> bool:
        """Whether a member has a process."""

    @abstractmethod
    def pause(self, n: int) -> None:
        """Stop a member as a hung machine does: its connections stay open, and nothing answers."""

    @abstractmethod
    def resume(self, n: int) -> None:
        """Let it go on. It need not have been paused."""

    @abstractmethod
    async def answers(self, n: int) -> None:
        """Wait until a member answers, as one that leads or as one that follows."""

    async def elect(self) -> None:
        """Make another member lead, as an operator does; the leader is killed or hangs."""
        assert self.quorum, "nobody else does it"

    async def lose_quorum(self) -> None:
        """Kill so many members that nothing can be written. One of those that run goes on."""
        for n in [n for n in range(len(self.ports)) if self.runs(n)][1:]:
            self.kill(n)

    @abstractmethod
    async def remove_session(self, store: Any, node: str) -> None:
        """Remove the session of a node, as an administrator can."""

    @abstractmethod
    async def spoil(self, store: Any) -> None:
        """Overwrite the record with something else."""

    @abstractmethod
    async def forget(self, store: Any, founder: Any) -> None:
        """Make the engine look to a store as if it had been restored from a copy.

        Args:
            store: It has seen this engine, or the one that was there before `wipe`.
            founder: Another one, which has founded the cluster anew.
        """

    # --- for clients -----------------------------------------------------------------------------

    @property
    def endpoints(self) -> list[str]:
        """The addresses of the members."""
        return [f"127.0.0.1:{port}" for port in self.ports]

    def issue(self, name: str) -> Identity:
        """A new certificate of a node."""
        return self.authority.issue(name)

    def tls(self, name: str = "client") -> TlsFiles:
        """What a node needs for TLS with this engine."""
        identity = self.issue(name)
        return TlsFiles(ca=self.authority.ca, certificate=identity.certificate, key=identity.key)

    @abstractmethod
    def store(self, place: str = "/qpidha/test", *, first: int = 0, **options: Any) -> Any:
        """A record store of the cluster at this place, whose first endpoint is this member."""

    async def log_out(self, store: Any) -> None:
        """Make a store read its password again."""
        await store.close()

    @abstractmethod
    async def read(self, store: Any, timeout_s: float) -> object:
        """Read the record within some time."""

    def url(self, folder: Path, place: str, **options: str) -> str:
        """What a command line needs to find this engine. Writes the password into this folder."""
        identity = self.issue("operator")
        secret = folder / "password"
        secret.touch(mode=0o600)
        secret.write_text(PASSWORD + "\n")
        given: dict[str, Any] = {
            "ca": self.authority.ca,
            "certificate": identity.certificate,
            "key": identity.key,
            "user": USER,
            "password_file": secret,
            **options,
        }
        return self._url(place, given)

    def _url(self, place: str, given: dict[str, Any]) -> str:
        return f"{self.name}://{','.join(self.endpoints)}{place}?{urlencode(given)}"


def quick_folder() -> Path:
    """A new folder that everybody may enter, in memory if there is room: these tests end processes, and no machine."""
    parent: Path | None = MEMORY
    if not (MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > MEMORY_BYTES):
        parent = None
    folder = Path(tempfile.mkdtemp(prefix="qpidha-engine-", dir=parent))
    folder.chmod(0o755)
    return folder


async def repeated(step: Any, pause_s: float = 0.02) -> None:
    """Call something until it returns something true."""
    while not await step():  # noqa: ASYNC110 - only the engine knows
        await asyncio.sleep(pause_s)
