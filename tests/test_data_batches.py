"""Training batches: orders and augmentation as functions of seed, epoch and image."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from anybudget.data import Augmentation, DataSplits, ImageAugmentation, ImageSet, Preparation, Split, TrainingBatches
from anybudget.data.random import Keys, Use, drawing, epoch_order, image_keys, uniform
from anybudget.errors import DataError
from data_sets import some_images


def keys(count: int, seed: int = 0) -> Keys:
    return image_keys(seed, 1, np.arange(count), Use.AUGMENTATION)


@given(
    padding=st.integers(0, 6),
    flip=st.booleans(),
    shape=st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)),
    seed=st.integers(0, 2**32),
)
def test_every_augmented_image_is_a_shifted_and_perhaps_mirrored_original(
    padding: int, flip: bool, shape: tuple[int, ...], seed: int
) -> None:
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    augmented = Augmentation(padding, flip)(images, keys(len(images), seed))
    assert (augmented.shape, augmented.dtype) == (images.shape, torch.uint8)
    assert torch.equal(augmented, Augmentation(padding, flip)(images, keys(len(images), seed)))
    height, width = shape[2:]
    for original, result in zip(images, augmented, strict=True):
        padded = torch.zeros(shape[1], height + 2 * padding, width + 2 * padding, dtype=torch.uint8)
        padded[:, padding : padding + height, padding : padding + width] = original
        crops = [
            padded[:, top : top + height, left : left + width]
            for top in range(2 * padding + 1)
            for left in range(2 * padding + 1)
        ]
        possible = crops + [crop.flip(-1) for crop in crops if flip]
        assert any(torch.equal(result, crop) for crop in possible)


def test_augmentation_draws_for_each_image_on_its_own() -> None:
    images = some_images(1).images.expand(400, -1, -1, -1)
    padded = Augmentation(crop_padding=2, flip=True)(images, keys(len(images)))
    assert len(padded.flatten(1).unique(dim=0)) == 50  # 5 × 5 places, mirrored or not
    flipped = Augmentation(crop_padding=0, flip=True)(images, keys(len(images)))
    same = (flipped == images).flatten(1).all(1)
    assert 150 < same.sum() < 250
    assert torch.equal(flipped[~same], images.flip(-1)[~same])


def test_augmentation_without_padding_and_flip_is_the_identity() -> None:
    images = some_images(10).images
    assert torch.equal(Augmentation(crop_padding=0, flip=False)(images, keys(10)), images)


def test_other_keys_augment_otherwise() -> None:
    images = some_images(10).images
    one, two = (Augmentation()(images, keys(10, seed)) for seed in (0, 1))
    assert not torch.equal(one, two)


def test_negative_padding_is_refused() -> None:
    with pytest.raises(DataError, match="crop padding -1"):
        Augmentation(crop_padding=-1)


def source(images: Split) -> DataSplits:
    """A source whose normalised values are the pixels themselves."""
    empty = images.subset(torch.arange(0))
    scale = 3 * (1 / 255,)
    shape = some_images(1).images.shape[1:]
    return DataSplits(images, images, ("0", "1", "2"), 3 * (0.0,), scale, empty, Preparation(*shape, "none"))


def epoch(
    data: Split, batch_size: int, seed: int = 0, augment: Augmentation | None = None, number: int = 1, **options: Any
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    batches = TrainingBatches(source(data), data, batch_size, seed, augment)
    return list(batches.epoch(number, torch.device("cpu"), **options))


def seen(batches: list[tuple[torch.Tensor, torch.Tensor]]) -> list[int]:
    return [round(float(number)) for images, _ in batches for number in images[:, 0, 0, 0]]


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"),
    [(12, 4, [4, 4, 4]), (12, 12, [12]), (13, 4, [4, 4, 4]), (3, 4, [3]), (5, 1, [1] * 5), (7, 5, [5])],
)
def test_an_epoch_holds_each_image_at_most_once(count: int, batch_size: int, sizes: list[int]) -> None:
    batches = epoch(some_images(count), batch_size)
    assert [len(images) for images, _ in batches] == sizes
    assert [len(labels) for _, labels in batches] == sizes
    assert len(set(seen(batches))) == sum(sizes)
    assert set(seen(batches)) <= set(range(count))


def test_batches_pair_images_with_labels_and_are_normalised() -> None:
    for images, labels in epoch(some_images(12), 4):
        assert images.dtype == torch.float32
        assert labels.dtype == torch.int64
        assert labels.tolist() == [number % 3 for number in images[:, 0, 0, 0].round().int().tolist()]


def test_epochs_are_shuffled_by_seed_and_epoch_alone() -> None:
    data = some_images(40)
    first = seen(epoch(data, 4))
    assert first != sorted(first)
    torch.manual_seed(99)
    assert seen(epoch(data, 4)) == first
    assert seen(epoch(data, 8)) == first
    for others in (epoch(data, 4, seed=1), epoch(data, 4, number=2)):
        assert seen(others) != first
        assert sorted(seen(others)) == sorted(first)


@given(
    count=st.integers(1, 30),
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    seed=st.integers(0, 2**63),
    number=st.integers(1, 1000),
    processes=st.integers(1, 4),
)
@settings(max_examples=40)
def test_an_image_is_augmented_alike_whatever_the_batch_and_the_processes(
    count: int, sizes: tuple[int, int], seed: int, number: int, processes: int
) -> None:
    """The images are numbered, and the number of each is in its label, so that they can be found again."""
    images = some_images(count)
    data = ImageSet(images.images, torch.arange(count))
    found: dict[int, torch.Tensor] = {}
    for batch_size in sizes:
        for rank in range(processes):
            share = lambda batch, rank=rank: batch[rank::processes]  # noqa: E731
            for augmented, labels in epoch(data, batch_size, seed, Augmentation(2), number, share=share):
                for image, label in zip(augmented, labels.tolist(), strict=True):
                    assert torch.equal(found.setdefault(label, image), image)
    key = image_keys(seed, number, np.arange(count), Use.AUGMENTATION)
    for label, image in found.items():
        alone = Augmentation(2)(images.images[label : label + 1], key[label : label + 1])
        assert torch.equal(source(data).normalise(alone)[0], image)


def test_images_and_epochs_are_augmented_each_in_its_own_way() -> None:
    """Of 40 equal images, with 50 ways each: some differ in an epoch, and nearly all differ from epoch to epoch."""
    data = ImageSet(some_images(1).images.expand(40, -1, -1, -1).contiguous(), torch.arange(40))
    ways = []
    for number in (1, 2):
        ((images, labels),) = epoch(data, 40, augment=Augmentation(), number=number)
        ways.append(images[labels.argsort()])
        assert len(torch.unique(images.flatten(1), dim=0)) > 15
    assert (ways[0] != ways[1]).flatten(1).any(1).sum() > 30


@given(count=st.integers(1, 40), batch_size=st.integers(1, 9), start=st.integers(0, 40), seed=st.integers(0, 100))
@settings(max_examples=40)
def test_an_epoch_is_resumed_at_any_batch(count: int, batch_size: int, start: int, seed: int) -> None:
    data = some_images(count)
    whole = epoch(data, batch_size, seed, Augmentation())
    rest = epoch(data, batch_size, seed, Augmentation(), start=start)
    assert len(rest) == max(0, len(whole) - start)
    for (images, labels), (same, answers) in zip(rest, whole[start:], strict=True):
        assert torch.equal(images, same)
        assert torch.equal(labels, answers)


@pytest.mark.parametrize("shared", [1, 3])
def test_a_process_reads_its_share_alone(shared: int) -> None:
    class Counting(ImageSet):
        read_so_far = 0

        def read(self, indices: torch.Tensor) -> torch.Tensor:
            type(self).read_so_far += len(indices)
            return super().read(indices)

    images = some_images(36)
    list(epoch(Counting(images.images, images.labels), 12, share=lambda batch: batch[::shared]))
    assert Counting.read_so_far == 36 // shared


def test_random_numbers_are_uniform_and_stay_the_same() -> None:
    """SplitMix64 started with 0, as Vigna's reference program prints it; numbers of different images are unrelated."""
    first = uniform(np.zeros(1, np.uint64), 3) * 2.0**53
    reference = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert first[0].astype(np.uint64).tolist() == [number >> 11 for number in reference]
    draws = uniform(image_keys(0, 1, np.arange(20_000), Use.AUGMENTATION), 2)
    counts = np.histogram2d(*draws.T, bins=10, range=[[0, 1], [0, 1]])[0]
    assert abs(counts / 200 - 1).max() < 0.3  # of 100 cells with 200 each, about four standard deviations
    assert abs(np.corrcoef(draws[:-1, 0], draws[1:, 0])[0, 1]) < 0.03
    assert np.array_equal(np.sort(epoch_order(500, 3, 7)), np.arange(500))


