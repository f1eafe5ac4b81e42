"""Who may connect: PLAIN and EXTERNAL with Proton's client over TLS, silent clients, and the closed port of a backup."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import trustme
from amqp_broker.sasl import line_of
from proton import ConnectionException, Message, ProtonException, SSLDomain
from proton.utils import BlockingConnection

from tests.amqp.brokers import Brokers, until

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]


def test_names_and_certificates(tmp_path: Path) -> None:
    users, server, client, ca = (tmp_path / name for name in ("users", "server.pem", "client.pem", "ca.pem"))
    users.write_text(line_of("ada", "engine", "0f") + "\n")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(ca)
    authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(server)
    authority.issue_cert("ada@example.org", common_name="ada").private_key_and_cert_chain_pem.write_to_path(
        client
    )
    options = ["--users", users, "--no-anonymous", "--client-certificate", server, "--client-ca", ca]
    with Brokers(tmp_path / "nodes", 1, *map(str, options), memory=True) as brokers:
        brokers.start()
        until(brokers.primary)
        host, port = brokers.addresses[0]
        url = f"amqps://{host}:{port}"

        def domain(certificate: Path | None) -> SSLDomain:
            made = SSLDomain(SSLDomain.MODE_CLIENT)
            made.set_trusted_ca_db(str(ca))
            made.set_peer_authentication(SSLDomain.VERIFY_PEER)
            if certificate is not None:
                made.set_credentials(str(certificate), str(certificate), None)
            return made

        plain = {"ssl_domain": domain(None), "timeout": 10, "allowed_mechs": "PLAIN"}
        connection = BlockingConnection(url, user="ada", password="engine", **plain)
        receiver = connection.create_receiver(None, dynamic=True)
        connection.create_sender(receiver.remote_source.address).send(Message(body=1))
        assert receiver.receive(timeout=10).body == 1
        connection.close()
        with pytest.raises((ProtonException, ConnectionException)):
            BlockingConnection(url, user="ada", password="wrong", **plain)
        with pytest.raises((ProtonException, ConnectionException)):
            BlockingConnection(url, ssl_domain=domain(None), timeout=10, allowed_mechs="ANONYMOUS")
        BlockingConnection(url, ssl_domain=domain(client), timeout=10, allowed_mechs="EXTERNAL").close()


def test_a_client_that_says_nothing_or_nonsense_is_dropped(tmp_path: Path) -> None:
    with Brokers(tmp_path, 1, "--idle-timeout", "0.5", memory=True) as brokers:
        brokers.start()
        until(brokers.primary)
        connection = brokers.connect(heartbeat=None)
        for data in (b"GET / HTTP/1.1\r\n\r\n", b"AMQP\x00\x01\x00\x00" + b"\xff" * 64):
            with socket.create_connection(brokers.addresses[0], timeout=30) as client:
                client.sendall(data)
                while client.recv(4096):
                    pass
        with socket.create_connection(brokers.addresses[0], timeout=30) as client:
            client.sendall(OPEN)
            while client.recv(4096):
                pass
        connection.close()


OPEN = bytes.fromhex(
    "414d515000010000 0000001b 02000000 005310 d00000000b00000001a10568656c6c6f".replace(" ", "")
)
"""The header of AMQP, and a frame that opens a connection as container "hello"; no heartbeats follow."""


def test_a_backup_keeps_its_port_closed(tmp_path: Path) -> None:
    with Brokers(tmp_path, 2, memory=True) as brokers:
        brokers.start()
        until(lambda: brokers.in_sync(1))
        open_ports = []
        for name, process in brokers.processes.items():
            with socket.socket() as client:
                if client.connect_ex(process.client) == 0:
                    open_ports.append(name)
        assert open_ports == [brokers.primary()]
