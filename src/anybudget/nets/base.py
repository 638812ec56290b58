"""Owns `Supernet`: shared weights for every architecture of a space, with the path an argument of `forward`."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from anybudget.architecture import Architecture
from anybudget.spaces import SearchSpace, Spelling

Path = Architecture | Spelling
"""What a single-path forward takes: an architecture (its canonical spelling is used) or one spelling of it."""


class RelaxedSupernet(nn.Module, ABC):
    """A frozen supernet that computes the mixture of all paths under given probabilities."""

    @abstractmethod
    def forward(self, x: Tensor, probabilities: Tensor) -> Tensor:
        """Images `[N, C, H, W]` and probabilities `[decisions, choices]` to logits `[N, classes]`."""


class Supernet(nn.Module, ABC):
    """Shared weights for every architecture of `space`; holds no active path.

    In training mode a forward normalises by batch statistics; in evaluation mode by the running statistics, which
    `record_statistics` gathers.
    """

    space: SearchSpace

    @abstractmethod
    def forward(self, x: Tensor, path: Path | Tensor) -> Tensor:
        """Logits `[N, classes]` of images `[N, C, H, W]` through one path or through the mixture of all.

        Args:
            x: the images.
            path: an `Architecture` or `Spelling`, which computes only the channels in use; or probabilities
                `[decisions, choices]`, which compute the exact mixture of the frozen supernet (evaluation mode only).
        """

    @abstractmethod
    def relaxed(self) -> RelaxedSupernet:
        """A frozen copy for mixtures, with every norm folded once; worth keeping over many forwards."""

    @abstractmethod
    def extract(self, architecture: Architecture) -> nn.Sequential:
        """A stand-alone plain PyTorch network with copies of the inherited weights and statistics."""

    @abstractmethod
    def reset_statistics(self) -> None:
        """Forget all running statistics, so that the coming `record_statistics` are averaged with equal weight."""

    @abstractmethod
    def record_statistics(self, x: Tensor, path: Path) -> None:
        """Count one batch through `path` into the running statistics of the norms it uses."""