def test_batches_are_augmented_anew_and_the_data_set_is_not_changed() -> None:
    data = some_images(8)
    kept = data.images.clone()
    augmented = epoch(data, 8, augment=Augmentation())
    assert not torch.equal(augmented[0][0], epoch(data, 8)[0][0])
    assert torch.equal(augmented[0][0], epoch(data, 8, augment=Augmentation())[0][0])
    assert torch.equal(data.images, kept)


def test_batches_need_a_size_and_images() -> None:
    with pytest.raises(DataError, match="batch size 0"):
        epoch(some_images(8), 0)
    with pytest.raises(DataError, match="0 images"):
        epoch(some_images(8).subset(torch.tensor([], dtype=torch.int64)), 4)


@dataclass(frozen=True)
class Drawn(ImageAugmentation):
    """Replaces all but the number of an image by what libraries would draw, from every global generator."""

    def __call__(self, image: Image.Image, key: int) -> Image.Image:
        with drawing(key):
            drawn = random.random(), np.random.random(), float(torch.rand(()))
        image.paste(tuple(int(256 * value) for value in drawn), (1, 0, image.width, image.height))
        return image


@given(count=st.integers(1, 20), sizes=st.tuples(st.integers(1, 9), st.integers(1, 9)), processes=st.integers(1, 3))
@settings(max_examples=20)
def test_single_images_are_augmented_alike_whatever_the_batch_and_the_processes(
    count: int, sizes: tuple[int, int], processes: int
) -> None:
    data = ImageSet(some_images(count).images, torch.arange(count))
    found: dict[int, torch.Tensor] = {}
    for batch_size in sizes:
        batches = TrainingBatches(source(data), data, batch_size, 5, Augmentation(1), by_image=Drawn())
        for rank in range(processes):
            share = lambda batch, rank=rank: batch[rank::processes]  # noqa: E731
            for augmented, labels in batches.epoch(2, torch.device("cpu"), share=share):
                for image, label in zip(augmented, labels.tolist(), strict=True):
                    assert torch.equal(found.setdefault(label, image), image)
    assert count < 3 or len(torch.stack(list(found.values()))[:, :, 2, 2].unique(dim=0)) > 1


def test_libraries_draw_from_a_key_and_leave_the_global_generators_as_they_were() -> None:
    def draws() -> tuple[float, float, float]:
        return random.random(), float(np.random.random()), float(torch.rand(()))

    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = draws()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    within = []
    for key in (2**64 - 1, 7, 2**64 - 1):
        with drawing(key):
            within.append(draws())
    assert within[0] == within[2]
    assert all(one != other for one, other in zip(within[0], within[1], strict=True))
    assert draws() == expected


def test_an_augmentation_of_another_size_is_named() -> None:
    @dataclass(frozen=True)
    class Halved(ImageAugmentation):
        def __call__(self, image: Image.Image, key: int) -> Image.Image:
            del key
            return image.resize((image.width // 2, image.height))

    data = some_images(4)
    batches = TrainingBatches(source(data), data, 4, 0, by_image=Halved())
    with pytest.raises(DataError, match=r"Halved.*\[3, 4, 2\].*\[3, 4, 5\]"):
        list(batches.epoch(1, torch.device("cpu")))
