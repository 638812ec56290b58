"""What can be reached: the range of every cost, whether budgets can be met, how much of a cost they allow."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from anybudget.budgets import BudgetSet, exact_quantity, unknown_cost
from anybudget.costs import CostModel, CostTerms
from anybudget.decoding.integer_program import IntegerProgram
from anybudget.decoding.limit import Limit
from anybudget.decoding.limited import LimitedSearch
from anybudget.decoding.trellis import Trellis
from anybudget.errors import BudgetError
from anybudget.spaces import SearchSpace

_SAMPLES = 20_000


def reachable(terms: Mapping[str, CostTerms], cost: str) -> tuple[float, float]:
    """The smallest and the largest value of `cost` over the whole space."""
    return extremes(terms[cost])


def parse_budgets(text: str, costs: Mapping[str, CostModel]) -> BudgetSet:
    """Budgets as they are typed, on these costs; also as shares of what they reach, such as `latency_ms<=40%`.

    Raises:
        BudgetError: see `BudgetSet.parse`.
    """
    return BudgetSet.parse(text, costs, lambda cost: extremes(costs[cost].terms))


def extremes(target: CostTerms) -> tuple[float, float]:
    """The smallest and the largest value of a cost over all choices."""
    low, high = map(target.cost, extreme_choices(target))
    return low, high


def extreme_choices(target: CostTerms) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A choice per decision at which a cost is smallest, and one at which it is largest.

    Example:
        >>> extreme_choices(CostTerms(0.0, (np.array([1.0, 5.0]), np.array([9.0, 2.0]))))
        ((0, 1), (1, 0))
    """
    if target.combine == "max":
        return _extremes_of_a_maximum(target)
    trellis = Trellis.of([target])
    if trellis is not None:
        paths = [trellis.best_path(np.array([sign])) for sign in (-1.0, 1.0)]
    else:
        paths = []
        for sign in (-1.0, 1.0):
            pairs = {pair: sign * table for pair, table in target.pairwise.items()}
            path = IntegerProgram([sign * row for row in target.unary], (), pairs).solve()
            assert path is not None, "without limits there is always an architecture"
            paths.append(path)
    low, high = (tuple(map(int, path)) for path in paths)
    return low, high


def _extremes_of_a_maximum(target: CostTerms) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """See `extreme_choices`: the least limit that can be kept, and the choices with the greatest number."""
    numbers = target.numbers()
    above = {number: target.counts_above(number) for number in numbers.tolist()}
    low = numbers[bisect_left(numbers, True, key=lambda number: extremes(above[number])[0] == 0)]
    return extreme_choices(above[low])[0], extreme_choices(target.counts_above(numbers[-1], at_least=True))[1]


def optimum(
    terms: Mapping[str, CostTerms], cost: str, budgets: BudgetSet, *, largest: bool, gap: float = 0.0
) -> float | None:
    """The smallest or largest value of `cost` over all architectures that meet `budgets`; None if there are none.

    `gap` is the relative distance from the optimum that will do; proving the last digits can take long.
    """
    target = terms[cost]
    limits = [Limit.upper(terms[budget.cost], budget.limit) for budget in budgets]
    if target.combine == "max":
        return _optimum_of_a_maximum(target, limits, largest=largest)
    # The tolerances of the solver are absolute: the greatest term is to be worth 1.
    scale = (1.0 if largest else -1.0) / max(1.0, max(float(np.abs(row).max()) for row in target.unary))
    pairs = {pair: scale * table for pair, table in target.pairwise.items()}
    search = LimitedSearch(limits, pairs)
    found = search.best([scale * row for row in target.unary], gap=gap)
    return target.cost(found[0][0]) if found else None


def _optimum_of_a_maximum(target: CostTerms, limits: Sequence[Limit], *, largest: bool) -> float | None:
    """See `optimum`: by bisection over the numbers, each asked whether something within the limits reaches it."""
    numbers = target.numbers()
    blank = [np.zeros_like(row) for row in target.unary]

    def possible(number: float) -> bool:
        own = Limit.floor(target, number) if largest else Limit.upper(target, number)
        return bool(LimitedSearch([*limits, own]).best(blank))

    if largest:
        beyond = bisect_left(numbers, True, key=lambda number: not possible(number))
        return float(numbers[beyond - 1]) if beyond else None
    first = bisect_left(numbers, True, key=possible)
    return float(numbers[first]) if first < len(numbers) else None


