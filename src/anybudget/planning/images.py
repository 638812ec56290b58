"""Rules for what images become: their size, how splits are drawn, batches and augmentation."""

from __future__ import annotations

from collections.abc import Mapping

from anybudget.planning.choice import Choice
from anybudget.planning.lengths import ENOUGH_STEPS

SIZES = (32, 48, 64, 96, 128, 160, 192, 224)
"""Sides in pixels that are chosen from; each can be halved to a last map of 3 to 7 pixels."""

JUDGES = 2000
"""Images that tell two accuracies apart to about a point: the standard error of 80% on them is 0.9 points."""

FEWEST_SHARE, MOST_SHARE = 0.05, 0.2
"""The least and the greatest share of the training images that is drawn for a split."""

BATCH = 64
"""The batch of the demo, where its learning rate was measured."""

LEARNING_RATE = 0.1
"""The learning rate of the demo for batches of 64."""

STEPS_PER_EPOCH = 20
"""An epoch of fewer steps is cut into smaller batches."""

SMALLEST_BATCH = 16
"""Norms of smaller batches are too noisy."""

UNEVEN = 3.0
"""From so many times as many images as the smallest class has, the largest is uneven, as `anybudget data` says."""

VERY_UNEVEN = 20.0
"""Beyond this a single image of the smallest class would decide a whole step, if classes counted alike."""


def fitting_sizes(side: int) -> tuple[int, ...]:
    """Sizes that images with this shorter side are not enlarged to, at least the smallest."""
    return tuple(size for size in SIZES if size <= side) or SIZES[:1]


def input_size(side: int, steps: Mapping[int, float], hours: float) -> Choice[int]:
    """The largest size that images have and for which there is time.

    Args:
        side: the shorter side of the median image, in pixels.
        steps: for each size, how many steps of retraining fit into the time.
        hours: of the whole run.
    """
    fitting = fitting_sizes(side)
    affordable = [size for size in fitting if steps[size] >= ENOUGH_STEPS]
    if fitting[-1] in affordable:
        if fitting[-1] > side:
            return Choice(fitting[-1], f"the median image has {side} pixels, and this is the smallest size")
        return Choice(fitting[-1], f"the largest size that the median image has: its shorter side is {side} pixels")
    if affordable:
        return Choice(
            affordable[-1], f"images have {side} pixels; the most that {ENOUGH_STEPS} steps each fit into {hours:g} h"
        )
    return Choice(fitting[0], f"images have {side} pixels, and {hours:g} h leave no time for larger ones")


def split_fraction(split: str, images: int) -> Choice[float]:
    """What share of so many training images is drawn for a split that is not shipped."""
    wanted = JUDGES / images
    share = round(min(MOST_SHARE, max(FEWEST_SHARE, wanted)), 3)
    if wanted > MOST_SHARE:
        why = f"no {split} images are shipped; at most a fifth of {images:,}, which are few"
    elif wanted < FEWEST_SHARE:
        why = f"no {split} images are shipped; of {images:,} this is more than {JUDGES:,}, which would do"
    else:
        why = f"no {split} images are shipped; about {JUDGES:,}, which tell accuracies apart to a point"
    return Choice(share, why)


def batch_size(images: int) -> Choice[int]:
    """Images in a step, for so many training images."""
    size = BATCH
    while size > SMALLEST_BATCH and images // size < STEPS_PER_EPOCH:
        size //= 2
    if size == BATCH:
        return Choice(size, "the demo's, for which the learning rate was measured")
    return Choice(size, f"{images:,} training images are few: so that an epoch has some steps")


def learning_rate(batch: int) -> Choice[float]:
    """The learning rate for batches of so many images."""
    rate = LEARNING_RATE * batch / BATCH
    if batch == BATCH:
        return Choice(rate, "the demo's; if training diverges, a third")
    return Choice(rate, f"the demo's {LEARNING_RATE} for {BATCH} images, in proportion to the batch")


def crop_padding(size: int) -> Choice[int]:
    """By how many pixels training images are moved."""
    return Choice(size // 16, "a sixteenth of the side, as the recipes of recipes/photographs have it")


def flip() -> Choice[bool]:
    """Whether training images are mirrored."""
    return Choice(True, "a mirrored photograph is of the same class; false for letters, digits, left and right hands")


def class_balance(imbalance: float) -> Choice[float] | None:
    """How far classes count alike in a loss; None where they are about even."""
    if imbalance < UNEVEN:
        return None
    if imbalance > VERY_UNEVEN:
        return Choice(0.5, f"the largest class is {imbalance:.0f} times the smallest: halfway, as all the way is noisy")
    return Choice(1.0, f"the largest class is {imbalance:.1f} times the smallest: so that classes count alike")


def metric(imbalance: float) -> Choice[str] | None:
    """By what networks are chosen, where that is not top-1."""
    if imbalance < UNEVEN:
        return None
    return Choice("balanced_accuracy_percent", "classes are uneven, and top-1 would reward the largest one")
