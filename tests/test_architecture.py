"""The import direction of the library, its purity and its sizes are as CONTRIBUTING.md says.

Method: every source is parsed, none is imported. Python goes through ``ast``, Cython through its import
lines. An import counts wherever it stands: in a function or under TYPE_CHECKING too, for an annotation is
knowledge as well. Each rule is also given made-up offenders, so that it cannot go blind unnoticed.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "qpidha"

# --- what is allowed -----------------------------------------------------------------------------

LAYERS: dict[str, str] = {
    "_seq": "base", "_serial": "base", "seq": "base",
    "types": "base", "errors": "base", "checks": "base", "wildcard": "base", "settings": "base",
    "ordered": "base", "addresses": "base", "durations": "base", "status": "base", "events": "base", "values": "base",
    "amounts": "base",
    "wire": "wire",
    "journal": "journal",
    "core": "core",
    "interfaces": "interfaces", "broker": "interfaces",
    "system": "system", "logs": "system", "compiled": "system",
    "recovery": "recovery",
    "transports": "transports", "records": "records", "promoters": "promoters", "stores": "stores",
    "queues": "queues",
    "cluster": "root", "clusterfile": "root", "tracing": "tracing",
    "driver": "driver",
    "bridge": "bridge",
    "engines": "engines",
    "node": "node",
    "web": "web",
    "service": "service",
    "testing": "testing",
    "ocf": "ocf", "skeleton": "skeleton",
    "cli": "top", "demo": "top", "__main__": "top",
    "": "root",
}  # fmt: skip
"""Which layer each module or package directly under ``qpidha`` belongs to; "" is the package itself."""

SHARED = frozenset({"base", "wire", "journal"})
BELOW_NODE = SHARED | {
    "core", "recovery", "interfaces", "system", "transports", "records", "promoters", "stores", "queues", "driver",
    "bridge",
}  # fmt: skip

MAY_IMPORT: dict[str, frozenset[str]] = {
    "base": frozenset(),
    "wire": frozenset({"base"}),
    "journal": frozenset({"base", "wire"}),
    "core": SHARED,
    "recovery": SHARED,
    "interfaces": SHARED,
    "system": frozenset({"base"}),
    "transports": SHARED | {"interfaces", "system"},
    "records": SHARED | {"interfaces", "system"},
    "promoters": SHARED | {"interfaces"},
    "stores": SHARED | {"interfaces", "system"},
    "queues": SHARED | {"interfaces"},
    "engines": SHARED | {"records"},
    "driver": SHARED | {"core", "interfaces"},
    "bridge": SHARED | {"core", "interfaces", "system"},
    "node": SHARED | {"core", "recovery", "interfaces", "system", "driver", "bridge", "queues"},
    "web": SHARED | {"interfaces", "system", "node"},
    "service": SHARED | {"system", "node", "root"},
    "testing": BELOW_NODE,
    "skeleton": BELOW_NODE | {"node", "root", "service", "testing"},
    "root": BELOW_NODE | {"node"},
    "ocf": frozenset(),
    "tracing": SHARED,
    "top": BELOW_NODE | {"node", "root", "engines", "ocf", "skeleton"},
}
"""Which other layers each layer may import; its own it always may. Nobody imports testing, but the test that ``qpidha
new`` writes: the skeleton's modules are read as text, and imported by nobody."""

COMMANDS = frozenset({("qpidha/cli/options.py", "qpidha.testing.command.run")})
"""But for these: a command of the library that *is* testing. Inside a function, so that no other pays for it."""

PURE = frozenset({"base", "wire", "journal", "core", "recovery"})
"""Layers that do nothing to the world: time and randomness are arguments, effects are return values."""

IMPURE_MODULES = frozenset(
    "asyncio concurrent datetime fcntl glob http importlib io logging mmap multiprocessing os pathlib queue "
    "random sched secrets select selectors shutil signal socket socketserver sqlite3 ssl subprocess tempfile "
    "threading time urllib _thread _random _socket _ssl".split()
)
IMPURE_NAMES = frozenset(
    {"open", "print", "input", "exec", "eval", "__import__", "uuid1", "uuid4", "getnode"}
)
IMPURE_CYTHON = re.compile(r"^(libc\.(time|stdio)|posix|openmp|cython\.parallel)(\.|$)")

