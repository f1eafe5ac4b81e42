"""One planted bug: a patch of one place in one file, and the rule that it breaks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class StaleTableError(Exception):
    """A patch does not fit the code any more: it was written for other lines."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """Plain data; the tables are in `tests.mutants.table`."""

    name: str
    rules: str
    """The ids of what it breaks, most specific first: see docs/rules.md."""
    why: str
    """What the broken code does, as its author might have meant it."""
    file: str
    old: str
    """Occurs once in the file."""
    new: str
    first: str = ""
    """Part of the id of the test that is likely to notice it: it runs first. Only a matter of speed."""

    def patched(self, text: str) -> str:
        """The text of the file with the bug in it.

        Raises:
            StaleTableError: The place is not there, or there are several.
        """
        if (count := text.count(self.old)) != 1:
            raise StaleTableError(f"{self.name}: {self.file} has its old text {count} times, not once")
        return text.replace(self.old, self.new)

    def patched_file(self, root: Path) -> str:
        return self.patched((root / self.file).read_text(encoding="utf-8"))
