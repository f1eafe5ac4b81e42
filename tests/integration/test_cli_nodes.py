"""``qpidha status``, ``promote`` and ``demote`` when some nodes answer and others do not.

Method: a fake node is a socket that answers each connection with prepared bytes, or never answers.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from qpidha.cli import OK, PARTLY, PROBLEM, UNREACHABLE, USAGE, main
from qpidha.errors import StoreFailed
from qpidha.node import ask as asking
from qpidha.records import FileRecordStore
from qpidha.types import Member, QueueId, Record
from tests.support.harness import World

STATUS = {
    "node": "a", "role": "active", "generation": 3, "in_sync": True, "primary": "a", "members": ["a", "b"],
    "live": ["a", "b"], "waiting_for": [], "sessions": [], "joining": None, "queues": [], "queue_count": 0,
    "quarantined": 0, "troubles": [], "store_error": None,
}  # fmt: skip
HANG = b""


class Nodes:
    """Fake nodes."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.asked: list[dict[str, Any]] = []
        self._sockets: list[socket.socket] = []

    def add(self, name: str, said: bytes | dict[str, Any]) -> Path:
        """Add a fake node that gives this answer; without one, it never answers."""
        directory = self.base / name
        directory.mkdir()
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(directory / "control.sock"))
        sock.listen()
        self._sockets.append(sock)
        answer = said if isinstance(said, bytes) else json.dumps(said).encode() + b"\n"
        if answer != HANG:
            threading.Thread(target=self._serve, args=(sock, answer), daemon=True).start()
        return directory

    def status(self, name: str, **fields: Any) -> Path:
        return self.add(name, {"ok": True, "status": {**STATUS, "node": name, **fields}})

    def _serve(self, sock: socket.socket, answer: bytes) -> None:
        with suppress(OSError):
            while True:
                link, _ = sock.accept()
                with link:
                    self.asked.append(json.loads(link.recv(4096)))
                    link.sendall(answer)

    def close(self) -> None:
        for sock in self._sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    made = Nodes(tmp_path)
    yield made
    made.close()


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: object) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


def document(run: Run, *words: object) -> tuple[int, Any]:
    code, out, _ = run(*words, "--json")
    return code, json.loads(out)


def put_record(directory: Path) -> Path:
    member = Member("a", QueueId(int=5))
    record = Record(
        cluster=QueueId(int=7), generation=3, primary=None, members=frozenset({member}), nonce=b"n" * 16
    )
    FileRecordStore.put(directory, None, record, timeout_s=5.0)
    return directory


# --- side by side --------------------------------------------------------------------------------


def test_nodes_that_answer_are_shown_and_the_others_named_with_a_reason(
    nodes: Nodes, run: Run, tmp_path: Path
) -> None:
    fine = nodes.status("fine")
    hung = [nodes.add(f"hung{n}", HANG) for n in range(3)]
    (tmp_path / "file").write_text("")
    (tmp_path / "off").mkdir()
    killed = nodes.add("killed", HANG)
    nodes._sockets[-1].close()
    strange = nodes.add("strange", b"SSH-2.0-OpenSSH\n")
    rest = [tmp_path / "gone", tmp_path / "file", tmp_path / "off", killed, strange]
    began = time.monotonic()
    code, out, err = run("status", "--timeout", "1", *hung, fine, *rest)
    assert time.monotonic() - began < 60, "waiting times do not add up"
    assert code == PARTLY
    assert out.splitlines() == [
        "node fine: active, generation 3, in sync",
        "  primary a; members a, b; live a, b",
    ]
    reasons = dict(
        line.removeprefix("qpidha: no node answers in ").split(": ", 1) for line in err.splitlines()
    )
    assert list(reasons) == [str(directory) for directory in [*hung, *rest]]
    expected = ["no answer in 1 s"] * 3
    expected += [
        "there is no such directory",
        "this is not a directory",
        "there is no control.sock: the node does",
    ]
    expected += ["nobody listens on control.sock: the node was killed", "the answer is not that of a node"]
    for words, reason in zip(expected, reasons.values(), strict=True):
        assert words in reason
    code, found = document(run, "status", "--timeout", "1", *hung, fine, *rest)
    assert code == PARTLY
    assert found["nodes"][str(fine)]["node"] == "fine"
    assert [found["nodes"][str(directory)] for directory in hung] == [None] * 3
    kinds = [found["errors"][str(directory)]["kind"] for directory in rest]
    assert kinds == ["no-directory", "not-a-directory", "no-socket", "refused", "not-json"]


