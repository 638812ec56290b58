"""The source "cluttered-fashion": against a slow composition; splits share nothing; as a recipe sets it."""

from __future__ import annotations

import doctest
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from anybudget import load_splits
from anybudget.data import DataSettings, TrainingBatches, identify, synthetic, synthetic_settings, what_differs
from anybudget.data.random import Use, epoch_order, image_keys, uniform
from anybudget.data.synthetic import ClutteredFashion, SplitNumber, compose
from anybudget.data.synthetic_settings import ClutterSettings
from anybudget.errors import ConfigError, DataError, RunError
from anybudget.recipe import load_recipe, reproducibility_settings
from anybudget.runs.run import Run
from anybudget.settings import Settings
from anybudget.testing import check_source
from conftest import call

SMALL = ClutterSettings(canvas=32, patches=3, patch_size=7, compositions=2, test_compositions=1, seed=5)
PARTS = ("train", "validation", "test")

Pixels = synthetic.Pixels


@pytest.fixture(scope="module")
def cluttered() -> ClutteredFashion:
    return ClutteredFashion(DataSettings(seed=3, own=SMALL))


def images_of(data: ClutteredFashion) -> dict[str, torch.Tensor]:
    return {
        "train": data.train.subset(torch.arange(len(data.train))).images,
        "validation": data.validation.images,
        "test": data.test().images,
    }


def composed_slowly(garments: Pixels, index: int, split: int, settings: ClutterSettings) -> Pixels:
    """One image, pixel by pixel, from its own random numbers."""
    draws = iter(uniform(image_keys(settings.seed, split, np.array([index]), Use.COMPOSITION), 200)[0].tolist())

    def whole(below: int) -> int:
        return int(next(draws) * below)

    def lay(piece: Sequence[Sequence[int]], top: int, left: int) -> None:
        for row, line in enumerate(piece):
            for column, pixel in enumerate(line):
                canvas[top + row][left + column] = max(canvas[top + row][left + column], pixel)

    size, patch, shown = settings.canvas, settings.patch_size, index % len(garments)
    canvas = [[0] * size for _ in range(size)]
    place = whole(size - 28 + 1), whole(size - 28 + 1)
    for _ in range(settings.patches):
        others = [*range(shown + 1, len(garments)), *range(shown)]
        other = garments[others[whole(len(others))]].tolist()
        top, left = whole(28 - patch + 1), whole(28 - patch + 1)
        lay([row[left : left + patch] for row in other[top : top + patch]], *(whole(size - patch + 1) for _ in "yx"))
    lay(garments[shown].tolist(), *place)
    return np.array(canvas, np.uint8)


def test_every_image_is_the_slow_composition_of_garments_of_its_own_split(cluttered: ClutteredFashion) -> None:
    garments = load_splits("fashion-mnist-subset", seed=3)
    for number, (split, part) in enumerate(
        ((garments.train, "train"), (garments.validation, "validation"), (garments.test(), "test"))
    ):
        own = split.read(torch.arange(len(split)))[:, 0].numpy()
        images = images_of(cluttered)[part][:, 0].numpy()
        for index in (0, 1, 17, len(own) - 1, len(images) - 1):
            assert np.array_equal(images[index], composed_slowly(own, index, number, SMALL)), (part, index)
    assert torch.equal(cluttered.train.labels, garments.train.labels.repeat(2))
    assert cluttered.draw == garments.draw


def test_splits_share_no_garment() -> None:
    """With a canvas that a garment fills and no patches, images are the garments."""
    plain = ClutterSettings(canvas=28, patches=0, compositions=1, test_compositions=1)
    found = images_of(ClutteredFashion(DataSettings(seed=1, own=plain)))
    seen = [{image.numpy().tobytes() for image in found[part]} for part in PARTS]
    stored = load_splits("fashion-mnist-subset", seed=1)
    assert sum(map(len, seen)) == len({garment for part in seen for garment in part})
    assert torch.equal(found["validation"], stored.validation.read(torch.arange(len(stored.validation))))


