"""The page about services: its commands exist, and what it says of the unit is in the unit."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from qpidha.cli import build_parser

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/service.md").read_text(encoding="utf-8")
UNIT = (ROOT / "contrib/systemd/qpidha-broker@.service").read_text(encoding="utf-8")


def commands() -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    return [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]


def test_the_commands_of_qpidha_are_understood() -> None:
    found = [words[words.index("qpidha") + 1 :] for words in commands() if "qpidha" in words[:-1]]
    asked = [words for words in found if words[0] in ("status", "promote", "demote")]
    assert len(asked) == 3
    for words in asked:
        build_parser().parse_args(words)


def test_the_files_that_commands_name_are_there() -> None:
    named = [word for words in commands() for word in words if word.startswith("contrib/")]
    assert len(named) == 4
    assert all((ROOT / word).exists() for word in named)
    assert all((ROOT / "docs" / path).exists() for path in re.findall(r"\]\((\.\./[^)]+)\)", PAGE))


def test_the_settings_of_the_table_are_those_of_the_unit() -> None:
    rows = re.findall(r"^\| (`\w+=.*?) \|", PAGE.partition("| setting |")[2], re.MULTILINE)
    settings = [setting for row in rows for setting in re.findall(r"`(\w+=\w+)`", row)]
    assert len(settings) == 8
    assert all(f"\n{setting}\n" in UNIT for setting in settings)
