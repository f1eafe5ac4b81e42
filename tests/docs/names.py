"""The names that scripts, alerts and dashboards use, as the code has them: exit codes, metrics, events, JSON.

A name of JSON is a path: ``[]`` stands for every item of a list, ``*`` for every key that is a name itself.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from qpidha import events
from qpidha.cli.console import EXIT_CODES
from qpidha.core.explanation import Explanation
from qpidha.core.unconfirmed import Unconfirmed
from qpidha.events import NodeEvent, Trouble
from qpidha.node import NodeStatus
from qpidha.recovery.ranking import Ranked
from qpidha.stores.database import Space
from qpidha.stores.report import AuditLine, StoreReport
from qpidha.types import Address, NodeId, Record, Versioned

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Leaf:
    """A value of a document that no class describes."""

    kind: str
    meaning: str = ""


Document = dict[str, object]
"""By path: a class, or a `Leaf`."""

ERROR = Leaf("text", "Why it failed, for people.")
STEERED: Document = {
    "ok": Leaf("true or false", "Whether it was done."),
    "generation": Leaf("number", "That of the node, if it was done."),
    "error": Leaf("text", "Why not, for people."),
    "kind": Leaf("text", "Why not, stable."),
}
STORE: Document = {"": StoreReport, "name": Leaf("text"), "error": ERROR}
SAVED: Document = {
    "saved_at": Leaf("number", "Seconds since 1970; null: not known."),
    "store": StoreReport,
    "name": Leaf("text", "The place, with an error."),
    "error": ERROR,
}
DOCUMENTS: dict[str, Document] = {
    "status": {
        "nodes.*": NodeStatus,
        "errors.*.kind": Leaf("text", "Stable; see [the command line](command-line.md#what-is-printed)."),
        "errors.*.reason": ERROR,
        "elsewhere[]": Leaf("text", "Nodes that were not asked."),
        "left_out[]": Leaf("text", "Directories of a cluster among the arguments."),
        "record": Versioned,
    },
    "promote, demote": STEERED,
    "why": {
        "ok": Leaf("true or false", "Whether there is an answer."),
        "why": Explanation,
        "why.lines[]": Leaf("text", "The answer in words."),
        "why.to_do[]": Leaf("text", "What to do."),
        "unconfirmed": Unconfirmed,
        "unconfirmed.lines[]": Leaf("text", "The answer in words."),
        "unconfirmed.to_do[]": Leaf("text", "What to do."),
        "audit[]": AuditLine,
        "error": ERROR,
        "kind": Leaf("text", "Why there is none, stable."),
    },
    "GET /history": {
        **{
            f"samples[].{name}": what
            for name, what in {
                "time": Leaf("seconds since 1970"),
                "role": Leaf("text"),
                "position": Leaf("number"),
                "safe": Leaf("number"),
                "depth": Leaf("number", "Messages in the queues that it names."),
                "pending": Leaf("number", "Publishes that are not confirmed."),
                "behind.*": Leaf("number", "Operations that a backup has not acknowledged."),
                "members": Leaf("number"),
                "stall_s": Leaf("seconds"),
                "held[]": Leaf("text", "What is waited for, by kind."),
            }.items()
        },
        **{
            f"record[].{name}": Leaf(kind)
            for name, kind in {
                "time": "seconds since 1970",
                "generation": "number",
                "primary": "text",
                "members[]": "text",
                "epoch": "text",
            }.items()
        },
        **{
            f"events[].{name}": what
            for name, what in {
                "time": Leaf("seconds since 1970"),
                "name": Leaf("text"),
                "level": Leaf("number", "As in `logging`: 20 info, 30 warning, 40 error."),
                "line": Leaf("text", "For people."),
            }.items()
        },
    },
    "store inspect": STORE,
    "store rank": {"[]": Ranked},
    "store compact": {"name": Leaf("text"), "before": Space, "after": Space, "error": ERROR},
    "store backup, verify": SAVED,
    "store restore": STORE,
    "record show": {"record": Versioned, "error": ERROR},
    "record rebuild": {
        "record": Record,
        "ranked[]": Ranked,
        "written": Leaf("true or false", "Whether the record is written now."),
        "errors.*": Leaf("text", "Why the store in this directory cannot be read."),
        "error": ERROR,
    },
    "simulate": {
        "from": Leaf("number", "The first seed."),
        "seeds": Leaf("number", "How many were run."),
        "failures[].seed": Leaf("number"),
        "failures[].error": Leaf("text"),
        "events": Leaf("number", "How many events happened."),
        "acknowledged": Leaf("number", "Messages whose publish was confirmed."),
        "failovers": Leaf("number"),
        "apart.*": Leaf("number", "Runs that ended early, by reason."),
        "counts.*": Leaf("number", "How often something happened."),
        "seconds": Leaf("number", "How long it took, in seconds."),
        "seed": Leaf("number", "Of a single run."),
        "error": Leaf("text", "Of a single run; null: nothing was wrong."),
        "hash": Leaf("text", "Of all events of a single run."),
        "scenario": Leaf("text", "The file."),
        "as_written": Leaf("true or false", "Whether the outputs are those in the file."),
        "picture": Leaf("text", "The file that was written."),
    },
}


@dataclass(frozen=True)
class Field:
    """A row of a table."""

    path: str
    kind: str
    meaning: str


def json_fields(command: str) -> list[Field]:
    """The fields of the document of a command."""
    found: dict[str, Field] = {}
    for path, what in DOCUMENTS[command].items():
        rows = [Field(path, what.kind, what.meaning)] if isinstance(what, Leaf) else _fields(path, what)
        for row in rows:
            found.setdefault(row.path, row)
    return list(found.values())


def _fields(path: str, kind: Any) -> Iterator[Field]:
    hints, meanings = typing.get_type_hints(kind), _docstrings(kind)
    for field in dataclasses.fields(kind):
        at = f"{path}.{field.name}" if path else field.name
        of, many = _inner(hints[field.name])
        at += "[]" * many
        if dataclasses.is_dataclass(of):
            yield from _fields(at, of)
        else:
            yield Field(at, _kind(field.name, of), meanings.get(field.name, ""))


def _inner(hint: Any) -> tuple[Any, int]:
    """What is in a hint, without None; and in how many lists."""
    args = [arg for arg in typing.get_args(hint) if arg not in (type(None), Ellipsis)]
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType) and len(args) == 1:
        return _inner(args[0])
    if origin in (list, frozenset) or (origin is tuple and len(args) == 1):
        of, many = _inner(args[0])
        return of, many + 1
    return hint, 0


def _kind(name: str, of: Any) -> str:
    """The unit, by the end of the name; else what kind of value it is."""
    units = {
        "_ms": "milliseconds",
        "_s": "seconds",
        "_days_left": "days",
        "bytes": "bytes",
        "_per_s": "a second",
    }
    if name == "bytes_per_s":
        return "bytes a second"
    for end, unit in units.items():
        if name.endswith(end) and of in (int, float):
            return unit
    if name == "at":
        return "seconds since 1970"
    if of is bool:
        return "true or false"
    if of in (int, float):
        return "number"
    return {Address: "host and port", tuple[NodeId, UUID]: "node and boot id"}.get(
        of, "list" if _is_list(of) else "text"
    )


def _is_list(of: Any) -> bool:
    return typing.get_origin(of) in (tuple, dict)


def _docstrings(kind: type) -> dict[str, str]:
    """What stands below each field, on one line: its first sentence."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for node, after in zip(tree.body, tree.body[1:], strict=False):
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and isinstance(after, ast.Expr)
        ):
            text = " ".join(str(ast.literal_eval(after.value)).split())
            said = re.sub(r"\bNone\b", "null", text.replace("``", "`").replace("|", "\\|"))
            found[node.target.id] = said
    return found


