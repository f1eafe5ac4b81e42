"""Each code that is cited anywhere means one thing, and docs/rules.md says what, where it is kept and what shows it."""

from __future__ import annotations

import re

import pytest

from tests.docs import register
from tests.docs.register import Entry, cited, entries, listed, sources
from tests.model.model import RULES as SWITCHES
from tests.model.state.rules import RULES as STATE_SWITCHES
from tests.mutants.table import MUTANTS

TEXTS = sources()
REGISTER = entries(TEXTS[register.REGISTER])
LISTED = [code for page in register.LISTS for code in listed(TEXTS[page])]
KNOWN = {entry.code for entry in REGISTER} | set(LISTED)
CODE = {path: text for path, text in TEXTS.items() if path.startswith(("qpidha/", "tests/"))}
NOT_SCANNED = {"tests/docs/test_rules.py"}
"""Has made-up codes."""
PAGES = ("docs/protocol.md", "docs/state-protocol.md", "docs/invariants.md", "docs/wire.md", "docs/names.md")
REMOVES = {name: codes for name, (codes, _) in (*SWITCHES.items(), *STATE_SWITCHES.items())}


def assert_nothing(problems: list[str]) -> None:
    assert not problems, "\n".join(problems)


def test_each_code_stands_once() -> None:
    assert_nothing(register.twice([*(entry.code for entry in REGISTER), *LISTED]))


def test_every_citation_is_of_a_code_that_is_registered() -> None:
    texts = {path: text for path, text in TEXTS.items() if path not in NOT_SCANNED}
    assert_nothing(register.unknown(texts, KNOWN))


def test_what_cites_a_rule_says_it_in_words_too() -> None:
    code = {
        path: text
        for path, text in CODE.items()
        if path.endswith((".py", ".pyx")) and path not in NOT_SCANNED
    }
    assert_nothing(register.bare(code))


def test_every_entry_is_cited_by_code_or_tests() -> None:
    texts = {path: text for path, text in CODE.items() if path not in NOT_SCANNED}
    assert_nothing(register.uncited(REGISTER, texts))


def test_modules_that_keep_a_rule_cite_it() -> None:
    assert_nothing(register.unkept(REGISTER, CODE))


def test_what_shows_a_rule_is_there() -> None:
    assert_nothing(register.unshown(REGISTER, set(LISTED), set(TEXTS), REMOVES))


def test_a_switch_of_both_models_removes_the_same_rule() -> None:
    assert {n for n in set(SWITCHES) & set(STATE_SWITCHES) if SWITCHES[n][0] != STATE_SWITCHES[n][0]} == set()


def test_every_switch_of_the_model_is_named_at_its_rules() -> None:
    assert_nothing(register.unlisted(REGISTER, REMOVES))


def test_planted_bugs_break_what_is_registered() -> None:
    unknown = {
        f"{mutant.name}: {code}" for mutant in MUTANTS for code in mutant.rules.split() if code not in KNOWN
    }
    assert unknown == set()


def test_each_rule_has_its_precise_text_on_the_page_of_its_family() -> None:
    codes = r"[MPOCJKNWGSIFXDLZVQU][0-9]|(?:TX|EO|OV|LV)[0-9]|R-[a-z]"
    rows = re.compile(rf"^(?:- |\| )\*\*({codes})\*\*", re.MULTILINE)
    defined = [code for page in PAGES for code in rows.findall(TEXTS[page])]
    assert_nothing(register.twice(defined))
    families = re.compile(r"[^BEJ][-0-9a-z]{1,2}|J[0-9]|[A-Z]{2}[0-9]")
    assert set(defined) == {entry.code for entry in REGISTER if families.fullmatch(entry.code)}


def test_the_table_of_planted_bugs_names_the_same_rules() -> None:
    rows = re.findall(
        r"^\| ([a-z][a-z0-9'-]+) \| ([A-Z][A-Za-z0-9 -]*) \| ", TEXTS["docs/testing.md"], re.MULTILINE
    )
    assert dict(rows) == {mutant.name: mutant.rules for mutant in MUTANTS}


