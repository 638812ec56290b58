"""The budget-accuracy picture: the architectures that were found against random ones drawn at the same budgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from anybudget.budgets import format_quantity
from anybudget.costs import title_of
from anybudget.report import svg
from anybudget.report.scales import Scale, fit, moving_apart
from anybudget.report.summary import BudgetGroup, BudgetRow, RandomSummary
from anybudget.report.words import cost_value, limits
from anybudget.storage.records import Answer, Measured

_WIDTH, _HEIGHT = 960.0, 460.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 48.0, 836.0, 36.0, 410.0
# The whisker stands beside the answer it is to be compared with, not on it.
_ASIDE = 9.0
FULL_LABELS = 7
"""With more points than this, labels leave out the budget."""
_Y_TITLE = "Supernet top-1 on validation data (%)"


@dataclass(frozen=True, slots=True)
class _Axes:
    cost: str
    x: Scale
    y: Scale

    def spot(self, measured: Measured) -> tuple[float, float]:
        """Where an architecture stands: its cost actually used, and its top-1."""
        return self.x(measured.costs[self.cost]), self.y(measured.supernet_top1_percent)

    def whisker_x(self, row: BudgetRow) -> float:
        """Beside the answer; at the limit where there is none."""
        return self.x(row.answer.costs[self.cost] if row.answer else row.budgets[self.cost]) - _ASIDE


def draw(group: BudgetGroup, slug: str) -> Markup:
    """The picture of one group of budget sets, over their first cost."""
    cost = group.costs[0]
    answers = [row.answer for row in group.rows if row.answer is not None]
    everything = [*answers, *(measured for row in group.rows for measured in row.random)]
    anchors = [row.budgets[cost] for row in group.rows if row.answer is None]
    axes = _Axes(
        cost,
        fit([*(m.costs[cost] for m in everything), *anchors], (_LEFT, _RIGHT), ticks=8, padding=0.04),
        fit((m.supernet_top1_percent for m in everything), (_BOTTOM, _TOP), padding=0.03, widen=True, bounds=(0, 100)),
    )
    answers.sort(key=lambda answer: answer.costs[cost])
    return svg.picture(
        slug,
        _WIDTH,
        _HEIGHT,
        f"Supernet top-1 over used {title_of(cost)}",
        _description(group),
        svg.axes(axes.x, axes.y, f"used {title_of(cost)}", _Y_TITLE),
        *(_random_dot(axes, measured) for row in group.rows for measured in row.random),
        *_whiskers(axes, group.rows),
        svg.polyline([axes.spot(answer) for answer in answers], "generated-line"),
        *(_generated(axes, answer) for answer in answers),
        _texts(axes, group.rows, answers),
    )


def _description(group: BudgetGroup) -> str:
    parts = []
    for row in group.rows:
        answer = f"answer {row.answer.supernet_top1_percent:.2f} %" if row.answer else "not answered"
        baseline = row.baseline
        random = (
            f", random {baseline.worst:.2f} to {baseline.best:.2f} %, mean {baseline.mean:.2f} %" if baseline else ""
        )
        parts.append(f"{limits(row.budgets)}: {answer}{random}")
    return "; ".join(parts) + ". The table below has the same numbers."


def _random_dot(axes: _Axes, measured: Measured) -> Markup:
    tooltip = (
        f"random at {limits(measured.budgets)}: {measured.supernet_top1_percent:.2f} %, "
        f"{cost_value(axes.cost, measured.costs[axes.cost])}"
    )
    return svg.dot(*axes.spot(measured), 2.4, "random-dot", tooltip)


def _whiskers(axes: _Axes, rows: Sequence[BudgetRow]) -> list[Markup]:
    """Worst to best of each budget's random architectures, and a line through their means."""
    summaries = [(row, row.baseline) for row in rows]
    drawn = [_whisker(axes, row, baseline) for row, baseline in summaries if baseline is not None]
    means = [(axes.whisker_x(row), axes.y(baseline.mean)) for row, baseline in summaries if baseline is not None]
    return [svg.polyline(sorted(means), "random-line"), *drawn]


