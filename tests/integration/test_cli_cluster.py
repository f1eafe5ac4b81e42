"""The command line with a cluster file: nothing else is needed on it, and each slip is answered."""

from __future__ import annotations

import asyncio
import errno
import io
import json
from pathlib import Path
from typing import Any

import pytest

from qpidha import Node
from qpidha.cli import OK, PARTLY, PROBLEM, UNREACHABLE, USAGE, main, work
from qpidha.clusterfile import ClusterFile
from qpidha.engines.ports import free_ports
from qpidha.stores import SqliteStore
from tests.integration.test_cli_stores import written
from tests.support.harness import Recorder, until


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, which is found as no cluster file is elsewhere."""
    monkeypatch.delenv("QPIDHA_CLUSTER", raising=False)
    monkeypatch.setattr("qpidha.clusterfile.file.PLACES", (Path("qpidha.toml"),))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    out = capsys.readouterr()
    return code, out.out, out.err


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert ended.value.code == USAGE
    return capsys.readouterr().err


def drafted(capsys: pytest.CaptureFixture[str], *words: object) -> ClusterFile:
    """Of two nodes on this machine, of which none is promoted by itself."""
    ports = free_ports()
    nodes = [word for id in ("a", "b") for word in ("--node", f"{id}=127.0.0.1:{next(ports)}")]
    assert run(capsys, "init", *nodes, *words)[0] == OK
    path = Path("qpidha.toml")
    path.write_text('promoter = "operator"\n' + path.read_text())
    return ClusterFile.load(path)


# --- init ----------------------------------------------------------------------------------------


def test_init_writes_a_file_for_a_trial_on_this_machine(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "init", "--certificates")
    assert code == OK
    assert out.startswith("wrote certificates\nwrote qpidha.toml\nkeep certificates/ca.key away")
    file = ClusterFile.load("qpidha.toml")
    assert list(file.nodes) == ["a", "b", "c"]
    assert file.tls_files["ca"] == "certificates/ca.pem" and file.record_files == {}
    assert file.roles_required and (here / "certificates/operator.key").exists()
    for node in file.nodes:
        assert file.arguments(node)["client_address"] is not None
    before = (here / "qpidha.toml").read_text()
    assert run(capsys, "init") == (
        PROBLEM, "", "qpidha: qpidha.toml is there already: nothing was written\n",
    )  # fmt: skip
    assert run(capsys, "init", "other.toml", "--certificates") == (
        PROBLEM, "", "qpidha: nothing was written: certificates is there already, and not empty\n",
    )  # fmt: skip
    assert (here / "qpidha.toml").read_text() == before and not (here / "other.toml").exists()


def test_init_writes_a_file_for_machines(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        "--name", "orders", "--node", "a=10.0.0.1:5671,10.1.0.1:5671", "--node", "b=b.example:5671",
        "--client", "a=10.0.0.1:5672", "--record", "etcd://10.0.0.1:2379/qpidha/orders", "--store", "/var/lib/x/{node}",
    )  # fmt: skip
    code, out, _ = run(capsys, "init", *words)
    assert code == OK and "put ca.pem, NODE.pem and NODE.key of each node into certificates" in out
    file = ClusterFile.load("qpidha.toml")
    assert (file.name, file.node("b").store) == ("orders", Path("/var/lib/x/b"))
    assert len(file.node("a").addresses) == 2 and file.node("b").client_address is None
    assert file.tls_files == file.record_files and not file.roles_required
    assert list(here.iterdir()) == [here / "qpidha.toml"]


def test_init_leaves_nothing_behind_when_it_fails(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, says in (
        (("--record", "etdc://127.0.0.1/x"), "did you mean 'etcd'?"),
        (("--certificates", "--record", "etdc://127.0.0.1/x"), "did you mean 'etcd'?"),
        (("none/x.toml",), "No such file or directory"),
    ):
        code, out, err = run(capsys, "init", *words)
        assert (code, out) == (PROBLEM, "") and "nothing was written" in err and says in err
        assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--node", "a"), "is not NODE=HOST:PORT"),
        (("--node", "a/b=h:1"), "is not NODE=HOST:PORT"),
        (("--node", "a=h"), "is not an address"),
        (("--node", "a=0.0.0.0:1"), 'others cannot connect to "0.0.0.0:1"'),
        (("--node", "a=h:0"), 'others cannot connect to "h:0"'),
        (("--node", "a=localhost:1", "--node", "a=localhost:2"), "a node is given twice"),
        (("--client", "d=h:1"), "there is no node d"),
        (("--name", "a\nb"), "must be letters"),
        (("--store", "/var/lib/x"), "write {node} in it"),
        (
            ("--store", "s\udcff/{node}"),
            'argument --store: "s\\udcff/{node}" is not UTF-8, as a cluster file must be',
        ),
        (("--record", "r\udcff"), 'argument --record: "r\\udcff" is not UTF-8'),
        (("--record", "etcd://h\udcff/x"), "is not UTF-8"),
        (("--record", "file:///\udcff", "--certificates"), "is not UTF-8"),
        (("--node", "a=h\udcff:1", "--record", "etcd://h/x"), 'argument --node: "a=h\\udcff:1" is not UTF-8'),
        (("--client", "a=h\udcff:1"), 'argument --client: "a=h\\udcff:1" is not UTF-8'),
        (("qpidha.conf",), "ends in .toml"),
        (("--node", "a=10.0.0.1:1"), "nodes of several machines need an engine"),
        (("--node", "a=10.0.0.1:1", "--record", "/shared"), "nodes of several machines need an engine"),
    ],
)
def test_init_refuses_what_makes_no_cluster(
    words: tuple[str, ...], says: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in refused(capsys, "init", *words)
    assert list(here.iterdir()) == []


# --- the commands on running nodes ---------------------------------------------------------------


def with_nodes(file: ClusterFile, *ids: str) -> Any:
    """A context in which these nodes run, and are members."""

    class Running:
        async def __aenter__(self) -> dict[str, Node]:
            self.nodes = {id: Node(id, broker=Recorder(), **file.arguments(id)) for id in ids}
            for node in self.nodes.values():
                await node.start()
            await self.nodes["a"].promote()
            await until(lambda: all(node.status().in_sync for node in self.nodes.values()))
            return self.nodes

        async def __aexit__(self, *_: object) -> None:
            for node in self.nodes.values():
                await node.stop()

    return Running()


@pytest.mark.network
def test_the_commands_need_nothing_else(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = drafted(capsys, "--certificates")
    moved = (
        (here / "qpidha.toml")
        .read_text()
        .replace('store = "stores/{node}"', 'store = "stores/{node}"\ncontrol = "{node}.sock"')
    )
    (here / "qpidha.toml").write_text(moved)
    file = ClusterFile.load("qpidha.toml")

    def commands() -> None:
        code, out, _ = run(capsys, "status")
        assert code == OK
        assert "node a: " in out and "node b: " in out and "record: version" in out
        code, out, _ = run(capsys, "status", "--node", "b", "--json")
        found = json.loads(out)
        assert code == OK
        assert list(found["nodes"]) == [str(here / "stores/b")] and found["elsewhere"] == ["a"]
        assert run(capsys, "record", "show")[0] == OK
        code, out, err = run(capsys, "promote", "--node", "b")
        assert (code, out) == (OK, "primary of generation 2\n"), err
        assert run(capsys, "why", "--node", "b") == (OK, "node 'b': everything is confirmed\n", "")
        code, out, _ = run(capsys, "why", "--node", "b", "orders", "7")
        assert (code, "not-given-out" in out) == (PROBLEM, True)
        assert "a, b: choose one with --node" in refused(capsys, "why", "orders", "7")
        assert "a, b: choose one with --node" in refused(capsys, "promote")
        assert "no node answers" in run(capsys, "why", "stores", "orders")[2], "a directory comes first"

    async def main() -> None:
        async with with_nodes(file, "a", "b") as nodes:
            nodes["a"].declare("orders")
            await until(lambda: len(nodes["b"].status().members) == 2)
            await asyncio.to_thread(commands)

    asyncio.run(main())


@pytest.mark.network
def test_nodes_of_other_machines_are_not_asked(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = drafted(capsys)

    def commands() -> None:
        code, out, _ = run(capsys, "status", "--cluster", here / "qpidha.toml")
        assert code == OK
        assert "node a: " in out and "not asked: b (no store on this machine" in out
        monkeypatch.setenv("QPIDHA_CLUSTER", str(here / "qpidha.toml"))
        assert "promote while active" in run(capsys, "promote")[2], "it was the only node that is here"
        assert run(capsys, "why")[0] == OK
        assert "no queue 'orders' on node 'a'" in run(capsys, "why", "orders")[2]
        code, _, err = run(capsys, "status", "--node", "a", "--node", "b")
        assert code == PARTLY and "no node answers in" in err
        assert "several" not in err

    async def main() -> None:
        async with with_nodes(file, "a"):
            monkeypatch.chdir("/")
            await asyncio.to_thread(commands)

    asyncio.run(main())


def test_the_record_is_shown_where_no_node_is(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = drafted(capsys)
    store = file.records()
    asyncio.run(store.close())
    code, out, err = run(capsys, "status")
    assert code == UNREACHABLE
    assert out.splitlines()[0] == (
        "not asked: a, b (no store on this machine: on another one, or never started)"
    )
    assert "record: there is none" in out and err == ""
    for command in (["promote"], ["why"], ["store", "inspect"], ["store", "rank"], ["store", "compact"]):
        said = refused(capsys, *command)
        assert "no node of" in said and "has its store on this machine" in said


# --- the commands on stores ----------------------------------------------------------------------


def test_the_stores_of_this_machine(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drafted(capsys)
    a = written(here / "stores/a")
    code, out, _ = run(capsys, "store", "inspect")
    assert code == OK and f"store {a}: clean" in out
    assert run(capsys, "store", "compact")[0] == OK
    code, out, err = run(capsys, "store", "rank")
    assert code == PARTLY and out.startswith("1  ") and "ranked without the record" in err
    code, out, _ = run(capsys, "store", "rank", a)
    assert (code, out.count("stores/a")) == (OK, 1)


def test_a_record_is_not_rebuilt_from_some_of_the_stores(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drafted(capsys)
    a = written(here / "stores/a")
    assert "the stores of b are not on this machine" in refused(capsys, "record", "rebuild", "--write")
    assert not (here / "record").exists()
    assert run(capsys, "record", "rebuild", "qpidha.toml", a)[0] == OK
    assert run(capsys, "record", "rebuild", "--cluster", "qpidha.toml", a)[0] == OK
    written(here / "stores/b")
    assert run(capsys, "record", "rebuild", "--write")[0] == OK
    code, out, _ = run(capsys, "record", "show", "qpidha.toml")
    assert code == OK and "generation" in out
    assert run(capsys, "record", "show", "record")[1] == out
    code, out, _ = run(capsys, "store", "rank", a, "--cluster", "qpidha.toml")
    assert code == OK


# --- slips ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("status", "d", "--node", "a"), "give directories, or --node, not both"),
        (("status", "--node", "A"), "there is no node 'A'"),
        (("status", "--cluster", "record"), "need a cluster file"),
        (("status", "--cluster", "none.toml"), "No such file"),
        (("promote", "d", "--node", "a"), "give a directory, or --node and --cluster, not both"),
        (("why", "--node", "a", "q", "1", "2"), "unrecognized arguments: 2"),
        (("record", "show", "r", "--cluster", "qpidha.toml"), "or --cluster, not both"),
        (("record", "rebuild", "r"), "the following arguments are required: directory"),
        (("record", "rebuild", ""), "an empty path"),
    ],
)
def test_a_slip_is_wrong_usage(
    words: tuple[str, ...], says: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drafted(capsys)
    assert says in refused(capsys, *words)


def test_a_record_that_cannot_be_opened(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drafted(capsys)
    path = here / "qpidha.toml"
    path.write_text(path.read_text().replace('url = "record"', 'url = "etcd://10.0.0.1/x"\nca = "none.pem"'))
    assert "record: cannot use authority" in refused(capsys, "record", "show")
    code, out, err = run(capsys, "status")
    assert code == UNREACHABLE and "not asked: a, b" in out and "none.pem" in err


def test_without_a_cluster_file_the_places_are_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["status"], ["promote"], ["record", "show"], ["record", "rebuild"], ["store", "rank"]):
        said = refused(capsys, *command)
        assert (
            "--cluster FILE or QPIDHA_CLUSTER, or have it at ./qpidha.toml or /etc/qpidha/qpidha.toml" in said
        )


def test_a_store_is_saved_by_the_cluster_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The node on this machine, or the one that is named; a directory goes without both."""
    drafted(capsys)
    store = SqliteStore(here / "stores" / "a")
    store.open("a")
    store.close(clean=True)
    assert run(capsys, "store", "backup", "one.saved")[0] == OK
    assert run(capsys, "store", "backup", "--node", "a", "two.saved")[0] == OK
    assert run(capsys, "store", "backup", here / "stores" / "a", "three.saved")[0] == OK
    assert run(capsys, "store", "verify", "one.saved", "two.saved", "three.saved")[0] == OK
    assert "not both" in refused(
        capsys, "store", "backup", "--node", "a", here / "stores" / "a", "four.saved"
    )
    assert "unrecognized arguments: x" in refused(capsys, "store", "backup", "a", "b", "x")
    assert "'x'" in refused(capsys, "store", "backup", "--node", "x", "four.saved")
    assert not (here / "four.saved").exists()


def test_a_disk_that_is_full_leaves_no_half_of_a_file(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was not written whole is not there, so the same command succeeds as soon as there is room."""
    room = [1]

    class Full(io.StringIO):
        def close(self) -> None:
            if not self.closed:
                super().close()
                if not room[0]:
                    raise OSError(errno.ENOSPC, "No space left on device")
                room[0] -= 1

    def opened(path: Path, *_: object, **__: object) -> Full:
        path.touch(exist_ok=False)
        return Full()

    with monkeypatch.context() as patch:
        patch.setattr(work, "open", opened, raising=False)
        code, _, err = run(capsys, "new", "mine")
        assert code == UNREACHABLE and "mine: No space left on device: nothing was written" in err
        assert list((here / "mine").iterdir()) == []
        room[0] = 0
        code, _, err = run(capsys, "init")
        assert (
            code == PROBLEM and err == "qpidha: nothing was written: qpidha.toml: No space left on device\n"
        )
    assert not (here / "qpidha.toml").exists()
    assert run(capsys, "init")[0] == OK and run(capsys, "new", "mine")[0] == OK
