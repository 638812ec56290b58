"""GreedyNAS's theory: how many paths to sample so that enough of them are good."""

from __future__ import annotations

from collections.abc import Callable
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anybudget.errors import ConfigError
from anybudget.training.greedy_theory import probability_of_good, suggest_sampled


def test_published_probabilities() -> None:
    """GreedyNAS, Theorem 1, and its remark on the candidate pool."""
    assert round(100 * probability_of_good(10, 5, 0.6), 2) == 83.38
    assert round(100 * probability_of_good(10, 5, 0.6, pool_share=0.5), 2) == 99.36
    assert probability_of_good(10, 5, 0.6, pool_share=0.5) == pytest.approx(probability_of_good(10, 5, 0.8))


@given(st.integers(0, 12), st.integers(0, 12), st.floats(0, 1))
def test_probability_is_a_sum_over_outcomes(sampled: int, kept: int, share: float) -> None:
    if kept > sampled:
        with pytest.raises(ConfigError, match="kept"):
            probability_of_good(sampled, kept, share)
        return
    expected = sum(comb(sampled, n) * share**n * (1 - share) ** (sampled - n) for n in range(kept, sampled + 1))
    assert probability_of_good(sampled, kept, share) == pytest.approx(expected, abs=1e-12)


def test_probability_is_that_of_drawing() -> None:
    """Draw rounds as the greedy sampler does: each path from the pool or not, each good or not."""
    rng = np.random.default_rng(0)
    shape = 200_000, 7
    from_pool = rng.random(shape) < 0.3
    good = rng.random(shape) < np.where(from_pool, 0.9, 0.4)
    drawn = (good.sum(1) >= 4).mean()
    assert probability_of_good(7, 4, 0.4, pool_share=0.3, pool_good_share=0.9) == pytest.approx(drawn, abs=0.005)


@settings(max_examples=50)
@given(st.integers(1, 20), st.floats(0.05, 1), st.floats(0, 0.999))
def test_suggestion_is_the_fewest_that_is_enough(kept: int, share: float, confidence: float) -> None:
    sampled = suggest_sampled(kept, share, confidence)
    assert probability_of_good(sampled, kept, share) >= confidence
    assert sampled == kept or probability_of_good(sampled - 1, kept, share) < confidence


def test_suggestions() -> None:
    assert suggest_sampled(5, 0.6, 0.8338) == 11  # 83.376% with 10
    assert suggest_sampled(5, 0.6, 0.83) == 10
    assert suggest_sampled(5, 1.0, 1.0) == 5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: probability_of_good(10, 5, 1.2), "good_share=1.2"),
        (lambda: probability_of_good(10, 5, 0.5, pool_share=-0.1), "pool_share=-0.1"),
        (lambda: probability_of_good(10, 5, 0.5, 0.5, float("nan")), "pool_good_share=nan"),
        (lambda: probability_of_good(10, -1, 0.5), "kept=-1"),
        (lambda: suggest_sampled(0, 0.5, 0.9), "kept=0"),
        (lambda: suggest_sampled(5, 0.5, 1.5), "confidence=1.5"),
        (lambda: suggest_sampled(5, 0.0, 0.9), "no number of paths"),
        (lambda: suggest_sampled(5, 0.9, 1.0), "no number of paths"),
    ],
)
def test_impossible_shares_are_refused(call: Callable[[], float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call()
