"""``qpidha promote`` and ``demote`` for nodes of other machines, by their HTTP port: with a certificate or a token.

Method: the command runs in a thread, the node and its server in the event loop of the test.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qpidha import Node
from qpidha.cli import OK, PARTLY, PROBLEM, UNREACHABLE, USAGE, main
from qpidha.cli.port import Port
from qpidha.cli.top.orders import explain, steer
from qpidha.clusterfile.authority import make_certificates
from qpidha.web import NodeServer, ServerFiles, Tokens
from tests.support.harness import World, run, until

OPERATOR = "o" * 20
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Certificates as ``qpidha init`` makes them."""
    made = tmp_path / "certificates"
    make_certificates(made, "orders", {"a": [], "b": []})
    return made


def shown(folder: Path, name: str) -> list[str]:
    return ["--certificate", str(folder / f"{name}.pem"), "--key", str(folder / f"{name}.key")]


def server_of(node: Node, folder: Path, tokens: Tokens | None = None) -> NodeServer:
    ca, certificate = folder / "ca.pem", folder / "a"
    files = ServerFiles(f"{certificate}.pem", f"{certificate}.key", clients=ca)
    return NodeServer(node, tls=files, tokens=tokens)


def test_an_operator_steers_a_node_and_a_peer_does_not(folder: Path, capsys: Capture) -> None:
    async def scenario(world: World) -> None:
        (a,) = await world.cluster("a")
        async with server_of(a, folder) as server:
            to = ["--url", "https://{}:{}".format(*server.address), "--ca", str(folder / "ca.pem")]
            command = ["demote", *to]
            assert await asyncio.to_thread(main, [*command, *shown(folder, "b")]) == PROBLEM
            assert (
                "refused: this certificate is for peer: one for operator is needed" in capsys.readouterr().err
            )
            assert await asyncio.to_thread(main, command) == PROBLEM
            assert "refused: show a certificate for viewer or operator" in capsys.readouterr().err
            assert a.status().role == "active"
            by_operator = shown(folder, "operator")
            assert await asyncio.to_thread(main, [*command, *by_operator]) == OK
            assert capsys.readouterr().out == "not primary any more\n"
            assert await asyncio.to_thread(main, [*command, *by_operator, "--json"]) == PROBLEM
            answer = json.loads(capsys.readouterr().out)
            assert (answer["ok"], answer["kind"]) == (False, "refused") and answer["error"]
            assert await asyncio.to_thread(main, ["promote", *to, *by_operator, "--json"]) == OK
            assert json.loads(capsys.readouterr().out) == {"ok": True, "generation": a.generation}

    run(scenario)


