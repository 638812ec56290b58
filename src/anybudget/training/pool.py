"""The candidate pool of greedy supernet training: the best paths seen so far, by their latest score."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from anybudget.architecture import Architecture
from anybudget.storage.records import PoolMember


class CandidatePool:
    """A bounded priority queue of architectures: at most `size`, those with the lowest loss.

    An architecture that is scored again gets its new loss, better or worse, since weights have moved on.

    Source: GreedyNAS §4.1 and Algorithm 2.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._losses: dict[Architecture, float] = {}
        self._by_age: dict[Architecture, None] = {}  # the members, those whose loss is oldest first

    def __len__(self) -> int:
        return len(self._losses)

    def __contains__(self, architecture: object) -> bool:
        return architecture in self._losses

    def __iter__(self) -> Iterator[Architecture]:
        """From the lowest loss to the highest."""
        return iter(sorted(self._losses, key=self._losses.__getitem__))

    @property
    def losses(self) -> Mapping[Architecture, float]:
        """The latest loss of every member."""
        return self._losses

    @property
    def full(self) -> bool:
        """Whether a new member has to push another out."""
        return len(self) >= self.size

    def rescore(self, architecture: Architecture, loss: float) -> None:
        """Replace the loss of a member; nothing happens to others."""
        if architecture in self._losses:
            self._set(architecture, loss)

    def add(self, architecture: Architecture, loss: float) -> None:
        """Take an architecture in, or replace its loss; the worst member leaves when there are too many."""
        self._set(architecture, loss)
        if len(self) > self.size:
            worst = max(self._losses, key=self._losses.__getitem__)
            del self._losses[worst], self._by_age[worst]

    def _set(self, architecture: Architecture, loss: float) -> None:
        self._losses[architecture] = loss
        self._by_age.pop(architecture, None)
        self._by_age[architecture] = None

    def oldest(self, count: int, besides: Collection[Architecture] = ()) -> list[Architecture]:
        """Up to `count` members but for some, those whose loss was measured longest ago first."""
        return list(islice((member for member in self._by_age if member not in besides), count))

    def sample(self, rng: np.random.Generator) -> Architecture:
        """One member, drawn uniformly."""
        members = list(self._losses)
        return members[int(rng.integers(len(members)))]

    def state_dict(self) -> dict[str, Any]:
        """The members as they came in, which `sample` depends on, their losses, and their places by age of these."""
        place = {member: number for number, member in enumerate(self._losses)}
        return {
            "members": [[list(member.choices), loss] for member, loss in self._losses.items()],
            "by_age": [place[member] for member in self._by_age],
        }

    def load_state_dict(self, state: dict[str, Any], space: str) -> None:
        """Restore such a state, of a pool over the space of that name."""
        self._losses = {Architecture(space, tuple(choices)): loss for choices, loss in state["members"]}
        members = list(self._losses)
        # A pool that was saved before ages were kept has none.
        self._by_age = dict.fromkeys(members[place] for place in state.get("by_age", range(len(members))))

    def to_records(self) -> list[PoolMember]:
        """What is kept of the members, from the lowest loss to the highest."""
        return [PoolMember(architecture=member, loss=self._losses[member]) for member in self]

    @classmethod
    def from_records(cls, members: Sequence[PoolMember]) -> CandidatePool:
        """The pool of what `to_records` has kept, as large as these are many."""
        pool = cls(len(members))
        for member in members:
            pool.add(member.architecture, float(member.loss))
        return pool
