"""The three splits of a data set and how they are drawn: `load_splits`, `DataSplits` and `ImageSet`."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from anybudget.data.archives import has_idx_files, open_embedded, open_idx, open_npz
from anybudget.data.folders import list_folder, open_folder
from anybudget.data.identity import Listing
from anybudget.data.layout import has_class_folders
from anybudget.data.preparation import SHORTER_SIDE, UNCHANGED, Preparation
from anybudget.data.sources import FASHION_MNIST_SUBSET, FolderSettings, Part, Source
from anybudget.errors import DataError, MissingDataError, reason, shown

SourceKind = Literal["embedded", "folder", "idx", "npz"]

log = logging.getLogger(__name__)

DARK = 32  # training pixels that are all below are said to be dark
UNEVEN = 3  # times as many images as the smallest class has, from where it is said
STATISTICS_CHUNK = 1024  # images counted at a time


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images in memory: `images` uint8 [N, C, H, W], contiguous; `labels` int64 [N]."""

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.dtype != torch.uint8 or images.ndim != 4 or not images.is_contiguous():
            raise DataError(f"images must be contiguous uint8 [N, C, H, W], not {images.dtype} {list(images.shape)}")
        if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
            raise DataError(
                f"labels must be int64 [N] for {len(images)} images, not {labels.dtype} {list(labels.shape)}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: Tensor) -> ImageSet:
        """A copy of the images at `indices` (int64 [n], or a bool mask [N]) with their labels."""
        return ImageSet(self.images[indices].contiguous(), self.labels[indices])


@dataclass(frozen=True, slots=True)
class Draw:
    """Which images are in which split: `digest` tells two draws apart.

    `left_out` are the files that were passed over, relative to the data set, with "/" on every system.
    """

    digest: str
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class DataSplits:
    """A data set split for a search: `train` fits weights, `validation` ranks architectures, `test()` is held out.

    `class_names` has the name of each label, in order: the folders' names, or those that an archive brings; where a
    source has no names they are the labels as text. `mean` and `std` are per channel, in units of 0 to 1, measured on
    `train` only; `std` is 1 for a constant channel. `preparation` says how stored images became these, `draw` which
    of them are in which split, where they come from `load_splits`.
    """

    train: ImageSet
    validation: ImageSet
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    _test: ImageSet = field(repr=False)
    preparation: Preparation
    draw: Draw | None = None

    def test(self) -> ImageSet:
        """The held-out split: a method, so that a test can replace it and prove that a search never looked."""
        return self._test

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width in pixels of every image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    @property
    def classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    def fewest(self, most: int = 3) -> str:
        """The classes with the fewest images of all splits, in words: among them are folders that are none."""
        labels = torch.cat([part.labels for part in (self.train, self.validation, self._test)])
        counts = torch.bincount(labels, minlength=self.classes).tolist()
        least = sorted(range(self.classes), key=lambda index: counts[index])[:most]
        named = ", ".join(f"{self.class_names[index]!r} ({counts[index]})" for index in least)
        return f"the classes with the fewest images are {named}; remove the folders that are none"

    def normalise(self, images: Tensor) -> Tensor:
        """Turn uint8 images [N, C, H, W] into float32 of the same shape: (images / 255 - mean) / std.

        Raises:
            DataError: `images` are not uint8 or have another number of channels.
        """
        return normalise(images, self.mean, self.std)


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Turn uint8 images [N, C, H, W] into float32 of the same shape: (images / 255 - mean) / std, channel by channel.

    Raises:
        DataError: `images` are not uint8 or have another number of channels.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != len(mean):
        raise DataError(
            f"images to normalise must be uint8 [N, {len(mean)}, H, W], not {images.dtype} {list(images.shape)}"
        )
    means = torch.tensor(mean, device=images.device).view(-1, 1, 1)
    deviations = torch.tensor([value or 1.0 for value in std], device=images.device).view(-1, 1, 1)
    return images.to(torch.float32).div_(255).sub_(means).div_(deviations)


def load_splits(
    source: str,
    *,
    seed: int,
    validation_fraction: float = 0.15,
    test_fraction: float = 0.15,
    image_size: int | None = None,
    skip_unreadable: int = 0,
    folders: FolderSettings | None = None,
) -> DataSplits:
    """Load a data set into memory and split it into training, validation and test images.

    `source` is "fashion-mnist-subset" (embedded), or the path of a folder of class folders of images, of an `.npz`
    archive, or of a folder with the idx files of MNIST. Parts that the source ships are used as they are. A missing
    test or validation part is drawn from the training part: of each class the given fraction, rounded, at least one
    image. The same seed draws the same images, and the test images do not depend on `validation_fraction`; images keep
    their order. With `image_size`, the shorter side is scaled to that many pixels, antialiased, and the centre square
    is cut; without, all images must have the same size. Of class folders, up to `skip_unreadable` images that cannot
    be decoded are left out, with a warning for each; splits are drawn as if these were not there. `folders` says more
    on how folders are read. What a user should know though the data can be used, such as files that are not read, is
    logged as a warning.

    Raises:
        DataError: the source does not exist, is damaged or cannot be used; the message names the file, key or class.
    """
    _check_settings(validation_fraction, test_fraction, image_size, skip_unreadable)
    opened = _open(source, image_size, skip_unreadable, folders)
    drawn = [
        (name, fraction)
        for name, part, fraction in (
            ("test", opened.test, test_fraction),
            ("validation", opened.validation, validation_fraction),
        )
        if part is None
    ]
    _check_classes(source, opened, [name for name, _ in drawn])
    indices = _draw(opened.train.labels, [fraction for _, fraction in drawn], seed)
    draw = _described(source, opened, [name for name, _ in drawn], indices)
    splits = {name: _read(opened.train, chosen) for (name, _), chosen in zip(drawn, indices, strict=False)}
    for name, part in (("test", opened.test), ("validation", opened.validation)):
        if part is not None:
            splits[name] = _read(part, torch.arange(len(part.labels)))
    train = _read(opened.train, indices[-1])
    mean, std = _statistics(train.images)
    channels, height, width = train.images.shape[1:]
    resized = UNCHANGED if image_size is None else SHORTER_SIDE
    preparation = Preparation(channels, height, width, resized, value_range=opened.value_range)
    _check_values(source, train.images)
    for notice in (*opened.notices, *_unevenness(source, opened.class_names, train.labels)):
        log.warning("%s", notice)
    return DataSplits(train, splits["validation"], opened.class_names, mean, std, splits["test"], preparation, draw)


def _check_settings(
    validation_fraction: float, test_fraction: float, image_size: int | None, skip_unreadable: int
) -> None:
    """Require settings that can be meant."""
    for name, fraction in (("validation", validation_fraction), ("test", test_fraction)):
        if not 0 < fraction < 1:
            raise DataError(f"{name} fraction {fraction} must lie between 0 and 1, both excluded")
    if validation_fraction + test_fraction >= 1:
        raise DataError(
            f"validation fraction {validation_fraction} and test fraction {test_fraction} leave nothing to train on: "
            "choose them so that their sum is below 1"
        )
    if image_size is not None and image_size < 1:
        raise DataError(f"image size {image_size} must be at least 1 pixel")
    if skip_unreadable < 0:
        raise DataError(f"skip_unreadable {skip_unreadable} must be 0 or more images")


def identify(source: str, image_size: int | None = None) -> Listing:
    """What tells the data set `source` from others; of folders no image is opened, arrays are read.

    Raises:
        MissingDataError: there is nothing of that name.
        DataError: it is no data set, or its arrays cannot be used.
    """
    kind, path = _located(source)
    return list_folder(path) if kind == "folder" else _open_arrays(kind, path, image_size).listing()


def _open(source: str, image_size: int | None, skip_unreadable: int, folders: FolderSettings | None) -> Source:
    """Find out which kind of source this is and open it."""
    kind, path = _located(source)
    if kind == "folder":
        return open_folder(path, image_size, skip_unreadable, folders)
    return _open_arrays(kind, path, image_size)


def _open_arrays(kind: SourceKind, path: Path, image_size: int | None) -> Source:
    if kind == "embedded":
        return open_embedded(image_size)
    return open_idx(path, image_size) if kind == "idx" else open_npz(path, image_size)


def _located(source: str) -> tuple[SourceKind, Path]:
    """Which kind of source this is, and where it lies."""
    if source == FASHION_MNIST_SUBSET:
        return "embedded", Path()
    way_out = f"give the path of a folder or .npz file, or {FASHION_MNIST_SUBSET!r}"
    try:
        path = Path(source).expanduser()
        there = bool(source) and path.exists()
    except (OSError, RuntimeError, ValueError) as error:  # a name too long, a folder that is closed, no such user
        raise DataError(f"data.source: {shown(source)} cannot be looked up ({reason(error)}): {way_out}") from error
    if not there:
        if any(character in source for character in "\b\t\n\f\r"):
            way_out = f"in double quotes a backslash begins an escape; write '...' around a path with any, or {way_out}"
        raise MissingDataError(f"data.source: {shown(source)}: no such file or folder: {way_out}")
    if path.is_dir():
        if has_idx_files(path):
            return "idx", path
        if has_class_folders(path):
            return "folder", path
    elif path.suffix.lower() == ".npz":
        return "npz", path
    raise DataError(
        f"{source}: not recognised as a data set: give a folder with one folder of images per class, a folder with "
        "train-images-idx3-ubyte and its labels, or an .npz file with the arrays x and y"
    )


def _described(source: str, opened: Source, drawn: Sequence[str], indices: Sequence[Tensor]) -> Draw:
    """The draw of `indices` for the splits `drawn` and, at last, for training."""
    root = Path(source).expanduser()
    left_out = tuple(file.relative_to(root).as_posix() for file in opened.left_out)
    found = hashlib.sha256(json.dumps([drawn, left_out]).encode())
    for chosen in indices:
        found.update(np.asarray([len(chosen), *chosen.tolist()], "<i8").tobytes())
    return Draw(found.hexdigest(), left_out)


def _check_classes(source: str, opened: Source, drawn: Sequence[str]) -> None:
    """Require two classes, and in each enough training images for one in every split that is drawn from them."""
    if len(opened.class_names) < 2:
        raise DataError(f"{source}: has only one class, {opened.class_names[0]!r}: a data set needs at least two")
    counts = torch.bincount(opened.train.labels, minlength=len(opened.class_names)).tolist()
    for name, count in zip(opened.class_names, counts, strict=True):
        if count <= len(drawn):
            raise DataError(
                f"{source}: class {name!r} has {count} training image(s) but needs {len(drawn) + 1}, one each for "
                f"{', '.join(('training', *drawn))}: add images or remove the class"
            )


def _draw(labels: Tensor, fractions: Sequence[float], seed: int) -> list[Tensor]:
    """Disjoint indices, ascending, for each fraction of every class in turn, and at last for the remainder."""
    generator = torch.Generator().manual_seed(seed)
    chosen: list[list[Tensor]] = [[] for _ in range(len(fractions) + 1)]
    by_class = torch.split(torch.argsort(labels, stable=True), torch.bincount(labels).tolist())
    for members in by_class:
        shuffled = members[torch.randperm(len(members), generator=generator)]
        start = 0
        for position, fraction in enumerate(fractions):
            spare = len(members) - start - (len(fractions) - position)  # leave one image for each split to come
            count = min(max(1, round(fraction * len(members))), spare)
            chosen[position].append(shuffled[start : start + count])
            start += count
        chosen[-1].append(shuffled[start:])
    return [torch.cat(pieces).sort().values for pieces in chosen]


def _read(part: Part, indices: Tensor) -> ImageSet:
    return ImageSet(part.read(indices), part.labels[indices])


def _check_values(source: str, images: Tensor) -> None:
    """Require that training pixels differ, and say it if they are all dark, as values of another range are."""
    low, high = int(images.min()), int(images.max())
    if low == high:
        raise DataError(
            f"{source}: every pixel of the {len(images)} training images has the value {low}: there is nothing to "
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


def _statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and population standard deviation of each channel, exactly, from counts of the 256 values."""
    counts = torch.zeros(images.shape[1], 256, dtype=torch.float64)
    for chunk in torch.split(images, STATISTICS_CHUNK):
        for channel, count in enumerate(counts):
            count += torch.bincount(chunk[:, channel].flatten(), minlength=256)
    values = torch.arange(256, dtype=torch.float64) / 255
    shares = counts / counts.sum(1, keepdim=True)
    mean = shares @ values
    std = (shares * (values - mean[:, None]) ** 2).sum(1).sqrt()
    constant = (counts > 0).sum(1) == 1
    return tuple(mean.tolist()), tuple(std.masked_fill(constant, 1.0).tolist())
