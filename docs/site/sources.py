"""Where Sphinx reads: copies of the repository's pages, and the generated pages, in one directory.

The pages are written for a forge, where a link may go to any file of the repository. In the copies, a link to a page of
the site goes to its place there; a link to anything else becomes its text, since the site has no such file.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from docs.site.groups import GROUPS, ROOT_PAGE, WITHIN, pages
from docs.site.modules import module_pages
from docs.site.options import options_page

LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\[\]]*)\]\((?P<target>[^()\s]+)\)")
FENCE = re.compile(r"\s*(```|~~~)")
OUTSIDE = re.compile(r"[a-z]+:|#")


def write_sources(root: Path, out: Path) -> None:
    """Write everything that Sphinx reads; what has not changed keeps its time, so that it is not read again."""
    texts = {place(page): page_text(root, out, page) for page in pages()}
    texts |= {"reference/options.rst": options_page()}
    texts |= {f"reference/{name}.rst": text for name, text in module_pages().items()}
    for name in texts:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
    for old in sorted({p for kind in ("md", "rst") for p in out.rglob(f"*.{kind}")}):
        if str(old.relative_to(out)) not in texts:
            old.unlink()
    for name, text in texts.items():
        if not (out / name).exists() or (out / name).read_text() != text:
            (out / name).write_text(text)


def place(page: str) -> str:
    """Where a page of the repository is in the site: docs/ is its root."""
    return page.removeprefix("docs/")


def page_text(root: Path, out: Path, page: str) -> str:
    """A page with its links as they are in the site, and the tables of contents below it."""

    def link(found: re.Match[str]) -> str:
        if OUTSIDE.match(found["target"]):
            return found[0]
        path, _, anchor = found["target"].partition("#")
        target = os.path.normpath(os.path.join(os.path.dirname(page), path))
        if found["image"]:
            copied = out / place(target)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / target, copied)
        elif target not in pages():
            return found["text"]
        way = os.path.relpath(place(target), os.path.dirname(place(page)) or ".")
        return f"{found['image']}[{found['text']}]({way}{'#' + anchor if anchor else ''})"

    text = "".join(outside_fences((root / page).read_text().splitlines(keepends=True), link))
    if page == ROOT_PAGE:
        text += "".join(contents(names, caption) for caption, names in GROUPS.items())
    return text + (contents(WITHIN[page]) if page in WITHIN else "")


def outside_fences(lines: Iterable[str], change: Callable[[re.Match[str]], str]) -> Iterable[str]:
    """The lines of a page, with the links changed that are not in a block of code."""
    fenced = False
    for line in lines:
        if FENCE.match(line):
            fenced = not fenced
        yield line if fenced else LINK.sub(change, line)


def contents(names: list[str], caption: str = "") -> str:
    """A table of contents that is only shown beside the page."""
    title = f":caption: {caption}\n" if caption else ""
    listed = "\n".join("/" + place(name).removesuffix(".md") for name in names)
    return f"\n```{{toctree}}\n:hidden:\n{title}\n{listed}\n```\n"
