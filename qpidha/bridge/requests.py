"""Sends a request of the core to a record store, and returns what is known of the outcome (M2)."""

from __future__ import annotations

import asyncio

from qpidha.core.manager import Answer, Applied, Lost, NotSent, Read, Unknown
from qpidha.core.ready import CompareAndSet, Request
from qpidha.errors import ClusterError, Conflict, Unavailable
from qpidha.interfaces import RecordStore
from qpidha.system.within import within


async def ask(records: RecordStore, request: Request, timeout_s: float) -> tuple[Answer, str]:
    """Perform one request. Returns the answer for `Replica.answered`, and what went wrong (empty: nothing).

    A refused compare-and-set is an answer (`Lost`), not a failure. `NotSent` is returned only if it was surely not
    applied; everything else that failed is `Unknown`.
    """
    try:
        return await _answer(records, request, timeout_s), ""
    except Conflict as error:
        return Lost(error.current), ""
    except (ClusterError, asyncio.TimeoutError) as error:
        answer = NotSent() if isinstance(error, Unavailable) else Unknown()
        return answer, str(error) or f"no answer in {timeout_s} s"


async def _answer(records: RecordStore, request: Request, timeout_s: float) -> Answer:
    if not isinstance(request, CompareAndSet):
        return Read(await within(records.read(), timeout_s))
    if request.expected is None:
        return Applied(await records.create(request.new))
    return Applied(await records.compare_and_set(request.expected, request.new, timeout_s=timeout_s))
