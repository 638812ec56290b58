"""Images composed of packaged ones: "cluttered-fashion", a garment anywhere on a canvas, among patches of others."""

from __future__ import annotations

import hashlib
import json
from enum import IntEnum
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor

from anybudget.data.archives import open_embedded
from anybudget.data.identity import Entry, Listing
from anybudget.data.preparation import SHORTER_SIDE, UNCHANGED, Preparation, resize
from anybudget.data.protocol import DataSource, ImageSet, Split
from anybudget.data.random import Use, image_keys, uniform
from anybudget.data.sources import CLUTTERED_FASHION, DataSettings, check_memory
from anybudget.data.splits import split_source
from anybudget.data.statistics import ValueCounts
from anybudget.data.synthetic_settings import GARMENT, ClutterSettings
from anybudget.errors import ConfigError
from anybudget.settings import Settings

Pixels = NDArray[np.uint8]

VERSION = 1
"""Of how images are composed: another one gives other images for the same settings."""


class SplitNumber(IntEnum):
    """What the numbers of a split's images are drawn with, so that splits have nothing in common."""

    TRAINING = 0
    VALIDATION = 1
    TEST = 2


class ClutteredFashion(DataSource):
    """The registered source "cluttered-fashion": Fashion-MNIST where the garment has to be found first.

    A garment lies at a random place of a larger canvas, among square patches of other garments; where they overlap, the
    brighter pixel is seen. Garments are those of "fashion-mnist-subset" and are split like them, and all that an image
    shows is of its own split: no garment is seen in two. Image i of a split is a function of the seed of the settings
    and of i (and of the epoch, if training images are to be fresh), and shows garment i modulo their number.

    Raises:
        DataError: the images would need too much memory, or the splits cannot be drawn.
        ConfigError: the settings cannot be used.

    Example:
        >>> from anybudget import load_splits
        >>> data = load_splits("cluttered-fashion", seed=0)
        >>> data.input_shape, len(data.train), len(data.validation), len(data.test())
        ((1, 48, 48), 20400, 3600, 10000)
    """

    name: ClassVar[str] = CLUTTERED_FASHION
    settings_type: ClassVar[type[Settings]] = ClutterSettings

    def __init__(self, settings: DataSettings) -> None:
        own = _own(settings)
        opened = open_embedded(None)
        garments = split_source(self.name, opened, settings, opened.listing)
        side = settings.image_size or own.canvas
        count = own.compositions * (len(garments.train) + len(garments.validation))
        self._count = count + own.test_compositions * len(garments.test())
        check_memory(self.name, self._count, (1, max(side, own.canvas), max(side, own.canvas)))
        self._settings, self._garments, self._size = own, garments, settings.image_size
        self.class_names, self.draw = garments.class_names, garments.draw
        resized = UNCHANGED if settings.image_size is None else SHORTER_SIDE
        self.preparation = Preparation(1, side, side, resized)
        training = self._composed(garments.train, SplitNumber.TRAINING)
        stored = training.all()
        self.train: Split = training if own.fresh else stored
        self.validation = self._composed(garments.validation, SplitNumber.VALIDATION).all()
        counts = ValueCounts(channels=1)
        counts.add(stored.images)
        self.mean, self.std = counts.statistics()

    def test(self) -> ImageSet:
        """See `DataSource.test`."""
        return self._test

    @cached_property
    def _test(self) -> ImageSet:
        return self._composed(self._garments.test(), SplitNumber.TEST).all()

    def listing(self) -> Listing:
        """See `DataSource.listing`: the garments, and how they are composed."""
        garments = self._garments.listing()
        # A setting that is off says nothing, so that the listing is that from before there was one.
        said = self._settings.model_dump(exclude=None if self._settings.fresh else {"fresh"})
        how = json.dumps({"version": VERSION, **said}, sort_keys=True)
        composed = Entry("compositions", self._count, hashlib.sha256(how.encode()).hexdigest())
        return Listing(garments.kind, garments.classes, tuple(sorted((*garments.entries, composed))))

    def _composed(self, garments: Split, number: SplitNumber) -> ComposedImages:
        in_memory = garments.subset(torch.arange(len(garments)))
        return ComposedImages(in_memory, number, self._settings, self._size)


