"""The table of planted bugs fits the code, covers every rule, and the runner tells noticed from not noticed.

All of them take minutes (``make mutants``); here are those checks that take seconds.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.mutants import run
from tests.mutants.copies import ROOT, Copy, is_compiled
from tests.mutants.mutant import Mutant, StaleTableError
from tests.mutants.run import Verdict, Workers, judges_of
from tests.mutants.table import MUTANTS

SAMPLE = next(m for m in MUTANTS if m.name == "record-gone-unnoticed")
HARMLESS = replace(
    SAMPLE,
    name="harmless",
    old="from dataclasses import dataclass,",
    new="from dataclasses import dataclass ,",
)
MANAGER = "tests/unit/core/test_manager.py"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_it_fits_the_code_and_is_code(mutant: Mutant) -> None:
    patched = mutant.patched_file(ROOT)
    assert patched != (ROOT / mutant.file).read_text(encoding="utf-8")
    if not is_compiled(mutant.file):
        compile(patched, mutant.file, "exec")
    assert all((ROOT / path).exists() for path in judges_of(mutant.file))


def test_the_test_that_shall_notice_it_is_run() -> None:
    """A bug whose test is not among those of its file may survive without anybody's fault."""

    def files(path: str) -> list[Path]:
        place = ROOT / path
        return [*place.rglob("*.py"), *place.rglob("*.txt")] if place.is_dir() else [place]

    def is_run(mutant: Mutant) -> bool:
        asked = [file for path in judges_of(mutant.file) for file in files(path)]
        return any(mutant.first in str(file.relative_to(ROOT)) for file in asked) or any(
            f"def {mutant.first}" in file.read_text(encoding="utf-8") for file in asked
        )

    assert [mutant.name for mutant in MUTANTS if mutant.first and not is_run(mutant)] == []


def test_names_are_names() -> None:
    assert [name for name, count in Counter(m.name for m in MUTANTS).items() if count > 1] == []


def test_every_rule_is_broken_by_one() -> None:
    """Each rule of the protocol."""
    protocol = (ROOT / "docs/protocol.md").read_text(encoding="utf-8")
    rules = set(re.findall(r"^- \*\*([A-Z]\d)\*\*", protocol, re.MULTILINE))
    assert len(rules) > 25
    assert rules - {rule for mutant in MUTANTS for rule in mutant.rules.split()} == set()


def test_every_rule_of_the_whole_state_that_the_code_keeps_is_broken_by_one() -> None:
    """The register says which of them only the model has."""
    register = (ROOT / "docs/rules.md").read_text(encoding="utf-8")
    kept = set(
        re.findall(r"^\| \*\*((?:Q|U|TX|EO|OV|LV)\d)\*\* \| [^|]* \| (?!model only)", register, re.MULTILINE)
    )
    assert len(kept) > 20
    assert kept - {rule for mutant in MUTANTS for rule in mutant.rules.split()} == set()


def test_what_does_not_fit_any_more_is_an_error() -> None:
    for old in ("nowhere in this file", "self"):
        with pytest.raises(StaleTableError):
            replace(SAMPLE, old=old).patched_file(ROOT)


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Workers:
    return Workers(tmp_path_factory.mktemp("mutants"), 1)


def test_what_is_noticed_and_what_is_not(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "TESTS", {"qpidha/core/": (MANAGER,)})
    before = (ROOT / SAMPLE.file).read_bytes()
    noticed, missed = workers.verdicts([SAMPLE, HARMLESS], 1)
    assert noticed.test == f"{MANAGER}::test_a_removed_record_is_a_refusal"
    assert noticed.caught
    assert missed == Verdict(HARMLESS)
    assert not missed.caught
    assert (ROOT / SAMPLE.file).read_bytes() == before, "the checkout is not touched"


def test_a_bug_in_compiled_code_is_built_and_taken_out_again(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Into the copy only; a patch that is no Cython is an error, and leaves the copy whole."""
    batch = "tests/unit/wire/test_batch.py"
    monkeypatch.setattr(run, "TESTS", {"qpidha/wire/_batch": (batch,)})
    mutant = next(m for m in MUTANTS if m.name == "equal-by-length")
    (verdict,) = workers.verdicts([mutant], 0)
    assert verdict.test.startswith(batch)
    assert not workers.whole([mutant], 0)
    with pytest.raises(RuntimeError, match="does not compile"):
        list(workers.verdicts([replace(mutant, new="                and and)")], 0))
    assert not workers.whole([mutant], 0)


def test_a_test_that_ends_the_process_has_failed(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    """As compiled code may do that reads what is not its own."""
    monkeypatch.setattr(run, "TESTS", {"qpidha/core/": (MANAGER,)})
    monkeypatch.setattr(run, "NOT_WALKED", ("qpidha/core/",))
    abort = replace(SAMPLE, new="if __import__('os').abort():")
    (verdict,) = workers.verdicts([abort], 1)
    assert verdict.test.startswith(f"{MANAGER}::test_")


def test_walks_count_as_well(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "TESTS", {"qpidha/core/": ()})
    mutant = next(m for m in MUTANTS if m.name == "one-acknowledgement-is-enough")
    (verdict,) = workers.verdicts([mutant], 25)
    assert verdict.seeds
    assert verdict.error.startswith("Violation: ")


def test_code_that_is_broken_already_is_noticed_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else every planted bug would seem to be noticed."""
    monkeypatch.setattr(run, "TESTS", {"qpidha/core/": (MANAGER,)})
    source, place = tmp_path / "source", tmp_path / "copies"
    source.mkdir()
    place.mkdir()
    Copy(source)
    broken = source / SAMPLE.file
    broken.write_text(SAMPLE.patched_file(source), encoding="utf-8")
    assert Workers(place, 1, source).whole([SAMPLE], 1) == [f"{MANAGER}::test_a_removed_record_is_a_refusal"]


def test_what_is_run_first_for_a_bug_exists() -> None:
    """A hint that names nothing costs minutes: all other tests come before the one that notices."""
    known = [path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("*.py")]
    known += [path.name for path in (ROOT / "tests/scenarios").glob("*.txt")]
    known += [
        line
        for path in (ROOT / "tests").rglob("test_*.py")
        for line in path.read_text().split()
        if "test_" in line
    ]
    assert [mutant.name for mutant in MUTANTS if not any(mutant.first in name for name in known)] == []
