"""What can be said of a space before any training: its size, the range of its costs, reachable budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from anybudget.budgets import BudgetSet
from anybudget.costs import CostTerms, build_costs
from anybudget.decoding.integer_program import check_jointly_reachable, reachable
from anybudget.errors import BudgetError
from anybudget.spaces import SearchSpace

_SAMPLES = 20_000


def space_summary(space: SearchSpace, budgets: Sequence[BudgetSet], seed: int = 0) -> dict[str, Any]:
    """The documented JSON object of `anybudget space --json`.

    Minimum and maximum are exact; the median is of 20,000 networks drawn uniformly with `seed`.
    """
    terms = {name: model.terms for name, model in build_costs(space).items()}
    rng = np.random.default_rng(seed)
    sampled = np.stack([rng.integers(len(d.choices), size=_SAMPLES) for d in space.decisions], axis=1)
    costs = {name: _range(terms, name, sampled) for name in terms}
    return {
        "space": space.name,
        "size": space.size(),
        "networks": space.networks(),
        "decisions": len(space.decisions),
        "costs": {name: costs[name] for name in ("macs", "params", "bitops")},
        "conv_macs": costs["conv_macs"],
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
