"""Errors of the system are told in words, and no text for an operator has the number that Python puts before them.

Method: errors as the system, asyncio and TLS raise them; and every handler of the library that catches such errors is
read: it must not put one into a text as it is.
"""

from __future__ import annotations

import ast
import errno
import os
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from qpidha.errors import AddressUnavailable
from qpidha.system.words import in_words

PACKAGE = Path(__file__).resolve().parents[3] / "qpidha"
OF_THE_SYSTEM = {"OSError", "ConnectionError", "SSLError"}


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/x"), "No such file or directory: /x"),
        (OSError(errno.EXDEV, "Cross-device link", b"/x", None, "/y"), "Cross-device link: /x: /y"),
        (OSError(errno.EBADF, "Bad file descriptor", 7), "Bad file descriptor"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('::1', 1)"), "Connection refused"),
        (
            OSError("Multiple exceptions: [Errno 111] Connect call failed, [Errno -2] x"),
            "Multiple exceptions: Connect call failed, x",
        ),
        (OSError(), "OSError"),
        (ValueError("no number"), "no number"),
        (AddressUnavailable("node 'a' cannot listen"), "node 'a' cannot listen"),
        (ssl.SSLError(1, "[SSL: KEY_VALUES_MISMATCH] key values mismatch (_ssl.c:3900)"), "key values mismatch"),
        (ssl.SSLError(9, "[X509] PEM lib (_ssl.c:4065)"), "PEM lib"),
    ],
)  # fmt: skip
def test_an_error_in_words(error: BaseException, words: str) -> None:
    assert in_words(error) == words


def test_a_real_error_names_its_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Errno") as caught:
        (tmp_path / "gone").read_bytes()
    assert in_words(caught.value) == f"{os.strerror(errno.ENOENT)}: {tmp_path / 'gone'}"


# --- who must use them ---------------------------------------------------------------------------


def bare(source: str) -> Iterator[int]:
    """The lines where a handler of an error of the system puts it into a text as it is: ``{error}`` or ``str(error)``."""
    for handler in ast.walk(ast.parse(source)):
        if not isinstance(handler, ast.ExceptHandler) or handler.name is None or handler.type is None:
            continue
        named = {n.id if isinstance(n, ast.Name) else n.attr for n in ast.walk(handler.type)
                 if isinstance(n, (ast.Name, ast.Attribute))}  # fmt: skip
        if not named & OF_THE_SYSTEM:
            continue
        for node in ast.walk(handler):
            shown = node.value if isinstance(node, ast.FormattedValue) else None
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "str":
                shown = node.args[0]
            if isinstance(shown, ast.Name) and shown.id == handler.name:
                yield node.lineno


@pytest.mark.parametrize(
    ("caught", "text"),
    [
        ("OSError", "f'{error}'"),
        ("(ValueError, OSError)", "str(error)"),
        ("ssl.SSLError", "f'{error}'"),
    ],
)
def test_an_error_that_is_shown_as_it_is_is_found(caught: str, text: str) -> None:
    """The check below cannot go blind unnoticed."""
    source = f"try:\n    x()\nexcept {caught} as error:\n    say({text})"
    assert list(bare(source)) == [4]
    assert not list(bare(source.replace(text, "in_words(error)")))
    assert not list(bare(source.replace(caught, "ValueError")))


def test_no_number_reaches_an_operator() -> None:
    """The resource agent has no imports, and words of its own; a demo's error comes from its own checks."""
    found = [
        f"{path.relative_to(PACKAGE.parent)}:{line}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for line in bare(path.read_text("utf-8"))
    ]
    assert not found, "say `in_words(error)`: " + ", ".join(found)
