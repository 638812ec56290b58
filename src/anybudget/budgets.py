"""`Budget` and `BudgetSet`: hard upper limits on costs, and how they are written as text."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation, Overflow
from difflib import get_close_matches

from anybudget.errors import BudgetError, shorten, shown

_SUFFIXES = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12}
_TERM = re.compile(
    r"^(?P<cost>[A-Za-z_]\w*(?:\.\w+)?)\s*(?P<relation>[<>=≤≥]+)\s*"
    r"(?P<number>[^A-Za-z\s<>=≤≥%]+(?:[eE][+-]?\d+)?)\s*(?P<suffix>[A-Za-z]*|%)$"
)
_SUFFIX_LIST = "suffixes are k (thousand), M (million), G or B (10^9) and T (10^12)"
Ranges = Callable[[str], tuple[float, float]]
"""The least and the greatest value that the networks of a space have of a cost."""

_EXAMPLE = 'write budgets like "macs<=2M" or "macs<=2M, params<=100k"'


@dataclass(frozen=True, slots=True)
class Budget:
    """One hard upper limit: `cost <= limit`, in the unit of the cost model named `cost`.

    Example:
        >>> str(Budget("macs", 240_000))
        'macs<=240k'
    """

    cost: str
    limit: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.limit) or self.limit <= 0:
            raise BudgetError(
                f"budget {shorten(self.cost)}<={self.limit:g}: the limit must be a finite number above 0; {_EXAMPLE}"
            )

        object.__setattr__(self, "limit", float(self.limit))

    def __str__(self) -> str:
        """The text that `BudgetSet.parse` reads back to the same limit: `macs<=240k`, `macs<=15816`."""
        return f"{self.cost}<={_limit_text(self.limit)}"


@dataclass(frozen=True, slots=True)
class BudgetSet:
    """Budgets that one architecture must meet together; at most one for each cost.

    The order in which they are given means nothing, so `budgets` is sorted by the names of the costs: sets that ask for
    the same are equal, have the same hash and print alike, and a search answers them alike.

    Example:
        >>> BudgetSet.parse("macs<=2.3M, params<=100k").limits()
        {'macs': 2300000.0, 'params': 100000.0}
    """

    budgets: tuple[Budget, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "budgets", tuple(sorted(self.budgets, key=lambda budget: budget.cost)))
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

    def slack(self, costs: Mapping[str, float]) -> dict[str, float]:
        """What each budget leaves unused, limit minus cost, by the cost's name; below 0 where it is exceeded."""
        return {budget.cost: budget.limit - costs[budget.cost] for budget in self.budgets}

    @classmethod
    def parse(cls, text: str, known: Collection[str] | None = None, ranges: Ranges | None = None) -> BudgetSet:
        """Read `"macs<=300M, params<=4M"`; suffixes k, M, G (or B) and T are powers of ten.

        `latency_ms<=40%` is a limit that lies at 40% of the interval that the networks of a space reach.

        Args:
            text: one budget, or several separated by commas.
            known: the names of the costs that may be limited; any if None.
            ranges: what is reached, for limits in percent; they are refused if None.

        Raises:
            BudgetError: a term is malformed, a limit is not a positive finite number, a cost is not known or comes
                twice; says what was probably meant.
        """
        terms = [term.strip() for term in text.split(",")]
        if terms == [""]:
            raise BudgetError(f"empty budget; {_EXAMPLE}")
        if "" in terms:
            raise BudgetError(f"budget {shown(text)}: nothing stands before or after a comma; {_EXAMPLE}")
        return cls(tuple(_parse_term(term, text, known, ranges) for term in terms))


