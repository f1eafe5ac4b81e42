"""Wrong usage of the demo is answered with exit code 2 and one line, and leaves nothing behind."""

from __future__ import annotations

import argparse
import signal
import tempfile
from pathlib import Path
from typing import Any

import pytest

from qpidha.demo import run
from qpidha.demo.cluster import Cluster, node_name
from qpidha.demo.examples import SIMPLE, find
from qpidha.demo.report import Report


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    run.add_arguments(parser)
    return parser.parse_args(words)


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: Any) -> Path:
    """Temporary directories of the demo go where the test can see them."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--nodes", "1"], "--nodes must be at least 2"),
        (["--kills", "-1"], "--kills must not be negative"),
        (["--batch", "0"], "--batch must be at least 1"),
        (["--nodes", "1000000"], "--nodes must be at most 100"),
        (["--kills", "1000000"], "--kills must be at most 10000"),
        (["--hosts"], "--hosts needs --records etcd or zookeeper or postgresql"),
        (["--timeout", "0"], "--timeout must be positive"),
        (["--timeout", "nan"], "--timeout must be positive"),
        (["--timeout", "inf"], "--timeout must be positive"),
        (["--out", "a\nb"], "--out must be a name that can be printed"),
        (["--input", "/nowhere/\x1b[2J\nat all"], "cannot read /nowhere/\\x1b[2J\\nat all: No such file"),
        (["--input", "/nowhere/at/all"], "cannot read /nowhere/at/all: No such file"),
        (["--input", "/"], "cannot read /"),
        (["--broker", "/nowhere/broker.py"], "no example broker at /nowhere/broker.py"),
        (["--out", "/dev/null/x"], "cannot write to /dev/null/x"),
    ],
)
def test_wrong_usage(words: list[str], complaint: str, capsys: Any, scratch: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert run.main(parse(*words)) == 2
    captured = capsys.readouterr()
    assert complaint in captured.err
    assert captured.err.count("\n") == 1
    assert not list(scratch.glob("qpidha-demo-*"))
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_defaults() -> None:
    args = parse()
    assert (args.kills, args.nodes, args.input, args.seed) == (3, 3, None, None)
    assert args.out == Path("demo-out")


def test_each_broker_has_another_name_port_and_directory(scratch: Path) -> None:
    with Cluster(scratch / "broker.py", scratch, 30, memory=False) as cluster:
        assert len(set(cluster.addresses)) == 30
        assert list(cluster.processes)[24:28] == ["y", "z", "n26", "n27"]
        assert cluster.dead() == {}
        assert cluster.processes["a"].tail().startswith("(no log")


def test_results_that_cannot_be_written(scratch: Path, capsys: Any) -> None:
    """What the demo has shown stays true: it says that nothing more can be written, and where."""
    (scratch / "report.json").symlink_to("/dev/full")
    report = Report(input="x", files=1, messages=1, nbytes=1, nodes=3, store="memory", broker="simple",
                    records="file", seed=1, kills_wanted=0)  # fmt: skip
    run.write_results(report, scratch)
    said = f"qpidha demo: nothing more can be written to {scratch}: No space left on device\n"
    assert capsys.readouterr().err == said


def test_names() -> None:
    assert (node_name(0), node_name(25), node_name(26)) == ("a", "z", "n26")


def test_a_broker_that_cannot_start_is_diagnosed(scratch: Path, capsys: Any) -> None:
    """A broker that exits by itself ends the demo at once, and its output is shown."""
    examples = scratch / "examples" / "simple"
    examples.mkdir(parents=True)
    (examples / "broker.py").write_text("raise SystemExit('out of order')\n")
    for name in SIMPLE.beside:
        (examples / name).symlink_to(find(None).broker.parent / name)
    (scratch / "lines").write_bytes(b"x\n" * 10)
    args = parse(
        "--broker",
        str(examples / "broker.py"),
        "--input",
        str(scratch / "lines"),
        "--out",
        str(scratch / "out"),
    )
    assert run.main(args) == 1
    out = capsys.readouterr().out
    assert "ended with exit code 1" in out
    ended = [name for name in "abc" if f"--- broker {name}: the end of its log\nout of order" in out]
    assert ended, "the first one that ends ends the demo: the others may not have said anything yet"
    assert all((scratch / "out" / f"{name}.log").read_text() == "out of order\n" for name in ended)
    assert not list(scratch.glob("qpidha-demo-*"))
