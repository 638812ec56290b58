"""The images of a bench: some of a data set, equally many of each class, in one archive that all seeds read."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from anybudget.data import identify, load_splits
from anybudget.data.images import image_formats
from anybudget.errors import DataError, reason
from anybudget.storage.files import write_whole

Array = NDArray[Any]

HELD_OUT = 2
"""Images of each class for the test split, which a run has to have and a bench never looks at."""

ENCODED = ("blob", "offsets", "labels")
"""The arrays of an archive of image files."""


@dataclass(frozen=True, eq=False)
class Pool:
    """Images to choose from: labels int64 `[N]`, and what reads those at indices `[n]`: uint8 `[n, H, W, C]`."""

    labels: NDArray[np.int64]
    read: Callable[[NDArray[np.int64]], NDArray[np.uint8]]


@dataclass(frozen=True)
class Wanted:
    """How many images a bench takes, of how many classes, and their height and width in pixels."""

    images: int
    classes: int
    size: int


def prepare_images(source: str, folder: Path, wanted: Wanted) -> Path:
    """An archive of images to train on and to validate with, drawn with seed 0 from the training images of a source.

    Args:
        source: what `load_splits` reads, whose test images are left alone; or an `.npz` of encoded images: all files
            one after the other in `blob` (uint8), where each begins and the last ends in `offsets` `[N + 1]`, and
            `labels` `[N]`. Of these the first five sixths are training images, as CIFAR-10 has 50,000 of 60,000.
        folder: where the archive is kept; one with the same images is not written again.
        wanted: what it has to hold; of each class equally many.

    Raises:
        DataError: the source cannot be read, has other classes, or too few images of one.
    """
    path = Path(source).expanduser()
    pool, mark = _encoded(path) or _loaded(source, wanted.size)
    name = hashlib.sha256(f"{mark} {wanted}".encode()).hexdigest()[:12]
    target = folder / f"images-{name}.npz"
    if not target.exists():
        chosen, held_out = _drawn(source, pool.labels, wanted)
        buffer = io.BytesIO()
        np.savez(
            buffer,
            x=pool.read(chosen),
            y=pool.labels[chosen],
            xt=pool.read(held_out),
            yt=pool.labels[held_out],
        )
        write_whole(target, buffer.getvalue())
    return target


def _drawn(source: str, labels: NDArray[np.int64], wanted: Wanted) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which images are taken and which are held out, in the order of the source."""
    counts = np.bincount(labels, minlength=wanted.classes)
    if len(counts) != wanted.classes or not counts.all():
        raise DataError(
            f"{source}: has training images of {int((counts > 0).sum())} classes, and the networks of the track tell "
            f"{wanted.classes} apart; give a data set with as many, such as CIFAR-10"
        )
    each = -(-wanted.images // wanted.classes)
    if counts.min() < each + HELD_OUT:
        raise DataError(
            f"{source}: class {int(counts.argmin())} has {int(counts.min()):,} training images, and the track takes "
            f"{each + HELD_OUT:,} of each; give more, or take fewer with --set track.train_images=N"
        )
    rng = np.random.default_rng(0)
    members = [rng.permutation(np.flatnonzero(labels == label)) for label in range(wanted.classes)]
    chosen, held_out = (
        np.sort(np.concatenate([indices[part] for indices in members]))
        for part in (slice(each), slice(each, each + HELD_OUT))
    )
    return chosen, held_out


def _loaded(source: str, size: int) -> tuple[Pool, str]:
    """The training images of what `load_splits` reads, and what tells the source from others."""
    train = load_splits(source, seed=0, image_size=size).train

    def read(indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        images = train.read(torch.from_numpy(indices)).permute(0, 2, 3, 1)
        return np.ascontiguousarray(images.numpy())

    return Pool(train.labels.numpy(), read), identify(source, size).digest


def _encoded(path: Path) -> tuple[Pool, str] | None:
    """The training images of an archive of encoded ones, and its digest; None where it is no such archive."""
    if path.suffix.lower() != ".npz" or not zipfile.is_zipfile(path):
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not set(ENCODED) <= set(archive.files):
                return None
            blob, offsets, labels = (archive[name] for name in ENCODED)
    except Exception as error:  # a damaged archive fails in zipfile, zlib or numpy, each in its own way
        raise DataError(f"{path}: the .npz archive cannot be read ({reason(error)}); download it again") from error
    _check_encoded(path, blob, offsets, labels)

    def read(indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        images = [_decoded(path, blob, offsets, int(index)) for index in indices]
        if len({image.shape for image in images}) > 1:
            raise DataError(f"{path}: images differ in size; give images of one size")
        return np.stack(images)

    train = len(labels) * 5 // 6
    return Pool(labels[:train].astype(np.int64), read), hashlib.sha256(path.read_bytes()).hexdigest()


def _check_encoded(path: Path, blob: Array, offsets: Array, labels: Array) -> None:
    """Require arrays of an archive of encoded images that fit each other."""
    if blob.dtype != np.uint8 or blob.ndim != 1:
        raise DataError(f"{path}: blob: expected the bytes of all images, uint8 [bytes], found {_kind(blob)}")
    if labels.dtype.kind not in "iu" or labels.ndim != 1 or not len(labels) or labels.min() < 0:
        raise DataError(f"{path}: labels: expected numbers from 0, [N], found {_kind(labels)}")
    if offsets.dtype.kind not in "iu" or offsets.shape != (len(labels) + 1,):
        raise DataError(f"{path}: offsets: expected {len(labels) + 1} whole numbers, found {_kind(offsets)}")
    if (np.diff(offsets.astype(np.int64)) <= 0).any() or offsets[0] < 0 or offsets[-1] > len(blob):
        raise DataError(f"{path}: offsets: expected rising positions within the {len(blob)} bytes of blob")


def _kind(array: Array) -> str:
    return f"{array.dtype} {list(array.shape)}"


def _decoded(path: Path, blob: Array, offsets: Array, index: int) -> NDArray[np.uint8]:
    """One image as uint8 `[H, W, 3]`."""
    content = blob[offsets[index] : offsets[index + 1]].tobytes()
    try:
        with Image.open(io.BytesIO(content), formats=image_formats()) as image:
            return np.asarray(image.convert("RGB"))
    except Exception as error:  # Pillow's plugins fail on damaged files in many ways
        raise DataError(f"{path}: image {index} is no image file that can be decoded; download it again") from error
