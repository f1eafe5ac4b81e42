"""The pages of the public modules, from their docstrings."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import textwrap
from itertools import pairwise
from types import ModuleType

from qpidha import compiled

MODULES = (
    "qpidha",
    "qpidha.errors",
    "qpidha.types",
    "qpidha.broker",
    "qpidha.interfaces",
    "qpidha.events",
    "qpidha.addresses",
    "qpidha.clusterfile",
    "qpidha.stores",
    "qpidha.records",
    "qpidha.promoters",
    "qpidha.transports",
    "qpidha.queues",
    "qpidha.web",
    "qpidha.service",
    "qpidha.logs",
    "qpidha.tracing",
    "qpidha.seq",
    "qpidha.core",
    "qpidha.driver",
    "qpidha.bridge",
    "qpidha.journal",
    "qpidha.recovery",
    "qpidha.wire",
    "qpidha.wire.events",
    "qpidha.testing",
    "qpidha.testing.conformance",
    "qpidha.testing.rehearsal",
)
"""Where embedders import from, in the order in which they meet them: PUBLIC of tests/docs/test_pages.py."""

KNOWN = "BaseException, Enum, dict, int, object, str, tuple"
"""What a class has from classes of ours belongs to it; what it has from these is known."""


def names_of(module: ModuleType) -> list[str]:
    """What a module exports: its ``__all__``, or what it defines itself."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    mine = [name for name in vars(module) if not name.startswith("_")]
    return [name for name in mine if getattr(vars(module)[name], "__module__", "") == module.__name__]


def home_of(value: object, name: str, exporting: list[str]) -> str:
    """The one module whose page describes a name: the one that defines it, or the most special one."""
    defining = getattr(value, "__module__", "")
    return (
        defining if defining in exporting else max(exporting, key=lambda module: (module.count("."), module))
    )


def homes() -> dict[str, str]:
    """For every exported name, as ``module.name``, the module whose page describes it."""
    exporting: dict[tuple[str, int], list[str]] = {}
    modules = {place: importlib.import_module(place) for place in MODULES}
    for place, module in modules.items():
        for name in names_of(module):
            exporting.setdefault((name, id(getattr(module, name))), []).append(place)
    return {
        f"{place}.{name}": home_of(getattr(modules[place], name), name, places)
        for (name, _), places in exporting.items()
        for place in places
    }


def module_pages() -> dict[str, str]:
    """The text of every page, by its name; ``index`` is that with the list of the others."""
    found = {"index": index()}
    home = homes()
    for place in MODULES:
        module = importlib.import_module(place)
        parts = [f"{place}\n{'=' * len(place)}\n\n.. automodule:: {place}\n"]
        for name in names_of(module):
            there = home[f"{place}.{name}"]
            here = there == place
            parts.append(described(place, name, getattr(module, name)) if here else alias(place, name, there))
        found[place] = "\n".join(parts)
    return found


def index() -> str:
    """The page with the list of the modules."""
    return "\n".join(
        (
            "Python interface",
            "================",
            "",
            "The modules that embedders import from. What is elsewhere may move in any release.",
            "",
            ".. toctree::",
            "   :maxdepth: 1",
            "",
            *(f"   {name}" for name in MODULES),
            "",
        )
    )


def kind_of(value: object) -> str:
    """How autodoc names such a thing."""
    if inspect.isclass(value):
        return "exception" if issubclass(value, BaseException) else "class"
    return "function" if inspect.isroutine(value) else "data"


def described(place: str, name: str, value: object) -> str:
    """A name with its docstring, and its members."""
    if kind_of(value) == "data":
        return (
            f".. py:data:: {name}\n   :module: {place}\n\n{textwrap.indent(documented(name, value), '   ')}\n"
        )
    members = f"   :members:\n   :inherited-members: {KNOWN}\n   :show-inheritance:\n"
    options = members if inspect.isclass(value) else ""
    return f".. auto{kind_of(value)}:: {place}.{name}\n{options}"


def documented(name: str, value: object) -> str:
    """What stands below the assignment of a constant, in whichever module of ours that is."""
    for place, module in [*sys.modules.items()]:
        if place.split(".")[0] == "qpidha" and vars(module).get(name) is value:
            text = (
                compiled.source(place).read_text("utf-8")
                if place in compiled.MODULES
                else inspect.getsource(module)
            )
            body = ast.parse(text).body
            for statement, after in pairwise(body):
                named = {word.id for word in ast.walk(statement) if isinstance(word, ast.Name)}
                assigns = isinstance(statement, (ast.Assign, ast.AnnAssign)) and name in named
                if assigns and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                    return inspect.cleandoc(str(after.value.value))
    return ""


def alias(place: str, name: str, home: str) -> str:
    """A name that is described on another page."""
    said = f"The same as :py:obj:`{home}.{name}`."
    return f".. py:data:: {name}\n   :module: {place}\n   :no-contents-entry:\n\n   {said}\n"
