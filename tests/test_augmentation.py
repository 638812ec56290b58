"""Augmentation for training: what it does to images and labels, and that seed, epoch and index alone decide it."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional as F

from anybudget.data import DataSplits, TrainingBatches
from anybudget.data.image_transforms import (
    RATIO,
    CroppedTransforms,
    ImageTransforms,
    check_policy,
    crop_box,
    image_augmentation,
)
from anybudget.data.mixing import BatchDraw, Mixing, RandomErasing, with_partners
from anybudget.data.random import Use, image_keys
from anybudget.errors import ConfigError
from anybudget.nets import build_network
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from anybudget.training.loss import TrainingLoss
from anybudget.training.retrain import train_network
from anybudget.training.settings import Schedule
from anybudget.training.sgd import step_result, training_batches
from test_samplers import SPACE

CPU = torch.device("cpu")
ALL = ("crop_scale=0.3", "flip=true", "colour_jitter=0.4", "random_erasing=0.5", "mixup=0.4", "cutmix=1.0")
COMMON = {"epochs": 1, "batch_size": 12, "learning_rate": 0.1}
CHANGES = {"crop_scale": 0.3, "colour_jitter": 0.4, "random_erasing": 0.5, "mixup": 0.4, "cutmix": 1.0, "flip": True}
POLICIES = ["rand-m9-mstd0.5-inc1", "rand-m10-inc1-n8", "original", "v0", "3a", "augmix-m3"]


def photograph(side: int = 24, mode: str = "RGB") -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    return Image.fromarray(values).convert(mode)


@given(
    width=st.integers(1, 60),
    height=st.integers(1, 60),
    scale=st.floats(0.05, 1.0),
    seed=st.integers(0, 10**6),
)
def test_a_crop_lies_in_the_image_and_keeps_its_share(width: int, height: int, scale: float, seed: int) -> None:
    left, top, right, bottom = crop_box(width, height, scale, np.random.default_rng(seed))
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    if min(width, height) >= 20 and RATIO[0] <= width / height <= RATIO[1]:
        assert (right - left) * (bottom - top) >= 0.85 * scale * width * height  # less what rounding takes


def test_crops_differ_in_place_size_and_ratio() -> None:
    boxes = [crop_box(100, 100, 0.1, np.random.default_rng(seed)) for seed in range(300)]
    areas = [(right - left) * (bottom - top) / 1e4 for left, top, right, bottom in boxes]
    assert min(areas) < 0.15
    assert max(areas) > 0.9
    assert len({box[:2] for box in boxes}) > 200
    assert np.mean(areas) == pytest.approx(0.55, abs=0.06)  # uniform from 0.1 to 1, less what does not fit


def test_a_crop_of_everything_is_the_scaled_image() -> None:
    image = photograph(24)
    cropped = CroppedTransforms(height=8, width=8, scale=1.0)
    key = next(key for key in range(1000) if crop_box(24, 24, 1.0, np.random.default_rng(key)) == (0, 0, 24, 24))
    expected = image.resize((8, 8), Image.Resampling.BILINEAR)
    assert np.array_equal(np.asarray(cropped(image, key)), np.asarray(expected))
    assert CroppedTransforms(height=8, width=6, scale=0.25).needed_side == 16


def test_colours_change_by_at_most_the_share() -> None:
    grey = Image.fromarray(np.full((4, 4, 3), 100, np.uint8))
    found = {int(np.asarray(ImageTransforms(colour_jitter=0.3)(grey, key))[0, 0, 0]) for key in range(200)}
    assert min(found) >= 69
    assert max(found) <= 131
    assert len(found) > 30
    assert {np.asarray(ImageTransforms()(grey, 3))[0, 0, 0]} == {100}


@pytest.mark.timm
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_is_a_function_of_the_key(policy: str, mode: str) -> None:
    transforms = ImageTransforms(policy=policy)
    first = [np.asarray(transforms(photograph(mode=mode), key)) for key in range(30)]
    again = [np.asarray(transforms(photograph(mode=mode), key)) for key in reversed(range(30))]
    assert all(np.array_equal(a, b) for a, b in zip(first, reversed(again), strict=True))
    assert sum(not np.array_equal(a, np.asarray(photograph(mode=mode))) for a in first) > 15
    assert len({a.tobytes() for a in first}) > 10


@pytest.mark.timm
def test_a_policy_that_timm_does_not_know_is_named() -> None:
    with pytest.raises(ConfigError, match=r"retrain\.auto_augment: timm has no policy 'orignal'"):
        check_policy("orignal", "retrain.auto_augment")


def test_without_timm_a_policy_is_refused_before_any_work(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.delitem(sys.modules, "timm.data.auto_augment", raising=False)
    run = Run.create(load_recipe(recipe_file, ["supernet.auto_augment=v0"]), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"supernet\.auto_augment = 'v0' needs timm, .*'anybudget\[train\]'"):
        run.run_all(lambda _line: None)


def test_a_rectangle_is_erased_of_a_share_of_the_images() -> None:
    images = torch.ones(400, 2, 20, 20)
    erased = RandomErasing(0.25)(images.clone(), image_keys(1, 1, np.arange(400), Use.ERASING))
    gone = erased == 0
    assert torch.equal(gone[:, 0], gone[:, 1])
    counts = gone[:, 0].sum((1, 2))
    assert 70 <= int((counts > 0).sum()) <= 130
    for mask in gone[counts > 0, 0]:
        rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
        assert mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()
        assert 0.01 <= mask.float().mean() <= 0.36


def test_mixed_images_and_labels_are_weighted_alike() -> None:
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.rand(6, 1, 4, 4, generator=generator), torch.tensor([0, 1, 2, 0, 1, 2])
    mixing, places = Mixing(mixup=1.0, cutmix=0.0, classes=3), torch.arange(6)
    read, partners = with_partners(places, mixing.partners(places, 6))
    assert torch.equal(read, places)
    assert partners.tolist() == [3, 4, 5, 0, 1, 2]
    for number in range(20):
        mixed, shares = mixing.mixed(images, labels, partners, BatchDraw(0, 1, number))
        kept = BatchDraw(0, 1, number).rng().beta(1.0, 1.0)
        torch.testing.assert_close(mixed, kept * images + (1 - kept) * images[partners])
        expected = kept * F.one_hot(labels, 3) + (1 - kept) * F.one_hot(labels[partners], 3)
        torch.testing.assert_close(shares, expected.float())


def test_what_is_pasted_is_a_rectangle_and_the_labels_say_how_large() -> None:
    images, labels = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 10, 10), torch.arange(4)
    mixing = Mixing(mixup=0.0, cutmix=1.0, classes=4)
    shares_seen = set()
    for number in range(30):
        mixed, shares = mixing.mixed(images, labels, torch.tensor([2, 3, 0, 1]), BatchDraw(0, 1, number))
        pasted = mixed[0, 0] == 2
        assert shares[0, 2] == pytest.approx(float(pasted.float().mean()), abs=1e-6)
        assert (mixed[0, 0][~pasted] == 0).all()
        if pasted.any():
            rows, columns = pasted.any(1).nonzero(), pasted.any(0).nonzero()
            assert pasted[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()
        shares_seen.add(round(float(shares[0, 2]), 3))
    assert len(shares_seen) > 10
    both = Mixing(mixup=1.0, cutmix=1.0, classes=4)
    kinds = [
        bool((both.mixed(images, labels, torch.tensor([2, 3, 0, 1]), BatchDraw(0, 1, n))[0][0] % 1).any())
        for n in range(60)
    ]
    assert 15 < sum(kinds) < 45


def batches_of(data: DataSplits, **changes: object) -> TrainingBatches:
    return training_batches(data, Schedule(**{**COMMON, **CHANGES, **changes}), seed=5)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [12, 10, 9])
@pytest.mark.parametrize("count", [2, 3])
def test_several_processes_see_the_images_of_one(size: int, count: int, data: DataSplits) -> None:
    if size % count:
        pytest.skip("such a batch is refused")
    whole = list(batches_of(data, batch_size=size).epoch(3, CPU))
    for rank in range(count):
        parts = batches_of(data, batch_size=size).epoch(3, CPU, share=lambda batch, rank=rank: batch[rank::count])
        for (images, labels), (own, answers) in zip(whole, parts, strict=True):
            assert torch.equal(images[rank::count], own)
            assert torch.equal(labels[rank::count], answers)


def test_a_batch_is_the_same_wherever_an_epoch_goes_on(data: DataSplits) -> None:
    whole = list(batches_of(data).epoch(2, CPU))
    rest = list(batches_of(data).epoch(2, CPU, start=2))
    assert len(rest) == len(whole) - 2
    for first, second in zip(whole[2:], rest, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(whole[0][0], next(batches_of(data).epoch(3, CPU))[0])


def test_nothing_that_is_off_is_done(data: DataSplits) -> None:
    schedule = Schedule(**COMMON)
    assert image_augmentation(schedule, data) is None
    batches = training_batches(data, schedule, 0)
    assert (batches.augmentation, batches.by_image, batches.erasing, batches.mixing) == (None, None, None, None)


def test_the_loss_of_mixed_labels_is_that_of_both_answers() -> None:
    generator = torch.Generator().manual_seed(1)
    logits, first, second = torch.randn(5, 3, generator=generator), torch.tensor([0, 1, 2, 0, 1]), torch.tensor([2] * 5)
    shares = 0.7 * F.one_hot(first, 3).float() + 0.3 * F.one_hot(second, 3).float()
    weights = torch.tensor([1.0, 2.0, 0.5])
    for loss in (TrainingLoss(), TrainingLoss(0.1)):
        expected = 0.7 * loss(logits, first) + 0.3 * loss(logits, second)
        torch.testing.assert_close(loss(logits, shares), expected)
    weighted = TrainingLoss(0.0, weights)
    for label in range(3):
        plain = torch.full((5,), label)
        torch.testing.assert_close(weighted(logits, F.one_hot(plain, 3).float()), weighted(logits, plain))
    assert step_result(torch.zeros(()), logits, shares) == step_result(torch.zeros(()), logits, first)


def test_all_of_it_is_trained_on(data: DataSplits) -> None:
    torch.manual_seed(0)
    network = build_network(SPACE.block_specs(SPACE.sample(np.random.default_rng(0))))
    train_network(network, data, Schedule(**{**COMMON, **CHANGES, "class_balance": 1.0, "label_smoothing": 0.1}))
    assert all(parameter.isfinite().all() for parameter in network.parameters())
