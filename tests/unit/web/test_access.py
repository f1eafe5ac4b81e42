"""Tokens: what each may do, and files that must not be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpidha.errors import SettingsError
from qpidha.web import Access, Tokens

VIEWER, OPERATOR = "v" * 16, "o" * 32


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return written(tmp_path / "tokens", f"# for Prometheus\nviewer {VIEWER}\n\n  operator   {OPERATOR}  \n")


@pytest.mark.parametrize(
    ("header", "access"),
    [
        (f"Bearer {VIEWER}", Access.VIEWER),
        (f"Bearer {OPERATOR}", Access.OPERATOR),
        (f"bearer  {OPERATOR}", Access.OPERATOR),
        (f"Basic {OPERATOR}", Access.NOTHING),
        (OPERATOR, Access.NOTHING),
        (f"Bearer {OPERATOR}x", Access.NOTHING),
        (f"Bearer {VIEWER} {OPERATOR}", Access.NOTHING),
        ("Bearer \udcff", Access.NOTHING),
        (f"Bearer {chr(0xD800)}", Access.NOTHING),
        ("Bearer ", Access.NOTHING),
        ("Bearer viewer", Access.NOTHING),
        ("", Access.NOTHING),
        (None, Access.NOTHING),
    ],
)
def test_what_a_header_allows(path: Path, header: str | None, access: Access) -> None:
    assert Tokens(path).access(header) is access


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no token"),
        ("# operator abcdefghijklmnopqrst\n", "has no token"),
        ("admin abcdefghijklmnopqrst\n", "line 1: expected"),
        ("viewer\n", "line 1: expected"),
        (f"viewer {VIEWER}\nviewer a b\n", "line 2: expected"),
        ("operator short\n", "line 1: a token needs at least 16"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as raised:
        Tokens(written(tmp_path / "tokens", text))
    assert "abcdefghijklmnopqrst" not in str(raised.value) and "short" not in str(raised.value)


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="mode 0644"):
        Tokens(written(tmp_path / "tokens", f"viewer {VIEWER}\n", 0o644))


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read"):
        Tokens(tmp_path / "none")
    (tmp_path / "bytes").write_bytes(b"viewer \xff\xfe")
    (tmp_path / "bytes").chmod(0o600)
    with pytest.raises(SettingsError, match="cannot read the tokens"):
        Tokens(tmp_path / "bytes")


def test_a_new_token_is_used_and_a_broken_file_is_not(path: Path) -> None:
    tokens = Tokens(path)
    written(path, "operator broken\n")
    tokens.refresh()
    assert "at least 16" in tokens.fault and tokens.access(f"Bearer {OPERATOR}") is Access.OPERATOR
    written(path, f"operator {'n' * 20}\n")
    tokens.refresh()
    assert not tokens.fault
    assert tokens.access(f"Bearer {OPERATOR}") is Access.NOTHING
    assert tokens.access(f"Bearer {'n' * 20}") is Access.OPERATOR
    path.unlink()
    tokens.refresh()
    assert "cannot read" in tokens.fault and tokens.access(f"Bearer {'n' * 20}") is Access.OPERATOR


def test_its_repr_shows_no_secret(path: Path) -> None:
    assert OPERATOR not in repr(Tokens(path)) and str(path) in repr(Tokens(path))
