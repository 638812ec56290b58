"""How well predicted latencies agree with measured ones, and multiply-adds beside them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anybudget.costs.latency import Check

Array = NDArray[np.float64]


def check_of(predicted: Array, measured: Array, macs: Array) -> Check:
    """Compare predictions `[n]` with what was measured `[n]`, both in ms, of networks that were not fitted.

    Args:
        predicted: by the model.
        measured: in another process.
        macs: multiply-adds of the networks, as the predictor that needs no measuring.

    Example:
        >>> check = check_of(np.array([1.0, 2.0]), np.array([1.01, 2.1]), np.array([3.0, 2.0]))
        >>> round(check.mape_percent, 2), check.within_3_percent, check.tau, check.tau_macs
        (2.88, 50.0, 1.0, -1.0)
    """
    errors = np.abs(predicted / measured - 1)
    return Check(
        networks=len(measured),
        mape_percent=float(100 * errors.mean()),
        within_3_percent=float(100 * (errors <= 0.03).mean()),
        within_10_percent=float(100 * (errors <= 0.1).mean()),
        tau=_kendall(predicted, measured),
        tau_macs=_kendall(macs, measured),
    )


def _kendall(first: Array, second: Array) -> float:
    """Kendall's tau-b; 0 where either is the same for all."""
    from scipy import stats  # here: it takes as long to import as most commands run

    found = float(stats.kendalltau(first, second).statistic)
    return found if np.isfinite(found) else 0.0
