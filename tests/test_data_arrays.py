"""Data sets in arrays: the embedded set, `.npz` archives, and the idx files of the MNIST family."""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from anybudget import data as data_package
from anybudget.data import (
    DataSplits,
    load_splits,
)
from data_sets import (
    cycle,
    fails,
    idx_folder,
    numbered,
    numbers,
    save_idx,
    save_npz,
    splits_of,
)


def test_the_embedded_set_has_its_ten_names_and_its_own_test_part(embedded: DataSplits) -> None:
    assert [len(part) for part in splits_of(embedded)] == [10_200, 1_800, 2_000]
    assert embedded.input_shape == (1, 28, 28)
    assert embedded.classes == 10
    assert embedded.class_names[0] == "T-shirt/top"
    assert embedded.class_names[9] == "Ankle boot"
    stored = np.load(
        Path(data_package.__file__).parents[1] / "datasets" / "fashion_mnist_12k2k.npz", allow_pickle=False
    )
    assert np.array_equal(embedded.test().images[:, 0], stored["xt"])
    assert np.array_equal(embedded.test().labels, stored["yt"])


def test_the_licence_of_the_embedded_set_is_next_to_it() -> None:
    text = (Path(data_package.__file__).parents[1] / "datasets" / "LICENSE-fashion-mnist.txt").read_text("utf-8")
    assert "Copyright (c) 2017 Zalando SE, https://tech.zalando.com" in text
    assert "12,000" in text


@pytest.mark.parametrize("names", [("x", "y", "xt", "yt"), ("x_train", "y_train", "x_test", "y_test")])
def test_npz_keeps_images_with_their_labels(tmp_path: Path, names: tuple[str, ...]) -> None:
    arrays = (numbered(30), cycle(30), numbered(6, first=500), cycle(6))
    loaded = load_splits(save_npz(tmp_path / "d.npz", **dict(zip(names, arrays, strict=True))), seed=0)
    for part in (loaded.train, loaded.validation):
        assert part.labels.tolist() == [number % 3 for number in numbers(part)]
        assert np.array_equal(part.images[:, 0], arrays[0][numbers(part)])
    assert np.array_equal(loaded.test().images[:, 0], arrays[2])
    assert loaded.class_names == ("0", "1", "2")


@pytest.mark.parametrize("layout", ["last", "first"])
def test_npz_accepts_channels_last_and_first(tmp_path: Path, layout: str) -> None:
    images = numbered(12, channels=3)
    stored = images if layout == "last" else images.transpose(0, 3, 1, 2)
    loaded = load_splits(save_npz(tmp_path / "d.npz", x=stored, y=cycle(12)[:, None], xt=stored, yt=cycle(12)), seed=0)
    assert loaded.input_shape == (3, 4, 4)
    assert np.array_equal(loaded.test().images, images.transpose(0, 3, 1, 2))


def test_arrays_are_scaled_by_their_shorter_side_and_cut_to_the_centre(tmp_path: Path) -> None:
    images = np.tile(np.array([0, 0, 100, 100, 206, 206, 0, 0], np.uint8), (12, 4, 1))
    path = save_npz(tmp_path / "d.npz", x=images, y=cycle(12))
    assert load_splits(path, seed=0).input_shape == (1, 4, 8)
    small = load_splits(path, seed=0, image_size=2)
    assert small.input_shape == (1, 2, 2)
    # Half the size: a triangle filter with the weights 1/8, 3/8, 3/8 and 1/8, here 100.75 and 167.
    assert small.train.images[0, 0].tolist() == [[101, 167], [101, 167]]


def test_an_equal_image_size_changes_no_pixel(tmp_path: Path) -> None:
    path = save_npz(tmp_path / "d.npz", x=numbered(30), y=cycle(30))
    plain, sized = load_splits(path, seed=0), load_splits(path, seed=0, image_size=4)
    assert torch.equal(plain.train.images, sized.train.images)


def test_resizing_antialiases(tmp_path: Path) -> None:
    stripes = np.zeros((12, 32, 32), np.uint8)
    stripes[:, :, ::2] = 255
    loaded = load_splits(save_npz(tmp_path / "d.npz", x=stripes, y=cycle(12)), seed=0, image_size=4)
    assert (loaded.train.images.float() - 127.5).abs().max() < 10


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files(tmp_path: Path, suffix: str) -> None:
    loaded = load_splits(str(idx_folder(tmp_path / "idx", suffix)), seed=0)
    assert sorted(numbers(loaded.train) + numbers(loaded.validation)) == list(range(30))
    assert loaded.train.labels.tolist() == [number % 3 for number in numbers(loaded.train)]
    assert numbers(loaded.test()) == list(range(500, 506))


def test_idx_without_a_test_pair_is_split_in_three(tmp_path: Path) -> None:
    loaded = load_splits(str(idx_folder(tmp_path / "idx", test=False)), seed=0)
    assert sorted(number for part in splits_of(loaded) for number in numbers(part)) == list(range(30))


