"""Which Python modules are compiled, and whether it is those that run.

The sources are the program: they say all there is to say, and run without a compiler. ``setup.py`` compiles those of
`MODULES` with mypyc into ``qpidha/_compiled/DIGEST/``, where the digest is that of these very sources. Modules are
imported from there only while the sources are, to the byte, those that were compiled; after an edit of one of them the
sources run, all of them, until they are compiled again. So what runs is always what is written.

``QPIDHA_PURE=1``: the sources run, for debuggers, profilers and coverage, which do not see into compiled modules.
``QPIDHA_PURE=0``: an import fails if the compiled ones are not there: for tests and measurements of those.

How to choose: what runs for each message or each operation. To be left out: what brokers call themselves (`Replica`,
`Queue`, `Op`, values that they make), because mypyc refuses an argument of a wrong type with an error of its own before a
check of ours sees it; what the explorer takes apart; modules of data; classes with decorators that mypyc does not know;
and classes whose objects have weak references (`qpidha.system.forks`), which it does not make.

``qpidha/__init__.py`` imports this before all others, so it imports none of them.
"""

from __future__ import annotations

import hashlib
import os
import sys
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path

PACKAGE = Path(__file__).parent
GROUP = "qpidha"
LIBRARY = f"{GROUP}__mypyc"
"""The library that all of them are in. Besides, each has a small file, because Python looks for one file for a module."""

MODULES = tuple(
    f"qpidha.{name}"
    for name in """
    core.batches core.births core.bodies core.calls core.calm core.chunks core.discards core.entering core.groups
    core.indexed core.keyed core.keytable core.legality core.lineage core.objects core.origins core.outbox core.places
    core.queue core.queues core.snapshot core.state core.stored
    core.backup.applying core.backup.follower core.backup.keys core.backup.operations core.backup.planned
    core.backup.session core.backup.staging
    core.primary.actions core.primary.admission core.primary.clients core.primary.completion core.primary.deadlines
    core.primary.draft core.primary.drafted core.primary.entries core.primary.inflight core.primary.localwork
    core.primary.pace core.primary.primary core.primary.producers core.primary.recent core.primary.session
    core.primary.sessions core.primary.turn core.primary.visits core.primary.waiting
    driver ordered
    node.effects node.engine node.handles node.keywatches node.ledger node.listeners node.peer
    stores.contents stores.queue stores.row stores.rows
    wire.batch wire.codec wire.fields wire.framing wire.payload
    """.split()
)


CONSTANTS = tuple(
    f"qpidha.{name}"
    for name in "core.backup.flip core.configuration core.producers node.notifier stores.schema wire.groups".split()
)
"""Modules with constants (`Final`) that are copied into what is compiled."""


def source(module: str) -> Path:
    """The file in which a module is written."""
    return PACKAGE.joinpath(*module.split(".")[1:]).with_suffix(".py")


def digest() -> str:
    """Of all that they are made of. Takes a millisecond."""
    result = hashlib.sha256()
    for module in (*MODULES, *CONSTANTS):
        content = source(module).read_bytes()
        result.update(f"{module} {len(content)} ".encode())
        result.update(content)
    return result.hexdigest()[:16]


def built() -> dict[str, Path]:
    """The files of the modules that were compiled of these sources, for this Python; empty if they are not there."""
    folder = PACKAGE / "_compiled"
    if not folder.is_dir():
        return {}
    folder /= digest()
    files = {name: folder / (name.replace(".", "-") + EXTENSION_SUFFIXES[0]) for name in (LIBRARY, *MODULES)}
    return files if all(file.exists() for file in files.values()) else {}


class Compiled:
    """Finds the compiled modules: one of Python's finders of modules, asked before those that look for sources."""

    def __init__(self, files: dict[str, Path]) -> None:
        self._files = files

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Where the module is, if it is one of them."""
        del path, target
        return spec_from_file_location(name, self._files[name]) if name in self._files else None


def use() -> bool:
    """From now on import the compiled modules, if they are there and nobody wants the sources. Returns whether.

    Raises:
        ImportError: They must run, and are not there.
    """
    wanted = os.environ.get("QPIDHA_PURE")
    files = {} if wanted == "1" else built()
    if wanted == "0" and not files:
        raise ImportError("QPIDHA_PURE=0: no modules are compiled of these sources; `make compiled` does it")
    if files:
        sys.meta_path.insert(0, Compiled(files))
    return bool(files)


RUNNING = use()
"""Whether the compiled modules run."""