def test_if_no_node_answers_the_exit_code_is_3(nodes: Nodes, run: Run, tmp_path: Path) -> None:
    code, out, err = run("status", "--timeout", "0.3", nodes.add("a", HANG), tmp_path / "gone")
    assert (code, out, err.count("\n")) == (UNREACHABLE, "", 2)
    code, found = document(run, "status", tmp_path / "gone")
    assert (code, found["nodes"]) == (UNREACHABLE, {str(tmp_path / "gone"): None})


def test_a_disk_that_hangs_does_not_prevent_the_command_from_ending(
    nodes: Nodes, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    never, real = threading.Event(), asking.ShortPath.__enter__

    def enter(self: asking.ShortPath) -> str:
        if "stuck" in str(self._path):
            never.wait()
        return real(self)

    monkeypatch.setattr(asking.ShortPath, "__enter__", enter)
    code, out, err = run("status", "--timeout", "0.5", nodes.status("stuck"), nodes.status("fine"))
    never.set()
    assert code == PARTLY
    assert "node fine" in out
    assert "does not answer" in err


def test_a_directory_is_asked_once(nodes: Nodes, run: Run) -> None:
    fine = nodes.status("fine")
    code, out, _ = run("status", fine, fine, fine)
    assert (code, out.count("node fine"), len(nodes.asked)) == (OK, 1, 1)


def test_the_directory_of_the_record_is_left_out_with_a_line(nodes: Nodes, run: Run, tmp_path: Path) -> None:
    cluster, fine = put_record(tmp_path / "cluster"), nodes.status("fine")
    code, out, err = run("status", cluster, fine, "--cluster", cluster)
    assert (code, err) == (OK, f"qpidha: {cluster}: left out: it holds the record of a cluster, not a node\n")
    assert "record: version 1, generation 3, primary none\n  members a; cluster " in out
    code, found = document(run, "status", cluster, fine)
    assert (code, found["left_out"], list(found["nodes"])) == (OK, [str(cluster)], [str(fine)])
    code, out, err = run("status", cluster)
    assert (code, out) == (UNREACHABLE, "")
    assert "no directory of a node was given" in err


def test_a_record_that_cannot_be_read_is_listed_as_not_answering(
    nodes: Nodes, run: Run, tmp_path: Path
) -> None:
    fine = nodes.status("fine")
    code, out, err = run("status", fine, "--cluster", tmp_path / "gone")
    assert (code, "node fine" in out) == (PARTLY, True)
    assert f"cannot read the record: {tmp_path / 'gone'}: there is no record: no such directory" in err
    (tmp_path / "empty").mkdir()
    code, out, err = run("status", fine, "--cluster", tmp_path / "empty")
    assert (code, err) == (OK, "")
    assert f"record: there is none in {tmp_path / 'empty'}" in out
    code, found = document(run, "status", fine, "--cluster", tmp_path / "gone")
    assert (code, found["record"], found["errors"][str(tmp_path / "gone")]["kind"]) == (
        PARTLY,
        None,
        "failed",
    )


# --- what nodes say ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"stopped": "on_promote raised KeyError"}, "node a: stopped: on_promote raised KeyError"),
        ({"store_error": "the disk is full"}, "  store failed: the disk is full"),
        ({"broker_error": "on_demote raised"}, "  broker failed: on_demote raised"),
        ({"place_given_up": "its disk does not answer"}, "  gave its place up: its disk does not answer"),
        ({"hand_over": "on_promote raised"}, "  leaves the place of the primary: on_promote raised"),
        (
            {"below_min_in_sync": True, "min_in_sync": 3, "missing": ["c", "d e"],
             "troubles": [{"cause": "too few members", "text": "why"}]},
            '  operations are refused: 2 of 3 members (min_in_sync); missing c, "d e"',
        ),
        (
            {"troubles": [{"cause": "links b", "text": "no", "began_ago_s": 61.2, "last_ago_s": 1.0, "attempts": 9}]},
            '  trouble: links b: no (for 61 s, 9 times, last 1 s ago)',
        ),
    ],
)  # fmt: skip
def test_a_node_with_a_fault_is_exit_code_1(
    nodes: Nodes, run: Run, fields: dict[str, Any], shown: str
) -> None:
    code, out, err = run("status", nodes.status("a", **fields), nodes.status("b"))
    assert (code, err) == (PROBLEM, "")
    assert shown in out.splitlines()
    assert "node b: active" in out


