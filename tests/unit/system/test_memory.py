"""Freed memory is given back to the system, where the C library can do that."""

from __future__ import annotations

import ctypes

import pytest

from qpidha.system import memory


def test_the_c_library_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(memory, "_trim", asked.append)
    memory.give_back()
    assert asked == [0]


def test_on_this_machine_nothing_fails() -> None:
    memory.give_back()


@pytest.mark.parametrize("error", [OSError, AttributeError, TypeError])
def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def missing(name: None) -> object:
        raise error

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert memory._found() is None
    monkeypatch.setattr(memory, "_trim", None)
    memory.give_back()
