"""Owns `Budget` and `BudgetSet`: hard upper limits on costs, and how they are written as text."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation, Overflow

from anybudget.errors import BudgetError, shorten, shown

_SUFFIXES = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12}
_TERM = re.compile(
    r"^(?P<cost>[A-Za-z_]\w*)\s*(?P<relation><=|≤)\s*(?P<number>[^A-Za-z\s]+(?:[eE][+-]?\d+)?)\s*(?P<suffix>[A-Za-z]*)$"
)
_EXAMPLE = 'write budgets like "macs<=2M" or "macs<=2M, params<=100k"'


@dataclass(frozen=True, slots=True)
class Budget:
    """One hard upper limit: `cost <= limit`, in the unit of the cost model named `cost`."""

    cost: str
    limit: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.limit) or self.limit <= 0:
            raise BudgetError(
                f"budget {shorten(self.cost)}<={self.limit:g}: the limit must be a finite number above 0; {_EXAMPLE}"
            )

    def __str__(self) -> str:
        return f"{self.cost}<={format_quantity(self.limit)}"


@dataclass(frozen=True, slots=True)
class BudgetSet:
    """Budgets that one architecture must meet together; at most one for each cost."""

    budgets: tuple[Budget, ...]

    def __post_init__(self) -> None:
        if not self.budgets:
            raise BudgetError(f"no budget given; {_EXAMPLE}")
        names = [budget.cost for budget in self.budgets]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            listed = shorten(", ".join(repeated))
            raise BudgetError(f"budget for {listed} given more than once in one set; keep one limit each")

    def __iter__(self) -> Iterator[Budget]:
        return iter(self.budgets)

    def __str__(self) -> str:
        return ", ".join(str(budget) for budget in self.budgets)

    def limits(self) -> dict[str, float]:
        """Limit of each cost, by the cost's name."""
        return {budget.cost: budget.limit for budget in self.budgets}

    def allows(self, costs: Mapping[str, float]) -> bool:
        """Whether `costs` meets every budget exactly, with no tolerance."""
        return all(costs[budget.cost] <= budget.limit for budget in self.budgets)

    def check_known(self, known: Collection[str]) -> None:
        """Check that every budget is one of a known cost.

        Raises:
            BudgetError: one is not; says which costs are known.
        """
        for budget in self:
            if budget.cost not in known:
                raise BudgetError(
                    f"unknown cost {shown(budget.cost)} in budget {shorten(str(budget))}; known costs are "
                    f"{', '.join(known)}"
                )

    @classmethod
    def parse(cls, text: str) -> BudgetSet:
        """Read `"macs<=300M, latency_ms<=12"`; suffixes k, M, G (or B) and T are powers of ten.

        Raises:
            BudgetError: a term is malformed, a limit is not a positive finite number, or a cost comes twice.
        """
        terms = [term.strip() for term in text.split(",")]
        if terms == [""]:
            raise BudgetError(f"empty budget; {_EXAMPLE}")
        if "" in terms:
            raise BudgetError(f"budget {shown(text)}: nothing stands before or after a comma; {_EXAMPLE}")
        return cls(tuple(_parse_term(term, text) for term in terms))


def _parse_term(term: str, text: str) -> Budget:
    match = _TERM.match(term)
    if match is None:
        within = "" if term == text.strip() else f" in {shown(text)}"
        raise BudgetError(f"cannot read budget {shown(term)}{within}; {_EXAMPLE}")
    suffix = match["suffix"]
    if suffix not in _SUFFIXES:
        raise BudgetError(
            f"budget {shown(term)}: unknown suffix {shown(suffix)}; known are k, M, G, B and T (powers of ten)"
        )
    try:
        # Decimal, so that 2.3M is 2300000 exactly, not the nearest product of two floats above or below it.
        limit = float(Decimal(match["number"]) * _SUFFIXES[suffix])
    except InvalidOperation as error:
        raise BudgetError(f"budget {shown(term)}: {shown(match['number'])} is not a number; {_EXAMPLE}") from error
    except Overflow:
        limit = math.inf
    if not math.isfinite(limit) or limit <= 0:
        raise BudgetError(f"budget {shown(term)}: the limit must be a finite number above 0; {_EXAMPLE}")
    return Budget(match["cost"], limit)


def format_quantity(value: float) -> str:
    """Write a count with at most four significant digits and a suffix: 2345678 -> `2.346M`."""
    for threshold, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.99995 * threshold:  # what rounds to 1000k is 1M
            return f"{value / threshold:.4g}{suffix}"
    return f"{value:.4g}"