def test_what_a_node_waits_for_is_shown(nodes: Nodes, run: Run) -> None:
    """Waiting is shown, but is not counted as a problem."""
    kinds = ["disk", "backup", "members", "manager", "broker", "new\nkind"]
    holds = [{"kind": kind, "node": "b", "since_s": 1.25} for kind in kinds]
    code, out, _ = run("status", nodes.status("a", held_by=holds, broker="promoting", broker_since_s=7.5))
    assert code == OK
    waits, broker = out.splitlines()[2:]
    assert waits.startswith(
        "  waits for the disk of b for 1 s, backup b for 1 s, member b for 1 s, the cluster manager"
    )
    assert waits.endswith(' for 1 s, the broker of b to take over for 1 s, "new\\nkind" b for 1 s')
    assert broker == "  broker: promoting, for 7.5 s"
    assert "broker" not in run("status", nodes.status("b", broker="serving", broker_since_s=7.5))[1]


def test_slowed_publishers_are_shown(nodes: Nodes, run: Run) -> None:
    """They are slowed on purpose: that is no problem."""
    slowed = {"backup": "c", "since_s": 1.5, "bytes_per_s": 250, "staged_bytes": 1500, "left_bytes": 4000}
    holds = [{"kind": "catch-up", "node": "c", "since_s": 1.5}]
    code, out, _ = run("status", nodes.status("a", slowed=[slowed], held_by=holds))
    assert code == OK
    assert out.splitlines()[2:] == [
        "  waits for backup c to catch up for 2 s",
        "  publishers are slowed to 250 bytes/s while c catches up: 1500 bytes copied in 1.5 s, about 4000 left",
    ]


def test_the_progress_of_a_catch_up_is_shown(nodes: Nodes, run: Run) -> None:
    backup = {"node": "c", "member": False, "state": "catching_up", "behind": 7}
    catch_up = {"since_s": 4.0, "copied_bytes": 2_000_000, "left_bytes": 6_000_000, "left_s": 12.0}
    for said, shown in (
        (catch_up, ["    catches up: 2.0 MB of 8.0 MB, 25 %, 500 kB/s, about 12s left"]),
        (catch_up | {"copied_bytes": 0, "left_bytes": 0}, ["    catches up: 0 B"]),
        (catch_up | {"copied_bytes": "\x1b", "left_bytes": -5, "since_s": None}, ["    catches up: 0 B"]),
        (None, []),
    ):
        sessions = [{**backup, "catch_up": said}]
        code, out, _ = run("status", nodes.status(f"n{len(nodes._sockets)}", sessions=sessions))
        assert code == OK
        assert out.splitlines()[2:] == ["  backup c: catching_up, not a member, 7 operations behind", *shown]


def test_an_error_in_place_of_a_status(nodes: Nodes, run: Run) -> None:
    for answer in ({"ok": False, "error": "unknown\ncommand"}, {"ok": True, "status": 5}, {"ok": "yes"}):
        code, out, err = run("status", nodes.add(f"n{len(nodes._sockets)}", answer))
        assert (code, out, err.count("\n")) == (UNREACHABLE, "", 1)
        assert "it answers, but with an error" in err


