"""Greedy path filtering: the best of several paths are trained, and kept in a pool that later ones come from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field, model_validator

from anybudget.architecture import Architecture
from anybudget.errors import ConfigError
from anybudget.settings import Count, Natural, NonNegative, Settings, Share
from anybudget.spaces import PathEncoding, SearchSpace
from anybudget.training.pool import CandidatePool
from anybudget.training.samplers import UNKNOWN_LENGTH, Length, PathSampler, ScorePaths, uniform_path


class GreedySettings(Settings):
    """`[supernet.greedy]`: GreedyNAS's values, but for `warmup`, `ramp` and `window`, which have to fit the training.

    Of `sampled` paths, scored on `score_images` validation images, the best `kept` are trained and enter a pool of
    `pool_size`; later paths come from it with a probability that grows linearly from 0 to `pool_probability`. Training
    stops when at most `stop_share` of the pool is new after `window` rounds (0: never).

    How long paths are uniform is either `warmup`, a share of all steps, or `warmup_iterations`; how long the pool's
    probability then grows is either `ramp`, a share of the steps after the warm-up, or `ramp_iterations`. Iterations
    that are given replace the default share; both at once are refused.

    Losses in the pool grow stale as weights move on. With every path that is sampled, `rescore` members are scored
    besides, those whose loss is oldest first; 0 scores members only when they are sampled again.
    """

    UNSAID: ClassVar[frozenset[str]] = frozenset({"rescore"})

    sampled: Count = 10
    kept: Count = 5
    score_images: Count = 1000
    pool_size: Count = 1000
    pool_probability: Share = 0.8
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.2
    warmup_iterations: Natural = 0
    ramp: Share = 1.0
    ramp_iterations: Natural = 0
    window: Natural = 100
    stop_share: Share = 0.08
    rescore: NonNegative = 0.0

    @model_validator(mode="before")
    @classmethod
    def _iterations_replace_shares(cls, data: Any) -> Any:
        """No share by default where iterations are given, so that a resolved recipe says one of both, too."""
        if isinstance(data, dict):
            replaced = {share: 0.0 for share in ("warmup", "ramp") if data.get(f"{share}_iterations")}
            return {**replaced, **data}
        return data

    def problems(self, table: str) -> Iterator[str]:
        """See `Settings.problems`."""
        if self.kept > self.sampled:
            yield f"{table}.kept: {self.kept} paths cannot be kept of {self.sampled} sampled ones"
        for name, share, iterations in (
            ("warmup", self.warmup, self.warmup_iterations),
            ("ramp", self.ramp, self.ramp_iterations),
        ):
            if share and iterations:
                yield (
                    f"{table}.{name}: a share of {share:g} and {iterations} iterations "
                    f"({table}.{name}_iterations) are two lengths; give one of them, or set the other to 0"
                )

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

    The warm-up and the ramp of the pool's probability are shares of the length of the training.

    Members that are rescored are scored with the paths of a round, on the same images, and are not trained for it;
    they count as scored images in what the training costs.

    Raises:
        ConfigError: the warm-up is as long as the training.

    Source: GreedyNAS §3.2, §4.1, Algorithms 1 and 2.
    """

    name = "greedy"
    settings_type = GreedySettings
    has_rounds = True
    has_pool = True
    settings: GreedySettings
    pool: CandidatePool

    def __init__(self, space: SearchSpace, settings: Settings | None = None, length: Length = UNKNOWN_LENGTH) -> None:
        super().__init__(space, settings, length)
        settings = self.settings
        self.pool = CandidatePool(settings.pool_size)
        rounds_per_step = length.paths / (1 if length.rounds else settings.kept)
        self._warmup = settings.warmup_steps(length.steps) * length.paths
        self._ramp = settings.ramp_steps(length.steps) * rounds_per_step
        self._warm, self._round = 0, 0
        self._due = 0.0  # members to be rescored; less than one between rounds
        self._before: frozenset[Architecture] | None = None
        self._steady = False

    @property
    def pool_probability(self) -> float:
        """How likely the next path comes from the pool."""
        return self.settings.pool_probability * (min(1.0, self._round / self._ramp) if self._ramp else 1.0)

    @property
    def score_images(self) -> int:
        """See `PathSampler.score_images`."""
        return self.settings.score_images

    @property
    def most_paths(self) -> int:
        """See `PathSampler.most_paths`."""
        return self.settings.kept

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
        networks = [self.space.canonical(path) for path in drawn]
        stale = self._stale(networks)
        losses = score([*drawn, *map(self.space.path_encoding, stale)])
        for member, loss in zip(stale, losses[len(drawn) :], strict=True):
            self.pool.rescore(member, loss)
        order = sorted(range(len(drawn)), key=losses.__getitem__)
        for index in order:
            self.pool.rescore(networks[index], losses[index])
        best = order[: self.settings.kept]
        for index in best:
            self.pool.add(networks[index], losses[index])
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
            "due": self._due,
            "before": before,
            "steady": self._steady,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `PathSampler.load_state_dict`."""
        self.pool.load_state_dict(state["pool"], self.space.name)
        self._warm, self._round, self._steady = state["warm"], state["round"], state["steady"]
        self._due = state.get("due", 0.0)  # one that was saved before members were rescored has none
        members = state["before"]
        self._before = None if members is None else frozenset(Architecture(self.space.name, tuple(m)) for m in members)

    def _stale(self, networks: Sequence[Architecture]) -> list[Architecture]:
        """The members that are rescored in a round of these networks, which are scored anyway."""
        self._due += self.settings.rescore * len(networks)
        count = int(self._due)
        self._due -= count
        return self.pool.oldest(count, set(networks))

    def _look_back(self) -> None:
        """Every `window` rounds, compare the pool with what it was."""
        if not self.settings.window or self._round % self.settings.window:
            return
        now = frozenset(self.pool.losses)
        if self._before is not None and self.pool.full:
            self._steady = len(now - self._before) <= self.settings.stop_share * len(now)
        self._before = now
