"""``qpidha top``: one plain screen of nodes that answer and others, and its exit codes; keys ask real nodes."""

from __future__ import annotations

import asyncio
import builtins
import sys
from pathlib import Path
from typing import Any

import pytest

from qpidha.cli import FAILED, OK, PARTLY, PROBLEM, UNREACHABLE, USAGE
from qpidha.cli.top import command
from qpidha.cli.top.orders import explain, steer
from tests.integration.test_cli_cluster import drafted, here, refused, run
from tests.integration.test_cli_nodes import HANG, Nodes, nodes
from tests.support.harness import World, until

__all__ = ["here", "nodes"]  # Fixtures.


def top(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    return run(capsys, "top", "--once", "--interval", "0.01", *words)


def test_one_screen_of_nodes_that_answer_and_others(nodes: Nodes, capsys: pytest.CaptureFixture[str]) -> None:
    a = nodes.status("a", primary="a", role="active")
    b = nodes.add("b", HANG)
    code, out, err = top(capsys, a, b, nodes.base / "c", "--timeout", "0.5")
    assert (code, err) == (PARTLY, "")
    lines = out.splitlines()
    assert "generation 3, primary a" in lines[0]
    assert any(line.startswith("  a             active     yes       3 ") for line in lines)
    assert any(line.startswith(" !b             no answer: no answer in 0.5 s") for line in lines)
    assert any(line.startswith(" !c             no answer: there is no such directory") for line in lines)
    assert not any("\x1b" in line or len(line) > 80 or line.endswith(" ") for line in lines)


def test_exit_codes(nodes: Nodes, capsys: pytest.CaptureFixture[str]) -> None:
    fine, wrong = nodes.status("a"), nodes.status("b", store_error="disk full")
    assert top(capsys, fine)[0] == OK
    assert top(capsys, fine, wrong)[0] == PROBLEM
    assert top(capsys, nodes.base / "gone")[0] == UNREACHABLE
    (nodes.base / "record").mkdir()
    (nodes.base / "record" / "record.json").write_text("{}")
    code, out, _ = top(capsys, fine, nodes.base / "record")
    assert code == OK and "no-socket" not in out and "  record " not in out


def test_the_nodes_of_the_cluster_file(here: Path, nodes: Nodes, capsys: pytest.CaptureFixture[str]) -> None:
    """Those that are not on this machine are shown as the others see them."""
    drafted(capsys)
    stores = here / "stores"
    stores.mkdir()
    nodes.base = stores
    nodes.status("a", primary="a", role="active", members=["a", "b"], live=["a", "b"])
    code, out, _ = top(capsys)
    assert code == OK and "\n  b             elsewhere  yes  live, says a\n" in out
    code, out, _ = top(capsys, "--node", "b")
    assert code == UNREACHABLE
    assert "b elsewhere, or not started yet: no node answers that knows" in " ".join(out.split())
    assert "'x'" in refused(capsys, "top", "--once", "--node", "x")
    assert "not both" in refused(capsys, "top", "--once", "--node", "a", stores / "a")


def test_without_a_terminal_it_says_what_to_do(nodes: Nodes, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "top", nodes.status("a"))
    assert (code, out) == (USAGE, "")
    assert err == "qpidha: top needs a terminal: `qpidha top --once` prints one screen as plain text\n"


def test_without_textual_it_says_what_to_install(
    nodes: Nodes, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    imported = builtins.__import__

    def without(name: str, *rest: Any, **options: Any) -> Any:
        if name.partition(".")[0] == "textual":
            raise ModuleNotFoundError("No module named 'textual'", name="textual")
        return imported(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.delitem(sys.modules, "qpidha.cli.top.app", raising=False)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    node = nodes.status("a")
    code, _, err = run(capsys, "top", node)
    assert code == USAGE and "pip install 'qpidha[top]'" in err and "Traceback" not in err
    assert top(capsys, node)[0] == OK


def test_an_error_of_the_screen_is_one_line(
    nodes: Nodes, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(command, "screen", broken)
    code, out, err = top(capsys, nodes.status("a"))
    assert code == FAILED and out == "" and err.count("\n") == 1 and "boom" in err


def test_keys_ask_real_nodes(tmp_path: Path) -> None:
    sockets = {id: tmp_path / id / "control.sock" for id in ("a", "b")}

    async def test() -> None:
        async with World() as world:
            for id, socket in sockets.items():
                socket.parent.mkdir()
                await world.start(id, control=socket)
            await world.nodes["a"].promote()
            await until(lambda: len(world.members()) == 2)
            await world.nodes["a"].declare("orders").enqueue(b"one")

            def asked(id: str, words: str) -> Any:
                return asyncio.to_thread(explain, sockets[id], id, words)

            assert (await asked("a", "orders 1"))[0].startswith("message 1 of queue 'orders'")
            assert "safe" in (await asked("a", "orders 1"))[0]
            assert (await asked("a", "")) == (await asked("a", "  "))
            assert "refuses" in (await asked("a", "no such queue"))[0]
            handed = await asyncio.to_thread(steer, sockets["a"], "a", "demote")
            assert handed == "a is not primary any more"
            promoted = await asyncio.to_thread(steer, sockets["a"], "a", "promote")
            assert promoted.startswith("a is primary of generation ")
            refusal = await asyncio.to_thread(steer, sockets["a"], "a", "dance")
            assert refusal.startswith("a refuses: ")
        gone = await asyncio.to_thread(steer, sockets["a"], "a", "demote")
        assert gone.startswith("a does not answer: ") and gone.endswith("It may still do it later")
        assert (await asked("a", "orders"))[0].startswith("a does not answer: ")

    asyncio.run(test())
