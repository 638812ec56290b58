"""What somebody adds from outside the package: classes that are registered when this module is imported."""

from __future__ import annotations

import numpy as np

from anybudget.budgets import BudgetSet
from anybudget.search import STRATEGIES
from anybudget.search.base import Found, Strategy
from anybudget.settings import Settings as OwnSettings
from anybudget.spaces import SPACES, ChoiceBlockSpace, PathEncoding, Settings
from anybudget.spaces.blocks import Branch, ClassifierSpec, ConvSpec, InvertedBottleneckSpec
from anybudget.spaces.settings import Count
from anybudget.training import SAMPLERS
from anybudget.training.samplers import PathSampler, ScorePaths


class TwinSettings(Settings):
    """Images of 8 pixels in three classes, by default."""

    input_size: int = 8
    input_channels: int = 1
    classes: int = 3
    layers: Count = 2


@SPACES.register
class TwinSpace(ChoiceBlockSpace):
    """Layers of two inverted bottlenecks, of kernel 3 and 5."""

    name = "twin"
    settings_type = TwinSettings

    def __init__(self, settings: TwinSettings) -> None:
        self.settings = settings
        blocks = [InvertedBottleneckSpec(4, 4, 1, 8, (Branch(kernel, 8),), "relu") for kernel in (3, 5)]
        stem = ConvSpec(settings.input_channels, 4, 3, 1, settings.input_size, "relu")
        self._lay_out([stem], [blocks] * settings.layers, [ClassifierSpec(4, settings.classes)], ["k3", "k5"])


class RepeatSettings(OwnSettings):
    """Every path is trained `times` times."""

    times: Count = 2


@SAMPLERS.register
class RepeatSampler(PathSampler):
    """Uniform paths, each several times in a round."""

    name = "repeat"
    settings_type = RepeatSettings
    has_rounds = True
    settings: RepeatSettings

    def paths(self, rng: np.random.Generator, score: ScorePaths) -> list[PathEncoding]:
        del score
        return [self.space.path_encoding(self.space.sample(rng))] * self.settings.times


class ClimbSettings(OwnSettings):
    """How many mutations are tried."""

    steps: Count = 30


@STRATEGIES.register
class ClimbStrategy(Strategy):
    """Mutates an architecture, and keeps what is better."""

    name = "climb"
    settings_type = ClimbSettings
    settings: ClimbSettings

    def find(self, budgets: BudgetSet) -> Found:
        rng = np.random.default_rng(self.seed)
        (best,) = self.feasible(budgets).sample(1, rng)
        for _ in range(self.settings.steps):
            other = self.space.mutate(best, rng, 0.5)
            if self.allowed(other, budgets):
                best = self.best([best, other])
        return Found(best)
