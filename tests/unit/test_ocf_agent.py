"""The resource agent for Pacemaker: a thread plays the node, and a script writes down what scores it is given."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from qpidha.cli import main as qpidha
from qpidha.ocf import agent
from qpidha.ocf.agent import (
    ARGUMENTS,
    CONFIGURED,
    GENERIC,
    INSTALLED,
    NOT_RUNNING,
    PERMISSION,
    PROMOTED,
    SUCCESS,
    UNIMPLEMENTED,
    main,
    score_of,
)

BACKUP = {
    "node": "a",
    "role": "ready",
    "in_sync": True,
    "members": ["a", "b"],
    "live": ["a", "b"],
    "cluster": "x",
}
PRIMARY = {**BACKUP, "role": "active"}
EMPTY = {"node": "a", "role": "joining", "in_sync": False, "members": [], "live": ["a"], "cluster": None}

BROKER = """
import json, os, signal, socket, sys
path = sys.argv[1]
role = "ready"
listening = socket.socket(socket.AF_UNIX)
if os.path.exists(path):
    os.unlink(path)
listening.bind(path)
listening.listen()
# Not sys.exit: in a finalizer, as that of a link, its exception would be ignored.
signal.signal(signal.SIGTERM, signal.SIG_IGN if "stubborn" in sys.argv else lambda *_: os._exit(0))
while True:
    link, _ = listening.accept()
    command = json.loads(link.makefile().readline())["command"]
    role = {"promote": "active", "demote": "ready"}.get(command, role)
    status = {"node": "a", "role": role, "in_sync": True, "live": ["a"], "members": ["a"]}
    link.sendall(json.dumps({"ok": True, "status": status}).encode() + b"\\n")
    link.close()
"""


class Site:
    """A data directory, a node that answers, and the scores that were written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scores = folder / "scores"
        self.directory = folder / "data"
        self.directory.mkdir()
        self.environment = {
            "PATH": f"{folder}:{os.environ['PATH']}",
            "OCF_RESKEY_directory": str(self.directory),
            "OCF_RESKEY_command": "true",
            "OCF_RESKEY_CRM_meta_timeout": "20000",
            "OCF_RESOURCE_INSTANCE": "broker",
            "HA_RSCTMP": str(folder / "run"),
        }
        program = folder / "crm_attribute"
        program.write_text(f'#!/bin/sh\necho "$*" | sed "s/.*reboot --//" >>{self.scores}\n')
        program.chmod(0o755)
        self.answers: dict[str, Any] = {}
        self.asked: list[str] = []
        self._listening: socket.socket | None = None

    def serve(self, status: dict[str, Any], **answers: Any) -> None:
        """Be a node with this status, in this process."""
        self.answers = {"status": {"ok": True, "status": dict(status)}, **answers}
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self.directory / "control.sock"))
        self._listening.listen()
        threading.Thread(target=self._serve, args=[self._listening], daemon=True).start()

    def _serve(self, listening: socket.socket) -> None:
        while True:
            try:
                link, _ = listening.accept()
            except OSError:
                return
            with link, link.makefile() as lines:
                line = lines.readline()
                if not line:
                    continue  # The agent only looked who listens.
                command = json.loads(line)["command"]
                self.asked += [command] * (command != "status")
                answer = self.answers[command]
                if command in ("promote", "demote") and answer["ok"]:
                    role = "active" if command == "promote" else "ready"
                    self.answers["status"]["status"]["role"] = role
                link.sendall(json.dumps(answer).encode() + b"\n")

    def close(self) -> None:
        if self._listening is not None:
            self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()

    def do(self, action: str, **parameters: str) -> int:
        extra = {f"OCF_RESKEY_{key}": value for key, value in parameters.items()}
        return main(action, {**self.environment, **extra})

    def written(self) -> list[str]:
        return self.scores.read_text().splitlines() if self.scores.exists() else []


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    made = Site(tmp_path)
    monkeypatch.setenv("PATH", made.environment["PATH"])
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize(
    ("status", "score"),
    [
        (PRIMARY, 1000),
        ({**PRIMARY, "role": "recovering"}, 1000),
        (BACKUP, 100),
        ({**BACKUP, "role": "joining"}, 100),
        ({**BACKUP, "place_given_up": "its disk hangs"}, 10),
        ({**PRIMARY, "place_given_up": "its disk hangs"}, 10),
        (EMPTY, 1),
        ({**EMPTY, "live": []}, None),
        ({**EMPTY, "members": ["b"]}, None),
        ({**EMPTY, "cluster": "x"}, None),
        ({**EMPTY, "queue_count": 1}, None),
        ({**BACKUP, "in_sync": False}, None),
        ({**PRIMARY, "stopped": "its store failed"}, None),
    ],
)
def test_only_a_node_that_may_be_promoted_has_a_score(status: dict[str, Any], score: int | None) -> None:
    assert score_of(status, proven=True) == score
    assert score_of(status, proven=False) == (50 if score == 100 else score)


