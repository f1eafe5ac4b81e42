"""Whole brokers under faults, in virtual time: see `qpidha.testing.rehearsal.rehearsal`."""

from qpidha.testing.rehearsal.clients import Client
from qpidha.testing.rehearsal.ledger import Ledger
from qpidha.testing.rehearsal.parts import NodeParts
from qpidha.testing.rehearsal.quiet import OwnCheck, Quiet
from qpidha.testing.rehearsal.rehearsal import Broker, Rehearsal
from qpidha.testing.rehearsal.report import Report
from qpidha.testing.rehearsal.requests import (
    CommitsMessages,
    DeclaresQueues,
    KeepsKeys,
    KeepsObjects,
    MakeRequests,
    PublishesOnce,
    RequestRefused,
    Requests,
    RequestUnknown,
)
from qpidha.testing.rehearsal.workload import Workload

__all__ = [
    "Broker",
    "Client",
    "CommitsMessages",
    "DeclaresQueues",
    "KeepsKeys",
    "KeepsObjects",
    "Ledger",
    "MakeRequests",
    "NodeParts",
    "OwnCheck",
    "PublishesOnce",
    "Quiet",
    "Rehearsal",
    "Report",
    "RequestRefused",
    "RequestUnknown",
    "Requests",
    "Workload",
]
