"""Random norm statistics, which make mistakes visible that fresh norms hide."""

from __future__ import annotations

import torch
from torch import nn


def randomise_norms(module: nn.Module, generator: torch.Generator) -> None:
    """Give every norm random weights and running statistics, so that a mistake in any of them shows."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor, low, high in (
                (layer.weight.data, 0.5, 1.5),
                (layer.bias.data, -0.5, 0.5),
                (layer.running_mean, -0.5, 0.5),
                (layer.running_var, 0.5, 2.0),
            ):
                assert tensor is not None
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)