def test_an_image_depends_on_its_index_and_not_on_how_many_there_are() -> None:
    garments = np.random.default_rng(0).integers(0, 256, (9, 28, 28), dtype=np.uint8)
    images = compose(garments, np.arange(36), SplitNumber.TEST, SMALL)
    assert images.shape == (36, 1, 32, 32)
    assert len({image.tobytes() for image in images}) == 36
    some = np.array([30, 2, 2, 17])
    assert np.array_equal(compose(garments, some, SplitNumber.TEST, SMALL), images[some])
    other = compose(garments, np.arange(36), SplitNumber.TRAINING, SMALL)
    assert not (other == images).all(axis=(1, 2, 3)).any()


def test_a_garment_is_whole_and_never_beneath_its_own_patch() -> None:
    """Garments of one brightness each: every pixel says whose it is."""
    garments = np.repeat(np.arange(1, 6, dtype=np.uint8), 28 * 28).reshape(5, 28, 28)
    for index, image in enumerate(compose(garments, np.arange(200), SplitNumber.TRAINING, ClutterSettings())):
        own = index % 5 + 1
        assert (image >= own).sum() >= 28 * 28
        assert (image == own).sum() <= 28 * 28


def test_fresh_images_come_with_every_epoch_and_are_those_of_seed_epoch_and_index(cluttered: ClutteredFashion) -> None:
    fresh = ClutteredFashion(DataSettings(seed=3, own=SMALL.model_copy(update={"fresh": True})))
    check_source(fresh)
    some = torch.tensor([5, 3, 20000])
    still = cluttered.train.read(some)
    assert torch.equal(fresh.train.read(some), still)
    assert torch.equal(fresh.validation.images, cluttered.validation.images)
    assert (fresh.mean, fresh.std) == (cluttered.mean, cluttered.std)
    epochs = [fresh.train.in_epoch(epoch).read(some) for epoch in (1, 2, 1)]
    assert torch.equal(epochs[0], epochs[2])
    for one, other in ((epochs[0], epochs[1]), (epochs[0], still), (epochs[1], still)):
        assert not (one == other).flatten(1).all(1).any()
    garments = load_splits("fashion-mnist-subset", seed=3).train
    own = garments.read(torch.arange(len(garments)))[:, 0].numpy()
    slow = composed_slowly(own, 20000, 2 * len(SplitNumber) + SplitNumber.TRAINING, SMALL)
    assert np.array_equal(epochs[1][2, 0].numpy(), slow)
    # Another split of another epoch must not come with the same numbers.
    assert len({epoch * len(SplitNumber) + number for epoch in range(9) for number in SplitNumber}) == 27
    assert cluttered.train.in_epoch(7) is cluttered.train
    assert fresh.listing() != cluttered.listing()


def test_a_training_sees_fresh_images() -> None:
    fresh = ClutteredFashion(DataSettings(own=SMALL.model_copy(update={"fresh": True})))
    batches = TrainingBatches(fresh, fresh.train, 16, seed=0)
    for epoch in (1, 2):
        images, labels = next(batches.epoch(epoch, torch.device("cpu")))
        order = torch.from_numpy(epoch_order(len(fresh.train), 0, epoch))[:16]
        assert torch.equal(images, fresh.normalise(fresh.train.in_epoch(epoch).read(order)))
        assert torch.equal(labels, fresh.train.labels[order])


def test_the_same_settings_give_the_same_images_and_others_do_not(cluttered: ClutteredFashion) -> None:
    again = ClutteredFashion(DataSettings(seed=3, own=SMALL))
    for part in PARTS:
        assert torch.equal(images_of(again)[part], images_of(cluttered)[part])
    assert again.listing() == cluttered.listing()
    other = ClutteredFashion(DataSettings(seed=3, own=SMALL.model_copy(update={"seed": 6})))
    assert not torch.equal(images_of(other)["train"], images_of(cluttered)["train"])
    assert what_differs(cluttered.listing(), other.listing()) == "the compositions changed"
    elsewhere = ClutteredFashion(DataSettings(seed=4, own=SMALL))  # another draw of the splits, the same data set
    assert torch.equal(elsewhere.test().images, cluttered.test().images)
    assert elsewhere.listing() == cluttered.listing()
    assert elsewhere.draw != cluttered.draw


