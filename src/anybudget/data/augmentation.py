"""Augmentation of single images, where they are read: `ImageAugmentation`, and `AugmentedReading` of an epoch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from anybudget.data.random import Keys, Use, image_keys
from anybudget.errors import DataError, shown


class ImageAugmentation(ABC):
    """How an image is changed for training, on its own: the seam for random crops, colours and whatever else.

    It is plugged in as `TrainingBatches(..., by_image=...)` and runs where images are read: for a data set on disk in
    the reading workers, beside training. What it does has to be a function of its settings, the image and the key
    alone: an image is then augmented alike in any batch, by any worker, in any process and after a kill. It is sent to
    workers, so it has to be picklable: a frozen dataclass at the top of a module.

    Numbers come from the key: `anybudget.data.random.uniform(np.array([key], np.uint64), n)`,
    `np.random.default_rng(key)`, or `torch.Generator().manual_seed(key)`. Transforms of other libraries, such as those
    of torchvision and timm, draw from the global generators: call them within `anybudget.data.random.drawing(key)`.

    Example:
        >>> from dataclasses import dataclass
        >>> import numpy as np
        >>> @dataclass(frozen=True)
        ... class Mirror(ImageAugmentation):
        ...     share: float = 0.5
        ...
        ...     def __call__(self, image, key):
        ...         mirrored = np.random.default_rng(key).random() < self.share
        ...         return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else image
        >>> Mirror(share=1.0)(Image.fromarray(np.array([[1, 2]], np.uint8)), 0).getpixel((0, 0))
        2
    """

    originals: ClassVar[bool] = False
    """Whether it is given images as they are stored: upright, in their colours, of any size and shape.

    Otherwise it is given them as evaluation sees them: scaled and cut to the input of the network. Arrays and tensors
    are always given so.
    """

    @property
    def needed_side(self) -> int | None:
        """With `originals`: JPEGs may be decoded at a half, a quarter or an eighth, if both sides keep so many pixels.

        None decodes them as they are. For a random crop of at least a share s of the area to N pixels, N / sqrt(s)
        loses nothing.
        """
        return None

    @abstractmethod
    def __call__(self, image: Image.Image, key: int) -> Image.Image | Tensor | NDArray[np.uint8]:
        """One image for training, of the height and width of the network's input.

        Args:
            image: mode "L" or "RGB"; it is not used again.
            key: 64 bits, from the seed, the epoch and the index of the image.

        Returns:
            A PIL image of the same mode, uint8 [H, W] or [H, W, C] as a NumPy array, or uint8 [C, H, W] as a tensor.
        """


@dataclass(frozen=True)
class AugmentedReading:
    """Reading for one epoch of a training: how its images are augmented, each with the key that its index gives."""

    augmentation: ImageAugmentation
    seed: int
    epoch: int

    def keys(self, indices: Tensor) -> Keys:
        """A key for each index int64 [n] of a split: uint64 [n]."""
        return image_keys(self.seed, self.epoch, indices.numpy(), Use.IMAGE)

    def images(self, originals: Iterable[Image.Image], indices: Tensor, shape: tuple[int, int, int]) -> Tensor:
        """Images at `indices` int64 [n], augmented: uint8 [n, C, H, W].

        Raises:
            DataError: an augmented image is not of this shape [C, H, W].
        """
        augmented = torch.empty(len(indices), *shape, dtype=torch.uint8)
        for place, (original, key) in enumerate(zip(originals, self.keys(indices).tolist(), strict=True)):
            augmented[place] = augmented_image(self.augmentation, original, key, shape)
        return augmented


def augmented_image(
    augmentation: ImageAugmentation, image: Image.Image, key: int, shape: tuple[int, int, int]
) -> Tensor:
    """One image, augmented: uint8 [C, H, W].

    Raises:
        DataError: it is not of this shape.
    """
    result = augmentation(image, key)
    pixels = result if isinstance(result, Tensor) else to_pixels(np.asarray(result))
    if pixels.dtype != torch.uint8 or tuple(pixels.shape) != shape:
        raise DataError(
            f"{shown(augmentation)}: gives {pixels.dtype} {list(pixels.shape)} for an image, and has to give uint8 "
            f"{list(shape)}, the input of the network"
        )
    return pixels


def to_pixels(values: NDArray[np.uint8]) -> Tensor:
    """An image [H, W] or [H, W, C] as [C, H, W]."""
    pixels = torch.from_numpy(values if values.flags.writeable else values.copy())
    return pixels.unsqueeze(0) if pixels.ndim == 2 else pixels.permute(2, 0, 1)


def to_image(pixels: Tensor) -> Image.Image:
    """An image uint8 [1 or 3, H, W] as Pillow has it: "L" or "RGB"."""
    values = pixels[0] if len(pixels) == 1 else pixels.permute(1, 2, 0)
    return Image.fromarray(np.ascontiguousarray(values.numpy()))
