"""The command line prints harmless whole lines and valid JSON for any data and in any encoding.

Method: texts are drawn with many of the characters that do harm: escapes, newlines, marks that change the direction of
writing, halves of surrogate pairs, quotes and separators. What is printed is read back as a terminal or a script would.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import unicodedata
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpidha import cli
from qpidha.cli import FAILED, INTERRUPTED, OK, PARTLY, PROBLEM, UNREACHABLE, USAGE, main
from qpidha.cli.console import EXIT_CODES, about, deliver, to_json, why
from qpidha.cli.nodes import Row, lines_of_status
from qpidha.cli.text import NAME_CHARS_MAX, View, name, names, one_line, printable
from qpidha.cli.work import LeftOut, TimeUp, gather, one, require_directory, require_no_cluster
from qpidha.errors import InvariantError, StoreFailed

HARMFUL = (
    "\x1b\x07\x00\x7f\x9b\n\r\t\v\f\u2028\u2029\u202e\u2066\u200b\ufeff\ud800\udcff\u3164\u00a0\U000e0041"
)
AWKWARD = ' "\\,:;-?.n\u0449\U0001f600'
TEXT = st.text(st.sampled_from(HARMFUL + AWKWARD) | st.characters(), max_size=30)
ROOT = Path(__file__).resolve().parents[3]


def harmless(line: str) -> bool:
    """Return whether this is one line without control characters or invisible characters."""
    return all(
        unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
        and (c == " " or not c.isspace())
        for c in line
    )


# --- text ----------------------------------------------------------------------------------------


@given(TEXT)
def test_what_is_printed_is_one_harmless_line(text: str) -> None:
    for line in (one_line(text), printable(text), name(text)):
        assert harmless(line), ascii(line)
        line.encode("utf-8")
        assert one_line(line) == line, "escaping twice is escaping once"


@given(TEXT, TEXT)
def test_different_texts_look_different(one: str, other: str) -> None:
    if one != other:
        assert printable(one) != printable(other)
        assert name(one) != name(other)


@given(st.lists(TEXT, max_size=4))
def test_a_name_cannot_make_a_column(parts: list[str]) -> None:
    """Splitting the line at blanks and commas outside of quotes gives the right number of names."""
    line = names(parts)
    found, quoted, i = [""], False, 0
    while i < len(line):
        if quoted and line[i] == "\\":
            found[-1] += line[i : i + 2]
            i += 2
            continue
        quoted ^= line[i] == '"'
        if not quoted and line[i] == ",":
            found.append("")
        elif quoted or line[i] != " ":
            found[-1] += line[i]
        i += 1
    assert not quoted
    assert len(found) == max(1, len(parts))


@pytest.mark.parametrize(
    "plain", ["orders", "orders.eu-1", "/var/lib/q/a", "\u0437\u0430\u043a\u0430\u0437\u044b", "a@b", "q_1"]
)
def test_usual_names_are_left_alone(plain: str) -> None:
    assert name(plain) == printable(plain) == plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", '""'),
        ("none", '"none"'),
        ("-", '"-"'),
        ("two words", '"two words"'),
        ("a: 5 messages", '"a: 5 messages"'),
        ("a,b", '"a,b"'),
        ('say "x"', '"say \\"x\\""'),
        ("back\\slash", '"back\\\\slash"'),
        ("paid\nnode b: active", '"paid\\nnode b: active"'),
        ("\x1b[2J", '"\\x1b[2J"'),
        ("\u202egnp.exe", '"\\u202egnp.exe"'),
        ("\udcff", '"\\udcff"'),
        ("\u3164", '"\\u3164"'),
        ("\U000e0041", '"\\U000e0041"'),
    ],
)
def test_unusual_names_are_quoted(text: str, shown: str) -> None:
    assert name(text) == shown


def test_long_texts_are_cut_and_say_so() -> None:
    assert name("x" * NAME_CHARS_MAX) == "x" * NAME_CHARS_MAX
    assert name("x" * 30_000) == "x" * NAME_CHARS_MAX + "... (30000 characters)"
    assert printable("y" * 30, 10) == "y" * 10 + "... (30 characters)"
    assert len(printable("\n" * 1_000_000)) < 10_000


# --- JSON ----------------------------------------------------------------------------------------


class Colour(Enum):
    RED = "red\udcff"


@dataclass
class Thing:
    text: str
    at: float


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.binary(max_size=5) | st.uuids(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)


def strict(text: str) -> Any:
    def refuse(constant: str) -> Any:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


@given(VALUES)
def test_a_document_is_valid_json_in_ascii(value: object) -> None:
    text = to_json(value)
    assert text.isascii()
    json.dumps(strict(text), ensure_ascii=False).encode("utf-8")  # No half of a surrogate pair is in it.


def test_values_of_ours_as_json() -> None:
    thing = Thing("\udcff", float("nan"))
    value = [
        thing,
        Colour.RED,
        UUID(int=1),
        Path("/x\udc80"),
        b"\x01",
        (1, 2),
        {3},
        {UUID(int=2): float("inf")},
    ]
    assert strict(to_json(value)) == [
        {"text": "\\udcff", "at": None},
        "red\\udcff",
        str(UUID(int=1)),
        "/x\\udc80",
        "01",
        [1, 2],
        [3],
        {str(UUID(int=2)): None},
    ]


# --- answers of nodes ----------------------------------------------------------------------------

KEYS = ["node", "role", "generation", "in_sync", "primary", "members", "live", "waiting_for", "sessions", "joining",
        "queues", "queue_count", "quarantined", "troubles", "store_error", "stopped"]  # fmt: skip
ROW_KEYS = ["node", "member", "state", "behind", "name", "depth", "bytes", "cause", "text", "reason", "error"]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(ROW_KEYS), inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(KEYS), ANYTHING))
def test_whatever_a_node_answers_is_shown(status: dict[str, Any]) -> None:
    """The answer may come from another version, or be forged by the owner of the directory."""
    row = Row(Path("x"), status=status)
    for line in lines_of_status(row):
        assert harmless(one_line(line))
    assert row.wrong in (True, False)


def test_numbers_are_numbers() -> None:
    view = View({"a": 5, "b": "5\n", "c": True, "d": 1.6, "e": float("inf"), "f": 10**40, "g": None})
    assert [view.number(key) for key in "abcdefgh"] == ["5", "?", "?", "2", "?", "?", "?", "?"]
    assert [view.positive(key) for key in "abcdg"] == [True, False, False, True, False]
    assert View("no dictionary").names("members") == "none"


def test_a_stopped_node_says_why() -> None:
    for stopped, shown in (
        ("the disk failed", "stopped: the disk failed"),
        ({"reason": "on_promote raised", "error": "KeyError"}, "stopped: on_promote raised: KeyError"),
        ({"reason": "x", "error": "x"}, "stopped: x"),
        ({}, "stopped: no reason is known"),
    ):
        row = Row(Path("x"), status={"node": "a", "stopped": stopped})
        assert lines_of_status(row)[0] == f"node a: {shown}"
        assert row.wrong
    for runs in (None, False):
        assert Row(Path("x"), status={"stopped": runs}).stopped is None


# --- errors --------------------------------------------------------------------------------------


def test_errors_in_words() -> None:
    assert why(StoreFailed("the disk\nfailed")) == "the disk\\nfailed"
    assert why(OSError(28, "No space left on device")) == "No space left on device"
    assert why(StoreFailed()) == "StoreFailed"
    for bug in (KeyError("x"), InvariantError("I3")):
        assert why(bug).startswith("error in qpidha, please report it")
        assert type(bug).__name__ in why(bug)


def test_a_directory_is_named_once() -> None:
    assert about(Path("/q/a"), StoreFailed("cannot read /q/a/store.db")) == "cannot read /q/a/store.db"
    assert about(Path("/q/a"), StoreFailed("torn")) == "/q/a: torn"
    assert about(Path("a"), StoreFailed("not a store")) == "a: not a store"
    assert about(Path("/q/\x1b"), StoreFailed("torn")) == '"/q/\\x1b": torn'


class Boom(Exception):
    pass


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts a function in the place of `status`."""

    def replace(run: Any) -> None:
        monkeypatch.setattr("qpidha.cli.options.run_status", run)

    return replace


