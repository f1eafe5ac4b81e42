"""``qpidha record``, ``qpidha status`` and ``qpidha store rank`` with a record that is kept by a real etcd etcd."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from qpidha.cli import OK, PROBLEM, UNREACHABLE, main
from qpidha.recovery.rebuild import GENERATIONS_LEFT_OUT
from tests.engines.engine import PASSWORD
from tests.engines.etcd import Ensemble
from tests.integration.test_cli_stores import written
from tests.support.records import RECORD

pytestmark = [pytest.mark.network, pytest.mark.processes, pytest.mark.external]


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    out = capsys.readouterr()
    return code, out.out, out.err


def test_a_record_is_shown_and_rebuilt(
    etcd: Ensemble, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prefix = "/qpidha/command"
    there, a = etcd.url(tmp_path, prefix), written(tmp_path / "a")
    code, out, _ = run(capsys, "record", "show", there)
    assert code == PROBLEM and "there is no record" in out

    async def hold() -> tuple[int, str, str]:
        store = etcd.store(prefix)
        session = await store.open_session("b", b"", ttl_s=2)
        try:
            return await asyncio.to_thread(run, capsys, "record", "rebuild", there, a)
        finally:
            await session.close()
            await store.close()

    code, _, err = asyncio.run(hold())
    assert code == PROBLEM and "still running: b" in err
    assert run(capsys, "record", "rebuild", there, a)[0] == OK
    assert run(capsys, "record", "show", there)[0] == PROBLEM
    assert run(capsys, "record", "rebuild", there, a, "--write")[0] == OK
    code, out, _ = run(capsys, "record", "show", there, "--json")
    assert code == OK
    generation = json.loads(out)["record"]["record"]["generation"]
    assert generation >= 4 + GENERATIONS_LEFT_OUT
    assert run(capsys, "store", "rank", a, "--cluster", there)[0] == OK
    code, out, _ = run(capsys, "status", a, "--cluster", there, "--json")
    assert code == UNREACHABLE and json.loads(out)["record"]["record"]["generation"] == generation


def test_what_is_wrong_is_said_without_the_password(
    etcd: Ensemble, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(_create(etcd, "/qpidha/wrong"))
    code, _, err = run(capsys, "record", "show", etcd.url(tmp_path, "/qpidha/wrong", user="stranger"))
    assert code == UNREACHABLE and "user 'stranger' or the password is wrong" in err
    assert PASSWORD not in err
    with pytest.raises(SystemExit):
        run(capsys, "record", "show", f"etcd://{etcd.endpoints[0]}/x?password=s3cret")
    captured = capsys.readouterr().err
    assert "no password in a URL" in captured and "s3cret" not in captured


async def _create(etcd: Ensemble, prefix: str) -> None:
    store = etcd.store(prefix)
    await store.create(RECORD)
    await store.close()
