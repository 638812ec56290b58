"""Mean and standard deviation of each channel of many images, exactly, from counts of the 256 values."""

from __future__ import annotations

import torch
from torch import Tensor

AT_ONCE = 1024
"""Images that are counted at a time."""


class ValueCounts:
    """How often each channel of some images has each of the 256 values.

    Example:
        >>> counts = ValueCounts(channels=1)
        >>> counts.add(torch.tensor([[[[0, 255]]]], dtype=torch.uint8))
        >>> counts.statistics()
        ((0.5,), (0.5,))
    """

    def __init__(self, channels: int) -> None:
        self.counts = torch.zeros(channels, 256, dtype=torch.int64)

    def add(self, images: Tensor) -> None:
        """Count the values of images uint8 [N, C, H, W]."""
        for chunk in images.split(AT_ONCE):
            for channel, count in enumerate(self.counts):
                count += torch.bincount(chunk[:, channel].flatten(), minlength=256)

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and population standard deviation of each channel, from 0 to 1; the latter is 1 for a constant one."""
        values = torch.arange(256, dtype=torch.float64) / 255
        counts = self.counts.double()
        shares = counts / counts.sum(1, keepdim=True)
        mean = shares @ values
        std = (shares * (values - mean[:, None]) ** 2).sum(1).sqrt()
        constant = (self.counts > 0).sum(1) == 1
        return tuple(mean.tolist()), tuple(std.masked_fill(constant, 1.0).tolist())

    def extremes(self) -> tuple[int, int]:
        """The lowest and the highest value of all channels."""
        there = self.counts.sum(0).nonzero()
        return int(there[0]), int(there[-1])
