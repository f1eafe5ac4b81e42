"""The engines that the demonstration starts: they serve, leave nothing behind, and are named when they are missing."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from qpidha.demo import run
from qpidha.engines import ENGINES, EngineMissing, Ensemble
from qpidha.engines import ensemble as module
from qpidha.engines.missing import require_file, require_program
from qpidha.engines.server import Server, ServerFailed
from qpidha.errors import SettingsError
from tests.engines.engine import quick_folder
from tests.engines.postgresql import binaries
from tests.support.missing import leave_out

pytestmark = [pytest.mark.network, pytest.mark.processes, pytest.mark.external]


@pytest.fixture(autouse=True)
def scratch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Temporary directories go where the test can see them; and PostgreSQL's user, who may not enter pytest's."""
    folder = quick_folder()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    shutil.rmtree(folder)


def installed(engine: str) -> None:
    """Skip the test without the engine; fail in CI."""
    if engine == "postgresql":
        binaries()  # An ensemble would make a database.
        return
    try:
        with Ensemble(engine):
            pass
    except (EngineMissing, SettingsError) as error:
        leave_out(str(error))


def test_the_demonstration_knows_all_engines() -> None:
    assert ("file", *ENGINES) == run.RECORDS


@pytest.mark.parametrize("engine", ENGINES)
def test_the_demonstration_keeps_its_record_there(
    engine: str, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(engine)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)  # The picture has tests of its own.
    (scratch / "lines").write_bytes(b"".join(b"%d\n" % n for n in range(2000)))
    parser = argparse.ArgumentParser()
    run.add_arguments(parser)
    words = [
        "--input",
        str(scratch / "lines"),
        "--kills",
        "1",
        "--out",
        str(scratch / "out"),
        "--records",
        engine,
    ]
    assert run.main(parser.parse_args(words)) == 0
    report = json.loads((scratch / "out/report.json").read_text())
    assert (report["records"], report["verdict"], len(report["kills"])) == (engine, "nothing lost", 1)
    assert sorted(path.name for path in scratch.iterdir()) == ["lines", "out"]


def test_a_missing_engine_is_named_with_its_package(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(scratch))
    with pytest.raises(EngineMissing, match="apt-get install util-linux"):
        Ensemble("etcd")
    with pytest.raises(
        EngineMissing, match="java is not installed; on Debian and Ubuntu: apt-get install default-jre"
    ):
        require_program("java", "default-jre-headless")
    with pytest.raises(EngineMissing, match=r"none\.jar is not there; .* zookeeper"):
        require_file(scratch / "none.jar", "zookeeper")
    parser = argparse.ArgumentParser()
    run.add_arguments(parser)
    (scratch / "lines").write_bytes(b"x\n")
    words = ["--input", str(scratch / "lines"), "--records", "etcd", "--out", str(scratch / "out")]
    assert run.main(parser.parse_args(words)) == 2
    assert "qpidha demo: --records etcd: setpriv is not installed" in capsys.readouterr().err


def test_an_engine_that_does_not_serve_is_shown_with_its_log(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(folder: Path, host: str) -> tuple[list[Server], str]:
        server = Server(["sh", "-c", "echo no disk; exit 1"], log=folder / "log")
        return [server], "etcd://127.0.0.1:1/x"

    monkeypatch.setattr(module, "ENGINES", {"etcd": broken})
    with Ensemble("etcd") as ensemble, pytest.raises(ServerFailed, match="no disk"):
        asyncio.run(ensemble.start())
    parser = argparse.ArgumentParser()
    run.add_arguments(parser)
    (scratch / "lines").write_bytes(b"x\n")
    words = ["--input", str(scratch / "lines"), "--records", "etcd", "--out", str(scratch / "out")]
    assert run.main(parser.parse_args(words)) == 2
    assert "no disk" in capsys.readouterr().err
    assert sorted(path.name for path in scratch.iterdir()) == ["lines", "out"]


def test_an_engine_whose_client_is_missing_leaves_nothing_behind(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ENGINES", {"none": lambda folder, host: ([], "none://127.0.0.1/x")})
    with pytest.raises(SettingsError, match="no record store for none"):
        Ensemble("none")
    assert list(scratch.iterdir()) == []
