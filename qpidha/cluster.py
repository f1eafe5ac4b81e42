"""Deprecated module of record stores and promoters. Import from `qpidha.records` and `qpidha.promoters`."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

_HOMES = {
    "FileRecordStore": "qpidha.records",
    "MemoryRecordStore": "qpidha.records",
    "OperatorPromoter": "qpidha.promoters",
    "PriorityPromoter": "qpidha.promoters",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(f"import {name} from {home}, not from {__name__}", DeprecationWarning, stacklevel=2)
    return getattr(import_module(home), name)
