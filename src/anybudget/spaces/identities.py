"""Layers that may be skipped: within a run of equal layers it makes no difference which of them are."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive layers with equal choices: their indices, how many choices each has, and which are the identity."""

    layers: tuple[int, ...]
    choices: int
    identities: frozenset[int]

    @property
    def networks(self) -> int:
        """Number of distinct networks: 0 to all of the layers do something, and the others follow them."""
        others, most = self.choices - len(self.identities), len(self.layers)
        counts: list[int] = [others**used for used in range(most + 1)]
        return sum(counts) if self.identities else counts[most]


def consecutive(layers: Sequence[Hashable]) -> list[tuple[int, ...]]:
    """The indices of the layers, cut into runs of equal ones."""
    return [tuple(members) for _, members in groupby(range(len(layers)), layers.__getitem__)]


def identities_last(choices: Sequence[int], runs: Sequence[Run]) -> tuple[int, ...]:
    """The choices with the identities of every run behind its other choices, which keep their order."""
    ordered = list(choices)
    for run in runs:
        moved = sorted((choices[layer] for layer in run.layers), key=run.identities.__contains__)  # a stable sort
        for layer, choice in zip(run.layers, moved, strict=True):
            ordered[layer] = choice
    return tuple(ordered)
