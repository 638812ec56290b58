"""`Decoder`: the most probable architectures within hard budgets; made once for a budget set, asked many times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from anybudget.budgets import BudgetSet
from anybudget.costs import CostTerms
from anybudget.decoding.limit import Limit
from anybudget.decoding.limited import LimitedSearch
from anybudget.decoding.reachability import check_reachable, jointly_unreachable
from anybudget.decoding.trellis import Array


@dataclass(frozen=True, slots=True)
class Decoded:
    """One decoded network: a choice index per decision, and the natural logarithm of its probability."""

    choices: tuple[int, ...]
    log_probability: float


class Decoder:
    """Finds the most probable choices within one budget set, exactly, for one distribution after the other.

    What does not depend on the distribution is done once: that the budgets can be met, and the tables of the search
    (`LimitedSearch`).

    Args:
        terms: the terms of every cost that `budgets` names.
        budgets: the hard limits.
        floors: least values of some costs, to use a budget up; dropped when no architecture meets them.
        pair_scores: for some pairs of decisions, what two choices score together, `[choices, choices]`; added to the
            scores of the choices and to what is returned as the log-probability. Few distinct rows solve fast.

    Raises:
        BudgetError: a cost is unknown, or a budget cannot be met, even alone; says the reachable interval.

    Example:
        >>> import numpy as np
        >>> from anybudget.budgets import BudgetSet
        >>> from anybudget.costs import CostTerms
        >>> macs = CostTerms(10.0, (np.array([1.0, 5.0]), np.array([2.0, 9.0])))
        >>> decoder = Decoder({"macs": macs}, BudgetSet.parse("macs<=21"))
        >>> decoder.decode([np.log([0.1, 0.9]), np.log([0.4, 0.6])])[0].choices
        (1, 0)
    """

    def __init__(
        self,
        terms: Mapping[str, CostTerms],
        budgets: BudgetSet,
        floors: Mapping[str, float] | None = None,
        pair_scores: Mapping[tuple[int, int], Array] | None = None,
    ) -> None:
        check_reachable(terms, budgets)
        self._terms, self._budgets = terms, budgets
        limits = [Limit.upper(terms[budget.cost], budget.limit) for budget in budgets]
        self._least = [Limit.floor(terms[cost], floor) for cost, floor in (floors or {}).items()]
        pairs = pair_scores or {}
        self._within = LimitedSearch(limits, pairs)
        self._using = LimitedSearch([*limits, *self._least], pairs) if floors else None

    def decode(self, log_probabilities: Sequence[Array], count: int = 1) -> list[Decoded]:
        """The `count` most probable distinct choices that meet every budget, best first; fewer if fewer exist.

        A solution is checked against the budgets with exact arithmetic before it is returned.

        Args:
            log_probabilities: for each decision, the log-probability of each choice (any finite scores work).
            count: how many distinct solutions to return.

        Raises:
            BudgetError: no architecture meets the budgets together; says what is reachable.
        """
        found = self._within.best(log_probabilities, count)
        if not found:
            raise jointly_unreachable(self._terms, self._budgets)
        # The best within the budgets often meet the floors, and are found faster.
        if self._using and not all(limit.allows(choices) for limit in self._least for choices, _ in found):
            found = self._using.best(log_probabilities, count) or found
        return [Decoded(choices, score) for choices, score in found]


def decode(
    log_probabilities: Sequence[Array],
    terms: Mapping[str, CostTerms],
    budgets: BudgetSet,
    count: int = 1,
    floors: Mapping[str, float] | None = None,
    pair_scores: Mapping[tuple[int, int], Array] | None = None,
) -> list[Decoded]:
    """One distribution decoded once: see `Decoder`, which is faster for several."""
    return Decoder(terms, budgets, floors, pair_scores).decode(log_probabilities, count)
