"""The drawing of architectures: a column per layer, a cell per sub-block (after SGNAS, Figure 9)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count

from markupsafe import Markup

from anybudget.report import svg
from anybudget.storage.records import Layers

SKIP = "skip"
COLOURS = 8
"""Fills the style sheet has for operations; more operations share them, and labels still tell them apart."""

_KERNEL = re.compile(r"([0-9]{1,3})x\1")
_CELL_WIDTH, _CELL_HEIGHT, _COLUMN, _ROW = 26.0, 19.0, 29.0, 22.0
_LEFT, _TOP, _BOTTOM = 46.0, 4.0, 24.0
# A cell has room for this many characters.
_ROOM = 3


@dataclass(frozen=True, slots=True)
class Operation:
    """How an operation is shown: the short text and the colour of its cells, and its full name for the legend."""

    mark: str
    colour: int
    name: str


def legend(architectures: Iterable[Layers]) -> dict[str, Operation]:
    """How to show every operation in use, by its name; one key for all pictures of a report.

    Kernel sizes are marked by their number. Other names are used as they are where they fit a cell, and replaced by
    letters where they do not.
    """
    names = {name for layers in architectures for layer in layers for name in layer} - {SKIP}
    ordered = sorted(names, key=_natural)
    marks = {name: _short(name) for name in ordered if len(_short(name)) <= _ROOM}
    letters = (letter for letter in _letters() if letter not in set(marks.values()))
    # 3, 5 and 7 keep their colours whether or not all of them are in use.
    fixed = {name: _kernel(name) // 2 - 1 for name in ordered if _kernel(name) in (3, 5, 7)}
    free = (colour for colour in count() if colour not in fixed.values())
    return {
        name: Operation(
            marks.get(name) or next(letters), (fixed[name] if name in fixed else next(free)) % COLOURS, _full(name)
        )
        for name in ordered
    }


def draw(layers: Layers, operations: dict[str, Operation], slug: str, title: str) -> Markup:
    """One architecture. Sub-blocks are stacked from the bottom, so a unified block's height is its expansion rate.

    A layer without any is one empty cell with a line through it.
    """
    slots = max((len(layer) for layer in layers), default=0)
    floor = _TOP + slots * _ROW
    columns = (_column(index, layer, operations, floor) for index, layer in enumerate(layers, start=1))
    return svg.picture(
        slug,
        width(layers),
        floor + _BOTTOM,
        title,
        "; ".join(f"layer {index}: {in_words(layer)}" for index, layer in enumerate(layers, start=1)),
        svg.text(_LEFT - 8, floor + 17, "layer", "tick", "end"),
        *columns,
    )


def width(layers: Layers) -> float:
    """Width of the drawing in pixels."""
    return _LEFT + len(layers) * _COLUMN + 2


def in_words(layer: tuple[str, ...]) -> str:
    """The operations in use, in order: `3×3, 3×3, 7×7`."""
    return ", ".join(_full(name) for name in layer if name != SKIP) or "skipped"


def left_out(layer: tuple[str, ...]) -> bool:
    """Whether a layer of several sub-blocks uses none of them."""
    return len(layer) > 1 and all(name == SKIP for name in layer)


def _column(index: int, layer: tuple[str, ...], operations: dict[str, Operation], floor: float) -> Markup:
    x = _LEFT + (index - 1) * _COLUMN
    place = f"layer {index}"
    if left_out(layer):
        cells = [_passed(x, floor, len(layer), f"{place}: skipped")]
    else:
        slots = [f"{place}, sub-block {slot}" if len(layer) > 1 else place for slot in range(1, len(layer) + 1)]
        cells = [
            _cell(x, floor - slot * _ROW, operations.get(name), f"{where}: {_full(name)}")
            for slot, (where, name) in enumerate(zip(slots, layer, strict=True), start=1)
        ]
    number = svg.text(x + _CELL_WIDTH / 2, floor + 17, str(index), "tick", "middle")
    return svg.tag("g", *cells, number, class_="layer", data_layer=str(index))


def _cell(x: float, y: float, operation: Operation | None, tooltip: str) -> Markup:
    title = svg.tag("title", tooltip)
    size: dict[str, str | float] = {"x": x, "y": y, "width": _CELL_WIDTH, "height": _CELL_HEIGHT, "rx": 3}
    if operation is None:
        return svg.tag("g", title, svg.tag("rect", **size), class_="skipped")
    mark = svg.text(x + _CELL_WIDTH / 2, y + _CELL_HEIGHT / 2 + 4, operation.mark, anchor="middle")
    return svg.tag("g", title, svg.tag("rect", **size), mark, class_=f"cell op-{operation.colour}")


def _passed(x: float, floor: float, slots: int, tooltip: str) -> Markup:
    """A whole column as one empty cell, with the line along which the input passes."""
    top, bottom = floor - slots * _ROW, floor - _ROW + _CELL_HEIGHT
    middle = (top + bottom) / 2
    return svg.tag(
        "g",
        svg.tag("title", tooltip),
        svg.tag("rect", x=x, y=top, width=_CELL_WIDTH, height=bottom - top, rx=3),
        svg.line(x, middle, x + _CELL_WIDTH, middle, "passing"),
        class_="skipped",
    )


def _kernel(name: str) -> int:
    """The kernel size of a plain square kernel such as `5x5`; 0 for any other operation."""
    match = _KERNEL.fullmatch(name)
    return int(match[1]) if match else 0


def _short(name: str) -> str:
    return str(_kernel(name) or name)


def _full(name: str) -> str:
    kernel = _kernel(name)
    if kernel:
        return f"{kernel}×{kernel}"
    return "skipped" if name == SKIP else name


def _natural(name: str) -> tuple[list[tuple[bool, int, str]], str]:
    """Sort key that puts 9x9 before 11x11, and numbers before words."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    # Ten digits at most: int() refuses thousands of them, and no operation is told apart by them.
    return [(False, int(part[:10]), "") if part[0] in "0123456789" else (True, 0, part) for part in parts], name


def _letters() -> Iterator[str]:
    """A to Z, then A1, B1 and so on."""
    for round_ in count():
        for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ":
            yield f"{letter}{round_ or ''}"
