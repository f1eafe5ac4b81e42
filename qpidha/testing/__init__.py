"""A deterministic simulation of whole clusters, and checkers of what must hold in them.

    World       nodes, network, disks, cluster manager and clients, in virtual time, from one seed
    Walk        a random run of a world: every failure there is, then none, and everything must be whole
    Scenario    a run written as text, with what came of each step
    Checker     the invariants, watched on disks and at clients; raises Violation

Public: use it to test another sequence of failures, another setting, another version of the protocol. It
imports no test framework.
"""

from qpidha.testing.checkers import Checker, Violation
from qpidha.testing.scenario import Scenario
from qpidha.testing.simulator import SMALL, World
from qpidha.testing.stage import ScenarioError
from qpidha.testing.walk import Walk

__all__ = ["SMALL", "Checker", "Scenario", "ScenarioError", "Violation", "Walk", "World"]
