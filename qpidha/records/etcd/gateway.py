"""Requests to the JSON gateway of an etcd ensemble, over several endpoints.

A request may be repeated: each one is written so that doing it twice is the same as doing it once. So a silent
endpoint does not end a request: after ``attempt_timeout_s`` another one is asked as well, and the first answer counts.
At the end of the time there was no answer. Then it matters whether anything was sent:

    refused, no connection, a wrong certificate        surely not sent: `Unavailable`
    anything after the connection was there            it may be done now, later or never: `OutcomeUnknown`
    etcd says that it refuses                          surely not done: `ManagerRefused`, which is an `Unavailable`
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from qpidha.errors import ClusterError, ManagerRefused, OutcomeUnknown, Unavailable
from qpidha.records.addresses import Address as Endpoint
from qpidha.records.addresses import read_password
from qpidha.records.etcd.connections import Attempt, Connections
from qpidha.records.etcd.failures import AttemptFailed, Caller, Refusal, TokenRefused, explained
from qpidha.records.etcd.layout import reading

PAUSE_S = 0.05
"""Before an endpoint that failed is asked again."""
LOGIN_TIMEOUT_S = 5.0
LOGINS_MAX = 3
"""Tokens that may be refused within one request: they expire, and change when users and roles do."""


class Asking:
    """What has happened to one request so far."""

    def __init__(self, timeout_s: float, *, changes: bool) -> None:
        self.timeout_s = timeout_s
        self.until = time.monotonic() + timeout_s
        self.changes = changes
        self.sent = False
        """It may have been done."""
        self.reasons: dict[Endpoint, str] = {}

    @property
    def left_s(self) -> float:
        """Seconds until the end."""
        return max(0.0, self.until - time.monotonic())

    def failed(self, endpoint: Endpoint, error: AttemptFailed) -> None:
        """An attempt failed."""
        self.sent = self.sent or error.sent
        self.reasons[endpoint] = str(error)

    def end(self, pending: Iterable[Attempt] = ()) -> ClusterError:
        """The error when there is no answer, while these attempts still wait for one."""
        for attempt in pending:
            what = "no answer" if attempt.connected else "no connection"
            reason = f"{attempt.endpoint}: {what} in {self.timeout_s:.3g} s"
            self.failed(attempt.endpoint, AttemptFailed(reason, sent=attempt.connected))
        why = "; ".join(self.reasons.values()) or f"no time was left of {self.timeout_s:.3g} s"
        if self.changes and self.sent:
            return OutcomeUnknown(f"etcd has not said whether it has written: {why}")
        return Unavailable(f"no member of etcd answers: {why}")


class Gateway:
    """Sends requests as one user. Remembers the identity and the newest revision of the ensemble."""

    def __init__(
        self,
        connections: Connections,
        endpoints: Sequence[Endpoint],
        *,
        caller: Caller,
        password: str | Path | None,
        attempt_timeout_s: float,
    ) -> None:
        self._connections = connections
        self._endpoints = list(endpoints)
        """The first one is the one that answered last."""
        self._caller = caller
        self._password = password
        self.attempt_timeout_s = attempt_timeout_s
        """After this silence of a member another one is asked as well."""
        self._token: str | None = None
        self._login: asyncio.Task[str] | None = None
        self._cluster: str | None = None
        self._revision = 0
        self._closed = False
        self._background: set[asyncio.Task[Any]] = set()

    # --- requests ----------------------------------------------------------------------------------

    async def ask(
        self, path: str, body: Mapping[str, Any], timeout_s: float, *, changes: bool = False
    ) -> dict[str, Any]:
        """Send a request and return the answer of the first endpoint that has one.

        Args:
            path: Of the gateway, such as "/v3/kv/txn".
            body: To be sent as JSON. Doing it twice must be the same as doing it once.
            timeout_s: Seconds for everything, a login included.
            changes: It writes: without an answer its outcome is unknown once it was sent.

        Raises:
            ManagerRefused: etcd does not do it. Nothing was done.
            Unavailable: No answer, and nothing was done.
            OutcomeUnknown: It changes something, was sent, and there is no answer.
            ClusterError: The answer is that of another etcd ensemble, or of something else.
        """
        try:
            return await self._ask(Asking(timeout_s, changes=changes), path, body)
        finally:
            if self._closed:  # A session is closed after its store.
                await self._connections.close()

    async def _ask(self, asking: Asking, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        refused = ""
        for _ in range(LOGINS_MAX):
            token = await self._token_for(asking)
            try:
                return self._checked(await self._first(asking, path, body, token))
            except TokenRefused as error:
                refused = str(error)
                self._drop(token)
            except (Unavailable, OutcomeUnknown):
                # An etcd that was reset waits until it is as far as the token says, instead of refusing it.
                self._drop(token)
                raise
        if asking.changes and asking.sent:
            raise asking.end()
        what = (
            "each token that it gives"
            if self._caller.user
            else "requests without a user: give a user and a password"
        )
        raise ManagerRefused(f"etcd refuses {what} ({refused})")

    async def read(
        self, path: str, body: Mapping[str, Any], timeout_s: float, *, changes: bool = False
    ) -> Any:
        """`ask` for what is linearizable: the ensemble must not know less than it did before."""
        known = self._revision
        answer = await self.ask(path, body, timeout_s, changes=changes)
        with reading():
            revision = int(answer["header"]["revision"])
        if revision < known:
            raise ClusterError(
                f"etcd went back from revision {known} to {revision}: it was reset, or restored from a copy. Stop all "
                "nodes, then rebuild the record with `qpidha record rebuild`"
            )
        self._revision = max(self._revision, revision)
        return answer

    def heard(self, revision: int) -> None:
        """A watch has told of a change at this revision."""
        self._revision = max(self._revision, revision)

    def _checked(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Check that it comes from the ensemble of earlier answers."""
        with reading():
            cluster = str(answer["header"]["cluster_id"])
        if self._cluster is None:
            self._cluster = cluster
        elif cluster != self._cluster:
            raise ClusterError(
                f"this is another etcd ensemble than before (cluster id {cluster}, not {self._cluster}): it was reset, "
                "or an endpoint belongs to another one. If it was reset: stop all nodes, then rebuild the record with "
                "`qpidha record rebuild`"
            )
        return answer

    async def stream(
        self, path: str, bodies: Iterable[Mapping[str, Any]]
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Send requests to the endpoint that answered last, and yield answers until the connection ends.

        Raises:
            ClusterError: It failed.
        """
        token = await self._token_for(Asking(LOGIN_TIMEOUT_S, changes=False))
        endpoint = self._endpoints[0]
        data = "".join(map(json.dumps, bodies)).encode()
        lines = self._connections.lines(Attempt(endpoint), path, data, token, self.attempt_timeout_s)
        try:
            async with contextlib.aclosing(lines):
                async for line in lines:
                    yield self._checked(line)
        except TokenRefused as error:
            self._drop(token)
            raise Unavailable(f"{endpoint}: {error}") from error
        except AttemptFailed as error:
            raise Unavailable(str(error)) from error
        except Refusal as refusal:
            raise explained(refusal, str(endpoint), self._caller) from refusal

    # --- several endpoints -------------------------------------------------------------------------

    async def _first(
        self, asking: Asking, path: str, body: Mapping[str, Any], token: str | None
    ) -> dict[str, Any]:
        """The first answer.

        The next endpoint is asked when one fails or is silent for a while; that while doubles with each round. Attempts
        that are silent go on. An endpoint is asked again although it is silent: what a member has passed on to a leader
        that died is lost, and it says so late.
        """
        order, begun, refused = list(self._endpoints), 0, None
        pending: dict[asyncio.Task[dict[str, Any]], Attempt] = {}
        try:
            while asking.left_s > 0 and not (refused and not pending):
                silence_s = asking.left_s
                if (
                    refused is None
                ):  # Else only the attempts that have begun count: another member may have done it.
                    if begun and begun % len(order) == 0:
                        if not pending and not asking.sent:  # All have failed at once and for certain.
                            break
                        await asyncio.sleep(min(PAUSE_S, asking.left_s))
                    attempt = Attempt(order[begun % len(order)])
                    work = self._connections.post(attempt, path, body, token, asking.left_s)
                    pending[asyncio.get_running_loop().create_task(work, name="qpidha-etcd")] = attempt
                    silence_s = min(silence_s, self.attempt_timeout_s * 2.0 ** (begun // len(order)))
                    begun += 1
                done, _ = await asyncio.wait(pending, timeout=silence_s, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    ended = pending.pop(task)
                    try:
                        answer = task.result()
                    except AttemptFailed as error:
                        asking.failed(ended.endpoint, error)
                    except Refusal as refusal:
                        refused = refusal, ended.endpoint
                    else:
                        self._prefer(ended.endpoint)
                        return answer
            if refused:
                raise self._refused(asking, pending.values(), *refused)
            raise asking.end(pending.values())
        finally:
            asking.sent = asking.sent or any(attempt.connected for attempt in pending.values())
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    def _refused(
        self, asking: Asking, pending: Iterable[Attempt], refusal: Refusal, endpoint: Endpoint
    ) -> ClusterError:
        """The error for a refusal: of no weight if another endpoint may have done it."""
        if asking.changes and (asking.sent or any(attempt.connected for attempt in pending)):
            asking.reasons[endpoint] = f"{endpoint}: {refusal}"
            return asking.end(pending)
        return explained(refusal, str(endpoint), self._caller)

    def _prefer(self, endpoint: Endpoint) -> None:
        """Ask this endpoint first from now on, the others in their order after it."""
        at = self._endpoints.index(endpoint)
        self._endpoints = self._endpoints[at:] + self._endpoints[:at]

    def avoid(self) -> None:
        """Ask another endpoint first from now on: the watch of this one missed a change."""
        self._endpoints = self._endpoints[1:] + self._endpoints[:1]

    # --- the login ---------------------------------------------------------------------------------

    async def _token_for(self, asking: Asking) -> str | None:
        """The token of the last login, or that of a new one. None: no user was given.

        One login is under way at most. Each request waits for it within its own time.
        """
        if self._caller.user is None:
            return None
        if self._token is None:
            login = self._login = self._login or self._begin_login()
            await asyncio.wait({login}, timeout=asking.left_s)
            try:
                return self._token_of(login, asking)
            except Unavailable as error:
                if asking.changes and asking.sent:  # Before its token was refused, that is.
                    raise asking.end() from error
                raise
        return self._token

    def _token_of(self, login: asyncio.Task[str], asking: Asking) -> str:
        if login.cancelled():
            raise Unavailable("the record store was closed during the login to etcd")
        if login.done():
            return login.result()
        members = ", ".join(map(str, self._endpoints))
        raise Unavailable(
            f"no member of etcd answers: the login of user {self._caller.user!r} had no answer within "
            f"{asking.timeout_s:.3g} s from {members}"
        )

    def _begin_login(self) -> asyncio.Task[str]:
        login = asyncio.get_running_loop().create_task(self._log_in(), name="qpidha-etcd-login")
        login.add_done_callback(self._logged_in)
        return login

    async def _log_in(self) -> str:
        body = {"name": self._caller.user, "password": read_password(self._password, "etcd")}
        answer = await self._first(
            Asking(LOGIN_TIMEOUT_S, changes=False), "/v3/auth/authenticate", body, None
        )
        with reading():
            return str(answer["token"])

    def _logged_in(self, task: asyncio.Task[str]) -> None:
        self._login = None
        if not task.cancelled() and task.exception() is None:
            self._token = task.result()

    def _drop(self, token: str | None) -> None:
        if self._token == token:
            self._token = None

    # --- life --------------------------------------------------------------------------------------

    def background(self, task: asyncio.Task[Any]) -> None:
        """Keep a task whose outcome does not matter, until it is done or `close` ends it."""
        self._background.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._background.discard(task)
        if not task.cancelled():
            task.exception()  # Retrieved, so that asyncio does not log it.

    async def close(self) -> None:
        """Close the connections. May be called twice."""
        self._closed = True
        if self._login is not None:
            self._login.cancel()
            await asyncio.gather(self._login, return_exceptions=True)
        if self._background:
            await asyncio.wait(set(self._background), timeout=1.0)
        for task in self._background:
            task.cancel()
        await self._connections.close()
