"""Views of data in which classes count alike: `BalancedValidation`, the class-balanced part of a validation split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from PIL import Image
from torch import Tensor

from anybudget.data.augmentation import AugmentedReading
from anybudget.data.identity import Listing
from anybudget.data.protocol import DataSource, Split
from anybudget.data.random import balanced_order


class Selected(Split):
    """Some images of a split, which stay where they are.

    Args:
        split: has the images.
        indices: which, int64 [n], in the order they are to have.
    """

    def __init__(self, split: Split, indices: Tensor) -> None:
        self._split, self._indices = split, indices
        self.labels = split.labels[indices]

    def read(self, indices: Tensor) -> Tensor:
        """See `Split.read`."""
        return self._split.read(self._indices[indices])

    def read_batches(self, batches: Iterable[Tensor], augmented: AugmentedReading | None = None) -> Iterator[Tensor]:
        """See `Split.read_batches`."""
        if augmented is not None:  # whose keys are those of places in this split, not in the other
            return super().read_batches(batches, augmented)
        return self._split.read_batches(self._indices[indices] for indices in batches)

    def originals(self, indices: Tensor, needed_side: int | None) -> Iterator[Image.Image]:
        """See `Split.originals`."""
        return self._split.originals(self._indices[indices], needed_side)


class BalancedValidation(DataSource):
    """A data source whose validation images are a sample with equally many of each class; all else is as it was.

    It has as many of each class as the smallest one has: the largest such sample. Images keep their order.

    Args:
        data: the data source.
        seed: draws the sample.

    Example:
        >>> from anybudget import from_tensors
        >>> labels = (torch.arange(200) % 10 == 0).long()
        >>> data = from_tensors(torch.rand(200, 1, 8, 8), labels)
        >>> BalancedValidation(data, seed=0).validation.labels.bincount()
        tensor([3, 3])
    """

    def __init__(self, data: DataSource, seed: int) -> None:
        self._data = data
        self.class_names, self.mean, self.std = data.class_names, data.mean, data.std
        self.preparation, self.draw, self.train = data.preparation, data.draw, data.train
        counts = data.validation.labels.bincount()
        there = counts[counts > 0]
        order = torch.from_numpy(balanced_order(data.validation.labels.numpy(), seed))
        self.validation = Selected(data.validation, order[: len(there) * int(there.min())].sort().values)

    def test(self) -> Split:
        """See `DataSource.test`."""
        return self._data.test()

    def listing(self) -> Listing:
        """See `DataSource.listing`."""
        return self._data.listing()
