"""How strategies look in every picture: a colour and a dash pattern each, and a name at the end of a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from anybudget.errors import shorten
from anybudget.report import svg
from anybudget.report.scales import moving_apart

HUES, DASHES = 6, 5
"""Colours and dash patterns the style sheet has. They share no divisor, so 30 strategies all look different."""

_LABEL, _GAP = 15, 16.0
_WIDTH = 11 + svg.GLYPH * svg.LABEL_SIZE * _LABEL


@dataclass(frozen=True, slots=True)
class Series:
    """One strategy: its place among all, and its name."""

    index: int
    name: str

    @property
    def label(self) -> str:
        """The name, short enough for the margin of a picture."""
        return shorten(self.name, _LABEL)

    @property
    def hue(self) -> str:
        """The class of its colour."""
        return f"hue-{self.index % HUES}"

    @property
    def line(self) -> str:
        """The classes of its line: colour is not the only cue."""
        return f"series {self.hue} dash-{self.index % DASHES}"


@dataclass(frozen=True, slots=True)
class End:
    """Where the line of a series ends, in pixels."""

    series: Series
    x: float
    y: float


def sample(series: Series) -> Markup:
    """A piece of the line for the legend, whose text stands beside it."""
    stroke = svg.line(1, 6, 39, 6, series.line)
    return svg.tag("svg", stroke, viewBox="0 0 40 12", width=40, height=12, aria_hidden="true")


def names(ends: Sequence[End], floor: float) -> Markup:
    """The names to the right of the ends of their lines, above `floor`; those that would meet are kept apart."""
    return svg.join(_column(column, floor) for column in _columns(ends))


def _columns(ends: Sequence[End]) -> list[list[End]]:
    """The ends from left to right, in columns at least a name apart: only names of one column can meet."""
    columns: list[list[End]] = []
    for end in sorted(ends, key=lambda end: end.x):
        if columns and end.x - columns[-1][-1].x < _WIDTH:
            columns[-1].append(end)
        else:
            columns.append([end])
    return columns


def _column(ends: Sequence[End], floor: float) -> Markup:
    highest_first = sorted(ends, key=lambda end: end.y)
    # The last may sink to the floor, and those above it only so far that all find room.
    lowest = [floor - _GAP * below for below in reversed(range(len(ends)))]
    heights = moving_apart([min(end.y, low) for end, low in zip(highest_first, lowest, strict=True)], _GAP)
    return svg.join(
        svg.text(end.x + 11, height + 4, end.series.label, "end-label")
        for end, height in zip(highest_first, heights, strict=True)
    )
