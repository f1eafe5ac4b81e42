"""Checks for your own store, transport, record store, promoter, queue, index, listener, or loop around the core.

    store_checks, transport_checks, record_checks, promoter_checks, queue_checks, listener_checks, index_checks,
    loop_checks  take a factory, return a list of `Check`: one for each rule of the interface
    run          runs many checks
    RuleBroken   which rule was broken, what was done, what was expected and what was seen

One line with pytest: ``@pytest.mark.parametrize("check", conformance.store_checks(make), ids=str)``, with
``check()`` in the test. This package imports no test framework.
"""

import qpidha.testing.conformance.storefiles
import qpidha.testing.conformance.storereading
import qpidha.testing.conformance.storestaging
import qpidha.testing.conformance.storestate  # noqa: F401 - the rules of all four join those of `store`.
from qpidha.testing.conformance.check import Check, RuleBroken, RulesBroken, run
from qpidha.testing.conformance.index import index_checks
from qpidha.testing.conformance.listener import listener_checks
from qpidha.testing.conformance.loop import loop_checks
from qpidha.testing.conformance.promoter import promoter_checks
from qpidha.testing.conformance.queue import queue_checks
from qpidha.testing.conformance.records import record_checks
from qpidha.testing.conformance.store import store_checks
from qpidha.testing.conformance.surroundings import CoreLoop, Surroundings
from qpidha.testing.conformance.transport import transport_checks

__all__ = [
    "Check",
    "CoreLoop",
    "RuleBroken",
    "RulesBroken",
    "Surroundings",
    "index_checks",
    "listener_checks",
    "loop_checks",
    "promoter_checks",
    "queue_checks",
    "record_checks",
    "run",
    "store_checks",
    "transport_checks",
]
