"""A gate lets all threads through once it is open, and none before."""

from __future__ import annotations

import threading

from qpidha.node.sync.gate import Gate
from tests.support.threads import SOON_S, Worker


def test_a_closed_gate_holds_a_thread_for_its_time() -> None:
    assert not Gate().wait(0)
    assert not Gate().wait(0.001)


def test_all_threads_get_through_again_and_again() -> None:
    gate = Gate()
    workers = [Worker(lambda: gate.wait(SOON_S)) for _ in range(5)]
    gate.open()
    assert [worker.join() for worker in workers] == [None] * 5
    assert [worker.result for worker in workers] == [True] * 5
    assert gate.wait(0)


def test_a_thread_that_keeps_the_lock_holds_up_others_for_their_time_only() -> None:
    """An exception of a signal handler may end a wait between taking the lock and giving it back."""
    gate = Gate()
    gate.open()
    assert gate._lock.acquire(timeout=0)
    gate._open = False  # As the other thread saw it before.
    threading.Timer(0.01, lambda: setattr(gate, "_open", True)).start()
    assert gate.wait(0.1)
