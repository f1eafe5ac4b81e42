"""The example stays small, and what it takes over from amqtt is there in the version that is installed."""

from __future__ import annotations

import ast
import importlib.metadata
from pathlib import Path

import pytest
from amqtt.broker import Broker
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "amqtt"


def statements(*files: str) -> int:
    """How many statements there are, without imports and docstrings: a measure that no layout can change."""
    return sum(
        isinstance(node, ast.stmt)
        and not isinstance(node, (ast.Import, ast.ImportFrom))
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for file in files
        for node in ast.walk(ast.parse((EXAMPLE / file).read_text()))
    )


def test_the_size() -> None:
    assert {path.name for path in EXAMPLE.glob("*.py")} == {"broker.py", "replicated.py", "state.py"}
    assert statements("replicated.py", "state.py") <= 225
    assert statements("broker.py") <= 50


def test_the_version_of_amqtt_is_the_one_that_this_was_written_for() -> None:
    version = importlib.metadata.version("amqtt")
    assert f'"amqtt=={version}"' in (ROOT / "pyproject.toml").read_text()
    assert version in (EXAMPLE / "broker.py").read_text()


@pytest.mark.parametrize(("own", "base"), [("ReplicatedBroker", Broker), ("Handler", BrokerProtocolHandler)])
def test_what_is_overridden_is_there(own: str, base: type) -> None:
    """A method that amqtt renames would be called by nobody any more."""
    tree = ast.parse((EXAMPLE / "replicated.py").read_text())
    (found,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == own)
    added = {"leave", "connected", "_fire_will", "mailbox", "deliver", "_settle"}
    names = {node.name for node in found.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
    names |= {
        target.id
        for node in found.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    assert len(names) > 10
    assert [name for name in names - added if not hasattr(base, name)] == []
