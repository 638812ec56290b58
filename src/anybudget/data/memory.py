"""Data sources of what is in memory already: `from_tensors`, and `from_dataset` for map-style data sets of torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from anybudget.data.arrays import Array, ArrayLike, PartName, StoredPart, as_array, source_from_arrays
from anybudget.data.datasets import MapDataset, TableDataset, as_map, pair, pixels_of
from anybudget.data.on_datasets import source_of_datasets, stays
from anybudget.data.sources import DataSettings
from anybudget.data.splits import DataSplits, split_source
from anybudget.errors import DataError


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
        part: StoredPart(f"{part} images", as_array(pair[0]), f"{part} labels", as_array(pair[1]), channels_first=True)
        for part, pair in pairs.items()
        if pair is not None
    }
    settings = settings or DataSettings()
    names = None if class_names is None else tuple(class_names)
    opened = source_from_arrays("from_tensors", stored, settings.image_size, names)
    listing = opened.listing()
    return split_source("from_tensors", opened, settings, lambda: listing)


def from_dataset(
    dataset: MapDataset | TableDataset,
    *,
    validation: MapDataset | TableDataset | None = None,
    test: MapDataset | TableDataset | None = None,
    class_names: Sequence[str] | None = None,
    settings: DataSettings | None = None,
) -> DataSplits:
    """A data source of a map-style data set, such as those of torch, torchvision and Hugging Face's `datasets`.

    >>> import torch
    >>> from torch.utils.data import TensorDataset
    >>> from anybudget import from_dataset
    >>> images, labels = torch.rand(60, 1, 8, 8), torch.arange(60) % 3
    >>> from_dataset(TensorDataset(images, labels), class_names=["a", "b", "c"]).class_names
    ('a', 'b', 'c')

    Random transforms belong to training, not into `dataset`: an item has to be the same whenever it is read. Images are
    kept in memory where there is room, or as `settings.reading` says; others are read item by item when they are
    wanted, by processes that are forked.

    Args:
        dataset: gives (image, label) for every index, or is a loaded `datasets.Dataset` with the columns "image" and
            "label": the image is a PIL image, or an array or tensor as in
            `from_tensors` without its first dimension; the label is a number from 0, or a name.
        validation: the validation split; drawn from `dataset` if None.
        test: the test split; drawn from `dataset` if None.
        class_names: in the order of the labels; `dataset.classes` if None, where there is such a list.
        settings: as in `from_tensors`; with `image_size`, images may have different sizes.

    Raises:
        DataError: an item is no image with a label, images differ in shape, or as in `from_tensors`.
    """
    settings = settings or DataSettings()
    given: dict[PartName, MapDataset | TableDataset | None]
    given = {"training": dataset, "validation": validation, "test": test}
    parts = {part: as_map(found) for part, found in given.items() if found is not None}
    names = getattr(parts["training"], "classes", None) if class_names is None else class_names
    if stays(parts, settings):
        opened = source_of_datasets(parts, settings, None if names is None else tuple(names))
        return split_source("from_dataset", opened, settings, opened.listing)
    pairs = {part: _collected(part, found, settings.image_size) for part, found in parts.items()}
    images, labels = pairs["training"]
    return from_tensors(
        images,
        labels,
        validation=pairs.get("validation"),
        test=pairs.get("test"),
        class_names=names,
        settings=settings,
    )


def _collected(part: str, dataset: MapDataset, image_size: int | None) -> tuple[Array, Array]:
    """The images [N, C, H, W] and labels [N] of a data set."""
    images: list[Tensor] = []
    labels = []
    for index in range(len(dataset)):
        where = f"{part} item {index}"
        image, label = pair(part, dataset, index)
        images.append(pixels_of(where, image, image_size))
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
