"""What the search was worth: trained networks beside each other, budget by budget, and what they say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from markupsafe import Markup

from anybudget.budgets import format_quantity
from anybudget.evaluation.metrics import title
from anybudget.report import svg
from anybudget.report.scales import Scale, fit
from anybudget.report.summary import BudgetGroup
from anybudget.report.words import limits
from anybudget.storage.records import Estimate, TrainedNetwork, Worth, WorthAtBudget
from anybudget.worth.words import (
    ROLES,
    balanced_in_words,
    count_in_words,
    equivalent_in_table,
    verdict_in_words,
    with_error,
)

_WIDTH, _HEIGHT = 960.0, 420.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 48.0, 944.0, 36.0, 376.0
_WIDE = 110.0
"""The width of a group below which its name says no unit."""

Column = tuple[str, str]
"""The role and the name of the networks that stand above each other in the picture."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """How the networks of a column look: the shape is a cue, too."""

    shape: str
    hue: str


def section(worth: Worth | None, groups: Sequence[BudgetGroup]) -> dict[str, Any] | None:
    """What the page shows of trained comparisons; None where there are none.

    Args:
        worth: `worth.json`.
        groups: the budget sets of the run, with their latest answers.
    """
    if worth is None:
        return None
    columns = _columns(worth)
    return {
        "worth": worth,
        "metric": title(worth.metric),
        "overview": _overview(worth.budgets),
        "verdicts": [
            (entry, f"{verdict_in_words(entry.summary)} {balanced_in_words(entry.networks)}".strip())
            for entry in worth.budgets
        ],
        "picture": _draw(worth, columns),
        "legend": [(_sample(_mark(column, columns)), _name(column)) for column in columns],
        "columns": [_name(column) for column in columns[2:]],
        "rows": [_row(entry, columns[2:]) for entry in worth.budgets],
        "changed": [entry.budgets for entry in worth.budgets if worth.strategy is None and _changed(entry, groups)],
    }


def _overview(entries: Sequence[WorthAtBudget]) -> str:
    """At how many budgets the answers are better than random networks."""
    found = [entry.summary.verdict for entry in entries]
    better, worse = found.count("better"), found.count("worse")
    count = f"{len(found)} budget{'' if len(found) == 1 else 's'}"
    said = "Trained alone, and compared with random networks of their cost that were trained alike, the answers are"
    if better == len(found):
        gains = [entry.summary.difference.percent for entry in entries]
        span = f"{min(gains):.2f} to {max(gains):.2f}" if len(gains) > 1 else f"{gains[0]:.2f}"
        return (
            f"{said} better at all {count}: by {span} points." if len(found) > 1 else f"{said} better by {span} points."
        )
    if not better and not worse:
        where = f"at {'any of ' if len(found) > 1 else ''}{count}"
        if "unresolved" in found:
            return f"{said} not shown to be different {where}: more random networks or seeds would tell."
        return f"{said} no different {where}: the search found nothing there."
    parts = [f"{word} at {number}" for word, number in (("better", better), ("worse", worse)) if number]
    return f"{said} {' and '.join(parts)} of {count}; elsewhere there is no difference that could be told."


def _changed(entry: WorthAtBudget, groups: Iterable[BudgetGroup]) -> bool:
    """Whether the latest answer to the budget set is another network than the one that was trained."""
    latest = [row.answer for group in groups for row in group.rows if row.answer and row.budgets == entry.budgets]
    return bool(latest) and latest[-1].architecture != entry.answer.architecture


def _columns(worth: Worth) -> list[Column]:
    """Random networks and the answer, then whatever else any budget has."""
    others = [_column(network) for entry in worth.budgets for network in entry.networks]
    return list(dict.fromkeys([("random", ""), ("answer", ""), *others]))


def _column(network: TrainedNetwork) -> Column:
    return network.role, network.name if network.role == "reference" else ""


def _name(column: Column) -> str:
    return column[1] or ROLES[column[0]]


def _row(entry: WorthAtBudget, columns: Sequence[Column]) -> dict[str, Any]:
    """A row of the table."""
    found = entry.summary
    others = {(other.role, other.name): other.test for other in found.others}
    return {
        "budgets": entry.budgets,
        "answer": _written(found.answer),
        "random": f"{_written(found.random)} ({found.random_count})",
        "best": f"{found.random_best:.2f}",
        "difference": _written(found.difference, signed=True),
        "verdict": found.verdict,
        "equivalent": equivalent_in_table(found.equivalent),
        "at_least": count_in_words(found.equivalent.at_least),
        "others": [_written(others[column]) if column in others else "–" for column in columns],
    }


def _written(estimate: Estimate, *, signed: bool = False) -> str:
    return with_error(estimate, signed=signed).replace("-", "−")


def _draw(worth: Worth, columns: Sequence[Column]) -> Markup:
    """A group of columns for each budget set: every network at its mean, with its standard error."""
    metric = f"Test {title(worth.metric)} of networks trained alone (%)"
    means = [fmean(network.test_percent) for entry in worth.budgets for network in entry.networks]
    errors = [(_mean_of(entry, column), _error_of(entry, column)) for entry in worth.budgets for column in columns]
    ends = [mean + sign * error for mean, error in errors if mean is not None and error for sign in (-1, 1)]
    y = fit([*means, *ends], (_BOTTOM, _TOP), padding=0.03, widen=True, bounds=(0, 100))
    slot = (_RIGHT - _LEFT) / len(worth.budgets)
    x = Scale(0.0, float(len(worth.budgets)), _LEFT, _RIGHT, 1.0)
    return svg.picture(
        "worth-picture",
        _WIDTH,
        _HEIGHT,
        metric,
        "; ".join(f"{limits(entry.budgets)}: {verdict_in_words(entry.summary)}" for entry in worth.budgets),
        svg.grid(x, y),
        svg.text(0, _TOP - 14, metric, "axis-title"),
        svg.line(_LEFT, _BOTTOM, _RIGHT, _BOTTOM, "axis"),
        *(_group(entry, columns, y, _LEFT + index * slot, slot) for index, entry in enumerate(worth.budgets)),
    )


def _group(entry: WorthAtBudget, columns: Sequence[Column], y: Scale, left: float, slot: float) -> Markup:
    """The columns of one budget set, and its name below them."""
    step = min(slot / (len(columns) + 1), 60.0)
    first = left + slot / 2 - step * (len(columns) - 1) / 2
    drawn = [_drawn(entry, column, columns, y, first + step * place) for place, column in enumerate(columns)]
    # One line for each limit, since names of several are long; without units where many budgets leave little room.
    wide = slot >= _WIDE
    names = [limits({c: limit}) if wide else f"≤ {format_quantity(limit)}" for c, limit in entry.budgets.items()]
    below = [
        svg.text(left + slot / 2, _BOTTOM + 19 + 16 * row, name, "tick", "middle") for row, name in enumerate(names)
    ]
    return svg.join([*drawn, *below])


def _drawn(entry: WorthAtBudget, column: Column, columns: Sequence[Column], y: Scale, x: float) -> Markup:
    """The networks of a column, and the mean of the column with its standard error."""
    networks = [network for network in entry.networks if _column(network) == column]
    mean, error, mark = _mean_of(entry, column), _error_of(entry, column), _mark(column, columns)
    if mean is None:
        return Markup("")
    whisker = [svg.line(x, y(mean - error), x, y(mean + error), "whisker")] if error else []
    if column[0] == "random":
        dots = [_shape(mark, x - 7, y(fmean(n.test_percent)), _tooltip(n, column)) for n in networks]
        return svg.join([*dots, *whisker, svg.line(x - 6, y(mean), x + 6, y(mean), "whisker-mean")])
    return svg.join([*whisker, _shape(mark, x, y(mean), _tooltip(networks[0], column))])


def _mean_of(entry: WorthAtBudget, column: Column) -> float | None:
    found = _estimate(entry, column)
    return None if found is None else found.percent


def _error_of(entry: WorthAtBudget, column: Column) -> float | None:
    found = _estimate(entry, column)
    return None if found is None else found.error


def _estimate(entry: WorthAtBudget, column: Column) -> Estimate | None:
    if column[0] in ("random", "answer"):
        return entry.summary.random if column[0] == "random" else entry.summary.answer
    return next((o.test for o in entry.summary.others if (o.role, o.name) == column), None)


def _tooltip(network: TrainedNetwork, column: Column) -> str:
    figures = ", ".join(f"{value:.2f}" for value in network.test_percent)
    which = f" ({network.name})" if network.role == "plain" and network.name else ""
    return f"{_name(column)}{which}: {fmean(network.test_percent):.2f} % (seeds: {figures})"


def _mark(column: Column, columns: Sequence[Column]) -> _Mark:
    shapes = {"random": "faint", "answer": "dot", "supernet_first": "ring", "plain": "square", "reference": "diamond"}
    return _Mark(shapes[column[0]], f"hue-{max(0, list(columns).index(column) - 1) % 6}")


def _shape(mark: _Mark, x: float, y: float, tooltip: str) -> Markup:
    """A network at its place."""
    if mark.shape == "faint":
        return svg.dot(x, y, 3, "random-dot", tooltip)
    if mark.shape == "dot":
        return svg.dot(x, y, 6, "generated", tooltip)
    if mark.shape == "ring":
        return svg.dot(x, y, 4.5, f"series-ring {mark.hue}", tooltip)
    corners = ((-5, -5), (5, -5), (5, 5), (-5, 5)) if mark.shape == "square" else ((0, -6), (6, 0), (0, 6), (-6, 0))
    points = " ".join(f"{x + dx:.2f},{y + dy:.2f}" for dx, dy in corners)
    return svg.tag("polygon", svg.tag("title", tooltip), points=points, class_=f"series-dot {mark.hue}")


def _sample(mark: _Mark) -> Markup:
    """A mark for the legend, whose text stands beside it."""
    return svg.tag("svg", _shape(mark, 8, 8, ""), viewBox="0 0 16 16", width=16, height=16, aria_hidden="true")
