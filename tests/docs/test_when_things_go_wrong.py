"""The page for operators is true: what it quotes is what the library says, and nothing that it can say is left out.

Method: every string of the sources is collected, with a hole for each value that is filled in. A quotation on the page is
a code span with a blank in it; where it has an ellipsis, anything may stand. It must fit one string of the sources, holes
and all. The other way round, each class of error that an operator can see, each cause that `status` shows as trouble,
each kind of failure of ``status`` and each reason to refuse a start must be on the page.
"""

from __future__ import annotations

import ast
import dataclasses
import errno
import inspect
import os
import re
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import pytest

from qpidha import errors
from qpidha.cli import build_parser
from qpidha.events import Trouble
from qpidha.events.base import HOLE as EVENT_HOLE
from qpidha.node import ask
from qpidha.node.status import NodeStatus
from qpidha.recovery.ranking import CRITERIA
from qpidha.recovery.validator import START_RULES, Verdict
from qpidha.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "when-things-go-wrong.md"
HOLE = "\0"
ELLIPSIS = "…"
FRAGMENT_CHARS_MIN = 4
"""Of a quotation between two ellipses. Less would fit anywhere."""
COMMANDS = re.compile(r"(qpidha|--|chmod|chown|mv|rm|systemctl|ls|kill) ?")


NEEDS = {
    ("status",): ["d"],
    ("promote",): ["d"],
    ("demote",): ["d"],
    ("why",): ["d"],
    ("store", "rank"): ["d"],
    ("store", "compact"): ["d"],
    ("store", "inspect"): ["d"],
    ("store", "backup"): ["d", "f"],
    ("store", "verify"): ["f"],
    ("store", "restore"): ["f", "d"],
    ("record", "show"): ["c"],
    ("record", "rebuild"): ["c", "d"],
}
"""What a command on the page may leave out."""


def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def spans(text: str) -> list[str]:
    """The code spans of a page, without its blocks of code."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def quotations(text: str) -> list[str]:
    return [span for span in spans(text) if " " in span and not COMMANDS.match(span)]


def strings_of(source: str) -> Iterator[str]:
    """Every string of a source, with a hole for each value in it; joined where Python joins."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield re.sub(r"\{\w*\}", HOLE, node.value)
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else HOLE for part in node.values)


def all_strings() -> list[str]:
    return [
        text
        for path in sorted((ROOT / "qpidha").rglob("*.py"))
        if not {"testing", "demo"} & set(path.relative_to(ROOT).parts)
        for text in strings_of(path.read_text(encoding="utf-8"))
    ]


STRINGS = all_strings() + [os.strerror(number) for number in errno.errorcode]
"""Of ours, and of the operating system."""


def fits(quotation: str, text: str) -> bool:
    """Whether the parts of a quotation stand in this text, in their order. An ellipsis may stand for a hole."""
    at = 0
    for part in (part.strip() for part in quotation.split(ELLIPSIS)):
        if part and (at := text.find(part, at)) < 0:
            return False
        at += len(part)
    return True


def subclasses(base: type) -> list[type]:
    return [
        found
        for _, found in inspect.getmembers(errors, inspect.isclass)
        if issubclass(found, base) and found.__module__ == errors.__name__
    ]


# --- what is quoted is said ----------------------------------------------------------------------


def test_there_are_quotations() -> None:
    assert len(quotations(page())) > 40


@pytest.mark.parametrize("quotation", sorted(set(quotations(page()))))
def test_every_quotation_is_a_message_of_the_library(quotation: str) -> None:
    parts = [part.strip() for part in quotation.split(ELLIPSIS)]
    assert max(map(len, parts)) >= FRAGMENT_CHARS_MIN, "too little to look for"
    assert any(fits(quotation, text) for text in STRINGS), f"nothing in the sources says {quotation!r}"


