"""Import paths of the last release still work, and say where the name lives now."""

from __future__ import annotations

import importlib

import pytest

from qpidha import promoters, records


@pytest.mark.parametrize(
    "name", ["FileRecordStore", "MemoryRecordStore", "OperatorPromoter", "PriorityPromoter"]
)
def test_the_old_home_of_record_stores_and_promoters(name: str) -> None:
    old = importlib.import_module("qpidha.cluster")
    with pytest.warns(DeprecationWarning, match=r"qpidha\.(records|promoters)"):
        found = getattr(old, name)
    assert found is getattr(records, name, None) or found is getattr(promoters, name, None)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_here"):
        importlib.import_module("qpidha.cluster").nothing_here  # noqa: B018
