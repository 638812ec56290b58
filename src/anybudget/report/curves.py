"""The training curves: one small panel per quantity, each with its own axis and unit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from anybudget.report import svg
from anybudget.report.scales import Scale, can_show, fit, moving_apart

_WIDTH, _HEIGHT = 460.0, 250.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 48.0, 400.0, 34.0, 200.0
# With more epochs than this the dots would run into one thick line.
_DOTS = 40


@dataclass(frozen=True, slots=True)
class Reference:
    """A value to compare the curve with, drawn as a dashed level line."""

    name: str
    value: float


def draw(
    epochs: Sequence[float],
    values: Sequence[float],
    slug: str,
    quantity: str,
    *,
    percent: bool = False,
    reference: Reference | None = None,
) -> Markup:
    """One panel: `values` over `epochs`, its last value written out. Values that cannot be shown leave a gap."""
    shown = [*values, *([reference.value] if reference else [])]
    x = fit(epochs, (_LEFT, _RIGHT), ticks=7, whole=True)
    bounds = (0.0, 100.0) if percent else (-math.inf, math.inf)
    y = fit(shown, (_BOTTOM, _TOP), ticks=4, widen=True, bounds=bounds)
    finite = [(e, v) for e, v in zip(epochs, values, strict=True) if can_show(e) and can_show(v)]
    unit = " %" if percent else ""
    dots = finite if len(finite) <= _DOTS else []
    return svg.picture(
        slug,
        _WIDTH,
        _HEIGHT,
        f"{quantity} by epoch",
        _description(finite, unit, reference),
        svg.axes(x, y, "epoch", quantity),
        *([_reference(reference, y, unit)] if reference else []),
        *(svg.polyline([(x(e), y(v)) for e, v in run], "curve") for run in _runs(epochs, values)),
        *(svg.dot(x(e), y(v), 2.6, "curve-dot", f"epoch {e:g}: {v:.4g}{unit}") for e, v in dots),
        _last_value(finite, x, y, unit, reference),
    )


def _description(finite: Sequence[tuple[float, float]], unit: str, reference: Reference | None) -> str:
    if not finite:
        return "No finite value."
    (first_epoch, first), (last_epoch, last) = finite[0], finite[-1]
    compared = f" {reference.name}: {reference.value:.4g}{unit}." if reference else ""
    return f"From {first:.4g}{unit} in epoch {first_epoch:g} to {last:.4g}{unit} in epoch {last_epoch:g}.{compared}"


def _runs(epochs: Sequence[float], values: Sequence[float]) -> Iterator[list[tuple[float, float]]]:
    """The stretches of consecutive values that can be shown; a line must not bridge what was not measured."""
    run: list[tuple[float, float]] = []
    for epoch, value in zip(epochs, values, strict=True):
        if can_show(epoch) and can_show(value):
            run.append((epoch, value))
        elif run:
            yield run
            run = []
    if run:
        yield run


def _reference(reference: Reference, y: Scale, unit: str) -> Markup:
    height = y(reference.value)
    tooltip = svg.tag("title", f"{reference.name}: {reference.value:.2f}{unit}")
    return svg.tag("g", tooltip, svg.line(_LEFT, height, _RIGHT, height, "reference"))


def _last_value(
    finite: Sequence[tuple[float, float]], x: Scale, y: Scale, unit: str, reference: Reference | None
) -> Markup:
    """The values at the right end: the curve's last one, and the reference's, kept apart."""
    ends = []
    if finite:
        epoch, value = finite[-1]
        ends.append((x(epoch) + 7, y(value), f"{value:.3g}{unit}", "end-label"))
    if reference:
        ends.append((_RIGHT + 7, y(reference.value), f"{reference.name} {reference.value:.3g}", "end-label plain"))
    heights = moving_apart([height for _, height, _, _ in ends], 15)
    return svg.join(
        svg.text(left, height + 4, content, class_)
        for (left, _, content, class_), height in zip(ends, heights, strict=True)
    )
