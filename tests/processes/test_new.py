"""``qpidha new``: from an empty directory to three brokers whose primary is killed, as its page says."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from qpidha.cli import OK, PROBLEM, UNREACHABLE, main
from qpidha.engines.ports import free_ports
from qpidha.skeleton import FILES
from tests.support.rush import rush

pytestmark = pytest.mark.processes
ROOT = Path(__file__).resolve().parents[2]
NAMES = ("a", "b", "c")
LONG_S = 60.0


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "mine"
    assert main(["new", str(place)]) == OK
    monkeypatch.chdir(place)
    return place


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def init(capsys: pytest.CaptureFixture[str]) -> dict[str, int]:
    """Write the cluster file, with ports that are free. Returns those for clients."""
    ports = free_ports()
    nodes = [f"--node={name}=127.0.0.1:{next(ports)}" for name in NAMES]
    clients = {name: next(ports) for name in NAMES}
    assert (
        main(["init", *nodes, *(f"--client={name}=127.0.0.1:{port}" for name, port in clients.items())]) == OK
    )
    capsys.readouterr()
    return clients


@contextmanager
def brokers(place: Path, **environment: str) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    found: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name in NAMES:
            with open(place / f"{name}.log", "wb") as log:
                found[name] = subprocess.Popen(
                    [sys.executable, "broker.py", name], stdout=log, stderr=log,
                    env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
                )  # fmt: skip
        yield found
    finally:
        for process in found.values():
            process.kill()
            process.wait()


def ask(clients: dict[str, int], *lines: str) -> tuple[str, list[str]]:
    """Ask the primary, whoever it is. Returns its name and its answers."""
    deadline = time.monotonic() + LONG_S
    while time.monotonic() < deadline:
        for name, port in clients.items():
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 10) as client:
                file, answers = client.makefile("rw"), []
                for line in lines:
                    file.write(line + "\n")
                    file.flush()
                    answers.append(file.readline().rstrip("\n"))
                if all(answers):
                    return name, answers
        time.sleep(0.05)
    raise AssertionError(f"no primary answers {lines}")


def test_it_is_highly_available(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clients = init(capsys)
    with brokers(place) as running:
        name, (first,) = ask(clients, "PUT hello")
        assert first == "OK 1"
        rush(running[name].pid, ("127.0.0.1", clients[name]))
        deadline = time.monotonic() + LONG_S
        while "a, b, c" not in (said := status(capsys)) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert "a, b, c" in said
        name, answers = ask(clients, "PUT world", "WHAT")
        assert answers == ["OK 2", "WHAT PUT text, TAKE, or DONE id of what was taken"]
        running[name].kill()
        running[name].wait()
        del clients[name]
        _, answers = ask(clients, "TAKE", "DONE 1", "DONE 1", "TAKE", "TAKE")
        assert answers[:2] + answers[3:] == ["LINE 1 hello", "OK 1", "LINE 2 world", "EMPTY"]
        assert answers[2].startswith("WHAT ")
        _, answers = ask(clients, "TAKE")
        assert answers == ["LINE 2 world"], "the client that had taken it is gone"
        for process in running.values():
            process.terminate()
        assert {process.wait(LONG_S) for name_, process in running.items() if name_ != name} == {0}


def test_it_tells_its_service_manager_and_hands_over(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ready when it serves or is in sync; after SIGTERM another node serves before this one has ended."""
    clients = init(capsys)
    with Heard(place / "notify") as heard, brokers(place, NOTIFY_SOCKET=str(place / "notify")) as running:
        heard.wait(lambda: heard.count("READY=1") == len(NAMES))
        name, answers = ask(clients, "PUT hello")
        assert answers == ["OK 1"]
        running[name].terminate()
        assert running[name].wait(LONG_S) == 0
        heard.wait(lambda: heard.count("STATUS=stopping: hands over") == 1)
        assert heard.count("STOPPING=1") == 1
        del clients[name]
        assert ask(clients, "TAKE")[1] == ["LINE 1 hello"]
        assert (place / f"{name}.log").read_text().count("stepped down") == 1


class Heard:
    """The socket of a service manager."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(0.1)
        self._lines: list[str] = []

    def __enter__(self) -> Heard:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def count(self, line: str) -> int:
        """How often this was said so far."""
        with suppress(TimeoutError):
            while True:
                self._lines += self._socket.recv(65536).decode().split("\n")
        return self._lines.count(line)

    def wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + LONG_S
        while not condition():
            assert time.monotonic() < deadline, self._lines[-10:]


def status(capsys: pytest.CaptureFixture[str]) -> str:
    main(["status"])
    return capsys.readouterr().out


def test_its_own_test_passes_and_finds_a_broken_broker(place: Path) -> None:
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "0")
    assert done.returncode == 0, done.stdout
    broker = (place / "broker.py").read_text()
    hasty = broker.replace("        await op\n", "")
    assert hasty != broker
    (place / "broker.py").write_text(hasty)
    done = run("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider")
    assert done.returncode == 1 and "Violation: S1" in done.stdout, done.stdout


def test_what_it_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "mine"
    assert main(["new", str(place)]) == OK
    out = capsys.readouterr().out
    assert re.findall(r"wrote \S*/(\S+)", out) == list(FILES) and "next: cd" in out
    assert "qpidha.skeleton" not in "".join(path.read_text() for path in place.iterdir())
    (place / "README.md").unlink()
    assert main(["new", str(place)]) == PROBLEM
    assert "broker.py exists: nothing was written" in capsys.readouterr().err
    assert not (place / "README.md").exists()
    assert main(["new", str(place / "broker.py" / "below")]) == UNREACHABLE
    assert capsys.readouterr().err.startswith("qpidha: ")


def test_its_program_says_what_is_wrong(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in ([(), "usage: python broker.py NODE"], [("a",), "broker: "]):
        done = run("broker.py", *words)
        assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr
    clients = init(capsys)
    done = run("broker.py", "z")
    assert done.returncode == 1 and "there is no node 'z'" in done.stderr and "Traceback" not in done.stderr
    with socket.create_server(("127.0.0.1", clients["a"])):
        done = run("broker.py", "a")
    assert done.returncode == 1 and re.search("(?m)^broker: .*address already in use$", done.stderr), (
        done.stderr
    )
