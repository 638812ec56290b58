"""What may be promised of predicted latencies: their errors on networks of no fit, and the drift between processes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anybudget.costs import CostTerms
from anybudget.costs.latency import Promise
from anybudget.errors import DataError
from anybudget.latency.fitting import FEWEST, MeasuredNetworks, fit_latency
from anybudget.runtime.progress import Progress, SilentProgress
from anybudget.spaces import SearchSpace

Array = NDArray[np.float64]

_FOLDS = 10


def promise_of(predicted: Array, measured: Array, probe_ms: Sequence[float] = ()) -> Promise:
    """What the errors of predictions let one promise; `Promise.margin` says how much for a probability.

    Args:
        predicted: `[n]`, in ms; of networks that the model was not fitted to.
        measured: `[n]`, in ms.
        probe_ms: one and the same network, measured at different times; see `drift`.

    Raises:
        DataError: a prediction is not above 0, so that no share can be added to it.

    Example:
        >>> promise = promise_of(np.full(19, 2.0), np.linspace(1.9, 2.08, 19))
        >>> round(promise.margin(0.95), 6)
        0.04
    """
    if not (predicted > 0).all():
        raise DataError("a network is predicted to take no time; fit to more networks before promising anything")
    return Promise(errors=[float(error) for error in measured / predicted - 1], drift=drift(probe_ms))


def drift(probe_ms: Sequence[float]) -> float:
    """What another time or process may add to all latencies alike, as a share: twice the spread of a probe.

    Args:
        probe_ms: how long one and the same network took at different times, in ms; no drift is known from one time.

    Returns:
        Two standard deviations over the mean; at most 1.

    Example:
        >>> round(drift([1.0, 1.01, 0.99]), 6)
        0.02
    """
    if len(probe_ms) < 2:
        return 0.0
    return min(1.0, 2 * float(np.std(probe_ms, ddof=1) / np.mean(probe_ms)))


def cross_validated(
    space: SearchSpace,
    measured: MeasuredNetworks,
    prior: CostTerms | None = None,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Array:
    """Predictions `[n]` in ms of all measured networks, each by a model that was fitted without it.

    Ten models are fitted, each without a tenth of the networks. Their errors are those of models that know a tenth
    less, so a promise made of them for the model of all networks is a little on the safe side. A split conformal margin
    needs errors that are exchangeable, and errors of models that share networks are so only nearly: how often such
    promises were kept is measured in docs/latency.md.

    Args:
        space: whose networks were measured.
        measured: enough networks that nine tenths of them are at least 10.
        prior: see `fit_latency`.
        seed: of the order in which networks are dealt out.
        progress: shows how many of the models are fitted.

    Raises:
        DataError: too few networks.

    Source: Barber et al. 2021, Predictive inference with the jackknife+, §3 (CV+).
    """
    folds = np.array_split(np.random.default_rng(seed).permutation(len(measured)), _FOLDS)
    if len(measured) - len(folds[0]) < FEWEST:
        raise DataError(
            f"{len(measured)} measured networks are too few to check a model of latencies; give at least {FEWEST + 2}"
        )
    predicted = np.empty(len(measured))
    with (progress or SilentProgress()).task("cross-validation", _FOLDS) as task:
        for fold in folds:
            rest = np.setdiff1d(np.arange(len(measured)), fold)
            predicted[fold] = fit_latency(space, measured.part(rest), prior).predict(measured.choices[fold])
            task.advance()
    return predicted
