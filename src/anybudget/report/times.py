"""The picture of where a run's time went: one bar, a segment per stage."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from markupsafe import Markup

from anybudget.report import svg
from anybudget.report.contents import StageTime
from anybudget.report.words import duration, stage_name

_WIDTH, _HEIGHT = 960.0, 62.0
_BAR_TOP, _BAR_HEIGHT = 24.0, 30.0


def draw(stages: Sequence[StageTime], slug: str) -> Markup:
    """The bar. A stage too short for its name is told by its tooltip and by the table."""
    total = sum(stage.seconds for stage in stages)
    widths = [_WIDTH * stage.seconds / total if total else 0.0 for stage in stages]
    starts = list(accumulate(widths, initial=0.0))
    description = "; ".join(f"{stage_name(stage.stage)} {duration(stage.seconds)}" for stage in stages)
    return svg.picture(
        slug,
        _WIDTH,
        _HEIGHT,
        f"Time per stage, {duration(total)} in all",
        description,
        *(_segment(stage, x, w, i, total) for i, (stage, x, w) in enumerate(zip(stages, starts, widths, strict=False))),
        *_names(stages, starts),
    )


def _segment(stage: StageTime, x: float, width: float, index: int, total: float) -> Markup:
    spent = duration(stage.seconds)
    share = 100.0 * stage.seconds / total if total else 0.0
    shade = index % 2
    parts = [
        svg.tag("title", f"{stage_name(stage.stage)}: {spent}, {share:.1f} %"),
        svg.tag("rect", x=x, y=_BAR_TOP, width=max(0.0, width - 1), height=_BAR_HEIGHT, class_=f"stage-{shade}"),
    ]
    if _text_width(spent) < width - 14:
        parts.append(svg.text(x + 9, _BAR_TOP + 20, spent, f"stage-time-{shade}"))
    return svg.tag("g", *parts)


def _names(stages: Sequence[StageTime], starts: Sequence[float]) -> list[Markup]:
    """The names above the starts of their segments; the longest stages come first where names would collide."""
    drawn: list[tuple[float, float]] = []
    names = []
    for stage, start in sorted(zip(stages, starts, strict=False), key=lambda pair: -pair[0].seconds):
        name = stage_name(stage.stage)
        end = start + _text_width(name) + 10
        if end <= _WIDTH and all(end <= left or start >= right for left, right in drawn):
            drawn.append((start, end))
            names.append(svg.text(start + 1, _BAR_TOP - 8, name, "stage-name"))
    return names


def _text_width(content: str) -> float:
    return svg.GLYPH * 13 * len(content)
