"""The path samplers: which encodings of which networks a supernet trains next."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from anybudget.architecture import Architecture
from anybudget.errors import ConfigError
from anybudget.spaces import PathEncoding, SearchSpace
from anybudget.training.pool import CandidatePool

ScorePaths = Callable[[Sequence[PathEncoding]], list[float]]
"""Loss of each path with the present weights on one small validation batch; lower is better."""


@dataclass(frozen=True, slots=True)
class Length:
    """How long supernet training is: `steps` updates of the weights, for each of them `paths` paths.

    With `rounds` a step takes whole rounds of the sampler instead, `paths` of them.
    """

    steps: int
    paths: int = 1
    rounds: bool = False


class PathSampler(ABC):
    """Chooses the paths that supernet training visits.

    `has_rounds` says whether the paths of one call of `paths` belong together, so that one step may train all of them.
    """

    has_rounds: ClassVar[bool] = False

    @abstractmethod
    def paths(self, rng: np.random.Generator, score: ScorePaths) -> list[PathEncoding]:
        """The next paths to train, in order; training asks again when it has used them up."""

    @property
    def finished(self) -> bool:
        """Whether more training would change nothing that the sampler looks at."""
        return False

    def state_dict(self) -> dict[str, Any]:
        """What the sampler remembers from call to call, as plain data; most remember nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027 - most have nothing to go on from
        """Restore such a state."""


class FairSampler(PathSampler):
    """Strict fairness: over one call's paths, a round, every operation of every slot is trained equally often.

    It is strict in each update where a step trains whole rounds (`paths_per_step = "round"`), else over the round only.
    All encodings of an architecture are drawn, canonical or not: strict fairness is about (slot, operation) pairs, and
    canonical encodings alone do not have these equally often.

    Source: FairNAS §3 (strict fairness, one update for the summed gradients of a round), as SGNAS §3.3 uses it for
    kernels and expansion rates.
    """

    has_rounds = True

    def __init__(self, space: SearchSpace) -> None:
        self.space = space

    def paths(self, rng: np.random.Generator, score: ScorePaths) -> list[PathEncoding]:  # noqa: ARG002 - fair to all
        """One round, in random order."""
        return self.space.fair_round(rng)


class CanonicalFairSampler(FairSampler):
    """A fair round with every path replaced by its canonical encoding: other arrangements are never trained.

    The comparison that `docs/unified-supernet.md` measures: expansion rates and kernels stay balanced over the round,
    (sub-block, kernel) pairs do not.
    """

    def paths(self, rng: np.random.Generator, score: ScorePaths) -> list[PathEncoding]:
        """One round of canonical encodings."""
        return [self.space.path_encoding(self.space.canonical(encoding)) for encoding in super().paths(rng, score)]


