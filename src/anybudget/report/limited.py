"""The picture of top-1 against the cost limit: a line per strategy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from anybudget.costs import title_of
from anybudget.report import svg
from anybudget.report.scales import Scale, fit
from anybudget.report.series import End, Series, names
from anybudget.report.words import limits
from anybudget.storage.records import Comparison, Measured

_WIDTH, _HEIGHT = 960.0, 420.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 48.0, 836.0, 36.0, 370.0


@dataclass(frozen=True, slots=True)
class _Axes:
    cost: str
    x: Scale
    y: Scale

    def spot(self, candidate: Measured) -> tuple[float, float]:
        """Where a candidate stands: the limit asked for, and its top-1."""
        return self.x(candidate.budgets[self.cost]), self.y(candidate.supernet_top1_percent)


def draw(comparison: Comparison, slug: str) -> Markup | None:
    """The picture; None where nothing was asked with a limit on the cost.

    A line joins budget sets that limit the same costs: between others, more than the limit on this cost changes.
    """
    lines = [
        (Series(index, strategy.name), _by_limit(strategy.candidates, comparison.cost))
        for index, strategy in enumerate(comparison.strategies)
    ]
    drawn = [candidate for _, candidates in lines for candidate in candidates]
    if not drawn:
        return None
    axes = _Axes(
        comparison.cost,
        fit((c.budgets[comparison.cost] for c in drawn), (_LEFT, _RIGHT), ticks=8, padding=0.04),
        fit((c.supernet_top1_percent for c in drawn), (_BOTTOM, _TOP), padding=0.03, widen=True, bounds=(0, 100)),
    )
    cost = title_of(comparison.cost)
    return svg.picture(
        slug,
        _WIDTH,
        _HEIGHT,
        f"Supernet top-1 of each strategy over the limit on {cost}",
        "; ".join(f"{series.name}: {_in_words(candidates)}" for series, candidates in lines)
        + ". The table above has the same numbers.",
        svg.axes(axes.x, axes.y, f"limit on {cost}", "Supernet top-1 on validation data (%)"),
        *(_lines(axes, series, candidates) for series, candidates in lines),
        *(_point(axes, series, candidate) for series, candidates in lines for candidate in candidates),
        names([End(series, *axes.spot(candidates[-1])) for series, candidates in lines], _BOTTOM),
    )


def _by_limit(candidates: Sequence[Measured], cost: str) -> list[Measured]:
    limited = [candidate for candidate in candidates if cost in candidate.budgets]
    # Of equal limits, the one on fewer costs comes last: the name stands at the end of its line.
    return sorted(limited, key=lambda candidate: (candidate.budgets[cost], -len(candidate.budgets)))


def _in_words(candidates: Sequence[Measured]) -> str:
    return ", ".join(f"{c.supernet_top1_percent:.2f} % at {limits(c.budgets)}" for c in candidates)


def _lines(axes: _Axes, series: Series, candidates: Sequence[Measured]) -> Markup:
    kinds: dict[frozenset[str], list[tuple[float, float]]] = {}
    for candidate in candidates:
        kinds.setdefault(frozenset(candidate.budgets), []).append(axes.spot(candidate))
    return svg.join(svg.polyline(spots, series.line) for spots in kinds.values() if len(spots) > 1)


def _point(axes: _Axes, series: Series, candidate: Measured) -> Markup:
    tooltip = f"{series.name}, {limits(candidate.budgets)}: {candidate.supernet_top1_percent:.2f} %"
    if not candidate.within:
        return svg.cross(*axes.spot(candidate), 6, "over", f"{tooltip} (over the budget)")
    filled = "series-dot" if len(candidate.budgets) == 1 else "series-ring"
    return svg.dot(*axes.spot(candidate), 4.5, f"{filled} {series.hue}", tooltip)
