"""`Preparation`: what was done to images before training, so that it can be done again to other images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from anybudget.errors import DataError

SHORTER_SIDE = "shorter side scaled, centre square cut"
UNCHANGED = "none"
BILINEAR = "bilinear, antialiased"

RESIZE_CHUNK = 256  # images held as float32 at a time


@dataclass(frozen=True, slots=True)
class Preparation:
    """How stored images became the uint8 pixels of the splits.

    With a split's `mean` and `std` it says all that an image needs before a network sees it: values are scaled from
    `value_range`, transparency is laid over white, the image is resized, and `(pixel / 255 - mean) / std` is computed.
    """

    channels: int
    height: int
    width: int
    """Of every image after resizing; height and width in pixels."""
    resize: str
    """`SHORTER_SIDE`, or `UNCHANGED` if images were stored with this size and none was asked for."""
    interpolation: str = BILINEAR
    """How pixels are computed where an image is scaled."""
    value_range: tuple[float, float] | None = None
    """The stored values that became 0 and 255, one pair for all images; None if they were stored with 8 bits."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a JSON file."""
        return asdict(self)


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


def resize(images: Tensor, image_size: int | None) -> Tensor:
    """Scale the shorter side of uint8 [N, C, H, W] to `image_size` pixels, antialiased, and cut the centre square.

    Images of that size, and all images if `image_size` is None, keep their pixels. The result is contiguous.
    """
    height, width = images.shape[2:]
    if image_size is None or height == width == image_size:
        return images.contiguous()
    scaled_height, scaled_width = (round(side * image_size / min(height, width)) for side in (height, width))
    top, left = (scaled_height - image_size) // 2, (scaled_width - image_size) // 2
    resized = torch.empty(len(images), images.shape[1], image_size, image_size, dtype=torch.uint8)
    for chunk, target in zip(torch.split(images, RESIZE_CHUNK), torch.split(resized, RESIZE_CHUNK), strict=True):
        scaled = F.interpolate(chunk.float(), size=(scaled_height, scaled_width), mode="bilinear", antialias=True)
        target.copy_(scaled[:, :, top : top + image_size, left : left + image_size].round().clamp(0, 255))
    return resized
