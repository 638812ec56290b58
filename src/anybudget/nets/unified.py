"""The unified supernet: every network of the unified space with one set of weights."""

from __future__ import annotations

from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from anybudget.nets.base import Step, Supernet
from anybudget.nets.blocks import initialise
from anybudget.nets.norms import keep_statistics
from anybudget.nets.relaxed import RelaxedUnifiedSupernet
from anybudget.nets.unified_block import UnifiedBlock
from anybudget.spaces import PathEncoding, UnifiedSpace


class UnifiedSupernet(Supernet):
    """The unified supernet of SGNAS §3.3: stem and head shared by all, one `UnifiedBlock` per layer."""

    space: UnifiedSpace

    def __init__(self, space: UnifiedSpace) -> None:
        super().__init__()
        self.space = space
        self._add_ends()
        self.layers = nn.ModuleList(UnifiedBlock(shape, space.settings) for shape in space.outline.layers)
        initialise(self.layers)
        keep_statistics(self.layers)

    def _steps(self, encoding: PathEncoding) -> list[Step]:
        return [
            Step(operations, layer, partial(layer, operations=operations))
            for layer, operations in zip(self.layers, encoding.operations, strict=True)
        ]

    def _mixed(self, x: Tensor, probabilities: Tensor) -> Tensor:
        for layer, decision, row in zip(self.layers, self.space.decisions, probabilities, strict=True):
            x = cast(UnifiedBlock, layer).mixture(x, row, torch.from_numpy(decision.encoding()))
        return x

    def relaxed(self) -> RelaxedUnifiedSupernet:
        """See `Supernet.relaxed`; every norm is folded once."""
        self._check_frozen()
        encodings = [torch.from_numpy(decision.encoding()) for decision in self.space.decisions]
        return RelaxedUnifiedSupernet(self.before, self.layers, self.after, encodings)

    def _copy_path(self, blocks: list[nn.Module], encoding: PathEncoding) -> None:
        for layer, target, operations in zip(self.layers, blocks, encoding.operations, strict=True):
            cast(UnifiedBlock, layer).copy_to(target, operations)
