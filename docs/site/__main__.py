"""Write what Sphinx reads: ``python -m docs.site OUT``."""

from __future__ import annotations

import sys
from pathlib import Path

from docs.site.sources import write_sources

write_sources(Path(__file__).resolve().parents[2], Path(sys.argv[1]))
