"""The probability that a greedy round keeps good paths only, which helps to choose how many to draw and keep."""

from __future__ import annotations

import math

from scipy.special import bdtrc

from anybudget.errors import ConfigError


def probability_of_good(
    sampled: int, kept: int, good_share: float, pool_share: float = 0.0, pool_good_share: float = 1.0
) -> float:
    """Probability that at least `kept` of `sampled` paths are good: that a round which keeps the best trains no other.

    Each path is drawn on its own, from the pool with probability `pool_share`, else uniformly; the number of good ones
    is binomial. With 60% good paths at least 5 of 10 are good with 83.38%, with half of the draws from the pool
    (0.5 + 0.5 * 0.6 = 80% good) with 99.36%.

    Args:
        sampled: paths of a round (m of the paper).
        kept: how many of them are trained (k).
        good_share: share of all paths that are good, 0 to 1.
        pool_share: probability that a path comes from the candidate pool, 0 to 1.
        pool_good_share: share of the pool that is good, 0 to 1; the paper takes all of it for good.

    Raises:
        ConfigError: a share is outside 0 to 1, or the numbers are not 0 <= kept <= sampled.

    Source: GreedyNAS §3.2, Theorem 1 and Fig. 2; §4.1 for the pool.
    """
    _check_shares(good_share=good_share, pool_share=pool_share, pool_good_share=pool_good_share)
    if not 0 <= kept <= sampled:
        raise ConfigError(f"kept={kept} must be from 0 to sampled={sampled}")
    share = pool_share * pool_good_share + (1.0 - pool_share) * good_share
    return float(bdtrc(kept - 1, sampled, share)) if kept else 1.0


def suggest_sampled(kept: int, good_share: float, confidence: float) -> int:
    """The fewest paths to sample so that at least `kept` of them are good with probability `confidence`.

    Draws from a pool are counted in by the share of good paths over all draws.

    Raises:
        ConfigError: `kept` is below 1, a share is outside 0 to 1, or no number is enough: no path is good, or
            `confidence` is 1 and not every path is.
    """
    _check_shares(good_share=good_share, confidence=confidence)
    if kept < 1:
        raise ConfigError(f"kept={kept} must be at least 1")
    if good_share == 1.0 or confidence == 0.0:
        return kept
    if good_share == 0.0 or confidence == 1.0:
        raise ConfigError(
            f"with good_share={good_share} no number of paths reaches confidence={confidence}; choose a good_share "
            "above 0 and a confidence below 1"
        )
    # The probability grows with the number sampled: double until it is enough, then halve the interval.
    low, high = kept - 1, kept
    while probability_of_good(high, kept, good_share) < confidence:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if probability_of_good(middle, kept, good_share) < confidence:
            low = middle
        else:
            high = middle
    return high


def _check_shares(**shares: float) -> None:
    for name, share in shares.items():
        if not 0.0 <= share <= 1.0 or math.isnan(share):
            raise ConfigError(f"{name}={share} must be from 0 to 1")
