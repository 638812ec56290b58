"""Owns the path samplers: which spellings of which networks a supernet trains next."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np

from anybudget.architecture import Architecture
from anybudget.spaces import SearchSpace, Spelling


class PathSampler(ABC):
    """Chooses the paths that supernet training visits."""

    @abstractmethod
    def paths(self, rng: np.random.Generator) -> list[Spelling]:
        """The next paths to train, in order; training asks again when it has used them up."""


class FairSampler(PathSampler):
    """Strict fairness: over one call's paths, a round, every operation of every slot is trained equally often.

    Source: FairNAS §3 (strict fairness), as SGNAS §3.3 uses it for kernels and expansion rates.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space

    def paths(self, rng: np.random.Generator) -> list[Spelling]:
        """One round, in random order."""
        return self.space.fair_round(rng)


class CanonicalFairSampler(FairSampler):
    """A fair round with every path replaced by its canonical spelling: other arrangements are never trained.

    The comparison that `docs/unified-supernet.md` measures: expansion rates and kernels stay balanced over the round,
    (sub-block, kernel) pairs do not.
    """

    def paths(self, rng: np.random.Generator) -> list[Spelling]:
        """One round of canonical spellings."""
        return [self.space.spell(self.space.canonical(spelling)) for spelling in super().paths(rng)]


class UniformSampler(PathSampler):
    """One path at a time, every choice drawn uniformly and independently.

    Source: SPOS §3.2, Eq. 7 with uniform sampling.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space

    def paths(self, rng: np.random.Generator) -> list[Spelling]:
        """One path."""
        choices = tuple(int(rng.integers(len(decision.choices))) for decision in self.space.decisions)
        return [self.space.spell(Architecture(self.space.name, choices))]


SAMPLERS: dict[str, Callable[[SearchSpace], PathSampler]] = {
    "fair": FairSampler,
    "fair-canonical": CanonicalFairSampler,
    "uniform": UniformSampler,
}
"""Every registered path sampler by name."""
