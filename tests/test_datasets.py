"""Map-style data sets of torch and tables of Hugging Face, whose images are read item by item."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from anybudget import from_dataset
from anybudget.data import DataSettings, DataSource, Reading, TrainingBatches, sources
from anybudget.data.on_disk import StoredSplit
from anybudget.errors import DataError
from anybudget.testing import check_source
from test_on_disk import Cropped

SIDE = 8
DISK, MEMORY = (DataSettings(image_size=SIDE, reading=Reading(keep, 2)) for keep in ("disk", "memory"))


class Pictures:
    """Numbered pictures of several sizes as PIL images, whose readings are counted."""

    def __init__(self, count: int = 40, mode: str = "RGB") -> None:
        self.count, self.mode, self.read = count, mode, 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Any, int]:
        self.read += 1
        rng = np.random.default_rng(index)
        pixels = rng.integers(0, 256, (12 + index % 5, 14, 3), dtype=np.uint8)
        return Image.fromarray(pixels).convert(self.mode), index % 3


class Listed(Pictures):
    """The same with labels that can be looked up."""

    classes = ("a", "b", "c")

    @property
    def targets(self) -> list[int]:
        return [index % 3 for index in range(self.count)]


class Table:
    """A table as Hugging Face's `datasets` has it."""

    column_names = ("image", "label", "id")

    class _Label:
        names = ("a", "b", "c")

    features = {"label": _Label(), "image": None, "id": None}  # noqa: RUF012

    def __init__(self, count: int = 40) -> None:
        self._pictures = Pictures(count)

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, key: Any) -> Any:
        if key == "label":
            return [index % 3 for index in range(len(self))]
        image, label = self._pictures[key]
        return {"image": image, "label": label, "id": key}


def everything(data: DataSource) -> list[torch.Tensor]:
    found = [part for split in (data.train, data.validation, data.test()) for pair in split.batches(7) for part in pair]
    batches = TrainingBatches(data, data.train, 5, 3).epoch(2, torch.device("cpu"))
    return found + [part for pair in batches for part in pair]


@pytest.mark.parametrize("kind", [Pictures, Listed, Table])
def test_items_read_one_by_one_are_those_in_memory(kind: type[Any]) -> None:
    there, kept = from_dataset(kind(), settings=DISK), from_dataset(kind(), settings=MEMORY)
    assert isinstance(there.train, StoredSplit)
    assert there.class_names == kept.class_names == (("0", "1", "2") if kind is Pictures else ("a", "b", "c"))
    assert (there.mean, there.std, there.draw, there.preparation) == (kept.mean, kept.std, kept.draw, kept.preparation)
    assert all(map(torch.equal, everything(there), everything(kept)))
    assert there.listing() == kept.listing()
    check_source(there)


def test_parts_that_are_given_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"validation": Listed(9), "test": Listed(12)}
    there, kept = (from_dataset(Listed(), **parts, settings=settings) for settings in (DISK, MEMORY))
    assert (len(there.train), len(there.validation), len(there.test())) == (40, 9, 12)
    assert all(map(torch.equal, everything(there), everything(kept)))
    assert there.listing() == kept.listing()
    monkeypatch.setattr("anybudget.data.on_datasets.free_bytes", lambda: 1000)
    monkeypatch.setattr("anybudget.data.reading.free_bytes", lambda: 1000)
    monkeypatch.setattr(sources, "free_bytes", lambda: 1000)
    full = from_dataset(Listed(), settings=DataSettings(image_size=SIDE, reading=Reading(readers=0)))
    assert isinstance(full.train, StoredSplit)


def test_originals_are_augmented_alike_by_any_number_of_readers() -> None:
    found = []
    for readers in (0, 2):
        settings = DataSettings(image_size=SIDE, reading=Reading("disk", readers))
        data = from_dataset(Listed(), settings=settings)
        batches = TrainingBatches(data, data.train, 6, 3, by_image=Cropped()).epoch(1, torch.device("cpu"))
        found.append(torch.cat([images for images, _ in batches]))
    assert found[0].shape[1:] == (3, SIDE, SIDE)
    assert torch.equal(*found)


MIXED = [(np.zeros((8, 8, 3 if number else 1), np.uint8), number % 2) for number in range(9)]


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        (Pictures(0), "the training data set is empty"),
        (torch.utils.data.TensorDataset(torch.rand(9, 3, 8, 8), torch.arange(9) % 3), 'keep = "memory"'),
        (list(range(9)), "is no pair of an image and a label"),
        ([("text", 0)] * 9, "its image is a str"),
        (
            [(np.zeros((8, 8), np.uint8), 0), *[(np.zeros((8, 8, 3), np.uint8), n % 2) for n in range(8)]],
            r"item \d: has an image of",
        ),
    ],
)
def test_what_cannot_be_read_is_named(dataset: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        from_dataset(dataset, settings=DataSettings(image_size=SIDE, reading=Reading("disk", 0)))


def test_a_table_without_images_is_named() -> None:
    class Texts(Table):
        column_names = ("text", "label")

    with pytest.raises(DataError, match="none of images: call it 'image', as rename_column does"):
        from_dataset(Texts(), settings=DISK)
