"""Registered sources, and what data sets have in common before they are split: parts, and the bound on their memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from anybudget.errors import DataError
from anybudget.registry import Registry
from anybudget.settings import Settings

if TYPE_CHECKING:  # so that a recipe can be read without torch
    from torch import Tensor

    from anybudget.data.identity import Listing
    from anybudget.data.protocol import DataSource

FASHION_MNIST_SUBSET = "fashion-mnist-subset"
"""The source name of the embedded data set: 12,000 training and 2,000 test images of Fashion-MNIST."""

CLUTTERED_FASHION = "cluttered-fashion"
"""The source name of garments among patches of others, composed of the embedded data set."""

MAX_IMAGE_BYTES = 8 * 2**30
"""Bound on the uint8 images of one data set after resizing, in bytes: they all live in memory."""


@dataclass(frozen=True)
class DataSettings:
    """How a data set is split, and how large its images become.

    A missing test or validation part is drawn from the training part, of each class the given fraction. With
    `image_size`, the shorter side is scaled to that many pixels and the centre square is cut. `own` are the settings of
    a registered source that has some: its defaults if None.

    Raises:
        DataError: a value is out of range, or nothing would be left to train on.

    Example:
        >>> DataSettings(validation_fraction=0.2).test_fraction
        0.15
    """

    seed: int = 0
    validation_fraction: float = 0.15
    test_fraction: float = 0.15
    image_size: int | None = None
    own: Settings | None = None

    def __post_init__(self) -> None:
        for name, fraction in (("validation", self.validation_fraction), ("test", self.test_fraction)):
            if not 0 < fraction < 1:
                raise DataError(f"{name} fraction {fraction} must lie between 0 and 1, both excluded")
        if self.validation_fraction + self.test_fraction >= 1:
            raise DataError(
                f"validation fraction {self.validation_fraction} and test fraction {self.test_fraction} leave nothing "
                "to train on: choose them so that their sum is below 1"
            )
        if self.image_size is not None and self.image_size < 1:
            raise DataError(f"image size {self.image_size} must be at least 1 pixel")


SOURCES: Registry[Callable[[DataSettings], DataSource]] = Registry(
    "data source",
    "anybudget.sources",
    {
        FASHION_MNIST_SUBSET: "anybudget.data.loading:fashion_mnist_subset",
        CLUTTERED_FASHION: "anybudget.data.synthetic:ClutteredFashion",
    },
    settings={
        FASHION_MNIST_SUBSET: None,
        CLUTTERED_FASHION: "anybudget.data.synthetic_settings:ClutterSettings",
    },
)
"""Data sources by the name that `data.source` of a recipe may have; each takes the settings and gives the source.

One with settings of its own has their class as `settings_type`; they come as `DataSettings.own`.
"""


@dataclass(frozen=True)
class FolderSettings:
    """How folders of images are read.

    `val` says what a folder `val` is where there is no `test`; `channels` is how many the network takes, if known: with
    3, grey images among coloured ones are converted.
    """

    val: Literal["test", "validation"] = "test"
    channels: int | None = None


@dataclass(frozen=True)
class Part:
    """Labelled images that are read when it is known which split wants them, so that none is held twice.

    `labels` is int64 [N]; `read` takes int64 indices [n] and returns uint8 images [n, C, H, W].
    """

    labels: Tensor
    read: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Source:
    """What a data source ships: a training part, and validation and test parts unless they are still to be drawn.

    Every part has the same image shape and at least one image of each class.

    `listing` says what tells the data set from others; `left_out` are the files that could not be decoded, relative to
    it. `value_range` are the stored values that became 0 and 255, None if they had 8 bits; `notices` say what else a
    user should know.
    """

    class_names: tuple[str, ...]
    train: Part
    listing: Callable[[], Listing]
    validation: Part | None = None
    test: Part | None = None
    left_out: tuple[Path, ...] = ()
    value_range: tuple[float, float] | None = None
    notices: tuple[str, ...] = ()


def check_memory(name: str, count: int, shape: tuple[int, int, int]) -> None:
    """Refuse `count` uint8 images of shape [C, H, W] that exceed `MAX_IMAGE_BYTES`; `name` is the data set.

    Raises:
        DataError: the estimate exceeds the bound.
    """
    estimated = count * math.prod(shape)
    if estimated > MAX_IMAGE_BYTES:
        raise DataError(
            f"{name}: {count} images of {'×'.join(map(str, shape))} need an estimated {estimated / 2**30:.3g} GiB of "
            f"memory, more than the {MAX_IMAGE_BYTES / 2**30:.3g} GiB allowed: set a smaller image size or use fewer "
            "images"
        )
