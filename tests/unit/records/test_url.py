"""A record store that is named by a text: a path, or the URL of an engine."""

from __future__ import annotations

import asyncio
import builtins
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import trustme

from qpidha.errors import SettingsError
from qpidha.records import (
    EtcdRecordStore,
    FileRecordStore,
    PostgreSqlRecordStore,
    TlsFiles,
    ZooKeeperRecordStore,
    open_records,
)
from qpidha.records.url import SCHEMES, directory_of, is_url, parse


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "node.pem")
    (tmp_path / "node.key").touch(mode=0o600)
    issued.private_key_pem.write_to_path(tmp_path / "node.key")
    (tmp_path / "password").touch(mode=0o600)
    return {
        "ca": str(tmp_path / "ca.pem"),
        "certificate": str(tmp_path / "node.pem"),
        "key": str(tmp_path / "node.key"),
        "password_file": str(tmp_path / "password"),
    }


def test_a_path_and_a_file_url_name_a_directory(tmp_path: Path) -> None:
    for place in (tmp_path / "a", str(tmp_path / "a"), f"file://{tmp_path}/a", f"FILE://{tmp_path}/%61"):
        found = open_records(place)
        assert isinstance(found, FileRecordStore)
        assert found.directory == tmp_path / "a"


def test_a_file_whose_name_is_not_utf_8_is_named_by_its_bytes(tmp_path: Path, files: dict[str, str]) -> None:
    odd = tmp_path / os.fsdecode(b"d\xff")
    odd.mkdir()
    Path(files["ca"]).rename(odd / "ca.pem")
    found = open_records(f"file://{tmp_path}/d%FF/record")
    assert isinstance(found, FileRecordStore) and found.directory == odd / "record"
    assert not (tmp_path / "d\ufffd").exists()
    url = parse(f"etcd://a.example?ca={tmp_path}/d%FF/ca.pem")
    assert url.options == {"ca": str(odd / "ca.pem")}
    assert isinstance(
        open_records(f"etcd://a.example?ca={tmp_path}/d%FF/ca.pem&user=me&password_file=/%FF"),
        EtcdRecordStore,
    )


def test_the_directory_of_a_url() -> None:
    assert directory_of("file:///a%FF/b") == Path(os.fsdecode(b"/a\xff/b"))
    assert directory_of("FILE:///x") == Path("/x")
    for other in (
        "etcd://127.0.0.1/x",
        "file://host/x",
        "file:///x?mode=1",
        "file://",
        "file:///%00",
        "file:///x#y",
    ):
        assert directory_of(other) is None


@pytest.mark.parametrize("text", ["a:b", "/x://y", "./etcd://a", ""])
def test_a_path_is_not_taken_for_a_url(text: str) -> None:
    assert not is_url(text)


