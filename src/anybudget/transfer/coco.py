"""Images with boxes as COCO lists them: a JSON file of images, categories and annotations, and a folder of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anybudget.errors import DataError, shown
from anybudget.reading import parse_object, read_bytes, unreadable_as
from anybudget.transfer.boxes import BoxData, BoxedImage, Listed, boxed, drawn, finished

WAY_OUT = "a COCO file has the lists images, annotations and categories"
MENTIONED = 3
"""So many missing images are named."""


@dataclass(frozen=True)
class _File:
    """What a JSON file of COCO lists: images and categories by their numbers, and annotations by that of the image."""

    path: Path
    images: Mapping[int, Mapping[str, Any]]
    categories: Mapping[int, str]
    annotations: Mapping[int, Sequence[Mapping[str, Any]]]


def open_coco(path: Path, validation: Path | None, folder: Path | None, fraction: float, seed: int) -> BoxData:
    """A data set of one or two JSON files.

    Images are looked for in `folder`, then beside the file, in `images` there, one folder above and, of
    `annotations/instances_train2017.json`, in `train2017` there.

    Args:
        path: of the training images.
        validation: of those to judge by; they are drawn from the former if None.
        folder: has the images of both.
        fraction: the share of images that is drawn.
        seed: draws it.

    Raises:
        DataError: a file cannot be read, is none of COCO, or names an image or a category that is not there.
    """
    first = _read(path)
    names = [first.categories[number] for number in sorted(first.categories)]
    dropped: list[str] = []
    images = _images(first, folder, dropped)
    if validation is None:
        return finished(str(path), names, drawn(images, fraction, seed, str(path)), dropped)
    second = _read(validation)
    if second.categories != first.categories:
        raise DataError(f"{validation}: has other categories than {path}; give files of the same data set")
    return finished(str(path), names, {"train": images, "validation": _images(second, folder, dropped)}, dropped)


def _read(path: Path) -> _File:
    with unreadable_as(DataError, path, "cannot be read", WAY_OUT):
        content = parse_object(read_bytes(path))
    for key in ("images", "annotations", "categories"):
        found = content.get(key)
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            raise DataError(f"{path}: {key} is {'missing' if key not in content else 'no list of objects'}; {WAY_OUT}")
        if not found and key != "annotations":
            raise DataError(f"{path}: {key} is empty; {WAY_OUT}")
    images = _numbered(path, "images", content["images"])
    categories = _numbered(path, "categories", content["categories"])
    for number, category in categories.items():
        if not isinstance(category.get("name"), str):
            raise DataError(f"{path}: categories: {number} has no name; give each one")
    annotations: dict[int, list[Mapping[str, Any]]] = {number: [] for number in images}
    for place, annotation in enumerate(content["annotations"], start=1):
        named = f"{path}: annotations: {shown(annotation.get('id', f'the {place}th'))}"
        image, category = annotation.get("image_id"), annotation.get("category_id")
        if type(image) is not int or image not in images:
            raise DataError(f"{named} is of the image {shown(image)}, which images does not list; add or remove it")
        if type(category) is not int or category not in categories:
            raise DataError(
                f"{named} is of the category {shown(category)}, which categories does not list; add it, or remove the "
                "annotation"
            )
        if not _is_numbers(annotation.get("bbox"), 4):
            raise DataError(f"{named}: bbox is {shown(annotation.get('bbox'))}; give [left, top, width, height]")
        annotations[image].append(annotation)
    return _File(path, images, {number: str(found["name"]) for number, found in categories.items()}, annotations)


def _numbered(path: Path, key: str, items: Sequence[Mapping[str, Any]]) -> dict[int, Mapping[str, Any]]:
    """Objects by their `id`, which have to differ."""
    found: dict[int, Mapping[str, Any]] = {}
    for place, item in enumerate(items, start=1):
        number = item.get("id")
        if type(number) is not int or number in found:
            problem = "comes twice" if type(number) is int else "is no whole number"
            raise DataError(f"{path}: {key}, item {place}: id {shown(number)} {problem}; give each a number of its own")
        found[number] = item
    return found


def _images(listed: _File, folder: Path | None, dropped: list[str]) -> list[BoxedImage]:
    """All images of a file, in its order, with their boxes."""
    path = listed.path
    for number, image in listed.images.items():
        wrong = [key for key in ("width", "height") if type(image.get(key)) is not int or not 0 < image[key] < 2**20]
        if not isinstance(image.get("file_name"), str):
            wrong = ["file_name"]
        if wrong:
            raise DataError(f"{path}: images: {number}: {wrong[0]} cannot be {shown(image.get(wrong[0]))}; {WAY_OUT}")
    names = [str(image["file_name"]) for image in listed.images.values()]
    root = _root(path, names, folder)
    missing = [name for name in names if not (root / name).is_file()]
    if missing:
        raise DataError(
            f"{path}: {len(missing)} of {len(names)} images are not in {root}, such as "
            f"{', '.join(missing[:MENTIONED])}; add them, or remove them from the file"
        )
    labels = {number: label for label, number in enumerate(sorted(listed.categories))}
    return [
        boxed(
            root / image["file_name"],
            image["file_name"],
            (image["width"], image["height"]),
            [_listed(image["file_name"], found, labels) for found in listed.annotations[number]],
            dropped,
        )
        for number, image in listed.images.items()
    ]


def _listed(name: str, annotation: Mapping[str, Any], labels: Mapping[int, int]) -> Listed:
    left, top, width, height = map(float, annotation["bbox"])
    label, crowd = labels[annotation["category_id"]], bool(annotation.get("iscrowd", 0))
    named = f"{name}: annotation {annotation.get('id', '')}".rstrip()
    return Listed((left, top, left + width, top + height), label, named, crowd)


def _root(path: Path, names: Sequence[str], folder: Path | None) -> Path:
    """The folder with the images: the first of those looked into that has any of the first few.

    Raises:
        DataError: none has.
    """
    above = path.parent.parent
    looked = [folder] if folder is not None else []
    looked += [path.parent, path.parent / "images", above, above / "images", above / path.stem.rpartition("_")[2]]
    for candidate in looked:
        if any((candidate / name).is_file() for name in names[:100]):
            return candidate
    raise DataError(
        f"{path}: its {len(names)} images are missing, such as {names[0]}; looked in {', '.join(map(str, looked))}; "
        "say with --images which folder they are in"
    )


def _is_numbers(value: Any, count: int) -> bool:
    return isinstance(value, list) and len(value) == count and all(type(item) in (int, float) for item in value)
