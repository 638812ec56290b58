"""The look at a data set: every image is read once, whatever is wrong with others."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from anybudget.data import looking as loader
from anybudget.data.csv_files import in_csv
from anybudget.data.drawing import draw_parts
from anybudget.data.images import ImageFile, Survey, UndecodableError, bounded, common_target, image_formats
from anybudget.data.loading import kind_of, load_splits
from anybudget.data.looking import numbered
from anybudget.data.overview.contents import SPLITS, Contents, ImageFacts, Item
from anybudget.data.overview.listing import Listed, ListedFile, listed_files, listed_folder
from anybudget.data.protocol import READ, DataSource, Split
from anybudget.data.shards import in_shards
from anybudget.data.sources import DataSettings
from anybudget.data.tables import in_tables
from anybudget.errors import DataError
from anybudget.runtime.progress import Progress, SilentProgress

_FOUND: dict[str, Callable[[Path], loader.Listed]] = {"csv": in_csv, "shards": in_shards, "tables": in_tables}
"""What finds the images of a kind of data set, where they are not in class folders."""


def look_at(source: str, settings: DataSettings | None = None, progress: Progress | None = None) -> Contents:
    """Look at every image of a data set, and say what was found.

    Class folders are looked at as they lie, with all that is wrong. What comes as arrays, or of a registered source, is
    loaded as a run loads it.

    Args:
        source: a path or the name of a registered source, as `data.source` of a recipe.
        settings: how splits are drawn.
        progress: told how far it is.

    Raises:
        MissingDataError: there is nothing of that name.
        DataError: it is no data set, or its arrays cannot be used.

    Example:
        >>> found = look_at("fashion-mnist-subset")
        >>> len(found.items), found.items[0].facts.width
        (14000, 28)
    """
    settings, progress = settings or DataSettings(), progress or SilentProgress()
    kind, path = kind_of(source)
    if kind == "folder":
        return _look_at_files(source, kind, listed_folder(path), settings, progress)
    if kind in _FOUND:
        return _look_at_files(source, kind, listed_files(_FOUND[kind](path)), settings, progress)
    data = load_splits(
        source,
        seed=settings.seed,
        validation_fraction=settings.validation_fraction,
        test_fraction=settings.test_fraction,
        image_size=settings.image_size,
    )
    return _look_at_splits(source, kind, data, progress)


def _look_at_files(source: str, kind: str, listed: Listed, settings: DataSettings, progress: Progress) -> Contents:
    found = Contents(source, kind, listed.class_names, ignored=listed.ignored, refused=[*listed.refused])
    found.notices += listed.notices
    survey, facts = Survey(), []
    with progress.task("look at images", len(listed.files)) as task, bounded(), ThreadPoolExecutor() as pool:
        for fact in pool.map(_fact_of, (file.file for file in listed.files)):
            facts.append(fact)
            task.advance()
    kept = []
    for file, fact in zip(listed.files, facts, strict=True):
        if isinstance(fact, UndecodableError):
            found.broken.append((file.name, fact.why))
            continue
        try:
            survey.note(file.file, fact.mode)
        except DataError as error:
            found.refused.append(str(error))
        kept.append((file, fact))
    splits = _drawn_splits(found, listed, [file for file, _ in kept], settings)
    for (file, fact), split in zip(kept, splits, strict=True):
        found.items.append(Item(file.name, file.label, split, fact))
    found.refused += _refusals(source, listed, survey, found)
    files = [file.file for file, _ in kept]
    found.open_image = lambda place: _opened(files[place])
    return found


def _fact_of(file: ImageFile) -> ImageFacts | UndecodableError:
    """What is known of an image file once it has been decoded."""
    try:
        with file.open("rb") as stream, Image.open(stream, formats=image_formats()) as image:
            image.load()
            return _facts(image, image.format or "")
    except Exception as error:  # Pillow's plugins fail on damaged files in many ways
        return UndecodableError(file, error)


def _facts(image: Image.Image, said: str) -> ImageFacts:
    digest = hashlib.blake2b(f"{image.mode} {image.size}".encode(), digest_size=16)
    digest.update(image.tobytes())
    return ImageFacts(image.width, image.height, image.mode, said, digest.digest())


def _opened(file: ImageFile) -> Image.Image:
    with bounded(), file.open("rb") as stream, Image.open(stream, formats=image_formats()) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def _drawn_splits(found: Contents, listed: Listed, files: Sequence[ListedFile], settings: DataSettings) -> list[str]:
    """The split of each image: its part, or what is drawn of the training part as a run draws it."""
    splits = [file.part for file in files]
    fractions = {"test": settings.test_fraction, "validation": settings.validation_fraction}
    missing = [split for split in fractions if split not in listed.parts]
    training = [(place, file) for place, file in enumerate(files) if file.part == "train"]
    labels = torch.tensor([file.label for _, file in training], dtype=torch.int64)
    counts = torch.bincount(labels, minlength=len(found.class_names))
    found.drawn = tuple(missing)
    if not missing or not training or int(counts.min()) <= len(missing):
        return splits  # which the loader refuses
    groups = [file.group for _, file in training]
    numbers = None if None in groups else numbered(group for group in groups if group is not None)
    drawn = draw_parts(labels, numbers, [fractions[split] for split in missing], settings.seed)
    for split, indices in zip([*missing, "train"], drawn, strict=True):
        for index in indices.tolist():
            splits[training[index][0]] = split
    return splits


def _refusals(source: str, listed: Listed, survey: Survey, found: Contents) -> list[str]:
    """What the loader would say of the images, whatever its other settings."""
    said = []
    if found.broken:
        name, why = found.broken[0]
        others = f", and {len(found.broken) - 1} more" if len(found.broken) > 1 else ""
        said.append(
            f"{name}: cannot be decoded as an image ({why}){others}: replace or remove them, or set "
            f"data.skip_unreadable = {len(found.broken)}"
        )
    if len(listed.class_names) < 2:
        said.append(f"{source}: has {len(listed.class_names)} class(es): a data set needs at least two")
    try:
        found.notices += common_target(survey, Path(source), 1, 3)[1] if survey.counts else []
    except DataError as error:
        said.append(str(error))
    counts = [0] * len(listed.class_names)
    for item in found.items:
        counts[item.label] += item.split in ("train", *found.drawn)
    for name, count in zip(listed.class_names, counts, strict=True):
        if count <= len(found.drawn):
            said.append(
                f"{source}: class {name!r} has {count} training image(s) that can be read but needs "
                f"{len(found.drawn) + 1}, one for each split: add images or remove the class"
            )
    return said


def _look_at_splits(source: str, kind: str, data: DataSource, progress: Progress) -> Contents:
    """Look at the images of data that have been loaded."""
    found = Contents(source, kind, data.class_names)
    parts: list[tuple[str, Split]] = list(zip(SPLITS, (data.train, data.validation, data.test()), strict=True))
    with progress.task("look at images", sum(len(split) for _, split in parts)) as task:
        for name, split in parts:
            place = 0
            for images, labels in split.batches(READ):
                pixels = np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())
                for image, label in zip(pixels, labels.tolist(), strict=True):
                    facts = _facts_of_array(image)
                    found.items.append(Item(f"{name} image {place}", label, name, facts))
                    place += 1
                task.advance(len(labels))
    starts = np.cumsum([0, *(len(split) for _, split in parts)])

    def open_image(place: int) -> Image.Image:
        part = int(np.searchsorted(starts, place, "right")) - 1
        (image,) = parts[part][1].read(torch.tensor([place - int(starts[part])]))
        return _image_of(image.permute(1, 2, 0).numpy()).convert("RGB")

    found.open_image = open_image
    return found


def _facts_of_array(pixels: np.ndarray) -> ImageFacts:
    return _facts(_image_of(pixels), "array")


def _image_of(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
