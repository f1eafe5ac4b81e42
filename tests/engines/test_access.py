"""Certificates, users and passwords with real engines: what is refused, how it is said, and what is never shown."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from qpidha.engines.ports import take_ports
from qpidha.errors import ClusterError, ManagerRefused, Unavailable
from qpidha.records import TlsFiles
from tests.engines.case import Case, Run, cas
from tests.engines.certificates import Authority, Identity
from tests.engines.engine import PASSWORD
from tests.engines.wire import Wire
from tests.support.records import RECORD

pytestmark = [pytest.mark.network, pytest.mark.processes, pytest.mark.external]


def test_wrong_certificates_are_named_and_nothing_is_sent(run: Run, tmp_path: Path) -> None:
    async def main(case: Case) -> None:
        created = await case.store.create(RECORD)
        other = Authority(tmp_path / "other")
        stranger, mine = other.issue("stranger"), case.engine.issue("mine")
        ours, says = case.engine.authority.ca, case.engine.says
        for tls, why in (
            (
                TlsFiles(ca=other.ca, certificate=mine.certificate, key=mine.key),
                "its certificate is not accepted",
            ),
            (TlsFiles(ca=ours, certificate=stranger.certificate, key=stranger.key), says.stranger),
            (TlsFiles(ca=ours), says.stranger),
        ):
            wrong = case.at(0, tls=tls)
            with pytest.raises(Unavailable, match=why):
                await cas(wrong, created.version, 1, 0.7)
        assert await case.store.read() == created

    run(main)


def test_a_certificate_of_another_host_is_named(run: Run) -> None:
    """That of a server does not name this address."""

    async def main(case: Case) -> None:
        leader, port = await case.engine.leader(), take_ports(1)[0]
        async with Wire(port, case.engine.ports[leader], host="127.0.0.2"):
            wrong = case.at(0, endpoints=[f"127.0.0.2:{port}"])
            with pytest.raises(Unavailable, match="names this host"):
                await case.engine.read(wrong, 0.7)
            await wrong.close()

    run(main)


def test_a_renewed_certificate_is_shown_without_a_restart(run: Run, tmp_path: Path) -> None:
    """The one that is not accepted is there first: the answers show which one a connection was made with."""

    async def main(case: Case) -> None:
        created = await case.store.create(RECORD)
        stranger, mine = Authority(tmp_path / "other").issue("stranger"), case.engine.issue("mine")
        certificate, key = tmp_path / "node.pem", tmp_path / "node.key"

        def renew(identity: Identity) -> None:
            """Key first, certificate last, as the documentation says."""
            for file, source in ((key, identity.key), (certificate, identity.certificate)):
                new = file.with_suffix(".new")
                new.touch(mode=0o600)
                new.write_bytes(source.read_bytes())
                new.rename(file)

        renew(stranger)
        tls = TlsFiles(ca=case.engine.authority.ca, certificate=certificate, key=key)
        renewed = case.at(0, tls=tls)
        with pytest.raises(Unavailable, match=case.engine.says.stranger):
            await case.engine.read(renewed, 0.7)
        renew(mine)
        deadline = time.monotonic() + 20.0
        while True:
            try:
                assert await renewed.read() == created
                break
            except Unavailable:
                assert time.monotonic() < deadline, "the renewed certificate is not used"
                await asyncio.sleep(0.1)

    run(main)


def test_plain_text_to_a_server_with_tls_is_an_error_of_the_endpoint(run: Run) -> None:
    async def main(case: Case) -> None:
        plain = case.at(0, tls=None)
        with pytest.raises(ClusterError, match=case.engine.endpoints[0]):
            await case.engine.read(plain, 0.5)

    run(main)


def test_refusals_say_what_to_do_and_no_password(run: Run, tmp_path: Path) -> None:
    async def main(case: Case) -> None:
        created = await case.store.create(RECORD)
        says = case.engine.says
        secret = tmp_path / "wrong"
        secret.touch(mode=0o600)
        secret.write_text("wrong horse\n")
        for options, why in (
            ({"password": "wrong horse"}, says.passwords),
            ({"password": secret}, says.passwords),
            ({"user": None, "password": None}, says.anonymous),
        ):
            refused = case.at(0, **options)
            with pytest.raises(ManagerRefused, match=why) as caught:
                await cas(refused, created.version, 1)
            with pytest.raises(ManagerRefused):
                await refused.open_session("b", b"", ttl_s=case.engine.ttl_s)
            assert "wrong horse" not in f"{caught.value!r} {refused!r} {caught.value.__cause__!r}"
        secret.write_text(PASSWORD)
        good = case.at(0, password=secret)
        assert await good.read() == created
        await case.engine.log_out(good)
        secret.chmod(0o644)
        with pytest.raises(Unavailable, match=r"password file .* has mode 0644"):
            await good.read()
        assert PASSWORD not in repr(case.store)

    run(main)
