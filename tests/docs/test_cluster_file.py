"""The page about the cluster file: its example loads, its commands write files, and its table has every key."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from qpidha.cli import OK, main
from qpidha.clusterfile import ClusterFile

PAGE = (Path(__file__).resolve().parents[2] / "docs/cluster-file.md").read_text()


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)


def test_the_example_loads_and_shows_what_the_table_names(tmp_path: Path) -> None:
    (text,) = blocks("toml")
    (tmp_path / "qpidha.toml").write_text(text)
    file = ClusterFile.load(tmp_path / "qpidha.toml")
    assert list(file.nodes) == ["a", "b"]
    assert file.settings.catch_up_time_max_s is None
    keys = set(re.findall(r"^(\w+) =", text, re.MULTILINE)) - {"ack_timeout_s", "catch_up_time_max_s"}
    rows = "".join(line for line in PAGE.splitlines(keepends=True) if line.startswith("| `"))
    assert {key for key in keys if f".{key}`" not in rows and f"`{key}`" not in rows} == set()


def test_the_commands_that_write_a_file_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = [block.replace("\\\n", " ") for block in blocks("sh") if block.startswith("qpidha init")]
    assert len(commands) == 2
    for number, command in enumerate(commands):
        (tmp_path / str(number)).mkdir()
        monkeypatch.chdir(tmp_path / str(number))
        assert main(shlex.split(command, comments=True)[1:]) == OK, capsys.readouterr().err
        for node in ClusterFile.load("qpidha.toml").nodes:
            assert Path("certificates", f"{node}.key").exists()
