"""`AdditiveModel`: what every choice adds to a score, and pairs of neighbours, fitted by ridge regression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anybudget.costs import CostTerms
from anybudget.costs.features import FeatureBlock, columns_of, products, slot_counts, slots_in_use, terms_of
from anybudget.costs.ridge import ridge
from anybudget.spaces import Decision, SearchSpace

Array = NDArray[np.float64]


@dataclass(frozen=True)
class AdditiveModel:
    """A score as a sum over choices and over pairs of neighbouring ones.

    `terms` are in the unit of the scores. `loo_error` is the root mean square error, in that unit, and `kendall`
    Kendall's tau of predictions for samples that were left out of the fit, one at a time; None where either side is
    constant. `curved` and `paired` say which features beyond the counts lowered that error, and `penalty` is ridge's;
    both were chosen by it, which makes it a little low.
    """

    terms: CostTerms
    penalty: float
    curved: bool
    paired: bool
    loo_error: float
    kendall: float | None

    def predict(self, choices: NDArray[np.int64]) -> Array:
        """Predicted scores `[n]` of choices `[n, decisions]`."""
        return self.terms.costs(choices)


def fit_additive(space: SearchSpace, choices: NDArray[np.int64], scores: Array) -> AdditiveModel:
    """Fit the model to scores `[n]` of choices `[n, decisions]`.

    Features of a choice are how many of its slots use each operation, which is one-hot for a decision with one slot.
    The square of how many slots are in use (diminishing returns), and then products of what neighbouring decisions
    do, are added if they lower the leave-one-out error. What a decision does is its choice where it has one slot and
    at most 8 choices, and else how many of its slots are in use; without an operation `skip` that says nothing, and
    there is no product. So a pair has few distinct rows, and programs with them stay small.
    """
    from scipy.stats import kendalltau  # here, since it takes as long to import as all else that a recipe needs

    blocks = [FeatureBlock((d,), (slot_counts(decision),)) for d, decision in enumerate(space.decisions)]
    fit = ridge(columns_of(blocks, choices), scores)
    lowered = []
    for extra in (_curves(space.decisions), products(space.decisions)):
        richer = ridge(columns_of([*blocks, *extra], choices), scores)
        lowered.append(bool(extra) and richer.error < fit.error)
        if lowered[-1]:
            blocks, fit = [*blocks, *extra], richer
    curved, paired = lowered
    tau = float(kendalltau(fit.left_out, scores).statistic)
    kendall = tau if np.isfinite(tau) else None
    terms = terms_of(blocks, fit.weights, fit.intercept, space.decisions)
    return AdditiveModel(terms, fit.penalty, curved, paired, fit.error, kendall)


def _curves(decisions: Sequence[Decision]) -> list[FeatureBlock]:
    several = [(d, slots_in_use(decision)) for d, decision in enumerate(decisions) if decision.slots > 1]
    return [FeatureBlock((d,), (used**2,)) for d, used in several if used is not None]
