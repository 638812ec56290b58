"""Data sources from Python: tensors, map-style data sets, registered ones, and one that keeps no image in memory."""

from __future__ import annotations

import doctest
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from anybudget import DataSettings, DataSource, from_dataset, from_tensors, load_splits
from anybudget.data import SOURCES, DataSplits, ImageSet, Listing, Split, identify, memory
from anybudget.errors import ConfigError, DataError, MissingDataError, RunError
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from anybudget.testing import check_source
from anybudget.testing.interruption import differing_files
from conftest import call
from data_sets import cycle, numbered, numbers, save_npz, splits_of
from stopping import stop_after


class OnDisk(Split):
    """A split whose images lie in a file: read when asked for, a few at a time."""

    def __init__(self, path: Path, split: Split) -> None:
        np.save(path, split.read(torch.arange(len(split))).numpy())
        self.path, self.labels, self.most = path, split.labels, 0

    def read(self, indices: torch.Tensor) -> torch.Tensor:
        self.most = max(self.most, len(indices))
        return torch.from_numpy(np.load(self.path, mmap_mode="r")[indices.numpy()])


class OnDiskSource(DataSource):
    def __init__(self, folder: Path, of: DataSource) -> None:
        folder.mkdir()
        self.class_names, self.mean, self.std, self.preparation = of.class_names, of.mean, of.std, of.preparation
        self.train, self.validation = OnDisk(folder / "a.npy", of.train), OnDisk(folder / "b.npy", of.validation)
        self._test, self.draw, self.same = OnDisk(folder / "c.npy", of.test()), of.draw, of.listing()

    def test(self) -> Split:
        return self._test

    def listing(self) -> Listing:
        return self.same


class Pictures:
    """A map-style data set of PIL images of several sizes and modes."""

    classes = ("dark", "bright")

    def __init__(self, count: int, mode: str = "L") -> None:
        self.count, self.mode = count, mode

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.new("L", (8 + index % 3, 8 + index % 2), 200 * (index % 2) + index % 5).convert(
            self.mode
        ), index % 2


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten afterwards."""
    monkeypatch.setattr(SOURCES, "_loaded", dict(SOURCES._loaded))


@pytest.fixture
def tiny(image_file: Path) -> Iterator[DataSplits]:
    """The tiny recipe's own images, as tensors."""
    with np.load(image_file) as stored:
        x, y, xt, yt = (torch.from_numpy(stored[key]) for key in ("x", "y", "xt", "yt"))
    return from_tensors(x, y, test=(xt, yt), settings=DataSettings(validation_fraction=0.3))


def test_the_examples_of_the_docstrings_run() -> None:
    found = doctest.testmod(memory)
    assert (found.failed, found.attempted) == (0, 12)


def test_tensors_are_split_and_identified_as_the_same_arrays_in_a_file_are(tmp_path: Path) -> None:
    images, labels = numbered(60), cycle(60)
    path = save_npz(tmp_path / "d.npz", x=images, y=labels)
    stored, given = load_splits(path, seed=3), from_tensors(images, labels, settings=DataSettings(seed=3))
    assert [numbers(part) for part in splits_of(given)] == [numbers(part) for part in splits_of(stored)]
    assert given.draw == stored.draw
    assert given.listing() == stored.listing() == identify(path)
    assert given.mean == stored.mean
    other = from_tensors(images, np.roll(labels, 1))
    assert other.listing().digest != given.listing().digest


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_tensors_have_their_channels_first(channels: int) -> None:
    images = torch.randint(0, 256, (30, channels, 5, 6), dtype=torch.uint8)
    assert from_tensors(images, cycle(30)).input_shape == (channels, 5, 6)
    last = from_tensors(images[:, :3].permute(0, 2, 3, 1), cycle(30)) if channels == 3 else None
    assert last is None or torch.equal(last.train.images, from_tensors(images, cycle(30)).train.images)
    assert from_tensors(images[:, 0], cycle(30)).input_shape == (1, 5, 6)
    assert from_tensors(torch.zeros(30, 3, 4, 3, dtype=torch.uint8) + torch.arange(3), cycle(30)).input_shape == (
        3,
        4,
        3,
    )


def test_other_numbers_are_scaled_by_the_range_of_all_parts(caplog: pytest.LogCaptureFixture) -> None:
    images = torch.linspace(-1, 1, 30 * 16).view(30, 1, 4, 4)
    data = from_tensors(images, cycle(30), test=(2 * images[:6], cycle(6)))
    assert data.preparation.value_range == (-2.0, 1.0)
    assert data.test().images.min() == 0
    assert "values from -2 to 1 were scaled to 0 to 255" in caplog.text


