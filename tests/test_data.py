"""Data sources, splits, normalisation, augmentation and batches, on images small enough to check by hand."""

from __future__ import annotations

import errno
import gzip
import os
import pickle
import re
import shutil
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from anybudget import data as data_package
from anybudget.data import Augmentation, DataSplits, FolderSettings, ImageSet, iterate_batches, load_splits, sources
from anybudget.errors import DataError
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from anybudget.runtime.progress import SilentProgress
from anybudget.storage.run_folder import RunFolder

GREY, COLOUR = (6, 5), (6, 5, 3)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def numbered(count: int, height: int = 4, width: int = 4, channels: int | None = None, first: int = 0) -> np.ndarray:
    """Images that carry their own number in the first two pixels, so that they can be told apart after a split."""
    shape = (count, height, width) if channels is None else (count, height, width, channels)
    images = np.random.default_rng(count).integers(0, 256, shape, dtype=np.uint8)
    numbers = np.arange(first, first + count)
    tail = () if channels is None else (np.newaxis,)
    images[:, 0, 0] = (numbers % 256)[(..., *tail)]
    images[:, 0, 1] = (numbers // 256)[(..., *tail)]
    return images


def numbers(images: ImageSet) -> list[int]:
    return (images.images[:, 0, 0, 0].int() + 256 * images.images[:, 0, 0, 1].int()).tolist()


def cycle(count: int, classes: int = 3) -> np.ndarray:
    return np.arange(count) % classes


def save_npz(path: Path, **arrays: Any) -> str:
    np.savez(path, **arrays)
    return str(path)


def save_image(path: Path, shape: tuple[int, ...] = COLOUR, value: int | None = None, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = len(str(path)) + sum(path.name.encode())
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    if value is not None:
        pixels[:] = value
    Image.fromarray(pixels).save(path, **options)
    return path


def class_folders(root: Path, names: tuple[str, ...] = ("cat", "dog"), count: int = 4, suffix: str = "png") -> Path:
    for offset, name in enumerate(names):
        for index in range(count):
            save_image(root / name / f"{index}.{suffix}", value=100 * offset + index)
    return root


def save_idx(path: Path, array: np.ndarray, magic: bytes | None = None, cut: int | None = None) -> None:
    header = magic if magic is not None else bytes((0, 0, 8, array.ndim))
    content = (header + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes())[:cut]
    if path.suffix == ".gz":
        content = gzip.compress(content)
    path.write_bytes(content)


def idx_folder(root: Path, suffix: str = "", test: bool = True) -> Path:
    root.mkdir(exist_ok=True)
    save_idx(root / f"train-images-idx3-ubyte{suffix}", numbered(30))
    save_idx(root / f"train-labels-idx1-ubyte{suffix}", cycle(30))
    if test:
        save_idx(root / f"t10k-images-idx3-ubyte{suffix}", numbered(6, first=500))
        save_idx(root / f"t10k-labels-idx1-ubyte{suffix}", cycle(6))
    return root


def fails(source: Path | str, *parts: str, **options: Any) -> None:
    """`load_splits` must raise a one-line DataError that contains each part."""
    with pytest.raises(DataError) as caught:
        load_splits(str(source), **{"seed": 0, **options})
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def splits_of(loaded: DataSplits) -> tuple[ImageSet, ImageSet, ImageSet]:
    return loaded.train, loaded.validation, loaded.test()


# --- the embedded set -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def embedded() -> DataSplits:
    return load_splits("fashion-mnist-subset", seed=0)


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


# --- arrays -----------------------------------------------------------------------------------------------------------


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


# --- folders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["png", "jpg", "JPEG", "bmp", "webp", "tiff"])
def test_class_folders(tmp_path: Path, suffix: str) -> None:
    loaded = load_splits(str(class_folders(tmp_path, ("dog", "ant", "cat"), suffix=suffix)), seed=0)
    assert loaded.class_names == ("ant", "cat", "dog")
    assert loaded.input_shape == (3, 6, 5)
    assert [len(part) for part in splits_of(loaded)] == [6, 3, 3]
    for part in splits_of(loaded):
        brightness = part.images.float().mean((1, 2, 3))  # dog 0 to 3, ant 100 to 103, cat 200 to 203
        assert part.labels.tolist() == [{0: 2, 1: 0, 2: 1}[int(value + 10) // 100] for value in brightness]


def test_rows_columns_and_channels_keep_their_order(tmp_path: Path) -> None:
    root = class_folders(tmp_path)
    pixels = np.arange(90, dtype=np.uint8).reshape(COLOUR)
    for file in root.glob("dog/*"):
        Image.fromarray(pixels).save(file)
    train = load_splits(str(root), seed=0).train
    assert np.array_equal(train.images[train.labels == 1][0], pixels.transpose(2, 0, 1))


@pytest.mark.parametrize("validation", ["val", "valid"])
def test_shipped_parts_are_used(tmp_path: Path, validation: str) -> None:
    for part, value in (("train", 10), (validation, 20), ("test", 30)):
        for name in ("cat", "dog"):
            save_image(tmp_path / part / name / "0.png", value=value - (name == "dog"))
    (tmp_path / "notes").mkdir()
    loaded = load_splits(str(tmp_path), seed=0)
    assert [int(part.images.max()) for part in splits_of(loaded)] == [10, 20, 30]
    assert [len(part) for part in splits_of(loaded)] == [2, 2, 2]


@pytest.mark.parametrize(("shipped", "position"), [("test", 2), ("val", 1)])
def test_a_part_that_is_not_shipped_is_drawn_from_train(tmp_path: Path, shipped: str, position: int) -> None:
    class_folders(tmp_path / "train", count=5)
    class_folders(tmp_path / shipped, count=2)
    sizes = [8, 2, 2]
    sizes[position] = 4
    validation = FolderSettings(val="validation")
    loaded = load_splits(str(tmp_path), seed=0, folders=validation)
    assert [len(part) for part in splits_of(loaded)] == sizes
    for name in ("cat", "dog"):
        for file in sorted((tmp_path / "train" / name).iterdir())[1:]:
            file.unlink()
    drawn = "validation" if shipped == "test" else "test"
    fails(tmp_path, "'cat'", f"needs 2, one each for training, {drawn}:", folders=validation)


def test_classes_named_like_parts_stay_classes(tmp_path: Path) -> None:
    assert load_splits(str(class_folders(tmp_path, ("train", "test", "tram"))), seed=0).class_names[1] == "train"


def test_parts_must_have_the_same_classes(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", ("cat", "dog", "eel"))
    class_folders(tmp_path / "test", ("cat", "dog"))
    fails(tmp_path, str(tmp_path / "test"), "'eel'", "same classes")
    shutil.rmtree(tmp_path / "train" / "eel")
    class_folders(tmp_path / "test", ("fox",))
    fails(tmp_path, str(tmp_path / "train"), "'fox'")


def test_val_and_valid_together_are_ambiguous(tmp_path: Path) -> None:
    for part in ("train", "val", "valid"):
        class_folders(tmp_path / part)
    fails(tmp_path, "both val and valid")


def test_hidden_and_other_files_are_skipped(tmp_path: Path) -> None:
    root = class_folders(tmp_path)
    before = load_splits(str(root), seed=0)
    for name in (".DS_Store", "._0.png", "Thumbs.db", "labels.txt", "README", "drawing.eps"):
        (root / "cat" / name).write_bytes(b"not an image")
    (root / ".cache").mkdir()
    (root / "cat" / "more.png").mkdir()
    (root / "README.md").write_text("about")
    after = load_splits(str(root), seed=0)
    assert after.class_names == ("cat", "dog")
    for part, same in zip(splits_of(before), splits_of(after), strict=True):
        assert torch.equal(part.images, same.images)


def test_links_are_followed_and_cannot_loop(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "data", ("cat",))
    class_folders(tmp_path / "elsewhere", ("dog",))
    (root / "dog").symlink_to(tmp_path / "elsewhere" / "dog", target_is_directory=True)
    (root / "cat" / "up").symlink_to(root, target_is_directory=True)
    loaded = load_splits(str(root), seed=0)
    assert loaded.class_names == ("cat", "dog")
    assert sum(len(part) for part in splits_of(loaded)) == 8
    (root / "cat" / "self.png").symlink_to(root / "cat" / "self.png")
    fails(root, "self.png", "cannot be decoded")


@pytest.mark.parametrize(
    ("image", "pixel"),
    [
        (Image.new("1", (5, 6), 1), [255]),
        (Image.new("L", (5, 6), 77), [77]),
        (Image.new("LA", (5, 6), (77, 0)), [255]),
        (Image.fromarray(np.full(GREY, 0xABCD, np.uint16)), [255]),
        (Image.new("RGB", (5, 6), (10, 20, 30)), [10, 20, 30]),
        (Image.new("RGB", (5, 6), (10, 20, 30)).quantize(4), [10, 20, 30]),
        (Image.new("L", (5, 6), 77).convert("P"), [77, 77, 77]),
        (Image.new("RGBA", (5, 6), (10, 20, 30, 255)), [10, 20, 30]),
        (Image.new("RGBA", (5, 6), (10, 20, 30, 0)), [255, 255, 255]),
        (Image.new("RGBA", (5, 6), (0, 0, 0, 51)), [204, 204, 204]),
    ],
    ids=["1", "L", "LA clear", "I;16", "RGB", "P", "P grey", "RGBA", "RGBA clear", "RGBA fifth"],
)
def test_pixel_modes(tmp_path: Path, image: Image.Image, pixel: list[int]) -> None:
    bands = len(image.getbands())
    image.putpixel(
        (0, 0), (*([0] * (bands - 1)), 255) if image.mode.endswith("A") else (0,) * bands if bands > 1 else 0
    )
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for index in range(3):
            image.save(tmp_path / name / f"{index}.png")
    loaded = load_splits(str(tmp_path), seed=0)
    assert loaded.input_shape == (len(pixel), 6, 5)
    assert loaded.train.images[:, :, 3, 2].tolist() == [pixel, pixel]


def test_a_transparent_palette_colour_becomes_white(tmp_path: Path) -> None:
    image = Image.new("P", (5, 6), 1)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((0, 0), 0)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for index in range(3):
            image.save(tmp_path / name / f"{index}.gif", transparency=0)
    train = load_splits(str(tmp_path), seed=0).train
    assert train.images[0, :, 0, 0].tolist() == [255, 255, 255]
    assert train.images[0, :, 5, 4].tolist() == [40, 50, 60]


def test_exif_orientation_is_honoured(tmp_path: Path) -> None:
    root = class_folders(tmp_path)
    upright = np.zeros(COLOUR, np.uint8)
    upright[:3] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to view
    for file in root.glob("dog/*"):
        Image.fromarray(np.rot90(upright)).save(file, exif=exif)
    loaded = load_splits(str(root), seed=0)
    assert np.array_equal(loaded.train.images[loaded.train.labels == 1][0], upright.transpose(2, 0, 1))


def test_image_size_scales_the_shorter_side_and_cuts_the_centre(tmp_path: Path) -> None:
    root = class_folders(tmp_path)
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = 200  # the centre square
    for file in root.glob("dog/*"):
        Image.fromarray(wide).save(file)
    fails(root, "24×8 pixels", "5×6", ".png", "set the image size")
    loaded = load_splits(str(root), seed=0, image_size=4)
    assert loaded.input_shape == (3, 4, 4)
    # Half the size: a triangle filter with the weights 1/8, 3/8, 3/8 and 1/8, of which one falls on black at each side.
    assert loaded.train.images[loaded.train.labels == 1][0, 2].tolist() == [[175, 200, 200, 175]] * 4


def test_folder_images_are_scaled_with_antialiasing(tmp_path: Path) -> None:
    stripes = np.zeros((32, 32), np.uint8)
    stripes[:, ::2] = 255
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for index in range(3):
            Image.fromarray(stripes).save(tmp_path / name / f"{index}.png")
    train = load_splits(str(tmp_path), seed=0, image_size=4).train
    assert (train.images.float() - 127.5).abs().max() < 10


def test_grey_and_colour_do_not_mix(tmp_path: Path) -> None:
    root = class_folders(tmp_path)
    save_image(root / "dog" / "2.png", GREY)
    save_image(root / "dog" / "3.png", GREY)
    first, outlier = str(root / "cat" / "0.png"), str(root / "dog" / "2.png")
    fails(root, f"2 grey (such as {outlier}, mode L)", f"in colour (such as {first}, mode RGB)", "convert all")


def test_images_that_cannot_be_decoded_are_named(tmp_path: Path) -> None:
    root = class_folders(tmp_path)
    broken = root / "dog" / "3.png"
    content = save_image(broken, (40, 40, 3)).read_bytes()
    broken.write_bytes(content[: len(content) // 2])
    fails(root, str(broken), "cannot be decoded", image_size=5)
    broken.write_bytes(b"")
    fails(root, str(broken), "cannot be decoded")
    broken.unlink()
    broken.symlink_to(root / "gone.png")
    fails(root, str(broken), "cannot be decoded")
    broken.unlink()
    Image.fromarray(np.ones(GREY, np.float32)).save(root / "dog" / "3.tif")
    fails(root, "1 grey of more than 8 bits", "3.tif", "mode F")


def test_a_truncated_jpeg_is_named(tmp_path: Path) -> None:
    root = class_folders(tmp_path)
    broken = save_image(root / "cat" / "9.jpg", (40, 40, 3))
    broken.write_bytes(broken.read_bytes()[:-200])
    fails(root, str(broken), "truncated", image_size=5)


def spoil(*files: Path) -> None:
    """Damage images: one cannot even be recognised, the others break off, which is noticed only on decoding."""
    for number, file in enumerate(files):
        content = save_image(file, (40, 40, 3)).read_bytes()
        file.write_bytes(content[: len(content) // 2] if number else b"")


@pytest.mark.parametrize("allowed", [2, 3])
@pytest.mark.parametrize("shipped", ["", "test"])
def test_unreadable_images_are_left_out_as_if_they_were_not_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, shipped: str, allowed: int
) -> None:
    root = class_folders(tmp_path / "data" / ("train" if shipped else ""), count=9)
    if shipped:
        class_folders(tmp_path / "data" / "test", count=2)
    broken = [root / "dog" / "1.png", root / "cat" / "0.png"]
    for file in broken:
        file.unlink()
    without = load_splits(str(tmp_path / "data"), seed=3, image_size=5)
    assert not caplog.records
    spoil(*broken)
    loaded = load_splits(str(tmp_path / "data"), seed=3, image_size=5, skip_unreadable=allowed)
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(said) == 2
    for message, file in zip(said, broken, strict=True):
        assert message.startswith(f"{file}: cannot be decoded as an image (")
        assert message.endswith("; left out")
    assert loaded.mean == without.mean
    for part, same in zip(splits_of(loaded), splits_of(without), strict=True):
        assert torch.equal(part.images, same.images)
        assert torch.equal(part.labels, same.labels)


def test_more_unreadable_images_than_may_be_left_out(tmp_path: Path) -> None:
    root = class_folders(tmp_path, count=9)
    broken = [root / "dog" / "1.png", root / "cat" / "0.png", root / "cat" / "4.png"]
    spoil(*broken)
    fails(root, f"{broken[0]}: cannot be decoded", "or set data.skip_unreadable", image_size=5)
    fails(
        root,
        f"{broken[2]}: cannot be decoded",
        "and 2 other image(s) have been left out already",
        "or raise data.skip_unreadable",
        image_size=5,
        skip_unreadable=2,
    )
    assert sum(map(len, splits_of(load_splits(str(root), seed=0, image_size=5, skip_unreadable=3)))) == 15
    fails(root, "skip_unreadable -1", skip_unreadable=-1)


@pytest.mark.parametrize("part", ["", "train", "test"])
def test_a_class_must_keep_an_image(tmp_path: Path, part: str) -> None:
    for name in ("train", "test") if part else ("",):
        class_folders(tmp_path / name)
    folder = tmp_path / part / "dog"
    spoil(*folder.iterdir())
    fails(tmp_path, f"{folder}: none of the 4 image(s) of this class", image_size=5, skip_unreadable=99)
    spoil(*tmp_path.rglob("*.png"))
    fails(tmp_path, "none of the 4 image(s) of this class can be decoded", image_size=5, skip_unreadable=99)


def test_too_few_images_after_some_are_left_out(tmp_path: Path) -> None:
    spoil(*(class_folders(tmp_path) / "dog" / f"{index}.png" for index in (1, 3)))
    fails(tmp_path, "class 'dog' has 2 training image(s) but needs 3", image_size=5, skip_unreadable=2)


def test_only_what_cannot_be_decoded_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = class_folders(tmp_path)
    odd = save_image(root / "dog" / "0.png", GREY)
    fails(root, f"1 grey (such as {odd}", skip_unreadable=9)
    save_image(odd, (9, 9, 3))
    fails(root, f"{odd}: is 9×9 pixels", skip_unreadable=9)
    save_image(odd)

    def failing(*_: Any, **_options: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("anybudget.data.images.ImageOps.exif_transpose", failing)
    fails(root, f"{root / 'cat' / '0.png'}: cannot be decoded", "Input/output error", "try again", skip_unreadable=9)


def test_other_sources_have_nothing_to_leave_out(tmp_path: Path) -> None:
    path = save_npz(tmp_path / "d.npz", x=numbered(30), y=cycle(30))
    first, second = load_splits(path, seed=0), load_splits(path, seed=0, skip_unreadable=5)
    assert torch.equal(first.train.images, second.train.images)
    (tmp_path / "d.npz").write_bytes(Path(path).read_bytes()[:-30])
    fails(path, "not an .npz archive", skip_unreadable=5)


def test_the_recipe_says_how_many_may_be_left_out(recipe_file: Path, tmp_path: Path) -> None:
    root = class_folders(tmp_path / "images", ("a", "b", "c"))
    spoil(root / "b" / "0.png")
    settings = [f"data.source={str(root)!r}", "space.input_channels=3"]
    with pytest.raises(DataError, match=r"data\.skip_unreadable"):
        _ = Run(RunFolder(tmp_path / "run"), load_recipe(recipe_file, settings), SilentProgress()).data
    recipe = load_recipe(recipe_file, [*settings, "data.skip_unreadable=1"])
    assert sum(map(len, splits_of(Run(RunFolder(tmp_path / "run"), recipe, SilentProgress()).data))) == 11


@pytest.mark.parametrize("limit", [150, 50], ids=["Pillow warns", "Pillow refuses"])
def test_decompression_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    root = class_folders(tmp_path)
    bomb = save_image(root / "dog" / "bomb.png", (16, 16, 3))
    monkeypatch.setattr("anybudget.data.images.MAX_PIXELS", limit)
    fails(root, str(bomb), "decompression bomb", image_size=5)


def test_folders_without_usable_classes(tmp_path: Path) -> None:
    fails(tmp_path, str(tmp_path), "not recognised as a data set", "one folder of images per class")
    class_folders(tmp_path, ("cat",))
    fails(tmp_path, "only one class", "'cat'")
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "picture.heic").write_bytes(b"")
    fails(tmp_path, str(tmp_path / "dog"), "holds no image among 1 entries")


def test_a_train_folder_alone_is_answered_with_its_path(tmp_path: Path) -> None:
    class_folders(tmp_path / "train")
    fails(tmp_path, str(tmp_path / "train"), "'cat'", f"give {tmp_path / 'train'} as the data set")


def test_a_class_with_too_few_images_is_named(tmp_path: Path) -> None:
    root = class_folders(tmp_path)
    for index in (2, 3):
        (root / "dog" / f"{index}.png").unlink()
    fails(root, "class 'dog' has 2", "needs 3")
    save_image(root / "dog" / "2.png")
    assert [len(part) for part in splits_of(load_splits(str(root), seed=0))] == [3, 2, 2]


# --- every source -----------------------------------------------------------------------------------------------------


def test_sources_that_do_not_exist(tmp_path: Path) -> None:
    fails(tmp_path / "nowhere", "nowhere", "no such file or folder", "fashion-mnist-subset")
    fails("", "no such file or folder")
    (tmp_path / "data.csv").write_text("1,2")
    fails(tmp_path / "data.csv", "data.csv", "not recognised as a data set")


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
    monkeypatch.setattr(sources, "MAX_IMAGE_BYTES", 8 * 3 * 6 * 5 - 1)
    fails(root, "8 images of 3×6×5", "GiB", "smaller image size")
    assert load_splits(str(root), seed=0, image_size=5).input_shape == (3, 5, 5)
    monkeypatch.setattr(sources, "MAX_IMAGE_BYTES", 30 * 4 * 4 - 1)
    fails(arrays, "30 images of 1×4×4", "GiB")
    fails(idx, "30 images of 1×4×4", "GiB")
    monkeypatch.setattr(sources, "MAX_IMAGE_BYTES", 30 * 4 * 4)
    assert len(load_splits(arrays, seed=0).class_names) == 3


def test_the_memory_message_counts_in_gib(tmp_path: Path) -> None:
    fails(
        save_npz(tmp_path / "d.npz", x=numbered(16), y=cycle(16)),
        "16 images of 1×32768×32768 need an estimated 16 GiB",
        "more than the 8 GiB allowed",
        image_size=32768,
    )


# --- splits -----------------------------------------------------------------------------------------------------------


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
    options = {"generator": torch.Generator().manual_seed(0), "augment": Augmentation(), "device": torch.device("cpu")}
    list(iterate_batches(splits.train, 4, normalise=splits.normalise, **options))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_test_split_can_be_replaced(tmp_path: Path) -> None:
    splits = load_splits(save_npz(tmp_path / "d.npz", x=numbered(30), y=cycle(30)), seed=0)
    other = splits.train.subset(torch.tensor([0]))
    assert replace(splits, _test=other).test() is other


# --- statistics -------------------------------------------------------------------------------------------------------


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


# --- image sets -------------------------------------------------------------------------------------------------------


def some_images(count: int, height: int = 4, width: int = 5, channels: int = 3) -> ImageSet:
    images = numbered(count, height, width, channels).transpose(0, 3, 1, 2)
    return ImageSet(torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(cycle(count)))


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


# --- augmentation -----------------------------------------------------------------------------------------------------


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
    augmented = Augmentation(padding, flip)(images, torch.Generator().manual_seed(seed))
    assert (augmented.shape, augmented.dtype) == (images.shape, torch.uint8)
    assert torch.equal(augmented, Augmentation(padding, flip)(images, torch.Generator().manual_seed(seed)))
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
    padded = Augmentation(crop_padding=2, flip=True)(images, torch.Generator().manual_seed(0))
    assert len(padded.flatten(1).unique(dim=0)) == 50  # 5 × 5 places, mirrored or not
    flipped = Augmentation(crop_padding=0, flip=True)(images, torch.Generator().manual_seed(0))
    same = (flipped == images).flatten(1).all(1)
    assert 150 < same.sum() < 250
    assert torch.equal(flipped[~same], images.flip(-1)[~same])


def test_augmentation_without_padding_and_flip_is_the_identity() -> None:
    images = some_images(10).images
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(Augmentation(crop_padding=0, flip=False)(images, generator), images)


def test_other_generators_augment_otherwise() -> None:
    images = some_images(10).images
    one, two = (Augmentation()(images, torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert not torch.equal(one, two)


def test_negative_padding_is_refused() -> None:
    with pytest.raises(DataError, match="crop padding -1"):
        Augmentation(crop_padding=-1)


# --- batches ----------------------------------------------------------------------------------------------------------


def epoch(
    data: ImageSet, batch_size: int, seed: int = 0, augment: Augmentation | None = None
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    cpu = torch.device("cpu")
    return list(
        iterate_batches(
            data, batch_size, generator=generator, augment=augment, normalise=lambda x: x.half(), device=cpu
        )
    )


def seen(batches: list[tuple[torch.Tensor, torch.Tensor]]) -> list[int]:
    return [int(number) for images, _ in batches for number in images[:, 0, 0, 0]]


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
        assert images.dtype == torch.float16
        assert labels.dtype == torch.int64
        assert labels.tolist() == [number % 3 for number in images[:, 0, 0, 0].int().tolist()]


def test_epochs_are_shuffled_by_the_generator_alone() -> None:
    data = some_images(40)
    assert seen(epoch(data, 4)) != sorted(seen(epoch(data, 4)))
    assert seen(epoch(data, 4)) == seen(epoch(data, 4))
    assert seen(epoch(data, 4)) != seen(epoch(data, 4, seed=1))
    generator = torch.Generator().manual_seed(0)
    options = {"augment": None, "normalise": torch.Tensor.float, "device": torch.device("cpu")}
    first, second = (seen(list(iterate_batches(data, 4, generator=generator, **options))) for _ in range(2))
    assert first != second
    assert sorted(first) == sorted(second)


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
