"""What training and evaluation need of data: a `DataSource` and its `Split`s, whether images are in memory or not."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from anybudget.data.augmentation import AugmentedReading, to_image
from anybudget.data.identity import Draw, Entry, Listing
from anybudget.data.preparation import Preparation, normalise
from anybudget.data.random import balanced_order
from anybudget.errors import DataError

READ = 1024
"""Images that are read at a time where any number would do."""


class Split(ABC):
    """Labelled images of one part of a data source: uint8 [C, H, W], all of one shape.

    A new kind of split says `labels` and how to `read`; everything else follows. Order, batches and augmentation are
    functions of a seed and of the images' indices, so that they are the same for every source.
    """

    labels: Tensor
    """int64 [N]: the answers; what balances samples; the shares of the classes that accuracy is compared with."""

    @abstractmethod
    def read(self, indices: Tensor) -> Tensor:
        """The images at `indices` (int64 [n], n at least 1), in that order: contiguous uint8 [n, C, H, W].

        Everybody who needs images needs this.
        """

    def read_batches(self, batches: Iterable[Tensor], augmented: AugmentedReading | None = None) -> Iterator[Tensor]:
        """`read` for each of some indices in turn, or `read_augmented`; one that reads from disk overrides it.

        For training and for evaluation, which know beforehand what they will ask for: it can be read ahead.
        """
        if augmented is None:
            return map(self.read, batches)
        return (self.read_augmented(indices, augmented) for indices in batches)

    def read_augmented(self, indices: Tensor, augmented: AugmentedReading) -> Tensor:
        """The images at `indices` (int64 [n], n at least 1), each augmented on its own: uint8 [n, C, H, W]."""
        side = augmented.augmentation.needed_side
        originals = self.originals(indices, side) if augmented.augmentation.originals else self._prepared(indices)
        channels, height, width = self.read(indices[:1]).shape[1:]
        return augmented.images(originals, indices, (channels, height, width))

    def originals(self, indices: Tensor, needed_side: int | None) -> Iterator[Image.Image]:  # noqa: ARG002 - see files
        """The images at `indices` as they are stored, unscaled; those of `read` where there are no others.

        See `ImageAugmentation.originals` and `ImageAugmentation.needed_side`.
        """
        return self._prepared(indices)

    def _prepared(self, indices: Tensor) -> Iterator[Image.Image]:
        return map(to_image, self.read(indices))

    def in_epoch(self, epoch: int) -> Split:  # noqa: ARG002 - for those whose images change
        """What an epoch, counted from 1, trains on: these images; a split that makes its images may make them anew.

        As many images with the same labels, which seed, epoch and index decide.
        """
        return self

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All images with their labels in order, `batch_size` at a time: for evaluation."""
        parts = torch.arange(len(self)).split(batch_size)
        for indices, images in zip(parts, self.read_batches(parts), strict=True):
            yield images, self.labels[indices]

    def subset(self, indices: Tensor) -> ImageSet:
        """The images at `indices` (int64 [n], or a bool mask [N]) with their labels, in memory."""
        if indices.dtype == torch.bool:
            indices = indices.nonzero().squeeze(1)
        return ImageSet(self.read(indices), self.labels[indices])

    def sample(self, count: int, seed: int, *, balanced: bool = False) -> ImageSet:
        """`count` different images in random order, or all where there are not more, in memory.

        For calibration, and for the scores of paths on few images.

        Args:
            count: 1 or more.
            seed: decides which, alone; the first images of a larger sample are those of a smaller one.
            balanced: every class equally often, give or take one, until it has no image left.
        """
        if balanced:
            return self.subset(torch.from_numpy(balanced_order(self.labels.numpy(), seed)[:count]))
        return self.subset(torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))[:count])


@dataclass(frozen=True, eq=False)
class ImageSet(Split):
    """A split in memory: `images` uint8 [N, C, H, W], contiguous; `labels` int64 [N]."""

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

    def read(self, indices: Tensor) -> Tensor:
        """See `Split.read`; `indices` may be empty."""
        return self.images[indices]


class DataSource(ABC):
    """A data set split for a search: `train` fits weights, `validation` ranks architectures, `test()` is held out.

    All that trains, evaluates or keeps a record uses this and nothing else, so that where images lie is the source's
    own affair. A new source sets the attributes and says `test`; `anybudget.testing.check_source` checks it.

    Example:
        >>> import torch
        >>> from anybudget import from_tensors
        >>> data = from_tensors(torch.rand(60, 1, 8, 8), torch.arange(60) % 3)
        >>> isinstance(data, DataSource)
        True
        >>> images, labels = next(data.validation.batches(4))
        >>> images.shape, labels.shape
        (torch.Size([4, 1, 8, 8]), torch.Size([4]))
    """

    class_names: tuple[str, ...]
    """The name of each label, in order; the labels as text where there are no names. For records and reports."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """Of each channel of the training images, from 0 to 1; `std` is 1 for a constant channel. For `normalise`."""
    preparation: Preparation
    """How stored images became these: for the shape of the input, and to prepare other images in the same way."""
    train: Split
    validation: Split
    draw: Draw | None = None
    """Which images are in which split, where these were drawn from the listed ones: a run is tied to it."""

    @abstractmethod
    def test(self) -> Split:
        """The held-out split: a method, so that a test can replace it and prove that a search never looked."""

    def listing(self) -> Listing:
        """What tells this data set from others: a run is tied to it. Reads all images, if not overridden."""
        entries = []
        for name, split in (("training", self.train), ("validation", self.validation), ("test", self.test())):
            images = hashlib.sha256(json.dumps([len(split), *self.input_shape]).encode())
            for chunk, _ in split.batches(READ):
                images.update(np.ascontiguousarray(chunk.numpy()).data)
            labels = hashlib.sha256(split.labels.numpy().astype("<i8").tobytes())
            entries += [
                Entry(f"{name} {what}", len(split), found.hexdigest())
                for what, found in (("images", images), ("labels", labels))
            ]
        return Listing("arrays", self.class_names, tuple(sorted(entries)))

    @property
    def classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width in pixels of every image."""
        return self.preparation.channels, self.preparation.height, self.preparation.width

    def normalise(self, images: Tensor) -> Tensor:
        """Turn uint8 images [N, C, H, W] into float32 of the same shape: (images / 255 - mean) / std.

        Raises:
            DataError: `images` are not uint8 or have another number of channels.
        """
        return normalise(images, self.mean, self.std)

    def fewest(self, most: int = 3) -> str:
        """The classes with the fewest images of all splits, in words: among them are folders that are none."""
        labels = torch.cat([split.labels for split in (self.train, self.validation, self.test())])
        counts = torch.bincount(labels, minlength=self.classes).tolist()
        least = sorted(range(self.classes), key=lambda index: counts[index])[:most]
        named = ", ".join(f"{self.class_names[index]!r} ({counts[index]})" for index in least)
        return f"the classes with the fewest images are {named}; remove the folders that are none"
