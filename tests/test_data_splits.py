"""Splits of every data source, and the statistics of their training images."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from anybudget.data import (
    Augmentation,
    DataSplits,
    FolderSettings,
    ImageSet,
    Reading,
    TrainingBatches,
    load_splits,
    sources,
)
from anybudget.errors import DataError
from data_sets import (
    class_folders,
    cycle,
    fails,
    idx_folder,
    numbered,
    numbers,
    save_npz,
    some_images,
    splits_of,
)


def test_sources_that_do_not_exist(tmp_path: Path) -> None:
    fails(tmp_path / "nowhere", "nowhere", "no such file or folder", "fashion-mnist-subset")
    fails("", "no such file or folder")
    (tmp_path / "data.tsv").write_text("1,2")
    fails(tmp_path / "data.tsv", "data.tsv", "not recognised as a data set")


def test_a_path_may_start_at_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_npz(tmp_path / "d.npz", x=numbered(30), y=cycle(30))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert load_splits("~/d.npz", seed=0).classes == 3


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"validation_fraction": 0.0}, "validation fraction 0.0"),
        ({"validation_fraction": 1.0}, "validation fraction 1.0"),
        ({"test_fraction": -0.1}, "test fraction -0.1"),
        ({"test_fraction": float("nan")}, "test fraction nan"),
        ({"validation_fraction": 0.5, "test_fraction": 0.5}, "sum is below 1"),
        ({"image_size": 0}, "image size 0"),
    ],
)
def test_settings_out_of_range(options: dict[str, Any], part: str) -> None:
    fails("fashion-mnist-subset", part, **options)


def test_the_memory_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = class_folders(tmp_path / "folder")
    arrays = save_npz(tmp_path / "d.npz", x=numbered(30), y=cycle(30))
    idx = idx_folder(tmp_path / "idx", test=False)
    kept = FolderSettings(reading=Reading("memory"))
    monkeypatch.setattr(sources, "ROOM", 1.0)
    monkeypatch.setattr(sources, "free_bytes", lambda: 8 * 3 * 6 * 5 - 1)
    fails(root, "8 images of 3×6×5", "GiB", 'data.keep = "disk"', folders=kept)
    assert load_splits(str(root), seed=0, image_size=5, folders=kept).input_shape == (3, 5, 5)
    monkeypatch.setattr(sources, "free_bytes", lambda: 30 * 4 * 4 - 1)
    fails(arrays, "30 images of 1×4×4", "GiB", "smaller image size")
    fails(idx, "30 images of 1×4×4", "GiB")
    monkeypatch.setattr(sources, "free_bytes", lambda: 30 * 4 * 4)
    assert len(load_splits(arrays, seed=0).class_names) == 3


def test_the_memory_message_counts_in_gib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "free_bytes", lambda: 8 * 2**30)
    fails(
        save_npz(tmp_path / "d.npz", x=numbered(16), y=cycle(16)),
        "16 images of 1×32768×32768 need an estimated 16 GiB",
        "and 8 GiB are free",
        image_size=32768,
    )


@pytest.mark.parametrize("fractions", [(0.15, 0.15), (0.3, 0.2), (0.01, 0.98), (0.98, 0.01), (0.45, 0.45)])
def test_splits_are_disjoint_complete_and_stratified(tmp_path: Path, fractions: tuple[float, float]) -> None:
    labels = np.repeat([0, 1, 2], [3, 20, 60])
    path = save_npz(tmp_path / "d.npz", x=numbered(83), y=labels)
    validation, test = fractions
    parts = splits_of(load_splits(path, seed=1, validation_fraction=validation, test_fraction=test))
    assert sorted(number for part in parts for number in numbers(part)) == list(range(83))
    assert all(numbers(part) == sorted(numbers(part)) for part in parts)
    counts = [torch.bincount(part.labels, minlength=3).tolist() for part in parts]
    assert min(min(count) for count in counts) >= 1
    for size, train, held, tested in zip([3, 20, 60], *counts, strict=True):
        assert train + held + tested == size
        assert abs(tested - test * size) <= 2
        assert abs(held - validation * size) <= 2


def test_splits_depend_on_the_seed_alone(tmp_path: Path) -> None:
    path = save_npz(tmp_path / "d.npz", x=numbered(60), y=cycle(60))
    first = [numbers(part) for part in splits_of(load_splits(path, seed=3))]
    torch.manual_seed(99)
    assert [numbers(part) for part in splits_of(load_splits(path, seed=3))] == first
    other = [numbers(part) for part in splits_of(load_splits(path, seed=4))]
    assert all(mine != theirs for mine, theirs in zip(first, other, strict=True))
    wider = load_splits(path, seed=3, validation_fraction=0.4)
    assert numbers(wider.test()) == first[2]


def test_a_shipped_test_part_does_not_depend_on_the_seed(tmp_path: Path) -> None:
    path = save_npz(tmp_path / "d.npz", x=numbered(60), y=cycle(60), xt=numbered(12, first=500), yt=cycle(12))
    one, two = load_splits(path, seed=1), load_splits(path, seed=2, test_fraction=0.5)
    assert numbers(one.test()) == numbers(two.test()) == list(range(500, 512))
    assert numbers(one.validation) != numbers(two.validation)
    assert sorted(numbers(one.train) + numbers(one.validation)) == list(range(60))
    assert len(one.validation) == 9


def test_the_global_random_state_is_left_alone(tmp_path: Path) -> None:
    path = save_npz(tmp_path / "d.npz", x=numbered(30), y=cycle(30))
    before = torch.get_rng_state()
    splits = load_splits(path, seed=0)
    list(TrainingBatches(splits, splits.train, 4, 0, Augmentation()).epoch(1, torch.device("cpu")))
    splits.train.sample(4, 0)
    splits.train.sample(4, 0, balanced=True)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_test_split_can_be_replaced(tmp_path: Path) -> None:
    splits = load_splits(save_npz(tmp_path / "d.npz", x=numbered(30), y=cycle(30)), seed=0)
    other = splits.train.subset(torch.tensor([0]))
    assert replace(splits, _test=other).test() is other


def test_mean_and_std_are_those_of_the_training_pixels(tmp_path: Path) -> None:
    splits = load_splits(save_npz(tmp_path / "d.npz", x=numbered(30, channels=3), y=cycle(30)), seed=0)
    pixels = splits.train.images.numpy() / 255
    assert splits.mean == pytest.approx(pixels.mean((0, 2, 3)))
    assert splits.std == pytest.approx(pixels.std((0, 2, 3)))


def test_mean_and_std_see_training_pixels_only(tmp_path: Path) -> None:
    images, labels = numbered(30), cycle(30)
    first = load_splits(save_npz(tmp_path / "d.npz", x=images, y=labels), seed=0)
    changed = images.copy()
    changed[numbers(first.validation) + numbers(first.test())] = 255
    second = load_splits(save_npz(tmp_path / "d.npz", x=changed, y=labels), seed=0)
    assert (second.test().images == 255).all()
    assert (second.mean, second.std) == (first.mean, first.std)
    changed = images.copy()
    changed[numbers(first.train)[0]] = 255
    third = load_splits(save_npz(tmp_path / "d.npz", x=changed, y=labels), seed=0)
    assert third.mean != first.mean


def test_normalised_training_images_have_zero_mean_and_unit_std(embedded: DataSplits) -> None:
    images = embedded.normalise(embedded.train.images)
    assert images.dtype == torch.float32
    assert images.shape == embedded.train.images.shape
    assert abs(images.mean().item()) < 1e-4
    assert images.std().item() == pytest.approx(1, abs=1e-4)


def test_a_constant_channel_is_centred_and_not_divided(tmp_path: Path) -> None:
    images = numbered(30, channels=3)
    images[..., 1] = 33
    splits = load_splits(save_npz(tmp_path / "d.npz", x=images, y=cycle(30)), seed=0)
    assert splits.std[1] == 1
    normalised = splits.normalise(splits.train.images)
    assert normalised[:, 1].abs().max() < 1e-6
    assert normalised[:, 0].std() > 0.9
    by_hand = replace(splits, std=(splits.std[0], 0.0, splits.std[2]))
    assert torch.equal(by_hand.normalise(splits.train.images), normalised)


def test_only_uint8_images_are_normalised(embedded: DataSplits) -> None:
    for images in (torch.rand(2, 1, 28, 28), torch.zeros(2, 3, 28, 28, dtype=torch.uint8)):
        with pytest.raises(DataError, match=re.escape(str(list(images.shape)))):
            embedded.normalise(images)


def test_subset_keeps_images_with_their_labels() -> None:
    chosen = some_images(10).subset(torch.tensor([7, 2]))
    assert (numbers(chosen), chosen.labels.tolist(), len(chosen)) == ([7, 2], [1, 2], 2)


@pytest.mark.parametrize(
    ("images", "labels", "part"),
    [
        (torch.zeros(2, 1, 4, 4), torch.zeros(2, dtype=torch.int64), "torch.float32"),
        (torch.zeros(2, 4, 4, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64), "[2, 4, 4]"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8).mT[:, :, 1:], torch.zeros(2, dtype=torch.int64), "contiguous"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64), "2 images"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(2), "torch.float32"),
    ],
)
def test_image_sets_check_their_tensors(images: torch.Tensor, labels: torch.Tensor, part: str) -> None:
    with pytest.raises(DataError, match=re.escape(part)):
        ImageSet(images, labels)
