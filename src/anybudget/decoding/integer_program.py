"""Hard-budget decoding: the most probable architectures that meet every budget exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array, vstack

from anybudget.budgets import BudgetSet, exact_quantity, unknown_cost
from anybudget.costs import CostTerms, common_unit
from anybudget.errors import BudgetError

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Decoded:
    """One decoded network: a choice index per decision, and the natural logarithm of its probability."""

    choices: tuple[int, ...]
    log_probability: float


def decode(
    log_probabilities: Sequence[Array],
    terms: Mapping[str, CostTerms],
    budgets: BudgetSet,
    count: int = 1,
    floors: Mapping[str, float] | None = None,
    pair_scores: Mapping[tuple[int, int], Array] | None = None,
) -> list[Decoded]:
    """The `count` most probable distinct choices that meet every budget, best first; fewer if fewer exist.

    Solves the multiple-choice knapsack exactly as an integer program (HiGHS). A solution is checked against the
    budgets with exact arithmetic before it is returned, so the solver's own tolerance can never let a budget slip.

    Args:
        log_probabilities: for each decision, the log-probability of each choice (any finite scores work).
        terms: the terms of every cost that `budgets` names.
        budgets: the hard limits.
        count: how many distinct solutions to return.
        floors: least values of some costs, to use a budget up; dropped when no architecture meets them.
        pair_scores: for some pairs of decisions, what two choices score together, `[choices, choices]`; added to the
            scores of the choices and to what is returned as the log-probability. Few distinct rows solve fast.

    Raises:
        BudgetError: no architecture meets the budgets; says the reachable interval.
    """
    check_reachable(terms, budgets)
    if floors and count == 1:
        # Without floors most choices are dominated and the program is small; often its solution meets them anyway.
        (free,) = decode(log_probabilities, terms, budgets, pair_scores=pair_scores)
        if all(terms[cost].cost(free.choices) >= floor for cost, floor in floors.items()):
            return [free]
    pairs = pair_scores or {}
    limited = [terms[budget.cost] for budget in budgets]
    kept = _undominated(log_probabilities, limited, count, pairs, without_floors=not floors)
    program = _Program(log_probabilities, kept, terms, budgets, pairs, floors=floors)
    found: list[Decoded] = []
    while len(found) < count and (choices := program.solve()) is not None:
        program.exclude(choices)
        # A choice the solver thought feasible within its tolerance is excluded and not returned.
        if all(terms[budget.cost].cost(choices) <= budget.limit for budget in budgets):
            score = sum(float(row[choice]) for row, choice in zip(log_probabilities, choices, strict=True))
            score += sum(float(table[choices[d], choices[e]]) for (d, e), table in pairs.items())
            found.append(Decoded(choices, score))
    if not found and floors:
        return decode(log_probabilities, terms, budgets, count, pair_scores=pair_scores)
    if not found:
        raise _jointly_unreachable(terms, budgets)
    return sorted(found, key=lambda decoded: -decoded.log_probability)


def optimum(
    terms: Mapping[str, CostTerms], cost: str, budgets: BudgetSet | None = None, *, largest: bool, gap: float = 0.0
) -> float | None:
    """The smallest or largest value of `cost` over all architectures that meet `budgets`; None if there are none.

    `gap` is the relative distance from the optimum that will do; proving the last digits can take long.
    """
    sign = 1.0 if largest else -1.0
    target = terms[cost]
    if budgets is None and all(e == d + 1 for d, e in target.pairwise):
        return _chain_optimum(target, sign)
    scale = sign / max(1.0, max(float(np.abs(row).max()) for row in target.unary))
    everything = [list(range(len(row))) for row in target.unary]
    scores = [scale * row for row in target.unary]
    pair_scores = {pair: scale * table for pair, table in target.pairwise.items()}
    program = _Program(scores, everything, terms, budgets, pair_scores, gap=gap)
    while (choices := program.solve()) is not None:
        if budgets is None or all(terms[budget.cost].cost(choices) <= budget.limit for budget in budgets):
            return target.cost(choices)
        program.exclude(choices)
    return None


def _chain_optimum(terms: CostTerms, sign: float) -> float:
    """The extreme of a cost whose pairs are neighbours, by dynamic programming along the decisions."""
    best = sign * terms.unary[0]
    for decision in range(1, len(terms.unary)):
        pair = terms.pairwise.get((decision - 1, decision))
        reached = best.max() if pair is None else (best[:, None] + sign * pair).max(0)
        best = reached + sign * terms.unary[decision]
    return terms.constant + sign * float(best.max())


def reachable(terms: Mapping[str, CostTerms], cost: str) -> tuple[float, float]:
    """The smallest and the largest value of `cost` over the whole space."""
    low, high = (optimum(terms, cost, largest=largest) for largest in (False, True))
    assert low is not None, "without budgets there is always an architecture"
    assert high is not None, "without budgets there is always an architecture"
    return low, high


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
    if optimum(terms, next(iter(budgets)).cost, budgets, largest=False) is None:
        raise _jointly_unreachable(terms, budgets)


def _jointly_unreachable(terms: Mapping[str, CostTerms], budgets: BudgetSet) -> BudgetError:
    """Says, for each budget, the least its cost can be when the others hold."""
    parts = []
    for budget in budgets:
        others = tuple(other for other in budgets if other != budget)
        low = optimum(terms, budget.cost, BudgetSet(others) if others else None, largest=False)
        if low is not None:
            parts.append(f"with {', '.join(map(str, others))} the least {budget.cost} is {exact_quantity(low)}")
    return BudgetError(f"no architecture meets {budgets} together; {'; '.join(parts)}")


def _undominated(
    scores: Sequence[Array],
    terms: Sequence[CostTerms],
    count: int,
    pair_scores: Mapping[tuple[int, int], Array],
    *,
    without_floors: bool,
) -> list[list[int]]:
    """Choices that can be part of one of the `count` best solutions.

    A choice that `count` others beat in score at no higher cost can be left out: swapping it for each of them gives
    `count` better solutions. Where a swap can break something else, a floor or a pairwise cost or score, all choices
    stay.
    """
    if not without_floors:
        return [list(range(len(row))) for row in scores]
    coupled = {decision for pairs in (*(t.pairwise for t in terms), pair_scores) for pair in pairs for decision in pair}
    kept = []
    for decision, row in enumerate(scores):
        order = sorted(range(len(row)), key=lambda choice: -float(row[choice]))
        costs = np.array([term.unary[decision] for term in terms])
        keep: list[int] = []
        for choice in order:
            better = (costs[:, keep] <= costs[:, [choice]]).all(0).sum() if keep else 0
            if decision in coupled or better < count:
                keep.append(choice)
        kept.append(keep)
    return kept


@dataclass(frozen=True)
class _Pair:
    """The variables of a pair of decisions, one for every two groups of choices.

    Choices that interact alike with the other decision, having equal rows in every table, share a group: in a channel
    search 40 choices have 10 widths, and the program is an eighth of the size.
    """

    rows: NDArray[np.int64]  # group of each choice of the first decision
    columns: NDArray[np.int64]  # and of the second
    variables: NDArray[np.int64]  # [groups, groups]

    @classmethod
    def of(cls, tables: Array, start: int) -> _Pair:
        """Group the choices of `tables` `[tables, first, second]`; variables are numbered from `start`."""
        rows = np.unique(tables.transpose(1, 0, 2).reshape(tables.shape[1], -1), axis=0, return_inverse=True)[1].ravel()
        columns = np.unique(tables.reshape(-1, tables.shape[2]), axis=1, return_inverse=True)[1].ravel()
        shape = (int(rows.max()) + 1, int(columns.max()) + 1)
        return cls(rows, columns, np.arange(shape[0] * shape[1]).reshape(shape) + start)

    def values(self, table: Array) -> Array:
        """One table's value for every two groups."""
        found = np.empty(self.variables.shape)
        found[np.ix_(self.rows, self.columns)] = table
        return found


