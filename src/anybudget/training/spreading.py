"""Spreading: for some epochs a supernet trains small blocks alone; then its large ones start as these."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from anybudget.errors import ConfigError
from anybudget.nets import Supernet
from anybudget.nets.blocks import InvertedBottleneck
from anybudget.nets.choice import ChoiceBlockSupernet, SeparateOperations
from anybudget.nets.growth import grow
from anybudget.spaces import PathEncoding
from anybudget.spaces.growth import origins


class Spreading:
    """Replaces the large operations of paths by the small ones they contain, until these spread into them.

    Every operation of a layer has an origin, the smallest one of its layer that it contains: that with its activation
    and squeeze-and-excitation, but the smallest kernel and expansion. Skips are their own. What is drawn at random is a
    function of the seed, so a training that is resumed spreads as one that was not interrupted, and an average of
    weights spreads as the weights do.

    Args:
        supernet: what is trained.
        step: before which step, from 0 through all epochs, small operations spread.
        seed: draws how weights are divided among copies.

    Raises:
        ConfigError: no operation of the space contains another.

    Source: SuperFast (DAC 2025), a supernet that starts from what its small blocks have learnt.
    Differs: channels are divided at random, see `grow`.
    """

    def __init__(self, supernet: Supernet, step: int, seed: int) -> None:
        self.step, self._seed = step, seed
        layers = supernet.space.layers if isinstance(supernet, ChoiceBlockSupernet) else ()
        self._origins = [origins(specs) for specs in layers]
        if all(origin == tuple(range(len(origin))) for origin in self._origins):
            raise ConfigError(
                f"supernet.spread_epoch: no operation of the space {supernet.space.name} contains a smaller one, as "
                "k5_e6 contains k3_e3 in mbconv and nas-bench-macro; leave it out"
            )

    def path(self, path: PathEncoding, step: int) -> PathEncoding:
        """What is trained in a step in place of a path."""
        if step >= self.step:
            return path
        layers = zip(self._origins, path.operations, strict=True)
        return PathEncoding(path.space, tuple((origin[operation],) for origin, (operation,) in layers))

    def spread(self, model: nn.Module) -> None:
        """Make every operation of a supernet, or of an average of its weights, compute what its origin does."""
        generator = torch.Generator().manual_seed(self._seed)
        layers = cast(ChoiceBlockSupernet, model).layers
        for layer, origin in zip(layers, self._origins, strict=True):
            blocks = cast(SeparateOperations, layer).operations
            for large, small in enumerate(origin):
                if large != small:
                    grow(cast(InvertedBottleneck, blocks[small]), cast(InvertedBottleneck, blocks[large]), generator)
