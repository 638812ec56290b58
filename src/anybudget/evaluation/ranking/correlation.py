"""The comparison of two orders: rank correlations, and how well scores agree with true accuracies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from anybudget.architecture import Architecture
from anybudget.errors import DataError
from anybudget.evaluation.metrics import Metrics

FEWEST = 3
"""Fewer networks have no order worth a coefficient."""


@dataclass(frozen=True, slots=True)
class Correlation:
    """How alike two orders are, from -1 (reversed) to 1 (the same): Kendall's tau-b and Spearman's rho.

    Both count ties: tau-b divides by the pairs that each side tells apart, rho uses mean ranks. Both are None where one
    side is the same for all, or there are fewer than two values: there is no order to compare, which is not to say that
    the two are unrelated.
    """

    kendall: float | None
    spearman: float | None


def rank_correlation(first: ArrayLike, second: ArrayLike) -> Correlation:
    """Kendall and Spearman correlation of two lists of numbers for the same things, `[n]` each; infinities are ranked.

    Raises:
        ValueError: the lists differ in length, or hold a NaN, which has no rank.
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.ndim != 1 or one.shape != other.shape or np.isnan(one).any() or np.isnan(other).any():
        raise ValueError(f"expected two lists of equally many numbers, without NaN; found {one.shape}, {other.shape}")
    from scipy import stats  # here: it takes as long to import as most commands run

    # From ranks, so that infinite values and huge ones compare as they should.
    one, other = stats.rankdata(one), stats.rankdata(other)
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return Correlation(None, None)
    tau, rho = stats.kendalltau(one, other, variant="b").statistic, stats.spearmanr(one, other).statistic
    # Rounded, so that equal orders give 1 and not a bit less; adding 0 turns -0 into 0.
    return Correlation(*(round(float(value), 12) + 0.0 for value in (tau, rho)))


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well scores order `networks` networks by their true accuracy: correlations of lower loss and higher top-1.

    `picked_percent` is the true accuracy of the network with the best score (top-1, then loss), `best_percent` the
    highest, `mean_percent` that of picking blindly.
    """

    networks: int
    loss: Correlation
    top1: Correlation
    picked_percent: float
    best_percent: float
    mean_percent: float


def against(scores: Mapping[Architecture, Metrics], truth: Mapping[Architecture, float]) -> Agreement:
    """Compare scores with true accuracies in percent, on the networks that both know.

    Raises:
        DataError: these are fewer than three.
    """
    common = known(scores, truth)
    true = [truth[architecture] for architecture in common]
    picked = max(common, key=lambda architecture: scores[architecture].rank)
    return Agreement(
        networks=len(common),
        loss=rank_correlation([-scores[architecture].loss for architecture in common], true),
        top1=rank_correlation([scores[architecture].top1_percent for architecture in common], true),
        picked_percent=truth[picked],
        best_percent=max(true),
        mean_percent=float(np.mean(true)),
    )


def known(architectures: Iterable[Architecture], truth: Mapping[Architecture, float]) -> list[Architecture]:
    """Those whose true accuracy is known.

    Raises:
        DataError: these are fewer than three.
    """
    everything = list(architectures)
    found = [architecture for architecture in everything if architecture in truth]
    if len(found) < FEWEST:
        raise DataError(
            f"the true accuracy of {len(found)} of {len(everything)} networks is known, and at least {FEWEST} are "
            "needed; is it that of another space?"
        )
    return found