THIRD_PARTY: dict[str, frozenset[str]] = {
    "msgpack": frozenset(MAY_IMPORT),
    "sortedcontainers": frozenset(MAY_IMPORT),
    "aiohttp": frozenset({"records", "web"}),
    "kazoo": frozenset({"records"}),
    "prometheus_client": frozenset({"web"}),
    "tomli": frozenset({"root"}),
    "asyncpg": frozenset({"records"}),
    "uvloop": frozenset({"node", "top"}),
    "matplotlib": frozenset({"top"}),
    "textual": frozenset({"top"}),
    "opentelemetry": frozenset({"tracing"}),
    "hypothesis": frozenset({"testing"}),
    "pytest": frozenset({"testing", "skeleton"}),
}
"""Packages from elsewhere, and the layers that may know them. We depend on the first two; on Python 3.10 on tomli too."""

LINES_MAX = 350
LONGER_FOR_A_REASON: dict[str, str] = {
    "qpidha/core/replica.py": "every input of the core enters here; the roles it delegates to have files of their own",
    "qpidha/ocf/agent.py": "Pacemaker runs it as one file; a quarter of it is its description in XML",
}
"""Files over the limit, with the reason why they are better whole. Splitting is better than an entry."""

STRANGERS: dict[str, tuple[str, ...]] = {
    "qpidha.core.primary": ("qpidha.core.backup", "qpidha.core.replica", "qpidha.recovery"),
    "qpidha.core.backup": ("qpidha.core.primary", "qpidha.core.replica", "qpidha.recovery"),
    "qpidha.core": ("qpidha.recovery",),
}
"""Packages, and what nothing in them may import: the two roles know neither each other nor who joins them."""

UNIT_TESTED = ("qpidha/core/", "qpidha/node/", "qpidha/driver.py")
"""What has a unit test file for each module, at the same place under ``tests/unit``."""

# --- how it is checked ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """One file: where it is, relative to the repository, and what it says."""

    path: str
    text: str

    @property
    def parts(self) -> tuple[str, ...]:
        """The dotted name, split: ("qpidha", "core", "guard")."""
        parts = Path(self.path).with_suffix("").parts
        return parts[:-1] if parts[-1] == "__init__" else parts

    @property
    def package(self) -> tuple[str, ...]:
        """The package that relative imports of this file start from."""
        return Path(self.path).parts[:-1]

    @property
    def layer(self) -> str | None:
        return layer_of(".".join(self.parts))

    @property
    def is_cython(self) -> bool:
        return self.path.endswith((".pyx", ".pxd", ".pxi"))


@dataclass(frozen=True)
class Import:
    """One imported name, as far as it may be a module: ``from a import b`` gives ``a.b``."""

    line: int
    name: str
    for_types_only: bool = False
    dynamic: bool = False
    local: bool = False
    """Not at the top of the file."""


def layer_of(name: str) -> str | None:
    """The layer of a dotted name; None if it is not ours or nobody has given it one."""
    head, _, rest = name.partition(".")
    if head != "qpidha":
        return None
    return LAYERS.get(rest.partition(".")[0])


def imports(source: Source) -> list[Import]:
    return list(_cython_imports(source) if source.is_cython else _python_imports(source))


def _python_imports(source: Source) -> Iterator[Import]:
    tree = ast.parse(source.text, source.path)
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for branch in node.body
        for inner in ast.walk(branch)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, alias.name, id(node) in for_types)
        elif isinstance(node, ast.ImportFrom):
            base = node.module.split(".") if node.module else []
            if node.level:
                base = [*source.package[: len(source.package) - node.level + 1], *base]
            for alias in node.names:
                name, local = _joined(".".join(base), alias.name), node.col_offset > 0
                yield Import(node.lineno, name, id(node) in for_types, local=local)
        elif isinstance(node, ast.Call) and _called(node) in {"import_module", "__import__"}:
            yield Import(node.lineno, _dynamic_target(node, source), dynamic=True)


def _joined(base: str, name: str) -> str:
    """``from qpidha import core`` means the layer, ``from qpidha import Node`` the package itself."""
    if base == "qpidha" and name not in LAYERS:
        return base
    return f"{base}.{name}"


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _dynamic_target(node: ast.Call, source: Source) -> str:
    """What an ``import_module`` call loads, when that can be read; else "?"."""
    if not node.args:
        return "?"
    text = ast.unparse(node.args[0])
    if isinstance(node.args[0], ast.JoinedStr) and "{__name__}." in text:
        return ".".join(source.parts)
    found = re.match(r"^f?['\"]([A-Za-z_][\w.]*)", text)
    return found[1].rstrip(".") if found else "?"


