"""The section that compares strategies: its table, its pictures, and what their captions must say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from anybudget.report import histogram, limited, progress, series
from anybudget.report.words import duration, figure
from anybudget.storage.records import Comparison, Measured, Spent, StrategyResult


@dataclass(frozen=True, slots=True)
class Cell:
    """What a table says of one strategy: its text, whether it is the best of its row, and a remark."""

    text: str
    best: bool = False
    remark: str = ""
    over: bool = False


def section(comparison: Comparison | None) -> dict[str, Any] | None:
    """What the page shows of a comparison; None where there is none, or no strategy in it."""
    if comparison is None or not comparison.strategies:
        return None
    strategies = comparison.strategies
    candidates = [candidate for strategy in strategies for candidate in strategy.candidates]
    looks = [series.Series(index, strategy.name) for index, strategy in enumerate(strategies)]
    return {
        "comparison": comparison,
        "legend": [(series.sample(look), look.name) for look in looks],
        "rows": [
            (limits, _scores(row, comparison.metric))
            for limits, row in zip(comparison.budgets, _by_budget(strategies), strict=True)
        ],
        "totals": _totals(strategies),
        "limited": limited.draw(comparison, "strategies-limits"),
        "histogram": histogram.draw(strategies, "strategies-histogram"),
        "progress": progress.draw(strategies, "strategies-progress"),
        "unlimited": any(comparison.cost not in limits for limits in comparison.budgets),
        "several": any(comparison.cost in limits and len(limits) > 1 for limits in comparison.budgets),
        "over": sum(not candidate.within for candidate in candidates),
        "answers": len(candidates),
        "idle": [strategy.name for strategy in strategies if not strategy.evaluated],
    }


def _by_budget(strategies: Sequence[StrategyResult]) -> list[tuple[Measured, ...]]:
    return list(zip(*(strategy.candidates for strategy in strategies), strict=True))


def _scores(candidates: Sequence[Measured], metric: str) -> list[Cell]:
    """The top-1 of one budget set, the best by `metric`. What is over its budget is no answer, so never the best."""
    scores = [candidate.figure(metric) if candidate.within else None for candidate in candidates]
    return [
        Cell(f"{candidate.supernet_top1_percent:.2f}", best, _balanced(candidate), over=not candidate.within)
        for candidate, best in zip(candidates, _best(scores, 2), strict=True)
    ]


def _balanced(candidate: Measured) -> str:
    """Balanced accuracy as a remark; nothing where a run from before it was measured does not say it."""
    balanced = candidate.supernet_balanced_accuracy_percent
    return "" if balanced is None else f"balanced {balanced:.2f}"


def _best(values: Sequence[float | None], decimals: int) -> list[bool]:
    """Which values are the highest as written: equal texts are equally good. Alone, none is better than another."""
    written = [None if value is None else round(value, decimals) for value in values]
    highest = max((value for value in written if value is not None), default=None)
    return [len(values) > 1 and value is not None and value == highest for value in written]


def _totals(strategies: Sequence[StrategyResult]) -> list[tuple[str, list[Cell]]]:
    volumes = [strategy.hypervolume for strategy in strategies]
    return [
        ("Hypervolume", [Cell(f"{v:.4f}", best) for v, best in zip(volumes, _best(volumes, 4), strict=True)]),
        ("Candidates evaluated", [Cell(f"{strategy.spent.evaluations:.15g}") for strategy in strategies]),
        ("Images, training included", _spending(strategies, lambda spent: spent.images, figure)),
        ("Time, training included", _spending(strategies, lambda spent: spent.seconds, duration)),
    ]


def _spending(
    strategies: Sequence[StrategyResult], amount: Callable[[Spent], float], write: Callable[[float], str]
) -> list[Cell]:
    return [
        Cell(
            write(amount(strategy.spent)),
            remark=f"of it {write(amount(strategy.training))} in training" if amount(strategy.training) else "",
        )
        for strategy in strategies
    ]
