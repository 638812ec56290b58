"""`Supernet`: shared weights for every architecture of a space, with the path an argument of `forward`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from anybudget.architecture import Architecture
from anybudget.errors import ConfigError
from anybudget.nets.blocks import build_block, build_network
from anybudget.nets.modes import normalise_by_batch, scoring
from anybudget.nets.norms import recording, reset_statistics
from anybudget.spaces import PathEncoding, SearchSpace

Path = Architecture | PathEncoding
"""What a single-path forward takes: an architecture (its canonical encoding is used) or one encoding of it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One block of a path. Paths whose keys agree up to a step compute the same up to there.

    `module` holds the weights and norms in use, and perhaps others; `run` computes in its present mode.
    """

    key: Hashable
    module: nn.Module
    run: Callable[[Tensor], Tensor]


class RelaxedSupernet(nn.Module, ABC):
    """A frozen supernet that computes the mixture of all paths under given probabilities.

    In evaluation mode, where it starts, norms use their running statistics and one-hot rows give the path exactly. In
    training mode what follows the stem normalises by the batch, as single paths did in training: a far better guess
    at a path's loss after recalibration (`docs/generator.md` has figures). Nothing else depends on the mode: dropout
    is off in both.

    Differs: SGNAS's generator trains against the supernet in evaluation mode; ours in training mode, for the sake of
    that guess.
    """

    @property
    @abstractmethod
    def stem(self) -> nn.Module:
        """What comes before the first decision, the same for all paths; always uses its running statistics."""

    def train(self, mode: bool = True) -> Self:
        """Choose the statistics of all norms but the stem's: the batch's, or the running ones with `mode` False."""
        super().train(mode)
        if mode:
            normalise_by_batch(self)
            self.training = True
        self.stem.eval()
        return self

    @abstractmethod
    def forward(self, x: Tensor, probabilities: Tensor) -> Tensor:
        """Images `[N, C, H, W]` and probabilities `[decisions, choices]` to logits `[N, classes]`."""


class Supernet(nn.Module, ABC):
    """Shared weights for every architecture of `space`; holds no active path.

    In training mode a forward normalises by batch statistics; in evaluation mode by the running statistics, which
    `record_statistics` gathers. A subclass calls `_add_ends` in its constructor, passes its own norms to
    `keep_statistics`, and gives `_steps`, `_mixed`, `relaxed` and `_copy_path`; blocks before and after the searched
    ones are shared by all paths and live here.
    """

    space: SearchSpace
    before: nn.ModuleList
    after: nn.ModuleList

    def _add_ends(self) -> None:
        """Build the blocks that no decision changes, at the start and at the end of every network."""
        searched = [index for index, factor in enumerate(self.space.factors) if factor.decisions]
        self._first, self._last = searched[0], searched[-1] + 1
        before, after = self.space.factors[: self._first], self.space.factors[self._last :]
        self.before = nn.ModuleList(build_block(factor.spec()) for factor in before)
        self.after = nn.ModuleList(build_block(factor.spec()) for factor in after)

    def forward(self, x: Tensor, path: Path | Tensor) -> Tensor:
        """Logits `[N, classes]` of images `[N, C, H, W]` through one path or through the mixture of all.

        Args:
            x: the images.
            path: an `Architecture` or `PathEncoding`, which computes only the channels in use; or probabilities
                `[decisions, choices]`, which compute the exact mixture of all paths with the supernet's own weights.
                In evaluation mode gradients of a mixture reach the probabilities and the images, never the weights;
                for many mixtures of the same weights `relaxed` is faster. In training mode they reach the weights,
                too: norms normalise by the batch, and what has no share is not run and gets no gradient, so that
                one-hot rows train what the path does.

        Raises:
            ArchitectureError: the architecture is not one of the space.
        """
        if isinstance(path, Tensor):
            with nullcontext() if self.training else without_gradients(self):
                return self.mixture(x, path)
        for step in self.steps(path):
            x = step.run(x)
        return x

    def steps(self, path: Path) -> list[Step]:
        """The path block by block, from images to logits; what `forward` runs in turn."""
        encoding = self.space.path_encoding(path) if isinstance(path, Architecture) else path
        before, after = (
            [Step(name, block, block) for block in blocks]
            for name, blocks in (("before", self.before), ("after", self.after))
        )
        return [*before, *self._steps(encoding), *after]

    @abstractmethod
    def _steps(self, encoding: PathEncoding) -> list[Step]:
        """The searched blocks of one path."""

    @abstractmethod
    def _mixed(self, x: Tensor, probabilities: Tensor) -> Tensor:
        """The mixture of all paths through the searched blocks; `probabilities` is `[decisions, choices]`."""

    def mixture(self, x: Tensor, probabilities: Tensor) -> Tensor:
        """Logits of the mixture, computed with this supernet's own weights; see `RelaxedSupernet.forward`."""
        for block in self.before:
            x = block(x)
        x = self._mixed(x, probabilities)
        for block in self.after:
            x = block(x)
        return x

    @abstractmethod
    def relaxed(self) -> RelaxedSupernet:
        """A frozen copy for mixtures, worth keeping over many forwards.

        Raises:
            ConfigError: the supernet is in training mode.
        """

    @torch.no_grad()
    def extract(self, architecture: Architecture) -> nn.Sequential:
        """A stand-alone plain PyTorch network with copies of the inherited weights and statistics."""
        network = build_network(self.space.block_specs(architecture)).to(next(self.parameters()))
        blocks = list(network)
        for source, target in zip(
            (*self.before, *self.after), (*blocks[: self._first], *blocks[self._last :]), strict=True
        ):
            target.load_state_dict(source.state_dict())
        self._copy_path(blocks[self._first : self._last], self.space.path_encoding(architecture))
        return network.train(self.training)

    @abstractmethod
    def _copy_path(self, blocks: list[nn.Module], encoding: PathEncoding) -> None:
        """Copy weights and statistics of one path into the plain blocks built for it."""

    def reset_statistics(self) -> None:
        """Forget all running statistics, so that the coming `record_statistics` start a new average."""
        reset_statistics(self)

    @torch.no_grad()
    def record_statistics(self, x: Tensor, path: Path) -> None:
        """Count one batch through `path` into the running statistics of the norms it uses; nothing is dropped.

        Batches count alike, so they should have the same number of images.
        """
        with scoring(self), recording(self):
            self(x, path)

    def _check_frozen(self) -> None:
        if self.training:
            raise ConfigError("a mixture of paths needs the frozen supernet; put it in evaluation mode first")


@contextmanager
def without_gradients(module: nn.Module) -> Iterator[None]:
    """Within, what is computed has no gradients of the parameters of `module`."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
