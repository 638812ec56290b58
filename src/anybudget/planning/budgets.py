"""Rules for budgets: where in the reachable interval of multiply-adds they lie, and what widths given ones need."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from anybudget.budgets import Budget, format_quantity
from anybudget.errors import BudgetError
from anybudget.planning.choice import Choice

PLACES = (0.5, 0.62, 0.75)
"""Where in the logarithm of the reachable interval budgets lie: about where the demo's do."""

MOST_USED = 0.5
"""Given budgets are to lie below this share of the costliest network, so that there is a choice within them."""


def spread(low: float, high: float) -> Choice[list[str]]:
    """Three budgets between the cheapest and the costliest network of a space, in multiply-adds."""
    limits = [_three_digits(low * (high / low) ** place) for place in PLACES]
    span = f"from {format_quantity(low)} to {format_quantity(high)}"
    where = ", ".join(f"{place:.0%}" for place in PLACES)
    return Choice(
        [str(Budget("macs", limit)) for limit in limits],
        f"networks reach {span}; at {where} of that in logarithms, about where the demo's are",
    )


def given(budgets: Sequence[str]) -> Choice[list[str]]:
    """Budgets that were asked for."""
    return Choice(list(budgets), "as asked for")


def like_network(title: str, macs: float) -> Choice[list[str]]:
    """The budget of what costs as much as a known network."""
    limit = _three_digits(macs)
    return Choice(
        [str(Budget("macs", limit))],
        f"as asked for: {title} has {format_quantity(macs)} here",
    )


def _three_digits(value: float) -> float:
    """Rounded down to three digits: a limit that is not above the value."""
    step = 10.0 ** (math.floor(math.log10(value)) - 2)
    return math.floor(value / step + 1e-9) * step


def factor_for(limit: float, costliest: Mapping[int, float]) -> Choice[int]:
    """What all widths are multiplied by so that a budget leaves a choice: the least for which it is a real limit.

    Args:
        limit: the greatest that was asked for, in multiply-adds.
        costliest: for each factor, the multiply-adds of the costliest network.

    Raises:
        BudgetError: no network of the widest space costs as much.
    """
    for factor in sorted(costliest):
        if limit <= MOST_USED * costliest[factor]:
            return Choice(
                factor,
                f"the least at which {format_quantity(limit)} multiply-adds are a limit; the costliest network "
                f"has {format_quantity(costliest[factor])}",
            )
    widest = max(costliest)
    if limit <= costliest[widest]:
        return Choice(
            widest, f"the widest; its costliest network has {format_quantity(costliest[widest])} multiply-adds"
        )
    raise BudgetError(
        f"budget {Budget('macs', limit)}: is no limit, as the costliest network planned for these images has "
        f"{format_quantity(costliest[widest])} multiply-adds; give a lower one"
    )
