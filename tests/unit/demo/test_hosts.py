"""Where hosts cannot be made, the demonstration says why."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pytest

from qpidha.demo import hosts, run


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(hosts.HostsMissing, match="only root"):
        hosts.Hosts()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(hosts.HostsMissing, match="apt-get install iproute2"):
        hosts.Hosts()
    monkeypatch.setattr(hosts, "_libc", object())
    with pytest.raises(hosts.HostsMissing, match="only Linux"):
        hosts.Hosts()


def test_it_is_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (tmp_path / "lines").write_bytes(b"x\n")
    parser = argparse.ArgumentParser()
    run.add_arguments(parser)
    words = [
        "--hosts",
        "--records",
        "etcd",
        "--input",
        str(tmp_path / "lines"),
        "--out",
        str(tmp_path / "out"),
    ]
    assert run.main(parser.parse_args(words)) == 2
    assert capsys.readouterr().err == "qpidha demo: --hosts: only root may make network namespaces\n"