@pytest.mark.parametrize(
    ("arrays", "parts"),
    [
        ({"y": cycle(9)}, ["d.npz", "'y'", "name the arrays x and y"]),
        ({"x": numbered(9), "y": cycle(9), "xt": numbered(9)}, ["'yt'", "missing"]),
        ({"x": np.array([{}] * 9, dtype=object), "y": cycle(9)}, ["'x'", "allow_pickle=False", "np.savez"]),
        ({"x": numbered(9), "y": np.array([[1]] * 9, dtype=object)}, ["'y'", "allow_pickle=False"]),
        ({"x": numbered(9).astype(np.complex64), "y": cycle(9)}, [": x", "complex64", "uint8"]),
        ({"x": numbered(9), "y": cycle(8)}, [": y", "[8]", "9 images"]),
        ({"x": numbered(9), "y": cycle(9) - 1}, [": y", "label -1 at index 0", "from 0"]),
        ({"x": numbered(9), "y": cycle(9).astype(np.float32)}, [": y", "float32", "integers"]),
        ({"x": numbered(9), "y": cycle(9) > 0}, [": y", "bool", "integers"]),
        ({"x": numbered(9), "y": np.full(9, 2**64 - 1, np.uint64)}, [": y", str(2**64 - 1)]),
        ({"x": numbered(9), "y": np.eye(9, dtype=int)}, [": y", "[9, 9]", "one label for each image"]),
        ({"x": numbered(9), "y": cycle(9) * 2}, [": y", "no image of class 1", "from 0 to 4", "return_inverse"]),
        ({"x": numbered(9), "y": cycle(9) + 10**12}, [": y", "no image of class 0"]),
        ({"x": numbered(9), "y": cycle(9), "xt": numbered(9), "yt": cycle(9, 2)}, [": yt", "no image of class 2"]),
        ({"x": numbered(9), "y": cycle(9), "xt": numbered(9), "yt": cycle(9, 4)}, [": yt", "class 3", "end at 2"]),
        ({"x": numbered(9), "y": cycle(9), "xt": numbered(9, 5, 5), "yt": cycle(9)}, [": xt", "1×5×5", "image size"]),
        ({"x": numbered(9)[0], "y": cycle(9)}, [": x", "[4, 4]", "[N, H, W]"]),
        ({"x": numbered(9)[:0], "y": cycle(0)}, [": x", "[0, 4, 4]", "at least one image"]),
        ({"x": numbered(9, 4, 4, 2), "y": cycle(9)}, [": x", "neither", "[9, 4, 4, 2]"]),
        ({"x": numbered(9, 3, 4, 3), "y": cycle(9)}, [": x", "both", "[9, 3, 4, 3]"]),
        ({"x": numbered(9), "y": cycle(9, 1)}, ["only one class", "'0'"]),
        ({"x": numbered(7), "y": cycle(7)}, ["class '1'", "2 training image(s) but needs 3", "test, validation"]),
    ],
    ids=lambda value: None if isinstance(value, dict) else " ".join(value[:2]),
)
def test_arrays_that_cannot_be_used(tmp_path: Path, arrays: dict[str, np.ndarray], parts: list[str]) -> None:
    fails(save_npz(tmp_path / "d.npz", **arrays), *parts)


def test_a_test_part_with_another_size_is_fine_when_scaled(tmp_path: Path) -> None:
    path = save_npz(tmp_path / "d.npz", x=numbered(9), y=cycle(9), xt=numbered(9, 5, 5), yt=cycle(9))
    assert load_splits(path, seed=0, image_size=4).test().images.shape == (9, 1, 4, 4)


def test_a_pickle_named_npz_is_never_loaded(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, (str(tmp_path / "sprung"),))

    path = tmp_path / "d.npz"
    path.write_bytes(pickle.dumps(Trap()))
    fails(path, "d.npz", "not an .npz archive")
    np.savez(path, x=np.array([Trap()] * 9, dtype=object), y=cycle(9))
    fails(path, "'x'", "allow_pickle=False")
    assert not (tmp_path / "sprung").exists()


def test_damaged_npz(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    np.savez_compressed(path, x=numbered(30), y=cycle(30))
    content = path.read_bytes()
    path.write_bytes(content[:-40])
    fails(path, "d.npz", "truncated")
    path.write_bytes(content[:120] + bytes(40) + content[160:])
    fails(path, "d.npz", "'x'", "cannot be read")
    np.save(tmp_path / "e.npy", numbered(30))
    (tmp_path / "e.npy").rename(tmp_path / "e.npz")
    fails(tmp_path / "e.npz", "e.npz", "not an .npz archive", "np.savez")


def test_damaged_idx(tmp_path: Path) -> None:
    root = idx_folder(tmp_path / "idx")
    images, labels = root / "train-images-idx3-ubyte", root / "train-labels-idx1-ubyte"
    save_idx(images, numbered(30), magic=bytes((0, 0, 13, 3)))
    fails(root, images.name, "00 00 0d 03", "00 00 08 03")
    save_idx(images, numbered(30), cut=9)
    fails(root, images.name, "cut off")
    save_idx(images, numbered(30), cut=-1)
    fails(root, images.name, "480 values", "only 479")
    images.write_bytes(bytes((0, 0, 8, 3)) + struct.pack(">3I", 30, 4, 4) + bytes(481))
    fails(root, images.name, "480 values", "more")
    save_idx(images, numbered(30))
    save_idx(labels, cycle(29))
    fails(root, labels.name, "[29]", "30 images")
    labels.unlink()
    fails(root, str(root), f"{labels.name} (or {labels.name}.gz) is missing")


def test_an_idx_test_pair_must_be_whole(tmp_path: Path) -> None:
    root = idx_folder(tmp_path / "idx")
    (root / "t10k-images-idx3-ubyte").unlink()
    fails(root, "t10k-images-idx3-ubyte", "missing")


def test_damaged_gzip(tmp_path: Path) -> None:
    root = idx_folder(tmp_path / "idx", ".gz")
    path = root / "train-images-idx3-ubyte.gz"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    fails(root, path.name, "cannot be read")
    path.write_bytes(content[:10] + b"\x07" + content[11:])  # deflate has no block of type 3
    fails(root, path.name, "cannot be read")
    path.write_bytes(b"no gzip at all")
    fails(root, path.name, "cannot be read")
