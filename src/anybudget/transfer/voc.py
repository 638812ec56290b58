"""Images with boxes as Pascal VOC lists them: a folder or a zip file with lists, an XML file for each image, images."""

from __future__ import annotations

import io
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal
from xml.etree import ElementTree

from PIL import Image

from anybudget.data.images import ImageFile, image_formats, is_image
from anybudget.errors import DataError, reason, shown
from anybudget.reading import LARGEST_FILE, read_bytes, unreadable_as
from anybudget.transfer.boxes import Box, BoxData, BoxedImage, Listed, boxed, drawn, finished

LISTS, ANNOTATIONS, IMAGES = "ImageSets/Main", "Annotations", "JPEGImages"
SPLITS = {"train": "train", "validation": "val", "test": "test"}
"""The splits, and the names of their lists."""
WAY_OUT = f"VOC data have {LISTS}/train.txt, val.txt or test.txt, {ANNOTATIONS}/ID.xml and {IMAGES}/ID.jpg"


class _Tree(ABC):
    """Files of a folder or an archive by their names, which have "/" on every system."""

    names: frozenset[str]

    @abstractmethod
    def read(self, name: str) -> bytes:
        """All of a file."""

    @abstractmethod
    def image(self, name: str) -> ImageFile:
        """A file as an image that has not been read."""


class _Folder(_Tree):
    def __init__(self, path: Path) -> None:
        self._path = path
        self.names = frozenset(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())

    def read(self, name: str) -> bytes:
        """See `_Tree.read`."""
        with unreadable_as(DataError, self._path / name, "cannot be read"):
            return read_bytes(self._path / name)

    def image(self, name: str) -> ImageFile:
        """See `_Tree.image`."""
        return self._path / name


@dataclass(frozen=True)
class ZippedImage:
    """An image in a zip file."""

    archive: Path
    name: str

    def __str__(self) -> str:
        return f"{self.archive}/{self.name}"

    def open(self, mode: Literal["rb"] = "rb", /) -> BinaryIO:  # noqa: ARG002 - as paths open
        """Its bytes, from the first."""
        return io.BytesIO(_archive(self.archive).read(self.name))


@cache
def _archive(path: Path) -> zipfile.ZipFile:
    """An open archive; threads may read from it at once."""
    return zipfile.ZipFile(path)


class _Zip(_Tree):
    def __init__(self, path: Path) -> None:
        self._path = path
        with unreadable_as(DataError, path, "cannot be read as a zip file", "give a folder or a zip file of VOC data"):
            try:
                infos = _archive(path).infolist()
            except zipfile.BadZipFile as error:
                raise OSError(reason(error)) from None
        large = next((info.filename for info in infos if info.file_size > LARGEST_FILE), None)
        if large is not None:
            raise DataError(f"{path}: {large} would have more than {LARGEST_FILE:,} bytes; remove it")
        self.names = frozenset(info.filename for info in infos if not info.is_dir())

    def read(self, name: str) -> bytes:
        """See `_Tree.read`."""
        try:
            return _archive(self._path).read(name)
        except (OSError, zipfile.BadZipFile, RuntimeError, ValueError) as error:
            raise DataError(f"{self._path}/{name}: cannot be read ({reason(error)}); pack the file again") from None

    def image(self, name: str) -> ImageFile:
        """See `_Tree.image`."""
        return ZippedImage(self._path, name)


@dataclass(frozen=True)
class _Annotation:
    """What the XML file of an image says."""

    image: ImageFile
    name: str
    size: tuple[int, int]
    objects: Sequence[tuple[str, Box, bool]]
    """Class, box, and whether it is difficult."""


