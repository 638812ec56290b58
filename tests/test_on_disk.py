"""Images on disk are those in memory to the last bit, whoever reads them, and whatever happens to whoever does."""

from __future__ import annotations

import json
import logging
import os
import tracemalloc
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from anybudget.data import (
    Augmentation,
    DataSource,
    FolderSettings,
    ImageAugmentation,
    ImageSet,
    Reading,
    TrainingBatches,
    identify,
    load_splits,
    looking,
    sources,
)
from anybudget.data.files import FolderFiles
from anybudget.data.joined import TrainedOnValidation
from anybudget.data.on_disk import KeptSplit, StoredSplit
from anybudget.errors import DataError
from anybudget.testing import check_source

SIDE = 8


@dataclass(frozen=True)
class Cropped(ImageAugmentation):
    """A random square of the stored image."""

    originals: ClassVar[bool] = True

    @property
    def needed_side(self) -> int:
        return SIDE

    def __call__(self, image: Image.Image, key: int) -> Image.Image:
        left, top = np.random.default_rng(key).integers(0, [image.width - 4, image.height - 4]).tolist()
        return image.crop((left, top, left + 4, top + 4)).resize((SIDE, SIDE))


@dataclass(frozen=True)
class Inverted(ImageAugmentation):
    """Some prepared images with their values turned around."""

    def __call__(self, image: Image.Image, key: int) -> np.ndarray:
        values = np.asarray(image)
        return 255 - values if key % 2 else values


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Colour photographs of several sizes, some large enough to be decoded at a reduced size, one turned by EXIF."""
    root = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for number in range(42):
        width, height = (int(side) for side in rng.integers(10, 70, 2))
        file = root / "abc"[number % 3] / f"{number}.jpg"
        file.parent.mkdir(exist_ok=True)
        image = Image.fromarray(rng.integers(0, 256, (height // 5 + 1, width // 5 + 1, 3), dtype=np.uint8))
        exif = Image.Exif()
        exif[0x0112] = 6 if number == 7 else 1
        image.resize((width, height)).save(file, exif=exif)
    return root


def load(folder: Path, keep: str = "disk", readers: int | None = 0, **more: Any) -> DataSource:
    reading = Reading(keep, readers, **more)
    return load_splits(str(folder), seed=3, image_size=SIDE, folders=FolderSettings(reading=reading))


def batches(data: DataSource, by_image: ImageAugmentation | None = None, count: int = 1) -> list[torch.Tensor]:
    """Two epochs of images and labels, those of `count` processes one after the other."""
    made = TrainingBatches(data, data.train, 12, 5, Augmentation(1), by_image=by_image)
    return [
        part
        for epoch in (1, 2)
        for rank in range(count)
        for images, labels in made.epoch(epoch, torch.device("cpu"), share=lambda batch, rank=rank: batch[rank::count])
        for part in (images, labels)
    ]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))


@pytest.mark.parametrize("by_image", [None, Cropped(), Inverted()], ids=["plain", "originals", "prepared"])
@pytest.mark.parametrize("readers", [0, 2, 8])
def test_disk_gives_what_memory_gives_with_any_number_of_readers(
    folder: Path, readers: int, by_image: ImageAugmentation | None
) -> None:
    kept, there = load(folder, "memory"), load(folder, "disk", readers)
    assert isinstance(kept.train, KeptSplit)
    assert isinstance(there.train, StoredSplit)
    assert (kept.mean, kept.std, kept.draw, kept.preparation) == (there.mean, there.std, there.draw, there.preparation)
    for one, other in ((kept.train, there.train), (kept.validation, there.validation), (kept.test(), there.test())):
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(one.subset(torch.arange(len(one))).images, other.subset(torch.arange(len(other))).images)
    assert same(batches(kept, by_image), batches(there, by_image))
    assert torch.equal(kept.train.sample(7, 1).images, there.train.sample(7, 1).images)


@pytest.mark.parametrize("by_image", [None, Cropped(), Inverted()], ids=["plain", "originals", "prepared"])
def test_training_and_validation_images_are_read_ahead_as_one(folder: Path, by_image: ImageAugmentation | None) -> None:
    kept, there = (TrainedOnValidation(load(folder, keep, 2)) for keep in ("memory", "disk"))
    assert isinstance(there.train, StoredSplit)
    assert len(kept.train) == len(there.train) == 36
    assert same(batches(kept, by_image), batches(there, by_image))


@pytest.mark.parametrize("count", [2, 4])
def test_processes_that_share_batches_read_their_parts(folder: Path, count: int) -> None:
    kept, there = load(folder, "memory"), load(folder, "disk", 2)
    assert same(batches(kept, Cropped(), count), batches(there, Cropped(), count))


def test_an_epoch_that_is_left_is_gone_on_with_elsewhere(folder: Path) -> None:
    """As when a training is killed: what was read ahead is let go, and the rest of the epoch is the same."""
    data = load(folder, "disk", 2)
    made = TrainingBatches(data, data.train, 5, 1, by_image=Cropped())
    whole = list(made.epoch(1, torch.device("cpu")))
    for start in (0, 1, 4):
        next(made.epoch(1, torch.device("cpu"), start=start))
        rest = list(made.epoch(1, torch.device("cpu"), start=start))
        assert same([part for pair in rest for part in pair], [part for pair in whole[start:] for part in pair])


def test_one_epoch_within_another(folder: Path) -> None:
    data = load(folder, "disk", 2)
    expected = [images for images, _ in data.validation.batches(2)]
    for _ in TrainingBatches(data, data.train, 8, 1).epoch(1, torch.device("cpu")):
        assert same([images for images, _ in data.validation.batches(2)], expected)


def test_a_source_on_disk_conforms(folder: Path) -> None:
    check_source(load(folder, "disk", 2))


def test_room_decides_where_images_are_and_it_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert isinstance(load(folder, "auto").train, KeptSplit)
    assert not caplog.records
    wanted = 42 * 3 * SIDE * SIDE
    monkeypatch.setattr(sources, "free_bytes", lambda: 4 * wanted)
    monkeypatch.setattr("anybudget.data.reading.free_bytes", lambda: 4 * wanted)
    monkeypatch.setattr("anybudget.data.reading.SAID", 1)
    assert isinstance(load(folder, "auto").train, ImageSet)
    assert "42 images of 3×8×8 are kept in memory" in caplog.records[-1].getMessage()
    assert isinstance(load(folder, "auto", processes=2).train, StoredSplit)
    assert "42 images of 3×8×8 are read from disk when they are wanted" in caplog.records[-1].getMessage()


def copy_of(folder: Path, to: Path) -> Path:
    for file in folder.rglob("*.jpg"):
        copied = to / file.relative_to(folder)
        copied.parent.mkdir(parents=True, exist_ok=True)
        copied.write_bytes(file.read_bytes())
    return to


@pytest.mark.parametrize("readers", [0, 2])
def test_a_file_that_vanishes_or_changes_is_named(folder: Path, tmp_path: Path, readers: int) -> None:
    data = load(copy_of(folder, tmp_path), "disk", readers)
    file = tmp_path / "b" / "1.jpg"
    content = file.read_bytes()
    everything = [data.train, data.validation, data.test()]
    file.unlink()
    with pytest.raises(DataError, match=r"b/1.jpg: is gone.*put it back.*goes on from what was saved"):
        [list(split.batches(4)) for split in everything]
    file.write_bytes(content + b"more")
    with pytest.raises(DataError, match=rf"b/1.jpg: has {len(content) + 4} bytes, and had {len(content)}"):
        [list(split.batches(4)) for split in everything]
    file.write_bytes(content)
    [list(split.batches(4)) for split in everything]


class Looks:
    """How often files are looked at and decoded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.headers = self.images = 0
        header, decode = looking.header, looking.decode
        from anybudget.data import files

        def counted_header(file: Any) -> Any:
            self.headers += 1
            return header(file)

        def counted_decode(file: Any, target: Any) -> Any:
            self.images += 1
            return decode(file, target)

        monkeypatch.setattr(looking, "header", counted_header)
        monkeypatch.setattr(looking, "decode", counted_decode)
        monkeypatch.setattr(files, "decode", counted_decode)

    def during(self, folder: Path, index: Path, keep: str = "disk", **more: Any) -> tuple[int, int]:
        self.headers = self.images = 0
        load(folder, keep, index=index, **more)
        return self.headers, self.images


