"""The command line of one node: what contradicts itself is refused in words, before anything is started."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from amqp_broker.__main__ import main

from tests.amqp.brokers import BROKER

NEEDED = ["--id", "a", "--dir", "a", "--cluster", "c", "--client", "127.0.0.1:0"]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--client-ca", "ca.pem"], "need --client-certificate"),
        (["--client-key", "key.pem"], "need --client-certificate"),
        (["--tls-ca", "ca.pem"], "belong together"),
        (["--tls-certificate", "node.pem"], "belong together"),
        (["--no-anonymous"], "no client could connect"),
    ],
)
def test_options_that_would_be_ignored_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str], why: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["broker.py", *NEEDED, *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert why in capsys.readouterr().err


@pytest.mark.processes
def test_a_file_of_users_that_is_not_there_ends_the_program_in_words(tmp_path: Path) -> None:
    places = ["--dir", str(tmp_path / "a"), "--cluster", str(tmp_path / "c"), "--users", str(tmp_path / "u")]
    command = [sys.executable, str(BROKER), "--id", "a", "--client", "127.0.0.1:0", *places]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert (
        ended.stderr
        == f"amqp: the file of users {tmp_path / 'u'} cannot be read: No such file or directory\n"
    )


def test_a_user_needs_a_name_without_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["broker.py", "--add-user", "a b"])
    monkeypatch.setattr(sys, "stdin", io.StringIO("secret\n"))
    with pytest.raises(SystemExit, match="no spaces or colons"):
        main()
