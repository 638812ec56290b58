"""What uneven classes do to accuracy: the share of the largest class, and accuracy with equal weight per class."""

from __future__ import annotations

import torch
from torch import Tensor


def largest_class_percent(labels: Tensor) -> float:
    """The share of the largest class in percent: the top-1 accuracy of always answering with that class.

    `labels` is int64 [N] with N at least 1.
    """
    return 100.0 * float(torch.bincount(labels).max()) / len(labels)


def balanced_accuracy_percent(hits: Tensor, counts: Tensor) -> float:
    """Balanced accuracy in percent: the mean over classes of the share of their images that is answered correctly.

    `hits` and `counts` are int64 [C]: the correct answers and the images of each class. A class without images does not
    count. Always answering with one class gives 100 / C.
    """
    there = counts > 0
    return float(100.0 * (hits[there].double() / counts[there]).mean())