def paths_of(command: str, document: object) -> set[str]:
    """The paths of the values in a document that a command has printed."""
    known = [field.path for field in json_fields(command)]

    def walk(path: str, value: object) -> Iterator[str]:
        if isinstance(value, dict) and value:
            free = any(p == f"{path}.*" or p.startswith(f"{path}.*.") for p in known)
            for key, item in value.items():
                name = "*" if free else key
                yield from walk(f"{path}.{name}" if path else name, item)
        elif isinstance(value, list) and not any(p == path for p in known):
            for item in value:
                yield from walk(f"{path}[]", item)
        elif value not in ({}, []):
            yield path

    return set(walk("", document))


# --- everything that is promised ------------------------------------------------------------------


def exit_codes() -> list[str]:
    """The codes, as ``qpidha --help`` names them."""
    return re.findall(r"^  (\d+) ", EXIT_CODES, re.MULTILINE)


def metrics() -> list[str]:
    """Name, kind and labels; tests/unit/web/test_metrics.py compares this table with the code, both ways."""
    page = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(qpidha_\w+)` \| (\w+) \| ([^|]*) \|", page, re.MULTILINE)
    return [
        f"{name} {kind} {labels.replace('`', '').strip()}".removesuffix(" –") for name, kind, labels in rows
    ]


def event_names() -> list[str]:
    """The name of each event, and each field as ``name: field``."""
    found = []
    for name in events.__all__:
        kind = getattr(events, name)
        if issubclass(kind, NodeEvent) and kind not in (NodeEvent, Trouble):
            found += [kind.name, *(f"{kind.name}: {field.name}" for field in dataclasses.fields(kind))]
    return sorted(found)


def promised() -> list[str]:
    """Every name, one a line, as in tests/docs/promised-names.txt."""
    fields = [f"json {command}: {field.path}" for command in DOCUMENTS for field in json_fields(command)]
    return sorted(
        [f"exit {code}" for code in exit_codes()]
        + [f"metric {metric}" for metric in metrics()]
        + [f"event {name}" for name in event_names()]
        + fields
    )