class ComposedImages(Split):
    """A split whose images are composed when they are read, anew for each epoch.

    Args:
        garments: those of the split, uint8 [N, 1, 28, 28].
        number: of the split.
        settings: how images are composed.
        size: the side in pixels that they are scaled to; the canvas if None.
        epoch: which images these are; 0 are those that are not of any epoch.
    """

    def __init__(
        self, garments: ImageSet, number: SplitNumber, settings: ClutterSettings, size: int | None, epoch: int = 0
    ) -> None:
        times = settings.test_compositions if number is SplitNumber.TEST else settings.compositions
        self.labels = garments.labels.repeat(times)
        self._garments, self._number, self._settings, self._size = garments, number, settings, size
        self._epoch = epoch

    def read(self, indices: Tensor) -> Tensor:
        """See `Split.read`."""
        garments, stream = self._garments.images[:, 0].numpy(), self._epoch * len(SplitNumber) + self._number
        return resize(torch.from_numpy(compose(garments, indices.numpy(), stream, self._settings)), self._size)

    def in_epoch(self, epoch: int) -> ComposedImages:
        """See `Split.in_epoch`."""
        return ComposedImages(self._garments, self._number, self._settings, self._size, epoch)

    def all(self) -> ImageSet:
        """All images, in memory."""
        return self.subset(torch.arange(len(self)))


def compose(garments: Pixels, indices: NDArray[np.int64], stream: int, settings: ClutterSettings) -> Pixels:
    """Images of garments among patches of the others, each decided by the settings, the stream and its index alone.

    Args:
        garments: uint8 [N, 28, 28]; with patches, N is at least 2.
        indices: which images, [n]; image i shows garment i modulo N.
        stream: a number for each split and epoch.
        settings: how images are composed.

    Returns:
        uint8 [n, 1, canvas, canvas].
    """
    shown, patch = indices % len(garments), settings.patch_size
    draws = uniform(image_keys(settings.seed, stream, indices, Use.COMPOSITION), 2 + 5 * settings.patches)
    canvases = np.zeros((len(indices), settings.canvas, settings.canvas), np.uint8)
    windows = sliding_window_view(garments, (patch, patch), axis=(1, 2))
    for drawn in np.split(draws[:, 2:], settings.patches, axis=1) if settings.patches else ():
        others = (shown + 1 + _whole(drawn[:, 0], len(garments) - 1)) % len(garments)
        cut = (_whole(drawn[:, place], GARMENT - patch + 1) for place in (1, 2))
        _lay(canvases, windows[others, *cut], drawn[:, 3:])
    _lay(canvases, garments[shown], draws[:, :2])
    return canvases[:, None]


def _lay(canvases: Pixels, pieces: Pixels, draws: NDArray[np.float64]) -> None:
    """Lay a square piece [N, k, k] onto each canvas [N, S, S], at the place that two draws [N, 2] say."""
    side = pieces.shape[1]
    windows: Any = sliding_window_view(canvases, (side, side), axis=(1, 2), writeable=True)
    places = (np.arange(len(canvases)), *(_whole(draw, canvases.shape[1] - side + 1) for draw in draws.T))
    windows[places] = np.maximum(windows[places], pieces)


def _whole(draws: NDArray[np.float64], below: int) -> NDArray[np.int64]:
    """Draws from [0, 1) as whole numbers from 0 to `below` - 1."""
    return (draws * below).astype(np.int64)


def _own(settings: DataSettings) -> ClutterSettings:
    own = ClutterSettings() if settings.own is None else settings.own
    if not isinstance(own, ClutterSettings):
        raise ConfigError(f"data source {CLUTTERED_FASHION}: is set by ClutterSettings, found {type(own).__name__}")
    problems = list(own.problems(f"data.{CLUTTERED_FASHION}"))
    if problems:
        raise ConfigError("; ".join(problems))
    return own
