"""One process of a server program."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
LOG_BYTES_SHOWN = 2000


class ServerFailed(Exception):
    """A server has ended, or does not serve in time. The message has the end of its log."""


class Server:
    """A process. It is killed when the thread that started it ends, also if that ends without cleaning up."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        ready: Callable[[], Awaitable[bool]] | None = None,
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> None:
        """Nothing is started yet.

        Args:
            command: The program and its arguments. It must not become a daemon.
            log: The file for its output; appended to.
            ready: Whether it serves. Called until it returns True; an OSError counts as False. None: `wait_ready` is not
                called.
            environment: Variables besides those of this process.
            user: The user that runs it, for programs that refuse to run as root.
        """
        self.command = list(command)
        self.log = log
        self._ready = ready
        self._environment = {**os.environ, **(environment or {})}
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id. None: it does not run."""
        if self._process is None or self._process.poll() is not None:
            return None
        return self._process.pid

    def launch(self) -> None:
        """Start the process, and do not wait until it serves."""
        assert self.pid is None, "it runs already"
        wrapper = ["setpriv", "--pdeathsig", "KILL"]
        if self._user is not None and os.geteuid() == 0:
            wrapper += ["--reuid", self._user, "--regid", self._user, "--clear-groups"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command line
                [*wrapper, "--", *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )

    async def wait_ready(self) -> None:
        """Wait until it serves. Raises `ServerFailed` if it ends or takes too long."""
        assert self._ready is not None, "nothing says whether it serves"
        loop = asyncio.get_running_loop()
        until = loop.time() + START_TIMEOUT_S
        while True:
            if self.pid is None or loop.time() > until:
                raise ServerFailed(f"{self.command[0]} does not serve:\n{self.tail()}")
            try:
                if await self._ready():
                    return
            except OSError:
                pass
            await asyncio.sleep(0.02)

    async def start(self) -> None:
        """Start it, and wait until it serves."""
        self.launch()
        await self.wait_ready()

    def kill(self) -> None:
        """End it and its children at once, as a crash does. It need not run."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait()

    def pause(self) -> None:
        """Stop it as a hung machine does: its connections stay open, and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`. It need not have been paused."""
        self._signal(signal.SIGCONT)

    async def stop(self) -> None:
        """End it in order; kill it if that takes too long. It need not run."""
        if self._process is None:
            return
        self.resume()
        self._signal(signal.SIGTERM)
        loop = asyncio.get_running_loop()
        until = loop.time() + STOP_TIMEOUT_S
        while self._process.poll() is None and loop.time() < until:  # noqa: ASYNC110 - nobody else waits for it.
            await asyncio.sleep(0.01)
        self.kill()

    def _signal(self, number: int) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_bytes()[-LOG_BYTES_SHOWN:].decode(errors="replace") if self.log.exists() else ""
