"""The picture of `benchmarks/growth.py`: one small panel for every curve, both axes logarithmic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from anybudget.report import svg

_COLUMNS, _WIDTH, _HEIGHT = 4, 270.0, 200.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 250.0, 52.0, 160.0
_STYLE = (
    "text { font: 11px sans-serif; fill: #222 } .title { font-weight: bold } .faint { fill: #666 } "
    ".grid { stroke: #ddd } .axis { stroke: #666 } polyline { fill: none; stroke-width: 1.5 } "
    ".measured { stroke: #1663a6 } .fast { stroke: #b3261e } .expected { stroke: #888; stroke-dasharray: 4 3 } "
    ".spot { fill: #1663a6 } .spot-fast { fill: #b3261e }"
)


def draw(results: Sequence[Mapping[str, Any]]) -> str:
    """A whole SVG file; the dashed line of a panel grows as fast as is expected at most."""
    rows = math.ceil(len(results) / _COLUMNS)
    panels = [
        svg.tag("g", _panel(result), transform=f"translate({_WIDTH * (i % _COLUMNS)} {_HEIGHT * (i // _COLUMNS)})")
        for i, result in enumerate(results)
    ]
    picture = svg.picture(
        "growth",
        _WIDTH * _COLUMNS,
        _HEIGHT * rows,
        "How costs grow",
        "; ".join(f"{r['stage']} by {r['axis']}: exponent {r['exponent']:.2f}" for r in results),
        svg.tag("style", Markup(_STYLE)),
        *panels,
    )
    return str(picture).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)


def _panel(result: Mapping[str, Any]) -> Markup:
    sizes, values = result["sizes"], result["values"]
    fast = result["too_fast"]
    spot = "spot-fast" if fast else "spot"
    expected = [values[0] * (size / sizes[0]) ** result["expected"] for size in sizes]
    low, high = _bounds([*values, *expected])

    def x(size: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * math.log(size / sizes[0]) / math.log(sizes[-1] / sizes[0])

    def y(value: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * math.log(value / low) / math.log(high / low)

    decades = [10.0**power for power in range(round(math.log10(low)), round(math.log10(high)) + 1)]
    said = f"exponent {result['exponent']:.2f}, at the end {result['end']:.2f}"
    return svg.join(
        [
            svg.text(8, 16, result["stage"], "title"),
            svg.text(8, 31, f"{result['measured']}; {said}", "faint"),
            *(svg.line(_LEFT, y(value), _RIGHT, y(value), "grid") for value in decades),
            *(svg.text(_LEFT - 6, y(value) + 4, f"{value:g}", "faint", "end") for value in decades),
            svg.line(_LEFT, _BOTTOM, _RIGHT, _BOTTOM, "axis"),
            *(svg.text(x(size), _BOTTOM + 14, f"{size:g}", "faint", "middle") for size in sizes),
            svg.text((_LEFT + _RIGHT) / 2, _BOTTOM + 29, result["axis"], "faint", "middle"),
            svg.polyline([(x(s), y(v)) for s, v in zip(sizes, expected, strict=True)], "expected"),
            svg.polyline([(x(s), y(v)) for s, v in zip(sizes, values, strict=True)], "fast" if fast else "measured"),
            *(svg.dot(x(s), y(v), 2.6, spot, f"{s:g}: {v:.4g}") for s, v in zip(sizes, values, strict=True)),
        ]
    )


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    """Powers of ten around all values."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return 10.0**low, 10.0 ** max(high, low + 1)
