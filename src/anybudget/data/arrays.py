"""Owns the step from stored image and label arrays to a data source: checks, layout and resizing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from anybudget.data.identity import listing_of_arrays
from anybudget.data.sources import Part, Source, check_memory
from anybudget.errors import DataError

Array = np.ndarray[Any, np.dtype[Any]]

RESIZE_CHUNK = 256  # images held as float32 at a time


@dataclass(frozen=True)
class StoredPart:
    """The images and labels of one part as they were stored, and what to call each array in an error."""

    image_name: str
    images: Array
    label_name: str
    labels: Array


def source_from_arrays(
    name: str, stored: Sequence[StoredPart], image_size: int | None, class_names: tuple[str, ...] | None = None
) -> Source:
    """The source that holds a training part and perhaps a test part; classes are named "0" to "C-1" by default.

    Raises:
        DataError: an array has the wrong dtype, shape, length or values, or the parts do not match.
    """
    images = [_as_images(part.image_name, part.images) for part in stored]
    labels = [
        _as_labels(part.label_name, part.labels, len(part_images))
        for part, part_images in zip(stored, images, strict=True)
    ]
    shapes = [(part.shape[1], image_size or part.shape[2], image_size or part.shape[3]) for part in images]
    if shapes[-1] != shapes[0]:
        raise DataError(
            f"{stored[-1].image_name} has images of {'×'.join(map(str, shapes[-1]))}, the training images are "
            f"{'×'.join(map(str, shapes[0]))}: use the same channels in both, and set the image size if sizes differ"
        )
    check_memory(name, sum(len(part) for part in images), shapes[0])
    classes = int(labels[0].max()) + 1
    for part, part_labels in zip(stored, labels, strict=True):
        _check_gaps(part.label_name, part_labels, classes)
    parts = [_part(part, part_labels, image_size) for part, part_labels in zip(images, labels, strict=True)]
    names = class_names or tuple(str(label) for label in range(classes))
    if len(names) != classes:
        raise DataError(
            f"{name}: has {len(names)} class names, but the labels in {stored[0].label_name} run from 0 to "
            f"{classes - 1}: give {classes} names, in the order of the labels"
        )
    arrays = [(part.images, part_labels.numpy()) for part, part_labels in zip(stored, labels, strict=True)]
    return Source(names, parts[0], lambda: listing_of_arrays(names, arrays), test=parts[1] if len(parts) > 1 else None)


def _part(images: Tensor, labels: Tensor, image_size: int | None) -> Part:
    return Part(labels, lambda indices: resize(images[indices], image_size))


def _as_images(where: str, array: Array) -> Tensor:
    """Check one image array and view it as uint8 [N, C, H, W]."""
    if array.dtype != np.uint8:
        raise DataError(
            f"{where} has dtype {array.dtype}, images must be uint8 from 0 to 255: store x.astype(np.uint8), or "
            "(255 * x).round().astype(np.uint8) if values run from 0 to 1"
        )
    if array.ndim not in (3, 4) or 0 in array.shape:
        raise DataError(
            f"{where} has shape {list(array.shape)}: store at least one image, as [N, H, W], [N, H, W, C] or "
            "[N, C, H, W]"
        )
    images = torch.from_numpy(np.ascontiguousarray(array))
    if images.ndim == 3:
        return images.unsqueeze(1)
    channels_first, channels_last = images.shape[1] in (1, 3), images.shape[3] in (1, 3)
    if channels_first == channels_last:
        raise DataError(
            f"{where} has shape {list(array.shape)}, where {'both' if channels_first else 'neither'} the second and "
            "the last dimension can be 1 or 3 channels: store [N, H, W] for grey images, [N, H, W, 3] for colour"
        )
    return images if channels_first else images.permute(0, 3, 1, 2)


def _as_labels(where: str, array: Array, image_count: int) -> Tensor:
    """Check one label array and return it as int64 [N]."""
    if array.dtype.kind not in "iu":
        raise DataError(f"{where} has dtype {array.dtype}, labels must be integers: store y.astype(np.int64)")
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.shape != (image_count,):
        raise DataError(
            f"{where} has shape {list(array.shape)} for {image_count} images: store one label for each image"
        )
    labels = array.astype(np.int64)
    if labels.min() < 0:  # an unsigned label beyond int64 wraps to a negative one
        position = int(labels.argmin())
        raise DataError(f"{where} holds the label {array[position]} at index {position}: number the classes from 0")
    return torch.from_numpy(labels)


def _check_gaps(where: str, labels: Tensor, classes: int) -> None:
    """Require that the labels found are exactly 0 to classes - 1."""
    found = torch.unique(labels).tolist()
    if found[-1] >= classes:
        raise DataError(
            f"{where} holds the class {found[-1]}, but the training labels end at {classes - 1}: remove its images "
            "or add some to the training part"
        )
    if len(found) < classes:
        missing = next((position for position, label in enumerate(found) if label != position), len(found))
        raise DataError(
            f"{where} holds no image of class {missing}, though classes run from 0 to {classes - 1}: add images, or "
            "number the classes without gaps, as np.unique(y, return_inverse=True)[1] does"
        )


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
