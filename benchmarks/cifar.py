"""A folder of CIFAR-10 photographs, `train/CLASS` and `test/CLASS`, for the recipes in `recipes/photographs`.

Reads an archive of image files: all one after the other in `blob`, where each begins in `offsets`, and `labels`; the
first five sixths are the training images. Files are written as they are, equally many of each class, the first ones.
Run: python benchmarks/cifar.py ARCHIVE FOLDER [--train 12000] [--test 10000]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", type=int, default=12_000, help="images in all")
    parser.add_argument("--test", type=int, default=10_000)
    arguments = parser.parse_args()
    with np.load(arguments.archive, allow_pickle=False) as archive:
        blob, offsets, labels = archive["blob"], archive["offsets"], archive["labels"]
    for split, first, last, count in splits(len(labels), arguments.train, arguments.test):
        for index in balanced(labels[first:last], count) + first:
            folder = arguments.folder / split / CLASSES[labels[index]]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{index:05d}.jpg").write_bytes(blob[offsets[index] : offsets[index + 1]].tobytes())
        print(f"{arguments.folder / split}: {count:,} images of {len(CLASSES)} classes")


def splits(images: int, train: int, test: int) -> list[tuple[str, int, int, int]]:
    """Name of each split, its first image in the archive, the one after its last, and how many are wanted of it."""
    edge = images * 5 // 6
    return [("train", 0, edge, train), ("test", edge, images, test)]


def balanced(labels: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The indices of the first images of each class, `count` in all."""
    share, rest = divmod(count, len(CLASSES))
    rows = [np.flatnonzero(labels == label)[:share] for label in range(len(CLASSES))]
    if rest or any(len(row) < share for row in rows):
        raise SystemExit(f"{count:,} images: give a multiple of {len(CLASSES)}, at most {min(map(len, rows))} a class")
    return np.sort(np.concatenate(rows))


if __name__ == "__main__":
    main()
