"""Which broker the demo runs: by name, by file, and what it says where there is none."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest

from qpidha.demo import examples
from qpidha.demo.examples import AMQP, EXAMPLES, SIMPLE, ExampleMissing, find, require


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_is_found_in_the_checkout_by_name_and_by_file(name: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda module: object()
    )  # What it imports need not be here.
    found = find(name)
    assert found.example is EXAMPLES[name]
    assert found.broker.parts[-3:] == ("examples", name, "broker.py")
    assert find(str(found.broker)) == found


def test_the_first_is_the_default() -> None:
    assert find(None).example is SIMPLE


def test_beside_an_installed_package_there_is_none(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setattr(examples, "__file__", str(tmp_path / "qpidha/demo/examples.py"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ExampleMissing, match=r"come with the source.*--broker PATH/examples/amqp/broker\.py"):
        find("amqp")


def test_a_file_without_its_clients_is_none(tmp_path: Path) -> None:
    (tmp_path / "broker.py").touch()
    with pytest.raises(ExampleMissing, match="no example broker at"):
        find(str(tmp_path / "broker.py"))


def test_a_module_that_is_missing_is_named_with_what_to_do(monkeypatch: Any) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    require(SIMPLE)
    with pytest.raises(ExampleMissing, match=r"needs the Python module proton.*pip install 'qpidha\[amqp\]'"):
        require(AMQP)


def test_an_installed_package_has_the_simple_one(monkeypatch: Any, tmp_path: Path) -> None:
    """As setup.py copies it: the whole folder, so that a wheel needs no checkout."""
    source = find("simple").broker.parent
    installed = tmp_path / "qpidha/demo/simple"
    shutil.copytree(source, installed)
    monkeypatch.setattr(examples, "__file__", str(tmp_path / "qpidha/demo/examples.py"))
    monkeypatch.setattr(examples, "INSTALLED", installed)
    monkeypatch.chdir(tmp_path)
    assert find(None).broker == installed / "broker.py"
