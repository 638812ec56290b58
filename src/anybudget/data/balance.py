"""What uneven classes do to accuracy, the share of the largest; and weights that make classes count alike."""

from __future__ import annotations

import torch
from torch import Tensor


def largest_class_percent(labels: Tensor) -> float:
    """The share of the largest class in percent: the top-1 accuracy of always answering with that class.

    `labels` is int64 [N] with N at least 1.
    """
    return 100.0 * float(torch.bincount(labels).max()) / len(labels)


def class_weights(labels: Tensor, classes: int, balance: float) -> Tensor:
    """What the loss of an image of each class is multiplied by so that small classes count as much as large ones.

    In proportion to `count ** -balance`: with 1 every class counts alike, with 0.5 halfway in logarithms, with 0 every
    image. Over all images the mean is 1, so that the learning rate means the same. A class without images has 0.

    Args:
        labels: int64 [N], of the images that are trained on.
        classes: how many there are, C.
        balance: from 0 to 1.

    Returns:
        float32 [C].

    Example:
        >>> class_weights(torch.tensor([0, 0, 0, 1]), 2, 1.0)
        tensor([0.6667, 2.0000])
    """
    counts = torch.bincount(labels, minlength=classes).double()
    weights = torch.where(counts > 0, counts.clamp(min=1) ** -balance, 0.0)
    return (weights * (counts.sum() / (weights * counts).sum())).float()
