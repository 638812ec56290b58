"""Owns mixtures by definition: every operation is run and the results are added, weighted by probability."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor

from anybudget.nets.base import RelaxedSupernet, Supernet
from anybudget.nets.norms import keep_statistics


class MixableSupernet(Supernet):
    """A supernet whose own modules can compute a mixture; gives `_mixed` for what decisions change."""

    @abstractmethod
    def _mixed(self, x: Tensor, probabilities: Tensor) -> Tensor:
        """The mixture of all paths through the searched blocks; `probabilities` is `[decisions, choices]`."""

    def mixture(self, x: Tensor, probabilities: Tensor) -> Tensor:
        """Logits of the mixture; see `RelaxedSupernet.forward`."""
        for block in self.before:
            x = block(x)
        x = self._mixed(x, probabilities)
        for block in self.after:
            x = block(x)
        return x

    def relaxed(self) -> FrozenMixture:
        """See `Supernet.relaxed`."""
        self._check_frozen()
        return FrozenMixture(self)


class FrozenMixture(RelaxedSupernet):
    """A frozen copy of a supernet that computes mixtures with the copy's modules."""

    def __init__(self, supernet: MixableSupernet) -> None:
        super().__init__()
        self.supernet = copy.deepcopy(supernet).requires_grad_(False)
        keep_statistics(self.supernet)
        self.eval()

    def train(self, mode: bool = True) -> FrozenMixture:
        """Choose the statistics of all norms but the stem's, which is the same for all paths."""
        super().train(mode)
        self.supernet.before.eval()
        return self

    def forward(self, x: Tensor, probabilities: Tensor) -> Tensor:
        """See `RelaxedSupernet.forward`; gradients reach the probabilities and the images, never the weights."""
        return self.supernet.mixture(x, probabilities)


def weighted_sum(weights: Tensor, values: Sequence[Tensor]) -> Tensor:
    """`Σ weights[i] * values[i]`."""
    total = weights[0] * values[0]
    for weight, value in zip(weights[1 : len(values)], values[1:], strict=True):
        total = total + weight * value
    return total
