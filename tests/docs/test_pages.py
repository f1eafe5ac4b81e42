"""The examples of the pages run, and every example imports names where the documentation says they are."""

from __future__ import annotations

import ast
import asyncio
import doctest
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from qpidha import Node, Queue

ROOT = Path(__file__).resolve().parents[2]

PUBLIC = frozenset(
    "qpidha qpidha.addresses qpidha.bridge qpidha.broker qpidha.clusterfile qpidha.core qpidha.driver qpidha.errors "
    "qpidha.events qpidha.interfaces qpidha.journal qpidha.promoters qpidha.queues qpidha.records qpidha.recovery "
    "qpidha.seq qpidha.stores qpidha.testing qpidha.testing.conformance qpidha.testing.rehearsal qpidha.transports "
    "qpidha.logs qpidha.service qpidha.tracing qpidha.types qpidha.web qpidha.wire qpidha.wire.events".split()
)
"""Where embedders import from. What is elsewhere may move in any release."""

PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "examples").glob("*/README.md")),
]
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


def sources() -> Iterator[tuple[str, str]]:
    """All Python that a reader may copy: (where it is, its text)."""
    for page in PAGES:
        for block in BLOCK.findall(page.read_text()):
            prompts = [line[4:] for line in block.splitlines() if line[:4] in (">>> ", "... ")]
            yield str(page.relative_to(ROOT)), "\n".join(prompts) if prompts else block
    for path in sorted((ROOT / "examples").rglob("*.py")):
        yield str(path.relative_to(ROOT)), path.read_text()


def imported(text: str) -> Iterator[tuple[str, str]]:
    """What a text imports from this library: (module, name)."""
    try:
        tree = ast.parse(text)
    except SyntaxError:  # A fragment, such as a method without its class: its imports are lines of their own.
        tree = ast.parse(
            "\n".join(line for line in text.splitlines() if line.startswith(("from ", "import ")))
        )
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "qpidha":
            yield from ((str(node.module), alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.split(".")[0] == "qpidha")


ALL = sorted({(where, *found) for where, text in sources() for found in imported(text)})


@pytest.mark.parametrize(("where", "module", "name"), ALL)
def test_an_example_imports_from_a_public_module(where: str, module: str, name: str) -> None:
    whole = f"{module}.{name}"
    assert module in PUBLIC or whole in PUBLIC, f"{where} imports {whole}"
    assert not name or whole in PUBLIC or hasattr(importlib.import_module(module), name)


def test_each_name_is_imported_from_one_place() -> None:
    """Or a reader of two pages asks which of them is right."""
    homes: dict[str, set[str]] = {}
    for _, module, name in ALL:
        homes.setdefault(name, set()).add(module)
    assert {name: sorted(found) for name, found in homes.items() if name and len(found) > 1} == {}


def test_the_public_modules_are_there_and_say_what_they_export() -> None:
    for module in PUBLIC:
        found = importlib.import_module(module)
        for name in getattr(found, "__all__", ()):
            assert hasattr(found, name), f"{module}.{name}"


@pytest.mark.parametrize("page", ["docs/parts.md"])
def test_the_examples_of_a_page_run(page: str) -> None:
    found = doctest.testfile(str(ROOT / page), module_relative=False)
    assert found.attempted > 20
    assert found.failed == 0


@pytest.mark.parametrize(
    ("page", "blocks_min"),
    [
        ("docs/configuration.md", 9),
        ("docs/queue-types.md", 7),
        ("docs/levels.md", 5),
        ("docs/embedding.md", 4),
        ("docs/why.md", 3),
        ("docs/records.md", 2),
        ("docs/monitoring.md", 3),
        ("docs/service.md", 1),
    ],
)
def test_the_blocks_of_a_page_run_one_after_the_other(page: str, blocks_min: int) -> None:
    """As in ``python -m asyncio``. They assert what they say, so they must reach their end."""
    blocks = BLOCK.findall((ROOT / page).read_text())
    assert len(blocks) >= blocks_min

    async def main() -> None:
        names: dict[str, object] = {"__name__": "page"}
        for block in blocks:
            code = compile(block, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            if (waiting := eval(code, names)) is not None:
                await waiting

    asyncio.run(asyncio.wait_for(main(), 240))


@pytest.mark.parametrize("page", ["docs/conformance.md", "docs/threads.md"])
def test_the_blocks_of_a_page_without_asyncio_run_one_after_the_other(
    page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a Python prompt, in the directory of the example."""
    monkeypatch.syspath_prepend(ROOT / "examples" / "simple")
    blocks = BLOCK.findall((ROOT / page).read_text())
    assert len(blocks) > 6
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, page, "exec"), names)


def test_what_pages_call_on_a_node_or_a_queue_is_there() -> None:
    """A method that is documented must not go with a change of the code behind it."""
    faces = {"node": Node, "Node": Node, "queue": Queue, "Queue": Queue}
    missing = {
        f"{page.relative_to(ROOT)}: {name}.{method}"
        for page in PAGES
        for name, method in re.findall(r"(?<![\w./-])(node|Node|queue|Queue)\.([a-z]\w*)\(", page.read_text())
        if not hasattr(faces[name], method)
    }
    assert missing == set()


# --- tables ----------------------------------------------------------------------------------------------


def headless(text: str) -> list[int]:
    """The lines where rows of a table begin that have no heading: after an empty line, say. They are shown as text."""
    lines = [
        "",
        *re.sub(r"```.*?```", lambda block: "\n" * block[0].count("\n"), text, flags=re.DOTALL).split("\n"),
    ]
    first = [n for n, line in enumerate(lines) if line.startswith("|") and not lines[n - 1].startswith("|")]
    return [n for n in first if not re.fullmatch(r"\|[-:| ]+\|", lines[n + 1])]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_table_has_a_heading(page: Path) -> None:
    assert headless(page.read_text(encoding="utf-8")) == []


def test_rows_without_a_heading_are_found() -> None:
    assert headless("| a | b |\n|---|--:|\n| 1 | 2 |\n\n| 3 | 4 |\n\n```\n| no table\n```\n") == [5]
