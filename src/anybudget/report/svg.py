"""The making of SVG: escaped tags, accessible pictures, axes, and labels that keep out of each other's way."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, product

from markupsafe import Markup, escape

from anybudget.report.scales import Scale

# The mean advance of a sans-serif glyph, in em: wide enough that estimated boxes do not overlap.
GLYPH = 0.58
LABEL_SIZE = 12.0
_CELL = 24.0
"""Pixels from one line to the next of the grid in which what is in the way of a label is found."""


def tag(name: str, *children: str, **attributes: str | float) -> Markup:
    """One element. Text and attribute values are escaped; `class_` is `class`, and `_` in a name becomes `-`."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_number(value))}"' for key, value in attributes.items()
    )
    inner = join(children)
    return Markup(f"<{name}{written}>{inner}</{name}>" if inner else f"<{name}{written}/>")


def join(parts: Iterable[str]) -> Markup:
    """The parts one after the other; plain text among them is escaped."""
    return Markup("").join(parts)


def text(x: float, y: float, content: str, class_: str = "", anchor: str = "start") -> Markup:
    """One line of text whose baseline is at `y`."""
    attributes: dict[str, str | float] = {"class_": class_} if class_ else {}
    return tag("text", content, x=x, y=y, text_anchor=anchor, **attributes)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A straight line."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def polyline(points: Sequence[tuple[float, float]], class_: str) -> Markup:
    """A line through `points`."""
    return tag("polyline", points=" ".join(f"{_number(x)},{_number(y)}" for x, y in points), class_=class_)


def points(places: Sequence[tuple[float, float]], class_: str) -> Markup:
    """Thousands of points as one element, whose class has round line ends: each is a stroke without a length."""
    return tag("path", d="".join(f"M{_number(x)} {_number(y)}h0" for x, y in places), class_=class_)


def dot(x: float, y: float, radius: float, class_: str, tooltip: str) -> Markup:
    """A point that tells what it is when it is pointed at."""
    return tag("circle", tag("title", tooltip), cx=x, cy=y, r=radius, class_=class_)


def cross(x: float, y: float, size: float, class_: str, tooltip: str) -> Markup:
    """An x-shaped mark: what a point over its budget looks like, so that colour is not its only cue."""
    strokes = line(x - size, y - size, x + size, y + size, class_), line(x - size, y + size, x + size, y - size, class_)
    return tag("g", tag("title", tooltip), *strokes)


def picture(slug: str, width: float, height: float, title: str, description: str, *children: str) -> Markup:
    """A whole SVG picture. `slug` must be unique on the page: screen readers find title and description by it."""
    return tag(
        "svg",
        tag("title", title, id=f"{slug}-title"),
        tag("desc", description, id=f"{slug}-desc"),
        *children,
        viewBox=f"0 0 {_number(width)} {_number(height)}",
        width=width,
        height=height,
        role="img",
        aria_labelledby=f"{slug}-title {slug}-desc",
    )


def axes(x: Scale, y: Scale, x_title: str, y_title: str) -> Markup:
    """Horizontal grid lines, ticks and titles. The y title stands level above its axis, where it is easiest to read."""
    return join([grid(x, y), text(0, y.end - 14, y_title, "axis-title"), foot(x, y.start, x_title)])


def grid(x: Scale, y: Scale) -> Markup:
    """A level line and a label for every tick of `y`."""
    return join(
        line(x.start, y(tick), x.end, y(tick), "grid") + text(x.start - 8, y(tick) + 4, label, "tick", "end")
        for tick, label in zip(y.ticks, y.labels(), strict=True)
    )


def foot(x: Scale, floor: float, title: str) -> Markup:
    """The x axis at height `floor`, with its ticks and title."""
    ticks = [
        line(x(tick), floor, x(tick), floor + 5, "axis") + text(x(tick), floor + 19, label, "tick", "middle")
        for tick, label in zip(x.ticks, x.labels(), strict=True)
    ]
    name = text((x.start + x.end) / 2, floor + 39, title, "axis-title", "middle")
    return join([line(x.start, floor, x.end, floor, "axis"), *ticks, name])


@dataclass(frozen=True, slots=True)
class Box:
    """An upright rectangle in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Box) -> bool:
        """Whether the two share any area."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def inside(self, other: Box) -> bool:
        """Whether this box lies within `other`."""
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.top >= other.top
            and self.bottom <= other.bottom
        )


@dataclass(slots=True)
class Labels:
    """Places direct labels beside points. A label with no free place is left out: tooltip and table still have it."""

    area: Box
    _taken: dict[tuple[int, int], list[Box]] = field(default_factory=dict)

    def block(self, box: Box) -> None:
        """Keep labels off `box`."""
        for cell in self._cells(box):
            self._taken.setdefault(cell, []).append(box)

    def is_free(self, box: Box) -> bool:
        """Whether nothing that is kept off shares any area with `box`; only what lies near it is looked at."""
        return not any(box.overlaps(other) for cell in self._cells(box) for other in self._taken.get(cell, ()))

    def block_line(self, points: Sequence[tuple[float, float]], clearance: float = 3.0) -> None:
        """Keep labels off the line through `points`."""
        for (x1, y1), (x2, y2) in pairwise(points):
            steps = max(1, round(math.hypot(x2 - x1, y2 - y1) / clearance))
            for step in range(steps + 1):
                x, y = x1 + (x2 - x1) * step / steps, y1 + (y2 - y1) * step / steps
                self.block(Box(x - clearance, y - clearance, x + clearance, y + clearance))

    def block_text(self, x: float, y: float, content: str) -> None:
        """Keep labels off a text that starts at `x` with its baseline at `y`."""
        self.block(Box(x, y - LABEL_SIZE, x + GLYPH * 1.1 * LABEL_SIZE * len(content), y + 0.3 * LABEL_SIZE))

    def place(self, x: float, y: float, content: str, class_: str, *, below: bool = False) -> Markup:
        """The label of the point at (`x`, `y`), or nothing; above the point where that is free, unless `below`."""
        width = GLYPH * LABEL_SIZE * len(content)
        for dx, dy in _below(width) if below else _above(width) + _below(width):
            box = Box(x + dx, y + dy - LABEL_SIZE, x + dx + width, y + dy + 0.25 * LABEL_SIZE)
            if box.inside(self.area) and self.is_free(box):
                self.block(box)
                return text(box.left + width / 2, y + dy, content, class_, "middle")
        return Markup("")

    def _cells(self, box: Box) -> Iterator[tuple[int, int]]:
        """The cells of a grid over the area that a box touches."""
        left, right = max(box.left, self.area.left), min(box.right, self.area.right)
        top, bottom = max(box.top, self.area.top), min(box.bottom, self.area.bottom)
        columns, rows = (range(int(a // _CELL), int(b // _CELL) + 1) for a, b in ((left, right), (top, bottom)))
        return product(columns, rows)


def _above(width: float) -> list[tuple[float, float]]:
    """Left end and baseline of a label relative to its point, best place first."""
    return [(-width / 2, -11), (-width - 4, -11), (4, -11), (-width / 2, -25), (-width / 2, -39)]


def _below(width: float) -> list[tuple[float, float]]:
    centre = -width / 2
    return [
        (9, LABEL_SIZE + 6),
        (10, LABEL_SIZE / 3),
        (centre, LABEL_SIZE + 9),
        (-width - 4, LABEL_SIZE + 9),
        (centre, LABEL_SIZE + 23),
    ]


def _number(value: str | float) -> str:
    """Pixels to a hundredth; texts as they are."""
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
