"""A deterministic simulation of whole clusters, and checkers of what must hold in them.

    World       nodes, network, disks, cluster manager and clients, in virtual time, from one seed
    Walk        a random run of a world: every failure there is, then none, and everything must be whole
    Scenario    a run written as text, with what came of each step
    Checker     the invariants, watched on disks and at clients; raises Violation

Public: use it to test another sequence of failures, another setting, another version of the protocol. It
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
