"""The section that compares strategies: its table, its pictures, and what their captions must say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from anybudget.evaluation.metrics import LOSS
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
        "raced": any(candidate.race is not None for candidate in candidates),
        "idle": [strategy.name for strategy in strategies if not strategy.evaluated],
    }


def _by_budget(strategies: Sequence[StrategyResult]) -> list[tuple[Measured, ...]]:
    return list(zip(*(strategy.candidates for strategy in strategies), strict=True))


def _scores(candidates: Sequence[Measured], metric: str) -> list[Cell]:
    """The top-1 of one budget set, the best by `metric`. What is over its budget is no answer, so never the best."""
    sign, decimals = (-1, 4) if metric == LOSS else (1, 2)
    scores = [sign * candidate.figure(metric) if candidate.within else None for candidate in candidates]
    return [
        Cell(f"{candidate.supernet_top1_percent:.2f}", best, _remark(candidate, metric), over=not candidate.within)
        for candidate, best in zip(candidates, _best(scores, decimals), strict=True)
    ]


def _remark(candidate: Measured, metric: str) -> str:
    """Further figures; nothing where a run from before they were measured does not say them."""
    balanced, loss, race = candidate.supernet_balanced_accuracy_percent, candidate.supernet_loss, candidate.race
    said = [] if balanced is None else [f"balanced {balanced:.2f}"]
    if metric == LOSS and loss is not None:
        said.append(f"loss {loss:.4f}")
    if race is not None:
        last = race.networks[0].rounds[-1]
        said.append(f"raced {last.validation_top1_percent:.2f}, loss {last.validation_loss:.4f}")
    return "; ".join(said)


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
            remark=_parts(strategy, amount, write),
        )
        for strategy in strategies
    ]


def _parts(strategy: StrategyResult, amount: Callable[[Spent], float], write: Callable[[float], str]) -> str:
    """How much of what was spent went into training and into the race."""
    parts = {"training": strategy.training, "the race": strategy.race}
    said = [f"{write(amount(spent))} in {name}" for name, spent in parts.items() if spent and amount(spent)]
    return f"of it {' and '.join(said)}" if said else ""
