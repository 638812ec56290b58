"""Images with boxes: what a detector is trained on and judged by; boxes that are none are named and left out."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from anybudget.data.images import ImageFile
from anybudget.errors import DataError

log = logging.getLogger(__name__)

NAMED = 10
"""So many boxes that are left out are named in the notice; the record has all."""

Box = tuple[float, float, float, float]
"""Left, top, right and bottom, in pixels from the upper left corner."""


@dataclass(frozen=True, slots=True)
class BoxedImage:
    """An image that has not been read, and its boxes.

    `boxes` is float32 `[N, 4]`, see `Box`; `labels` int64 `[N]`; boxes that are `ignored`, bool `[N]`, are neither
    trained on nor counted: crowds of COCO, and what VOC calls difficult.
    """

    file: ImageFile
    name: str
    width: int
    height: int
    boxes: Tensor
    labels: Tensor
    ignored: Tensor


@dataclass(frozen=True)
class BoxData:
    """A data set of images with boxes.

    Its splits are `train`, and `validation` or `test` or both. `dropped` names the boxes that were left out.
    """

    name: str
    class_names: tuple[str, ...]
    splits: Mapping[str, tuple[BoxedImage, ...]]
    dropped: tuple[str, ...] = ()

    @property
    def judged_on(self) -> str:
        """The split that detectors are judged on: the test split or, where there is none, the validation split."""
        return "test" if "test" in self.splits else "validation"

    @property
    def digest(self) -> str:
        """SHA-256 of class names, and of the names and boxes of all images, in hexadecimal."""
        found = hashlib.sha256(repr(self.class_names).encode())
        for split, images in self.splits.items():
            found.update(split.encode())
            for image in images:
                found.update(f"{image.name} {image.width} {image.height}".encode())
                for values in (image.boxes, image.labels, image.ignored):
                    found.update(values.numpy().tobytes())
        return found.hexdigest()


@dataclass(frozen=True, slots=True)
class Listed:
    """A box as its file lists it: its class from 0, and how it is named in messages."""

    box: Box
    label: int
    named: str
    ignored: bool = False


def boxed(
    file: ImageFile, name: str, size: tuple[int, int], listed: Iterable[Listed], dropped: list[str]
) -> BoxedImage:
    """An image with those of its boxes that have an area within it; what reaches beyond its edge is cut off.

    Args:
        file: the image.
        name: of it within the data set.
        size: width and height in pixels.
        listed: its boxes.
        dropped: gets a text for each box that is left out.

    Example:
        >>> from pathlib import Path
        >>> dropped: list[str] = []
        >>> listed = [Listed((-2, 0, 4, 4), 0, "box 1"), Listed((3, 3, 3, 9), 0, "box 2")]
        >>> boxed(Path("a.png"), "a.png", (8, 8), listed, dropped).boxes.tolist(), dropped
        ([[0.0, 0.0, 4.0, 4.0]], ['box 2: has no width, from 3 to 3'])
    """
    kept: list[tuple[Box, Listed]] = []
    for one in listed:
        problem = _problem(one.box, size)
        if problem:
            dropped.append(f"{one.named}: {problem}")
            continue
        left, top, right, bottom = one.box
        kept.append(((max(0, left), max(0, top), min(right, size[0]), min(bottom, size[1])), one))
    return BoxedImage(
        file,
        name,
        *size,
        torch.tensor([box for box, _ in kept], dtype=torch.float32).view(-1, 4),
        torch.tensor([one.label for _, one in kept], dtype=torch.int64),
        torch.tensor([one.ignored for _, one in kept], dtype=torch.bool),
    )


def _problem(box: Box, size: tuple[int, int]) -> str:
    """Why a box has no area within an image; "" if it has."""
    left, top, right, bottom = box
    if not all(map(math.isfinite, box)):
        return "has a number that is not finite"
    for what, low, high in (("width", left, right), ("height", top, bottom)):
        if high <= low:
            return f"has {'no' if high == low else 'a negative'} {what}, from {low:g} to {high:g}"
    if right <= 0 or bottom <= 0 or left >= size[0] or top >= size[1]:
        return f"lies outside the image of {size[0]}×{size[1]} pixels"
    return ""


def finished(
    name: str, class_names: Sequence[str], splits: Mapping[str, Sequence[BoxedImage]], dropped: Sequence[str]
) -> BoxData:
    """A data set, with a notice of the boxes that were left out.

    Raises:
        DataError: no training image, or none to judge by, has a box.
    """
    for split, images in splits.items():
        if not any(len(image.boxes) - int(image.ignored.sum()) for image in images):
            raise DataError(f"{name}: no image of the {split} split has a box that counts; add some")
    if dropped:
        more = f"; and {len(dropped) - NAMED} more" if len(dropped) > NAMED else ""
        log.warning("%s: %d box(es) left out: %s%s", name, len(dropped), "; ".join(dropped[:NAMED]), more)
    return BoxData(name, tuple(class_names), {split: tuple(images) for split, images in splits.items()}, tuple(dropped))


def drawn(images: Sequence[BoxedImage], fraction: float, seed: int, name: str) -> dict[str, list[BoxedImage]]:
    """Training images in two: those to train on, and the share `fraction` of them to judge by, at least one.

    Raises:
        DataError: there are fewer than two.
    """
    if len(images) < 2:
        raise DataError(f"{name}: {len(images)} image(s) cannot be both trained on and judged by; add some")
    order = np.random.default_rng(seed).permutation(len(images))
    held = set(order[: min(len(images) - 1, max(1, round(fraction * len(images))))].tolist())
    return {
        "train": [image for index, image in enumerate(images) if index not in held],
        "validation": [image for index, image in enumerate(images) if index in held],
    }
