"""Images with boxes read from disk when they are wanted: scaled, mirrored, normalised, and in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from anybudget.data import DataFacts
from anybudget.data.images import Target, UndecodableError, as_stored, bounded
from anybudget.data.preparation import normalise
from anybudget.data.random import Use, epoch_order, image_keys, uniform
from anybudget.errors import DataError
from anybudget.runtime.device import moved
from anybudget.runtime.threads import usable_cores
from anybudget.transfer.boxes import BoxedImage

MULTIPLE = 32
"""Height and width of a batch are multiples of this, as torchvision's detectors have it."""

NO_BOX = -1.0
"""The class of rows that fill up the boxes of a batch."""

MOST_READERS = 8
"""Threads that read images, where there are as many cores."""


@dataclass(frozen=True)
class Scaled:
    """An image as a detector takes it: normalised float32 `[C, H, W]`, and its boxes `[N, 4]` in its own pixels.

    `scale` is by how much its width and its height were multiplied.
    """

    pixels: Tensor
    boxes: Tensor
    labels: Tensor
    scale: tuple[float, float]


@dataclass(frozen=True)
class Reading:
    """How an image becomes the input of a detector.

    Args:
        facts: of the network's own data: channels, values and normalisation.
        size: of the shorter side, in pixels.
        longest: what the longer side has at most.
    """

    facts: DataFacts
    size: int
    longest: int

    def read(self, image: BoxedImage, *, mirrored: bool = False) -> Scaled:
        """Read, scale and normalise an image, with those of its boxes that count.

        Raises:
            DataError: it cannot be decoded, or has another size than its annotation says.
        """
        preparation = self.facts.preparation
        try:
            with bounded():
                stored = as_stored(
                    image.file, Target(preparation.channels, None, preparation.value_range), (image.width, image.height)
                )
        except UndecodableError as error:
            raise DataError(f"{error.said}: replace the file, or remove it from the annotations") from None
        if stored.size != (image.width, image.height):
            raise DataError(
                f"{image.file}: is {stored.width}×{stored.height} pixels, and {image.width}×{image.height} by its "
                "annotation; replace one of them"
            )
        pixels, scale = self.scaled(stored)
        boxes = image.boxes[~image.ignored] * torch.tensor([*scale, *scale])
        if mirrored:
            pixels = pixels.flip(-1)
            boxes = torch.stack(
                [pixels.shape[-1] - boxes[:, 2], boxes[:, 1], pixels.shape[-1] - boxes[:, 0], boxes[:, 3]], dim=1
            )
        return Scaled(pixels, boxes, image.labels[~image.ignored], scale)

    def scaled(self, image: Image.Image) -> tuple[Tensor, tuple[float, float]]:
        """An image, mode "L" or "RGB", scaled and normalised: `[C, H, W]`; and by how much, see `Scaled`."""
        factor = min(self.size / min(image.size), self.longest / max(image.size))
        width, height = (max(1, round(side * factor)) for side in image.size)
        resized = np.array(image.resize((width, height), Image.Resampling.BILINEAR))
        pixels = torch.from_numpy(resized).view(height, width, -1).permute(2, 0, 1)
        normal = normalise(pixels.unsqueeze(0).contiguous(), self.facts.mean, self.facts.std)[0]
        return normal, (width / image.width, height / image.height)


def _all(indices: Tensor) -> Tensor:
    return indices


class BoxBatches:
    """Batches of images with boxes, epoch by epoch, as functions of the seed, the epoch and the place in it.

    Whether an image is mirrored is decided by seed, epoch and its index, as everywhere in `anybudget.data`.

    Args:
        images: that are trained on.
        reading: how they become input.
        batch_size: how many to a batch; all of them where there are fewer.
        seed: draws the orders, and which images are mirrored.
        flip: whether any are.
    """

    class_weights: Tensor | None = None

    def __init__(
        self, images: Sequence[BoxedImage], reading: Reading, batch_size: int, seed: int, *, flip: bool = True
    ) -> None:
        self._images, self._reading, self._seed, self._flip = images, reading, seed, flip
        self.size = min(batch_size, len(images))
        self.per_epoch = len(images) // self.size

    @property
    def labels(self) -> Tensor:
        """The classes of all boxes: int64 `[N]`."""
        return torch.cat([image.labels for image in self._images])

    def epoch(
        self, epoch: int, device: torch.device, *, start: int = 0, share: Callable[[Tensor], Tensor] = _all
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Images `[B, C, H, W]`, filled up with zeros, and boxes `[B, N, 5]` of one epoch; see `stacked`.

        The next batch is read by threads meanwhile. See `Batches.epoch`.
        """
        order = torch.from_numpy(epoch_order(len(self._images), self._seed, epoch))
        batches = [share(part) for part in order[: self.per_epoch * self.size].split(self.size)[start:]]
        with ThreadPoolExecutor(min(MOST_READERS, usable_cores())) as pool:
            coming = [pool.submit(partial(self._read, epoch, index)) for index in _listed(batches[:1])]
            for number in range(len(batches)):
                now, coming = (
                    coming,
                    [
                        pool.submit(partial(self._read, epoch, index))
                        for index in _listed(batches[number + 1 : number + 2])
                    ],
                )
                pixels, boxes = stacked([future.result() for future in now])
                yield moved(pixels, device), moved(boxes, device)

    def _read(self, epoch: int, index: int) -> Scaled:
        keys = image_keys(self._seed, epoch, np.array([index]), Use.AUGMENTATION)
        mirrored = self._flip and bool(uniform(keys, 1)[0, 0] < 0.5)
        return self._reading.read(self._images[index], mirrored=mirrored)


def _listed(batches: Sequence[Tensor]) -> list[int]:
    return [int(index) for batch in batches for index in batch]


def stacked(images: Sequence[Scaled]) -> tuple[Tensor, Tensor]:
    """Images as one batch `[B, C, H, W]`, filled up with zeros on the right and below, and their boxes.

    Boxes are float32 `[B, N, 5]`: left, top, right, bottom, class; rows of the class `NO_BOX` fill up.
    """
    height, width = (-(-max(image.pixels.shape[side] for image in images) // MULTIPLE) * MULTIPLE for side in (1, 2))
    pixels = torch.zeros(len(images), images[0].pixels.shape[0], height, width)
    boxes = torch.full((len(images), max(1, *(len(image.boxes) for image in images)), 5), NO_BOX)
    for place, image in enumerate(images):
        pixels[place, :, : image.pixels.shape[1], : image.pixels.shape[2]] = image.pixels
        boxes[place, : len(image.boxes), :4] = image.boxes
        boxes[place, : len(image.boxes), 4] = image.labels.float()
    return pixels, boxes
