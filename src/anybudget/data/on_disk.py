"""Splits of images that are read when they are wanted, `StoredSplit`, and those that are kept: `KeptSplit`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
from PIL import Image
from torch import Tensor

from anybudget.data.augmentation import AugmentedReading
from anybudget.data.protocol import ImageSet, Split
from anybudget.data.readers import Readers, Wanted


class StoredSplit(Split):
    """A split whose images stay where they are stored, and are read ahead by processes of their own.

    Args:
        readers: read the images of the data set; splits share them.
        chosen: which of these images, int64 [N].
    """

    def __init__(self, readers: Readers, chosen: Tensor) -> None:
        self._readers, self._chosen = readers, chosen
        self.labels = readers.images.labels[chosen]
        self.shape = readers.images.shape

    def read(self, indices: Tensor) -> Tensor:
        """See `Split.read`."""
        if not len(indices):
            return torch.empty(0, *self.shape, dtype=torch.uint8)
        return self._readers.images.read(self._chosen[indices])

    def read_batches(self, batches: Iterable[Tensor], augmented: AugmentedReading | None = None) -> Iterator[Tensor]:
        """See `Split.read_batches`: read ahead."""
        return self._readers.read(self._wanted(indices, augmented) for indices in batches)

    def read_augmented(self, indices: Tensor, augmented: AugmentedReading) -> Tensor:
        """See `Split.read_augmented`."""
        return next(self.read_batches([indices], augmented))

    def originals(self, indices: Tensor, needed_side: int | None) -> Iterator[Image.Image]:
        """See `Split.originals`."""
        return (self._readers.images.original(index, needed_side) for index in self._chosen[indices].tolist())

    def subset(self, indices: Tensor) -> ImageSet:
        """See `Split.subset`: read ahead, in pieces."""
        if indices.dtype == torch.bool:
            indices = indices.nonzero().squeeze(1)
        images = torch.empty(len(indices), *self.shape, dtype=torch.uint8)
        start = 0
        for read in self.read_batches(indices.split(AT_ONCE)) if len(indices) else ():
            images[start : start + len(read)] = read
            start += len(read)
        return ImageSet(images, self.labels[indices])

    def followed_by(self, other: StoredSplit) -> StoredSplit | None:
        """These images, then those of another split, as one; None where these are of another data set."""
        if other._readers is not self._readers:
            return None
        return StoredSplit(self._readers, torch.cat([self._chosen, other._chosen]))

    def _wanted(self, indices: Tensor, augmented: AugmentedReading | None) -> Wanted:
        if augmented is None:
            return Wanted(self._chosen[indices])
        return Wanted(self._chosen[indices], augmented.augmentation, augmented.keys(indices))


AT_ONCE = 256
"""Images that are read at a time where any number would do."""


@dataclass(frozen=True, eq=False)
class KeptSplit(ImageSet):
    """A split whose prepared images are in memory; originals are read from where they are `stored`."""

    stored: StoredSplit = field(repr=False)

    def read_batches(self, batches: Iterable[Tensor], augmented: AugmentedReading | None = None) -> Iterator[Tensor]:
        """See `Split.read_batches`."""
        if augmented is not None and augmented.augmentation.originals:
            return self.stored.read_batches(batches, augmented)
        return super().read_batches(batches, augmented)

    def originals(self, indices: Tensor, needed_side: int | None) -> Iterator[Image.Image]:
        """See `Split.originals`."""
        return self.stored.originals(indices, needed_side)
