"""The register of rules, docs/rules.md, read and compared with what cites it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REGISTER = "docs/rules.md"
LISTS = ("docs/scenarios.md", "docs/divergences.md")
"""Pages that list families of their own, in their own columns: T, A, H; LM, LC."""
CITING = ("qpidha", "tests", "docs", "benchmarks", "examples", "CONTRIBUTING.md", "README.md", "SECURITY.md")
SUFFIXES = (".py", ".pyx", ".md", ".txt")
MODEL_ONLY = "model only"
"""In place of modules: the rule was searched in a model, and the library does not keep it yet."""
LATER = "later"
"""In place of modules and tests: this release does not have what the invariant is about."""

CODE = re.compile(r"(?<![A-Za-z0-9-])(?:R-[a-z]|[A-Z]{1,2}[0-9]{1,2}[a-c]?)(?![A-Za-z0-9])")
WORD = re.compile(r"\b(?!rules?\b|scenarios?\b|and\b)[A-Za-z]{2,}")
WORDS_MIN = 2
RANGE = re.compile(r"(?<![A-Za-z0-9])([A-Z]{1,2})([0-9]{1,2})(?:–| to )\1([0-9]{1,2})(?![A-Za-z0-9])")
LISTED = re.compile(
    r"^\| (?:\*\*)?((?:[TAH][0-9]{2}|L[MC][0-9]+[a-c]?)(?:\*\* … \*\*LC[0-9]+)?)(?:\*\*)? \|", re.MULTILINE
)
NOT_CODES = frozenset({"B1", "B2", "B3", "B4", "U8", "U16", "U32", "U64", "M0", "M66", "R3"})
"""Nodes in scenarios and docs; formats of fields; the beginning of an SVG path; three replicas of a JetStream stream."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the register."""

    code: str
    meaning: str
    kept: tuple[tuple[str, tuple[str, ...]], ...]
    """Modules below qpidha/, without suffix, each with the codes that it must cite."""
    shown: str
    is_later: bool = False


def expanded(text: str) -> str:
    """The text with each range of codes written out: "M1–M3" becomes "M1 M2 M3"."""

    def every(match: re.Match[str]) -> str:
        letter, first, last = match.groups()
        return " ".join(f"{letter}{number:0{len(first)}}" for number in range(int(first), int(last) + 1))

    return RANGE.sub(every, text)


def cited(text: str) -> set[str]:
    """The codes that a text cites."""
    return set(CODE.findall(expanded(text))) - NOT_CODES


def entries(text: str) -> list[Entry]:
    """The rows of the register, in order.

    Raises:
        ValueError: A row has another number of columns, or names a module in a way that is not understood.
    """
    found = []
    for line in text.splitlines():
        if match := re.match(r"\| \*\*([^*]+)\*\* \| (.*) \|$", line):
            columns = match[2].split(" | ")
            if len(columns) not in (2, 3):
                raise ValueError(f"{match[1]}: {len(columns)} columns")
            kept = columns[1] if len(columns) == 3 else ""
            is_later = columns[1:] == [LATER, LATER]
            modules = () if is_later or kept == MODEL_ONLY else tuple(_modules(match[1], kept))
            found.append(Entry(match[1], columns[0], modules, columns[-1], is_later))
    return found


