"""Which bugs are planted: plain data, by the layer that they are in."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.table.operations import OPERATIONS
from tests.mutants.table.roles import ROLES

MUTANTS: tuple[Mutant, ...] = (*ROLES, *OPERATIONS)
