r"""Texts with bytes that are no UTF-8: names of files may have them, and so may every error that names a file.

Python decodes such a byte as half of a surrogate pair, which no encoding and no strict reader of JSON takes. Whatever
leaves the process has it escaped: ``/srv/d\udcff``.
"""

from __future__ import annotations

import json
from typing import Any


def plain_text(text: str) -> str:
    r"""The text, with everything escaped that UTF-8 cannot encode. It is the same text in almost every case.

    >>> plain_text("/srv/d\udcff/ä")
    '/srv/d\\udcff/ä'
    """
    return text.encode("utf-8", "backslashreplace").decode()


def json_text(value: Any) -> str:
    """A value of JSON as a document in ASCII, each text in it as `plain_text` has it."""
    document = json.dumps(value)
    if "\\ud" not in document:  # Neither half a pair, nor a whole one, nor a text that looks like it.
        return document
    return json.dumps(_plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, dict):
        return {_plain(key): _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value
