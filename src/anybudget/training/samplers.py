"""The path samplers: which encodings of which networks a supernet trains next."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from anybudget.errors import ConfigError
from anybudget.settings import Settings
from anybudget.spaces import PathEncoding, SearchSpace

if TYPE_CHECKING:
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


UNKNOWN_LENGTH = Length(1)
"""For samplers to which the length of the training means nothing."""


class PathSampler(ABC):
    """Chooses the paths that supernet training visits.

    A sampler has a `name`, and a `settings_type` with the default of every setting. `has_rounds` says whether the paths
    of one call of `paths` belong together, so that one step may train all of them. With `has_pool` its
    `pool` of good candidates is saved with the supernet, and searches may start from it.

    Args:
        space: the search space.
        settings: of `settings_type`; its defaults if not given.
        length: of the training, for what is a share of it.

    Raises:
        ConfigError: the settings are of another sampler.
    """

    name: ClassVar[str]
    settings_type: ClassVar[type[Settings]] = Settings
    has_rounds: ClassVar[bool] = False
    has_pool: ClassVar[bool] = False
    pool: CandidatePool | None = None

    def __init__(self, space: SearchSpace, settings: Settings | None = None, length: Length = UNKNOWN_LENGTH) -> None:
        self.space = space
        self.settings = self.settings_type() if settings is None else settings
        self.length = length
        if not isinstance(self.settings, self.settings_type):
            raise ConfigError(
                f"path sampler {self.name}: is set by {self.settings_type.__name__}, found {type(settings).__name__}"
            )

    @property
    def score_images(self) -> int:
        """How many validation images the paths are scored on."""
        return 1000

    @property
    def most_paths(self) -> int:
        """The most paths that one call of `paths` gives; where that is not known beforehand, 1.

        So that a batch which they cannot share is refused before training, not in the midst of it.
        """
        return 1

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

    name = "fair"
    has_rounds = True

    @property
    def most_paths(self) -> int:
        """See `PathSampler.most_paths`; all rounds are as long."""
        return len(self.space.fair_round(np.random.default_rng(0)))

    def paths(self, rng: np.random.Generator, score: ScorePaths) -> list[PathEncoding]:  # noqa: ARG002 - fair to all
        """One round, in random order."""
        return self.space.fair_round(rng)


class CanonicalFairSampler(FairSampler):
    """A fair round with every path replaced by its canonical encoding: other arrangements are never trained.

    The comparison that `docs/unified-supernet.md` measures: expansion rates and kernels stay balanced over the round,
    (sub-block, kernel) pairs do not.
    """

    name = "fair-canonical"

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

    name = "uniform"

    def paths(self, rng: np.random.Generator, score: ScorePaths) -> list[PathEncoding]:  # noqa: ARG002 - uniform over all
        """One path."""
        return [uniform_path(self.space, rng)]


def uniform_path(space: SearchSpace, rng: np.random.Generator) -> PathEncoding:
    """The canonical encoding of an architecture whose choices are drawn uniformly and independently."""
    return space.path_encoding(space.sample(rng))