# --- monitor -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "score"),
    [
        (PRIMARY, PROMOTED, "update 1000"),
        (BACKUP, SUCCESS, "update 100"),
        ({**BACKUP, "in_sync": False}, SUCCESS, "delete"),
        ({**BACKUP, "stopped": "its store failed"}, GENERIC, "delete"),
    ],
)
def test_monitor_reports_the_role_and_writes_the_score(
    site: Site, status: dict[str, Any], code: int, score: str
) -> None:
    site.serve(status)
    assert site.do("monitor") == code
    assert site.written() == [score]


def test_a_process_that_has_just_begun_is_not_preferred_until_it_was_ready_once(site: Site) -> None:
    """After a kill the restarted process is a member, as all others are: another one shall be promoted."""
    site.serve({**BACKUP, "role": "joining"})
    site.do("monitor")
    for role in ("catch-up", "ready", "joining"):  # In the end its primary is gone.
        site.answers["status"]["status"]["role"] = role
        site.do("monitor")
    assert site.written() == ["update 50", "update 50", "update 100", "update 100"]


def test_what_another_process_has_shown_does_not_count(site: Site) -> None:
    run = Path(site.environment["HA_RSCTMP"])
    run.mkdir()
    (run / "qpidha-broker.pid").write_text("1 1 proven\n")  # Its pid is in use, by another process.
    site.serve({**BACKUP, "role": "joining"})
    assert site.do("monitor") == SUCCESS
    assert site.written() == ["update 50"]
    assert (run / "qpidha-broker.pid").read_text().split() == [str(os.getpid()), agent.began_at(os.getpid())]


def test_a_node_that_does_not_run_loses_its_score(site: Site) -> None:
    assert site.do("monitor") == NOT_RUNNING
    assert site.written() == ["delete"]


def test_a_node_that_does_not_answer_has_failed(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(site.directory / "control.sock"))
    listening.listen()
    with listening:
        assert site.do("monitor", answer_timeout="1") == GENERIC
        assert site.do("demote", answer_timeout="1000") == GENERIC  # It need not be waited for again.
    assert site.written() == ["delete", "delete"]
    assert "ocf-exit-reason:the broker runs and does not answer" in capsys.readouterr().err


@pytest.mark.parametrize("silent", [True, False])
def test_a_broker_that_hangs_is_killed_at_once(
    site: Site, capsys: pytest.CaptureFixture[str], silent: bool
) -> None:
    """It does not take a SIGTERM. One that answers again ends in order."""
    program = site.folder / "broker.py"
    program.write_text(BROKER)
    site.environment["OCF_RESKEY_command"] = f"{sys.executable} -IS {program} {site.folder}/data/control.sock"
    assert site.do("start") == SUCCESS
    pid = int((site.folder / "run" / "qpidha-broker.pid").read_text().split()[0])
    os.kill(pid, signal.SIGSTOP)
    assert site.do("monitor", answer_timeout="1") == GENERIC
    if not silent:
        os.kill(pid, signal.SIGCONT)
    assert site.do("stop", CRM_meta_timeout="1000000") == SUCCESS
    assert agent.began_at(pid) is None
    assert ("it is killed" in capsys.readouterr().err) == silent