def open_voc(path: Path, fraction: float, seed: int) -> BoxData:
    """A data set of a folder or a zip file, which may have the VOC folders below others; classes by their names.

    Boxes are taken as they stand: left, top, right, bottom in pixels. Objects that are called difficult are ignored.

    Args:
        path: the folder or the zip file.
        fraction: the share of training images that is drawn to judge by, where there is neither val.txt nor test.txt.
        seed: draws it.

    Raises:
        DataError: it holds no VOC data, or a file is missing or damaged.
    """
    tree: _Tree = _Folder(path) if path.is_dir() else _Zip(path)
    ends = f"{LISTS}/train.txt"
    roots = sorted(name.removesuffix(ends) for name in tree.names if name == ends or name.endswith(f"/{ends}"))
    if len(roots) != 1:
        found = f"there are several data sets in it: {', '.join(roots)}; give one" if roots else WAY_OUT
        raise DataError(f"{path}: {'no VOC data; ' if not roots else ''}{found}")
    (root,) = roots
    files = {PurePosixPath(name).stem: name for name in sorted(tree.names) if _holds(f"{root}{IMAGES}", name)}
    lists = {split: f"{root}{LISTS}/{name}.txt" for split, name in SPLITS.items()}
    read = {
        split: [_annotation(path, tree, root, key, files) for key in _keys(path, tree, name)]
        for split, name in lists.items()
        if name in tree.names
    }
    names = sorted({name for found in read.values() for one in found for name, _, _ in one.objects})
    dropped: list[str] = []
    splits = {split: [_boxed(one, names, dropped) for one in found] for split, found in read.items()}
    if len(splits) == 1:
        splits = drawn(splits["train"], fraction, seed, str(path))
    return finished(str(path), names, splits, dropped)


def _holds(folder: str, name: str) -> bool:
    return name.startswith(f"{folder}/") and is_image(Path(name))


def _keys(path: Path, tree: _Tree, name: str) -> list[str]:
    """The images of a list, which have to differ."""
    lines = tree.read(name).decode(errors="replace").splitlines()
    keys = [line.split()[0] for line in lines if line.strip()]
    if not keys:
        raise DataError(f"{path}: {name} is empty; list the images of the split, one to a line")
    return list(dict.fromkeys(keys))


def _annotation(path: Path, tree: _Tree, root: str, key: str, files: dict[str, str]) -> _Annotation:
    """What is said of one image."""
    file = f"{root}{ANNOTATIONS}/{key}.xml"
    if file not in tree.names:
        raise DataError(f"{path}: lists the image {key}, and lacks {file}; add it, or remove {key} from the lists")
    content = tree.read(file)
    try:
        if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
            raise DataError(f"{path}: {file}: has a document type or entities, which VOC data have not; remove them")
        xml = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise DataError(f"{path}: {file}: no XML ({reason(error)}); write it again") from None
    said = PurePosixPath((xml.findtext("filename") or "").strip()).name
    name = next((n for n in (files.get(key), f"{root}{IMAGES}/{said}") if n in tree.names), None)
    if name is None:
        raise DataError(f"{path}: the image {key} is missing from {root}{IMAGES}; add it, or remove it from the lists")
    image = tree.image(name)
    size = _size(xml) or _stored_size(image)
    return _Annotation(image, key, size, [_object(path, file, n, one) for n, one in enumerate(xml.iter("object"), 1)])


def _size(xml: ElementTree.Element) -> tuple[int, int] | None:
    """Width and height that an XML file says; None where it does not."""
    with suppress(ValueError):
        width, height = (int(xml.findtext(f"size/{side}") or 0) for side in ("width", "height"))
        return (width, height) if width > 0 and height > 0 else None
    return None


def _stored_size(image: ImageFile) -> tuple[int, int]:
    """Width and height of a stored image."""
    try:
        with image.open("rb") as content, Image.open(content, formats=image_formats()) as opened:
            return opened.size
    except Exception as error:  # Pillow's plugins fail on damaged files in many ways
        raise DataError(f"{image}: cannot be decoded as an image ({reason(error)}); replace it") from None


def _object(path: Path, file: str, number: int, found: ElementTree.Element) -> tuple[str, Box, bool]:
    """Class, box, and whether it is difficult."""
    name = (found.findtext("name") or "").strip()
    texts = [found.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
    try:
        left, top, right, bottom = (float(text or "") for text in texts)
    except ValueError:
        raise DataError(f"{path}: {file}: object {number}: its box is {shown(texts)}; give four numbers") from None
    if not name:
        raise DataError(f"{path}: {file}: object {number} has no name; give it one")
    return name, (left, top, right, bottom), (found.findtext("difficult") or "0").strip() == "1"


def _boxed(found: _Annotation, names: Sequence[str], dropped: list[str]) -> BoxedImage:
    listed = [
        Listed(box, names.index(name), f"{found.name}: object {number} ({name})", difficult)
        for number, (name, box, difficult) in enumerate(found.objects, start=1)
    ]
    return boxed(found.image, found.name, found.size, listed, dropped)
