"""Decisions about stores that no node serves: whether to start with one, which is best, and what record they make."""

from qpidha.recovery.findings import Finding, Severity
from qpidha.recovery.ranking import Ranked, rank
from qpidha.recovery.rebuild import Rebuilt, rebuilt
from qpidha.recovery.validator import START_RULES, StartDecision, Verdict, check_join, check_start

__all__ = [
    "START_RULES",
    "Finding",
    "Ranked",
    "Rebuilt",
    "Severity",
    "StartDecision",
    "Verdict",
    "check_join",
    "check_start",
    "rank",
    "rebuilt",
]
