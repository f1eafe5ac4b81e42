"""``qpidha top`` in a real terminal: three brokers, a primary that is killed while it runs, a hand-over by a key.

Method: tmux is the terminal. Keys are sent to it, and what it shows is read back, as text.
"""

from __future__ import annotations

import asyncio
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qpidha.cli import OK, main
from qpidha.clusterfile import ClusterFile
from qpidha.demo.cluster import BrokerProcess
from qpidha.engines.ports import free_ports
from tests.engines.server import require

ROOT = Path(__file__).resolve().parents[2]
BROKER = ROOT / "examples/simple/broker.py"
WAIT_S = 60.0
PROMPT = r"^bash-\S+$"

pytestmark = [pytest.mark.processes, pytest.mark.network, pytest.mark.external]


class Terminal:
    """A terminal of 80 columns in a tmux server of its own."""

    def __init__(self, base: Path) -> None:
        require("tmux", "tmux")
        self._tmux = ["tmux", "-S", str(base / "tmux"), "-f", "/dev/null"]
        shell = "env HISTFILE= bash --norc --noprofile"
        self._run("new-session", "-d", "-x", "80", "-y", "30", "-c", str(base), shell)

    def _run(self, *words: str) -> str:
        return subprocess.run([*self._tmux, *words], check=True, capture_output=True, text=True).stdout

    def press(self, *keys: str) -> None:
        self._run("send-keys", *keys)

    def type(self, line: str) -> None:
        self._run("send-keys", "-l", line)
        self.press("Enter")

    @property
    def text(self) -> str:
        return self._run("capture-pane", "-p")

    @property
    def modes(self) -> str:
        """Whether the alternate screen is on, the cursor is shown, and the mouse is reported."""
        return self._run("display-message", "-p", "#{alternate_on} #{cursor_flag} #{mouse_any_flag}").strip()

    def wait(self, *patterns: str) -> str:
        """Wait until the screen has all of these."""
        deadline = time.monotonic() + WAIT_S
        while True:
            text = self.text
            if all(re.search(pattern, text, re.MULTILINE) for pattern in patterns):
                return text
            assert time.monotonic() < deadline, f"{patterns}:\n{text}"
            time.sleep(0.1)

    def close(self) -> None:
        self._run("kill-server")


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    made = Terminal(tmp_path)
    yield made
    made.close()


@pytest.fixture
def brokers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, BrokerProcess]]:
    """Three brokers of a cluster file in the directory."""
    monkeypatch.chdir(tmp_path)
    ports = free_ports()
    webs = {id: next(ports) for id in "abc"}
    words = [
        word for id in "abc"
        for word in ("--node", f"{id}=127.0.0.1:{next(ports)}", "--client", f"{id}=127.0.0.1:{next(ports)}")
    ]  # fmt: skip
    assert main(["init", *words]) == OK
    file = ClusterFile.load("qpidha.toml")
    (tmp_path / "webs").write_text(" ".join(f"{id}={port}" for id, port in webs.items()))
    made: dict[str, BrokerProcess] = {}
    for id, node in file.nodes.items():
        command = [sys.executable, str(BROKER), "--cluster", str(file.path), "--node", id, "--until-eof"]
        command += ["--web", f"127.0.0.1:{webs[id]}"]
        assert node.client_address is not None
        made[id] = BrokerProcess(id, command, node.store, node.client_address)
        node.store.mkdir(parents=True)
        made[id].start()
    yield made
    for broker in made.values():
        broker.kill()
        broker.wait(10)


def state(brokers: dict[str, BrokerProcess]) -> Callable[[], dict[str, str]]:
    """The role of each broker that answers."""

    async def roles() -> dict[str, str]:
        statuses = await asyncio.gather(*(broker.status() for broker in brokers.values()))
        return {status["node"]: status["role"] for status in statuses if status}

    return lambda: asyncio.run(roles())


def row(id: str, rest: str) -> str:
    """A pattern of a node's row."""
    return rf"^[> ][! ]{id} +{rest}"


