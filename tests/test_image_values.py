"""Kinds of images and of numbers: deep grey, mixed grey and colour, transparency, large files, arrays, text labels."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from anybudget.data import DataSplits, FolderSettings, images, load_splits
from anybudget.errors import DataError

RNG = np.random.default_rng(0)


def save(root: Path, pictures: list[Image.Image], suffix: str = "png") -> str:
    """The pictures in turn in two class folders, each twice as often as a class needs."""
    for name in "ab":
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(6):
            pictures[index % len(pictures)].save(root / name / f"{index}.{suffix}")
    return str(root)


def everything(loaded: DataSplits) -> torch.Tensor:
    return torch.cat([part.images for part in (loaded.train, loaded.validation, loaded.test())])


@pytest.mark.parametrize(
    ("dtype", "values", "suffix"),
    [
        (np.uint16, [100, 2100, 4095], "png"),  # 12 bits, which an upper byte would turn black
        (np.int32, [-50, 1950, 3945], "tif"),
        (np.float32, [0.0, 0.5, 1.0], "tif"),
    ],
    ids=["I;16", "I", "F"],
)
def test_deep_grey_is_scaled_by_one_range(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, dtype: Any, values: list[float], suffix: str
) -> None:
    pictures = [Image.fromarray(np.full((4, 4), value, dtype)) for value in values]
    loaded = load_splits(save(tmp_path, pictures, suffix), seed=0)
    expected = [round(255 * (value - values[0]) / (values[-1] - values[0])) for value in values]
    assert everything(loaded).unique().tolist() == expected
    assert loaded.preparation.value_range == (values[0], values[-1])
    assert f"values from {values[0]:g} to {values[-1]:g} were scaled to 0 to 255" in caplog.text


def test_the_range_is_the_same_whatever_the_split(tmp_path: Path) -> None:
    pictures = [Image.fromarray(np.full((4, 4), value, np.uint16)) for value in range(1000, 1006)]
    first, second = (load_splits(save(tmp_path, pictures), seed=seed) for seed in (0, 1))
    assert first.preparation.value_range == second.preparation.value_range == (1000, 1005)


def test_constant_and_unusable_deep_grey_is_refused(tmp_path: Path) -> None:
    source = save(tmp_path / "constant", [Image.fromarray(np.full((4, 4), 700, np.uint16))])
    with pytest.raises(DataError, match=r"every pixel has the value 700, such as in .*a/0.png"):
        load_splits(source, seed=0)
    source = save(tmp_path / "nan", [Image.fromarray(np.full((4, 4), np.nan, np.float32))], "tif")
    with pytest.raises(DataError, match=r"a/0.tif: cannot be decoded .*not finite"):
        load_splits(source, seed=0)
    black = save(tmp_path / "black", [Image.new("L", (4, 4))])
    with pytest.raises(DataError, match="has the value 0: there is nothing to learn from"):
        load_splits(black, seed=0)


def test_grey_of_8_and_of_16_bits_do_not_mix(tmp_path: Path) -> None:
    source = save(tmp_path, [Image.new("L", (4, 4), 9), Image.fromarray(np.full((4, 4), 700, np.uint16))])
    with pytest.raises(DataError, match=r"6 grey .* 6 grey of more than 8 bits"):
        load_splits(source, seed=0, folders=FolderSettings(channels=3))


def test_grey_among_colour_is_converted_where_three_channels_are_wanted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = save(tmp_path, [Image.new("RGB", (4, 4), (10, 20, 30)), Image.new("L", (4, 4), 77)])
    for channels in (None, 1):
        with pytest.raises(DataError, match=r"6 in colour \(such as .*\), 6 grey \(such as .*input_channels = 3"):
            load_splits(source, seed=0, folders=FolderSettings(channels=channels))
    loaded = load_splits(source, seed=0, folders=FolderSettings(channels=3))
    assert {tuple(image[:, 0, 0].tolist()) for image in everything(loaded)} == {(10, 20, 30), (77, 77, 77)}
    assert "grey ones are converted to colour" in caplog.text


def test_cmyk_is_read_as_colour(tmp_path: Path) -> None:
    loaded = load_splits(save(tmp_path, [Image.new("CMYK", (8, 8), (0, 255, 255, 0))], "tif"), seed=0)
    assert everything(loaded)[0, :, 0, 0].tolist() == [255, 0, 0]


def test_16_bits_in_each_colour_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    row = b"\0" + b"".join(struct.pack(">3H", 4095, 100, 4095) for _ in range(2))
    header = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row * 2)) + chunk(b"IEND", b"")
    for name in "ab":
        (tmp_path / name).mkdir()
        for index in range(3):
            (tmp_path / name / f"{index}.png").write_bytes(png)
    load_splits(str(tmp_path), seed=0)
    assert "of 6 image(s) with 16 bits in each channel, such as" in caplog.text
    assert "the brightest of all training pixels is 15 of 255" in caplog.text


def test_a_photograph_beyond_pillows_own_limit_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stripes = np.zeros((64, 96, 3), np.uint8)
    stripes[:, 48:] = 200
    source = save(tmp_path, [Image.fromarray(stripes)], "jpg")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    monkeypatch.setattr(images, "LARGE_PIXELS", 1000)
    large = load_splits(source, seed=0, image_size=8)
    assert Image.MAX_IMAGE_PIXELS == 100  # as it was
    monkeypatch.setattr(images, "LARGE_PIXELS", 10**6)
    whole = load_splits(source, seed=0, image_size=8)
    assert (everything(large).float() - everything(whole).float()).abs().max() < 12
    monkeypatch.setattr(images, "MAX_PIXELS", 64 * 96 - 1)
    with pytest.raises(DataError, match="scale it down to at most"):
        load_splits(source, seed=0, image_size=8)


def test_the_bound_on_pixels_lets_cameras_pass() -> None:
    assert 200e6 < images.MAX_PIXELS < 300e6


@pytest.mark.parametrize("dtype", [np.uint16, np.int64, np.float32, bool])
def test_arrays_of_other_numbers_are_scaled(tmp_path: Path, caplog: pytest.LogCaptureFixture, dtype: Any) -> None:
    x = (RNG.integers(0, 2, (12, 4, 4)) * (1 if dtype is bool else 4000)).astype(dtype)
    np.savez(tmp_path / "d.npz", x=x, y=np.arange(12) % 3, xt=x[:3], yt=np.arange(3))
    loaded = load_splits(str(tmp_path / "d.npz"), seed=0)
    assert loaded.test().images[:, 0].tolist() == (255 * (x[:3] > 0)).tolist()
    assert loaded.preparation.value_range == (0, 1 if dtype is bool else 4000)
    assert "were scaled to 0 to 255" in caplog.text


def test_parts_of_other_numbers_are_refused(tmp_path: Path) -> None:
    x = RNG.integers(0, 256, (12, 4, 4), dtype=np.uint8)
    np.savez(tmp_path / "d.npz", x=x, y=np.arange(12) % 3, xt=x.astype(np.uint16), yt=np.arange(12) % 3)
    with pytest.raises(DataError, match=r"x has dtype uint8 and .*xt has dtype uint16: store all"):
        load_splits(str(tmp_path / "d.npz"), seed=0)


@pytest.mark.parametrize("kind", ["U", "S"])
@pytest.mark.parametrize("classes", [None, ["dog", "ant", "cät"]])
def test_text_labels_are_class_names(tmp_path: Path, kind: str, classes: list[str] | None) -> None:
    x = RNG.integers(0, 256, (12, 4, 4), dtype=np.uint8)
    y = np.array(["dog", "ant", "cät"] * 4)
    stored = np.char.encode(y, "utf-8") if kind == "S" else y
    named = {} if classes is None else {"classes": classes}
    np.savez(tmp_path / "d.npz", x=x, y=stored, xt=x, yt=stored[:, None], **named)
    loaded = load_splits(str(tmp_path / "d.npz"), seed=0)
    assert loaded.class_names == tuple(classes or sorted(set(y)))
    assert [loaded.class_names[label] for label in loaded.test().labels] == y.tolist()


def test_a_text_label_that_training_lacks_is_named(tmp_path: Path) -> None:
    x = RNG.integers(0, 256, (12, 4, 4), dtype=np.uint8)
    np.savez(tmp_path / "d.npz", x=x, y=["a", "b"] * 6, xt=x, yt=["a", "c"] * 6)
    with pytest.raises(DataError, match="yt holds the class 'c', which is not among"):
        load_splits(str(tmp_path / "d.npz"), seed=0)


def test_the_advice_on_pickled_labels_works_as_printed(tmp_path: Path) -> None:
    x = RNG.integers(0, 256, (12, 4, 4), dtype=np.uint8)
    y = np.array(["a", "b"] * 6, dtype=object)
    np.savez(tmp_path / "d.npz", x=x, y=y)
    with pytest.raises(DataError, match=r"y\.astype\(str\)"):
        load_splits(str(tmp_path / "d.npz"), seed=0)
    np.savez(tmp_path / "d.npz", x=x, y=y.astype(str))
    assert load_splits(str(tmp_path / "d.npz"), seed=0).class_names == ("a", "b")


def test_arrays_that_are_not_read_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    x = RNG.integers(0, 256, (12, 4, 4), dtype=np.uint8)
    np.savez(tmp_path / "d.npz", x=x, y=np.arange(12) % 3, x_val=x)
    load_splits(str(tmp_path / "d.npz"), seed=0)
    assert "not read: the array(s) 'x_val'" in caplog.text
