"""What was found in a data set, image by image: `Contents`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from PIL import Image

Split = str
"""`train`, `validation` or `test`."""

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """An image as it is stored: size in pixels, Pillow's mode, file format, and a digest of its pixels alone."""

    width: int
    height: int
    mode: str
    format: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Item:
    """An image that can be read: what it is called, its class by number, the split it falls into, and its facts."""

    name: str
    label: int
    split: Split
    facts: ImageFacts


@dataclass
class Contents:
    """A data set as it was found.

    `refused` are the reasons why it could not be used as it is, in the loader's words; `drawn` are the splits that are
    drawn since they are not shipped; `ignored` are what is not read, each with why. `open_image` gives the image of an
    item, by its place.
    """

    source: str
    kind: str
    class_names: tuple[str, ...]
    items: list[Item] = field(default_factory=list)
    broken: list[tuple[str, str]] = field(default_factory=list)
    ignored: list[tuple[str, str]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    drawn: tuple[Split, ...] = ()
    open_image: Callable[[int], Image.Image] | None = None