def test_images_are_looked_at_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    root, index = copy_of(folder, tmp_path / "images"), tmp_path / "index.json"
    looks = Looks(monkeypatch)
    assert looks.during(root, index, writes=False) == (42, 43)
    assert not index.exists()
    assert looks.during(root, index) == (42, 43)
    assert looks.during(root, index) == (0, 0)
    assert looks.during(root, index, "memory") == (0, 42)
    fresh, known = load(root), load(root, index=index)
    assert (fresh.mean, fresh.std, fresh.draw, fresh.preparation) == (
        known.mean,
        known.std,
        known.draw,
        known.preparation,
    )
    os.utime(root / "a" / "0.jpg", ns=(1, 1))
    assert looks.during(root, index) == (42, 43)
    assert looks.during(root, index) == (0, 0)
    index.write_text(index.read_text()[:-9])
    assert looks.during(root, index) == (42, 43)
    assert "index.json: cannot be read" in caplog.text
    values = json.loads(index.read_text())
    index.write_text(json.dumps({**values, "counts": [[1, 2]], "findings": {"channels": "many"}}))
    assert looks.during(root, index) == (42, 43)


def test_an_index_knows_what_was_left_out(folder: Path, tmp_path: Path) -> None:
    root, index = copy_of(folder, tmp_path / "images"), tmp_path / "index.json"
    (root / "c" / "2.jpg").write_bytes((root / "c" / "2.jpg").read_bytes()[:300])
    found = []
    for keep in ("disk", "disk", "memory"):
        settings = FolderSettings(reading=Reading(keep, 0, index=index))
        data = load_splits(str(root), seed=3, image_size=SIDE, skip_unreadable=1, folders=settings)
        assert data.draw is not None
        assert data.draw.left_out == ("c/2.jpg",)
        found.append((data.draw, data.mean, batches(data)))
    assert found[0][:2] == found[1][:2] == found[2][:2]
    assert same(found[0][2], found[1][2])
    assert same(found[0][2], found[2][2])
    with pytest.raises(DataError, match=r"c/2.jpg: cannot be decoded"):
        load(root, "disk", 2, index=index)


def test_a_listing_does_not_depend_on_where_images_are(folder: Path) -> None:
    assert load(folder, "disk").listing() == load(folder, "memory").listing() == identify(str(folder))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"keep": "ram"}, "keep 'ram'"), ({"readers": -1}, "readers -1"), ({"patience": 0.0}, "patience 0.0")],
)
def test_settings_of_reading_out_of_range(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        replace(Reading(), **wrong)


def test_what_is_known_of_a_file_takes_few_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of its name and three numbers of eight, and at most half as many again."""
    files = [tmp_path / f"n{number % 100:08d}" / f"n{number % 100:08d}_{number}.JPEG" for number in range(20_000)]
    name = len(files[-1].relative_to(tmp_path).as_posix())
    monkeypatch.setattr("anybudget.data.files._size_and_time", lambda _file: (110_000, 1))
    tracemalloc.start()
    known = FolderFiles(tmp_path, files)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert known[19_999] == files[-1]
    assert taken / len(files) < 1.5 * (name + 3 * 8)
