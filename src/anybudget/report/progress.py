"""The picture of a search's progress: the best top-1 so far over the number evaluated (after SPOS, Fig. 3)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from markupsafe import Markup

from anybudget.report import svg
from anybudget.report.scales import Scale, fit
from anybudget.report.series import End, Series, names
from anybudget.storage.records import StrategyResult

STEPS = 150
"""A line has about this many steps at most; each is two points, and narrower ones could not be seen."""

_WIDTH, _HEIGHT = 960.0, 400.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 48.0, 836.0, 36.0, 350.0

Step = tuple[int, float]
"""How many were evaluated when a new best was found, and its top-1 in percent."""


def draw(strategies: Sequence[StrategyResult], slug: str) -> Markup | None:
    """A step line for each strategy that evaluated anything; None where none did."""
    lines = [
        (Series(index, strategy.name), improvements(strategy.evaluated_top1), len(strategy.evaluated))
        for index, strategy in enumerate(strategies)
        if strategy.evaluated
    ]
    if not lines:
        return None
    x = fit((0.0, *(total for _, _, total in lines)), (_LEFT, _RIGHT), ticks=8, whole=True)
    values = (value for _, steps, _ in lines for _, value in steps)
    y = fit(values, (_BOTTOM, _TOP), padding=0.03, widen=True, bounds=(0, 100))
    ends = [End(series, x(total), y(steps[-1][1])) for series, steps, total in lines]
    return svg.picture(
        slug,
        _WIDTH,
        _HEIGHT,
        "Best supernet top-1 so far over the number of architectures evaluated",
        "; ".join(f"{series.name}: {_in_words(steps, total)}" for series, steps, total in lines) + ".",
        svg.axes(x, y, "architectures evaluated", "Best supernet top-1 so far, on validation data (%)"),
        *(svg.polyline(_staircase(thinned(steps, total), total, x, y), series.line) for series, steps, total in lines),
        *(
            svg.dot(end.x, end.y, 4, f"series-dot {series.hue}", f"{series.name}: {_in_words(steps, total)}")
            for end, (series, steps, total) in zip(ends, lines, strict=True)
        ),
        names(ends, _BOTTOM),
    )


def improvements(evaluated: Sequence[float]) -> list[Step]:
    """The first value, and every later one that is higher than all before it."""
    steps: list[Step] = []
    for number, value in enumerate(evaluated, start=1):
        if not steps or value > steps[-1][1]:
            steps.append((number, value))
    return steps


def thinned(steps: Sequence[Step], total: int) -> list[Step]:
    """About `STEPS` of the steps: the first, and the last in each of as many equal stretches of the axis.

    What is kept is exact, so the line is never above the truth, and meets it again within a stretch.
    """
    if len(steps) <= STEPS:
        return list(steps)
    last = {(number - 1) * STEPS // total: (number, value) for number, value in steps}
    return [steps[0], *(step for step in last.values() if step != steps[0])]


def _staircase(steps: Sequence[Step], total: int, x: Scale, y: Scale) -> list[tuple[float, float]]:
    points = [(x(steps[0][0]), y(steps[0][1]))]
    for (_, before), (number, value) in pairwise(steps):
        points += [(x(number), y(before)), (x(number), y(value))]
    return [*points, (x(total), y(steps[-1][1]))]


def _in_words(steps: Sequence[Step], total: int) -> str:
    number, best = steps[-1]
    return f"best {best:.2f} %, found as number {number} of {total} evaluated"