def test_names_with_control_characters_make_no_line_and_no_column(nodes: Nodes, run: Run) -> None:
    evil = "x\nnode b: active, generation 99, in sync\x1b[2J"
    fields: dict[str, Any] = dict.fromkeys(("role", "primary", "joining", "store_error"), evil)
    fields |= {key: [evil, "two, names"] for key in ("members", "live", "waiting_for")}
    fields |= {"sessions": [{"node": evil, "state": evil, "member": True, "behind": 1}]}
    fields |= {
        "queues": [{"name": "q: 7 messages, 0 bytes", "depth": 1, "bytes": 2, "next_id": 3, "pending": 0}]
    }
    fields |= {"troubles": [{"cause": evil, "text": evil}], "generation": evil}
    code, out, _ = run("status", nodes.status("a", **fields), nodes.add("n", {"ok": False, "error": evil}))
    assert code == PARTLY
    assert "\x1b" not in out
    assert not any(line.startswith("node b") for line in out.splitlines())
    assert '  queue "q: 7 messages, 0 bytes": 1 messages, 2 bytes, next id 3, 0 pending' in out.splitlines()
    assert '; members "x\\nnode b: active, generation 99, in sync\\x1b[2J", "two, names"; live' in out


def test_few_queues_are_named_and_the_rest_counted(nodes: Nodes, run: Run) -> None:
    rows = [{"name": f"q{n}", "depth": 1, "bytes": 2, "next_id": 3, "pending": 0} for n in range(50)]
    status = {key: value for key, value in STATUS.items() if key != "queue_count"}
    old = nodes.add(
        "old", {"ok": True, "status": {**status, "queues": rows}}
    )  # An old version ignores the limit.
    for words, shown in (([], 20), (["--queues", "3"], 3), (["--queues", "0"], 0), (["--queues", "999"], 50)):
        code, out, _ = run("status", old, *words)
        assert (code, out.count("  queue q")) == (OK, shown)
        more = f"  ... and {50 - shown} more queues (--queues 50 names all)"
        assert (more in out.splitlines()) == (shown < 50)
    assert [question.get("queues") for question in nodes.asked] == [20, 3, 0, 999]
    code, found = document(run, "status", old)
    assert (code, len(found["nodes"][str(old)]["queues"])) == (OK, 50)
    assert "queues" not in nodes.asked[-1]


def test_a_real_node_with_many_queues(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with World() as world:
            node = await world.start("a", control=tmp_path / "control.sock")
            await node.promote()
            for n in range(900):
                node.declare(f"{n} " + "\u0449" * 100)
            code, out, err = await asyncio.to_thread(run, "status", tmp_path)
            assert (code, err) == (OK, "")
            assert out.splitlines()[-1] == "  ... and 880 more queues (--queues 900 names all)"
            code, found = await asyncio.to_thread(document, run, "status", tmp_path)
            (status,) = found["nodes"].values()
            assert (code, len(status["queues"]), status["queue_count"]) == (OK, 900, 900)

    asyncio.run(scenario())


def test_a_node_that_stopped_within_a_live_process_says_why(run: Run, tmp_path: Path) -> None:
    """It also refuses to take over and to hand over."""

    async def scenario() -> None:
        async with World() as world:
            node = await world.start("a", control=tmp_path / "control.sock")
            await node.promote()
            node._runtime.broken(StoreFailed("the disk\nfailed"))
            await asyncio.wait_for(node.wait_stopped(), 30)
            code, out, err = await asyncio.to_thread(run, "status", tmp_path)
            assert (code, err) == (PROBLEM, "")
            assert out.startswith("node a: stopped: failed: the disk\\nfailed\n")
            code, found = await asyncio.to_thread(document, run, "status", tmp_path)
            assert code == PROBLEM
            assert found["nodes"][str(tmp_path)]["stopped"] == "failed: the disk\nfailed"
            for command in ("promote", "demote"):
                code, out, err = await asyncio.to_thread(run, command, tmp_path)
                assert (code, out) == (PROBLEM, "")
                assert err.startswith("qpidha: refused: ")

    asyncio.run(scenario())


# --- promote and demote --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "answer", "code", "shown"),
    [
        ("promote", {"ok": True, "generation": 7}, OK, "primary of generation 7\n"),
        ("demote", {"ok": True}, OK, "not primary any more\n"),
        ("promote", {"ok": False, "error": "not\na member"}, PROBLEM, "qpidha: refused: not\\na member\n"),
        ("demote", {"ok": False}, PROBLEM, "qpidha: refused: None\n"),
    ],
)
def test_the_result_of_promote_and_demote_is_printed(
    nodes: Nodes, run: Run, command: str, answer: dict[str, Any], code: int, shown: str
) -> None:
    directory = nodes.add("a", answer)
    found, out, err = run(command, directory)
    assert (found, out + err) == (code, shown)
    assert document(run, command, directory) == (code, answer)


