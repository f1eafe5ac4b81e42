"""What ``qpidha new`` writes: a small broker, its test, a unit of systemd and a page. Read as text, not imported."""

from __future__ import annotations

from pathlib import Path

FILES = ("broker.py", "test_broker.py", "broker@.service", "README.md")
HERE = Path(__file__).parent


def files() -> dict[str, str]:
    """The text of each file, by name. In the new directory its modules are not in this package any more."""
    package = f"from {__name__}.broker import "
    return {
        name: (HERE / name).read_text(encoding="utf-8").replace(package, "from broker import ")
        for name in FILES
    }