def test_every_garment_is_shown_equally_often(cluttered: ClutteredFashion) -> None:
    garments = load_splits("fashion-mnist-subset", seed=3)
    for split, of, times in (
        (cluttered.train, garments.train, 2),
        (cluttered.validation, garments.validation, 2),
        (cluttered.test(), garments.test(), 1),
    ):
        assert torch.equal(torch.bincount(split.labels), times * torch.bincount(of.labels))


def test_the_source_conforms_at_any_size() -> None:
    check_source(load_splits("cluttered-fashion", seed=0))
    data = load_splits("cluttered-fashion", seed=0, image_size=12)
    check_source(data)
    assert data.input_shape == (1, 12, 12)
    assert identify("cluttered-fashion") == data.listing()
    pixels = data.train.read(torch.arange(len(data.train))).double() / 255
    assert data.mean[0] == pytest.approx(float(pixels.mean()))
    assert data.std[0] == pytest.approx(float(pixels.std(correction=0)))


def test_settings_that_cannot_be_used_are_named() -> None:
    with pytest.raises(ConfigError, match=r"data.cluttered-fashion.canvas: 27 pixels .*; take 28 or more"):
        ClutteredFashion(DataSettings(own=ClutterSettings(canvas=27)))
    with pytest.raises(DataError, match=r"cluttered-fashion: 34000 images of 1×60000×60000 need an estimated"):
        ClutteredFashion(DataSettings(own=ClutterSettings(canvas=60000)))
    with pytest.raises(ConfigError, match="is set by ClutterSettings, found Settings"):
        ClutteredFashion(DataSettings(own=Settings()))


OVERRIDES = (
    "data.source=cluttered-fashion",
    "data.cluttered-fashion.canvas=32",
    "data.cluttered-fashion.compositions=1",
    "data.cluttered-fashion.test_compositions=1",
    "space.classes=10",
)


def test_a_recipe_sets_it_and_a_run_is_tied_to_it(recipe_file: Path, tmp_path: Path) -> None:
    recipe = load_recipe(recipe_file, OVERRIDES)
    begun = Run.create(recipe, tmp_path / "run")
    data = begun.context.data
    assert (len(data.train), data.input_shape) == (12000 - len(data.validation), (1, 8, 8))
    begun.context.begin()
    with begun.context.work("nothing"):
        pass
    facts = json.loads((tmp_path / "run" / "data.json").read_text())
    assert facts["source"] == "cluttered-fashion"
    assert facts["digest"] == data.listing().digest
    assert Run.open(tmp_path / "run").context.data.listing() == data.listing()
    other = load_recipe(recipe_file, (*OVERRIDES, "data.cluttered-fashion.patches=2"))
    with pytest.raises(RunError, match=r"not the data that .* was begun with: the compositions changed"):
        _ = Run.create(other, tmp_path / "run").context.data
    # What images are made of is said by their digest, so that a run of other data resumes whatever stands here.
    assert reproducibility_settings(other) == reproducibility_settings(recipe)


def test_mistakes_in_its_table_are_named(recipe_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for override, said in (
        ("data.cluttered-fashion.canvas=20", "data.cluttered-fashion.canvas: 20 pixels are too few for a garment"),
        ("data.cluttered-fashion.patch_size=29", "data.cluttered-fashion.patch_size"),
        ("data.cluttered-fashion.patchs=2", "unknown key data.cluttered-fashion.patchs; did you mean patches?"),
        ("data.sauce=2", "unknown key data.sauce; did you mean source?"),
        ("data.zzz=2", "known are source, validation_fraction, test_fraction, "),
    ):
        code, _, error = call(capsys, "space", recipe_file, "--set", override)
        assert code == 2
        assert said in error


def test_the_examples_of_the_docstrings_run() -> None:
    found = [doctest.testmod(module) for module in (synthetic, synthetic_settings)]
    assert [(result.failed, result.attempted) for result in found] == [(0, 3), (0, 1)]