_CYTHON_IMPORT = re.compile(r"^\s*(?:from\s+([\w.]+)\s+c?import\s+\(?\s*([\w, ]*)|c?import\s+([\w.]+))")


def _cython_imports(source: Source) -> Iterator[Import]:
    for line, text in enumerate(source.text.splitlines(), 1):
        if not (found := _CYTHON_IMPORT.match(text)):
            continue
        base, names, whole = found.groups()
        if whole:
            yield Import(line, whole)
            continue
        if base.startswith("."):
            level = len(base) - len(base.lstrip("."))
            base = ".".join([*source.package[: len(source.package) - level + 1], base.lstrip(".")]).rstrip(
                "."
            )
        for name in (names or "*").split(","):
            yield Import(line, _joined(base, name.split()[0] if name.split() else "*"))


def wrong_directions(source: Source) -> list[str]:
    """Imports that go up, sideways, or to something that has no layer yet."""
    here = source.layer
    if here is None:
        return [f"{source.path}: has no layer; give it one in LAYERS"]
    faults = []
    for found in imports(source):
        if found.name.split(".")[0] != "qpidha":
            continue
        there = layer_of(found.name)
        if there is None:
            faults.append(f"{source.path}:{found.line}: {found.name} has no layer")
        elif (source.path, found.name) in COMMANDS and found.local:
            continue
        elif there != here and there not in MAY_IMPORT[here]:
            faults.append(f"{source.path}:{found.line}: {here} may not import {there} ({found.name})")
    return faults


def impurities(source: Source) -> list[str]:
    """What pure layers have no business with: the clock, chance, threads, files, sockets, logs."""
    if source.layer not in PURE:
        return []
    faults = []
    for found in imports(source):
        head, last = found.name.split(".")[0], found.name.split(".")[-1]
        if (
            head in IMPURE_MODULES
            or found.name == "?"
            or (head == "uuid" and last in IMPURE_NAMES)
            or (source.is_cython and IMPURE_CYTHON.match(found.name))
        ):
            faults.append(f"{source.path}:{found.line}: {source.layer} may not import {found.name}")
    if source.is_cython:
        return faults
    return faults + [
        f"{source.path}:{node.lineno}: {source.layer} may not call {_called(node)}()"
        for node in ast.walk(ast.parse(source.text))
        if isinstance(node, ast.Call) and _reaches_out(node)
    ]


def _reaches_out(node: ast.Call) -> bool:
    if isinstance(node.func, ast.Name):
        return node.func.id in IMPURE_NAMES
    return ast.unparse(node.func) in {
        "uuid.uuid1",
        "uuid.uuid4",
        "uuid.getnode",
        "builtins.open",
        "builtins.print",
    }


def undeclared_packages(source: Source) -> list[str]:
    """Imports of packages that installing qpidha does not bring, outside the layers that may have them."""
    compiled_away = {"libc", "cpython", "cython"} if source.is_cython else set[str]()
    ours = {"qpidha", *compiled_away}
    faults = []
    for found in imports(source):
        head = found.name.split(".")[0]
        if head in ours or head in sys.stdlib_module_names or found.for_types_only or head == "?":
            continue
        if found.dynamic and source.layer == "top":  # a file that a command was pointed at
            continue
        if source.layer not in THIRD_PARTY.get(head, ()):
            faults.append(f"{source.path}:{found.line}: {source.layer} may not import {head}")
    return faults


def missing_introductions(sources: list[Source]) -> list[str]:
    """Packages that do not say in a paragraph what they are for; directories that are no packages."""
    faults = []
    files = {source.path: source for source in sources}
    for folder in sorted({str(Path(path).parent) for path in files}):
        init = files.get(f"{folder}/__init__.py")
        if init is None:
            faults.append(f"{folder}: has no __init__.py")
            continue
        paragraph = (ast.get_docstring(ast.parse(init.text)) or "").split("\n\n")[0]
        if len(paragraph.split()) < 5 or paragraph.rstrip()[-1] not in ".:":
            faults.append(f"{init.path}: has no docstring that introduces the package")
    return faults


