"""A home is a thread, and in a child of its process no thread at all."""

from __future__ import annotations

import os
from threading import get_ident

import pytest

from qpidha.node.caller import FORKED
from qpidha.node.home import NOWHERE, Home
from qpidha.system import forks


def test_it_belongs_to_the_thread_that_it_entered() -> None:
    made = Home()
    assert made.thread == NOWHERE.thread == 0
    made.enter(get_ident())
    assert made.thread == get_ident()
    assert Home(7).thread == 7


def test_only_what_has_a_thread_is_told_of_a_fork() -> None:
    nowhere, made = Home(), Home(7)
    assert made in forks._watched and nowhere not in forks._watched
    assert list(made.forked()) == []
    assert made.thread == FORKED


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python 3.12 dislikes fork beside threads.
def test_a_forked_child_is_no_home() -> None:
    made = Home(get_ident())
    child = os.fork()
    if not child:
        os._exit(made.thread == FORKED)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert made.thread == get_ident()