def test_fields_and_settings_are_those_that_exist() -> None:
    """A code span that looks like the name of a setting or of a field is one."""
    known = {field.name for shape in (Settings, NodeStatus) for field in dataclasses.fields(shape)}
    known |= {
        "published_as",
        "on_promote",
        "on_demote",
        "on_discarded",
        "on_stopped",
        "on_queue",
        "node_id",
        "wait_stopped",
    }
    named = {span for span in spans(page()) if re.fullmatch(r"[a-z]+(_[a-z0-9]+)+", span)}
    assert named - known == set()
    assert len(named) > 5


def test_commands_are_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """Every command on the page is one that the parser takes, with places filled in."""
    fill = {"DIR…": "d", "DIR": "d", "CLUSTER": "c", "NODE": "n", "N": "5", "S": "5", "QUEUE": "q", "ID": "7"}
    commands = {span for span in spans(page()) if span.startswith("qpidha ")}
    assert len(commands) >= 5
    for command in sorted(commands):
        words = [fill.get(word, word) for word in command.split()[1:]]
        action = tuple(takewhile(lambda word: not word.startswith("-"), words))
        build_parser().parse_args([*words, *NEEDS.get(action, [])])
    assert capsys.readouterr().err == ""


# --- what can be said is on the page -------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        *subclasses(errors.StoreError),
        *subclasses(errors.ClusterError),
        *subclasses(errors.RemoteProtocolError),
        *subclasses(errors.SettingsError),
        errors.PromotionRefused,
        errors.HandOverRefused,
        errors.LinkClosed,
        errors.NotPrimary,
        errors.InDoubt,
        errors.InvariantError,
    ],
    ids=lambda error: error.__name__,
)
def test_each_error_that_an_operator_can_see_is_explained(error: type) -> None:
    assert f"`{error.__name__}`" in page()


@pytest.mark.parametrize("code", [rule.code for rule in START_RULES if rule.verdict is Verdict.REFUSE])
def test_each_reason_to_refuse_a_start_is_explained(code: str) -> None:
    assert f"`{code}`" in page()


def test_each_reason_of_a_ranking_is_explained() -> None:
    """The findings that need a decision; the criteria are in docs/stores.md."""
    source = (ROOT / "qpidha" / "recovery" / "ranking.py").read_text(encoding="utf-8")
    codes = set(re.findall(r"Severity\.(?:ERROR|WARNING),\s*\"([a-z-]+)\"", source))
    assert len(codes) >= 5
    assert {code for code in codes if f"`{code}`" not in page()} == set()
    assert len(CRITERIA) == 6


def test_each_kind_of_no_answer_is_explained() -> None:
    source = inspect.getsource(ask)
    kinds = set(re.findall(r"NoAnswer\(\s*\"([a-z-]+)\"", source))
    assert len(kinds) >= 10
    assert {kind for kind in kinds if f"`{kind}`" not in page()} == set()


def test_each_cause_of_trouble_is_explained() -> None:
    """What stands before the colon in the lines ``trouble: …`` of ``qpidha status``, and in the log."""
    missing = {cause for cause in causes() if f"`{cause}`" not in page()}
    assert missing == set()


def causes() -> set[str]:
    """The names of all kinds of trouble."""
    found = {kind.name for kind in Trouble.__subclasses__()}
    assert len(found) >= 12
    return {cause.replace(EVENT_HOLE, ELLIPSIS) for cause in found}


# --- the checks themselves -----------------------------------------------------------------------


def test_the_checks_find_errors() -> None:
    assert quotations("`a b` `ab` `qpidha status x` \n```\n`x y`\n```") == ["a b"]
    assert list(strings_of("x = f'a {b} c' 'd'")) == ["a \0 cd"] or "a \0 cd" in list(
        strings_of("x = f'a {b} c' 'd'")
    )
    assert "the \0 of" in list(strings_of("x = 'the {node} of'"))
    assert fits("in use by … process", "in use by the process")
    assert fits("is in use by process …", "\0 is in use by process \0")
    assert not fits("in use … by", "by in use")
    assert not any(fits("the store has grown wings", text) for text in STRINGS)
