"""Scaling and normalisation as a part of the network, so that a device hands over pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anybudget.data import DataFacts
from anybudget.data.facts import PIXEL_SCALE

FLOATS = "float32 [N, {channels}, {height}, {width}], (pixel / 255 - mean) / std"
PIXELS = "uint8 [N, {height}, {width}, {channels}], pixels as image decoders give them"


class WithPreprocessing(nn.Module):
    """A network that takes pixels uint8 `[N, H, W, C]` instead of normalised images `[N, C, H, W]`.

    Channels come last because that is how decoders of images and cameras give them; grey images have one. The
    arithmetic is that of `normalise`, operation by operation. Resizing stays outside: runtimes differ in it.

    Args:
        network: takes normalised images.
        facts: have mean and standard deviation.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, network: nn.Module, facts: DataFacts) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(facts.mean).view(-1, 1, 1))
        self.register_buffer("deviation", torch.tensor(facts.std).view(-1, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """`[N, H, W, C]` to logits `[N, classes]`."""
        x = pixels.permute(0, 3, 1, 2).to(torch.float32) / PIXEL_SCALE
        logits: Tensor = self.network((x - self.mean) / self.deviation)
        return logits
