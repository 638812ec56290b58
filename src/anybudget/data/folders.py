"""Owns data sets stored as folders of class folders of image files."""

from __future__ import annotations

import errno
import logging
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from anybudget.data.identity import Listing, in_order, listing_of_files
from anybudget.data.sources import Part, Source, check_memory
from anybudget.errors import DataError, reason

log = logging.getLogger(__name__)

PART_FOLDERS = {"train": ("train",), "validation": ("val", "valid"), "test": ("test",)}
GREY_MODES = frozenset({"1", "L", "LA", "I"})  # and I;16 in its byte orders
COLOUR_MODES = frozenset({"P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"})

# Pillow recognises these without decoding them itself; for EPS it would even start another program.
UNDECODED_FORMATS = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})

# These say nothing about the image: the next attempt may succeed, and splits would then be drawn from other images.
PASSING_ERRORS = frozenset({errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT})


def open_folder(root: Path, image_size: int | None, skip_unreadable: int = 0) -> Source:
    """Read class folders of images, either in `root` or in its folders `train` and `test` and/or `val` (or `valid`).

    Classes are the folder names, sorted; other folders beside `train` are then ignored, as are hidden files and files
    without an image extension. Images are turned upright by their EXIF orientation. Grey images (also 16 bit, scaled
    to 8) give 1 channel, colour and palette images 3; transparency is laid over white; of an animation the first frame
    counts. With `image_size`, the shorter side is scaled to it by an antialiased filter and the centre square is cut.

    Up to `skip_unreadable` images that cannot be decoded, of all parts together, are left out as if they were not
    there; a warning names each. To find them before anything is drawn, all images are decoded once more.

    Raises:
        DataError: there are no class folders, parts have different classes, a class has no image, more images than may
            be left out cannot be decoded, images differ in channels or (without `image_size`) in size, or they do not
            fit into memory.
    """
    folders, listed = _listed(root)
    class_names = tuple(listed["train"])
    files = [file for classes in listed.values() for images in classes.values() for file in images]
    left_out = _LeftOut(skip_unreadable)
    channels = _common_channels(files, left_out)
    decode = partial(_decode, channels=channels, image_size=image_size)
    if skip_unreadable:
        if image_size is not None:  # said before all images are decoded
            check_memory(str(root), len(files), (channels, image_size, image_size))
        left_out.find(files, decode)
        listed = {
            part: {name: left_out.rest(folders[part] / name, images) for name, images in classes.items()}
            for part, classes in listed.items()
        }
        files = left_out.without(files)
    _, height, width = decode(files[0]).shape
    check_memory(str(root), len(files), (channels, height, width))
    read = partial(_read_all, decode=decode, shape=(channels, height, width), first=files[0])
    parts = {part: _part(list(classes.values()), read) for part, classes in listed.items()}
    return Source(
        class_names,
        parts["train"],
        partial(list_folder, root),
        parts.get("validation"),
        parts.get("test"),
        left_out.files,
    )


def list_folder(root: Path) -> Listing:
    """What is in a data set of class folders, without opening a file.

    Raises:
        DataError: there are no class folders, parts have different classes, or a class has no image.
    """
    _, listed = _listed(root)
    files = ((file, name) for classes in listed.values() for name, images in classes.items() for file in images)
    return listing_of_files(root, tuple(listed["train"]), files)


def _listed(root: Path) -> tuple[dict[str, Path], dict[str, dict[str, list[Path]]]]:
    """The folder of each part, and its images class by class."""
    folders = _part_folders(root)
    listed = {part: _list_classes(folder) for part, folder in folders.items()}
    for part, classes in listed.items():
        for name in sorted(set(classes) ^ set(listed["train"])):
            lacking = folders[part] if name not in classes else folders["train"]
            raise DataError(f"{lacking}: the class folder {name!r} is missing: give each part the same classes")
    return folders, listed


