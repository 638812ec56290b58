"""What somebody adds from outside the package: classes that are registered when this module is imported."""

from __future__ import annotations

from typing import Self

import numpy as np

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.costs import COSTS, BlockCost, CostContext, CostModel, CostSettings, CostTerms
from anybudget.search import STRATEGIES
from anybudget.search.base import Found, Strategy
from anybudget.settings import Settings as OwnSettings
from anybudget.spaces import SPACES, BlockSpec, ChoiceBlockSpace, PathEncoding, Settings
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


@COSTS.register
class KernelCost(BlockCost):
    """The sum of all kernel areas: a formula per block, counted in every run."""

    name, unit = "kernel_px", "px"

    @staticmethod
    def formula(spec: BlockSpec) -> int:
        """Pixels of all kernels."""
        return sum(convolution.kernel**2 for convolution in spec.convolutions())


class EnergySettings(CostSettings):
    """Millijoules of a multiply-add: without it, there is no such cost."""

    per_million_macs: float


@COSTS.register
class EnergyCost(CostModel):
    """Energy in proportion to the multiply-adds; a recipe sets it by `[costs.energy_mJ]`."""

    name, unit = "energy_mJ", "mJ"
    settings_type = EnergySettings
    counts_any = False

    def __init__(self, macs: CostModel, settings: EnergySettings) -> None:
        super().__init__(macs.space)
        self._macs, self._factor = macs, settings.per_million_macs / 2**20

    @classmethod
    def from_context(cls, context: CostContext) -> Self:
        """From the table of the recipe."""
        assert isinstance(context.settings, EnergySettings)
        return cls(COSTS["macs"](context.space), context.settings)

    def cost(self, architecture: Architecture) -> float:
        """In millijoules."""
        return self._macs.cost(architecture) * self._factor

    @property
    def terms(self) -> CostTerms:
        """Those of the multiply-adds, scaled."""
        terms = self._macs.terms
        pairs = {pair: table * self._factor for pair, table in terms.pairwise.items()}
        return CostTerms(terms.constant * self._factor, tuple(row * self._factor for row in terms.unary), pairs)