def strangers(source: Source) -> list[str]:
    """Imports between parts of one layer that must not know each other."""
    here = ".".join(source.parts)
    return [
        f"{source.path}:{found.line}: {package} may not import {other} ({found.name})"
        for package, others in STRANGERS.items()
        if _within(here, package)
        for found in imports(source)
        for other in others
        if _within(found.name, other)
    ]


def _within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def circles(sources: list[Source]) -> list[list[str]]:
    """Groups of modules that import one another in a circle, for annotations or in functions too.

    Importing a module also runs the packages above it; that is no knowledge, so a package counts only where it is
    named: ``from a import b`` is an import of ``a.b`` if there is such a module, else of ``a``.
    """
    by_name = {".".join(s.parts): s for s in sources if not s.path.endswith(".pxd")}
    graph = {name: _known_to(name, source, by_name) for name, source in by_name.items()}
    reach = {name: _reachable(graph, name) for name in graph}
    groups = {frozenset(b for b in reach[a] if a in reach[b]) for a in graph if a in reach[a]}
    return sorted(sorted(group) for group in groups)


def _known_to(name: str, source: Source, modules: dict[str, Source]) -> set[str]:
    known = set()
    for found in imports(source):
        for target in (found.name, found.name.rpartition(".")[0]):
            if target in modules:
                if target != name:
                    known.add(target)
                break
    return known


def _reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    """What ``start`` knows, directly or through others; itself only if it is in a circle."""
    seen: set[str] = set()
    queue = list(graph[start])
    while queue:
        if (name := queue.pop()) not in seen:
            seen.add(name)
            queue += graph[name]
    return seen


def without_unit_test(modules: list[str], tests: set[str]) -> list[str]:
    """Modules of `UNIT_TESTED` that have no test file of their own."""
    found = []
    for path in modules:
        place = Path(path)
        test = (Path("tests/unit") / place.relative_to("qpidha")).with_name(f"test_{place.name}").as_posix()
        if path.startswith(UNIT_TESTED) and place.name != "__init__.py" and test not in tests:
            found.append(f"{path}: has no {test}")
    return found


def too_long(sources: list[Source], allowed: dict[str, str]) -> list[str]:
    """Python files over the limit, and exceptions that are not needed any more."""
    lengths = {s.path: len(s.text.splitlines()) for s in sources if s.path.endswith(".py")}
    over = {path: lines for path, lines in lengths.items() if lines > LINES_MAX}
    faults = [
        f"{path}: {lines} lines, limit {LINES_MAX}" for path, lines in over.items() if path not in allowed
    ]
    return faults + [f"{path}: no longer needs its exception" for path in allowed if path not in over]


