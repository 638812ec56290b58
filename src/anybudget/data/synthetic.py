"""Images composed of packaged ones: "cluttered-fashion", a garment anywhere on a canvas, among patches of others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from enum import IntEnum
from functools import cached_property
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from pydantic import Field

from anybudget.data.archives import open_embedded
from anybudget.data.arrays import resize
from anybudget.data.identity import Entry, Listing
from anybudget.data.preparation import SHORTER_SIDE, UNCHANGED, Preparation
from anybudget.data.protocol import DataSource, ImageSet
from anybudget.data.random import Use, image_keys, uniform
from anybudget.data.sources import CLUTTERED_FASHION, DataSettings, check_memory
from anybudget.data.splits import channel_statistics, split_source
from anybudget.errors import ConfigError
from anybudget.settings import Channels, Count, Natural, Settings

Pixels = NDArray[np.uint8]

GARMENT = 28
"""The side of a garment in pixels."""

VERSION = 1
"""Of how images are composed: another one gives other images for the same settings."""


class SplitNumber(IntEnum):
    """What the numbers of a split's images are drawn with, so that splits have nothing in common."""

    TRAINING = 0
    VALIDATION = 1
    TEST = 2


class ClutterSettings(Settings):
    """`[data.cluttered-fashion]`: how images are composed.

    The side of the `canvas` and of the square patches are in pixels. `compositions` is how many images each garment of
    training and validation becomes, `test_compositions` that of the test. The `seed` is not that of the recipe: runs
    with other seeds are tested on the same images.

    Example:
        >>> ClutterSettings(patches=4).canvas
        48
    """

    canvas: Channels = 48
    patches: Annotated[int, Field(ge=0, le=256)] = 8
    patch_size: Annotated[int, Field(ge=1, le=GARMENT)] = 10
    compositions: Count = 2
    test_compositions: Count = 5
    seed: Natural = 0

    def problems(self, table: str) -> Iterator[str]:
        """See `Settings.problems`."""
        if self.canvas < GARMENT:
            yield f"{table}.canvas: {self.canvas} pixels are too few for a garment of {GARMENT}; take {GARMENT} or more"


class ClutteredFashion(DataSource):
    """The registered source "cluttered-fashion": Fashion-MNIST where the garment has to be found first.

    A garment lies at a random place of a larger canvas, among square patches of other garments; where they overlap, the
    brighter pixel is seen. Garments are those of "fashion-mnist-subset" and are split like them, and all that an image
    shows is of its own split: no garment is seen in two. Image i of a split is a function of the seed of the settings
    and of i, and shows garment i modulo their number.

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
        self.train = self._composed(garments.train, SplitNumber.TRAINING)
        self.validation = self._composed(garments.validation, SplitNumber.VALIDATION)
        self.mean, self.std = channel_statistics(self.train.images)

    def test(self) -> ImageSet:
        """See `DataSource.test`."""
        return self._test

    @cached_property
    def _test(self) -> ImageSet:
        return self._composed(self._garments.test(), SplitNumber.TEST)

    def listing(self) -> Listing:
        """See `DataSource.listing`: the garments, and how they are composed."""
        garments = self._garments.listing()
        how = json.dumps({"version": VERSION, **self._settings.model_dump()}, sort_keys=True)
        composed = Entry("compositions", self._count, hashlib.sha256(how.encode()).hexdigest())
        return Listing(garments.kind, garments.classes, tuple(sorted((*garments.entries, composed))))

    def _composed(self, garments: ImageSet, split: SplitNumber) -> ImageSet:
        times = self._settings.test_compositions if split is SplitNumber.TEST else self._settings.compositions
        images = compose(garments.images[:, 0].numpy(), times, split, self._settings)
        return ImageSet(resize(torch.from_numpy(images), self._size), garments.labels.repeat(times))


def compose(garments: Pixels, times: int, split: int, settings: ClutterSettings) -> Pixels:
    """Images of garments among patches of the others.

    Args:
        garments: uint8 [N, 28, 28]; with patches, N is at least 2.
        times: how many images of each garment.
        split: the number of the split, part of what decides every draw.
        settings: how images are composed.

    Returns:
        uint8 [times · N, 1, canvas, canvas]; image i shows garment i modulo N.
    """
    count, patch = times * len(garments), settings.patch_size
    shown = np.arange(count) % len(garments)
    keys = image_keys(settings.seed, split, np.arange(count), Use.COMPOSITION)
    draws = uniform(keys, 2 + 5 * settings.patches)
    canvases = np.zeros((count, settings.canvas, settings.canvas), np.uint8)
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
