"""Training batches: the order of an epoch, augmentation of uint8 images, and normalisation on the training device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from anybudget.data.augmentation import AugmentedReading, ImageAugmentation
from anybudget.data.balance import class_weights
from anybudget.data.mixing import BatchDraw, Mixing, RandomErasing, with_partners
from anybudget.data.protocol import DataSource, Split
from anybudget.data.random import Keys, Use, epoch_order, image_keys, uniform
from anybudget.errors import DataError
from anybudget.runtime.device import moved


@dataclass(frozen=True)
class Augmentation:
    """Random crop and horizontal flip, drawn for each image on its own.

    An image is padded with zeros by `crop_padding` pixels on each side and cropped back to its size at a random place;
    with `flip`, every second image on average is mirrored.
    """

    crop_padding: int = 2
    flip: bool = True

    def __post_init__(self) -> None:
        if self.crop_padding < 0:
            raise DataError(f"crop padding {self.crop_padding} must be 0 or more pixels")

    def __call__(self, images: Tensor, keys: Keys) -> Tensor:
        """Augment images [N, C, H, W], each by its key [N] alone; dtype and shape stay."""
        _, _, height, width = images.shape
        draws = torch.from_numpy(uniform(keys, 3)).to(images.device)
        if self.crop_padding:
            padded = F.pad(images, [self.crop_padding] * 4)
            # Indexing a view of all windows copies whole crops, five times faster than gathering single pixels.
            windows = padded.unfold(2, height, 1).unfold(3, width, 1)
            tops, lefts = (draws[:, :2] * (2 * self.crop_padding + 1)).long().unbind(1)
            images = windows[torch.arange(len(images), device=images.device), :, tops, lefts]
        if self.flip:
            images = torch.where((draws[:, 2] < 0.5).view(-1, 1, 1, 1), images.flip(-1), images)
        return images


def _all(indices: Tensor) -> Tensor:
    return indices


@dataclass(frozen=True, eq=False)
class TrainingBatches:
    """The batches of every epoch of a training, as functions of the seed, the epoch and the place in it.

    The order of an epoch is a permutation that seed and epoch decide. An image is augmented as seed, epoch and its own
    index decide: whatever the batch, the place in it and the number of processes. So nothing has to be kept to resume.

    Args:
        data: has the normalisation.
        images: one of its splits.
        batch_size: that of all processes together.
        seed: draws the orders and the augmentation.
        augmentation: of whole batches, before they go to the device; none if None.
        by_image: augmentation of single images where they are read, before that of batches; none if None.
        erasing: of normalised batches; none if None.
        mixing: of pairs of a batch, after all else; none if None. Labels are then the share of every class.
        class_balance: how far classes count alike, from 0 to 1; see `class_weights`.

    Raises:
        DataError: `batch_size` is below 1 or there is no image.
    """

    data: DataSource
    images: Split
    batch_size: int
    seed: int
    augmentation: Augmentation | None = None
    by_image: ImageAugmentation | None = None
    erasing: RandomErasing | None = None
    mixing: Mixing | None = None
    class_balance: float = 0.0

    def __post_init__(self) -> None:
        if self.batch_size < 1 or not len(self.images):
            raise DataError(f"batch size {self.batch_size} over {len(self.images)} images: both must be at least 1")

    @property
    def per_epoch(self) -> int:
        """Batches in an epoch: the last one is dropped if it is incomplete, unless it is the only one."""
        return max(1, len(self.images) // self.batch_size)

    @property
    def size(self) -> int:
        """Images in a batch: all that there are, where these are fewer than `batch_size`."""
        return min(self.batch_size, len(self.images))

    @property
    def labels(self) -> Tensor:
        """int64 `[N]`, of all images."""
        return self.images.labels

    @cached_property
    def class_weights(self) -> Tensor | None:
        """What the loss of an image of each class is multiplied by: float32 `[C]`; None if all classes count as 1."""
        return class_weights(self.labels, self.data.classes, self.class_balance) if self.class_balance else None

    def epoch(
        self, epoch: int, device: torch.device, *, start: int = 0, share: Callable[[Tensor], Tensor] = _all
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Images, normalised float32 [B, C, H, W], and labels on `device`; images cross to it as uint8.

        Labels are int64 [B], or float32 [B, classes] where images are mixed.

        Args:
            epoch: which, from 1.
            device: where to.
            start: batches of this epoch that have been trained on before.
            share: gives the part of a batch's indices that this process trains on; other images are not read, but for
                those that its own are mixed with.
        """
        order = torch.from_numpy(epoch_order(len(self.images), self.seed, epoch))
        batches = order[: self.per_epoch * self.batch_size].split(self.batch_size)[start:]
        wanted = [self._places(len(indices), share) for indices in batches]
        read = [indices[places] for indices, (places, _) in zip(batches, wanted, strict=True)]
        reading = self._reading(epoch, read)
        for number, (indices, (_, partners), images) in enumerate(zip(read, wanted, reading, strict=True), start):
            batch = self._finished(moved(images, device), indices, epoch)
            labels = moved(self.images.labels[indices], device)
            if self.mixing is not None:
                draw = BatchDraw(self.seed, epoch, number)
                batch, labels = self.mixing.mixed(batch, labels, partners.to(device), draw)
            yield batch, labels

    def _places(self, size: int, share: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Which places of a batch to read for this process, its own first, and where among them its partners are."""
        own = share(torch.arange(size))
        if self.mixing is None:
            return own, own
        return with_partners(own, self.mixing.partners(own, size))

    def _reading(self, epoch: int, indices: Sequence[Tensor]) -> Iterator[Tensor]:
        """The images at these indices, augmented and still uint8."""
        split, by_image = self.images.in_epoch(epoch), self.by_image
        augmented = None if by_image is None else AugmentedReading(by_image, self.seed, epoch)
        # One argument where nothing is augmented: sources of others may know no second.
        reading = split.read_batches(indices) if augmented is None else split.read_batches(indices, augmented)
        for read, images in zip(indices, reading, strict=True):
            if self.augmentation is None:
                yield images
            else:
                yield self.augmentation(images, image_keys(self.seed, epoch, read.numpy(), Use.AUGMENTATION))

    def _finished(self, images: Tensor, indices: Tensor, epoch: int) -> Tensor:
        """Images at these indices, normalised."""
        normal = self.data.normalise(images)
        if self.erasing is None:
            return normal
        return self.erasing(normal, image_keys(self.seed, epoch, indices.numpy(), Use.ERASING))