class UniformSampler(PathSampler):
    """One path at a time: every choice drawn uniformly and independently, then written in its canonical encoding.

    So all training goes to weights that are scored, and every architecture can come.

    Differs: the paper's spaces have one encoding for each architecture. Where several choices encode one architecture,
    it comes as often as they do, so it is the choices that are uniform, and not the architectures; and operations
    that the canonical form moves (identities, to the end of their run) are not uniform in each layer.

    Source: SPOS §3.2, Eq. 7 with uniform sampling.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space

    def paths(self, rng: np.random.Generator, score: ScorePaths) -> list[PathEncoding]:  # noqa: ARG002 - uniform over all
        """One path."""
        return [uniform_path(self.space, rng)]


@dataclass(frozen=True, slots=True)
class GreedySettings:
    """How greedy path filtering works; the defaults are GreedyNAS's but for `warmup`, `ramp` and `window`, which scale.

    `sampled` paths are scored on `score_images` validation images and the best `kept` are trained. Before that,
    uniform paths are trained for `warmup` of all steps (a share), or for `warmup_iterations` steps. A path comes from
    the pool with a probability that grows linearly from 0 to `pool_probability` over `ramp` of the steps after the
    warm-up (a share), or over `ramp_iterations` steps. A number of iterations that is not 0 replaces the share.
    Training stops when at most `stop_share` of the pool is new after `window` rounds (0: never).
    """

    sampled: int = 10
    kept: int = 5
    score_images: int = 1000
    pool_size: int = 1000
    pool_probability: float = 0.8
    warmup: float = 0.2
    warmup_iterations: int = 0
    ramp: float = 1.0
    ramp_iterations: int = 0
    window: int = 100
    stop_share: float = 0.08

    def warmup_steps(self, steps: int) -> int:
        """For how many of `steps` steps uniform paths are trained.

        Raises:
            ConfigError: `warmup_iterations` leaves no step to filter paths in.
        """
        if self.warmup_iterations >= max(1, steps):
            raise ConfigError(
                f"supernet.greedy.warmup_iterations: a warm-up of {self.warmup_iterations} steps leaves none of the "
                f"{steps} of the training to filter paths in; take fewer, or train longer"
            )
        return self.warmup_iterations or round(self.warmup * steps)

    def ramp_steps(self, steps: int) -> float:
        """In how many steps, after the warm-up, the probability of the pool reaches `pool_probability`."""
        return self.ramp_iterations or self.ramp * (steps - self.warmup_steps(steps))


class GreedySampler(PathSampler):
    """Multi-path sampling with rejection, a candidate pool, and an end when the pool is steady.

    Every path that is trained, scored or kept in the pool is the canonical encoding of its architecture, so the pool
    has losses that were measured on the weights that are scored in the search.

    The text of the paper stops when the share of the pool that changes is at most α; its Eq. 10 writes the share that
    stays. We take the text.

    Differs: the pool is compared with itself every `window` rounds, and only once it is full, since a pool that still
    fills up changes least of all. Only the paths that are kept enter the pool; the others give members their new loss.
    With several paths to a step (`Length`) the paths of a round share updates, where the paper updates after each.

    Args:
        space: the search space.
        settings: how paths are filtered.
        length: of the training, which the warm-up and the ramp of the pool's probability are shares of.

    Raises:
        ConfigError: the warm-up is as long as the training.

    Source: GreedyNAS §3.2, §4.1, Algorithms 1 and 2.
    """

    has_rounds = True

    def __init__(self, space: SearchSpace, settings: GreedySettings, length: Length) -> None:
        self.space = space
        self.settings = settings
        self.pool = CandidatePool(settings.pool_size)
        rounds_per_step = length.paths / (1 if length.rounds else settings.kept)
        self._warmup = settings.warmup_steps(length.steps) * length.paths
        self._ramp = settings.ramp_steps(length.steps) * rounds_per_step
        self._warm, self._round = 0, 0
        self._before: frozenset[Architecture] | None = None
        self._steady = False

    @property
    def pool_probability(self) -> float:
        """How likely the next path comes from the pool."""
        return self.settings.pool_probability * (min(1.0, self._round / self._ramp) if self._ramp else 1.0)

    @property
    def finished(self) -> bool:
        """Whether the pool is steady."""
        return self._steady

    def paths(self, rng: np.random.Generator, score: ScorePaths) -> list[PathEncoding]:
        """A uniform path while warming up, then the best of a round."""
        if self._warm < self._warmup:
            self._warm += 1
            return [uniform_path(self.space, rng)]
        share = self.pool_probability
        drawn = [
            self.space.path_encoding(self.pool.sample(rng))
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


def uniform_path(space: SearchSpace, rng: np.random.Generator) -> PathEncoding:
    """The canonical encoding of an architecture whose choices are drawn uniformly and independently."""
    return space.path_encoding(space.sample(rng))


SAMPLERS: dict[str, Callable[[SearchSpace, GreedySettings, Length], PathSampler]] = {
    "fair": lambda space, _settings, _length: FairSampler(space),
    "fair-canonical": lambda space, _settings, _length: CanonicalFairSampler(space),
    "uniform": lambda space, _settings, _length: UniformSampler(space),
    "greedy": GreedySampler,
}
"""Every registered path sampler by name; made for a space, settings of greedy filtering, and a length of training."""
