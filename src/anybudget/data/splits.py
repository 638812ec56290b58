"""The three splits of a data set, and how they are drawn: `DataSplits` and `split_source`."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from anybudget.data.drawing import draw_parts
from anybudget.data.identity import Draw, Listing
from anybudget.data.preparation import SHORTER_SIDE, UNCHANGED, Preparation
from anybudget.data.protocol import DataSource, Split
from anybudget.data.reading import read_splits
from anybudget.data.sources import DataSettings, Source
from anybudget.data.statistics import ValueCounts
from anybudget.errors import DataError

log = logging.getLogger(__name__)

DARK = 32  # training pixels that are all below are said to be dark
UNEVEN = 3  # times as many images as the smallest class has, from where it is said


@dataclass(frozen=True, eq=False)
class DataSplits(DataSource):
    """A data source whose images are in memory, or read when they are wanted.

    `draw` and `listed` are those of the data set that it was drawn from.
    """

    train: Split
    validation: Split
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    _test: Split = field(repr=False)
    preparation: Preparation
    draw: Draw | None = None
    listed: Callable[[], Listing] | None = field(default=None, repr=False)

    def test(self) -> Split:
        """See `DataSource.test`."""
        return self._test

    def listing(self) -> Listing:
        """See `DataSource.listing`: that of the stored data set where there is one."""
        return super().listing() if self.listed is None else self.listed()


def split_source(name: str, opened: Source, settings: DataSettings, listed: Callable[[], Listing]) -> DataSplits:
    """Draw the parts that an opened data set does not ship from its training part, and look at all of its images.

    They are kept in memory or stay where they are, as the settings say; nothing else depends on that.

    Args:
        name: of the data set, in messages.
        opened: its images, unread, and its parts.
        settings: how the splits are drawn, and how images are read.
        listed: gives what tells the data set from others.

    Raises:
        DataError: there are too few images or classes, an image cannot be read, or there is nothing to learn from.
    """
    drawn = [
        (split, fraction)
        for split, part, fraction in (
            ("test", opened.test, settings.test_fraction),
            ("validation", opened.validation, settings.validation_fraction),
        )
        if part is None
    ]
    _check_classes(name, opened, [split for split, _ in drawn])
    groups = None if opened.groups is None else opened.groups[opened.train]
    indices = draw_parts(opened.labels, groups, [fraction for _, fraction in drawn], settings.seed)
    _check_drawn(name, opened, [split for split, _ in drawn], indices)
    draw = _described(opened, [split for split, _ in drawn], indices)
    chosen = {split: opened.train[part] for (split, _), part in zip(drawn, indices, strict=False)}
    chosen |= {
        split: part for split, part in (("test", opened.test), ("validation", opened.validation)) if part is not None
    }
    chosen["train"] = opened.train[indices[-1]]
    splits, counts = read_splits(name, opened, chosen, settings.reading, draw.digest)
    mean, std = counts.statistics()
    channels, height, width = opened.images.shape
    resized = UNCHANGED if settings.image_size is None else SHORTER_SIDE
    preparation = Preparation(channels, height, width, resized, value_range=opened.value_range)
    _check_values(name, counts, len(chosen["train"]))
    for notice in (*opened.notices, *_unevenness(name, opened.class_names, splits["train"].labels)):
        log.warning("%s", notice)
    return DataSplits(
        splits["train"],
        splits["validation"],
        opened.class_names,
        mean,
        std,
        splits["test"],
        preparation,
        draw,
        listed,
    )


def _described(opened: Source, drawn: Sequence[str], indices: Sequence[Tensor]) -> Draw:
    """The draw of `indices` for the splits `drawn` and, at last, for training."""
    found = hashlib.sha256(json.dumps([drawn, opened.left_out]).encode())
    for chosen in indices:
        found.update(np.asarray([len(chosen), *chosen.tolist()], "<i8").tobytes())
    return Draw(found.hexdigest(), opened.left_out)


def _check_classes(source: str, opened: Source, drawn: Sequence[str]) -> None:
    """Require two classes, and in each enough training images for one in every split that is drawn from them."""
    if len(opened.class_names) < 2:
        raise DataError(f"{source}: has only one class, {opened.class_names[0]!r}: a data set needs at least two")
    counts = torch.bincount(opened.labels, minlength=len(opened.class_names)).tolist()
    for name, count in zip(opened.class_names, counts, strict=True):
        if count <= len(drawn):
            raise DataError(
                f"{source}: class {name!r} has {count} training image(s) but needs {len(drawn) + 1}, one each for "
                f"{', '.join(('training', *drawn))}: add images or remove the class"
            )


def _check_drawn(source: str, opened: Source, drawn: Sequence[str], indices: Sequence[Tensor]) -> None:
    """Require every class in every split: whole groups may leave one without."""
    for split, chosen in zip((*drawn, "train"), indices, strict=True):
        counts = torch.bincount(opened.labels[chosen], minlength=len(opened.class_names))
        if not counts.all():
            name = opened.class_names[int(counts.argmin())]
            raise DataError(
                f"{source}: class {name!r} is in so few groups that none of its images is left for the split {split}, "
                "since a group is in one split only: add images of other groups, or say the splits in the column split"
            )


def _check_values(source: str, counts: ValueCounts, images: int) -> None:
    """Require that training pixels differ, and say it if they are all dark, as values of another range are."""
    low, high = counts.extremes()
    if low == high:
        raise DataError(
            f"{source}: every pixel of the {images} training images has the value {low}: there is nothing to "
            "learn from; check how the images were stored"
        )
    if high < DARK:
        log.warning(
            "%s: the brightest of all training pixels is %d of 255; if values were meant from 0 to %d, scale them",
            source,
            high,
            high,
        )


def _unevenness(source: str, class_names: Sequence[str], labels: Tensor) -> list[str]:
    """A notice if some class has several times as many training images as another."""
    counts = torch.bincount(labels, minlength=len(class_names))
    largest, smallest = int(counts.argmax()), int(counts.argmin())
    if counts[largest] < UNEVEN * counts[smallest]:
        return []
    high, low = (100 * int(counts[index]) / len(labels) for index in (largest, smallest))
    return [
        f"{source}: classes are uneven: {class_names[largest]!r} has {high:.1f}% of the training images, "
        f"{class_names[smallest]!r} {low:.1f}%; compare top-1 with the share of the largest class, and look at "
        "balanced accuracy"
    ]
