"""A cluster over TLS: both sides verify, and a certificate for another node opens no session."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from qpidha import Node, Role
from qpidha.errors import SettingsError
from qpidha.stores.memory import MemoryStore
from qpidha.transports import TcpTransport
from tests.integration.harness import QUICK, Recorder, World, run, until


def certified(ca: trustme.CA, base: Path, name: str) -> TcpTransport:
    """A transport with a certificate for this node id."""
    base.mkdir(exist_ok=True)
    certificate = ca.issue_cert(name)
    ca.cert_pem.write_to_path(base / "ca.pem")
    certificate.private_key_and_cert_chain_pem.write_to_path(base / f"{name}.pem")
    (base / f"{name}.pem").chmod(0o600)
    return TcpTransport.with_certificates(ca=base / "ca.pem", certificate=base / f"{name}.pem")


async def start(world: World, name: str, transport: TcpTransport) -> Node:
    world.brokers[name] = Recorder()
    node = Node(
        name, broker=world.brokers[name], store=MemoryStore(), transport=transport, records=world.records,
        settings=QUICK,
    )  # fmt: skip
    await node.start()
    world.nodes[name] = node
    return node


def test_nodes_replicate_over_tls(tmp_path: Path) -> None:
    ca = trustme.CA()

    async def main(world: World) -> None:
        a = await start(world, "a", certified(ca, tmp_path, "a"))
        b = await start(world, "b", certified(ca, tmp_path, "b"))
        await a.promote()
        await until(lambda: world.members() == {"a", "b"})
        op = a.declare("q").enqueue_many([b"x" * 5000] * 2000)
        assert (await op).nodes == {"a", "b"}
        assert b.queue("q").depth == 2000

    run(main)


@pytest.mark.parametrize("who", ["other authority", "other name"])
def test_a_wrong_certificate_opens_no_session(tmp_path: Path, who: str) -> None:
    """B33: valid but for another node, or of another authority."""
    ca = trustme.CA()

    async def main(world: World) -> None:
        a = await start(world, "a", certified(ca, tmp_path, "a"))
        await a.promote()
        wrong = certified(trustme.CA() if who == "other authority" else ca, tmp_path / "wrong", "mallory")
        b = await start(world, "b", wrong)
        a.declare("q")
        # A good certificate for another name opens a link, but not a session as "b".
        reason = "certificate of backup 'b' is for mallory" if who == "other name" else "certificate"
        await until(lambda: [t for t in b.status().troubles if reason in t.text])
        assert (await a.queue("q").enqueue(b"x")).nodes == {"a"}
        assert not any(p.welcomed for p in a.links.peers.values())
        assert b.role is Role.JOINING and world.members() == {"a"}

    run(main)


def test_plain_text_does_not_leave_the_machine() -> None:
    async def main(world: World) -> None:
        node = Node("a", broker=Recorder(), store=MemoryStore(), transport=TcpTransport(), records=world.records,
                    listen=("0.0.0.0", 0), advertise=("node-a", 5671))  # fmt: skip
        with pytest.raises(SettingsError, match="plain text"):
            await node.start()

    run(main)