def test_an_etcd_url_says_everything(files: dict[str, str]) -> None:
    options = "&".join(f"{name}={value}" for name, value in files.items())
    found = open_records(
        f"etcd://a.example:1,b.example,[::1]:3,[::2]/qpidha/orders/?{options}&user=me&attempt_timeout_s=0.7"
        "&check_interval_s=2"
    )
    assert isinstance(found, EtcdRecordStore)
    endpoints = "'a.example:1', 'b.example:2379', '[::1]:3', '[::2]:2379'"
    assert repr(found) == f"EtcdRecordStore([{endpoints}], prefix='/qpidha/orders')"
    gateway = found._gateway
    assert gateway._caller.user == "me"
    assert gateway._password == Path(files["password_file"])
    assert (gateway.attempt_timeout_s, found._follower._check_interval_s) == (0.7, 2.0)
    plain = open_records("etcd://127.0.0.1,localhost")
    assert repr(plain).endswith("prefix='/qpidha')")
    assert open_records("etcd://a.example?insecure=true")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("etcd://a.example", "plain text to a.example:2379"),
        ("etcd:///x", "endpoints must be"),
        ("etcd://h:0", "endpoints must be"),
        ("etcd://127.0.0.1/x/sessions", "none of them 'sessions'"),
        ("etcd://127.0.0.1/x?colour=red", "unknown options colour; known: ca, certificate, key"),
        ("etcd://127.0.0.1/x?user=a&user=b", "given twice: user, user"),
        ("etcd://127.0.0.1/x?insecure=yes", "insecure must be 'true' or 'false'"),
        ("etcd://127.0.0.1/x?attempt_timeout_s=soon", "must be a number of seconds"),
        ("etcd://127.0.0.1/x?attempt_timeout_s=0", "attempt_timeout_s must be a number from"),
        ("etcd://127.0.0.1/x?key=/k", "need ca"),
        ("etcd://127.0.0.1/x?ca=/nowhere", "cannot use authority /nowhere"),
        ("etcd://127.0.0.1/x?user=a", "user and password belong together"),
        ("etcd://127.0.0.1/x#part", "no URL such as"),
        ("zookeeper://a.example", "plain text to a.example:2181"),
        ("zookeeper://127.0.0.1/x/claims", "none of them 'record', 'sessions', 'claims'"),
        ("zookeeper://127.0.0.1/zookeeper/x", "none of them"),
        ("zookeeper://127.0.0.1/x?user=a:b&password_file=/p", "must not contain ':'"),
        ("zookeeper://127.0.0.1/x?user=a", "user and password belong together"),
        ("postgresql://a.example/x", "plain text to a.example:5432"),
        ("postgresql://127.0.0.1", "database must be the name of a database"),
        ("etcd://127.0.0.1/%FF", "prefix must be"),
        ("etcd://127.0.0.1/x?user=%FF&password_file=/p", "user must be None or a name"),
        ("zookeeper://127.0.0.1/%FF", "prefix must be"),
        ("zookeeper://127.0.0.1/x?user=%FF&password_file=/p", "user must be None or a name"),
        ("postgresql://127.0.0.1/%FF", "database must be the name of a database"),
        ("postgresql://127.0.0.1/x?name=%FF", "name must be a name of letters"),
        ("postgresql://127.0.0.1/x?user=%FF", "user must be None or a name"),
        ("etcd://127.0.0.1/x?attempt_timeout_s=%FF", "must be a number of seconds"),
        ("etcd://127.0.0.1/x?%FF=1", "unknown options"),
        ("postgresql://127.0.0.1/x?name=/a", "name must be a name of letters"),
        ("postgresql://127.0.0.1/x?password_file=/p", "user and password belong together"),
        ("postgresql://127.0.0.1/x?sslmode=require", "unknown options sslmode; known: ca, certificate, key"),
        (
            "gopher://127.0.0.1/x",
            "no record store for gopher://; known: file://, etcd://, zookeeper://, postgresql://",
        ),
        ("file://host/x", "names a host"),
        ("file:///x?mode=1", "unknown options mode"),
    ],
)
def test_a_url_that_is_wrong_says_why(text: str, why: str) -> None:
    with pytest.raises(SettingsError) as caught:
        open_records(text)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    "text", ["etcd://me:s3cret@127.0.0.1/x", "etcd://127.0.0.1/x?user=me&password=s3cret"]
)
def test_a_password_in_a_url_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(SettingsError, match="password_file=/path") as caught:
        open_records(text)
    assert "s3cret" not in str(caught.value)


def test_another_scheme_can_be_added(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Any] = []

    def make(url: Any) -> FileRecordStore:
        seen.append((url.hosts, url.path, url.take("x")))
        url.require_all_taken()
        return FileRecordStore(tmp_path)

    monkeypatch.setitem(SCHEMES, "consul", make)  # type: ignore[arg-type]
    assert open_records("consul://a:1,b:2/p%20q?x=1")
    assert seen == [(("a:1", "b:2"), "/p q", "1")]
    assert parse("consul://a").path == ""


def test_a_zookeeper_url_says_everything(files: dict[str, str]) -> None:
    options = "&".join(f"{name}={value}" for name, value in files.items())
    found = open_records(
        f"zookeeper://a.example:1,b.example,[::1]:3/qpidha/orders/?{options}&user=me&attempt_timeout_s=0.7"
        "&check_interval_s=2"
    )
    assert isinstance(found, ZooKeeperRecordStore)
    endpoints = "'a.example:1', 'b.example:2181', '[::1]:3'"
    assert repr(found) == f"ZooKeeperRecordStore([{endpoints}], prefix='/qpidha/orders')"
    access = found._requests.access
    assert (access.user, access.password) == ("me", Path(files["password_file"]))
    assert (access.attempt_timeout_s, found._follower._check_interval_s) == (0.7, 2.0)


