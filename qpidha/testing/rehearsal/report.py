"""The report of a rehearsal."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Report:
    """The result of a rehearsal."""

    seed: int
    confirmed: int = 0
    """Values that were confirmed: all of them, after a run without a violation."""
    duplicates: int = 0
    """Deliveries of values that had been delivered before."""
    requests: int = 0
    """Requests that were answered with success, of what the broker offers besides publish and accept."""
    reads: int = 0
    """Reads that were answered, of clients that only read."""
    checks: int = 0
    """How often own checks were called."""
    processes: int = 0
    """Processes that were started, of all nodes."""
    virtual_s: float = 0.0
    """The length of the run."""
    faults: dict[str, int] = field(default_factory=dict)
    """How often each kind of fault happened."""
    log: list[str] = field(default_factory=list)
    """What was done to the cluster, each line with the virtual time in seconds."""
    raised: list[str] = field(default_factory=list)
    """Errors that callbacks of the broker raised, and how processes ended that were not killed."""
