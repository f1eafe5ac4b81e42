"""What the built site must have, and must not: `make site`."""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path

from docs.site.modules import homes

ELSEWHERE = re.compile(r"\s*([a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
IN_STYLE = re.compile(r"(?:url\(|@import)\s*['\"]?([^'\")\s]+)")


def missing(site: Path, names: Iterable[str]) -> list[str]:
    """The names that the index of the site does not have."""
    listing = zlib.decompress((site / "objects.inv").read_bytes().split(b"\n", 4)[4]).decode()
    found = {line.split(" ", 1)[0] for line in listing.splitlines()}
    return [f"{name} is not in the site" for name in names if name not in found]


class Resources(HTMLParser):
    """What a browser fetches for a page without being asked: not where a reader may go."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "srcset", "data", "poster") or (tag == "link" and name == "href"):
                self.found.append(value or "")


def fetched(site: Path) -> Iterator[str]:
    """Every resource from elsewhere that a page or a style sheet names."""
    for path in sorted([*site.rglob("*.html"), *site.rglob("*.css"), *site.rglob("*.svg")]):
        text = path.read_text()
        resources = Resources()
        if path.suffix == ".html":
            resources.feed(text)
        for target in [*resources.found, *IN_STYLE.findall(text)]:
            if ELSEWHERE.match(target):
                yield f"{path.relative_to(site)} fetches {target}"


if __name__ == "__main__":
    built = Path(sys.argv[1])
    wanted = homes()
    faults = [*missing(built, wanted), *fetched(built)]
    print("\n".join(faults) or f"{len(wanted)} public names are there, and nothing comes from elsewhere")
    sys.exit(1 if faults else 0)