def has_class_folders(folder: Path) -> bool:
    """Whether a folder holds at least one folder that is not hidden."""
    return any(entry.is_dir() for entry in _entries(folder))


def _part(images_of_class: Sequence[Sequence[Path]], read: Callable[[list[Path]], Tensor]) -> Part:
    files = [file for images in images_of_class for file in images]
    counts = torch.tensor([len(images) for images in images_of_class])
    labels = torch.arange(len(counts)).repeat_interleave(counts)
    return Part(labels, lambda indices: read([files[index] for index in indices.tolist()]))


def _entries(folder: Path) -> list[Path]:
    """What a folder holds apart from hidden entries, sorted by name. Only ever one level, so links cannot loop."""
    try:
        return in_order(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({reason(error)}): check that it is a readable folder") from error


def _part_folders(root: Path) -> dict[str, Path]:
    """The folder of each part that is shipped; `root` itself as "train" if it holds the class folders directly."""
    found = {}
    for part, names in PART_FOLDERS.items():
        present = [root / name for name in names if (root / name).is_dir() and has_class_folders(root / name)]
        if len(present) > 1:
            raise DataError(f"{root}: holds both {' and '.join(path.name for path in present)}: keep one of them")
        if present:
            found[part] = present[0]
    return found if "train" in found and len(found) > 1 else {"train": root}


def _list_classes(folder: Path) -> dict[str, list[Path]]:
    """The image files of each class folder, both sorted by name."""
    classes = {}
    for class_folder in (entry for entry in _entries(folder) if entry.is_dir()):
        entries = _entries(class_folder)
        images = [entry for entry in entries if entry.suffix.lower() in _image_extensions() and not entry.is_dir()]
        if not images:
            inside = next((entry for entry in entries if entry.is_dir()), None)
            way_out = (
                f"images must lie directly in it, but it holds the folder {inside.name!r}; if that is a class, give "
                f"{class_folder} as the data set"
                if inside
                else "add images in a format Pillow opens, or remove the folder"
            )
            raise DataError(f"{class_folder}: the class folder holds no image among {len(entries)} entries: {way_out}")
        classes[class_folder.name] = images
    return classes


@cache
def _image_formats() -> tuple[str, ...]:
    Image.init()
    return tuple(sorted(set(Image.OPEN) - UNDECODED_FORMATS))


@cache
def _image_extensions() -> frozenset[str]:
    formats = _image_formats()
    return frozenset(extension for extension, name in Image.registered_extensions().items() if name in formats)


class _UndecodableError(DataError):
    """An image cannot be decoded; `passing` if that may be no fault of the image."""

    def __init__(self, file: Path, error: Exception) -> None:
        self.file, self.said = file, f"{file}: cannot be decoded as an image ({reason(error)})"
        self.passing = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in PASSING_ERRORS)
        way_out = (
            "try again when the system has room, and its disks and network work"
            if self.passing
            else "replace or remove the file, or set data.skip_unreadable to leave out up to so many such images"
        )
        super().__init__(f"{self.said}: {way_out}")


