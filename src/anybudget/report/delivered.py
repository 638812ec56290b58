"""The requested-against-delivered picture: every answer on or below the diagonal."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from anybudget.budgets import unused_percent
from anybudget.costs import title_of
from anybudget.report import svg
from anybudget.report.scales import Scale, fit
from anybudget.report.words import cost_value
from anybudget.storage.records import Answer

_WIDTH, _HEIGHT = 460.0, 400.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 54.0, 370.0, 34.0, 350.0
_WITHIN, _WITHIN_AT = "within the limit", (_RIGHT - 108, _BOTTOM - 14)


def draw(cost: str, answers: Sequence[Answer], slug: str) -> Markup:
    """Every answer to a budget on `cost`, superseded ones too: its limit, and what it uses."""
    values = [value for answer in answers for value in (answer.budgets[cost], answer.costs[cost])]
    x = fit(values, (_LEFT, _RIGHT), ticks=7, padding=0.08)
    y = Scale(x.low, x.high, _BOTTOM, _TOP, x.step)
    over = sum(answer.costs[cost] > answer.budgets[cost] for answer in answers)
    return svg.picture(
        slug,
        _WIDTH,
        _HEIGHT,
        f"Requested against delivered {title_of(cost)}",
        f"{len(answers)} answers, {over} of them over the limit. The diagonal is the limit itself.",
        # What lies above the diagonal would break the promise.
        svg.tag("path", d=f"M{_LEFT},{_BOTTOM}L{_LEFT},{_TOP}L{_RIGHT},{_TOP}Z", class_="forbidden"),
        svg.axes(x, y, f"requested: limit on {title_of(cost)}", f"delivered: used {title_of(cost)}"),
        svg.line(_LEFT, _BOTTOM, _RIGHT, _TOP, "diagonal"),
        svg.text(_LEFT + 14, _TOP + 22, "over the limit", "region"),
        svg.text(*_WITHIN_AT, _WITHIN, "region"),
        *(_point(cost, x, y, answer) for answer in answers),
        _labels(cost, x, y, answers),
    )


def _point(cost: str, x: Scale, y: Scale, answer: Answer) -> Markup:
    limit, used = answer.budgets[cost], answer.costs[cost]
    tooltip = f"limit {cost_value(cost, limit)}, used {cost_value(cost, used)}: {_unused(cost, answer)}"
    if used > limit:
        return svg.cross(x(limit), y(used), 6, "over", tooltip)
    return svg.dot(x(limit), y(used), 5, "generated", tooltip)


def _labels(cost: str, x: Scale, y: Scale, answers: Sequence[Answer]) -> Markup:
    labels = svg.Labels(svg.Box(_LEFT + 2, _TOP, _WIDTH, _BOTTOM - 2))
    labels.block_text(*_WITHIN_AT, _WITHIN)
    spots = [(x(answer.budgets[cost]), y(answer.costs[cost]), answer) for answer in answers]
    for left, top, _ in spots:
        labels.block(svg.Box(left - 6, top - 6, left + 6, top + 6))
    # Below is free of the diagonal. The latest answers come first: where room is short, theirs are the labels to keep.
    return svg.join(
        labels.place(left, top, _unused(cost, answer), "point-label plain", below=True)
        for left, top, answer in reversed(spots)
    )


def _unused(cost: str, answer: Answer) -> str:
    unused = unused_percent(answer.budgets, answer.costs)[cost]
    return f"{unused:.2f} % unused" if unused >= 0 else f"{-unused:.2g} % over"
