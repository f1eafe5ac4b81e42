"""An embedder's whole broker under faults, in virtual time: see `qpidha.testing.rehearsal.rehearsal`."""

from qpidha.testing.rehearsal.edge import Edge
from qpidha.testing.rehearsal.rehearsal import Broker, Rehearsal, Side
from qpidha.testing.rehearsal.report import Report
from qpidha.testing.rehearsal.seat import Seat

__all__ = ["Broker", "Edge", "Rehearsal", "Report", "Seat", "Side"]
