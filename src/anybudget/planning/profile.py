"""`DataProfile`: what of a data set decides a recipe; and what makes planning one impossible."""

from __future__ import annotations

from dataclasses import dataclass

from anybudget.data.overview import Overview
from anybudget.errors import DataError

FEWEST_TRAINING = 32
"""Training images that a plan needs: two batches of the smallest size that norms are trained on well."""


@dataclass(frozen=True, slots=True)
class DataProfile:
    """What of a data set decides a recipe.

    `counts` are the images of training, validation and test in class folders or arrays as they are shipped; splits in
    `drawn` are still part of training. `side` is the shorter side in pixels of the median image, `imbalance` how many
    times as many images the largest class has as the smallest.
    """

    source: str
    classes: int
    channels: int
    counts: dict[str, int]
    drawn: tuple[str, ...]
    side: int
    imbalance: float

    @property
    def shipped_training(self) -> int:
        """The training images before splits are drawn from them."""
        return self.counts["train"] + sum(self.counts[split] for split in self.drawn)


def profile_of(shown: Overview) -> DataProfile:
    """The profile of a data set that was looked at.

    Raises:
        DataError: no run would start on it, or it has too few images; says everything that is wrong.
    """
    if shown.refused:
        raise DataError(f"{'; '.join(shown.refused)}; anybudget data {shown.source} says more")
    counts = {split: sum(of_class.values()) for split, of_class in shown.counts.items()}
    if counts["train"] < FEWEST_TRAINING:
        raise DataError(
            f"{shown.source}: has {counts['train']} training image(s) besides validation and test, and a recipe is "
            f"planned for {FEWEST_TRAINING} or more: add images"
        )
    width, height = shown.sizes["median"]
    return DataProfile(
        shown.source,
        len(shown.classes),
        shown.channels,
        counts,
        shown.drawn,
        min(width, height),
        shown.imbalance,
    )