def _modules(code: str, column: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    for part in re.split(r", (?=`)", column) if column else ():
        match = re.fullmatch(r"`([a-z_/]+)`(?: \(([^)]*)\))?", part)
        if match is None:
            raise ValueError(f"{code}: {part!r} is no module")
        yield match[1], tuple(match[2].split(", ")) if match[2] else (code,)


def listed(text: str) -> list[str]:
    """The codes that another page lists, one in each row; "LC1 … LC5" stands for all of them."""
    found = []
    for row in LISTED.findall(text):
        first, *last = row.split("** … **")
        number = int(first[2:]) if last else 0
        found += [f"LC{n}" for n in range(number, int(last[0][2:]) + 1)] if last else [first]
    return found


def twice(codes: Iterable[str]) -> list[str]:
    """What stands more than once."""
    return [f"{code} stands {count} times" for code, count in Counter(codes).items() if count > 1]


def unknown(texts: Mapping[str, str], known: set[str]) -> list[str]:
    """Citations, by file and line, of codes that are in no register."""
    return [
        f"{path}:{number}: {code}"
        for path, text in texts.items()
        for number, line in enumerate(text.splitlines(), 1)
        for code in sorted(cited(line) - known)
    ]


def bare(texts: Mapping[str, str]) -> list[str]:
    """One-line docstrings, and comments of the library, that cite a code and say nothing in words."""
    found = []
    for path, text in texts.items():
        for number, line in enumerate(text.splitlines(), 1):
            comment = re.search(r"(?:^|\s)#\s(.*)$", line) if path.startswith("qpidha/") else None
            said = re.search(r'"""(.+?)(?:"""|$)', line) or comment
            if said and cited(said[1]) and len(WORD.findall(CODE.sub("", said[1]))) < WORDS_MIN:
                found.append(f"{path}:{number}: {line.strip()}")
    return found


def uncited(register: Iterable[Entry], texts: Mapping[str, str]) -> list[str]:
    """Entries that no code and no test cites."""
    by_any: set[str] = set().union(*map(cited, texts.values()))
    return [
        f"{entry.code} is cited nowhere"
        for entry in register
        if not entry.is_later and entry.code not in by_any
    ]


def unkept(register: Iterable[Entry], texts: Mapping[str, str]) -> list[str]:
    """Modules that are named and are not there, or do not cite what they are named for."""
    found = []
    for entry in register:
        for module, codes in entry.kept:
            text = texts.get(f"qpidha/{module}.py", texts.get(f"qpidha/{module}.pyx"))
            if text is None:
                found.append(f"{entry.code}: there is no {module}")
            else:
                found += [
                    f"{entry.code}: {module} does not cite {code}"
                    for code in codes
                    if code not in cited(text)
                ]
    return found


def unshown(
    register: Iterable[Entry], known: set[str], tests: set[str], switches: Mapping[str, str]
) -> list[str]:
    """What is said to show a rule and is no scenario, test or switch of the model."""
    found = []
    for entry in register:
        if entry.is_later:
            continue
        head, rest = re.fullmatch(r"(?:model (`[^;]*`)(?:; |$))?(.*)", entry.shown).groups("")  # type: ignore[union-attr]
        names = re.findall(r"`(\w+)`", head)
        found += [f"{entry.code}: the model has no switch {name}" for name in names if name not in switches]
        for item in rest.split(", ") if rest else ():
            test = re.fullmatch(r"`([\w/]+)`", item)
            if not (f"tests/{test[1]}.py" in tests if test else item in known):
                found.append(f"{entry.code}: {item} is neither a scenario nor a test")
        if not (names or rest):
            found.append(f"{entry.code} is shown by nothing")
    return found


def unlisted(register: Iterable[Entry], switches: Mapping[str, str]) -> list[str]:
    """Switches of the model that are not named at a rule that they remove."""
    shown = {entry.code: set(re.findall(r"`(\w+)`", entry.shown.partition(";")[0])) for entry in register}
    return [
        f"{code}: {name} is not named"
        for name, codes in switches.items()
        for code in codes.split()
        if name not in shown.get(code, ())
    ]


def sources(root: Path = ROOT) -> dict[str, str]:
    """The text of everything that may cite a rule, by path."""
    files: list[Path] = []
    for place in CITING:
        path = root / place
        files += [path] if path.is_file() else sorted(path.rglob("*"))
    return {
        path.relative_to(root).as_posix(): path.read_text(encoding="utf-8")
        for path in files
        if path.is_file() and path.suffix in SUFFIXES and "corpus" not in path.parts
    }
