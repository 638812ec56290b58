"""Registered sources, and what data sets have in common before they are split: parts, and the bound on their memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from anybudget.errors import DataError
from anybudget.registry import Registry
from anybudget.runtime.memory import free_bytes
from anybudget.settings import Settings

if TYPE_CHECKING:  # so that a recipe can be read without torch
    from torch import Tensor

    from anybudget.data.identity import Listing
    from anybudget.data.index import DataIndex, Findings
    from anybudget.data.protocol import DataSource
    from anybudget.data.stored import StoredImages
    from anybudget.runtime.progress import Progress

FASHION_MNIST_SUBSET = "fashion-mnist-subset"
"""The source name of the embedded data set: 12,000 training and 2,000 test images of Fashion-MNIST."""

CLUTTERED_FASHION = "cluttered-fashion"
"""The source name of garments among patches of others, composed of the embedded data set."""

Keep = Literal["auto", "memory", "disk"]
"""Where images are while they are used: in memory, on disk, or as there is room."""

READING_KEYS = frozenset({"keep", "readers", "patience"})
"""Keys of `[data]` that say how images are read, which changes no result."""

MOST_READERS = 1000
"""Processes that may read, a bound on slips of the finger."""

KEPT_SHARE = 0.25
"""Images are kept in memory, where nothing else is said, if they take at most this share of what is free."""

ROOM = 0.75
"""Images may take at most this share of what is free: work needs some, too."""


@dataclass(frozen=True)
class Reading:
    """How images are read, which changes no result.

    `keep` says where they are while they are used, `readers` how many processes read those that stay on disk: None for
    as many as there are cores, 8 at most; 0 for none. Both are shared out among the `processes` of this machine that
    train together. `patience` is how many seconds one image may take. What looking at all images has found is kept in
    the file `index`, if one is given, and written there if it `writes`. `progress` is told how far that is.

    Raises:
        DataError: a value is out of range.
    """

    keep: Keep = "auto"
    readers: int | None = None
    processes: int = 1
    patience: float = 300.0
    index: Path | None = None
    writes: bool = True
    progress: Progress | None = None

    def __post_init__(self) -> None:
        if self.keep not in ("auto", "memory", "disk"):
            raise DataError(f'keep {self.keep!r} must be "auto", "memory" or "disk"')
        if self.readers is not None and self.readers < 0:
            raise DataError(
                f"readers {self.readers} must be 0 or more processes, or None for as many as there are cores"
            )
        if not self.patience > 0:
            raise DataError(f"patience {self.patience} must be more than 0 seconds")


@dataclass(frozen=True)
class DataSettings:
    """How a data set is split, and how large its images become.

    A missing test or validation part is drawn from the training part, of each class the given fraction. With
    `image_size`, the shorter side is scaled to that many pixels and the centre square is cut. `own` are the settings of
    a registered source that has some: its defaults if None. `reading` says where images are while they are used.

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
    reading: Reading = Reading()

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

    `val` says what the part `val` is where there is no `test`; `channels` is how many the network takes, if known: with
    3, grey images among coloured ones are converted. `reading` says where images are while they are used.
    """

    val: Literal["test", "validation"] = "validation"
    channels: int | None = None
    reading: Reading = Reading()


@dataclass(frozen=True)
class Source:
    """What a data source ships: its images, and which of them are its parts.

    `train`, `validation` and `test` are int64 indices into `images`; the latter are None where they are still to be
    drawn from the first. Every part has at least one image of each class.

    `listing` says what tells the data set from others; `left_out` are the files that could not be decoded, relative to
    it. `value_range` are the stored values that became 0 and 255, None if they had 8 bits; `notices` say what else a
    user should know. `found` is what looking at the images has found, and `index` where that is kept, for those that
    are not in memory already. `groups` are int64 [N] of `images`, where images of a group belong into one split.
    """

    class_names: tuple[str, ...]
    images: StoredImages
    train: Tensor
    listing: Callable[[], Listing]
    validation: Tensor | None = None
    test: Tensor | None = None
    left_out: tuple[str, ...] = ()
    value_range: tuple[float, float] | None = None
    notices: tuple[str, ...] = ()
    found: Findings | None = None
    index: DataIndex | None = None
    groups: Tensor | None = None

    @property
    def labels(self) -> Tensor:
        """Of the training part: int64 [N]."""
        return self.images.labels[self.train]


def image_bytes(count: int, shape: tuple[int, int, int]) -> int:
    """What `count` uint8 images of shape [C, H, W] take in memory."""
    return count * math.prod(shape)


def check_memory(name: str, count: int, shape: tuple[int, int, int], way_out: str = "") -> None:
    """Refuse `count` uint8 images of shape [C, H, W] that do not fit into free memory; `name` is the data set.

    Raises:
        DataError: they take more than `ROOM` of it.
    """
    estimated, free = image_bytes(count, shape), free_bytes()
    if estimated > ROOM * free:
        raise DataError(
            f"{name}: {count} images of {'×'.join(map(str, shape))} need an estimated {estimated / 2**30:.3g} GiB of "
            f"memory, and {free / 2**30:.3g} GiB are free: {way_out or 'set a smaller image size or use fewer images'}"
        )
