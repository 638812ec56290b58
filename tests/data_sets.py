"""Small data sets for tests, whose images can be told apart, and the check that one is refused."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from anybudget.data import (
    DataSplits,
    ImageSet,
    load_splits,
)
from anybudget.errors import DataError

GREY, COLOUR = (6, 5), (6, 5, 3)


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


def some_images(count: int, height: int = 4, width: int = 5, channels: int = 3) -> ImageSet:
    images = numbered(count, height, width, channels).transpose(0, 3, 1, 2)
    return ImageSet(torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(cycle(count)))
