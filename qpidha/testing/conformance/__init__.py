"""Checks for what others write: a store, a transport, a record store, a promoter, a queue, a listener.

    store_checks, transport_checks, record_checks, promoter_checks, queue_checks, listener_checks
                 a factory in, a list of `Check` out: one for each rule of the interface
    run          runs many
    RuleBroken   which rule was broken, what was done, what was expected and what was seen

One line with pytest: ``@pytest.mark.parametrize("check", conformance.store_checks(make), ids=str)``, with
``check()`` in the test. Imports no test framework itself.
"""

import qpidha.testing.conformance.storefiles  # noqa: F401 - its rules join those of `store`.
from qpidha.testing.conformance.check import Check, RuleBroken, RulesBroken, run
from qpidha.testing.conformance.promoter import promoter_checks
from qpidha.testing.conformance.queue import listener_checks, queue_checks
from qpidha.testing.conformance.records import record_checks
from qpidha.testing.conformance.store import store_checks
from qpidha.testing.conformance.transport import transport_checks

__all__ = [
    "Check",
    "RuleBroken",
    "RulesBroken",
    "listener_checks",
    "promoter_checks",
    "queue_checks",
    "record_checks",
    "run",
    "store_checks",
    "transport_checks",
]
