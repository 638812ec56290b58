"""Images of map-style data sets (torch's, torchvision's, Hugging Face's), read item by item: `DatasetImages`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from anybudget.data.augmentation import to_image
from anybudget.data.images import COLOUR_MODES, GREY_MODES, Target, to_mode
from anybudget.data.preparation import resize
from anybudget.data.stored import StoredImages
from anybudget.errors import DataError, shown

IMAGE_COLUMNS, LABEL_COLUMNS = ("image", "img"), ("label", "labels", "fine_label")
"""Names of columns of Hugging Face's data sets, the first that is there."""


class MapDataset(Protocol):
    """A map-style data set, such as torch's and torchvision's: a length, and (image, label) for every index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


@runtime_checkable
class TableDataset(Protocol):
    """A data set of Hugging Face's `datasets`: columns by name, and a dictionary for every index."""

    column_names: list[str]
    features: Any

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any: ...


class Columns:
    """A table with a column of images and one of labels as a map-style data set.

    Args:
        table: a loaded data set of Hugging Face's `datasets`.

    Raises:
        DataError: it has no such columns.
    """

    def __init__(self, table: TableDataset) -> None:
        self._table = table
        self._image = column_of(table, IMAGE_COLUMNS, "images", "Image")
        self._label = column_of(table, LABEL_COLUMNS, "labels", "ClassLabel")
        names = getattr(table.features[self._label], "names", None)
        self.classes = None if names is None else list(names)
        self.targets = list(table[self._label])

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, index: int, /) -> tuple[Any, Any]:
        row = self._table[index]
        return row[self._image], row[self._label]


def column_of(table: TableDataset, names: Sequence[str], what: str, feature: str) -> str:
    """The first column of one of some names; else the only one of this kind of feature.

    Raises:
        DataError: there is none.
    """
    found = next((name for name in names if name in table.column_names), None)
    if found is None:
        alike = [name for name in table.column_names if type(table.features.get(name)).__name__ == feature]
        found = alike[0] if len(alike) == 1 else None
    if found is None:
        raise DataError(
            f"the data set has the columns {shown(table.column_names)}, and none of {what}: call it {names[0]!r}, as "
            "rename_column does"
        )
    return found


def as_map(dataset: MapDataset | TableDataset) -> MapDataset:
    """A data set as a map-style one."""
    return Columns(dataset) if isinstance(dataset, TableDataset) else dataset


def labels_of(part: str, dataset: MapDataset) -> NDArray[Any]:
    """The labels of a data set [N]: its `targets` where it has them, else those of its items, each of which is read."""
    targets = getattr(dataset, "targets", None)
    if targets is not None and len(targets) == len(dataset):
        return targets.numpy() if isinstance(targets, Tensor) else np.asarray(targets)
    return np.asarray([_plain(pair(part, dataset, index)[1]) for index in range(len(dataset))])


def pair(part: str, dataset: MapDataset, index: int) -> tuple[Any, Any]:
    """The image and the label of an item.

    Raises:
        DataError: it is no such pair.
    """
    try:
        image, label = dataset[index]
    except (TypeError, ValueError):
        where = f"{part} item {index}"
        raise DataError(f"{where}: is no pair of an image and a label: give a data set of such pairs") from None
    return image, label


def _plain(label: Any) -> Any:
    return label.item() if isinstance(label, Tensor | np.generic) else label


def pixels_of(where: str, image: Any, image_size: int | None) -> Tensor:
    """One image as [C, H, W]; of 8 bits it is scaled here, so that images may have different sizes.

    Raises:
        DataError: it is no image.
    """
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


class DatasetImages(StoredImages):
    """Images of map-style data sets, part after part, of which none is kept.

    Args:
        parts: the data sets, by what each is called.
        labels: int64 [N], of all.
        image_size: the side in pixels that images are scaled to; None leaves them as they are.

    Raises:
        DataError: the first item has no image of 8 bits, which is what can stay where it is.
    """

    threads = False

    def __init__(self, parts: dict[str, MapDataset], labels: Tensor, image_size: int | None) -> None:
        self._parts, self.labels, self._size = parts, labels, image_size
        self._starts = np.cumsum([0, *map(len, parts.values())])
        name, dataset = next(iter(parts.items()))
        first = self._pixels(name, dataset, 0)
        channels, height, width = first.shape
        self.shape = (channels, height, width)

    def where(self, index: int) -> str:
        """See `StoredImages.where`."""
        name, _, place = self._place(index)
        return f"{name} item {place}"

    def prepared(self, index: int) -> Tensor:
        """See `StoredImages.prepared`."""
        name, dataset, place = self._place(index)
        pixels = self._pixels(name, dataset, place)
        if tuple(pixels.shape) != self.shape:
            raise DataError(
                f"{self.where(index)}: has an image of {list(pixels.shape)}, item 0 of {list(self.shape)}: set the "
                "image size if sizes differ, and convert all to the same channels"
            )
        return pixels

    def original(self, index: int, needed_side: int | None) -> Image.Image:
        """See `StoredImages.original`."""
        del needed_side
        name, dataset, place = self._place(index)
        return to_image(pixels_of(f"{name} item {place}", pair(name, dataset, place)[0], None))

    def _place(self, index: int) -> tuple[str, MapDataset, int]:
        part = int(np.searchsorted(self._starts, index, "right")) - 1
        name = list(self._parts)[part]
        return name, self._parts[name], index - int(self._starts[part])

    def _pixels(self, name: str, dataset: MapDataset, place: int) -> Tensor:
        where = f"{name} item {place}"
        pixels = pixels_of(where, pair(name, dataset, place)[0], self._size)
        if pixels.dtype != torch.uint8:
            raise DataError(
                f"{where}: has an image of {pixels.dtype}, which can only be kept in memory: give images of 8 bits "
                '(leave out ToTensor), or keep = "memory"'
            )
        return pixels
