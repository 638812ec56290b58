"""Boxes drawn into an image."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from anybudget.data.images import Target, UndecodableError, bounded, upright
from anybudget.errors import DataError
from anybudget.storage.records import FoundBox


def opened(path: Path, target: Target) -> Image.Image:
    """An image file turned upright, mode "L" or "RGB".

    Raises:
        DataError: it cannot be decoded.
    """
    try:
        with bounded():
            return upright(path, target, None)
    except UndecodableError as error:
        raise DataError(f"{error.said}: give an image file that Pillow opens") from None


def drawn_boxes(image: Image.Image, boxes: Sequence[FoundBox], class_names: Sequence[str]) -> Image.Image:
    """A copy in colour with a frame, a name and a percentage for each box; every class has a colour of its own."""
    copy = ImageOps.exif_transpose(image).convert("RGB")
    pen, line = ImageDraw.Draw(copy), max(1, round(min(copy.size) / 240))
    font = ImageFont.load_default(max(10, round(min(copy.size) / 36)))
    colours = {name: _colour(index, len(class_names)) for index, name in enumerate(class_names)}
    for box in reversed(boxes):  # the most probable is drawn last, over the others
        left, top, right, bottom = box.box
        text, colour = f"{box.name} {100 * box.score:.0f}%", colours[box.name]
        pen.rectangle((left, top, max(left, right), max(top, bottom)), outline=colour, width=line)
        around = pen.textbbox((left, top), text, font=font)
        pen.rectangle(around, fill=colour)
        pen.text((left, top), text, fill="white", font=font)
    return copy


def _colour(index: int, count: int) -> tuple[int, int, int]:
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(index / max(1, count), 0.85, 0.75))
    return red, green, blue
