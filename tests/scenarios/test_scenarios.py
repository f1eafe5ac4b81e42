"""Every scenario that broke a real system, and the counterexamples of the protocol's first draft, as text.

Method: the interpreter of `qpidha.testing.scenarios.scenario` runs the commands of each file and writes what came of
them; the file must say the same already. After a change that is meant, write the files again with

    QPIDHA_REWRITE=1 python -m pytest tests/scenarios

and commit the difference only if every line of it is understood.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qpidha.testing import Scenario, ScenarioError
from qpidha.testing.scenarios.scenario import COMMANDS

FILES = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_scenario(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    found = Scenario().run(text)
    if os.environ.get("QPIDHA_REWRITE"):
        file.write_text(found, encoding="utf-8")
    else:
        assert found == text


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_a_scenario_says_what_broke_and_what_must_hold(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    assert any(line.startswith("check ") for line in lines)


def test_a_wrong_expectation_is_found() -> None:
    with pytest.raises(ScenarioError, match="not so"):
        Scenario().run("nodes P\npromote P\nexpect members P B1\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_docstring_of_a_command_shows_how_it_is_written(name: str) -> None:
    assert (COMMANDS[name].__doc__ or "").startswith(f"``{name}")
