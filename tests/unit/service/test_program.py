"""The program of a broker: its options, its cluster file, its one line when it cannot run."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from qpidha.engines.ports import free_ports
from qpidha.errors import ArgumentError
from qpidha.service import NodeProgram
from tests.support.harness import Recorder

FILE = """
cluster = "x"
record.url = "record"
[nodes.a]
addresses = "127.0.0.1:{}"
client_address = "127.0.0.1:1"
store = "a"
"""


class Ending(Recorder):
    """It asks its own process to stop when it is promoted."""

    node: Any = None

    async def on_promote(self, generation: int) -> None:
        await super().on_promote(generation)
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "qpidha.toml").write_text(FILE.format(next(free_ports())))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QPIDHA_CLUSTER", raising=False)
    monkeypatch.setattr("qpidha.logs.configure", lambda *_, **__: None)
    return tmp_path


@pytest.mark.parametrize("named", [[], ["--cluster", "qpidha.toml"]])
def test_it_makes_the_broker_and_runs_the_node(place: Path, named: list[str]) -> None:
    broker, seen = Ending(), list[Any]()
    program = NodeProgram("lines", "A broker.")
    program.parser.add_argument("--limit", type=int, default=7)

    def make(args: Any, file: Any) -> Ending:
        seen.extend([args.limit, file.client_address(args.id)])
        return broker

    program.run(make, arguments=["--id", "a", *named])
    assert seen == [7, ("127.0.0.1", 1)]
    assert broker.promoted == [1] and broker.demoted == [1]
    assert broker.node.id == "a" and broker.node.status().role == "stopped"


def test_what_an_operator_can_repair_is_one_line(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def wrong(args: Any, file: Any) -> Any:
        raise KeyError("limit")

    program = NodeProgram("lines", "A broker.")
    with pytest.raises(SystemExit, match=r"lines: .*there is no node 'b'"):
        program.run(lambda args, file: Recorder(), arguments=["--id", "b"])
    with pytest.raises(SystemExit, match="lines: 'limit'"):
        program.run(wrong, errors=(KeyError,), arguments=["--id", "a"])
    with pytest.raises(KeyError):
        program.run(wrong, arguments=["--id", "a"])
    (place / "qpidha.toml").unlink()
    with pytest.raises(SystemExit, match=r"lines: there is no qpidha\.toml here: qpidha init writes one"):
        program.run(wrong, arguments=["--id", "a"])
    with pytest.raises(SystemExit):
        program.run(wrong, arguments=[])
    assert "--id" in capsys.readouterr().err


def test_its_arguments_are_checked() -> None:
    with pytest.raises(ArgumentError, match="name must be"):
        NodeProgram("", "A broker.")
    with pytest.raises(ArgumentError, match="description must be"):
        NodeProgram("lines", 7)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="make must be"):
        NodeProgram("lines", "").run(7)  # type: ignore[arg-type]
