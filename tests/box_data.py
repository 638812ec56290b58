"""Small data sets of images with boxes: a bright rectangle on noise, red or blue, as COCO or VOC list them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

NAMES = ("blue", "red")
WIDTH, HEIGHT = 64, 48


def drawn(rng: np.random.Generator, label: int) -> tuple[Image.Image, tuple[int, int, int, int]]:
    """An image with one rectangle, and left, top, right and bottom of it."""
    pixels = rng.integers(0, 60, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    left, top = int(rng.integers(0, WIDTH - 24)), int(rng.integers(0, HEIGHT - 20))
    box = (left, top, left + int(rng.integers(14, 24)), top + int(rng.integers(12, 20)))
    pixels[box[1] : box[3], box[0] : box[2], 2 if label == 0 else 0] = 230
    return Image.fromarray(pixels), box


def write_coco(folder: Path, count: int = 12, *, seed: int = 0, **changes: Any) -> Path:
    """A JSON file and its images beside it; `changes` replace whole lists of it."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, images, annotations = np.random.default_rng(seed), [], []
    for number in range(1, count + 1):
        image, (left, top, right, bottom) = drawn(rng, number % 2)
        image.save(folder / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": WIDTH, "height": HEIGHT})
        box = [left, top, right - left, bottom - top]
        annotations.append({"id": number, "image_id": number, "category_id": 3 + 4 * (number % 2), "bbox": box})
    categories = [{"id": 7, "name": NAMES[1]}, {"id": 3, "name": NAMES[0]}]
    content = {"images": images, "annotations": annotations, "categories": categories, **changes}
    path = folder / "boxes.json"
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return path


def write_voc(
    folder: Path, *, more: str = "", below: str = "VOC2007/", lists: tuple[str, ...] = ("train", "test")
) -> Path:
    """A folder as VOC's, with three images to each list; `more` goes into the first XML file."""
    rng = np.random.default_rng(0)
    root = folder / below
    for name in ("ImageSets/Main", "Annotations", "JPEGImages"):
        (root / name).mkdir(parents=True)
    number = 0
    for part in lists:
        keys = []
        for _ in range(3):
            image, box = drawn(rng, number % 2)
            key = f"{number:06d}"
            image.save(root / "JPEGImages" / f"{key}.jpg")
            sides = "".join(
                f"<{side}>{value}</{side}>" for side, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
            )
            found = f"<object><name>{NAMES[number % 2]}</name><bndbox>{sides}</bndbox></object>"
            size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>"
            text = f"<annotation>{size}{found}{more if not number else ''}</annotation>"
            (root / "Annotations" / f"{key}.xml").write_text(text)
            keys.append(key)
            number += 1
        (root / "ImageSets" / "Main" / f"{part}.txt").write_text("\n".join(keys) + "\n")
    return folder


def zipped(folder: Path, path: Path) -> Path:
    """All files of a folder in a zip file."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path
