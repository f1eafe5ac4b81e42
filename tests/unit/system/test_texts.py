"""Texts with bytes of a path that are no UTF-8: all that leaves the process can be encoded, and read as JSON."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from qpidha.system.texts import json_text, plain_text

ODD = os.fsdecode(b"/srv/d\xff")
SHOWN = "/srv/d\\udcff"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("/srv/\u0449\U0001f600", "/srv/\u0449\U0001f600"),
        (ODD, SHOWN),
        (SHOWN, SHOWN),
        ("\ud83d", "\\ud83d"),
    ],
)
def test_a_text_that_can_be_encoded(text: str, shown: str) -> None:
    assert plain_text(text) == shown
    assert plain_text(shown).encode() == shown.encode()


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (ODD, SHOWN),
        ({"why": ODD, "n": [1, None, True, (ODD,)]}, {"why": SHOWN, "n": [1, None, True, [SHOWN]]}),
        ({ODD: {"a": ODD}, 7: 1.5}, {SHOWN: {"a": SHOWN}, "7": 1.5}),
        ({"name": "\U0001f600 \ud83d"}, {"name": "\U0001f600 \\ud83d"}),
        ([SHOWN, "\\ud83d"], [SHOWN, "\\ud83d"]),
        ({"name": "orders"}, {"name": "orders"}),
    ],
)
def test_a_document_has_no_half_of_a_pair(value: Any, read: Any) -> None:
    document = json_text(value)
    assert document.isascii()
    assert json.loads(document) == read
    json.dumps(json.loads(document), ensure_ascii=False).encode()  # As a strict reader decodes it.
