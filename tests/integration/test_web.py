"""The HTTP port of a node, asked by a real HTTP client."""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import aiohttp
import pytest
import trustme

from qpidha import Node
from qpidha.errors import ArgumentError, LocalProtocolError, SettingsError, StoreFailed
from qpidha.events import NodeFailing
from qpidha.web import EventLog, NodeServer, ServerFiles, Tokens
from tests.support.harness import World, run, until

VIEWER, OPERATOR = "v" * 20, "o" * 20


def tokens(base: Path) -> Tokens:
    path = base / "tokens"
    path.write_text(f"viewer {VIEWER}\noperator {OPERATOR}\n")
    path.chmod(0o600)
    return Tokens(path)


class Client:
    """Asks one server."""

    def __init__(self, server: NodeServer, token: str = "", **options: Any) -> None:
        self._options = options
        scheme = "https" if options else "http"
        host, port = server.address
        self._base = f"{scheme}://{host}:{port}"
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
        async with (
            aiohttp.ClientSession(headers=self._headers) as session,
            session.request(method, self._base + path, headers=headers, **self._options) as answer,
        ):
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Cache-Control"] == "no-store"
            return answer.status, await answer.text()


def test_what_a_viewer_reads_without_tokens() -> None:
    async def main(world: World) -> None:
        events = EventLog()
        a = await world.start("a", on_event=events)
        async with NodeServer(a, events=events) as server:
            client = Client(server)
            assert (await client.ask("/ready")) == (503, "no primary is known\n")
            assert (await client.ask("/live"))[0] == 200
            assert (await client.ask("/serving"))[0] == 503
            await a.promote()
            await until(lambda: a.status().broker == "serving")
            await a.declare("orders").enqueue(b"one")
            assert (await client.ask("/ready"))[0] == (await client.ask("/serving"))[0] == 200
            status, text = await client.ask("/metrics")
            assert status == 200 and 'qpidha_queue_messages{queue="orders"} 1.0' in text
            _, open_metrics = await client.ask(
                "/metrics", Accept="application/openmetrics-text; version=1.0.0"
            )
            assert open_metrics.endswith("# EOF\n")
            status, text = await client.ask("/status?queues=0")
            assert status == 200 and '"node": "a"' in text and '"queues": []' in text
            for wrong in ("-1", "x", "1.5"):
                assert (await client.ask(f"/status?queues={wrong}"))[0] == 400
            status, text = await client.ask("/history")
            assert status == 200 and '"role: active, generation 1"' in text
            status, text = await client.ask("/")
            assert (
                status == 200
                and "<!doctype html>" in text
                and "http" not in text.replace("http://www.w3.org", "")
            )
            assert (await client.ask("/none"))[0] == 404
            assert (await client.ask("/demote"))[0] == 405

    run(main)


def test_nobody_is_an_operator_without_tokens() -> None:
    async def main(world: World) -> None:
        (a,) = await world.cluster("a")
        async with NodeServer(a) as server:
            assert (await Client(server).ask("/demote", "POST"))[0] == 403
            assert (await Client(server, OPERATOR).ask("/demote", "POST"))[0] == 403
            assert a.status().role == "active"

    run(main)


def test_a_page_of_elsewhere_reads_nothing_without_tokens() -> None:
    async def main(world: World) -> None:
        (a,) = await world.cluster("a")
        async with NodeServer(a) as server:
            assert (await Client(server).ask("/status", Host="attacker.example"))[0] == 403
            assert (await Client(server).ask("/status", Host="localhost"))[0] == 200

    run(main)


def test_tokens_of_viewers_and_operators(tmp_path: Path) -> None:
    async def main(world: World) -> None:
        a, b = await world.cluster("a", "b")
        async with (
            NodeServer(a, tokens=tokens(tmp_path)) as at_a,
            NodeServer(b, tokens=tokens(tmp_path)) as at_b,
        ):
            for path in ("/metrics", "/status", "/history"):
                assert (await Client(at_a).ask(path))[0] == 401
                assert (await Client(at_a, "x" * 20).ask(path))[0] == 401
                assert (await Client(at_a, VIEWER).ask(path))[0] == 200
            assert (await Client(at_a).ask("/live"))[0] == 200
            assert (await Client(at_b).ask("/promote", "POST"))[0] == 401
            assert (await Client(at_b, VIEWER).ask("/promote", "POST"))[0] == 403
            assert a.status().role == "active"
            status, text = await Client(at_b, OPERATOR).ask("/promote", "POST")
            assert (status, text) == (200, "primary of generation 2\n")
            status, text = await Client(at_a, OPERATOR).ask("/demote", "POST")
            assert status == 409 and text.strip()

    run(main)