def test_given_parts_are_used_as_they_are_and_others_drawn() -> None:
    images, labels = numbered(30), cycle(30)
    given = numbered(6, first=500), cycle(6)
    one = from_tensors(images, labels, validation=given)
    assert numbers(one.validation) == list(range(500, 506))
    assert sorted(numbers(one.train) + numbers(one.test())) == list(range(30))
    both = from_tensors(images, labels, validation=given, test=given)
    assert numbers(both.train) == list(range(30))
    assert {entry.name for entry in both.listing().entries} >= {"validation images", "test labels"}


def test_labels_may_be_names() -> None:
    words = np.array(["cat", "ant", "bee"])[cycle(30)]
    assert from_tensors(numbered(30), words).class_names == ("ant", "bee", "cat")
    assert from_tensors(numbered(30), words, class_names=["cat", "bee", "ant"]).train.labels[0] == 0
    assert from_tensors(numbered(30), list(cycle(30)), class_names=["a", "b", "c"]).class_names == ("a", "b", "c")


@pytest.mark.parametrize(
    ("images", "labels", "options", "part"),
    [
        (numbered(9), cycle(8), {}, "training labels has shape [8] for 9 images"),
        (numbered(9), cycle(9), {"validation": (numbered(9), cycle(8))}, "validation labels has shape [8]"),
        (numbered(9), cycle(9), {"validation": (numbered(9, 5, 5), cycle(9))}, "validation images has images of 1×5×5"),
        (numbered(9), cycle(9), {"class_names": ["a"]}, "from_tensors: has 1 class names"),
        (numbered(9), cycle(9).astype(float), {}, "training labels has dtype float64"),
        (torch.full((9, 1, 4, 4), torch.nan), cycle(9), {}, "training images holds values that are not finite"),
        (numbered(9)[0], cycle(9), {}, "training images has shape [4, 4]"),
    ],
)
def test_tensors_that_cannot_be_used(images: Any, labels: Any, options: dict[str, Any], part: str) -> None:
    with pytest.raises(DataError) as caught:
        from_tensors(images, labels, **options)
    assert part in str(caught.value)


def test_a_tensor_dataset_gives_what_its_tensors_give() -> None:
    images, labels = torch.from_numpy(numbered(60)).unsqueeze(1), torch.from_numpy(cycle(60))
    held = TensorDataset(images[:9], labels[:9])
    one, two = (
        from_tensors(images, labels, test=(images[:9], labels[:9])),
        from_dataset(TensorDataset(images, labels), test=held),
    )
    for part, same in zip(splits_of(one), splits_of(two), strict=True):
        assert torch.equal(part.images, same.images)
        assert torch.equal(part.labels, same.labels)
    assert one.listing() == two.listing()


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("P", 3), ("I;16", 1)])
def test_a_dataset_of_pil_images(mode: str, channels: int) -> None:
    if mode == "I;16":
        with pytest.raises(DataError, match=r"training item 1: has an image of \[1, 9, 9\] torch.float32, item 0"):
            from_dataset(Pictures(30, mode), settings=DataSettings(image_size=8))
        return
    data = from_dataset(Pictures(30, mode), settings=DataSettings(image_size=8))
    assert data.input_shape == (channels, 8, 8)
    assert data.class_names == ("dark", "bright")
    for image, label in zip(data.train.images, data.train.labels.tolist(), strict=True):
        assert abs(int(image.int().min()) - 200 * label) < 5
        assert image.min() == image.max()
    with pytest.raises(DataError, match=r"training item 1: has an image of .* set the image size if sizes differ"):
        from_dataset(Pictures(30, mode))


@pytest.mark.parametrize(
    ("items", "part"),
    [
        ([], "the training data set is empty"),
        ([1, 2], "training item 0: is no pair of an image and a label"),
        ([("a.png", 0)], "training item 0: its image is a str"),
        ([(torch.zeros(2, 2, 2, 2), 0)], r"training item 0: its image has shape \[2, 2, 2, 2\]"),
    ],
)
def test_data_sets_that_cannot_be_used(items: list[Any], part: str) -> None:
    with pytest.raises(DataError, match=part):
        from_dataset(items)


def test_sources_conform(tmp_path: Path, tiny: DataSplits) -> None:
    for source in (tiny, OnDiskSource(tmp_path / "d", tiny), load_splits("fashion-mnist-subset", seed=0, image_size=8)):
        check_source(source)


