"""Mixtures by definition: every operation is run and the results are added, weighted by probability."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from anybudget.nets.base import RelaxedSupernet, Supernet
from anybudget.nets.norms import keep_statistics


class MixableSupernet(Supernet):
    """A supernet whose frozen mixture runs a copy of its own modules."""

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

    @property
    def stem(self) -> nn.Module:
        """See `RelaxedSupernet.stem`."""
        return self.supernet.before

    def forward(self, x: Tensor, probabilities: Tensor) -> Tensor:
        """See `RelaxedSupernet.forward`; gradients reach the probabilities and the images, never the weights."""
        return self.supernet.mixture(x, probabilities)


def weighted_sum(weights: Tensor, values: Sequence[Tensor]) -> Tensor:
    """`Σ weights[i] * values[i]`, in the precision of the weights where that is higher."""
    # A scalar would be rounded to the precision of what it multiplies; a tensor of as many dimensions is not.
    factors = weights[: len(values)].view(-1, *(1,) * values[0].ndim)
    total = factors[0] * values[0]
    for factor, value in zip(factors[1:], values[1:], strict=True):
        total = total + factor * value
    return total


def taking_part(weights: Tensor, count: int, *, training: bool) -> list[int]:
    """Which of `count` operations a mixture with these weights runs: all, or in training those that have a share.

    What is frozen runs all, since the gradient of a weight of 0 says what its operation would change.
    """
    return weights[:count].detach().nonzero().flatten().tolist() if training else list(range(count))


def in_full(tensor: Tensor) -> AbstractContextManager[Any]:
    """Within, autocast is off where `tensor` is: mixing weights near 0 and 1, and what they merge, keep all digits."""
    return torch.autocast(tensor.device.type, enabled=False)