def test_families_are_told_apart_by_their_letters_and_digits() -> None:
    """T4 and T04 would be two things."""
    digits: dict[str, set[int]] = {}
    for code in KNOWN:
        if code[1] != "-":
            family = code.rstrip("0123456789abc")
            digits.setdefault(family, set()).add(len(code[len(family) :].rstrip("abc")))
    assert {family for family, lengths in digits.items() if len(lengths) > 1} == set()


# --- the check finds what is wrong: made-up offenders --------------------------------------------------

ROW = "| **Y1** | what it says | `core/made` (Y1, Y2) | model `made_up`; T98, `unit/test_made` |"
ENTRY = Entry("Y1", "what it says", (("core/made", ("Y1", "Y2")),), "model `made_up`; T98, `unit/test_made`")


def test_a_row_is_read() -> None:
    assert entries(f"# Title\n\n{ROW}\n| other | table |\n") == [ENTRY]
    assert entries("| **Y3** | input | `unit/test_made` |") == [Entry("Y3", "input", (), "`unit/test_made`")]
    assert entries("| **Y3** | rule | model only | model `made_up` |") == [
        Entry("Y3", "rule", (), "model `made_up`")
    ]
    assert entries("| **Y4** | no such thing | later | later |")[0].is_later


@pytest.mark.parametrize("row", ["| **Y1** | alone |", "| **Y1** | a | somewhere | `unit/test_made` |"])
def test_a_row_that_is_not_understood_is_an_error(row: str) -> None:
    with pytest.raises(ValueError, match="Y1"):
        entries(row)


def test_pages_that_list_codes_are_read() -> None:
    assert listed("| T98 | a trace | `x` |\n| **LM8a** | a limit |\n| **LC1** … **LC3** | config |\n") == [
        "T98",
        "LM8a",
        "LC1",
        "LC2",
        "LC3",
    ]


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("kept here (Y1, R-z)", {"Y1", "R-z"}),
        ("Y1–Y3 and Y8 to Y9", {"Y1", "Y2", "Y3", "Y8", "Y9"}),
        ("E97–E99:", {"E97", "E98", "E99"}),
        ("test_T98_name and `T97_file.txt`", {"T98", "T97"}),
        ("B1 -> B2, U64, UTF8x, 0xA1B, M613.5, noqa: S311", set()),
    ],
)
def test_citations_are_found(text: str, codes: set[str]) -> None:
    assert cited(text) == codes


def test_a_bare_citation_is_found() -> None:
    lines = [
        '"""Y1."""',
        '"""Scenario T98 and rule Y1."""',
        '"""One session (Y1)."""',
        "x = 1  # Y1",
        "x = 1  # One session (Y1).",
    ]
    text = "\n".join(lines)
    assert register.bare({"qpidha/a.py": text}) == [f"qpidha/a.py:{n}: {lines[n - 1]}" for n in (1, 2, 4)]
    assert len(register.bare({"tests/a.py": text})) == 2


def test_offenders_are_named() -> None:
    assert register.twice(["Y1", "Y2", "Y1"]) == ["Y1 stands 2 times"]
    assert register.unknown({"a.py": "x\n# see Y1, Y2\n"}, {"Y2"}) == ["a.py:2: Y1"]
    assert register.uncited([ENTRY], {"a.py": "Y2"}) == ["Y1 is cited nowhere"]
    assert register.unkept([ENTRY], {}) == ["Y1: there is no core/made"]
    assert register.unkept([ENTRY], {"qpidha/core/made.pyx": "(Y1)"}) == ["Y1: core/made does not cite Y2"]
    assert register.unshown([ENTRY], set(), set(), {}) == [
        "Y1: the model has no switch made_up",
        "Y1: T98 is neither a scenario nor a test",
        "Y1: `unit/test_made` is neither a scenario nor a test",
    ]
    assert register.unshown([Entry("Y2", "", (), "")], set(), set(), {}) == ["Y2 is shown by nothing"]
    assert register.unlisted([ENTRY], {"made_up": "Y1", "another": "Y1"}) == ["Y1: another is not named"]


def test_what_is_in_order_is_no_offender() -> None:
    assert register.unkept([ENTRY], {"qpidha/core/made.py": "(Y1–Y2)"}) == []
    assert register.unshown([ENTRY], {"T98"}, {"tests/unit/test_made.py"}, {"made_up": "Y1"}) == []
    assert register.unlisted([ENTRY], {"made_up": "Y1"}) == []