class _LeftOut:
    """The images that are left out because they cannot be decoded: at most `allowed`."""

    def __init__(self, allowed: int) -> None:
        self._allowed = allowed
        self._files: set[Path] = set()

    def add(self, error: _UndecodableError) -> None:
        """Leave one more image out and say so.

        Raises:
            DataError: no more may be left out, or trying again may help.
        """
        if error.passing or not self._allowed:
            raise error
        if len(self._files) == self._allowed:
            raise DataError(
                f"{error.said}, and {self._allowed} other image(s) have been left out already, as many as "
                "data.skip_unreadable allows: replace or remove these files, or raise data.skip_unreadable"
            ) from error
        self._files.add(error.file)
        log.warning("%s; left out", error.said)

    def find(self, files: Sequence[Path], decode: Callable[[Path], Tensor]) -> None:
        """Decode files and leave out those that cannot be, in their order.

        Raises:
            DataError: these are more than may be left out.
        """

        def fault(file: Path) -> _UndecodableError | None:
            try:
                decode(file)
            except _UndecodableError as error:
                return error
            return None

        with ThreadPoolExecutor() as pool:
            for error in pool.map(fault, self.without(files)):
                if error is not None:
                    self.add(error)

    @property
    def files(self) -> tuple[Path, ...]:
        """Those that are left out, sorted."""
        return tuple(sorted(self._files))

    def without(self, files: Iterable[Path]) -> list[Path]:
        """The files that are not left out."""
        return [file for file in files if file not in self._files]

    def rest(self, folder: Path, images: Sequence[Path]) -> list[Path]:
        """The images of a class folder that are not left out.

        Raises:
            DataError: there is none.
        """
        rest = self.without(images)
        if not rest:
            raise DataError(
                f"{folder}: none of the {len(images)} image(s) of this class can be decoded: replace them, or remove "
                "the folder"
            )
        return rest


def _common_channels(files: Sequence[Path], left_out: _LeftOut) -> int:
    """1 if all images are grey, 3 if all are in colour, from their headers alone; 0 if all are left out."""
    first, first_mode, first_channels = Path(), "", 0
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for file in files:
            try:
                with Image.open(file, formats=_image_formats()) as image:
                    mode = image.mode
            except Exception as error:  # Pillow's plugins fail on damaged files in many ways
                left_out.add(_UndecodableError(file, error))
                continue
            channels = 1 if mode in GREY_MODES or mode.startswith("I;16") else 3
            if channels == 3 and mode not in COLOUR_MODES:
                raise DataError(f"{file}: Pillow mode {mode} is not supported: convert the image to 8-bit grey or RGB")
            if not first_channels:
                first, first_mode, first_channels = file, mode, channels
            if channels != first_channels:
                kind = {1: "grey", 3: "colour"}
                raise DataError(
                    f"{file}: is {kind[channels]} (mode {mode}), but {first} is {kind[first_channels]} (mode "
                    f"{first_mode}): convert all images to one kind"
                )
    return first_channels


def _read_all(files: Sequence[Path], decode: Callable[[Path], Tensor], shape: tuple[int, ...], first: Path) -> Tensor:
    """Decode files to uint8 [N, C, H, W]; threads help because Pillow decodes without the interpreter lock."""
    images = torch.empty(len(files), *shape, dtype=torch.uint8)

    def store(index: int) -> None:
        image = decode(files[index])
        if image.shape != shape:
            raise DataError(
                f"{files[index]}: is {image.shape[2]}×{image.shape[1]} pixels, but {first} is {shape[2]}×{shape[1]}: "
                "set the image size, so that all are scaled to it"
            )
        images[index] = image

    with ThreadPoolExecutor() as pool:
        for _ in pool.map(store, range(len(files))):
            pass
    return images


def _decode(file: Path, channels: int, image_size: int | None) -> Tensor:
    """One image as uint8 [C, H, W]."""
    try:
        with Image.open(file, formats=_image_formats()) as opened:
            image = _to_mode(ImageOps.exif_transpose(opened), "L" if channels == 1 else "RGB")
        if image_size is not None:
            image = ImageOps.fit(image, (image_size, image_size), method=Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(image))
    except Exception as error:  # as in _common_channels; a truncated file is noticed only here
        raise _UndecodableError(file, error) from error
    return pixels.unsqueeze(0) if channels == 1 else pixels.permute(2, 0, 1)


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    """Convert to 8-bit "L" or "RGB": 16-bit grey keeps its upper byte, transparency is laid over white."""
    if image.mode.startswith("I"):
        deep = np.asarray(image)
        if deep.min() < 0 or deep.max() >= 2**16:
            raise ValueError(f"grey values from {deep.min()} to {deep.max()} exceed 16 bit")
        return Image.fromarray((deep >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)
