"""Owns the path samplers: which spellings of which networks a supernet trains next."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from anybudget.architecture import Architecture
from anybudget.spaces import SearchSpace, Spelling
from anybudget.training.pool import CandidatePool

ScorePaths = Callable[[Sequence[Spelling]], list[float]]
"""Loss of each path with the present weights on one small validation batch; lower is better."""


class PathSampler(ABC):
    """Chooses the paths that supernet training visits."""

    @abstractmethod
    def paths(self, rng: np.random.Generator, score: ScorePaths) -> list[Spelling]:
        """The next paths to train, in order; training asks again when it has used them up."""

    @property
    def finished(self) -> bool:
        """Whether more training would change nothing that the sampler looks at."""
        return False

    def state_dict(self) -> dict[str, Any]:
        """What the sampler remembers from call to call, as plain data; most remember nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027 - most have nothing to go on from
        """Go on from such a state."""


class FairSampler(PathSampler):
    """Strict fairness: over one call's paths, a round, every operation of every slot is trained equally often.

    Source: FairNAS §3 (strict fairness), as SGNAS §3.3 uses it for kernels and expansion rates.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space

    def paths(self, rng: np.random.Generator, score: ScorePaths) -> list[Spelling]:  # noqa: ARG002 - fair to all
        """One round, in random order."""
        return self.space.fair_round(rng)


class CanonicalFairSampler(FairSampler):
    """A fair round with every path replaced by its canonical spelling: other arrangements are never trained.

    The comparison that `docs/unified-supernet.md` measures: expansion rates and kernels stay balanced over the round,
    (sub-block, kernel) pairs do not.
    """

    def paths(self, rng: np.random.Generator, score: ScorePaths) -> list[Spelling]:
        """One round of canonical spellings."""
        return [self.space.spell(self.space.canonical(spelling)) for spelling in super().paths(rng, score)]


class UniformSampler(PathSampler):
    """One path at a time, every choice drawn uniformly and independently.

    Differs: the paper draws networks; where several choices spell one network, it comes as often as it is spelled.

    Source: SPOS §3.2, Eq. 7 with uniform sampling.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space

    def paths(self, rng: np.random.Generator, score: ScorePaths) -> list[Spelling]:  # noqa: ARG002 - uniform over all
        """One path."""
        return [uniform_path(self.space, rng)]


@dataclass(frozen=True, slots=True)
class GreedySettings:
    """How greedy path filtering works; the defaults are GreedyNAS's, but for `warmup` and `window`, which scale.

    `sampled` paths are scored on `score_images` validation images and the best `kept` are trained. `warmup` is the
    share of all steps with uniform paths before that. A path comes from the pool with a probability that grows linearly
    to `pool_probability`; training stops when at most `stop_share` of the pool is new after `window` rounds (0: never).
    """

    sampled: int = 10
    kept: int = 5
    score_images: int = 1000
    pool_size: int = 1000
    pool_probability: float = 0.8
    warmup: float = 0.2
    window: int = 100
    stop_share: float = 0.08


class GreedySampler(PathSampler):
    """Multi-path sampling with rejection, a candidate pool, and an end when the pool is steady.

    The text of the paper stops when the share of the pool that changes is at most α; its Eq. 10 writes the share that
    stays. We take the text.

    Source: GreedyNAS §3.2, §4.1, Algorithms 1 and 2.
    """

    def __init__(self, space: SearchSpace, settings: GreedySettings, steps: int) -> None:
        self.space = space
        self.settings = settings
        self.pool = CandidatePool(settings.pool_size)
        self._warmup = round(settings.warmup * steps)
        self._rounds = max(1, (steps - self._warmup) // settings.kept)
        self._warm, self._round = 0, 0
        self._before: frozenset[Architecture] | None = None
        self._steady = False

    @property
    def pool_probability(self) -> float:
        """How likely the next path comes from the pool."""
        return self.settings.pool_probability * min(1.0, self._round / self._rounds)

    @property
    def finished(self) -> bool:
        """Whether the pool is steady."""
        return self._steady

    def paths(self, rng: np.random.Generator, score: ScorePaths) -> list[Spelling]:
        """A uniform path while warming up, then the best of a round."""
        if self._warm < self._warmup:
            self._warm += 1
            return [uniform_path(self.space, rng)]
        share = self.pool_probability
        drawn = [
            self.space.spell(self.pool.sample(rng))
            if len(self.pool) and rng.random() < share
            else uniform_path(self.space, rng)
            for _ in range(self.settings.sampled)
        ]
        losses = score(drawn)
        order = sorted(range(len(drawn)), key=losses.__getitem__)
        for index in order:
            self.pool.rescore(self.space.canonical(drawn[index]), losses[index])
        best = order[: self.settings.kept]
        for index in best:
            self.pool.add(self.space.canonical(drawn[index]), losses[index])
        self._round += 1
        self._look_back()
        return [drawn[index] for index in best]

    def state_dict(self) -> dict[str, Any]:
        """See `PathSampler.state_dict`."""
        before = None if self._before is None else sorted(member.choices for member in self._before)
        return {
            "pool": self.pool.state_dict(),
            "warm": self._warm,
            "round": self._round,
            "before": before,
            "steady": self._steady,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `PathSampler.load_state_dict`."""
        self.pool.load_state_dict(state["pool"], self.space.name)
        self._warm, self._round, self._steady = state["warm"], state["round"], state["steady"]
        members = state["before"]
        self._before = None if members is None else frozenset(Architecture(self.space.name, tuple(m)) for m in members)

    def _look_back(self) -> None:
        """Every `window` rounds, compare the pool with what it was."""
        if not self.settings.window or self._round % self.settings.window:
            return
        now = frozenset(self.pool.losses)
        if self._before is not None and self.pool.full:
            self._steady = len(now - self._before) <= self.settings.stop_share * len(now)
        self._before = now


def uniform_path(space: SearchSpace, rng: np.random.Generator) -> Spelling:
    """A path with every choice drawn uniformly and independently."""
    choices = tuple(int(rng.integers(len(decision.choices))) for decision in space.decisions)
    return space.spell(Architecture(space.name, choices))


SAMPLERS: dict[str, Callable[[SearchSpace, GreedySettings, int], PathSampler]] = {
    "fair": lambda space, _settings, _steps: FairSampler(space),
    "fair-canonical": lambda space, _settings, _steps: CanonicalFairSampler(space),
    "uniform": lambda space, _settings, _steps: UniformSampler(space),
    "greedy": GreedySampler,
}
"""Every registered path sampler by name; made for a space, settings of greedy filtering, and a number of steps."""
