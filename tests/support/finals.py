"""Where constants are that compiled modules copy: mypyc writes the value of a `Final` into the modules that use it."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from qpidha import compiled


def has_finals(module: str) -> bool:
    """Whether a module of the package declares a `Final` with a value that is written there, in a class or not."""
    file = compiled.source(module)
    return file.is_file() and any(
        isinstance(node, ast.AnnAssign)
        and "Final" in ast.unparse(node.annotation)
        and isinstance(node.value, (ast.Constant, ast.UnaryOp, ast.BinOp, ast.Name))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    )


def imported(module: str) -> set[str]:
    """The modules of the package that this one may take a constant from."""
    return {
        name
        for node in ast.walk(ast.parse(compiled.source(module).read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("qpidha.")
        for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
    }


def copied_from(modules: Iterable[str]) -> set[str]:
    """The other modules with such constants that these import."""
    return {name for module in modules for name in imported(module) if has_finals(name)} - set(modules)
