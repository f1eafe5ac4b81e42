"""Which bugs are planted: plain data, by the layer that they are in."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.table.bodies import BODIES_ON_DISK
from tests.mutants.table.certificates import CERTIFICATES
from tests.mutants.table.compiled import COMPILED
from tests.mutants.table.configuration import CONFIGURATION
from tests.mutants.table.discards import DISCARDS
from tests.mutants.table.engines import ENGINES
from tests.mutants.table.explanations import EXPLANATIONS
from tests.mutants.table.groups import COMPARED
from tests.mutants.table.levels import LEVELS
from tests.mutants.table.nodes import NODES
from tests.mutants.table.operations import OPERATIONS
from tests.mutants.table.operators import OPERATORS
from tests.mutants.table.producers import PRODUCING
from tests.mutants.table.queues import QUEUES
from tests.mutants.table.resync import RESYNC
from tests.mutants.table.roles import ROLES
from tests.mutants.table.saved import SAVED
from tests.mutants.table.stores import STORES
from tests.mutants.table.surroundings import SURROUNDINGS
from tests.mutants.table.threads import THREADS
from tests.mutants.table.transports import TRANSPORTS
from tests.mutants.table.updates import UPDATES

MUTANTS: tuple[Mutant, ...] = (
    *ROLES,
    *OPERATIONS,
    *CONFIGURATION,
    *PRODUCING,
    *LEVELS,
    *UPDATES,
    *QUEUES,
    *RESYNC,
    *COMPARED,
    *DISCARDS,
    *EXPLANATIONS,
    *STORES,
    *BODIES_ON_DISK,
    *SAVED,
    *SURROUNDINGS,
    *ENGINES,
    *COMPILED,
    *NODES,
    *THREADS,
    *TRANSPORTS,
    *CERTIFICATES,
    *OPERATORS,
)