def test_an_unexpected_error_is_one_line(command: Any, capsys: Any, monkeypatch: Any) -> None:
    def run(args: argparse.Namespace) -> int:
        raise Boom("made\nup")

    command(run)
    assert main(["status", "x"]) == FAILED
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "Boom: made\\nup" in err
    assert main(["status", "x", "--json"]) == FAILED
    assert "Boom" in strict(capsys.readouterr().out)["error"]
    monkeypatch.setenv("QPIDHA_TRACEBACK", "1")
    with pytest.raises(Boom):
        main(["status", "x"])


def test_an_interrupted_command(command: Any, capsys: Any) -> None:
    def run(args: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    command(run)
    assert main(["status", "x"]) == INTERRUPTED
    assert capsys.readouterr() == ("", "")


def test_a_document_is_printed_once(command: Any, capsys: Any) -> None:
    def run(args: argparse.Namespace) -> int:
        deliver(args, OK, {"a": 1}, ())
        raise Boom

    command(run)
    assert main(["status", "x", "--json"]) == FAILED
    assert strict(capsys.readouterr().out) == {"a": 1}


# --- several places at once ----------------------------------------------------------------------


def test_results_are_kept_however_long_other_jobs_take() -> None:
    never = threading.Event()
    began = time.monotonic()
    found = gather([lambda: 1, never.wait, lambda: 1 // 0, lambda: 4], 0.3)
    assert found[0::3] == [1, 4]
    assert isinstance(found[1], TimeUp)
    assert isinstance(found[2], ZeroDivisionError)
    assert time.monotonic() - began < 20
    never.set()


def test_waiting_times_do_not_add_up() -> None:
    never = threading.Event()
    began = time.monotonic()
    assert all(isinstance(found, TimeUp) for found in gather([never.wait] * 50, 0.5))
    assert time.monotonic() - began < 20
    never.set()


def test_one_by_one_runs_no_two_jobs_at_once_unless_one_hangs() -> None:
    running, most = 0, 0

    def job() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.01)
        running -= 1

    assert gather([job] * 10, 60.0, one_by_one=True) == [None] * 10
    assert most == 1
    never = threading.Event()
    found = gather([never.wait, lambda: 2, lambda: 3], 2.0, one_by_one=True)
    assert isinstance(found[0], TimeUp)
    assert found[1:] == [2, 3]
    never.set()


def test_more_places_than_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qpidha.cli.work.AT_ONCE_MAX", 3)
    assert gather([lambda: 1] * 40, 60.0) == [1] * 40
    assert gather([], 1.0) == []


def test_one_place() -> None:
    never = threading.Event()
    assert one(lambda: 7, 5.0) == 7
    with pytest.raises(ZeroDivisionError):
        one(lambda: 1 // 0, 5.0)
    with pytest.raises(TimeUp, match="does not answer"):
        one(never.wait, 0.05)
    never.set()


def test_directories_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    require_directory(tmp_path, "store")
    with pytest.raises(FileNotFoundError, match="there is no store: no such directory"):
        require_directory(tmp_path / "gone", "store")
    with pytest.raises(NotADirectoryError, match="this is not a directory"):
        require_directory(tmp_path / "file", "store")


def test_what_a_cluster_directory_is(tmp_path: Path) -> None:
    require_no_cluster(tmp_path)
    (tmp_path / "record.json").write_text("{}")
    with pytest.raises(LeftOut, match="holds the record of a cluster"):
        require_no_cluster(tmp_path)
    (tmp_path / "store.db").write_text("")
    require_no_cluster(tmp_path)  # Both in one directory: it is a node's.


# --- as a process --------------------------------------------------------------------------------

COMMAND = [sys.executable, "-m", "qpidha"]


def run(*words: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}
    return subprocess.run([*COMMAND, *words], capture_output=True, env=environment, timeout=120, **options)


def test_an_ascii_terminal_shows_everything(tmp_path: Path) -> None:
    """This includes arguments whose bytes are no text."""
    for encoding in ("ascii", "utf-8"):
        bad = os.fsdecode(os.fsencode(tmp_path) + "/\u0449\n\x1b[2J".encode() + b"\xff")
        found = run("record", "show", bad, env={"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"})
        assert found.returncode == UNREACHABLE
        assert found.stderr.count(b"\n") == 1
        assert b"\x1b" not in found.stderr and b"Traceback" not in found.stderr
        assert b"no such directory" in found.stderr


def test_a_reader_that_closes_the_pipe_causes_no_error(tmp_path: Path) -> None:
    """Nothing on the standard error, and the exit code is that of the command."""
    reader, writer = os.pipe()
    os.close(reader)
    for words, code in ((["record", "show", str(tmp_path)], PROBLEM), (["--help"], OK)):
        found = subprocess.run([*COMMAND, *words], stdout=writer, stderr=subprocess.PIPE, timeout=120,
                               env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
        assert (found.returncode, found.stderr) == (code, b"")
    os.close(writer)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "words",
    [
        ["record", "show", "."],
        ["--help"],
        ["simulate", "--help"],
        ["simulate", "--seed", "12", "--trace"],  # No error of the seed.
        ["simulate", "--seeds", "1"],
        ["demo", "--short"],
    ],
    ids=" ".join,
)
def test_an_output_that_cannot_be_written_is_reported(
    words: list[str], unbuffered: str, tmp_path: Path
) -> None:
    """Whoever writes it: commands, argparse, the demonstration; with Python's buffer, and without."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "wb") as full:
        found = subprocess.run([*COMMAND, *words], stdout=full, stderr=subprocess.PIPE, cwd=tmp_path,
                               env=environment, timeout=120)  # fmt: skip
    assert found.returncode == FAILED
    assert found.stderr == b"qpidha: the output cannot be written: No space left on device\n"


def test_closed_streams_cause_no_error(tmp_path: Path) -> None:
    shell = '"$@" >&- 2>&-; exit $?'
    found = subprocess.run(["sh", "-c", shell, "sh", *COMMAND, "record", "show", str(tmp_path)], timeout=120,
                           env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert found.returncode == PROBLEM


HEAR = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
RUN = "import runpy; runpy.run_module('qpidha', run_name='__main__', alter_sys=True)"
HEARING = [sys.executable, "-c", f"{HEAR}; {RUN}"]
"""The command, which hears SIGINT also where the tests run in the background of a shell and so ignore it."""


def test_ctrl_c_while_a_node_hangs(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(tmp_path / "control.sock"))
        hung.listen()
        process = subprocess.Popen([*HEARING, "status", "--timeout", "100", str(tmp_path)], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
        hung.settimeout(60)
        link, _ = hung.accept()
        with link:
            link.recv(100)  # It asks, and waits.
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (INTERRUPTED, b"", b"")


# --- the table of exit codes ---------------------------------------------------------------------


def test_the_exit_codes_are_documented_where_people_look(capsys: Any) -> None:
    codes = [OK, PROBLEM, USAGE, UNREACHABLE, PARTLY, FAILED, INTERRUPTED]
    assert codes == [0, 1, 2, 3, 4, 70, 130]
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == OK
    assert EXIT_CODES.strip() in capsys.readouterr().out
    assert [int(line.split()[0]) for line in EXIT_CODES.splitlines()[1:]] == codes
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    table = [line for line in page.splitlines() if line.startswith("| `") and line[3].isdigit()]
    assert [int(line.split("`")[1]) for line in table] == codes
    assert cli.__doc__ and "EXIT_CODES" in cli.__doc__