def sources() -> list[Source]:
    return [
        Source(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
        for path in sorted(PACKAGE.rglob("*"))
        if path.suffix in {".py", ".pyx", ".pxd"} and "__pycache__" not in path.parts
    ]


def report(faults: list[str]) -> None:
    if faults:
        pytest.fail("\n".join(faults), pytrace=False)


# --- the library ---------------------------------------------------------------------------------


def test_the_checks_see_the_library() -> None:
    seen = {source.layer for source in sources()}
    assert {"base", "wire", "journal", "core", "interfaces", "driver", "stores"} <= seen
    assert any(source.is_cython for source in sources())
    assert sum(len(imports(source)) for source in sources()) > 100


def test_imports_point_downwards() -> None:
    report([fault for source in sources() for fault in wrong_directions(source)])


def test_the_roles_do_not_know_each_other() -> None:
    report([fault for source in sources() for fault in strangers(source)])


def test_the_parts_of_a_node_do_not_know_the_public_class() -> None:
    """They share `qpidha.node.runtime`; only the package itself names `Node`."""
    knows = {s.path for s in sources() for i in imports(s) if i.name.startswith("qpidha.node.node")}
    assert knows == {"qpidha/node/__init__.py"}


def test_no_modules_import_one_another_in_a_circle() -> None:
    report([" <-> ".join(group) for group in circles(sources())])


def test_pure_layers_touch_nothing() -> None:
    report([fault for source in sources() for fault in impurities(source)])


def test_only_declared_packages_are_imported() -> None:
    report([fault for source in sources() for fault in undeclared_packages(source)])


def test_every_package_introduces_itself() -> None:
    report(missing_introductions(sources()))


def test_no_file_outgrows_a_reader() -> None:
    report(too_long(sources(), LONGER_FOR_A_REASON))


def test_each_module_has_a_unit_test_file_of_its_name() -> None:
    tests = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests/unit").rglob("test_*.py")}
    modules = [source.path for source in sources() if source.path.endswith(".py")]
    report(without_unit_test(modules, tests))


def test_the_version_is_the_same_everywhere() -> None:
    said = [
        re.search(pattern, (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
        for path, pattern in (
            ("pyproject.toml", r'^version = "([^"]+)"'),
            ("qpidha/__init__.py", r'^__version__ = "([^"]+)"'),
            ("CHANGELOG.md", r"^## \[(\d[^\]]*)\]"),
        )
    ]
    assert len({found[1] if found else None for found in said}) == 1, said


# --- the checks themselves -----------------------------------------------------------------------

UPWARDS = [
    ("qpidha/types.py", "from qpidha.wire.events import Frame", "base may not import wire"),
    ("qpidha/seq.py", "import qpidha.journal", "base may not import journal"),
    ("qpidha/wire/codec.py", "from qpidha.core import guard", "wire may not import core"),
    ("qpidha/wire/codec.py", "from qpidha import journal", "wire may not import journal"),
    ("qpidha/wire/codec.py", "from ..core.guard import Guard", "wire may not import core"),
    ("qpidha/wire/__init__.py", "from ..node import Node", "wire may not import node"),
    ("qpidha/journal.py", "from qpidha.core.ready import Ready", "journal may not import core"),
    (
        "qpidha/core/primary/completion.py",
        "from qpidha.interfaces import Broker",
        "core may not import interfaces",
    ),
    (
        "qpidha/core/primary/completion.py",
        "def f():\n    import qpidha.stores.sqlite",
        "core may not import stores",
    ),
    (
        "qpidha/core/primary/completion.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from qpidha.node import Node",
        "core may not import node",
    ),
    ("qpidha/core/primary/completion.py", "from qpidha import Node", "core may not import root"),
    (
        "qpidha/core/primary/completion.py",
        "from importlib import import_module\nimport_module('qpidha.cli')",
        "import top",
    ),
    ("qpidha/interfaces.py", "from qpidha.core.ready import Ready", "interfaces may not import core"),
    ("qpidha/stores/sqlite.py", "from qpidha.core.lineage import Lineage", "stores may not import core"),
    ("qpidha/stores/sqlite.py", "from qpidha.records import file", "stores may not import records"),
    ("qpidha/records/file/store.py", "from qpidha.node.node import Node", "records may not import node"),
    ("qpidha/system/forks.py", "from qpidha.stores import files", "system may not import stores"),
    ("qpidha/core/primary/completion.py", "from qpidha.system import forks", "core may not import system"),
    ("qpidha/queues/lvq.py", "from qpidha import stores", "queues may not import stores"),
    ("qpidha/transports/tcp.py", "from qpidha.driver import Driver", "transports may not import driver"),
    ("qpidha/driver.py", "from qpidha.stores import SqliteStore", "driver may not import stores"),
    ("qpidha/driver.py", "from qpidha.node import Node", "driver may not import node"),
    ("qpidha/node/node.py", "from qpidha.transports.tcp import Tcp", "node may not import transports"),
    ("qpidha/node/node.py", "from qpidha.cli import main", "node may not import top"),
    ("qpidha/node/node.py", "from qpidha.testing import Simulator", "node may not import testing"),
    ("qpidha/cli/__init__.py", "from qpidha.testing import Simulator", "top may not import testing"),
    ("qpidha/cli/__init__.py", "from qpidha.testing.command import run", "top may not import testing"),
    ("qpidha/demo/run.py", "import qpidha.testing.clock", "top may not import testing"),
    (
        "qpidha/demo/run.py",
        "def f():\n    from qpidha.testing.command import run",
        "top may not import testing",
    ),
    ("qpidha/__init__.py", "from qpidha.testing import Simulator", "root may not import testing"),
    ("qpidha/testing/clock.py", "from qpidha.node import Node", "testing may not import node"),
    ("qpidha/metrics.py", "", "has no layer"),
    ("qpidha/core/primary/completion.py", "from qpidha.metrics import count", "has no layer"),
    ("qpidha/_seq.pyx", "from qpidha.core.primary.completion import Guard", "base may not import core"),
    ("qpidha/_seq.pxd", "from qpidha.wire._batch cimport Batch", "base may not import wire"),
    ("qpidha/wire/_batch.pyx", "cdef f():\n    import qpidha.node", "wire may not import node"),
]


@pytest.mark.parametrize(("path", "text", "expected"), UPWARDS)
def test_an_upward_import_is_flagged(path: str, text: str, expected: str) -> None:
    faults = wrong_directions(Source(path, text))
    assert faults
    assert expected in faults[0]


DOWNWARDS = [
    ("qpidha/errors.py", "from qpidha.types import Address"),
    ("qpidha/wire/codec.py", "from qpidha.seq import SequenceSet\nfrom .framing import Frame\nimport struct"),
    ("qpidha/wire/_batch.pyx", "from libc.string cimport memcpy\nfrom qpidha.errors import CallerError"),
    (
        "qpidha/core/replica.py",
        "from qpidha.core.primary.completion import Guard\nfrom qpidha.journal import Change",
    ),
    ("qpidha/stores/__init__.py", "from importlib import import_module\nimport_module(f'{__name__}.{x}')"),
    ("qpidha/stores/sqlite.py", "import sqlite3\nfrom qpidha.interfaces import MessageStore"),
    ("qpidha/node/node.py", "from qpidha.driver import Driver\nfrom qpidha.queues.fifo import Fifo"),
    ("qpidha/cli/__init__.py", "from qpidha import Node\nfrom qpidha.transports import tcp"),
    ("qpidha/cli/options.py", "def f():\n    from qpidha.testing.command import run"),
    (
        "qpidha/testing/sim/world.py",
        "from qpidha.core.replica import Replica\nfrom qpidha.stores import memory",
    ),
]


@pytest.mark.parametrize(("path", "text"), DOWNWARDS)
def test_a_downward_import_is_not_flagged(path: str, text: str) -> None:
    source = Source(path, text)
    assert wrong_directions(source) + impurities(source) + undeclared_packages(source) == []


EFFECTS = [
    *[
        (f"qpidha/{layer}/x.py", f"import {name}")
        for layer in ("core", "wire")
        for name in "socket time asyncio threading random logging os datetime secrets ssl select".split()
    ],
    ("qpidha/core/x.py", "import os.path"),
    ("qpidha/core/x.py", "from time import monotonic"),
    ("qpidha/core/x.py", "def now():\n    import time as t\n    return t.monotonic()"),
    ("qpidha/core/x.py", "from uuid import uuid4"),
    ("qpidha/core/x.py", "import uuid\nnew = uuid.uuid4()"),
    ("qpidha/core/x.py", "print('here')"),
    ("qpidha/core/x.py", "with open('f') as f: pass"),
    ("qpidha/core/x.py", "m = __import__('time')"),
    ("qpidha/core/x.py", "import importlib\nimportlib.import_module(name)"),
    ("qpidha/types.py", "from datetime import datetime"),
    ("qpidha/journal.py", "import pathlib"),
    ("qpidha/_seq.pyx", "from libc.time cimport time"),
    ("qpidha/wire/_batch.pyx", "import os"),
]


@pytest.mark.parametrize(("path", "text"), EFFECTS)
def test_an_effect_in_a_pure_layer_is_flagged(path: str, text: str) -> None:
    assert impurities(Source(path, text))


def test_effects_are_allowed_where_they_belong() -> None:
    text = "import asyncio, logging, os, socket, time\nprint(open('f'))"
    assert not impurities(Source("qpidha/node/node.py", text))


def test_methods_with_the_name_of_an_effect_are_allowed() -> None:
    assert not impurities(Source("qpidha/core/x.py", "window.open(1)\nself.print = 2"))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("qpidha/core/x.py", "import numpy"),
        ("qpidha/core/x.py", "from Cython.Build import cythonize"),
        ("qpidha/core/x.py", "import cython"),
        ("qpidha/core/x.py", "import hypothesis"),
        ("qpidha/node/x.py", "from matplotlib import pyplot"),
        ("qpidha/wire/_batch.pyx", "import numpy"),
        ("qpidha/stores/x.py", "import_module('numpy')"),
    ],
)
def test_an_undeclared_package_is_flagged(path: str, text: str) -> None:
    assert undeclared_packages(Source(path, text))


def test_declared_packages_are_allowed() -> None:
    assert not undeclared_packages(Source("qpidha/wire/x.py", "import msgpack\nimport struct"))
    assert not undeclared_packages(Source("qpidha/demo/x.py", "import matplotlib.pyplot"))
    types_only = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from typing_extensions import Self"
    assert not undeclared_packages(Source("qpidha/core/x.py", types_only))


def test_a_package_without_an_introduction_is_flagged() -> None:
    code = Source("qpidha/core/x.py", "")
    assert missing_introductions([code])
    assert missing_introductions([code, Source("qpidha/core/__init__.py", "")])
    assert missing_introductions([code, Source("qpidha/core/__init__.py", '"""The core."""')])
    assert not missing_introductions(
        [code, Source("qpidha/core/__init__.py", '"""What a replica decides, without doing it."""')]
    )


KNOWING = [
    ("qpidha/core/primary/x.py", "from qpidha.core.backup.flip import Flip"),
    ("qpidha/core/primary/x.py", "from qpidha.core import backup"),
    ("qpidha/core/primary/x.py", "def f():\n    from ..backup import session"),
    ("qpidha/core/primary/x.py", "from qpidha.core.replica import Replica"),
    ("qpidha/core/backup/x.py", "import qpidha.core.primary.session"),
    (
        "qpidha/core/backup/x.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from qpidha.core.replica import Replica",
    ),
    ("qpidha/core/backup/x.py", "from qpidha.recovery.ranking import rank"),
    ("qpidha/core/replica.py", "from qpidha.recovery import validator"),
    ("qpidha/core/ready.py", "from qpidha import recovery"),
]


@pytest.mark.parametrize(("path", "text"), KNOWING)
def test_a_role_that_knows_too_much_is_flagged(path: str, text: str) -> None:
    assert strangers(Source(path, text))


def test_a_role_may_know_what_both_share() -> None:
    text = "from qpidha.core.state import NodeState\nfrom qpidha.core.primary.session import BackupSession"
    assert not strangers(Source("qpidha/core/primary/x.py", text))
    assert not strangers(Source("qpidha/core/replica.py", "from qpidha.core.backup.follower import Follower"))


@pytest.mark.parametrize(
    "back",
    [
        "from qpidha.core.a import A",
        "import qpidha.core.a",
        "from .a import A",
        "from qpidha.core import a",
        "def f():\n    from qpidha.core.a import A",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from qpidha.core.a import A",
    ],
)
def test_a_circle_is_flagged(back: str) -> None:
    a = Source("qpidha/core/a.py", "from qpidha.core.b import B")
    b = Source("qpidha/core/b.py", "from qpidha.core.c import C")
    assert circles([a, b, Source("qpidha/core/c.py", back)]) == [
        ["qpidha.core.a", "qpidha.core.b", "qpidha.core.c"]
    ]
    assert circles([a, b, Source("qpidha/core/c.py", "import qpidha.types")]) == []


def test_a_package_that_names_its_modules_is_no_circle_until_one_asks_it() -> None:
    init = Source("qpidha/core/__init__.py", "from qpidha.core.a import A")
    assert circles([init, Source("qpidha/core/a.py", "from qpidha.core.b import B")]) == []
    assert circles([init, Source("qpidha/core/a.py", "from qpidha.core import B")])


def test_a_long_file_is_flagged() -> None:
    long, short = Source("qpidha/core/x.py", "x = 1\n" * 351), Source("qpidha/core/x.py", "x = 1\n" * 350)
    assert too_long([long], {})
    assert not too_long([short], {})
    assert not too_long([long], {"qpidha/core/x.py": "a table that is read from top to bottom"})
    assert too_long([short], {"qpidha/core/x.py": "was long once"})


def test_a_module_without_a_unit_test_file_is_flagged() -> None:
    modules, tests = (
        ["qpidha/core/queue.py", "qpidha/core/__init__.py", "qpidha/cli/text.py"],
        {"tests/unit/core/test_queue.py"},
    )
    assert not without_unit_test(modules, tests)
    assert without_unit_test(modules, set()) == ["qpidha/core/queue.py: has no tests/unit/core/test_queue.py"]
