"""The check before a release finds what was not filled in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.release import URLS, missing

WHOLE = {
    "pyproject.toml": '[project]\nname = "x"\nversion = "1.2.0"\n[project.urls]\n'
    + "".join(f'{name} = "https://example.org/{name}"\n' for name in URLS),
    "qpidha/__init__.py": '__version__ = "1.2.0"\n',
    "CHANGELOG.md": "# Changelog\n\n## [1.2.0] – 2027-01-01\n",
    "docs/newsfragments/README.md": "# News fragments\n",
}


def tree(root: Path, **changes: str) -> Path:
    for name, text in {**WHOLE, **changes}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_nothing_is_missing_in_a_whole_release(tmp_path: Path) -> None:
    assert missing(tree(tmp_path)) == []


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("pyproject.toml", '[project]\nname = "x"\nversion = "1.2.0"\n', "has no Source"),
        (
            "pyproject.toml",
            WHOLE["pyproject.toml"].replace("https://example.org/Issues", ""),
            "has no Issues",
        ),
        ("qpidha/__init__.py", '__version__ = "1.1.0"\n', "differ in the version"),
        ("CHANGELOG.md", "# Changelog\n", "no section [1.2.0]"),
        ("docs/newsfragments/late.added.md", "Late.\n", "late.added.md"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    assert any(said in line for line in missing(tree(tmp_path, **{name: text})))
