"""The histograms of evaluated architectures: a row per strategy, the same bins for all (after GreedyNAS, Fig. 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from markupsafe import Markup

from anybudget.errors import shorten
from anybudget.report import svg
from anybudget.report.scales import Scale, fit
from anybudget.report.series import Series
from anybudget.storage.records import StrategyResult

BINS = 50
"""About as many bins as this; their edges are round numbers."""

_WIDTH, _LEFT, _RIGHT = 960.0, 48.0, 936.0
_TOP, _ROW, _GAP, _FOOT = 20.0, 84.0, 34.0, 46.0
# A row's title has room for a name of this many characters.
_NAME = 60


@dataclass(frozen=True, slots=True)
class Bins:
    """Bins of equal width from `low` to `high`; a value on an edge falls into the upper one, but `high` into the last.

    The share of a bin is in percent of all values, so that strategies that evaluated more do not tower over the others.
    """

    low: float
    high: float
    number: int

    def edge(self, index: int) -> float:
        """The lower edge of bin `index`."""
        return self.low + (self.high - self.low) * index / self.number

    def counts(self, values: Sequence[float]) -> list[int]:
        """How many of `values` fall into each bin."""
        counts = [0] * self.number
        for value in values:
            # Edges such as 0.3 have no exact float; the values that lie on them must not fall below.
            place = (value - self.low) / (self.high - self.low) * self.number + 1e-9
            counts[min(max(int(place), 0), self.number - 1)] += 1
        return counts


def bins_of(values: Sequence[float]) -> Bins:
    """Bins that hold all of `values`."""
    scale = fit(values, (0.0, 1.0), ticks=BINS, widen=True, bounds=(0, 100))
    return Bins(scale.low, scale.high, max(1, round((scale.high - scale.low) / scale.step)))


def draw(strategies: Sequence[StrategyResult], slug: str) -> Markup | None:
    """The histograms of the strategies that evaluated anything, one below the other; None where none did."""
    evaluated = [
        (Series(i, strategy.name), strategy.evaluated_top1)
        for i, strategy in enumerate(strategies)
        if strategy.evaluated
    ]
    if not evaluated:
        return None
    bins = bins_of([value for _, values in evaluated for value in values])
    counted = [(series, values, bins.counts(values)) for series, values in evaluated]
    greatest = max(100.0 * max(counts) / len(values) for _, values, counts in counted)
    share = fit((0.0, greatest), (0.0, 1.0), ticks=2, widen=True, bounds=(0, 100))
    x = Scale(bins.low, bins.high, _LEFT, _RIGHT, fit((bins.low, bins.high), (0.0, 1.0), ticks=10).step)
    floors = [_TOP + _ROW + index * (_ROW + _GAP) for index in range(len(counted))]
    return svg.picture(
        slug,
        _WIDTH,
        floors[-1] + _FOOT,
        "Supernet top-1 of all evaluated architectures, as a histogram per strategy",
        "; ".join(f"{series.name}: {_in_words(values)}" for series, values, _ in counted) + ".",
        *(
            _row(bins, x, Scale(0.0, share.high, floor, floor - _ROW, share.step), *row)
            for floor, row in zip(floors, counted, strict=True)
        ),
        svg.foot(x, floors[-1], "Supernet top-1 on validation data (%)"),
    )


def _in_words(values: Sequence[float]) -> str:
    return f"{len(values)} evaluated, {min(values):.2f} to {max(values):.2f} %, mean {fmean(values):.2f} %"


def _row(bins: Bins, x: Scale, y: Scale, series: Series, values: Sequence[float], counts: Sequence[int]) -> Markup:
    mean = fmean(values)
    title = f"{shorten(series.name, _NAME)}: {_in_words(values)}"
    return svg.tag(
        "g",
        svg.grid(x, y),
        *(_bar(bins, x, y, index, count, len(values)) for index, count in enumerate(counts) if count),
        svg.line(x.start, y.start, x.end, y.start, "axis"),
        svg.tag("g", svg.tag("title", f"mean {mean:.2f} %"), svg.line(x(mean), y.start, x(mean), y.end, "reference")),
        svg.text(x.start, y.end - 8, title, "row-title"),
        class_=f"histogram {series.hue}",
    )


def _bar(bins: Bins, x: Scale, y: Scale, index: int, count: int, total: int) -> Markup:
    low, high, share = bins.edge(index), bins.edge(index + 1), 100.0 * count / total
    left, right, top = x(low), x(high), y(share)
    tooltip = svg.tag("title", f"{low:.6g} to {high:.6g} %: {count} of {total} ({share:.3g} %)")
    size = {"x": left, "y": top, "width": max(0.5, right - left - 1), "height": y.start - top}
    return svg.tag("rect", tooltip, **size, class_="series-bar")