def attainable(terms: Mapping[str, CostTerms], cost: str, budgets: BudgetSet) -> float:
    """The most of `cost` that all the budgets together allow, to within 1%.

    Raises:
        BudgetError: a cost is unknown, or no architecture meets the budgets.
    """
    check_reachable(terms, budgets)
    limits = budgets.limits()
    most = reachable(terms, cost)[1]
    if set(limits) != {cost}:
        found = optimum(terms, cost, budgets, largest=True, gap=0.01)
        if found is None:
            raise jointly_unreachable(terms, budgets)
        most = found
    return min(most, limits.get(cost, most))


def position(terms: Mapping[str, CostTerms], cost: str, budgets: BudgetSet) -> float:
    """Where `attainable` lies in the reachable interval of `cost`: 0 its least value, 1 its greatest.

    Raises:
        BudgetError: no architecture meets the budgets.
    """
    low, high = reachable(terms, cost)
    return (attainable(terms, cost, budgets) - low) / (high - low) if high > low else 1.0


def check_reachable(terms: Mapping[str, CostTerms], budgets: BudgetSet) -> None:
    """Check that every budget names a known cost and can be met, each taken alone.

    Raises:
        BudgetError: with the reachable interval of the cost.
    """
    for budget in budgets:
        if budget.cost not in terms:
            raise BudgetError(f"budget {budget}: {unknown_cost(budget.cost, terms, budget.limit)}")
        low, high = reachable(terms, budget.cost)
        if budget.limit < low:
            raise BudgetError(
                f"budget {budget} cannot be met: {budget.cost} of this space reaches from {exact_quantity(low)} to "
                f"{exact_quantity(high)}, and the limit is {exact_quantity(budget.limit)}"
            )


def check_jointly_reachable(terms: Mapping[str, CostTerms], budgets: BudgetSet) -> None:
    """Check that one architecture meets all the budgets together.

    Raises:
        BudgetError: with what can be reached.
    """
    check_reachable(terms, budgets)
    if len(budgets.budgets) > 1 and optimum(terms, next(iter(budgets)).cost, budgets, largest=False) is None:
        raise jointly_unreachable(terms, budgets)


def jointly_unreachable(terms: Mapping[str, CostTerms], budgets: BudgetSet) -> BudgetError:
    """The error for budgets that can be met alone but not together: the least of each cost when the others hold."""
    parts = []
    for budget in budgets:
        others = tuple(other for other in budgets if other != budget)
        low = optimum(terms, budget.cost, BudgetSet(others), largest=False) if others else None
        if low is not None:
            parts.append(f"with {', '.join(map(str, others))} the least {budget.cost} is {exact_quantity(low)}")
    return BudgetError(f"no architecture meets {budgets} together; {'; '.join(parts)}")


def space_summary(
    space: SearchSpace, costs: Mapping[str, CostModel], budgets: Sequence[BudgetSet], seed: int = 0
) -> dict[str, Any]:
    """The documented JSON object of `anybudget space --json`.

    Minimum and maximum are exact; the median is of 20,000 networks drawn uniformly with `seed`.
    """
    terms = {name: model.terms for name, model in costs.items()}
    rng = np.random.default_rng(seed)
    sampled = np.stack([rng.integers(len(d.choices), size=_SAMPLES) for d in space.decisions], axis=1)
    return {
        "space": space.name,
        "size": space.size(),
        "networks": space.networks(),
        "decisions": len(space.decisions),
        "costs": {
            name: {**_range(terms, name, sampled), **({"note": model.note} if model.note else {})}
            for name, model in costs.items()
        },
        "budgets": [_reach(terms, budget_set) for budget_set in budgets],
    }


def _range(terms: Mapping[str, CostTerms], name: str, sampled: np.ndarray[Any, np.dtype[np.int64]]) -> dict[str, float]:
    low, high = reachable(terms, name)
    return {"min": low, "median": float(np.median(terms[name].costs(sampled))), "max": high}


def _reach(terms: Mapping[str, CostTerms], budgets: BudgetSet) -> dict[str, Any]:
    reason = None
    try:
        check_jointly_reachable(terms, budgets)
    except BudgetError as error:
        reason = str(error)
    return {"text": str(budgets), "budgets": budgets.limits(), "reachable": reason is None, "reason": reason}
