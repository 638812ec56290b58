"""Agreement of orders with its error: Kendall's tau, how reliable a score is, and how much networks differ at all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtrc

from anybudget.evaluation.ranking import rank_correlation

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tau:
    """Kendall's tau-b of two orders of the same networks.

    `error` is its standard error over the choice of networks, and at least what one pair in the other order changes.
    `chance` is the probability that unrelated orders agree as well or better. All are None where one side is the same
    for all: there is no order to compare.
    """

    kendall: float | None
    error: float | None = None
    chance: float | None = None


NO_ORDER = Tau(None)


def agreement(scores: Values, truth: Values) -> Tau:
    """How well scores [n] order networks by their truth [n], n at least 3; higher is better in both.

    The error is the jackknife's, which is on average too large, the more so the fewer the networks.

    Example:
        >>> agreement(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 2.0, 4.0])).kendall
        0.666666666667
    """
    tau = rank_correlation(scores, truth).kendall
    if tau is None:
        return NO_ORDER
    from scipy import stats  # here: it takes as long to import as most commands run

    found = stats.kendalltau(stats.rankdata(scores), stats.rankdata(truth), alternative="greater")
    return Tau(tau, _error(_without_each(scores, truth)), float(found.pvalue))


def mean_agreement(repeats: Values) -> Tau:
    """How alike each two of some repeats order the same networks [n, k], k at least 2: the mean tau over the pairs.

    No `chance`: repeats of one measurement are not unrelated.
    """
    pairs = list(combinations(repeats.T, 2))
    taus = [rank_correlation(one, other).kendall for one, other in pairs]
    known = [tau for tau in taus if tau is not None]
    if len(known) < len(taus):
        return NO_ORDER
    return Tau(float(np.mean(known)), _error(np.mean([_without_each(one, other) for one, other in pairs], axis=0)))


def lengthened(tau: float, times: float) -> float:
    """The tau between two scores that are each `times` as long as those that agree with `tau`; 0 where that is below 0.

    By the formula of Spearman and Brown, which is about correlations: tau stands for the correlation of normal values
    that agree as well (`correlation`).

    Source: Spearman, "Correlation calculated from faulty data"; Brown, "Some experimental results in the correlation of
    mental abilities" (British Journal of Psychology 3, 1910).

    Example:
        >>> round(lengthened(0.6, 2), 3)
        0.705
    """
    return tau_of(_brown(correlation(tau), times))


def attainable(tau: float, times: float) -> float:
    """The tau that scores without any error have with the mean of `times` repeats, two of which agree with `tau`.

    The square root of the reliability bounds a correlation (Spearman, "The proof and measurement of association between
    two things", American Journal of Psychology 15, 1904).
    """
    return tau_of(math.sqrt(_brown(correlation(tau), times)))


def correlation(tau: float) -> float:
    """The correlation of two normal values whose orders agree with `tau`: sin(π/2 tau).

    Source: Greiner, "Über das Fehlersystem der Kollektivmaßlehre" (Zeitschrift für Mathematik und Physik 57, 1909).
    """
    return math.sin(math.pi / 2 * tau)


def tau_of(found: float) -> float:
    """The tau of two normal values with this correlation: the inverse of `correlation`."""
    return 2 / math.pi * math.asin(found)


@dataclass(frozen=True, slots=True)
class Spread:
    """How much networks differ, in the unit of what was measured: standard deviations.

    `networks` is that of what the networks are worth, with the noise of seeds taken off where it is known; `seeds` that
    of one network from seed to seed, None where each was measured once. `chance` is the probability that networks which
    are all worth the same look as different.
    """

    networks: float
    seeds: float | None = None
    chance: float | None = None


def spread(measured: Values) -> Spread:
    """The spread of networks that were measured several times [n, k]: an analysis of variance with one factor."""
    count, repeats = measured.shape
    between = float(measured.mean(1).var(ddof=1))
    if repeats < 2:
        return Spread(math.sqrt(between))
    within = float(measured.var(1, ddof=1).mean())
    own = math.sqrt(max(0.0, between - within / repeats))
    if within == 0:
        return Spread(own, 0.0, 0.0 if between else 1.0)
    freedoms = count - 1, count * (repeats - 1)
    return Spread(own, math.sqrt(within), float(fdtrc(*freedoms, repeats * between / within)))


def _without_each(one: Values, other: Values) -> Values:
    """Kendall's tau-b of two lists [n] without each of the networks in turn, [n]; 0 where there is no order left."""
    from scipy import stats  # here: it takes as long to import as most commands run

    first, second = (np.sign(ranks[:, None] - ranks) for ranks in map(stats.rankdata, (one, other)))
    # Of sums over all pairs, those of one network are a row and a column.
    agreed, told_first, told_second = (
        pairs.sum() - 2 * pairs.sum(1) for pairs in (first * second, first * first, second * second)
    )
    told = np.sqrt(told_first * told_second)
    taus: Values = np.divide(agreed, told, out=np.zeros(len(one)), where=told > 0)
    return taus


def _error(without: Values) -> float:
    """The jackknife's standard error of a tau, of which `without` leaves out each network; bounded by one pair."""
    count = len(without)
    jackknife = math.sqrt((count - 1) / count * float(((without - without.mean()) ** 2).sum()))
    return max(jackknife, 2 / math.comb(count, 2))


def _brown(found: float, times: float) -> float:
    """The reliability of what is `times` as long as what has this one."""
    return times * found / (1 + (times - 1) * found) if found > 0 else 0.0
