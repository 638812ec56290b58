"""Data sources of what is in memory already: `from_tensors`, and `from_dataset` for map-style data sets of torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from anybudget.data.arrays import Array, PartName, StoredPart, source_from_arrays
from anybudget.data.images import COLOUR_MODES, GREY_MODES, Target, to_mode
from anybudget.data.preparation import resize
from anybudget.data.sources import DataSettings
from anybudget.data.splits import DataSplits, split_source
from anybudget.errors import DataError

ArrayLike = Tensor | Array | Sequence[Any]
"""A tensor, a NumPy array, or what NumPy makes an array of."""


class MapDataset(Protocol):
    """A map-style data set, such as torch's and torchvision's: a length, and (image, label) for every index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


def from_tensors(
    images: ArrayLike,
    labels: ArrayLike,
    *,
    validation: tuple[ArrayLike, ArrayLike] | None = None,
    test: tuple[ArrayLike, ArrayLike] | None = None,
    class_names: Sequence[str] | None = None,
    settings: DataSettings | None = None,
) -> DataSplits:
    """A data source of images and labels in memory.

    >>> import torch
    >>> from anybudget import from_tensors
    >>> images = torch.randint(0, 256, (200, 3, 8, 8), dtype=torch.uint8)
    >>> labels = torch.arange(200) % 4
    >>> data = from_tensors(images, labels)
    >>> len(data.train), len(data.validation), len(data.test())
    (136, 32, 32)
    >>> data.classes, data.input_shape
    (4, (3, 8, 8))

    Args:
        images: [N, C, H, W] or [N, H, W]: uint8, or other numbers, which are scaled to 0 to 255 by the range of all
            parts. [N, H, W, C] is understood where only the last dimension can be 1 or 3 channels.
        labels: integers from 0 or the names of the classes, [N].
        validation: images and labels of the validation split; drawn from `images` if None.
        test: those of the test split; drawn from `images` if None.
        class_names: in the order of the labels.
        settings: how splits are drawn, and the side in pixels that images are scaled to.

    Raises:
        DataError: an array has the wrong type, shape, length or values, or there are too few images to split.
    """
    pairs: dict[PartName, tuple[ArrayLike, ArrayLike] | None]
    pairs = {"training": (images, labels), "validation": validation, "test": test}
    stored = {
        part: StoredPart(f"{part} images", _array(pair[0]), f"{part} labels", _array(pair[1]), channels_first=True)
        for part, pair in pairs.items()
        if pair is not None
    }
    settings = settings or DataSettings()
    names = None if class_names is None else tuple(class_names)
    opened = source_from_arrays("from_tensors", stored, settings.image_size, names)
    listing = opened.listing()
    return split_source("from_tensors", opened, settings, lambda: listing)


def from_dataset(
    dataset: MapDataset,
    *,
    validation: MapDataset | None = None,
    test: MapDataset | None = None,
    class_names: Sequence[str] | None = None,
    settings: DataSettings | None = None,
) -> DataSplits:
    """A data source of a map-style data set, such as a `torch.utils.data.Dataset`: read once, and kept in memory.

    >>> import torch
    >>> from torch.utils.data import TensorDataset
    >>> from anybudget import from_dataset
    >>> images, labels = torch.rand(60, 1, 8, 8), torch.arange(60) % 3
    >>> from_dataset(TensorDataset(images, labels), class_names=["a", "b", "c"]).class_names
    ('a', 'b', 'c')

    Random transforms belong to training, not into `dataset`: images are read once, and augmented in every epoch.

    Args:
        dataset: gives (image, label) for every index: the image is a PIL image, or an array or tensor as in
            `from_tensors` without its first dimension; the label is a number from 0, or a name.
        validation: the validation split; drawn from `dataset` if None.
        test: the test split; drawn from `dataset` if None.
        class_names: in the order of the labels; `dataset.classes` if None, where there is such a list.
        settings: as in `from_tensors`; with `image_size`, images may have different sizes.

    Raises:
        DataError: an item is no image with a label, images differ in shape, or as in `from_tensors`.
    """
    settings = settings or DataSettings()
    names = getattr(dataset, "classes", None) if class_names is None else class_names
    images, labels = _collected("training", dataset, settings.image_size)
    others = (
        None if part is None else _collected(name, part, settings.image_size)
        for name, part in (("validation", validation), ("test", test))
    )
    validation_pair, test_pair = others
    return from_tensors(
        images, labels, validation=validation_pair, test=test_pair, class_names=names, settings=settings
    )


def _array(values: ArrayLike) -> Array:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _collected(part: str, dataset: MapDataset, image_size: int | None) -> tuple[Array, Array]:
    """The images [N, C, H, W] and labels [N] of a data set."""
    images: list[Tensor] = []
    labels = []
    for index in range(len(dataset)):
        where = f"{part} item {index}"
        try:
            image, label = dataset[index]
        except (TypeError, ValueError):
            raise DataError(f"{where}: is no pair of an image and a label: give a data set of such pairs") from None
        images.append(_image(where, image, image_size))
        if images[-1].shape != images[0].shape or images[-1].dtype != images[0].dtype:
            raise DataError(
                f"{where}: has an image of {list(images[-1].shape)} {images[-1].dtype}, item 0 of "
                f"{list(images[0].shape)} {images[0].dtype}: set the image size if sizes differ, and convert all to "
                "the same channels and type"
            )
        labels.append(label.item() if isinstance(label, Tensor | np.generic) else label)
    if not images:
        raise DataError(f"the {part} data set is empty: give one with images")
    return torch.stack(images).numpy(), np.asarray(labels)


def _image(where: str, image: Any, image_size: int | None) -> Tensor:
    """One image as [C, H, W]; of 8 bits it is scaled here, so that images may have different sizes."""
    if isinstance(image, Image.Image):
        channels = 3 if image.mode in COLOUR_MODES else 1
        deep = image.mode not in COLOUR_MODES | GREY_MODES  # more than 8 bits, scaled by the range of all images
        converted = np.asarray(image, np.float32) if deep else np.array(to_mode(image, Target(channels, None)))
        pixels = torch.from_numpy(converted)
    elif isinstance(image, Tensor | np.ndarray):
        pixels = torch.as_tensor(image)
    else:
        raise DataError(f"{where}: its image is a {type(image).__name__}: give a PIL image, an array or a tensor")
    if pixels.ndim == 3 and pixels.shape[2] in (1, 3) and pixels.shape[0] not in (1, 3):
        pixels = pixels.permute(2, 0, 1)
    if pixels.ndim == 2:
        pixels = pixels.unsqueeze(0)
    if pixels.ndim != 3:
        raise DataError(f"{where}: its image has shape {list(pixels.shape)}: give [C, H, W] or [H, W]")
    return resize(pixels.unsqueeze(0), image_size)[0] if pixels.dtype == torch.uint8 else pixels