def test_a_token_is_read_from_a_private_file(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    tokens, file = tmp_path / "tokens", tmp_path / "token"
    tokens.write_text(f"operator {OPERATOR}\n")
    file.write_text(f"{OPERATOR}\n")
    for path in (tokens, file):
        path.chmod(0o600)

    async def scenario(world: World) -> None:
        (a,) = await world.cluster("a")
        async with server_of(a, folder, Tokens(tokens)) as server:
            to = ["--url", "https://{}:{}".format(*server.address), "--ca", str(folder / "ca.pem")]
            words = ["demote", *to, "--token-file", str(file)]
            file.chmod(0o644)
            assert await asyncio.to_thread(main, words) == UNREACHABLE
            assert "has mode 0644" in capsys.readouterr().err
            file.chmod(0o600)
            assert await asyncio.to_thread(main, words) == OK
        file.write_text("two words\n")
        assert await asyncio.to_thread(main, words) == UNREACHABLE
        said = capsys.readouterr().err
        assert "must hold a token" in said and "two words" not in said, "it may be a secret"

    run(scenario)


def test_what_fails_is_named(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    """A node that does not trust the certificate, one that this command does not trust, files that cannot be used."""
    make_certificates(tmp_path / "other", "x", {"a": []})
    (tmp_path / "none").write_text("")

    async def scenario(world: World) -> None:
        (a,) = await world.cluster("a")
        async with server_of(a, folder) as server:
            to = ["demote", "--url", "https://{}:{}".format(*server.address)]
            ca = ["--ca", str(folder / "ca.pem")]
            stranger = shown(tmp_path / "other", "operator")
            for words, said in (
                (
                    [*to, *ca, *stranger],
                    "the other end refuses this command's certificate: it is of an authority",
                ),
                ([*to, *shown(folder, "operator")], "of an authority that this command does not know"),
                ([*to, "--ca", str(tmp_path / "none")], "cannot use the authority"),
                ([*to, *ca, "--certificate", str(folder / "ca.pem")], "is readable by group|has mode 0644"),
                ([*to, *ca, "--token-file", str(tmp_path / "no")], "cannot read the key file"),
            ):
                assert await asyncio.to_thread(main, words) == UNREACHABLE
                error = capsys.readouterr().err
                assert any(each in error for each in said.split("|")), error
            assert a.status().role == "active"

    run(scenario)


@contextmanager
def answering(said: bytes | None, times: int = 1) -> Iterator[str]:
    """A server that gives this answer to each of some requests; None: no answer."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for _ in range(times):
                link, _address = listening.accept()
                with link:
                    link.recv(65536)
                    if said is None:
                        link.recv(1)
                    else:
                        link.sendall(said)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread.join()


def test_top_shows_nodes_of_this_machine_and_of_others(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    """One by its control socket; one by HTTPS with a certificate, and with a viewer's token."""
    tokens, file, here = tmp_path / "tokens", tmp_path / "token", tmp_path / "a"
    tokens.write_text(f"viewer {OPERATOR}\n")
    file.write_text(OPERATOR)
    for path in (tokens, file):
        path.chmod(0o600)
    here.mkdir()

    async def scenario(world: World) -> None:
        a = await world.start("a", control=here / "control.sock")
        b = await world.start("b")
        await a.promote()
        await until(lambda: len(world.members()) == 2)
        await a.declare("orders").enqueue(b"one")
        async with server_of(b, folder, Tokens(tokens)) as server:
            url = "https://{}:{}".format(*server.address)
            once, ca = ["top", "--once", "--interval", "0.01"], ["--ca", str(folder / "ca.pem")]
            for proof in (shown(folder, "operator"), ["--token-file", str(file)]):
                assert await asyncio.to_thread(main, [*once, str(here), "--url", url, *ca, *proof]) == OK
                out = capsys.readouterr().out
                assert "\n  a             active     yes       1" in out
                assert "\n  b             ready      yes       1" in out, "by its id, not by its URL"
            assert await asyncio.to_thread(main, [*once, "--url", url, *ca]) == UNREACHABLE
            out = " ".join(capsys.readouterr().out.split())
            assert "!127.0.0.1:" in out and "no answer: refused: show a token" in out
            port = Port(url, ca=folder / "ca.pem", token_file=file)
            assert (
                await asyncio.to_thread(steer, port, "b", "promote")
                == "b refuses: an operator's token is needed"
            )
            assert explain(port, "b", "orders 1") == ["b is on another machine: run `qpidha why` there"]
            assert (
                await asyncio.to_thread(main, [*once, str(here), "--url", "https://" + "a" * 70, *ca])
                == PARTLY
            )
        assert await asyncio.to_thread(main, [*once, str(here), "--url", url, *ca, *proof]) == PARTLY
        assert "Connection refused" in capsys.readouterr().out

    run(scenario)


def test_top_of_something_that_is_no_node(capsys: Capture) -> None:
    for said in (b"[]", b"<html>", b"[" * 100_000, b'{"node": 5, "queues": "x"}'):
        head = b"HTTP/1.0 200 OK\r\n\r\n"
        with answering(head + said, times=2 if said[:1] == b"{" else 1) as url:
            code = main(["top", "--once", "--interval", "0.01", "--url", url])
        assert code == (OK if said[:1] == b"{" else UNREACHABLE), said
        assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--token-file", "f"], "--token-file needs --url"),
        (["--url", "https://h", "--url", "ftp://h"], "it must be such as https://"),
        (["--url", "https://h", "--url", "http://h", "--ca", "f"], "certificates need https"),
        (["dir", "--node", "a", "--url", "https://h"], "not both"),
    ],
)
def test_options_of_top_that_do_not_fit_together(words: list[str], said: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as error:
        main(["top", "--once", *words])
    assert error.value.code == USAGE and said in capsys.readouterr().err


def test_what_is_no_node(capsys: Capture) -> None:
    for said, kind in (
        (None, "hung"),
        (b"SSH-2.0-x\r\n", "closed"),
        (b"", "closed"),
    ):
        with answering(said) as url:
            assert main(["promote", "--url", url, "--timeout", "0.2", "--json"]) == UNREACHABLE
            assert json.loads(capsys.readouterr().out)["kind"] == kind
    with answering(b"HTTP/1.0 404 Not Found\r\n\r\n") as url:
        assert main(["promote", "--url", url, "--json"]) == PROBLEM
        assert json.loads(capsys.readouterr().out) == {"ok": False, "error": "HTTP 404", "kind": "failed"}
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    assert main(["promote", "--url", url]) == UNREACHABLE
    assert "Connection refused" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--ca", "f"], "--ca needs --url"),
        (["--token-file", "f"], "--token-file needs --url"),
        (["--url", "https://h", "--node", "a"], "not both"),
        (["dir", "--url", "https://h"], "not both"),
        (["--url", "h:1"], "it must be such as https://"),
        (["--url", "ftp://h"], "it must be such as https://"),
        (["--url", "https://[x"], "it must be such as https://"),
        (["--url", "https://h:99999"], "it must be such as https://"),
        (["--url", "http://h", "--ca", "f"], "certificates need https"),
        (["--url", "https://h", "--key", "f"], "--key needs --certificate"),
    ],
)
def test_options_that_do_not_fit_together(words: list[str], said: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as error:
        main(["demote", *words])
    assert error.value.code == USAGE and said in capsys.readouterr().err
