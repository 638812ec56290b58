"""`AdditiveModel`: what every choice adds to a score, and pairs of neighbours, fitted by ridge regression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anybudget.costs import CostTerms
from anybudget.spaces import Decision, SearchSpace

Array = NDArray[np.float64]

_MOST_ONE_HOT = 8
"""Decisions of one slot with more choices than this are summed up by whether they skip; pairs would not fit data."""
_PENALTIES = 10.0 ** np.arange(-6.0, 5.0, 0.25)


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


@dataclass(frozen=True)
class RidgeFit:
    """The fit `intercept + features @ weights`; `left_out` predicts each sample from the others, `error` is its RMS."""

    weights: Array
    intercept: float
    penalty: float
    left_out: Array
    error: float


def fit_additive(space: SearchSpace, choices: NDArray[np.int64], scores: Array) -> AdditiveModel:
    """Fit the model to scores `[n]` of choices `[n, decisions]`.

    Features of a choice are how many of its slots use each operation, which is one-hot for a decision with one slot.
    The square of how many slots are in use (diminishing returns), and then products of what neighbouring decisions
    do, are added if they lower the leave-one-out error. What a decision does is its choice where it has one slot and
    at most 8 choices, and else how many of its slots are in use; without an operation `skip` that says nothing, and
    there is no product. So a pair has few distinct rows, and programs with them stay small.
    """
    from scipy.stats import kendalltau  # here, since it takes as long to import as all else that a recipe needs

    blocks = [_Block((d,), (_counts(decision),)) for d, decision in enumerate(space.decisions)]
    fit = ridge(_features(blocks, choices), scores)
    lowered = []
    for extra in (_curves(space.decisions), _pairs(space.decisions)):
        richer = ridge(_features([*blocks, *extra], choices), scores)
        lowered.append(bool(extra) and richer.error < fit.error)
        if lowered[-1]:
            blocks, fit = [*blocks, *extra], richer
    curved, paired = lowered
    tau = float(kendalltau(fit.left_out, scores).statistic)
    kendall = tau if np.isfinite(tau) else None
    return AdditiveModel(_terms(blocks, fit, space.decisions), fit.penalty, curved, paired, fit.error, kendall)


def ridge(features: Array, targets: Array) -> RidgeFit:
    """Least squares with a squared penalty on the weights, none on the intercept; the penalty has the least LOO error.

    With centred features U S Vᵀ, the hat matrix of a penalty p is H = 1/n + U diag(s² / (s² + p)) Uᵀ, and leaving
    sample i out changes its residual r_i to r_i / (1 - H_ii), exactly; so one decomposition serves all penalties and
    all samples.

    Args:
        features: `[n, features]`, in units that one penalty suits.
        targets: `[n]`.

    Source: Golub, Heath and Wahba 1979, §1 (Allen's PRESS).
    """
    mean = features.mean(0)
    centred = targets - targets.mean()
    left, values, right = np.linalg.svd(features - mean, full_matrices=False)
    kept = values > 1e-10 * max(1.0, float(values.max(initial=0.0)))
    left, values, right = left[:, kept], values[kept], right[kept]
    along = left.T @ centred
    outside = centred - left @ along  # what no weights can explain
    # 1 - H_ii from its parts, not as a difference: it may be tiny where there are as many features as samples.
    freedom = np.maximum(0.0, 1.0 - 1.0 / len(targets) - (left**2).sum(1))
    best: tuple[float, float, Array] | None = None
    for penalty in _PENALTIES:
        shrunk = penalty / (values**2 + penalty)
        errors = (outside + left @ (shrunk * along)) / np.maximum(freedom + left**2 @ shrunk, 1e-12)
        error = float(np.sqrt(np.mean(errors**2)))
        if best is None or error < best[0]:
            best = error, float(penalty), errors
    assert best is not None, "there are penalties"
    error, penalty, errors = best
    weights = right.T @ (values / (values**2 + penalty) * along)
    return RidgeFit(weights, float(targets.mean() - mean @ weights), penalty, targets - errors, error)


@dataclass(frozen=True)
class _Block:
    """Features of one decision, or the products of features of two: one table `[choices, features]` for each."""

    decisions: tuple[int, ...]
    tables: tuple[Array, ...]

    def columns(self, choices: NDArray[np.int64]) -> Array:
        """The features `[n, features]` of choices `[n, decisions]`."""
        rows = [table[choices[:, d]] for d, table in zip(self.decisions, self.tables, strict=True)]
        return rows[0] if len(rows) == 1 else np.einsum("na,nb->nab", *rows).reshape(len(choices), -1)

    def values(self, weights: Array) -> Array:
        """What every choice, or every two choices, add to the score."""
        if len(self.tables) == 1:
            return self.tables[0] @ weights
        # Product of the distinct rows only: choices with equal features get equal values to the last bit.
        (rows, row), (columns, column) = (np.unique(t, axis=0, return_inverse=True) for t in self.tables)
        product = rows @ weights.reshape(rows.shape[1], columns.shape[1]) @ columns.T
        return product[np.ix_(row.ravel(), column.ravel())]


def _features(blocks: Sequence[_Block], choices: NDArray[np.int64]) -> Array:
    return np.concatenate([block.columns(choices) for block in blocks], axis=1)


def _terms(blocks: Sequence[_Block], fit: RidgeFit, decisions: Sequence[Decision]) -> CostTerms:
    """The fit as a number for every choice and pair of choices."""
    unary = [np.zeros(len(decision.choices)) for decision in decisions]
    pairs: dict[tuple[int, int], Array] = {}
    sizes = [int(np.prod([table.shape[1] for table in block.tables])) for block in blocks]
    for block, weights in zip(blocks, np.split(fit.weights, np.cumsum(sizes)[:-1]), strict=True):
        match block.decisions:
            case (d,):
                unary[d] += block.values(weights)
            case (d, e):
                pairs[d, e] = block.values(weights)
    return CostTerms(fit.intercept, tuple(unary), pairs)


def _counts(decision: Decision) -> Array:
    """How many slots use each operation, `[choices, operations]`."""
    slots = decision.encoding().reshape(len(decision.choices), decision.slots, -1)
    return np.asarray(slots.sum(1), dtype=np.float64)


def _in_use(decision: Decision) -> Array | None:
    """How many slots do not skip, `[choices, 1]`, with mean 0 and variance 1 over the choices; None if all the same."""
    if "skip" not in decision.operations:
        return None
    used = decision.slots - _counts(decision)[:, [decision.operations.index("skip")]]
    return (used - used.mean()) / used.std() if used.std() else None


def _curves(decisions: Sequence[Decision]) -> list[_Block]:
    several = [(d, _in_use(decision)) for d, decision in enumerate(decisions) if decision.slots > 1]
    return [_Block((d,), (used**2,)) for d, used in several if used is not None]


def _pairs(decisions: Sequence[Decision]) -> list[_Block]:
    found = []
    for d in range(len(decisions) - 1):
        first, second = _does(decisions[d]), _does(decisions[d + 1])
        if first is not None and second is not None:
            found.append(_Block((d, d + 1), (first, second)))
    return found


def _does(decision: Decision) -> Array | None:
    """What a decision does, in few numbers `[choices, features]`, centred so that products are not sums in disguise."""
    if decision.slots == 1 and len(decision.choices) <= _MOST_ONE_HOT:
        return np.eye(len(decision.choices)) - 1.0 / len(decision.choices)
    return _in_use(decision)
