"""``qpidha simulate``: its output, drawings and exit codes. The pictures in docs/ must equal its drawings.

After an intended change, draw the pictures again with ``QPIDHA_REWRITE=1 python -m pytest`` on this file, and check
them by eye.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from qpidha.cli import OK, PROBLEM, USAGE, main
from qpidha.testing import Walk
from qpidha.testing.command import attempt

ROOT = Path(__file__).resolve().parents[2]
SCENARIOS = ROOT / "tests" / "scenarios"
PICTURES = {
    "catch-up": "A19_catch_up",
    "rewind": "T01_reused_id",
    "fenced": "T06_fenced",
}
"""Files in docs/pictures, and the scenarios that they show."""

PICTURE_BYTES_MAX = 150 * 1024


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(["simulate", *(str(a) for a in arguments)])
    out = capsys.readouterr()
    return code, out.out, out.err


def document(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any]:
    code, out, _ = run(capsys, *arguments, "--json")
    return code, json.loads(out)


def broken(monkeypatch: pytest.MonkeyPatch, *seeds: int) -> None:
    """Make the runs of these seeds fail halfway."""

    class Broken(Walk):
        def __init__(self, seed: int, **options: Any) -> None:
            super().__init__(seed, **options)
            if seed in seeds:
                self.actions["accept"] = self.actions["publish"] = self._fail

        def _fail(self) -> None:
            self.world.checker.fail("S1", "made up")

    for user in ("command", "walks.sweep", "walks.shrink"):
        monkeypatch.setattr(f"qpidha.testing.{user}.Walk", Broken)


# --- many seeds ----------------------------------------------------------------------------------


def test_seeds_that_hold_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "--seeds", 3, "--from", 40)
    assert (code, err) == (OK, "")
    assert out.startswith("3 runs from seed 40, 0 failed; ")
    code, facts = document(capsys, "--seeds", 3, "--from", 40)
    assert code == OK
    assert (facts["from"], facts["seeds"], facts["failures"]) == (40, 3, [])
    assert facts["events"] > 300


def test_a_seed_that_fails_is_named_and_the_exit_code_is_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch, 41)
    code, out, err = run(capsys, "--seeds", 3, "--from", 40)
    assert code == PROBLEM
    assert "1 failed" in out
    assert err.startswith("seed 41: Violation: S1: made up\n\nseed 41: Violation: S1: made up\nqpidha ")
    steps = re.search(r"(\d+) of its steps fail as well as all: --only ([\d,]+)\n", err)
    assert steps
    assert int(steps[1]) == len(steps[2].split(",")) == 1
    code, facts = document(capsys, "--seeds", 3, "--from", 40)
    assert code == PROBLEM
    assert facts["failures"] == [{"seed": 41, "error": "Violation: S1: made up"}]


# --- one run -------------------------------------------------------------------------------------


def test_a_trace_is_every_event(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--seed", 7, "--trace")
    lines = out.splitlines()
    told: list[str] = []
    again = Walk(7)
    again.world.listeners.append(told.append)
    again.run()
    assert code == OK
    assert [line[10:] for line in lines[:-1]] == told
    assert f"hash {again.world.hash:08x}" in lines[-1]


@pytest.mark.parametrize("seed", [7, 12])
def test_drawing_does_not_change_the_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, seed: int
) -> None:
    _, plain = document(capsys, "--seed", seed)
    _, drawn = document(capsys, "--seed", seed, "--picture", tmp_path / "run.html")
    assert drawn.pop("picture") == str(tmp_path / "run.html")
    assert plain == drawn


def test_a_failing_run_is_drawn_with_its_failure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken(monkeypatch, 7)
    code, out, err = run(capsys, "--seed", 7, "--picture", tmp_path / "run.svg")
    assert (code, out) == (PROBLEM, "")
    assert "S1: made up" in err
    assert "S1: made up" in (tmp_path / "run.svg").read_text(encoding="utf-8")


def test_a_page_needs_nothing_from_elsewhere(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "run.html"
    assert run(capsys, "--seed", 5, "--picture", file)[0] == OK
    text = file.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    for outside in ("http:", "https:", "src=", "<link", "@import", "url("):
        assert outside not in text, outside
    targets = re.findall(r'href="([^"]*)"', text)
    assert len(targets) > 3
    assert all(target.startswith("#gen") and f'id="{target[1:]}"' in text for target in targets)
    for part in ('type="range"', 'name="ack"', 'id="heads"', "body.no-ack #run .ack{display:none}"):
        assert part in text, part
    for kind in ("op", "ack", "sync", "hand", "fence", "cas", "m-publish", "m-ok", "m-consume", "m-note"):
        assert f'name="{kind}"' in text, kind
        assert re.search(rf'<g class="{kind}[ "]', text), kind


def test_a_closed_output_pipe_is_no_failure_of_the_run() -> None:
    """The error of the closed pipe reaches ``main``, which handles it."""

    def closed(line: str) -> None:
        raise BrokenPipeError

    run = Walk(7)
    run.world.listeners.append(closed)
    with pytest.raises(BrokenPipeError):
        attempt(run)


# --- scenarios -----------------------------------------------------------------------------------


def test_a_scenario_is_run_and_described(capsys: pytest.CaptureFixture[str]) -> None:
    file = SCENARIOS / "T06_fenced.txt"
    code, out, _ = run(capsys, "--scenario", file, "--trace")
    assert code == OK
    assert out.startswith(file.read_text(encoding="utf-8"))
    assert document(capsys, "--scenario", file)[1] == {
        "scenario": str(file),
        "error": None,
        "as_written": True,
    }


def test_a_scenario_that_does_not_hold_exits_with_code_1(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "wrong.txt"
    file.write_text("nodes P\npromote P\nexpect members P B1\n", encoding="utf-8")
    code, out, err = run(capsys, "--scenario", file, "--trace", "--picture", tmp_path / "wrong.svg")
    assert code == PROBLEM
    assert "record 2: generation 1 P of P" in out
    assert "line 3: expect members P B1" in err
    assert "line 3: expect members P B1" in (tmp_path / "wrong.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", ["", "bogus\n", "nodes\n"])
def test_a_scenario_without_a_world_can_be_drawn(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str
) -> None:
    (tmp_path / "odd.txt").write_text(text, encoding="utf-8")
    code, _, _ = run(capsys, "--scenario", tmp_path / "odd.txt", "--picture", tmp_path / "odd.svg")
    assert code == (PROBLEM if "bogus" in text else OK)
    ET.parse(tmp_path / "odd.svg")


# --- wrong usage ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--seeds", "0"], "at least one"),
        (["--seeds", "1000000000000"], "at most 1000000000"),
        (["--seeds", "2", "--jobs", "-1"], "a number of processes up to 1024"),
        (["--seeds", "2", "--jobs", "1000000"], "a number of processes up to 1024"),
        (["--scenario", "no\x1b[2J\nwhere"], "cannot read no\\x1b[2J\\nwhere"),
        (["--seeds", "2", "--trace"], "show one run"),
        (["--seeds", "2", "--picture", "x.svg"], "show one run"),
        (["--seed", "2", "--from", "1"], "--from goes with --seeds"),
        (["--seed", "2", "--trace", "--json"], "choose one"),
        (["--seed", "2", "--picture", "x.png"], "must end in .html or .svg"),
        (["--scenario", "nowhere.txt"], "cannot read nowhere.txt"),
        (["--seed", "2", "--picture", "nowhere/x.svg"], "cannot write nowhere/x.svg"),
    ],
)
def test_wrong_usage_says_what_is_wrong(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (USAGE, "")
    assert err.startswith("qpidha: ")
    assert reason in err


def test_file_names_are_escaped(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "red\x1b[31m\nall is well"
    file.write_text("nodes a\n", encoding="utf-8")
    for arguments in (["--scenario", file], ["--scenario", file, "--json"]):
        _, out, err = run(capsys, *arguments)
        assert "\x1b" not in out + err
        assert "all is well" not in (out + err).splitlines()


@pytest.mark.parametrize("arguments", [[], ["--seed", "x"], ["--seed", "1", "--seeds", "2"]])
def test_arguments_that_the_parser_refuses_are_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(capsys, *arguments)
    assert stopped.value.code == USAGE


def test_no_other_command_loads_the_simulator() -> None:
    code = "import sys, qpidha.cli; qpidha.cli.build_parser(); sys.exit('qpidha.testing' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0


# --- the pictures in the documentation -------------------------------------------------------------


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_in_the_documentation_is_what_is_drawn(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    file = ROOT / "docs" / "pictures" / f"{name}.svg"
    scenario = SCENARIOS / f"{PICTURES[name]}.txt"
    code, _, _ = run(capsys, "--scenario", scenario, "--picture", tmp_path / "drawn.svg")
    drawn = (tmp_path / "drawn.svg").read_text(encoding="utf-8")
    assert code == OK
    if os.environ.get("QPIDHA_REWRITE"):
        file.write_text(drawn, encoding="utf-8")
    assert drawn == file.read_text(encoding="utf-8")
    assert len(drawn.encode()) < PICTURE_BYTES_MAX
    assert f"pictures/{name}.svg" in (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
