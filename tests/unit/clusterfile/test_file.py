"""The cluster file: what it may say, and what each mistake is answered with."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from qpidha import Node, Settings
from qpidha.clusterfile import ClusterFile, ClusterFileError, find_cluster_file
from qpidha.clusterfile import file as module
from qpidha.clusterfile.authority import make_certificates
from qpidha.clusterfile.tables import line_of
from qpidha.errors import ArgumentError, SettingsError
from qpidha.promoters import OperatorPromoter, PriorityPromoter
from qpidha.records import EtcdRecordStore, FileRecordStore
from qpidha.stores import SqliteStore
from tests.support.harness import Recorder

WHOLE = """
cluster = "orders"
[record]
url = "record"
[nodes.a]
addresses = "10.0.0.1:5671"
store = "stores/{node}"
[nodes.b]
addresses = ["b.example:5671", "[fd00::2]:5671"]
listen = ["0.0.0.0:5671"]
client_address = "b.example:5672"
store = "/var/lib/qpidha/b"
control = "/run/qpidha/{node}.sock"
priority = 3
[settings]
session_ttl_s = 4
catch_up_time_max_s = "none"
replicate = { "reply.*" = "none" }
"""


def load(folder: Path, text: str) -> ClusterFile:
    path = folder / "qpidha.toml"
    path.write_text(text)
    return ClusterFile.load(path)


def test_a_whole_file(tmp_path: Path) -> None:
    file = load(tmp_path, WHOLE)
    assert (file.name, file.promoter, list(file.nodes)) == ("orders", "priority", ["a", "b"])
    a, b = file.node("a"), file.node("b")
    assert a.addresses == (("10.0.0.1", 5671),)
    assert (a.listen, a.client_address, a.priority) == (None, None, 0)
    assert (a.store, a.control) == (tmp_path / "stores/a", tmp_path / "stores/a/control.sock")
    assert b.addresses == (("b.example", 5671), ("fd00::2", 5671))
    assert (b.listen, b.client_address, b.priority) == ((("0.0.0.0", 5671),), ("b.example", 5672), 3)
    assert (b.store, b.control) == (Path("/var/lib/qpidha/b"), Path("/run/qpidha/b.sock"))
    assert file.settings == Settings(session_ttl_s=4, catch_up_time_max_s=None, replicate={"reply.*": "none"})
    assert file.record_place() == file.record_place("a") == tmp_path / "record"


def test_where_clients_connect(tmp_path: Path) -> None:
    file = load(tmp_path, WHOLE)
    assert file.client_address("b") == ("b.example", 5672)
    for node, says in (("a", "nodes.a has no client_address"), ("c", "there is no node 'c'")):
        with pytest.raises(ClusterFileError, match=says) as caught:
            file.client_address(node)
        assert caught.value.path == str(tmp_path / "qpidha.toml")


def test_the_arguments_of_a_node(tmp_path: Path) -> None:
    file = load(tmp_path, WHOLE)
    a, b = file.arguments("a"), file.arguments("b")
    assert (a["listen"], a["advertise"]) == ([("10.0.0.1", 5671)], None)
    assert (b["listen"], b["advertise"]) == (
        [("0.0.0.0", 5671)],
        [("b.example", 5671), ("fd00::2", 5671)],
    )
    assert isinstance(a["store"], SqliteStore) and a["store"] is not file.arguments("a")["store"]
    assert isinstance(a["records"], FileRecordStore)
    assert isinstance(b["promoter"], PriorityPromoter)
    assert isinstance(Node("b", broker=Recorder(), **b), Node)
    operated = load(tmp_path, 'promoter = "operator"\n' + WHOLE)
    assert isinstance(operated.arguments("a")["promoter"], OperatorPromoter)
    with pytest.raises(
        ClusterFileError, match=r"there is no node 'A'; did you mean 'a'\?|no node 'A'; known: a, b"
    ):
        file.arguments("A")


def test_the_certificates_of_a_node(tmp_path: Path) -> None:
    make_certificates(tmp_path / "certificates", "orders", {"a": [], "b": []})
    files = "".join(
        f'{key} = "certificates/{name}"\n'
        for key, name in (("ca", "ca.pem"), ("certificate", "{node}.pem"), ("key", "{node}.key"))
    )
    url = "etcd://10.0.0.1,10.0.0.2/x?attempt_timeout_s=0.4"
    file = load(tmp_path, WHOLE.replace('url = "record"', f'url = "{url}"\n{files}[tls]\n{files}'))
    place = str(file.record_place("b"))
    assert place == (
        f"{url}&ca={tmp_path}/certificates/ca.pem&certificate={tmp_path}/certificates/b.pem"
        f"&key={tmp_path}/certificates/b.key"
    )
    assert isinstance(file.records("b"), EtcdRecordStore)
    file.arguments("b")
    assert not file.roles_required
    strict = load(tmp_path, WHOLE + f"[tls]\n{files}roles_required = true\n")
    assert strict.tls_paths("b")["key"] == tmp_path / "certificates/b.key"
    assert load(tmp_path, WHOLE).tls_paths("a") == {}
    assert strict.roles_required and strict.arguments("a")["transport"]
    other = strict.tls_files | {
        "certificate": "certificates/operator.pem",
        "key": "certificates/operator.key",
    }
    with pytest.raises(SettingsError, match="is for operator: one for peer is needed"):
        replace(strict, tls_files=other).arguments("a")
    assert "/a.pem" in str(file.record_place())
    (tmp_path / "certificates/a.key").unlink()
    assert "/b.pem" in str(file.record_place()), "the first node whose key is here"
    (tmp_path / "certificates/b.key").unlink()
    assert "/a.pem" in str(file.record_place())
    with pytest.raises(SettingsError, match=r"a\.key"):
        file.arguments("a")
    plain = load(tmp_path, WHOLE.replace('url = "record"', 'url = "etcd://127.0.0.1/x"'))
    assert plain.record_place() == "etcd://127.0.0.1/x"
    spaces = load(tmp_path, WHOLE.replace('url = "record"', 'url = "etcd://10.0.0.1/x"\nca = "a & b"'))
    assert spaces.record_place() == f"etcd://10.0.0.1/x?ca={tmp_path}/a%20%26%20b"


def test_a_file_in_a_directory_whose_name_is_not_utf_8(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"d\xff")
    odd.mkdir()
    make_certificates(odd / "certificates", "orders", {"a": [], "b": []})
    text = WHOLE.replace('url = "record"', 'url = "etcd://10.0.0.1/x"\nca = "certificates/ca.pem"')
    file = load(odd, text)
    assert file.record_place() == f"etcd://10.0.0.1/x?ca={tmp_path}/d%FF/certificates/ca.pem"
    assert isinstance(file.records("a"), EtcdRecordStore)
    assert file.arguments("a")["control"] == odd / "stores/a/control.sock"


def test_whether_a_store_is_on_this_machine(tmp_path: Path) -> None:
    a = load(tmp_path, WHOLE).node("a")
    assert not a.is_here()
    (tmp_path / "stores").write_text("a file in the way")
    assert not a.is_here()
    (tmp_path / "stores").unlink()
    a.store.mkdir(parents=True)
    assert a.is_here()
    (tmp_path / "stores/loop").symlink_to("loop")
    assert load(tmp_path, WHOLE.replace("stores/{node}", "stores/loop/{node}")).node("a").is_here()


# --- where it is looked for ----------------------------------------------------------------------


def test_the_places_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def named(path: Path) -> Path:
        path.parent.mkdir(exist_ok=True)
        path.write_text(WHOLE.replace("orders", path.parent.name))
        return path

    def found() -> str | None:
        file = find_cluster_file()
        return None if file is None else file.name

    monkeypatch.setattr(module, "PLACES", (Path("qpidha.toml"), tmp_path / "etc/qpidha.toml"))
    monkeypatch.delenv("QPIDHA_CLUSTER", raising=False)
    monkeypatch.chdir(tmp_path)
    assert found() is None
    named(tmp_path / "etc/qpidha.toml")
    assert found() == "etc"
    here = named(tmp_path / "here/qpidha.toml")
    monkeypatch.chdir(here.parent)
    assert found() == "here"
    variable = named(tmp_path / "variable/cluster.toml")
    monkeypatch.setenv("QPIDHA_CLUSTER", str(variable))
    assert found() == "variable"
    given = find_cluster_file(named(tmp_path / "given/x.toml"))
    assert given is not None and given.name == "given"
    monkeypatch.setenv("QPIDHA_CLUSTER", "")
    assert found() == "here"
    monkeypatch.setenv("QPIDHA_CLUSTER", str(tmp_path / "none.toml"))
    with pytest.raises(
        ClusterFileError, match=r"none\.toml: No such file .*\(the environment variable QPIDHA_CLUSTER"
    ):
        found()


def test_relative_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(tmp_path, WHOLE)
    monkeypatch.chdir(tmp_path)
    file = ClusterFile.load("qpidha.toml")
    monkeypatch.chdir("/")
    assert (file.path, file.record_place()) == (tmp_path / "qpidha.toml", tmp_path / "record")


# --- mistakes ------------------------------------------------------------------------------------

MISTAKES = [
    ("cluster =", "cluster ", "is not valid TOML: ", ""),
    ('cluster = "orders"', "", "this key is missing; it must be text", "cluster"),
    ('cluster = "orders"', "cluster = 1", "it must be text of 1 to 200 bytes in UTF-8, not 1 (int)", "cluster"),
    ('cluster = "orders"', 'cluster = "o"\nrecrod = 1', "did you mean 'record'?; known: cluster, nodes", "recrod"),
    ('cluster = "orders"', 'cluster = "o"\npromoter = "best"', "it must be 'priority' or 'operator'", "promoter"),
    ("[record]\n", "[recrod]\n", "this must be a table: write [record]", "record"),
    ('url = "record"', 'ur = "record"', "this key is missing; it must be text", "record.url"),
    ('url = "record"', 'url = "record"\nuser = "u"', "there is no such key here; known: ca", "record.user"),
    ('url = "record"', 'url = "a\\u0000b"', "it must be a directory, or a URL", "record.url"),
    ('url = "record"', 'url = "record"\nca = "ca.pem"', "in a directory needs no certificates", "record.ca"),
    ('url = "record"', 'url = "etdc://h/x"', "no record store for etdc://; did you mean 'etcd'?", "record.url"),
    ('url = "record"', 'url = "etcd://u:secret@h/x"', "no user or password before the hosts", "record.url"),
    ('url = "record"', 'url = "etcd://h/x?ca=f"', "write ca as a key of [record]", "record.url"),
    ('url = "record"', 'url = "record"\n[tls]\nca = "x"', "links need an authority and the node's", "tls.certificate"),
    ('url = "record"', 'url = "record"\n[tls]\ncertificate = "x"', "links need an authority", "tls.ca"),
    ('url = "record"', 'url = "record"\n[tls]\nroles_required = 1', "it must be True or False", "tls.roles_required"),
    ('url = "record"', 'url = "record"\n[tls]\ncerts = "x"', "there is no such key here", "tls.certs"),
    ("[nodes.a]", '[nodes."a/b"]', "without a slash", "nodes.a/b"),
    ("[nodes.a]", '[nodes.""]', "a node id must be text of 1 to", "nodes"),
    ("[nodes.a]", "[nodes.a]\npriority = 1.5", "it must be an integer", "nodes.a.priority"),
    ("[nodes.a]", "[nodes.a]\nadress = 1", "there is no such key here; did you mean 'addresses'?", "nodes.a.adress"),
    ('store = "stores/{node}"', 'sotre = "x"', "it must be a path; is 'sotre' a slip of it?", "nodes.a.store"),
    ('store = "stores/{node}"', 'store = ""', "it must be a path, not ''", "nodes.a.store"),
    ('store = "stores/{node}"', f'store = "{"x" * 300}"', "it must be a path, not", "nodes.a.store"),
    ('store = "stores/{node}"', f'store = "{"x/" * 1995}"', "it must be a path, not '/", "nodes.a.store"),
    ('store = "stores/{node}"', 'store = "/var/lib/qpidha/b"', "node 'a' has the same; write {node}", "nodes.b.store"),
    ("10.0.0.1:5671", "10.0.0.1", "'10.0.0.1' is not an address: give host:port", "nodes.a.addresses"),
    ("10.0.0.1:5671", "0.0.0.0:5671", "others must be able to connect to it", "nodes.a.addresses"),
    ("10.0.0.1:5671", "10.0.0.1:0", "others must be able to connect to it", "nodes.a.addresses"),
    ("10.0.0.1:5671", "b.example:5671", "node 'a' has the same", "nodes.b.addresses"),
    ('listen = ["0.0.0.0:5671"]', "listen = []", "or a list of 1 to 8 of them", "nodes.b.listen"),
    ('client_address = "b.example:5672"', 'client_address = "b"', "'b' is not an address", "nodes.b.client_address"),
    ("session_ttl_s = 4", "sesion_ttl_s = 4", "no such setting; did you mean 'session_ttl_s'?", "settings.sesion_ttl_s"),
    ("session_ttl_s = 4", 'session_ttl_s = "4 s"', "it must be a number from 0.001", "settings.session_ttl_s"),
    ("session_ttl_s = 4", 'session_ttl_s = "none"', "it must be a number from 0.001", "settings.session_ttl_s"),
    ("session_ttl_s = 4", "heartbeat_interval_s = 1", "times 2 must not exceed", "settings"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "says", "key"), MISTAKES)
def test_a_mistake_is_named_with_its_file_and_key(
    old: str, new: str, says: str, key: str, tmp_path: Path
) -> None:
    assert old in WHOLE
    with pytest.raises(ClusterFileError) as caught:
        load(tmp_path, WHOLE.replace(old, new))
    assert says in str(caught.value)
    assert "secret" not in str(caught.value)
    line = caught.value.line
    place = f"{tmp_path / 'qpidha.toml'}" + (f", line {line}" if line is not None else "")
    assert str(caught.value).startswith(place + (f": {key}" if key else ""))
    if line is not None:  # Of a key that is missing there is none.
        written = (tmp_path / "qpidha.toml").read_text().splitlines()[line - 1]
        assert key.rpartition(".")[2] in written
    assert (caught.value.path, caught.value.key) == (str(tmp_path / "qpidha.toml"), key)


@pytest.mark.parametrize(
    ("key", "line"),
    [("cluster", 2), ("record", 3), ("record.url", 4), ("nodes.a", 5), ("nodes.b.store", 12),
     ("nodes.b.client_address", 11), ("settings.session_ttl_s", 16), ("nodes", None), ("nodes.c", None), ("url", None)],
)  # fmt: skip
def test_the_line_of_a_key(key: str, line: int | None) -> None:
    assert line_of(WHOLE, key) == line


def test_the_line_of_a_key_in_quotes_or_below_a_table() -> None:
    text = '# nodes.a.x = 1\nnodes."a" . store = "s"\n[ "nodes" .\'b.c\' ] # x\n  "store" = "t=u"\n[[x]]\nlost = 1\n'
    assert line_of(text, "nodes.a.store") == 2 and line_of(text, "nodes.b.c.store") == 4
    assert line_of(text, "nodes.a.x") is None


def test_two_nodes_cannot_have_the_same_address_for_clients(tmp_path: Path) -> None:
    with pytest.raises(ClusterFileError) as caught:
        load(tmp_path, WHOLE.replace("[nodes.b]", 'client_address = "b.example:5672"\n[nodes.b]'))
    assert "line 12: nodes.b.client_address: node 'a' has the same" in str(caught.value)
    assert caught.value.line == 12
    with pytest.raises(ClusterFileError, match="client_address: the node's own links use this address"):
        load(tmp_path, WHOLE.replace("b.example:5672", "b.example:5671"))


def test_files_without_nodes(tmp_path: Path) -> None:
    for text, says in (
        ('cluster = "x"\nnodes = 1\nrecord.url = "r"', "this must be a table"),
        ('cluster = "x"\nrecord.url = "r"\n[nodes]', "there is no node: write [nodes.NAME] for each"),
        ('cluster = "x"\nrecord.url = "r"\nnodes.a = 1', "this must be a table: write [nodes.a]"),
    ):
        with pytest.raises(ClusterFileError) as caught:
            load(tmp_path, text)
        assert says in str(caught.value)


def test_the_least_that_a_file_needs(tmp_path: Path) -> None:
    file = load(
        tmp_path, 'cluster = "x"\nrecord.url = "file:///r"\n[nodes.a]\naddresses = "h:1"\nstore = "s"\n'
    )
    assert (file.settings, file.tls_files) == (Settings(), {})
    assert file.record_place() == "file:///r"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b'cluster = "\xe9"')
    (tmp_path / "deep.toml").write_text("x = " + "[" * 100_000)
    (tmp_path / "large.toml").write_text("#" * (1024 * 1024 + 1))
    for name, says in (
        ("none.toml", "No such file"),
        (".", "Is a directory"),
        ("latin.toml", "is not valid TOML"),
        ("deep.toml", "is not valid TOML"),
        ("large.toml", "has more than 1048576 bytes"),
    ):
        with pytest.raises(ClusterFileError) as caught:
            ClusterFile.load(tmp_path / name)
        assert says in str(caught.value)
    with pytest.raises(ArgumentError):
        ClusterFile.load(os.fspath(tmp_path) + "/a\0b")
