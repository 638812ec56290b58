"""The mode in which shared weights are scored: norms may use the batch, nothing else acts as it does in training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


def normalise_by_batch(module: nn.Module) -> None:
    """Put the norms of `module` in training mode and everything else in evaluation mode.

    Dropout and whatever else is random in training is off, so that the same path gives the same loss on the same
    images.
    """
    module.eval()
    for layer in module.modules():
        # Norms of one layer's own, and layers that say by this attribute that they normalise by the batch.
        if isinstance(layer, nn.BatchNorm2d) or hasattr(type(layer), "over_batch"):
            layer.training = True


@contextmanager
def scoring(module: nn.Module) -> Iterator[None]:
    """Within, forwards normalise by the batch, draw nothing at random and leave all running statistics alone.

    Afterwards every layer has the mode that it had. What GreedyNAS scores paths with (§3.2).
    """
    modes = [(layer, layer.training) for layer in module.modules()]
    tracking = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d) and layer.track_running_stats]
    normalise_by_batch(module)
    for norm in tracking:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in tracking:
            norm.track_running_stats = True
        for layer, mode in modes:
            layer.training = mode