def test_who_answers_again_is_not_silent_any_more(site: Site) -> None:
    site.serve(BACKUP)
    assert site.do("monitor") == SUCCESS
    file = site.folder / "run" / "qpidha-broker.pid"
    file.write_text(file.read_text().replace("proven", "proven silent"))
    assert site.do("monitor") == SUCCESS
    assert file.read_text().split()[2:] == ["proven"]


def test_a_reason_is_one_line(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.serve({**BACKUP, "stopped": "one\ntwo"})
    assert site.do("monitor") == GENERIC
    assert "ocf-exit-reason:the node has stopped by itself: one two\n" in capsys.readouterr().err


def test_a_pid_that_another_process_has_now_is_not_the_broker(site: Site) -> None:
    run = Path(site.environment["HA_RSCTMP"])
    run.mkdir()
    (run / "qpidha-broker.pid").write_text(f"{os.getpid()} 1\n")
    assert site.do("monitor") == NOT_RUNNING


# --- the role ----------------------------------------------------------------------------------------


def test_promote_and_demote_are_ordered_and_their_scores_written(site: Site) -> None:
    site.serve(BACKUP, promote={"ok": True, "generation": 2}, demote={"ok": True})
    assert site.do("promote") == SUCCESS
    assert site.written()[-1] == "update 1000"
    assert site.do("promote") == SUCCESS  # It is: nothing is ordered.
    assert site.do("demote") == SUCCESS
    assert site.do("demote") == SUCCESS
    assert site.asked == ["promote", "demote"]
    assert site.written()[-1] == "update 100"


def test_a_node_that_the_record_refuses_loses_its_score(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.serve(BACKUP, promote={"ok": False, "kind": "PromotionRefused", "error": "not a member"})
    assert site.do("promote") == GENERIC
    assert site.asked == ["promote"]
    assert site.written()[-1] == "delete"
    assert "ocf-exit-reason:this node may not be promoted: not a member" in capsys.readouterr().err


def test_another_failure_is_tried_again_until_the_time_is_over(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.serve(PRIMARY, demote={"ok": False, "kind": "ClusterError", "error": "etcd does not answer"})
    assert site.do("demote", CRM_meta_timeout="1000") == GENERIC
    assert len(site.asked) > 1
    assert "ocf-exit-reason:demote has failed: etcd does not answer" in capsys.readouterr().err


@pytest.mark.parametrize("action", ["promote", "demote"])
def test_what_does_not_run_has_no_role(site: Site, action: str) -> None:
    assert site.do(action) == NOT_RUNNING


# --- start and stop ----------------------------------------------------------------------------------


@pytest.mark.parametrize("stubborn", ["", "stubborn"])
def test_a_broker_is_started_found_and_stopped(site: Site, stubborn: str) -> None:
    program = site.folder / "broker.py"
    program.write_text(BROKER)
    site.environment["OCF_RESKEY_command"] = (
        f"{sys.executable} -IS {program} {site.folder}/data/control.sock {{node}} {stubborn}"
    )
    site.environment["OCF_RESKEY_node"] = "a"
    try:
        assert site.do("start") == SUCCESS
        assert site.written() == ["delete"]  # What it had before: another one shall be promoted after a kill.
        pid = (site.folder / "run" / "qpidha-broker.pid").read_text().split()[0]
        assert "\0a\0" in Path(f"/proc/{pid}/cmdline").read_text()
        assert site.do("start") == SUCCESS  # The same one.
        assert (site.folder / "run" / "qpidha-broker.pid").read_text().split()[0] == pid
        assert site.do("monitor") == SUCCESS
        assert site.do("promote") == SUCCESS
        assert site.do("monitor") == PROMOTED
    finally:
        assert site.do("stop", CRM_meta_timeout="2000") == SUCCESS
    assert site.written()[-1] == "delete"
    assert agent.began_at(int(pid)) is None
    assert site.do("monitor") == NOT_RUNNING
    assert site.do("stop") == SUCCESS


def test_a_broker_that_ends_at_once_fails_its_start(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert site.do("start", command="sh -c 'echo no licence; exit 3'") == GENERIC
    assert f"its output is in {site.directory}/broker.log" in capsys.readouterr().err
    assert (site.directory / "broker.log").read_text() == "no licence\n"
    assert site.do("monitor") == NOT_RUNNING


def test_a_broker_that_does_not_answer_in_time_fails_its_start(site: Site) -> None:
    assert site.do("start", command="sleep 60", CRM_meta_timeout="500") == GENERIC
    assert site.do("monitor") == GENERIC
    assert site.do("stop") == SUCCESS


# --- parameters --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({}, SUCCESS),
        ({"directory": ""}, CONFIGURED),
        ({"directory": "data"}, CONFIGURED),
        ({"control": "control.sock"}, CONFIGURED),
        ({"log": "log"}, CONFIGURED),
        ({"command": " "}, CONFIGURED),
        ({"command": "'true"}, CONFIGURED),
        ({"command": "/no/such/program"}, INSTALLED),
        ({"user": "nobody-like-this"}, INSTALLED),
        ({"answer_timeout": "soon"}, CONFIGURED),
        ({"answer_timeout": "0"}, CONFIGURED),
    ],
)
def test_parameters_are_checked(site: Site, parameters: dict[str, str], code: int) -> None:
    assert site.do("validate-all", **parameters) == code
    if code != SUCCESS:
        assert site.do("start", **parameters) == code


def test_an_unknown_action_is_not_implemented(site: Site) -> None:
    assert site.do("migrate_to") == UNIMPLEMENTED
    assert {ARGUMENTS, PERMISSION} == {2, 4}


def test_without_pacemaker_the_actions_work_and_say_that_no_score_was_written(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.serve(BACKUP)
    (site.folder / "crm_attribute").write_text("#!/bin/sh\necho no cluster >&2\nexit 102\n")
    assert site.do("monitor") == SUCCESS
    assert "WARNING: the promotion score cannot be written: no cluster" in capsys.readouterr().err


def test_the_description_names_the_parameters_and_actions(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("meta-data", {}) == SUCCESS
    root = ET.fromstring(capsys.readouterr().out)
    assert {a.get("name") for a in root.iter("action")} == {
        "start", "stop", "monitor", "promote", "demote", "meta-data", "validate-all",
    }  # fmt: skip
    assert [p.get("name") for p in root.iter("parameter") if p.get("required")] == ["directory", "command"]
    intervals = [a.get("interval") for a in root.iter("action") if a.get("name") == "monitor"]
    assert len(set(intervals)) == 2  # Pacemaker tells monitors apart by their interval.


# --- installation ------------------------------------------------------------------------------------


def test_the_agent_is_installed_for_everybody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    goal = tmp_path / "ocf" / "qpidha" / "qpidha"
    for _ in range(2):
        assert qpidha(["ocf", "install", "--to", str(goal.parent)]) == 0
    assert str(goal) in capsys.readouterr().out
    assert stat.S_IMODE(goal.stat().st_mode) == 0o755
    assert [entry.name for entry in goal.parent.iterdir()] == ["qpidha"]
    done = subprocess.run([str(goal), "meta-data"], capture_output=True, text=True, cwd="/")
    assert (done.returncode, done.stdout) == (0, agent.METADATA)


def test_a_python_whose_path_is_not_utf_8_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would refuse the agent: its own path stands in the first line of it, which is Python."""
    python = tmp_path / os.fsdecode(b"p\xff")
    python.symlink_to(sys.executable)
    assert qpidha(["ocf", "install", "--to", str(tmp_path / "q"), "--python", str(python)]) == 1
    assert (
        "cannot run the agent: give the path of a Python 3.10 or later, in UTF-8" in capsys.readouterr().err
    )
    assert not (tmp_path / "q").exists()


@pytest.mark.parametrize("python", ["/bin/false", "/no/such", "python 3", "/" + "x" * 200])
def test_a_python_that_cannot_run_it_is_refused(tmp_path: Path, python: str) -> None:
    assert qpidha(["ocf", "install", "--to", str(tmp_path / "q"), "--python", python]) == 1
    assert not (tmp_path / "q").exists()


def test_a_place_that_cannot_be_written_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert qpidha(["ocf", "install", "--to", str(tmp_path / "file"), "--python", sys.executable]) == 1
    assert "the agent cannot be installed" in capsys.readouterr().err
