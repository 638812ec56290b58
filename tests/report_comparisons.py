"""Comparisons of strategies small enough to check by hand, and their section of a report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from html_tree import Node
from report_pages import report, section

BUDGETS = [{"macs": 2e6}, {"macs": 3e6}, {"macs": 3e6, "params": 9000.0}]


def answer(limits: dict[str, float], top1: float, **costs: float) -> dict[str, Any]:
    used = {cost: 0.99 * limit for cost, limit in limits.items()} | costs
    return {
        "budgets": limits,
        "architecture": {"space": "unified", "choices": [1, 2]},
        "costs": used,
        "slack": {cost: limit - used[cost] for cost, limit in limits.items()},
        "supernet_top1_percent": top1,
        "log_probability": None,
        "seconds": 1.5,
    }


def strategy(
    name: str,
    scores: tuple[float, ...] = (80.0, 82.0, 81.0),
    evaluated: tuple[float, ...] = (70.0, 72.0, 71.0, 75.0),
    budgets: list[dict[str, float]] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    limits = BUDGETS if budgets is None else budgets
    return {
        "name": name,
        "candidates": [answer(limit, score) for limit, score in zip(limits, scores, strict=True)],
        "hypervolume": 0.8,
        "spent": {"evaluations": 640, "images": 1480000, "macs": 1.2e12, "seconds": 120.6},
        "training": {"evaluations": 0, "images": 0, "macs": 0.0, "seconds": 0.0},
        "evaluated": [{"cost": 1e6, "top1_percent": top1} for top1 in evaluated],
        **changes,
    }


TRAINING = {"evaluations": 0, "images": 179200, "macs": 3e11, "seconds": 45.0}
TWO = [
    strategy("generator", (83.1, 84.0, 82.0), (80.0, 83.0, 82.0), training=TRAINING, hypervolume=0.8123),
    strategy("random", (81.0, 84.5, 82.0), hypervolume=0.79, spent=TRAINING | {"evaluations": 4, "images": 4000}),
]


def compared(strategies: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    return {
        "budgets": BUDGETS,
        "cost": "macs",
        "reference": {"cost": 3e6, "top1_percent": 0.0},
        "strategies": strategies,
        **changes,
    }


def page_of(folder: Path, data: dict[str, Any]) -> Node:
    return report(folder, {"compare.json": json.dumps(data)}, only=True)


def section_of(folder: Path, strategies: list[dict[str, Any]] = TWO, **changes: Any) -> Node:
    return section(page_of(folder, compared(strategies, **changes)), "strategies")


def picture(node: Node, name: str) -> Node | None:
    slug = f"strategies-{name}-title"
    return next((svg for svg in node.find("svg") if svg.attributes.get("aria-labelledby", "").startswith(slug)), None)


def drawn(node: Node, name: str) -> Node:
    found = picture(node, name)
    assert found is not None, f"no picture {name}"
    return found


def points(polyline: Node) -> list[tuple[float, float]]:
    pairs = (point.split(",") for point in polyline.attributes["points"].split())
    return [(float(x), float(y)) for x, y in pairs]


def bold(node: Node) -> list[list[str]]:
    """The bold texts of each row of the table's body."""
    return [[cell.text() for cell in row.find("strong")] for row in node.find("table")[0].find("tr")[1:]]
