"""Every page has its place in the site, and the check of the built site finds what is wrong."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import pytest

from docs.site import modules
from docs.site.groups import pages
from docs.site.options import options_page, parsers
from docs.site.sources import page_text
from qpidha.cli.options import build_parser
from tests.docs.test_pages import PUBLIC, ROOT
from tests.site import fetched, missing


def test_every_page_is_in_the_site_once() -> None:
    here = {
        str(path.relative_to(ROOT))
        for pattern in ("docs/*.md", "docs/decisions/*.md", "examples/*/README.md", "tests/*/README.md")
        for path in ROOT.glob(pattern)
    }
    # The site begins with docs/index.md; README.md is where a forge begins.
    outside = {str(path.relative_to(ROOT)) for path in ROOT.glob("*.md")} - {"README.md"}
    assert sorted(pages()) == sorted(here | outside)


def test_every_public_module_has_its_page() -> None:
    assert set(modules.MODULES) == PUBLIC
    assert modules.module_pages().keys() == {"index", *PUBLIC}


def test_each_public_name_is_described_once() -> None:
    described = [
        f"{module}.{name.removeprefix(f'{module}.')}"
        for module, text in modules.module_pages().items()
        for name in re.findall(r"^\.\. (?:auto(?!module)\w+|py:data):: (\S+)$", text, re.MULTILINE)
    ]
    assert sorted(described) == sorted(modules.homes())
    assert "qpidha.Node" in described


def test_constants_have_their_docstrings() -> None:
    assert "Those of a node that was given no others." in modules.module_pages()["qpidha.queues"]


def test_every_command_is_in_the_page_of_options() -> None:
    text = options_page()
    commands = [parser.prog for parser in parsers(build_parser())]
    assert "qpidha store inspect" in commands
    assert [f".. program:: {name}" for name in commands if f".. program:: {name}\n" not in text] == []


def test_links_go_to_the_pages_of_the_site(tmp_path: Path) -> None:
    (tmp_path / "docs/pictures").mkdir(parents=True)
    (tmp_path / "docs/pictures/growth.svg").write_text("<svg/>")
    (tmp_path / "docs/decisions").mkdir()
    (tmp_path / "docs/decisions/README.md").write_text(
        "[a](../protocol.md#promotion) [b](../../CONTRIBUTING.md) [c](../../tests/mutants) [d](#here)\n"
        "![e](../pictures/growth.svg) [f](https://example.org/)\n"
        "```\n[g](../../tests/mutants)\n```\n"
    )
    text = page_text(tmp_path, tmp_path / "out", "docs/decisions/README.md")
    assert text.startswith(
        "[a](../protocol.md#promotion) [b](../CONTRIBUTING.md) c [d](#here)\n"
        "![e](../pictures/growth.svg) [f](https://example.org/)\n"
        "```\n[g](../../tests/mutants)\n```\n"
    )
    assert (tmp_path / "out/pictures/growth.svg").exists()


def test_a_name_that_is_missing_is_reported(tmp_path: Path) -> None:
    names = b"qpidha.Node py:class 1 reference/qpidha.html#$ -\n"
    (tmp_path / "objects.inv").write_bytes(b"# 1\n# 2\n# 3\n# 4\n" + zlib.compress(names))
    assert missing(tmp_path, ["qpidha.Node"]) == []
    assert missing(tmp_path, ["qpidha.Node", "qpidha.Queue"]) == ["qpidha.Queue is not in the site"]


@pytest.mark.parametrize(
    ("name", "text", "count"),
    [
        ("a.html", '<a href="https://example.org/">there</a><img src="here.png">', 0),
        ("a.html", '<script src="https://example.org/a.js"></script>', 1),
        ("a.html", '<link rel="stylesheet" href="//example.org/a.css">', 1),
        ("a.css", "@font-face { src: url('https://example.org/a.woff') }", 1),
        ("a.css", '@import "https://example.org/a.css";', 1),
        ("a.css", "p { background: url(here.png) }", 0),
    ],
)
def test_what_a_page_fetches_from_elsewhere_is_reported(
    tmp_path: Path, name: str, text: str, count: int
) -> None:
    (tmp_path / name).write_text(text)
    assert len(list(fetched(tmp_path))) == count
