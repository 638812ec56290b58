"""What an experiment of a paper is: the work of a seed, and how the outcomes of all seeds are shown."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
Outcome = Mapping[str, Any]
"""What one seed has measured, as JSON holds it."""

Picture = alt.TopLevelMixin | str
"""A chart, or a whole SVG file."""


@dataclass(frozen=True)
class ResultTable:
    """A table of text; `columns` names what stands in each column of `rows`."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """The table as a page has it; the first column is aligned left, all others right."""
        lines = [self.columns, ["---", *["---:"] * (len(self.columns) - 1)], *self.rows]
        return "\n".join([f"**{self.title}**", "", *(f"| {' | '.join(line)} |" for line in lines)])


@dataclass(frozen=True)
class Presented:
    """Tables, and pictures by the ends of their files' names; `""` for the one that has none."""

    tables: Sequence[ResultTable]
    pictures: Mapping[str, Picture] = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """A table or figure of a paper.

    Attributes:
        name: the paper's, then the part's, as `greedynas-table-4`: the name of the files in docs/results.
        title: one line.
        measure: from a seed, a folder that all experiments share and whether to be quick (a test: the same code on few
            images, in seconds) to the outcome. Goes on where it was stopped. Experiments of one paper and seed find
            each other's runs in the folder, and are never measured at the same time.
        present: from the outcomes of all seeds, in their order, to what is shown. Nothing else goes into it.
        seeds: how many are measured; 1 where nothing is drawn.
        missing: says what is not there and how to get it, or nothing.
    """

    name: str
    title: str
    measure: Callable[[int, Path, bool], dict[str, Any]]
    present: Callable[[Sequence[Outcome]], Presented]
    seeds: int = 3
    missing: Callable[[], str] = lambda: ""

    @property
    def paper(self) -> str:
        """The paper that it belongs to: `sgnas`, `greedynas` or `spos`."""
        return self.name.partition("-")[0]

    @property
    def description(self) -> str:
        """What is done: the docstring of its module."""
        return inspect.getdoc(inspect.getmodule(self.measure)) or ""


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Mean ± standard error of the mean; the mean alone of one value.

    Example:
        >>> spread([70.0, 71.0, 72.0])
        '71.00 ± 0.58'
    """
    mean = f"{np.mean(values):.{digits}f}"
    return f"{mean} ± {np.std(values, ddof=1) / len(values) ** 0.5:.{digits}f}" if len(values) > 1 else mean


def inline(points: Sequence[Mapping[str, Any]]) -> alt.InlineData:
    """Data of a chart, one mapping for each point."""
    return alt.InlineData(values=[dict(point) for point in points])
