"""Public names of compiled modules and of their stubs have docstrings, and every example in a docstring is true.

For Python files ruff demands docstrings (D100 to D104); it reads neither .pyx files nor, for this, stubs.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import re
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
STUBS = sorted((ROOT / "qpidha").rglob("*.pyi"))
COMPILED = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in STUBS]
SOURCES = sorted(path for path in (ROOT / "qpidha").rglob("*.py") if ">>> " in path.read_text())


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def described(thing: object) -> bool:
    """Return whether a docstring has more than the signature that Cython adds to it."""
    text = getattr(thing, "__doc__", None) or ""
    return bool(re.sub(r"\A[\w.]+\([^\n]*(\n|\Z)", "", text).strip())


def undocumented(module: ModuleType) -> list[str]:
    missing = [] if described(module) else [module.__name__]
    for name in getattr(module, "__all__", [n for n in vars(module) if not n.startswith("_")]):
        thing = getattr(module, name)
        missing += [] if described(thing) else [name]
        if isinstance(thing, type):
            members = {n: m for n, m in vars(thing).items() if not n.startswith("_")}
            missing += [f"{name}.{n}" for n, m in members.items() if not described(m)]
    return missing


def undocumented_in_stub(tree: ast.Module | ast.ClassDef) -> list[str]:
    missing = []
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("__"):
            missing += [] if ast.get_docstring(node) else [node.name]
            if isinstance(node, ast.ClassDef):
                missing += [f"{node.name}.{name}" for name in undocumented_in_stub(node)]
    return missing


SECTION = re.compile(r"\s*(?:Args|Raises|Raises, when awaited|Returns|Yields):")
COLUMNS = re.compile(r"(?!>>>|\.\.\.)\S.*\S {2,}\S")
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
PYTHON = sorted(path for suffix in ("*.py", "*.pyi", "*.pyx") for path in (ROOT / "qpidha").rglob(suffix))


def flat_sections(text: str) -> list[int]:
    """Return the numbers of the lines that follow the title of a section and are not indented below it."""
    lines = text.splitlines()
    return [
        number + 1
        for number, (title, entry) in enumerate(pairwise(lines), 1)
        if SECTION.fullmatch(title) and indent(entry) <= indent(title)
    ]


def indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def test_the_entries_of_a_section_are_indented() -> None:
    """Otherwise documentation tools show them as running text."""
    flat = {str(path.relative_to(ROOT)): flat_sections(path.read_text(encoding="utf-8")) for path in PYTHON}
    assert {path: found for path, found in flat.items() if found} == {}
    assert flat_sections("    Raises:\n        A: x\n\n    Args:\n    b: y\n") == [5]


def flat_tables(text: str) -> list[str]:
    """Return the lines of docstrings that are laid out in columns and stand in prose without an indent.

    A docstring that has nothing but a table below its first line is flat: the formatter lays it out so.
    """
    found = []
    for node in ast.walk(ast.parse(text)):
        lines = (ast.get_docstring(node) or "").splitlines()[1:] if isinstance(node, DOCUMENTED) else []
        tables = [line for line in lines if COLUMNS.match(line)]
        prose = [line for line in lines if line.strip() and line not in tables]
        found += tables if prose else []
    return found


def test_tables_in_docstrings_are_indented() -> None:
    """Otherwise documentation tools join their lines."""
    flat = {
        str(p.relative_to(ROOT)): flat_tables(p.read_text(encoding="utf-8"))
        for p in PYTHON
        if p.suffix == ".py"
    }
    assert {path: found for path, found in flat.items() if found} == {}
    assert flat_tables('"""Text.\n\nname   what it is\n    other  what it is\n"""') == ["name   what it is"]


@pytest.mark.parametrize("name", COMPILED)
def test_public_names_of_a_compiled_module_have_docstrings(name: str) -> None:
    assert undocumented(importlib.import_module(name)) == []


@pytest.mark.parametrize("path", STUBS, ids=COMPILED)
def test_names_in_a_stub_have_docstrings(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    assert undocumented_in_stub(tree) == []


def test_a_missing_docstring_is_found() -> None:
    module = ModuleType("m", "Something.")
    module.__dict__.update(__all__=["f", "C"], f=lambda: None, C=type("C", (), {"m": lambda self: None}))
    assert undocumented(module) == ["f", "C", "C.m"]
    stub = ast.parse("def f() -> None: ...\nclass C:\n    '''C.'''\n    def m(self) -> None: ...")
    assert undocumented_in_stub(stub) == ["f", "C.m"]


@pytest.mark.parametrize("name", sorted({*COMPILED, *map(name_of, SOURCES)}))
def test_the_examples_in_docstrings_are_true(name: str) -> None:
    failed, attempted = doctest.testmod(importlib.import_module(name))
    assert failed == 0
    assert attempted > 0 or name not in map(name_of, SOURCES)  # Else the docstrings were not found.