def test_a_failover_and_a_hand_over_on_the_screen(
    terminal: Terminal, brokers: dict[str, BrokerProcess]
) -> None:
    command = f"{shlex.quote(sys.executable)} -m qpidha top"
    terminal.type(command)
    text = terminal.wait(r"primary [abc],", r"^in sync: a, b, c; live: a, b, c;", "h hand over")
    killed = re.search(r"primary ([abc]),", text)
    assert killed is not None
    first = killed[1]
    assert re.search(row(first, "active +yes"), text, re.MULTILINE)
    assert all(len(line) <= 80 for line in text.splitlines())

    brokers[first].kill()
    brokers[first].wait(10)
    others = [id for id in "abc" if id != first]
    text = terminal.wait(
        row(first, "no answer: nobody listens on control.sock"),
        rf"^in sync: {', '.join(others)}; live: {', '.join(others)};",
        rf"primary [{''.join(others)}],",
        row(f"[{''.join(others)}]", "active +yes"),
    )
    found = re.search(r"primary ([abc]),", text)
    assert found is not None
    second = found[1]
    (third,) = set(others) - {second}

    terminal.press("h")
    terminal.wait(rf"Shall primary {second} hand over to another member\?")
    terminal.press("n")
    terminal.wait("nothing was done")
    assert state(brokers)()[second] == "active"
    terminal.press("h")
    terminal.wait(rf"Shall primary {second} hand over")
    terminal.press("y")
    terminal.wait(rf"{second} is not primary any more", row(third, "active"), row(second, "ready +yes"))
    assert state(brokers)() == {second: "ready", third: "active"}

    # A broker that comes back is shown at once; why is asked of the chosen node.
    brokers[first].start()
    terminal.wait(r"^in sync: a, b, c;")
    terminal.press("w")
    terminal.wait("QUEUE or nothing")
    terminal.type("work 7")
    terminal.wait("message 7 of queue 'work'")
    terminal.press("Escape")

    terminal.press("C-c")
    terminal.wait(PROMPT)
    terminal.type("echo code $?")
    terminal.wait("^code 130$")
    assert terminal.modes == "0 1 0"
    assert "Traceback" not in terminal.text


def test_nodes_of_other_machines_by_their_http_port(
    terminal: Terminal, brokers: dict[str, BrokerProcess], tmp_path: Path
) -> None:
    """One by its directory, two by URLs; a primary that is reached by a URL is steered by a key, as its port allows."""
    webs = dict(word.split("=") for word in (tmp_path / "webs").read_text().split())
    urls = " ".join(f"--url http://127.0.0.1:{webs[id]}" for id in "bc")
    stores = ClusterFile.load(tmp_path / "qpidha.toml").nodes
    terminal.type(f"{shlex.quote(sys.executable)} -m qpidha top {stores['a'].store} {urls}")
    text = terminal.wait(
        r"^in sync: a, b, c; live: a, b, c;", *(row(id, "(active|ready) +yes") for id in "abc")
    )
    found = re.search(r"primary ([abc]),", text)
    assert found is not None
    terminal.press("h")
    terminal.wait(rf"Shall primary {found[1]} hand over")
    terminal.press("y")
    if found[1] == "a":
        terminal.wait("a is not primary any more")
    else:
        terminal.wait(f"{found[1]} refuses: an operator's token is needed")
    brokers["b"].kill()
    brokers["b"].wait(10)
    terminal.wait(row("b", "no answer: Connection refused"), r"live: a, c;")
    terminal.press("q")
    terminal.wait(PROMPT)


def test_signals_restore_the_terminal(terminal: Terminal, tmp_path: Path) -> None:
    """And an order that comes when no node is there at all is answered in words."""
    (tmp_path / "a").mkdir()
    script = f"{shlex.quote(sys.executable)} -m qpidha top {tmp_path / 'a'}"
    terminal.type(f"{script} & echo $! > pid; fg")
    terminal.wait("! no node answers", "h hand over")
    assert terminal.modes.startswith("1 ")
    terminal.press("h")
    terminal.wait("nothing was done: no primary answers here")
    subprocess.run(["kill", "-TERM", (tmp_path / "pid").read_text().strip()], check=True)
    terminal.wait(PROMPT)
    terminal.type("echo code $?")
    terminal.wait("^code 143$")
    assert terminal.modes == "0 1 0"
    assert "Traceback" not in terminal.text
