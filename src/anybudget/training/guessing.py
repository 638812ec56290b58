"""The notice that a training has ended no better than guessing."""

from __future__ import annotations

import math

from torch import Tensor

from anybudget.data import largest_class_percent

MARGIN = 0.01
"""A loss less than this share below that of guessing is no better."""

ERRORS = 2.0
"""A top-1 less than so many standard errors above that of guessing is no better."""


def no_better_than_guessing(
    labels: Tensor, loss: float, top1_percent: float | None = None, class_weights: Tensor | None = None
) -> str | None:
    """What the last epoch reached beside what guessing does, if its loss or its top-1 is no better.

    Guessing knows the shares of the classes and no image: its loss is their entropy (log of the number of classes where
    all are equally frequent), its top-1 the share of the largest.

    Args:
        labels: int64 `[N]`, of the images that were trained on.
        loss: mean cross-entropy in nats.
        top1_percent: accuracy in percent, where there is one.
        class_weights: `[C]`, where the loss of an image was multiplied by that of its class. Whoever trains so wants
            no top-1, which is then not looked at.

    Returns:
        A clause for a message; None where training has learnt something.
    """
    counts = labels.bincount().double()
    if class_weights is not None:
        counts, top1_percent = counts * class_weights[: len(counts)].double(), None
    shares = counts[counts > 0] / counts.sum()
    entropy, largest = float(-(shares * shares.log()).sum()), largest_class_percent(labels)
    bound = largest + ERRORS * math.sqrt(largest * (100.0 - largest) / len(labels))
    if loss < (1.0 - MARGIN) * entropy and (top1_percent is None or top1_percent > bound):
        return None
    reached = f"loss {loss:.3f} (guessing: {entropy:.3f})"
    if top1_percent is not None:
        reached += f", top-1 {top1_percent:.1f}% (always the largest class: {largest:.1f}%)"
    return reached
