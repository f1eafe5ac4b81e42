"""The ledger of a run: what clients did with each message, and what they were told of it."""

from __future__ import annotations

from qpidha.types import Generation


class Ledger:
    """Messages by what is true of them. A message is named by its value, which is unique in a run."""

    def __init__(self) -> None:
        self.acked: dict[str, None] = {}
        """Acknowledged values, in the order of the acknowledgements."""
        self.owed: dict[str, None] = {}
        """Acknowledged values that no consumer accepted: every member must have them."""
        self.refusals: set[str] = set()
        """Values whose publish was refused."""
        self.doubts: set[str] = set()
        """Values whose publish ended in doubt."""
        self.consumed: set[str] = set()
        """Values that a consumer accepted, whether that was confirmed or not."""
        self.confirmed: set[str] = set()
        """Values whose accept was confirmed, by a primary whose members had all dequeued them."""
        self.dead: dict[str, Generation] = {}
        """Values that were handed over as rewound, and in which generation."""
        self.copies: dict[str, int] = {}
        """Values that were published to several queues, and to how many: each copy is a message for itself (U6)."""