def test_a_stopped_node_says_so() -> None:
    async def main(world: World) -> None:
        (a,) = await world.cluster("a")
        async with NodeServer(a) as server:
            await world.stop("a")
            status, text = await Client(server).ask("/live")
            assert status == 503 and "stopped" in text
            assert (await Client(server).ask("/metrics"))[0] == 200

    run(main)


def test_a_reason_with_a_path_that_is_not_utf_8(tmp_path: Path) -> None:
    """Each answer is text that can be encoded, and JSON that any reader takes."""
    odd = f"the disk of {os.fsdecode(bytes(tmp_path) + b'/d' + bytes([255]))}"
    shown = f"the disk of {tmp_path}/d\\udcff"

    async def main(world: World) -> None:
        events = EventLog()
        (a,) = await world.cluster("a")
        events(NodeFailing(StoreFailed(odd)))
        async with NodeServer(a, events=events, tokens=tokens(tmp_path)) as server:
            with patch.object(Node, "demote", side_effect=StoreFailed(odd)):
                found = await Client(server, OPERATOR).ask("/demote", "POST")
            assert found == (409, f"{shown}\n")
            with patch.object(Node, "status", side_effect=ArgumentError(odd)):
                found = await Client(server, VIEWER).ask("/status")
            assert found == (400, f"queues: {shown}\n")
            stopped = replace(a.status(), stopped=odd)
            with patch.object(Node, "status", return_value=stopped):
                for path in ("/live", "/ready", "/serving"):
                    assert await Client(server).ask(path) == (503, f"the node has stopped: {shown}\n")
                status = await Client(server, VIEWER).ask("/status")
            assert status[0] == 200 and json.loads(status[1])["stopped"] == shown
            history = json.loads((await Client(server, VIEWER).ask("/history"))[1])
            assert shown in history["events"][-1]["line"]

    run(main)


def test_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    certificate.cert_chain_pems[0].write_to_path(chain)
    certificate.private_key_pem.write_to_path(key)
    key.chmod(0o600)

    async def main(world: World) -> None:
        (a,) = await world.cluster("a")
        async with NodeServer(
            a, ("127.0.0.1", 0), tls=ServerFiles(chain, key), tokens=tokens(tmp_path)
        ) as server:
            context = ssl.create_default_context()
            authority.configure_trust(context)
            assert (await Client(server, VIEWER, ssl=context).ask("/status"))[0] == 200
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await Client(server, VIEWER, ssl=ssl.create_default_context()).ask("/status")

    run(main)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda node: NodeServer(node, ("0.0.0.0", 0)),
        lambda node: NodeServer(node, ("192.0.2.1", 0)),
        lambda node: NodeServer(node, ("broker.example", 0)),
        lambda node: NodeServer(node, "127.0.0.1:80"),  # type: ignore[arg-type]
        lambda node: NodeServer(node, ("127.0.0.1", 65_536)),
        lambda node: NodeServer("a"),  # type: ignore[arg-type]
        lambda node: NodeServer(node, tls=True),  # type: ignore[arg-type]
        lambda node: NodeServer(node, tokens="file"),  # type: ignore[arg-type]
        lambda node: NodeServer(node, events=print),  # type: ignore[arg-type]
    ],
)
def test_wrong_arguments(wrong: Callable[[Node], object]) -> None:
    async def main(world: World) -> None:
        (a,) = await world.cluster("a")
        with pytest.raises(SettingsError):
            wrong(a)

    run(main)


def test_a_server_is_started_once_at_a_time() -> None:
    async def main(world: World) -> None:
        (a,) = await world.cluster("a")
        server = NodeServer(a)
        with pytest.raises(LocalProtocolError):
            _ = server.address
        await server.start()
        with pytest.raises(LocalProtocolError):
            await server.start()
        taken = server.address
        other = NodeServer(a, taken)
        with pytest.raises(OSError, match="address already in use"):
            await other.start()
        await server.stop()
        await server.stop()
        await other.start()
        await other.stop()

    run(main)
