"""Compiled modules run only while their sources are those that were compiled, and only if nobody wants the sources."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from qpidha import compiled
from tests.support.finals import copied_from


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the sources, with files where compiled modules would lie. Nothing imports them."""
    monkeypatch.delenv("QPIDHA_PURE", raising=False)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    for module in (*compiled.MODULES, *compiled.CONSTANTS):
        copy = tmp_path / compiled.source(module).relative_to(compiled.PACKAGE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(compiled.source(module), copy)
    monkeypatch.setattr(compiled, "PACKAGE", tmp_path)
    folder = tmp_path / "_compiled" / compiled.digest()
    folder.mkdir(parents=True)
    for module in (compiled.LIBRARY, *compiled.MODULES):
        (folder / (module.replace(".", "-") + EXTENSION_SUFFIXES[0])).touch()
    return tmp_path


def test_each_module_of_the_list_is_there_once() -> None:
    assert len(set(compiled.MODULES)) == len(compiled.MODULES) > 40
    assert all(compiled.source(module).is_file() for module in compiled.MODULES)


@pytest.mark.usefixtures("package")
def test_compiled_modules_are_found_before_their_sources() -> None:
    assert compiled.use()
    finder = sys.meta_path[0]
    assert isinstance(finder, compiled.Compiled)
    spec = finder.find_spec("qpidha.wire.codec")
    assert spec is not None and spec.origin is not None and spec.origin.endswith(EXTENSION_SUFFIXES[0])
    assert finder.find_spec("qpidha.core.replica") is None, "it is not compiled"


def test_after_an_edit_of_one_source_all_sources_run(package: Path) -> None:
    for edited in (package / "wire" / "codec.py", package / "wire" / "groups.py"):
        whole, finders = edited.read_bytes(), list(sys.meta_path)
        edited.write_bytes(whole + b"\n")
        assert not compiled.use() and sys.meta_path == finders
        edited.write_bytes(whole)
        assert compiled.use()


@pytest.mark.usefixtures("package")
def test_a_text_that_moves_from_one_file_to_the_next_is_an_edit() -> None:
    before = compiled.digest()
    first, second = (compiled.source(module) for module in compiled.MODULES[:2])
    text = first.read_bytes()
    first.write_bytes(b"")
    second.write_bytes(text + second.read_bytes())
    assert compiled.digest() != before


def test_if_one_file_is_missing_all_sources_run(package: Path) -> None:
    next((package / "_compiled").rglob("qpidha-driver*")).unlink()
    assert compiled.built() == {}


@pytest.mark.usefixtures("package")
def test_the_sources_run_if_they_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QPIDHA_PURE", "1")
    assert not compiled.use()


def test_it_is_an_error_if_compiled_modules_are_wanted_and_missing(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QPIDHA_PURE", "0")
    assert compiled.use()
    shutil.rmtree(package / "_compiled")
    with pytest.raises(ImportError, match="make compiled"):
        compiled.use()


def test_it_is_asked_before_any_other_module_is_imported() -> None:
    """A module that is imported before would be one of the sources, beside compiled ones."""
    program = (
        "import sys, importlib.abc\n"
        "names = []\n"
        "class Watch(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        names.append(name)\n"
        "sys.meta_path.insert(0, Watch())\n"
        "import qpidha\n"
        "print([name for name in names if name.startswith('qpidha')][:2])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['qpidha', 'qpidha.compiled']"


def test_a_module_whose_constants_are_compiled_into_others_is_noted() -> None:
    """It would not be seen that such a constant is another one now: its value is written into what is compiled."""
    assert copied_from(compiled.MODULES) == set(compiled.CONSTANTS)


def test_no_compiled_module_makes_an_object_without_its_constructor() -> None:
    """Compiled classes refuse it, and not before the object is made: then the node ends."""
    assert not [name for name in compiled.MODULES if "__new__(" in compiled.source(name).read_text()]