def test_the_check_finds_what_is_wrong(tiny: DataSplits) -> None:
    class Shared(ImageSet):
        def read(self, indices: torch.Tensor) -> torch.Tensor:
            return self.images[int(indices[0]) :][: len(indices)]

    class Restless(ImageSet):
        def read(self, indices: torch.Tensor) -> torch.Tensor:
            return torch.randint(0, 256, (len(indices), 1, 8, 8), dtype=torch.uint8)

    train = tiny.train
    few = train.subset(train.labels != 2)
    for changes, part in (
        ({"std": (0.0,)}, "std must be positive"),
        ({"class_names": ("a", "b", "b")}, "a name twice"),
        ({"class_names": ("a", "b")}, "labels lie outside"),
        ({"train": few}, "needs every class"),
        ({"validation": Shared(train.images.clone(), train.labels)}, "validation: read"),
        ({"train": Restless(train.images, train.labels)}, "train: read"),
    ):
        with pytest.raises(AssertionError, match=part):
            check_source(replace(tiny, **changes))


@pytest.mark.usefixtures("registry")
def test_a_registered_source_is_known_to_recipes(recipe_file: Path, tmp_path: Path, tiny: DataSplits) -> None:
    asked: list[DataSettings] = []

    @SOURCES.register(name="rows")
    def rows(settings: DataSettings) -> DataSource:
        asked.append(settings)
        return tiny

    recipe = load_recipe(recipe_file, ["data.source=rows"])
    run = Run.create(recipe, tmp_path / "run")
    assert run.data is tiny
    assert asked == [DataSettings(recipe.seed, 0.3, 0.15, 8)]
    run.train_supernet()
    again = Run.open(tmp_path / "run")
    assert again.context.source == "rows"
    assert again.context.listing == tiny.listing()
    assert load_splits("rows", seed=0) is tiny
    assert identify("rows") == tiny.listing()
    with pytest.raises(DataError, match="or 'fashion-mnist-subset' or 'cluttered-fashion' or 'rows'"):
        load_splits("row", seed=0)


def test_a_run_never_needs_its_images_in_memory(recipe_file: Path, tmp_path: Path, tiny: DataSplits) -> None:
    """Every stage, with images that are read when asked for: the files are those of a run with images in memory."""
    on_disk = OnDiskSource(tmp_path / "data", tiny)
    recipe = load_recipe(recipe_file, ["supernet.sampler=greedy", "supernet.greedy.score_images=12"])
    runs = [Run.create(recipe, tmp_path / name, data=data) for name, data in (("a", on_disk), ("b", tiny))]
    for run in runs:
        run.run_all(lambda _line: None)
    assert not differing_files(*(run.folder.path for run in runs))
    assert on_disk.train.most < len(tiny.train)


def test_a_run_is_tied_to_data_that_were_handed_over(
    recipe_file: Path, image_file: Path, tmp_path: Path, tiny: DataSplits, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "run"
    begun = Run.create(load_recipe(recipe_file), place, data=tiny)
    with pytest.raises(MissingDataError, match=r"were handed over in Python: hand the same over again, with Run"):
        _ = Run.open(place).data
    stop_after(3, begun.train_supernet)
    with pytest.raises(MissingDataError, match=r"Run.open\(path, data=source\)"):
        _ = Run.open(place).data
    other = replace(tiny, listed=None)
    with pytest.raises(RunError, match=r"not the data that .* was begun with"):
        _ = Run.open(place, data=other).data
    Run.open(place, data=tiny).train_supernet()  # within the epoch that was interrupted
    code, _, error = call(capsys, "rank", place)
    assert code == 2
    assert "were handed over in Python" in error
    whole = Run.create(load_recipe(recipe_file), tmp_path / "whole", data=tiny)
    whole.train_supernet()
    assert not [n for n in differing_files(place, tmp_path / "whole") if n != "stages.json"]
    # The same arrays in a file are the same data.
    assert Run.open(place, data=str(image_file)).data.draw == tiny.draw
    found = Run.create(load_recipe(recipe_file), place, data=tiny)
    assert found.folder.finished("supernet")


def test_data_of_another_shape_are_refused(recipe_file: Path, tmp_path: Path) -> None:
    data = from_tensors(numbered(60, 4, 4), cycle(60))
    with pytest.raises(ConfigError, match="its images are 4×4 pixels, and the networks of the recipe take 8×8"):
        _ = Run.create(load_recipe(recipe_file), tmp_path / "run", data=data).data
    data = from_tensors(numbered(60, 8, 8), cycle(60, 2))
    with pytest.raises(ConfigError, match=r"space.classes=2 \(the recipe says 3\)"):
        _ = Run.create(load_recipe(recipe_file), tmp_path / "other", data=data).data
