"""Training and validation images as one training split: `TrainedOnValidation`, for the last training of a network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from PIL import Image
from torch import Tensor

from anybudget.data.augmentation import AugmentedReading
from anybudget.data.identity import Listing
from anybudget.data.on_disk import KeptSplit, StoredSplit
from anybudget.data.protocol import DataSource, Split


class Joined(Split):
    """The images of one split, then those of another."""

    def __init__(self, first: Split, second: Split) -> None:
        self._first, self._second = first, second
        self.labels = torch.cat([first.labels, second.labels])
        self._stored: StoredSplit | None = None
        if isinstance(first, KeptSplit) and isinstance(second, KeptSplit):
            self._stored = first.stored.followed_by(second.stored)

    def read(self, indices: Tensor) -> Tensor:
        """See `Split.read`."""
        mine = indices < len(self._first)
        parts = []
        if mine.any():
            parts.append(self._first.read(indices[mine]))
        if not mine.all():
            parts.append(self._second.read(indices[~mine] - len(self._first)))
        return _in_order(parts, mine)

    def read_batches(self, batches: Iterable[Tensor], augmented: AugmentedReading | None = None) -> Iterator[Tensor]:
        """See `Split.read_batches`: originals are read ahead where both splits have them stored together."""
        if augmented is not None and augmented.augmentation.originals and self._stored is not None:
            return self._stored.read_batches(batches, augmented)
        return super().read_batches(batches, augmented)

    def originals(self, indices: Tensor, needed_side: int | None) -> Iterator[Image.Image]:
        """See `Split.originals`."""
        for index in indices:
            first = int(index) < len(self._first)
            split, place = (self._first, index) if first else (self._second, index - len(self._first))
            yield from split.originals(place.view(1), needed_side)

    def in_epoch(self, epoch: int) -> Split:
        """See `Split.in_epoch`."""
        return Joined(self._first.in_epoch(epoch), self._second)


def joined(first: Split, second: Split) -> Split:
    """The images of one split, then those of another; read ahead as one where they are stored together."""
    together = None
    if isinstance(first, StoredSplit) and isinstance(second, StoredSplit):
        together = first.followed_by(second)
    return together or Joined(first, second)


class TrainedOnValidation(DataSource):
    """A data source whose validation images are training images, too; its test images stay apart.

    Mean and deviation stay those of the training images, by which networks are used later.

    Args:
        data: the data source.

    Example:
        >>> from anybudget import from_tensors
        >>> data = from_tensors(torch.rand(60, 1, 8, 8), torch.arange(60) % 3)
        >>> len(data.train), len(data.validation), len(TrainedOnValidation(data).train)
        (42, 9, 51)
    """

    def __init__(self, data: DataSource) -> None:
        self._data = data
        self.class_names, self.mean, self.std = data.class_names, data.mean, data.std
        self.preparation, self.draw, self.validation = data.preparation, data.draw, data.validation
        self.train = joined(data.train, data.validation)

    def test(self) -> Split:
        """See `DataSource.test`."""
        return self._data.test()

    def listing(self) -> Listing:
        """See `DataSource.listing`."""
        return self._data.listing()


def _in_order(parts: list[Tensor], first: Tensor) -> Tensor:
    """Images of the first split and of the second, in the order of a mask `[n]` that says which come from the first."""
    if len(parts) == 1:
        return parts[0]
    images = torch.empty(len(first), *parts[0].shape[1:], dtype=parts[0].dtype)
    images[first], images[~first] = parts[0], parts[1]
    return images
