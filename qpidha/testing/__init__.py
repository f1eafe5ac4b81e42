"""A deterministic simulation of whole clusters, and checks of their invariants.

    World       nodes, network, disks, cluster manager and clients, in virtual time, from one seed
    Walk        a random run of a world: faults of all kinds, then none, and all nodes must become equal members
    Scenario    a run written as text, with the expected outputs
    Checker     checks the invariants on disks and at clients; raises Violation
    Observer    is called with every event of a run

Public: use it to test other sequences of failures, other settings, another version of the protocol. It
imports no test framework.
"""

from qpidha.testing.invariants.checker import Checker
from qpidha.testing.invariants.violation import Violation
from qpidha.testing.scenarios.error import ScenarioError
from qpidha.testing.scenarios.scenario import Scenario
from qpidha.testing.sim.observer import Observer
from qpidha.testing.sim.world import SMALL, World
from qpidha.testing.walks.walk import Walk

__all__ = ["SMALL", "Checker", "Observer", "Scenario", "ScenarioError", "Violation", "Walk", "World"]
