"""Which server of PostgreSQL is used, and why another one is not. The servers here are played."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from qpidha.errors import ClusterError, ManagerRefused, SettingsError, Unavailable
from tests.unit.records.postgresql.fake import Fake


def certificate_error() -> OSError:
    error = ssl.SSLCertVerificationError(1, "bad")
    error.verify_message = "unknown authority"
    outer = OSError("no TLS")
    outer.__cause__ = error
    return outer


def alert() -> OSError:
    error = ssl.SSLError(1, "[SSL: TLSV1_ALERT_UNKNOWN_CA] unknown ca")
    error.reason = "TLSV1_ALERT_UNKNOWN_CA"
    outer = OSError("connection was closed in the middle of operation")
    outer.__cause__ = error
    return outer


def facts(fake: Fake, n: int, **given: Any) -> None:
    fake.servers[n].facts.update(given)


def used(fake: Fake) -> list[int]:
    return [n for n, server in enumerate(fake.servers) if any(not one.closed for one in server.connections)]


def refusal(fake: Fake, **options: Any) -> Unavailable:
    async def main() -> Unavailable:
        store = fake.store(**options)
        with pytest.raises(Unavailable) as caught:
            await store.read()
        await store.close()
        return caught.value

    return asyncio.run(main())


@pytest.mark.parametrize("newer", [0, 1])
def test_of_two_primaries_the_newer_one_is_used_and_the_older_one_never_again(fake: Fake, newer: int) -> None:
    async def main() -> None:
        store = fake.store()
        facts(fake, newer, standby=True, timeline=None)
        assert await store.read() is None
        assert used(fake) == [1 - newer]
        facts(fake, newer, standby=False, timeline="0000000A")
        assert (await store._records.connect(1.0)).server is fake.servers[newer]  # type: ignore[attr-defined]
        assert await store.read() is None
        assert used(fake) == [newer], "a connection to the old primary is given up"
        fake.servers[newer].fails = OSError("down")
        for connection in fake.servers[newer].connections:
            connection.terminate()
        with pytest.raises(
            ManagerRefused, match=r"127\.0\.0\.1:. down|replaced \(timeline 1, and 10 was seen\)"
        ):
            await store.read()
        await store.close()

    asyncio.run(main())


def test_a_user_that_was_not_given_is_not_named(fake: Fake) -> None:
    fake.servers[0].fails = fake.servers[1].fails = asyncpg.InvalidAuthorizationSpecificationError("no entry")
    error = str(refusal(fake))
    assert "give a user, or allow this one from this host" in error and "None" not in error


@pytest.mark.parametrize("closes", [True, False])
def test_a_call_that_is_cancelled_while_it_chooses_leaves_no_connection_open(
    fake: Fake, closes: bool
) -> None:
    async def main(turns: int) -> None:
        store = fake.store(attempt_timeout_s=0.02)
        reading = asyncio.ensure_future(store._records.connect(5.0))
        for _ in range(turns):
            await asyncio.sleep(0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        if closes:
            await store.close()
            assert not tasks(), f"cancelled after {turns} turns"
        if left := tasks():
            await asyncio.wait(left)
        assert not used(fake), f"cancelled after {turns} turns"
        await store.close()

    def tasks() -> set[asyncio.Task[Any]]:
        return asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[arg-type]

    fake.servers[1].silent = True
    for turns in range(12):
        asyncio.run(main(turns))


def test_at_the_end_of_the_event_loop_no_connection_is_left_open(fake: Fake) -> None:
    """`asyncio.run` cancels all tasks, in any order."""

    async def main(turns: int) -> None:
        store = fake.store()
        connecting = asyncio.ensure_future(store._records.connect(5.0))
        for _ in range(turns):
            await asyncio.sleep(0)
        assert not connecting.done(), "the other server is silent"

    for backwards in (False, True):
        fake.servers[backwards].silent, fake.servers[not backwards].silent = True, False
        for turns in range(12):
            asyncio.run(main(turns))
            assert not used(fake), f"ended after {turns} turns"


def test_a_login_that_is_not_needed_any_more_is_not_cut(fake: Fake) -> None:
    """Asyncpg would wait up to 30 s for the server to end its TLS."""

    async def main() -> None:
        store = fake.store(attempt_timeout_s=60.0)
        fake.servers[1].silent = True
        assert await store.read() is None
        reading = asyncio.ensure_future(store._records.connect(5.0))
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        assert fake.cut == 0
        await store.close()
        assert fake.cut == 2, "a server that does not answer does not hold up the end"

    asyncio.run(main())


def test_two_primaries_on_one_timeline_are_refused_unless_they_are_one_server(fake: Fake) -> None:
    async def main() -> None:
        store = fake.store()
        assert await store.read() is None
        assert len(used(fake)) == 1
        await store.close()

    asyncio.run(main())
    facts(fake, 1, started=2)
    assert "are both primaries on timeline 1" in str(refusal(fake))
    assert not used(fake)


@pytest.mark.parametrize(
    ("change", "why", "refused"),
    [
        ({"facts": {"version": 130010}}, "older than PostgreSQL 14", True),
        ({"process": 9}, "it is a pooler", True),
        ({"facts": {"standby": True}}, "it is a standby", False),
        ({"commit": "local"}, "its synchronous_commit is 'local' although 'on' was asked for", True),
        ({"facts": {"fsync": "off"}}, "its fsync is off", True),
        ({"fails": asyncpg.InvalidPasswordError("no")}, "user 'me' or the password is wrong", True),
        (
            {"fails": asyncpg.InvalidAuthorizationSpecificationError("no")},
            "allow user 'me' from this host",
            True,
        ),
        (
            {"fails": asyncpg.InvalidAuthorizationSpecificationError("requires a valid client certificate")},
            "check the certificate of this node",
            True,
        ),
        ({"fails": alert()}, "the certificate of this node (TLSV1_ALERT_UNKNOWN_CA)", False),
        ({"fails": asyncpg.InvalidCatalogNameError("no")}, "createdb x", True),
        ({"fails": ConnectionRefusedError("nothing listens")}, "127.0.0.1:2: nothing listens", False),
        ({"fails": OSError()}, "127.0.0.1:2: OSError", False),
        ({"fails": certificate_error()}, "its certificate is not accepted", False),
        ({"silent": True}, "no connection in", False),
    ],
)
def test_a_server_that_is_not_used_is_named_with_the_reason(
    fake: Fake, change: dict[str, Any], why: str, refused: bool
) -> None:
    facts(fake, 0, standby=True)
    server = fake.servers[1]
    server.facts.update(change.pop("facts", {}))
    for name, value in change.items():
        setattr(server, name, value)
    error = refusal(fake, user="me")
    assert why in str(error) and "127.0.0.1:1: it is a standby" in str(error)
    assert isinstance(error, ManagerRefused) == refused
    assert not used(fake)


def test_a_silent_server_delays_a_connection_a_little(fake: Fake) -> None:
    async def main() -> None:
        fake.servers[0].silent = True
        store = fake.store(attempt_timeout_s=60.0)
        assert await asyncio.wait_for(store.read(), 30) is None
        await store.close()

    asyncio.run(main())


def test_another_cluster_of_postgresql_is_an_error(fake: Fake) -> None:
    async def main() -> None:
        facts(fake, 1, identity=8)
        store = fake.store()
        with pytest.raises(ClusterError, match="are not one cluster of PostgreSQL"):
            await store.read()
        facts(fake, 1, identity=7)
        assert await store.read() is None
        facts(fake, 1, identity=8, timeline="00000002")
        for server in fake.servers:
            for connection in server.connections:
                connection.terminate()
        assert await store.read() is None
        assert used(fake) == [0]
        facts(fake, 0, identity=8)
        for connection in fake.servers[0].connections:
            connection.terminate()
        with pytest.raises(ClusterError, match="another cluster of PostgreSQL than before") as caught:
            await store.read()
        assert not isinstance(caught.value, Unavailable)
        await store.close()

    asyncio.run(main())


def test_a_password_is_read_from_its_file_at_each_connection_and_not_shown(
    fake: Fake, tmp_path: Path
) -> None:
    secret = tmp_path / "password"
    secret.touch(0o600)
    secret.write_text("correct\n")

    async def main() -> None:
        store = fake.store(user="me", password=secret)
        assert await store.read() is None
        assert fake.passwords == ["correct"] * 2
        assert "correct" not in f"{store!r} {store._records._servers._login!r}"
        await store.close()

    asyncio.run(main())
    secret.chmod(0o644)
    assert "password file" in str(refusal(fake, user="me", password=secret))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"endpoints": []}, "a list of addresses"),
        ({"database": ""}, "the name of a database"),
        ({"name": "/a"}, "a name of letters"),
        ({"tls": "yes"}, "a SSLContext or a TlsFiles"),
        ({"user": ""}, "None or a name"),
        ({"password": "s3cret"}, "belong together"),
        ({"user": "me", "password": b"s3cret"}, "must be text or the Path of a file, not a bytes"),
        ({"tls": ssl._create_unverified_context()}, "does not verify the peer"),
        ({"endpoints": ["a.example:1"]}, "plain text to a.example:1"),
        ({"check_interval_s": 0}, "check_interval_s"),
    ],
)
def test_wrong_arguments_are_refused(fake: Fake, options: dict[str, Any], why: str) -> None:
    with pytest.raises(SettingsError) as caught:
        fake.store(**options)
    assert why in str(caught.value) and "s3cret" not in str(caught.value)


def test_a_context_is_used_as_it_is(fake: Fake) -> None:
    context = ssl.create_default_context()
    tls = fake.store(tls=context)._records._servers._tls
    assert tls is not None and tls() is context


def test_a_server_that_hangs_up_after_the_handshake_may_not_accept_the_certificate(fake: Fake) -> None:
    """Its alert may come after the end of the connection: then nothing says why."""
    for server in fake.servers:
        server.fails = asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
    assert "certificate" not in str(refusal(fake))
    assert "may not accept the certificate of this node" in str(
        refusal(fake, tls=ssl.create_default_context())
    )
