"""The contact sheet: a few images of each class with its name, as one PNG."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from anybudget.data.overview.contents import Contents
from anybudget.errors import DataError
from anybudget.storage.files import write_whole

TILE, GAP, LABEL = 96, 6, 18
"""Pixels: the side of an image, the space between two, and the height of a name."""

PER_CLASS = 8
"""Images of each class."""

MOST_CLASSES = 200
"""Classes that are drawn: those that come first; the last line says how many are left out."""


def write_sheet(found: Contents, path: Path) -> Path:
    """Draw the contact sheet of a data set: for each class its name and images, spread over all that it has.

    Raises:
        DataError: there is no image to draw, or the name is not that of a PNG.
        RunError: the file cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise DataError(f"{path}: a contact sheet is a PNG: give a name that ends with .png")
    if not found.items or found.open_image is None:
        raise DataError(f"{found.source}: has no image that can be drawn")
    places: list[list[int]] = [[] for _ in found.class_names]
    for place, item in enumerate(found.items):
        places[item.label].append(place)
    shown = places[:MOST_CLASSES]
    row = LABEL + TILE + GAP
    left_out = len(places) - len(shown)
    sheet = Image.new("RGB", (GAP + PER_CLASS * (TILE + GAP), len(shown) * row + (LABEL if left_out else 0)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    for number, members in enumerate(shown):
        top = number * row
        draw.text((GAP, top + 2), f"{found.class_names[number]} ({len(members)})", fill="black", font=font)
        for column, place in enumerate(_spread(members, PER_CLASS)):
            image = ImageOps.contain(found.open_image(place), (TILE, TILE))
            left = GAP + column * (TILE + GAP)
            sheet.paste(image, (left + (TILE - image.width) // 2, top + LABEL + (TILE - image.height) // 2))
    if left_out:
        draw.text((GAP, len(shown) * row + 2), f"and {left_out} more classes", fill="black", font=font)
    content = BytesIO()
    sheet.save(content, "PNG")
    return write_whole(path, content.getvalue())


def _spread(members: list[int], count: int) -> list[int]:
    """`count` of some places at even distances, or all where there are not more."""
    if len(members) <= count:
        return members
    return [members[index * (len(members) - 1) // (count - 1)] for index in range(count)]
