"""`ridge`: least squares with a penalty that leave-one-out errors choose, by which numbers become models."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_PENALTIES = 10.0 ** np.arange(-6.0, 5.0, 0.25)


@dataclass(frozen=True)
class RidgeFit:
    """The fit `intercept + features @ weights`; `left_out` predicts each sample from the others.

    `errors` are what `left_out` is off by, each times the root of its sample's importance, and `error` is their RMS.
    """

    weights: Array
    intercept: float
    penalty: float
    left_out: Array
    errors: Array

    @property
    def error(self) -> float:
        """Root mean square of the left-out errors."""
        return float(np.sqrt(np.mean(self.errors**2)))


def ridge(features: Array, targets: Array, importance: Array | None = None) -> RidgeFit:
    """Least squares with a squared penalty on the weights, none on the intercept; the penalty has the least LOO error.

    With centred features U S Vᵀ, the hat matrix of a penalty p is H = 1/n + U diag(s² / (s² + p)) Uᵀ, and leaving
    sample i out changes its residual r_i to r_i / (1 - H_ii), exactly; so one decomposition serves all penalties and
    all samples.

    Args:
        features: `[n, features]`, in units that one penalty suits.
        targets: `[n]`.
        importance: `[n]`, what the squared error of each sample counts; 1 each if None. Their mean is taken to be 1.

    Source: Golub, Heath and Wahba 1979, §1 (Allen's PRESS).
    """
    share = np.full(len(targets), 1.0 / len(targets)) if importance is None else importance / importance.sum()
    root = np.sqrt(share * len(targets))
    mean, middle = share @ features, float(share @ targets)
    centred = (targets - middle) * root
    left, values, right = np.linalg.svd((features - mean) * root[:, None], full_matrices=False)
    kept = values > 1e-10 * max(1.0, float(values.max(initial=0.0)))
    left, values, right = left[:, kept], values[kept], right[kept]
    along = left.T @ centred
    outside = centred - left @ along  # what no weights can explain
    # 1 - H_ii from its parts, not as a difference: it may be tiny where there are as many features as samples.
    freedom = np.maximum(0.0, 1.0 - share - (left**2).sum(1))
    best: tuple[float, float, Array] | None = None
    for penalty in _PENALTIES:
        shrunk = penalty / (values**2 + penalty)
        errors = (outside + left @ (shrunk * along)) / np.maximum(freedom + left**2 @ shrunk, 1e-12)
        error = float(np.mean(errors**2))
        if best is None or error < best[0]:
            best = error, float(penalty), errors
    assert best is not None, "there are penalties"
    _, penalty, errors = best
    weights = right.T @ (values / (values**2 + penalty) * along)
    return RidgeFit(weights, float(middle - mean @ weights), penalty, targets - errors / root, errors)
