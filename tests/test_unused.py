"""Every public name of the library has a caller in the library, or a page or an example that shows it.

Method: names are compared as words, without types, so a name that is used for two things is not found. What is left is
an interface that others implement, or is listed below with its reason.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "qpidha"

SHOWN_BY_DOCSTRINGS = {
    "ListeningBroker": "an optional power of the embedder's broker: detected by its method",
    "EndingBroker": "an optional power of the embedder's broker: detected by its method",
    "inode": "a field that makes two values differ",
    "PollingRecordStore": "an optional power of a record store: detected by its method",
    "eof_received": "what asyncio calls",
} | dict.fromkeys(
    "AUTO_FOCUS CSS ENABLE_COMMAND_PALETTE on_mount on_unmount on_input_submitted action_choose action_hand_over "
    "action_promote action_why action_leave action_interrupt".split(),
    "what textual looks for",
)
"""Names without a caller, and why they are there."""


def sources() -> Iterator[Path]:
    """The library without its tools for testing, which users call, and the test that ``qpidha new`` writes for them."""
    tests = {"testing", "test_broker.py"}
    return (path for path in PACKAGE.rglob("*.py") if not tests & set(path.parts))


def words_of(paths: Iterable[Path]) -> Counter[str]:
    """How often each word stands in code; docstrings and comments do not count, and imports and ``__all__`` neither."""
    found: Counter[str] = Counter()
    for path in paths:
        if path.suffix == ".pyx":
            found.update(re.findall(r"\w+", path.read_text()))
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Name):
                found[node.id] += 1
            elif isinstance(node, ast.Attribute):
                found[node.attr] += 1
            elif isinstance(node, ast.keyword) and node.arg:
                found[node.arg] += 1
            elif isinstance(node, ast.MatchClass):
                found.update(node.kwd_attrs)
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "hasattr"):
                found.update(a.value for a in node.args[1:2] if isinstance(a, ast.Constant))
    return found


def shown() -> set[str]:
    """All words of the pages and the examples."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").rglob("*.*")]
    return {
        word
        for page in pages
        if page.suffix in (".md", ".py")
        for word in re.findall(r"\w+", page.read_text())
    }


def defined(body: list[ast.stmt]) -> Iterator[tuple[str, bool]]:
    """The public names of a module and its classes, and whether the definition counts as one use."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name, False
        elif isinstance(node, ast.Assign):
            yield from ((target.id, True) for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, True
        if isinstance(node, ast.ClassDef):
            yield from defined(node.body)


def unused(text: str, used: Counter[str], known: set[str]) -> list[str]:
    return [
        name
        for name, counts in defined(ast.parse(text).body)
        if not name.startswith("_") and used[name] <= counts and name not in known
    ]


def test_every_public_name_is_used_or_shown() -> None:
    product = list(sources())
    used = words_of([*product, *PACKAGE.rglob("*.pyx")])
    known = shown() | SHOWN_BY_DOCSTRINGS.keys()
    found = {str(path.relative_to(ROOT)): unused(path.read_text(), used, known) for path in product}
    assert {path: names for path, names in found.items() if names} == {}


def test_a_reason_is_not_kept_for_a_name_that_is_used_or_gone() -> None:
    product = list(sources())
    used = words_of([*product, *PACKAGE.rglob("*.pyx")])
    left = {name for path in product for name in unused(path.read_text(), used, shown())}
    assert SHOWN_BY_DOCSTRINGS.keys() <= left


def test_a_name_without_a_caller_is_found() -> None:
    """Or the rule would have gone blind."""
    text = "LIMIT = 1\nclass Lonely:\n    field: int = 2\n    def method(self): return LIMIT\n"
    assert unused(text, Counter(LIMIT=2, field=1, method=0), {"method"}) == ["Lonely", "field"]
