"""The supernet of choice blocks: one operation of every layer on a path."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

from torch import Tensor, nn

from anybudget.nets.base import Step
from anybudget.nets.blocks import build_block
from anybudget.nets.mixture import MixableSupernet, taking_part, weighted_sum
from anybudget.nets.norms import keep_statistics
from anybudget.spaces import BlockSpec, ChoiceBlockSpace, PathEncoding


class ChoiceLayer(nn.Module, ABC):
    """One layer of the supernet: all its operations."""

    @abstractmethod
    def forward(self, x: Tensor, operation: int) -> Tensor:
        """`x` through one operation."""

    @abstractmethod
    def mixture(self, x: Tensor, probabilities: Tensor) -> Tensor:
        """The mixture of all operations; `probabilities` is `[operations]`."""

    @abstractmethod
    def copy_to(self, target: nn.Module, operation: int) -> None:
        """Copy the weights and statistics of one operation into the plain block built for it."""


class SeparateOperations(ChoiceLayer):
    """Operations with weights of their own (SPOS §3.3; GreedyNAS §5.1)."""

    def __init__(self, specs: Sequence[BlockSpec]) -> None:
        super().__init__()
        self.operations = nn.ModuleList(build_block(spec) for spec in specs)

    def forward(self, x: Tensor, operation: int) -> Tensor:
        """See `ChoiceLayer.forward`."""
        return cast(Tensor, self.operations[operation](x))

    def mixture(self, x: Tensor, probabilities: Tensor) -> Tensor:
        """See `ChoiceLayer.mixture`."""
        kept = taking_part(probabilities, len(self.operations), training=self.training)
        return weighted_sum(probabilities[kept], [self.operations[index](x) for index in kept])

    def copy_to(self, target: nn.Module, operation: int) -> None:
        """See `ChoiceLayer.copy_to`."""
        target.load_state_dict(self.operations[operation].state_dict())


SHARED_LAYERS: dict[type[BlockSpec], Callable[[Sequence[BlockSpec]], ChoiceLayer]] = {}
"""Layers whose operations share weights, by the kind of block that all operations build."""


def choice_layer(specs: Sequence[BlockSpec]) -> ChoiceLayer:
    """The layer for these operations: sharing weights where the kind of block allows it."""
    kinds = {type(spec) for spec in specs}
    shared = SHARED_LAYERS.get(kinds.pop()) if len(kinds) == 1 else None
    return shared(specs) if shared else SeparateOperations(specs)


class ChoiceBlockSupernet(MixableSupernet):
    """The supernet of every `ChoiceBlockSpace`: a path runs one operation of each layer and nothing else."""

    space: ChoiceBlockSpace

    def __init__(self, space: ChoiceBlockSpace) -> None:
        super().__init__()
        self.space = space
        self._add_ends()
        self.layers = nn.ModuleList(choice_layer(specs) for specs in space.layers)
        keep_statistics(self.layers)

    def _steps(self, encoding: PathEncoding) -> list[Step]:
        return [
            Step(operation, layer, partial(layer, operation=operation))
            for layer, (operation,) in zip(self.layers, encoding.operations, strict=True)
        ]

    def _mixed(self, x: Tensor, probabilities: Tensor) -> Tensor:
        for layer, row in zip(self.layers, probabilities, strict=True):
            x = cast(ChoiceLayer, layer).mixture(x, row)
        return x

    def _copy_path(self, blocks: list[nn.Module], encoding: PathEncoding) -> None:
        for layer, target, (operation,) in zip(self.layers, blocks, encoding.operations, strict=True):
            cast(ChoiceLayer, layer).copy_to(target, operation)