def test_a_postgresql_url_says_everything(files: dict[str, str]) -> None:
    options = "&".join(f"{name}={value}" for name, value in files.items())
    found = open_records(
        f"postgresql://a.example:1,b.example,[::1]:3/broker?{options}&user=me&name=orders&attempt_timeout_s=0.7"
        "&check_interval_s=2"
    )
    assert isinstance(found, PostgreSqlRecordStore)
    endpoints = "'a.example:1', 'b.example:5432', '[::1]:3'"
    assert repr(found) == f"PostgreSqlRecordStore([{endpoints}], database='broker', name='orders')"
    login = found._records._servers._login
    assert (login.user, login.password) == ("me", Path(files["password_file"]))
    assert (found._records._attempt_timeout_s, found._follower._check_interval_s) == (0.7, 2.0)
    plain = open_records("postgresql://127.0.0.1,localhost/broker")
    assert repr(plain).endswith("database='broker', name='qpidha')")


def test_without_kazoo_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *arguments: Any, **options: Any) -> Any:
        if name.partition(".")[0] == "kazoo":
            raise ImportError("No module named 'kazoo'")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(SettingsError, match=r"pip install 'qpidha\[zookeeper\]'"):
        ZooKeeperRecordStore(["127.0.0.1:1"])


def test_without_asyncpg_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(SettingsError, match=r"pip install 'qpidha\[postgresql\]'"):
        PostgreSqlRecordStore(["127.0.0.1:1"], database="x")


def test_without_aiohttp_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "aiohttp":
            raise ImportError("No module named 'aiohttp'")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(SettingsError, match=r"pip install 'qpidha\[etcd\]'"):
        EtcdRecordStore(["127.0.0.1:1"])


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"endpoints": "127.0.0.1:1"}, "a list of addresses"),
        ({"endpoints": []}, "a list of addresses"),
        ({"prefix": "qpidha"}, "a path such as"),
        ({"prefix": "/a//b"}, "a path such as"),
        ({"tls": "yes"}, "a SSLContext or a TlsFiles"),
        ({"user": "me", "password": b"s3cret"}, "must be text or the Path of a file, not a bytes"),
        ({"password": "s3cret"}, "give both or none"),
        ({"attempt_timeout_s": 0}, "attempt_timeout_s"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(SettingsError) as caught:
        EtcdRecordStore(**{"endpoints": ["127.0.0.1:1"], **options})
    assert why in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_context_that_verifies_nobody_is_refused() -> None:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with pytest.raises(SettingsError, match="verify_mode is not CERT_REQUIRED"):
        EtcdRecordStore(["a.example:1"], tls=context)
    assert EtcdRecordStore(["a.example:1"], tls=context, insecure=True)


# --- files -----------------------------------------------------------------------------------------


def test_renewed_files_are_used_and_broken_ones_are_not(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qpidha.records.tls.LOOK_INTERVAL_S", 0.0)
    tls = TlsFiles(ca=files["ca"], certificate=files["certificate"], key=files["key"])
    first = tls.context()
    assert tls.context() is first
    trustme.CA().cert_pem.write_to_path(files["ca"])
    second = tls.context()
    assert second is not first
    Path(files["ca"]).write_text("no certificate")
    assert tls.context() is second
    assert "the files that were read before are still used" in tls.fault
    trustme.CA().cert_pem.write_to_path(files["ca"])
    assert tls.context() not in (first, second)
    assert tls.fault == ""
    assert "node.key" not in repr(tls)


def test_files_that_cannot_be_used_are_refused(files: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="without the certificate"):
        TlsFiles(ca=files["ca"], key=files["key"])
    os.chmod(files["key"], 0o644)
    with pytest.raises(SettingsError, match="has mode 0644"):
        TlsFiles(ca=files["ca"], certificate=files["certificate"], key=files["key"])


# --- a process that was forked ---------------------------------------------------------------------


def test_a_forked_child_gives_up_the_connections() -> None:
    async def main() -> None:
        served = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            served.set()
            await reader.read()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        store = EtcdRecordStore([f"127.0.0.1:{port}"])
        reading = asyncio.ensure_future(store.read())
        await served.wait()
        connections = store._gateway._connections
        [held] = [one.fileno() for one in connections._sockets if one.fileno() >= 0]
        assert list(connections.forked()) == [held]
        from qpidha.errors import ForkedError

        with pytest.raises(ForkedError, match="this record store belongs to the parent"):
            await store.live()
        connections._forked = False
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await store.close()
        server.close()

    asyncio.run(main())
