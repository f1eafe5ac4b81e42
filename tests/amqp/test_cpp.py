"""Proton's client for C++ and a primary that is killed five times: an exact ledger. The test compiles the client."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.amqp.brokers import Brokers
from tests.amqp.scripts import check_ledger, check_sizes
from tests.support.missing import leave_out

HEADER = "#include <proton/container.hpp>\n"
pytestmark = [pytest.mark.slow, pytest.mark.external, pytest.mark.processes, pytest.mark.timeout(280)]


def compiled(name: str, folder: Path) -> list[str]:
    """The command of a program that is compiled from one of the files beside this one."""
    compiler = shutil.which("g++")
    if compiler is None or not _has_proton(compiler):
        leave_out("needs g++ and Proton for C++: apt-get install g++ libqpid-proton-cpp12-dev")
    program, source = folder / "client", Path(__file__).with_name(name)
    subprocess.run([compiler, "-std=c++17", "-o", str(program), str(source), "-lqpid-proton-cpp"], check=True)
    return [str(program)]


def _has_proton(compiler: str) -> bool:
    command = [compiler, "-std=c++17", "-fsyntax-only", "-x", "c++", "-"]
    return not subprocess.run(command, input=HEADER, text=True, capture_output=True).returncode


def test_five_kills_lose_and_repeat_nothing_of_proton_cpp(tmp_path: Path) -> None:
    command = compiled("cpp_client.cpp", tmp_path)
    with Brokers(tmp_path / "nodes") as brokers:
        brokers.start()
        check_ledger(brokers, command)


def test_messages_of_all_sizes_of_proton_cpp(tmp_path: Path) -> None:
    """This version of the client is not told the condition of a rejection."""
    command = compiled("cpp_sizes.cpp", tmp_path)
    with Brokers(tmp_path / "nodes", 1, memory=True) as brokers:
        brokers.start()
        check_sizes(brokers, command, kinds=4, condition="")