@pytest.mark.parametrize("command", ["promote", "demote"])
def test_a_node_that_does_not_answer_may_still_do_it(nodes: Nodes, run: Run, command: str) -> None:
    for directory in (nodes.add("hung", HANG), nodes.add("cut", b"{")):
        code, out, err = run(command, "--timeout", "0.3", directory)
        assert (code, out, err.count("\n")) == (UNREACHABLE, "", 1)
        assert "The node may still do it later" in err
        code, found = document(run, command, "--timeout", "0.3", directory)
        assert (code, found["ok"], found["kind"]) == (
            UNREACHABLE,
            False,
            "hung" if directory.name == "hung" else "closed",
        )
    code, _, err = run(command, directory / "gone")
    assert code == UNREACHABLE
    assert "still do it later" not in err


# --- usage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["status", ""],
        ["status", "x", "--cluster", ""],
        ["status", "x", "--timeout", "nan"],
        ["status", "x", "--timeout", "inf"],
        ["status", "x", "--timeout", "0"],
        ["status", "x", "--timeout=-1"],
        ["status", "x", "--timeout", "1e9"],
        ["status", "x", "--timeout", "soon"],
        ["status", "x", "--timeout", ""],
        ["status", "x", "--queues", "-1"],
        ["status", "x", "--queues", "all"],
        ["status", "x", "--queues", "1.5"],
        ["status", "x", "--queues", "9" * 5000],
        ["status", "x", "--queues", "\u0665"],
        ["status", "x\0y"],
        ["status", "x", "--js"],
        ["status", "x", "--bogus"],
        ["status", "x", "--bogus\x1b[2J\nqpidha:all"],
        ["\x1b[2J"],
        ["promote", ""],
        ["promote", "x", "y"],
        ["demote", "x", "--timeout", "nan"],
        ["store", "inspect", ""],
        ["store", "inspect"],
        ["store", "inspect", "x", "--timeout", "nan"],
        ["store", "rank", "x", "--cluster", ""],
        ["store", "rank", "x", "--write"],
        ["record", "show", ""],
        ["record", "show", "x", "y"],
        ["record", "rebuild", "", "x"],
        ["record", "rebuild", "c", "x", "--best", ""],
        ["record", "rebuild", "c", "x", "--wri"],
        ["record", "rebuild", "c", "x", "--timeout", "0"],
        ["simulate", "--seeds", "1", "--seconds", "nan"],
        ["simulate", "--seeds", "1.5"],
        ["simulate", "--scenario", ""],
    ],
)
def test_every_value_is_checked(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(words)
    out, err = capsys.readouterr()
    assert (stopped.value.code, out) == (USAGE, "")
    assert err.startswith("usage: qpidha")
    assert "\x1b" not in err
    assert not any(line.startswith("qpidha:all") for line in err.splitlines())
