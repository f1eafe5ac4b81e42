"""Whole brokers under faults, in virtual time: see `qpidha.testing.rehearsal.rehearsal`."""

from qpidha.testing.rehearsal.parts import NodeParts
from qpidha.testing.rehearsal.rehearsal import Broker, Client, Rehearsal
from qpidha.testing.rehearsal.report import Report
from qpidha.testing.rehearsal.workload import Workload

__all__ = ["Broker", "Client", "NodeParts", "Rehearsal", "Report", "Workload"]
