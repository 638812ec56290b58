"""The array file formats: `.npz` archives, the embedded subset, and the idx files of the MNIST family."""

from __future__ import annotations

import gzip
import math
import zipfile
import zlib
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from anybudget.data.arrays import Array, PartName, StoredPart, source_from_arrays
from anybudget.data.sources import Source, check_memory
from anybudget.errors import DataError, reason

FASHION_MNIST_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
PARTS: tuple[PartName, ...] = ("training", "test")
"""The parts that these formats have, in order."""
NPZ_KEYS = (("x", "y", "xt", "yt"), ("x_train", "y_train", "x_test", "y_test"))
IDX_FILES = (
    ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
)


def open_embedded(image_size: int | None) -> Source:
    """The Fashion-MNIST subset that ships with the package."""
    packaged = resources.files("anybudget") / "datasets" / "fashion_mnist_12k2k.npz"
    with resources.as_file(packaged) as path:
        return open_npz(path, image_size, FASHION_MNIST_CLASSES)


def open_npz(path: Path, image_size: int | None, class_names: tuple[str, ...] | None = None) -> Source:
    """Read images and labels under the keys x, y[, xt, yt] or, if these are absent, x_train, y_train[, x_test, y_test].

    Images are [N, H, W], [N, H, W, C] or [N, C, H, W] with 1 or 3 channels, uint8 or other numbers, which are scaled by
    their range; labels are integers or text, [N] or [N, 1].
    The names of the classes, in the order of their labels, may be stored as text [C] under the key `classes`.

    Raises:
        DataError: the archive is damaged, a key is missing, or an array cannot be used.
    """
    # Looked at first because np.load answers a pickle or a single array with advice that would be wrong here.
    if not zipfile.is_zipfile(path):
        raise DataError(
            f"{path}: not an .npz archive, or a truncated one: write it again with np.savez(path, x=images, y=labels)"
        )
    try:
        archive = np.load(path, allow_pickle=False)
    except Exception as error:  # a damaged zip fails in zipfile, zlib or numpy, each in its own way
        raise DataError(f"{path}: the .npz archive cannot be read ({reason(error)}): write it again") from error
    with archive:
        pairs = _npz_pairs(path, set(archive.files))
        stored = {
            part: StoredPart(
                f"{path}: {image_key}",
                _read_member(path, archive, image_key),
                f"{path}: {label_key}",
                _read_member(path, archive, label_key),
            )
            for part, (image_key, label_key) in zip(PARTS, pairs, strict=False)
        }
        used = {"classes", *(key for pair in pairs for key in pair)}
        unused = [repr(key) for key in archive.files if key not in used]
        if "classes" in archive.files:
            class_names = _class_names(path, _read_member(path, archive, "classes"))
    source = source_from_arrays(str(path), stored, image_size, class_names)
    if not unused:
        return source
    notice = f"{path}: not read: the array(s) {', '.join(unused)}"
    return replace(source, notices=(*source.notices, notice))


def _npz_pairs(path: Path, present: set[str]) -> list[tuple[str, str]]:
    """The (images, labels) keys of the training part and, if the archive has one, of the test part."""
    for x, y, xt, yt in NPZ_KEYS:
        if present.issuperset((x, y)):
            absent = [key for key in (xt, yt) if key not in present]
            if len(absent) == 1:
                raise DataError(
                    f"{path}: the key {absent[0]!r} of the test part is missing: add it, or leave out {xt} and {yt}"
                )
            return [(x, y)] if absent else [(x, y), (xt, yt)]
    raise DataError(
        f"{path}: holds the keys {', '.join(map(repr, sorted(present))) or '(none)'}: name the arrays x and y (and xt, "
        "yt for a test part), or x_train and y_train (and x_test, y_test)"
    )


def _class_names(path: Path, names: Array) -> tuple[str, ...]:
    """The text array `classes` as class names, which have to differ."""
    if names.dtype.kind != "U" or names.ndim != 1:
        raise DataError(
            f"{path}: classes has dtype {names.dtype} and shape {list(names.shape)}: store the names of the classes as "
            'a list of text, such as classes=["cat", "dog"]'
        )
    found = tuple(str(name) for name in names)
    doubled = next((name for name in found if found.count(name) > 1), None)
    if doubled is not None:
        raise DataError(f"{path}: classes holds the name {doubled!r} more than once: give each class a name of its own")
    return found


def _read_member(path: Path, archive: Any, key: str) -> Array:
    try:
        return np.asarray(archive[key])
    except Exception as error:  # as above, and numpy's refusal to unpickle an object array
        raise DataError(
            f"{path}: the array {key!r} cannot be read ({reason(error)}): store it again with np.savez after "
            "y.astype(np.int64) or, for names, y.astype(str); images as uint8"
        ) from error


def has_idx_files(folder: Path) -> bool:
    """Whether a folder holds any of the four idx files, compressed or not."""
    return any(_find_idx(folder, name) for pair in IDX_FILES for name in pair)


def open_idx(folder: Path, image_size: int | None) -> Source:
    """Read train-images-idx3-ubyte, train-labels-idx1-ubyte and, if present, the t10k pair, each optionally `.gz`.

    Raises:
        DataError: a file of a pair is missing or damaged, or its arrays cannot be used.
    """
    stored: dict[PartName, StoredPart] = {}
    for part, (image_name, label_name) in zip(PARTS, IDX_FILES, strict=True):
        images, labels = _find_idx(folder, image_name), _find_idx(folder, label_name)
        if stored and not images and not labels:
            continue  # no test part
        if not images or not labels:
            missing = label_name if images else image_name
            raise DataError(f"{folder}: the idx file {missing} (or {missing}.gz) is missing: add it")
        stored[part] = StoredPart(str(images), _read_idx(images, 3), str(labels), _read_idx(labels, 1))
    return source_from_arrays(str(folder), stored, image_size)


def _find_idx(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _read_idx(path: Path, dimensions: int) -> Array:
    """One idx file of unsigned bytes: 0, 0, 8, the number of dimensions, big-endian uint32 sizes, then the values."""
    header_size, magic = 4 + 4 * dimensions, bytes((0, 0, 8, dimensions))
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            header = file.read(header_size)
            if len(header) < header_size or header[:4] != magic:
                raise DataError(
                    f"{path}: its {header_size}-byte header starts with {header[:4].hex(' ') or 'nothing'} or is cut "
                    f"off, an idx file of {dimensions} dimension(s) starts with {magic.hex(' ')}: download it again"
                )
            shape = [int(size) for size in np.frombuffer(header, ">u4", offset=4)]
            size = math.prod(shape)
            if dimensions == 3:
                check_memory(str(path), shape[0], (1, shape[1], shape[2]))
            content = file.read(size + 1)  # one more than announced, to notice surplus bytes
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({reason(error)}): download it again") from error
    if len(content) != size:
        found = f"only {len(content)}" if len(content) < size else "more"
        raise DataError(f"{path}: its header announces {size} values, the file holds {found}: download it again")
    return np.frombuffer(bytearray(content), np.uint8).reshape(shape)
