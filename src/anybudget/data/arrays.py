"""The step from stored image and label arrays to a data source: checks, layout and resizing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from anybudget.data.identity import listing_of_arrays
from anybudget.data.sources import Source, check_memory
from anybudget.data.stored import ArrayImages
from anybudget.data.values import Range, common_range, extremes, to_uint8
from anybudget.errors import DataError, reason, shorten, shown

Array = np.ndarray[Any, np.dtype[Any]]

AT_ONCE = 256  # images whose values are held as float64 at a time

ArrayLike = Tensor | Array | Sequence[Any]
"""A tensor, a NumPy array, or what NumPy makes an array of."""


def as_array(values: ArrayLike) -> Array:
    """Values as a NumPy array."""
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


PartName = Literal["training", "validation", "test"]


@dataclass(frozen=True)
class StoredPart:
    """The images and labels of one part as they were stored, and what to call each array in an error.

    With `channels_first`, images [N, A, B, C] are taken for [N, C, H, W] where their shape leaves it open.
    """

    image_name: str
    images: Array
    label_name: str
    labels: Array
    channels_first: bool = False


def source_from_arrays(
    name: str,
    parts: Mapping[PartName, StoredPart],
    image_size: int | None,
    class_names: tuple[str, ...] | None = None,
) -> Source:
    """The source that holds a training part and perhaps others.

    Labels are numbers from 0, or the names of the classes as text, which are then numbered in sorted order, or in that
    of `class_names`. Without either, classes are named "0" to "C-1". Images of other numbers than uint8 are scaled to 0
    to 255 by the range of all parts.

    Raises:
        DataError: an array has the wrong dtype, shape, length or values, or the parts do not match.
    """
    stored = list(parts.values())  # the training part is the first
    value_range, notices = _value_range(name, stored)
    images = [_as_images(part, value_range) for part in stored]
    names, labels = labels_of_parts(name, stored, [len(part) for part in images], class_names)
    shapes = [(part.shape[1], image_size or part.shape[2], image_size or part.shape[3]) for part in images]
    other = next((place for place, shape in enumerate(shapes) if shape != shapes[0]), None)
    if other is not None:
        raise DataError(
            f"{stored[other].image_name} has images of {'×'.join(map(str, shapes[other]))}, the training images are "
            f"{'×'.join(map(str, shapes[0]))}: use the same channels in both, and set the image size if sizes differ"
        )
    check_memory(name, sum(len(part) for part in images), shapes[0])
    arrays: dict[str, tuple[Array, Array]] = {
        part: (stored_part.images, part_labels.numpy())
        for (part, stored_part), part_labels in zip(parts.items(), labels, strict=True)
    }
    places = torch.arange(sum(map(len, images))).split([len(part) for part in images])
    chosen = dict(zip(parts, places, strict=True))
    return Source(
        names,
        ArrayImages(list(zip(images, labels, strict=True)), image_size),
        chosen["training"],
        lambda: listing_of_arrays(names, arrays),
        validation=chosen.get("validation"),
        test=chosen.get("test"),
        value_range=value_range,
        notices=tuple(notices),
    )


def labels_of_parts(
    name: str, stored: Sequence[StoredPart], counts: Sequence[int], class_names: tuple[str, ...] | None
) -> tuple[tuple[str, ...], list[Tensor]]:
    """The names of the classes, and the labels of each part as int64 [N]; see `source_from_arrays`.

    Raises:
        DataError: labels have the wrong dtype, shape, length or values, or the parts do not match.
    """
    names = class_names
    if stored[0].labels.dtype.kind in "US":
        names = class_names or tuple(np.unique(_as_text(stored[0])).tolist())
    labels = [
        _as_labels(part.label_name, _numbered(part, names), count) for part, count in zip(stored, counts, strict=True)
    ]
    classes = int(labels[0].max()) + 1
    for part, part_labels in zip(stored, labels, strict=True):
        _check_gaps(part.label_name, part_labels, classes)
    names = names or tuple(str(label) for label in range(classes))
    if len(names) != classes:
        raise DataError(
            f"{name}: has {len(names)} class names, but the labels in {stored[0].label_name} run from 0 to "
            f"{classes - 1}: give {classes} names, in the order of the labels"
        )
    return names, labels


def _value_range(name: str, stored: list[StoredPart]) -> tuple[Range | None, list[str]]:
    """The values that become 0 and 255, and a notice; None if images are stored as uint8."""
    for part in stored:
        if part.images.dtype.kind not in "uifb":
            raise DataError(
                f"{part.image_name} has dtype {part.images.dtype}, images must be numbers: store them as uint8 from 0 "
                "to 255"
            )
    if all(part.images.dtype == np.uint8 for part in stored):
        return None, []
    if len({part.images.dtype for part in stored}) > 1:
        raise DataError(
            f"{name}: {' and '.join(f'{part.image_name} has dtype {part.images.dtype}' for part in stored)}: store all "
            "images with the same"
        )
    ranges = []
    for part in stored:
        try:
            ranges += [extremes(part.images)] if part.images.size else []
        except ValueError as error:
            raise DataError(f"{part.image_name} {error}: replace them, as numpy.nan_to_num does") from None
    if not ranges:
        return None, []  # said with the shape
    found, notice = common_range(name, ranges, stored[0].image_name)
    return found, [notice]


def _as_text(part: StoredPart) -> Array:
    """Labels that are text, as such; bytes are read as UTF-8."""
    if part.labels.dtype.kind == "U":
        return part.labels
    try:
        return np.char.decode(part.labels, "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{part.label_name} holds bytes that are no UTF-8 ({reason(error)}): store the names as text"
        ) from None


def _numbered(part: StoredPart, names: tuple[str, ...] | None) -> Array:
    """Labels as numbers: those that are names by their place in `names`."""
    if part.labels.dtype.kind not in "US":
        return part.labels
    text = _as_text(part)
    number = {name: place for place, name in enumerate(names or ())}
    unknown = next((str(name) for name in text.flat if str(name) not in number), None)
    if unknown is not None:
        raise DataError(
            f"{part.label_name} holds the class {shown(unknown)}, which is not among the names of the training labels "
            f"or of classes ({shorten(', '.join(number))}): remove its images or add some to the training part"
        )
    return np.array([number[str(name)] for name in text.flat], np.int64).reshape(text.shape)


def _as_images(part: StoredPart, value_range: Range | None) -> Tensor:
    """Check one image array and view it as uint8 [N, C, H, W]; `value_range` becomes 0 to 255, if given."""
    where, array = part.image_name, part.images
    if array.ndim not in (3, 4) or 0 in array.shape:
        raise DataError(
            f"{where} has shape {list(array.shape)}: store at least one image, as [N, H, W], [N, H, W, C] or "
            "[N, C, H, W]"
        )
    if value_range is not None:
        scaled = np.empty(array.shape, np.uint8)
        for first in range(0, len(array), AT_ONCE):
            chunk = slice(first, first + AT_ONCE)
            scaled[chunk] = to_uint8(array[chunk], value_range)
        array = scaled
    images = torch.from_numpy(np.ascontiguousarray(array))
    if images.ndim == 3:
        return images.unsqueeze(1)
    channels_first, channels_last = images.shape[1] in (1, 3), images.shape[3] in (1, 3)
    if part.channels_first and channels_first == channels_last:
        return images
    if channels_first == channels_last:
        raise DataError(
            f"{where} has shape {list(array.shape)}, where {'both' if channels_first else 'neither'} the second and "
            "the last dimension can be 1 or 3 channels: store [N, H, W] for grey images, [N, H, W, 3] for colour"
        )
    return images if channels_first else images.permute(0, 3, 1, 2)


def _as_labels(where: str, array: Array, image_count: int) -> Tensor:
    """Check one label array and return it as int64 [N]."""
    if array.dtype.kind not in "iu":
        raise DataError(f"{where} has dtype {array.dtype}, labels must be integers or text: store y.astype(np.int64)")
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
