"""What must be filled in before a release: `make release-check`. See docs/releasing.md."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
URLS = ("Source", "Documentation", "Changelog", "Issues")
"""What package indexes show beside the description."""


def missing(root: Path) -> list[str]:
    """What is left to do, in words. Empty: nothing."""
    project: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    version = str(project["version"])
    urls: dict[str, str] = project.get("urls", {})
    found = [
        f"[project.urls] in pyproject.toml has no {name}: write where this release can be found"
        for name in URLS
        if not urls.get(name, "").startswith("https://")
    ]
    said = re.search(r'^__version__ = "(.*)"$', (root / "qpidha/__init__.py").read_text(), re.MULTILINE)
    if said is None or said[1] != version:
        found.append(f"qpidha/__init__.py and pyproject.toml ({version}) differ in the version")
    if f"## [{version}]" not in (root / "CHANGELOG.md").read_text():
        found.append(f"CHANGELOG.md has no section [{version}]: run towncrier build --version {version}")
    fragments = [p.name for p in (root / "docs/newsfragments").glob("*.*.md")]
    if fragments:
        found.append(
            f"{len(fragments)} news fragments are not in CHANGELOG.md yet, {min(fragments)} for instance"
        )
    return found


if __name__ == "__main__":
    left = missing(ROOT)
    print("\n".join(left) or "nothing is missing")
    sys.exit(1 if left else 0)
