"""Image files: what their headers say, and decoding them to uint8."""

from __future__ import annotations

import errno
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from anybudget.data.values import Range, extremes, to_uint8
from anybudget.errors import DataError, reason

DEEP_MODES = frozenset({"I", "F"})  # and I;16 in its byte orders: grey of more than 8 bits
GREY_MODES = frozenset({"1", "L", "LA", "La"})
COLOUR_MODES = frozenset({"P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"})

# Pillow recognises these without decoding them itself; for EPS it would even start another program.
UNDECODED_FORMATS = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})

# These say nothing about the image: the next attempt may succeed, and splits would then be drawn from other images.
PASSING_ERRORS = frozenset({errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT})

MAX_PIXELS = 2**28
"""The most pixels of one image, 268 megapixels: above any camera's, and below a decompression bomb's."""

LARGE_PIXELS = 2**26
"""Images above 67 megapixels are decoded one at a time by each process, since each needs up to several GB."""

REDUCED = 2
"""JPEGs are decoded at a half, a quarter or an eighth where that leaves so many pixels for one of the result.

That takes a fraction of the time, and changes what an antialiased filter makes of it by less than a grey level.
"""


class _Turn:
    """Whose turn it is to decode a large image; a process that is forked starts with a free one."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self.lock = threading.Lock()


_turn = _Turn()

Kind = Literal["grey", "colour", "deep"]


class ImageFile(Protocol):
    """What an image is read from, named by its text: a `Path`, or a member of an archive."""

    def open(self, mode: Literal["rb"], /) -> BinaryIO:
        """Its bytes, from the first."""


@dataclass(frozen=True)
class Target:
    """What images become: channels (1 or 3), side in pixels (None: as stored), and the values that become 0 and 255."""

    channels: int
    image_size: int | None
    value_range: Range | None = None


@dataclass
class Survey:
    """The kinds of images of a data set, from their headers: how many of each, and the first of each."""

    counts: dict[Kind, int] = field(default_factory=dict)
    first: dict[Kind, tuple[ImageFile, str]] = field(default_factory=dict)
    sixteen: int = 0
    first_of_sixteen: ImageFile | None = None

    def note(self, file: ImageFile, mode: str, tiles: str = "") -> None:
        """Count an image of a mode; `tiles` says how its pixels are stored. See `header`.

        Raises:
            DataError: its mode is not supported.
        """
        kind = _kind(mode)
        if kind is None:
            raise DataError(f"{file}: Pillow mode {mode} is not supported: convert the image to 8-bit grey or RGB")
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.first.setdefault(kind, (file, mode))
        if kind != "deep" and ";16" in tiles:
            self.sixteen += 1
            self.first_of_sixteen = self.first_of_sixteen or file

    def said(self) -> str:
        """How many images there are of each kind, with an example of each."""
        words = {"grey": "grey", "colour": "in colour", "deep": "grey of more than 8 bits"}
        return ", ".join(
            f"{count} {words[kind]} (such as {self.first[kind][0]}, mode {self.first[kind][1]})"
            for kind, count in self.counts.items()
        )


def header(file: ImageFile) -> tuple[str, str]:
    """What the header of an image says: its mode, and how its pixels are stored.

    Raises:
        UndecodableError: it cannot be read.
    """
    try:
        with file.open("rb") as content, Image.open(content, formats=image_formats()) as image:
            return image.mode, str(image.tile)
    except Exception as error:  # Pillow's plugins fail on damaged files in many ways
        raise UndecodableError(file, error) from error


def is_deep(mode: str) -> bool:
    """Whether a mode of Pillow is grey of more than 8 bits."""
    return mode in DEEP_MODES or mode.startswith("I;16")


def _kind(mode: str) -> Kind | None:
    if is_deep(mode):
        return "deep"
    if mode in GREY_MODES:
        return "grey"
    return "colour" if mode in COLOUR_MODES else None


class UndecodableError(DataError):
    """An image cannot be decoded; `passing` if that may be no fault of the image."""

    def __init__(self, file: ImageFile, error: Exception) -> None:
        self.file, self.why = file, reason(error)
        self.said = f"{file}: cannot be decoded as an image ({self.why})"
        self.passing = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in PASSING_ERRORS)
        leave_out = "or set data.skip_unreadable to leave out up to so many such images"
        if self.passing:
            way_out = "try again when the system has room, and its disks and network work"
        elif isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
            way_out = f"scale it down to at most {MAX_PIXELS / 1e6:.0f} megapixels, {leave_out}"
        else:
            way_out = f"replace or remove the file, {leave_out}"
        super().__init__(f"{self.said}: {way_out}")

    def __reduce__(self) -> tuple[type[DataError], tuple[str]]:
        """What another process is told: the message."""
        return DataError, (str(self),)


@contextmanager
def bounded() -> Iterator[None]:
    """Within, Pillow opens images of up to `MAX_PIXELS` and refuses larger ones, in all threads."""
    before = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        Image.MAX_IMAGE_PIXELS = MAX_PIXELS
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


@cache
def image_formats() -> tuple[str, ...]:
    """The formats that Pillow decodes itself."""
    Image.init()
    return tuple(sorted(set(Image.OPEN) - UNDECODED_FORMATS))


@cache
def _image_extensions() -> frozenset[str]:
    formats = image_formats()
    return frozenset(extension for extension, name in Image.registered_extensions().items() if name in formats)


def is_image(file: Path) -> bool:
    """Whether a file is named like an image that Pillow decodes."""
    return file.suffix.lower() in _image_extensions()


def decode(file: ImageFile, target: Target) -> Tensor:
    """One image as uint8 [C, H, W].

    It is turned upright by its EXIF orientation; transparency is laid over white; of an animation the first frame
    counts. The shorter side is scaled to the target's by an antialiased filter and the centre square is cut.

    Raises:
        UndecodableError: it cannot be decoded.
    """
    side = None if target.image_size is None else REDUCED * target.image_size
    with _decoding(file, side) as opened:
        image = to_mode(ImageOps.exif_transpose(opened), target)
        if target.image_size is not None:
            sides = (target.image_size, target.image_size)
            image = ImageOps.fit(image, sides, method=Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(image))
    return pixels.unsqueeze(0) if target.channels == 1 else pixels.permute(2, 0, 1)


def upright(file: ImageFile, target: Target, needed_side: int | None) -> Image.Image:
    """An image as it is stored, mode "L" or "RGB", turned upright; see `ImageAugmentation.originals`.

    Raises:
        UndecodableError: it cannot be decoded.
    """
    with _decoding(file, needed_side) as opened:
        return to_mode(ImageOps.exif_transpose(opened), target)


def as_stored(file: ImageFile, target: Target, size: tuple[int, int]) -> Image.Image:
    """An image with all its pixels, mode "L" or "RGB", of which width and height are known.

    It is turned upright by its EXIF orientation only where it has another size without: those who draw boxes into an
    image may have seen it either way.

    Raises:
        UndecodableError: it cannot be decoded.
    """
    with _decoding(file, None) as opened:
        return to_mode(opened if opened.size == size else ImageOps.exif_transpose(opened), target)


def values_of(file: ImageFile) -> Range:
    """The lowest and the highest grey value of an image of more than 8 bits.

    Raises:
        UndecodableError: it cannot be decoded, or holds a value that is not finite.
    """
    with _decoding(file, None) as opened:
        return extremes(np.asarray(opened))


@contextmanager
def _decoding(file: ImageFile, needed_side: int | None) -> Iterator[Image.Image]:
    """An image to be decoded, a JPEG at a reduced size if both sides keep `needed_side` pixels.

    Raises:
        UndecodableError: anything goes wrong within; a truncated file is noticed only there.
    """
    try:
        with file.open("rb") as content, Image.open(content, formats=image_formats()) as opened:
            large = opened.width * opened.height > LARGE_PIXELS
            if needed_side is not None:
                opened.draft(None, (needed_side, needed_side))
            with _turn.lock if large else nullcontext():
                yield opened
    except Exception as error:  # as in `header`
        raise UndecodableError(file, error) from error


def to_mode(image: Image.Image, target: Target) -> Image.Image:
    """Convert to 8-bit "L" or "RGB": grey of more bits by the range of all images, transparency laid over white."""
    mode = "L" if target.channels == 1 else "RGB"
    if target.value_range is not None:
        return Image.fromarray(to_uint8(np.asarray(image), target.value_range)).convert(mode)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def common_target(
    survey: Survey, root: Path | str, image_size: int | None, channels: int | None
) -> tuple[Target, list[str]]:
    """What all images of a data set become, and notices; `channels` are those that are wanted, if that is known.

    Raises:
        DataError: kinds of images are mixed that cannot be brought together; says how many there are of each.
    """
    kinds = set(survey.counts)
    notices = []
    if "deep" in kinds and len(kinds) > 1:
        raise DataError(
            f"{root}: the images are of several kinds: {survey.said()}: convert all to one kind, as their grey values "
            "cannot be compared"
        )
    if len(kinds) > 1:
        if channels != 3:
            raise DataError(
                f"{root}: the images are of several kinds: {survey.said()}: set space.input_channels = 3 to have grey "
                "ones converted to colour, or convert all to grey"
            )
        notices.append(f"{root}: the images are of several kinds: {survey.said()}; grey ones are converted to colour")
    if survey.sixteen:
        notices.append(
            f"{root}: of {survey.sixteen} image(s) with 16 bits in each channel, such as {survey.first_of_sixteen}, "
            "the upper 8 are read; if they hold less than 16 bits, scale them before"
        )
    return Target(3 if "colour" in kinds else 1, image_size), notices


def check_same_shape(file: ImageFile, image: Tensor, shape: Sequence[int], first: ImageFile) -> None:
    """Require the shape [C, H, W] of the first image.

    Raises:
        DataError: it is another; names both files.
    """
    if tuple(image.shape) != tuple(shape):
        raise DataError(
            f"{file}: is {image.shape[2]}×{image.shape[1]} pixels, but {first} is {shape[2]}×{shape[1]}: set the image "
            "size, so that all are scaled to it"
        )