def _whisker(axes: _Axes, row: BudgetRow, baseline: RandomSummary) -> Markup:
    x = axes.whisker_x(row)
    best, mean, worst = (axes.y(value) for value in (baseline.best, baseline.mean, baseline.worst))
    tooltip = (
        f"{baseline.count} random at {limits(row.budgets)}: "
        f"best {baseline.best:.2f} %, mean {baseline.mean:.2f} %, worst {baseline.worst:.2f} %"
    )
    return svg.tag(
        "g",
        svg.tag("title", tooltip),
        svg.line(x, worst, x, best, "whisker"),
        svg.line(x - 3.5, best, x + 3.5, best, "whisker"),
        svg.line(x - 3.5, worst, x + 3.5, worst, "whisker"),
        svg.line(x - 6, mean, x + 6, mean, "whisker-mean"),
        class_="whisker-group",
    )


def _generated(axes: _Axes, answer: Answer) -> Markup:
    x, y = axes.spot(answer)
    over = "" if answer.within else " (over the budget)"
    tooltip = (
        f"answer to {limits(answer.budgets)}: {answer.supernet_top1_percent:.2f} %, "
        f"uses {cost_value(axes.cost, answer.costs[axes.cost])}{over}"
    )
    return svg.dot(x, y, 5.5, "generated", tooltip) if answer.within else svg.cross(x, y, 6, "over", tooltip)


@dataclass(frozen=True, slots=True)
class _SeriesName:
    content: str
    class_: str
    x: float
    y: float


def _texts(axes: _Axes, rows: Sequence[BudgetRow], answers: Sequence[Answer]) -> Markup:
    """The names of the two lines at their right ends, and a label at every answer that has room for one."""
    names = _series_names(axes, rows, answers)
    labels = svg.Labels(svg.Box(4, 2, _WIDTH, _BOTTOM - 2))
    labels.block_text(0, _TOP - 14, _Y_TITLE)
    labels.block(svg.Box(0, _TOP, _LEFT, _BOTTOM))
    for name in names:
        labels.block_text(name.x, name.y + 4, name.content)
    labels.block_line([axes.spot(answer) for answer in answers])
    for answer in answers:
        x, y = axes.spot(answer)
        labels.block(svg.Box(x - 7, y - 7, x + 7, y + 7))
    for row in rows:
        if row.baseline is not None:
            x = axes.whisker_x(row)
            labels.block(svg.Box(x - 4, axes.y(row.baseline.best), x + 4, axes.y(row.baseline.worst)))
    # Many labels only find room where they are short.
    write = _label if len(answers) <= FULL_LABELS else _short_label
    placed = (labels.place(*axes.spot(answer), write(axes.cost, answer), "point-label") for answer in answers)
    return svg.join([*(svg.text(name.x, name.y + 4, name.content, name.class_) for name in names), *placed])


def _label(cost: str, answer: Answer) -> str:
    return f"≤ {format_quantity(answer.budgets[cost])}: {answer.supernet_top1_percent:.1f} %"


def _short_label(cost: str, answer: Answer) -> str:
    del cost
    return f"{answer.supernet_top1_percent:.1f}"


def _series_names(axes: _Axes, rows: Sequence[BudgetRow], answers: Sequence[Answer]) -> list[_SeriesName]:
    names = []
    if answers:
        x, y = axes.spot(answers[-1])
        names.append(_SeriesName("answers", "series-generated", x + 14, y))
    baselines = [(axes.whisker_x(row), row.baseline.mean) for row in rows if row.baseline is not None]
    if baselines:
        x, mean = max(baselines)
        names.append(_SeriesName("random mean", "series-random", x + _ASIDE + 14, axes.y(mean)))
    heights = moving_apart([name.y for name in names], 17)
    return [replace(name, y=height) for name, height in zip(names, heights, strict=True)]
