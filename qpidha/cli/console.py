"""What several commands share: exit codes, errors, JSON, and how a record and a ranking are shown."""

from __future__ import annotations

import dataclasses
import json
import sys
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

OK, BAD_NEWS, USAGE, UNREACHABLE = range(4)
"""See `qpidha.cli`."""


def fail(message: str, code: int = UNREACHABLE) -> int:
    print(f"qpidha: {message}", file=sys.stderr)
    return code


def show_json(value: object) -> None:
    print(json.dumps(plain(value), indent=2))


def plain(value: object) -> Any:
    """A value of ours as JSON knows it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (UUID, Path)):
        return str(value)
    return value


def peek(directory: Path) -> Any:
    """The record of a file record store, or None."""
    from qpidha.cluster.file import FileRecordStore

    return FileRecordStore.peek(directory)


def print_record(found: Any) -> None:
    record = found.record
    primary = record.primary[0] if record.primary else "none"
    print(f"record: version {found.version}, generation {record.generation}, primary {primary}")
    print(f"  members {', '.join(sorted(m.node for m in record.members))}; cluster {record.cluster}")


def print_ranked(place: Any) -> None:
    print(f"{place.place or '-'}  {place.name}")
    for finding in place.findings:
        print(f"     {finding}")
