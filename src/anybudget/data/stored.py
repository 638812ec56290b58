"""Images as they are stored, read one at a time when they are wanted: `StoredImages`, and those of arrays in memory."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from logging import getLogger
from typing import ClassVar, TypeVar

import torch
from PIL import Image
from torch import Tensor

from anybudget.data.augmentation import ImageAugmentation, augmented_image, to_image
from anybudget.data.images import UndecodableError
from anybudget.data.preparation import resize

log = getLogger(__name__)

T = TypeVar("T")

PAUSES = (1.0, 4.0, 16.0)
"""Seconds before an image is tried again that could not be read for a reason that may pass."""


class StoredImages(ABC):
    """All images of a data set, of all its parts, where they lie; each is read alone and by its index.

    A new kind of storage says `prepared` and `where`, and may say `original`. It is read by processes that are forked,
    so it must keep no open file whose position several would move.
    """

    labels: Tensor
    """int64 [N]."""
    shape: tuple[int, int, int]
    """Channels, height and width of every prepared image."""
    threads: ClassVar[bool] = True
    """Whether several threads may read at once."""
    in_memory: ClassVar[bool] = False
    """Whether they are in memory as they are, so that it is settled where they are kept."""

    @abstractmethod
    def prepared(self, index: int) -> Tensor:
        """An image as evaluation sees it: uint8 [C, H, W] of `shape`, contiguous or not.

        Raises:
            DataError: it cannot be read; names it.
        """

    @abstractmethod
    def where(self, index: int) -> str:
        """What an image is called in messages: its file."""

    def original(self, index: int, needed_side: int | None) -> Image.Image:  # noqa: ARG002 - see files
        """An image as it is stored, unscaled; see `ImageAugmentation.originals`.

        Raises:
            DataError: it cannot be read; names it.
        """
        return to_image(self.prepared(index))

    def reading(self) -> AbstractContextManager[None]:
        """Within, images are read: what holds for a whole process, such as Pillow's bound on pixels."""
        return nullcontext()

    def read(self, indices: Tensor) -> Tensor:
        """Prepared images at `indices` (int64 [n], n at least 1): contiguous uint8 [n, C, H, W]."""
        images = torch.empty(len(indices), *self.shape, dtype=torch.uint8)
        places = indices.tolist()

        def store(place: int) -> None:
            images[place] = patiently(lambda: self.prepared(places[place]))

        with self.reading():
            if self.threads and len(places) > 1:  # Pillow decodes without the interpreter lock
                with ThreadPoolExecutor() as pool:
                    for _ in pool.map(store, range(len(places))):
                        pass
            else:
                for place in range(len(places)):
                    store(place)
        return images

    def altered(self, index: int, augmentation: ImageAugmentation | None, key: int) -> Tensor:
        """One image uint8 [C, H, W], prepared and, where there is an augmentation, augmented with a key."""
        if augmentation is None:
            return patiently(lambda: self.prepared(index))
        if augmentation.originals:
            image = patiently(lambda: self.original(index, augmentation.needed_side))
        else:
            image = to_image(patiently(lambda: self.prepared(index)))
        return augmented_image(augmentation, image, key, self.shape)


class ArrayImages(StoredImages):
    """Images of arrays in memory, part after part, scaled when they are read.

    Args:
        parts: uint8 [N, C, H, W] and their labels int64 [N], of each part.
        image_size: the side in pixels that they are scaled to; None leaves them as they are.
    """

    in_memory = True

    def __init__(self, parts: Sequence[tuple[Tensor, Tensor]], image_size: int | None) -> None:
        self.labels = torch.cat([labels for _, labels in parts])
        self._images = [images for images, _ in parts]
        self._starts = torch.tensor([0, *(len(images) for images in self._images)]).cumsum(0)
        self._size = image_size
        channels, height, width = self._images[0].shape[1:]
        self.shape = (channels, image_size or height, image_size or width)

    def where(self, index: int) -> str:
        """See `StoredImages.where`."""
        return f"image {index}"

    def prepared(self, index: int) -> Tensor:
        """See `StoredImages.prepared`."""
        return self.read(torch.tensor([index]))[0]

    def read(self, indices: Tensor) -> Tensor:
        """See `StoredImages.read`."""
        parts = torch.bucketize(indices, self._starts[1:], right=True)
        if len(parts) and bool((parts == parts[0]).all()):
            part = int(parts[0])
            return resize(self._images[part][indices - self._starts[part]], self._size)
        images = torch.empty(len(indices), *self.shape, dtype=torch.uint8)
        for part in parts.unique().tolist():
            mine = parts == part
            images[mine] = resize(self._images[part][indices[mine] - self._starts[part]], self._size)
        return images


def patiently(read: Callable[[], T]) -> T:
    """What `read` gives, tried again after each of `PAUSES` where it fails for a reason that may pass.

    Raises:
        UndecodableError: it has failed to the last.
    """
    for pause in PAUSES:
        try:
            return read()
        except UndecodableError as error:
            if not error.passing:
                raise
            log.warning("%s; tried again in %g s", error.said, pause)
            time.sleep(pause)
    return read()
