"""Image files: what their headers say, and decoding them to uint8."""

from __future__ import annotations

import errno
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

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
"""Images above 67 megapixels are decoded one at a time, since each needs up to several GB; JPEGs at a reduced size."""

_large = threading.Lock()

Kind = Literal["grey", "colour", "deep"]


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
    first: dict[Kind, tuple[Path, str]] = field(default_factory=dict)
    sixteen: list[Path] = field(default_factory=list)

    def add(self, file: Path) -> None:
        """Look at one more header.

        Raises:
            UndecodableError: it cannot be read.
            DataError: its mode is not supported.
        """
        try:
            with Image.open(file, formats=image_formats()) as image:
                mode, tiles = image.mode, str(image.tile)
        except Exception as error:  # Pillow's plugins fail on damaged files in many ways
            raise UndecodableError(file, error) from error
        self.note(file, mode, tiles)

    def note(self, file: Path, mode: str, tiles: str = "") -> None:
        """Count an image of a mode; `tiles` says how its pixels are stored.

        Raises:
            DataError: its mode is not supported.
        """
        kind = _kind(mode)
        if kind is None:
            raise DataError(f"{file}: Pillow mode {mode} is not supported: convert the image to 8-bit grey or RGB")
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.first.setdefault(kind, (file, mode))
        if kind != "deep" and ";16" in tiles:
            self.sixteen.append(file)

    def said(self) -> str:
        """How many images there are of each kind, with an example of each."""
        words = {"grey": "grey", "colour": "in colour", "deep": "grey of more than 8 bits"}
        return ", ".join(
            f"{count} {words[kind]} (such as {self.first[kind][0]}, mode {self.first[kind][1]})"
            for kind, count in self.counts.items()
        )


def _kind(mode: str) -> Kind | None:
    if mode in DEEP_MODES or mode.startswith("I;16"):
        return "deep"
    if mode in GREY_MODES:
        return "grey"
    return "colour" if mode in COLOUR_MODES else None


class UndecodableError(DataError):
    """An image cannot be decoded; `passing` if that may be no fault of the image."""

    def __init__(self, file: Path, error: Exception) -> None:
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


def decode(file: Path, target: Target) -> Tensor:
    """One image as uint8 [C, H, W].

    It is turned upright by its EXIF orientation; transparency is laid over white; of an animation the first frame
    counts. The shorter side is scaled to the target's by an antialiased filter and the centre square is cut.

    Raises:
        UndecodableError: it cannot be decoded.
    """
    try:
        with _opened(file, target.image_size) as opened:
            image = to_mode(ImageOps.exif_transpose(opened), target)
            if target.image_size is not None:
                sides = (target.image_size, target.image_size)
                image = ImageOps.fit(image, sides, method=Image.Resampling.BILINEAR)
            pixels = torch.from_numpy(np.array(image))
    except Exception as error:  # as in `Survey.add`; a truncated file is noticed only here
        raise UndecodableError(file, error) from error
    return pixels.unsqueeze(0) if target.channels == 1 else pixels.permute(2, 0, 1)


def values_of(file: Path) -> Range:
    """The lowest and the highest grey value of an image of more than 8 bits.

    Raises:
        UndecodableError: it cannot be decoded, or holds a value that is not finite.
    """
    try:
        with _opened(file, None) as opened:
            return extremes(np.asarray(opened))
    except Exception as error:
        raise UndecodableError(file, error) from error


@contextmanager
def _opened(file: Path, image_size: int | None) -> Iterator[Image.Image]:
    with Image.open(file, formats=image_formats()) as opened:
        large = opened.width * opened.height > LARGE_PIXELS
        if large and image_size is not None:
            # A JPEG is then decoded at a half, a quarter or an eighth, still with two pixels for one of the result.
            opened.draft(None, (2 * image_size, 2 * image_size))
        with _large if large else nullcontext():
            yield opened


def to_mode(image: Image.Image, target: Target) -> Image.Image:
    """Convert to 8-bit "L" or "RGB": grey of more bits by the range of all images, transparency laid over white."""
    mode = "L" if target.channels == 1 else "RGB"
    if target.value_range is not None:
        return Image.fromarray(to_uint8(np.asarray(image), target.value_range)).convert(mode)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def common_target(survey: Survey, root: Path, image_size: int | None, channels: int | None) -> tuple[Target, list[str]]:
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
            f"{root}: of {len(survey.sixteen)} image(s) with 16 bits in each channel, such as {survey.sixteen[0]}, the "
            "upper 8 are read; if they hold less than 16 bits, scale them before"
        )
    return Target(3 if "colour" in kinds else 1, image_size), notices


def check_same_shape(file: Path, image: Tensor, shape: Sequence[int], first: Path) -> None:
    """Require the shape [C, H, W] of the first image.

    Raises:
        DataError: it is another; names both files.
    """
    if tuple(image.shape) != tuple(shape):
        raise DataError(
            f"{file}: is {image.shape[2]}×{image.shape[1]} pixels, but {first} is {shape[2]}×{shape[1]}: set the image "
            "size, so that all are scaled to it"
        )
