"""Handing discarded messages over to the embedder, once nothing can bring them back (W2).

quarantined ──(generation established)──► offered ──(the embedder took them)──► released, audited
└──(it failed)──► offered again after ``discard_retry_s``
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from math import inf

from qpidha.core.ready import HandOver
from qpidha.core.state import NodeState
from qpidha.journal import Release
from qpidha.types import Discarded


class Discards:
    """Offers the content of quarantine to the embedder."""

    def __init__(self, state: NodeState) -> None:
        self._state = state
        self._offer_at = inf
        """When to offer what the embedder has not taken, or was not offered yet; -inf: with the next `Ready`."""
        self._releasing: Iterator[Release | None] | None = None
        """The releases still to be made of messages that are alive in the history established here; None: no more."""

    @property
    def unfinished(self) -> bool:
        """Work is left that can go on with the next slice, without any input."""
        return self._offer_at == -inf or self._releasing is not None

    @property
    def idle(self) -> bool:
        """Nothing is to be released or offered, now or at some time."""
        return self._offer_at == inf and self._releasing is None

    def hand_over(self) -> None:
        """Offer a portion of the quarantine, once the generation now followed is established: it is dead then (W2)."""
        if self._releasing is not None:
            return  # Messages that are alive leave quarantine first.
        state = self._state
        messages = tuple(state.quarantined.due(self._state.histories, state.settings.queues_per_slice))
        if not messages:
            return
        if state.settings.discard_policy == "drop":
            self.taken(messages)
        else:
            state.outbox.notify(HandOver(messages))

    def taken(self, messages: Iterable[Discarded]) -> None:
        """The embedder took these: they leave quarantine, and the audit record says so."""
        state = self._state
        state.outbox.persist(*state.quarantined.taken(tuple(messages), state.generation))
        if state.quarantined.waiting:
            self._offer_at = -inf

    def failed(self, now: float) -> None:
        """The embedder did not take what was offered: offer it again after ``discard_retry_s``.

        If this node then follows a history that is not established yet, its `Established` offers it (W2).
        """
        self._state.quarantined.withdraw()
        self._offer_at = now + self._state.settings.discard_retry_s

    def retry(self, now: float, *, established: bool) -> None:
        """Offer again if it is time, and the history now followed is established."""
        if now < self._offer_at:
            return
        self._offer_at = inf
        if established:
            self.hand_over()

    def begin_releasing(self) -> None:
        """This primary's generation is established: messages that its history has live, or were settled (W2)."""
        self._releasing = self._state.quarantined.release_alive(self._state.histories)

    def stop_releasing(self) -> None:
        """This node is no longer primary: the rest is judged by the next history."""
        self._releasing = None

    def release_more(self) -> None:
        """Release one slice of the messages that are alive. After the last slice, offer the rest, which is dead (W2)."""
        if self._releasing is None:
            return
        left = self._state.settings.queues_per_slice
        for release in itertools.islice(self._releasing, left):
            left -= 1
            if release is not None:
                self._state.outbox.persist(release)
        if left:
            self._releasing = None
            self.hand_over()