class _Program:
    """The integer program: one binary variable per kept choice, one row per decision and per budget."""

    def __init__(
        self,
        scores: Sequence[Array],
        kept: Sequence[Sequence[int]],
        terms: Mapping[str, CostTerms],
        budgets: BudgetSet | None,
        pair_scores: Mapping[tuple[int, int], Array] | None = None,
        floors: Mapping[str, float] | None = None,
        gap: float = 0.0,
    ) -> None:
        self._gap = gap
        self._kept = kept
        self._start = np.cumsum([0, *(len(choices) for choices in kept)])
        self._binaries = int(self._start[-1])
        self._pairs: dict[tuple[int, int], _Pair] = {}
        self._size = self._binaries
        limited = [*(budget.cost for budget in budgets or ()), *(floors or ())]
        tables = [terms[cost].pairwise for cost in limited] + ([pair_scores] if pair_scores else [])
        for d, e in dict.fromkeys(pair for table in tables for pair in table):
            both = np.stack([table[d, e][np.ix_(kept[d], kept[e])] for table in tables if (d, e) in table])
            self._pairs[d, e] = _Pair.of(both, self._size)
            self._size += self._pairs[d, e].variables.size
        self._objective = np.zeros(self._size)
        self._objective[: self._binaries] = -np.concatenate(
            [row[list(choices)] for row, choices in zip(scores, kept, strict=True)]
        )
        for (d, e), table in (pair_scores or {}).items():
            pair = self._pairs[d, e]
            self._objective[pair.variables] = -pair.values(table[np.ix_(kept[d], kept[e])])
        self._rows: list[csr_array] = []
        self._low: list[float] = []
        self._high: list[float] = []
        for decision in range(len(kept)):
            self._add(self._variables(decision), np.ones(len(kept[decision])), 1.0, 1.0)
        for (d, e), pair in self._pairs.items():
            self._couple(d, pair.rows, pair.variables)
            self._couple(e, pair.columns, pair.variables.T)
        for budget in budgets or ():
            self._add_budget(terms[budget.cost], budget.limit)
        for cost, floor in (floors or {}).items():
            self._add_budget(_negated(terms[cost]), -floor)

    def solve(self) -> tuple[int, ...] | None:
        """The best choices not yet excluded, or None when there are none."""
        result = milp(
            self._objective,
            integrality=(np.arange(self._size) < self._binaries).astype(int),
            bounds=Bounds(0, 1),
            constraints=LinearConstraint(vstack(self._rows, format="csr"), np.array(self._low), np.array(self._high)),
            options={"mip_rel_gap": self._gap},
        )
        if result.x is None:
            return None
        return tuple(
            choices[int(np.argmax(result.x[self._variables(decision)]))] for decision, choices in enumerate(self._kept)
        )

    def exclude(self, choices: Sequence[int]) -> None:
        """Forbid exactly this combination from now on."""
        columns = [int(self._start[d]) + self._kept[d].index(choice) for d, choice in enumerate(choices)]
        self._add(np.array(columns), np.ones(len(columns)), -np.inf, len(columns) - 1.0)

    def _variables(self, decision: int) -> NDArray[np.int64]:
        return np.arange(self._start[decision], self._start[decision + 1])

    def _add(self, columns: NDArray[np.int64], values: Array, low: float, high: float) -> None:
        row = (values, (np.zeros(len(columns), dtype=int), columns))
        self._rows.append(csr_array(row, shape=(1, self._size)))
        self._low.append(low)
        self._high.append(high)

    def _couple(self, decision: int, groups: NDArray[np.int64], variables: NDArray[np.int64]) -> None:
        """The pair variables of each group of choices add up to the variables of these choices."""
        choices = self._variables(decision)
        for group, pairs in enumerate(variables):
            members = choices[groups == group]
            columns = np.concatenate([members, pairs])
            self._add(columns, np.concatenate([-np.ones(len(members)), np.ones(len(pairs))]), 0.0, 0.0)

    def _add_budget(self, terms: CostTerms, limit: float) -> None:
        columns = [np.arange(self._binaries)]
        values = [np.concatenate([row[list(choices)] for row, choices in zip(terms.unary, self._kept, strict=True)])]
        for (d, e), table in terms.pairwise.items():
            pair = self._pairs[d, e]
            columns.append(pair.variables.ravel())
            values.append(pair.values(table[np.ix_(self._kept[d], self._kept[e])]).ravel())
        coefficients, bound = _scaled(np.concatenate(values), limit - terms.constant)
        self._add(np.concatenate(columns), coefficients, -np.inf, bound)


def _negated(terms: CostTerms) -> CostTerms:
    """The terms of minus the cost, which turn a floor into a limit."""
    return CostTerms(
        -terms.constant,
        tuple(-row for row in terms.unary),
        {pair: -table for pair, table in terms.pairwise.items()},
    )


def _scaled(values: Array, bound: float) -> tuple[Array, float]:
    """The row in its largest unit: whole numbers stay whole, so that the solver's tolerance cannot blur them."""
    unit = common_unit(values)
    if unit is not None:
        return values / unit, float(np.floor(bound / unit))
    scale = max(float(np.abs(values).max()), abs(bound)) / 1e4
    return values / scale, bound / scale
