"""What uneven classes do to accuracy: the share of the largest class."""

from __future__ import annotations

import torch
from torch import Tensor


def largest_class_percent(labels: Tensor) -> float:
    """The share of the largest class in percent: the top-1 accuracy of always answering with that class.

    `labels` is int64 [N] with N at least 1.
    """
    return 100.0 * float(torch.bincount(labels).max()) / len(labels)