def _parse_term(term: str, text: str, known: Collection[str] | None, ranges: Ranges | None) -> Budget:
    match = _TERM.match(term)
    if match is None:
        within = "" if term == text.strip() else f" in {shown(text)}"
        if re.fullmatch(r"[\d_.]+\s*[A-Za-z]*", term) and within:
            within += "; commas separate budgets, so write 15820 or 15_820 instead of 15,820"
        raise BudgetError(f"cannot read budget {shown(term)}{within}; {_EXAMPLE}")
    cost, relation, suffix = match["cost"], match["relation"], match["suffix"]
    try:
        # Decimal, so that 2.3M is 2300000 exactly, not the nearest product of two floats above or below it.
        limit = float(Decimal(match["number"]) * _SUFFIXES.get(suffix, _SUFFIXES.get(suffix.upper(), 1)))
    except InvalidOperation as error:
        raise BudgetError(f"budget {shown(term)}: {shown(match['number'])} is not a number; {_EXAMPLE}") from error
    except Overflow:
        limit = math.inf
    if not math.isfinite(limit) or limit <= 0:
        raise BudgetError(f"budget {shown(term)}: the limit must be a finite number above 0; {_EXAMPLE}")
    problems = []
    if known is not None and cost not in known:
        problems.append(unknown_cost(cost, known, limit))
    if relation not in ("<=", "≤"):
        problems.append(f"a budget is an upper limit, so write <= instead of {relation}")
    if suffix == "%":
        if ranges is None:
            problems.append("a share of what a space reaches is known where a recipe is read; give a number")
        elif limit > 100:
            problems.append("expected at most 100%, which every network meets")
    elif suffix not in _SUFFIXES:
        if cost.partition(".")[0].endswith(f"_{suffix}"):
            meant = f"a limit on {cost} is in {suffix} already, so write {cost}<={match['number']}"
        elif suffix.upper() in _SUFFIXES:
            meant = f"did you mean {suffix.upper()}?"
        else:
            meant = "a limit has no unit"
        problems.append(f"unknown suffix {shown(suffix)}: {meant}; {_SUFFIX_LIST}")
    if problems:
        raise BudgetError(f"budget {shown(term)}: {'; '.join(problems)}")
    return Budget(cost, _between(limit / 100, *ranges(cost)) if suffix == "%" and ranges else limit)


def _between(share: float, low: float, high: float) -> float:
    """Where in an interval a share of it lies, rounded down to four digits where that is still within."""
    limit = low + share * (high - low)
    if limit <= 0:
        return limit
    step = 10.0 ** (math.floor(math.log10(limit)) - 3)
    rounded = float(f"{math.floor(limit / step) * step:.4g}")
    return rounded if rounded >= low else limit


def unknown_cost(cost: str, known: Collection[str], limit: float | None = None) -> str:
    """What a message says of a cost that there is not: what was probably meant, and which costs there are."""
    hint, name = "", cost.lower()
    close = get_close_matches(name, known, n=1, cutoff=0.75)
    if "flop" in name and "macs" in known:
        hint = "; one multiply-add (MAC) is 2 FLOPs"
        if limit is not None:
            half, same = Budget("macs", limit / 2), Budget("macs", limit)
            hint += f", so write {half}, or {same} if multiply-adds were meant, which many papers call FLOPs"
    elif name.startswith("latency") or name.partition(".")[0].endswith(("_ms", "_us", "_s")):
        hint = "; what was measured on a device is a cost where a recipe has a table of it, such as [costs.latency_ms]"
    elif close:
        hint = f"; did you mean {close[0]}?"
    return f"unknown cost {shown(cost)}{hint}; known costs are {', '.join(known)}"


def unused_percent(budgets: Mapping[str, float], costs: Mapping[str, float]) -> dict[str, float]:
    """What each budget leaves unused, limit minus cost in percent of the limit; below 0 where the limit is exceeded."""
    return {cost: 100.0 * (limit - costs[cost]) / limit for cost, limit in budgets.items()}


def least_unused_percent(budgets: Mapping[str, float], costs: Mapping[str, float]) -> float:
    """The unused share of the tightest budget, in percent of its limit: the smallest of `unused_percent`.

    The tightest counts because of several budgets usually only one can be used up: the others leave something unused
    however good the search is.
    """
    return min(unused_percent(budgets, costs).values())


def exact_quantity(value: float) -> str:
    """Write a number with all its digits: 15816.0 -> `15,816`; values that differ are written differently."""
    value = float(value)
    return f"{int(value):,}" if value.is_integer() and abs(value) < 1e16 else f"{value:,}"


def _limit_text(limit: float) -> str:
    """A limit with a suffix where that is exact, otherwise with all its digits and no separators."""
    for suffix in ("T", "G", "M", "k"):
        text = f"{limit / _SUFFIXES[suffix]:.6g}"
        if limit >= _SUFFIXES[suffix] and float(Decimal(text) * _SUFFIXES[suffix]) == limit:
            return f"{text}{suffix}"
    return f"{int(limit)}" if limit.is_integer() and limit < 1e16 else repr(limit)


def format_quantity(value: float) -> str:
    """Write a count with at most four significant digits and a suffix: 2345678 -> `2.346M`."""
    for threshold, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.99995 * threshold:  # what rounds to 1000k is 1M
            return f"{value / threshold:.4g}{suffix}"
    return f"{value:.4g}"
