"""The demo streams files byte for byte, whatever is in them.

Method: awkward files are written, read as messages and joined again; the joint content must be that of the
files, and no bound on batches or lines may be broken on the way.
"""

from __future__ import annotations

import io
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpidha.demo import input as source
from qpidha.demo.input import InputError, from_files, from_library, in_batches, lines, look_at

AWKWARD = {
    "empty": b"",
    "no end of line": b"last line without an end",
    "only ends": b"\n\n\r\n\n",
    "binary": bytes(range(256)) * 40,
    "other ends": b"one\rtwo\r\nthree\x0bfour\x0cfive\x85six",
    "broken utf-8": b"\xff\xfe\xc3\n\xed\xa0\x80",
    "long line": b"x" * (source.LINE_BYTES_MAX * 2 + 17) + b"\nshort\n",
}


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = []
    for name, content in AWKWARD.items():
        paths.append(tmp_path / name)
        paths[-1].write_bytes(content)
    return paths


def test_the_messages_joined_are_the_files(files: list[Path]) -> None:
    found = look_at("awkward", files)
    streamed = [message for batch in found.batches() for message in batch]
    assert b"".join(streamed) == b"".join(AWKWARD.values())
    assert (found.messages, found.nbytes) == (len(streamed), sum(map(len, streamed)))
    assert all(streamed), "an empty message would not show in the joint content"


def test_a_line_is_a_message_and_files_do_not_run_together(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1\n2")
    (tmp_path / "b").write_bytes(b"3\n")
    found = look_at("two", [tmp_path / "a", tmp_path / "b"])
    assert list(found.batches()) == [[b"1\n", b"2", b"3\n"]]


@given(st.binary(max_size=300), st.integers(1, 7), st.integers(1, 40))
def test_batches_keep_their_bounds(content: bytes, messages_max: int, bytes_max: int) -> None:
    batches = list(in_batches(lines(io.BytesIO(content)), messages_max, bytes_max))
    assert b"".join(b"".join(batch) for batch in batches) == content
    for batch in batches:
        assert 1 <= len(batch) <= messages_max
        assert len(batch) == 1 or sum(map(len, batch)) <= bytes_max


def test_a_limit_counts_messages(files: list[Path]) -> None:
    found = look_at("awkward", files, limit=3)
    assert found.messages == 3
    assert sum(map(len, found.batches())) == 3


def test_the_library_is_the_default() -> None:
    found = from_library(limit=1000)
    assert found.messages == 1000
    assert found.name.startswith("the standard library of Python 3.")
    assert not any("site-packages" in path.parts for path in found.files)


@pytest.mark.parametrize("name", ["missing", "."])
def test_what_cannot_be_read_is_wrong_usage(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot read"):
        from_files([str(tmp_path / name)], tmp_path)


def test_a_pipe_is_copied_because_it_is_read_twice(tmp_path: Path) -> None:
    pipe, spool = tmp_path / "pipe", tmp_path / "spool"
    spool.mkdir()
    os.mkfifo(pipe)
    threading.Thread(target=pipe.write_bytes, args=(b"a\nb\n",)).start()
    found = from_files([str(pipe)], spool)
    assert list(found.batches()) == list(found.batches()) == [[b"a\n", b"b\n"]]


def test_standard_input_is_a_file_like_any_other(tmp_path: Path, monkeypatch: Any) -> None:
    class Stdin:
        buffer = io.BytesIO(b"x\ny")

    monkeypatch.setattr("sys.stdin", Stdin)
    found = from_files(["-"], tmp_path)
    assert found.name == "standard input"
    assert list(found.batches()) == [[b"x\n", b"y"]]


def test_the_messages_of_a_batch_are_limited(tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes(b"a\nb\nc\n")
    found = from_files([str(tmp_path / "lines")], tmp_path)
    assert list(replace(found, batch=1).batches()) == [[b"a\n"], [b"b\n"], [b"c\n"]]
    assert list(replace(found, batch=2).batches()) == [[b"a\n", b"b\n"], [b"c\n"]]
