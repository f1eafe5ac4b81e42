"""The example stays small, and what it takes over from amqtt is there in the version that is installed."""

from __future__ import annotations

import ast
import importlib.metadata
import io
import tokenize
from pathlib import Path

import pytest
from amqtt.broker import Broker
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "amqtt"
WITHOUT_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER,
}  # fmt: skip


def code_lines(text: str) -> int:
    """How many lines have code: not those that are blank, or have nothing but a comment or a part of a docstring."""
    documented = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for line in range(node.lineno, (node.end_lineno or 0) + 1)
    }
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    written = (range(t.start[0], t.end[0] + 1) for t in tokens if t.type not in WITHOUT_CODE)
    return len({line for lines in written for line in lines} - documented)


def test_how_lines_are_counted() -> None:
    text = '''"""Two
lines."""

x = f(  # One, two, three.
    1,
)
# A comment.
y = """a
text"""
"""What y is."""
'''
    assert code_lines(text) == 5


def test_the_size() -> None:
    """As README.md says: at most 200 lines of code, on lines of the length that the whole project has."""
    files = sorted(EXAMPLE.glob("*.py"))
    assert [path.name for path in files] == ["broker.py", "replicated.py"]
    counts = {path.name: code_lines(path.read_text()) for path in files}
    assert sum(counts.values()) <= 200, counts
    assert all(f"{count} lines" in (EXAMPLE / "README.md").read_text() for count in counts.values()), counts


def test_the_version_of_amqtt_is_the_one_that_this_was_written_for() -> None:
    version = importlib.metadata.version("amqtt")
    assert f'"amqtt=={version}"' in (ROOT / "pyproject.toml").read_text()
    assert version in (EXAMPLE / "broker.py").read_text()


@pytest.mark.parametrize(("own", "base"), [("ReplicatedBroker", Broker), ("Handler", BrokerProtocolHandler)])
def test_what_is_overridden_is_there(own: str, base: type) -> None:
    """A method that amqtt renames would be called by nobody any more."""
    tree = ast.parse((EXAMPLE / "replicated.py").read_text())
    (found,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == own)
    added = {"leave", "connected", "_fire_will", "mailbox", "send", "refused"}
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
