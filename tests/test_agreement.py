"""Agreement of orders with its error, reliability and spread: against closed forms, enumeration and simulation."""

from __future__ import annotations

import doctest
from itertools import permutations
from math import comb, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from anybudget.evaluation.ranking import rank_correlation
from anybudget.worth import agreement as module
from anybudget.worth.agreement import (
    NO_ORDER,
    agreement,
    attainable,
    correlation,
    lengthened,
    mean_agreement,
    spread,
    tau_of,
)


def test_the_examples_of_the_docstrings_run() -> None:
    found = doctest.testmod(module)
    assert (found.failed, found.attempted) == (0, 2)


def pairs_in_order(one: np.ndarray, other: np.ndarray) -> float:
    """Tau without ties, pair by pair."""
    signs = [np.sign((one[i] - one[j]) * (other[i] - other[j])) for i in range(len(one)) for j in range(i)]
    return float(np.mean(signs))


@settings(max_examples=30)
@given(st.permutations(range(7)), st.sampled_from([np.exp, np.cbrt, lambda x: 3 * x - 1]))
def test_tau_and_its_error_are_those_of_the_definition(order: list[int], monotone: object) -> None:
    one, other = np.arange(7.0), np.array(order, float)
    found = agreement(one, monotone(other))  # type: ignore[operator]
    assert found.kendall == pytest.approx(pairs_in_order(one, other))
    without = [pairs_in_order(np.delete(one, i), np.delete(other, i)) for i in range(7)]
    jackknife = sqrt(6 / 7 * sum((tau - np.mean(without)) ** 2 for tau in without))
    assert found.error == pytest.approx(max(jackknife, 2 / comb(7, 2)))


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=3, max_size=8))
def test_the_error_counts_ties(values: list[tuple[int, int]]) -> None:
    one, other = np.array(values, float).T
    found, everything = agreement(one, other), np.arange(len(one))
    without = [rank_correlation(one[everything != i], other[everything != i]).kendall or 0.0 for i in everything]
    jackknife = sqrt((len(one) - 1) / len(one) * sum((tau - np.mean(without)) ** 2 for tau in without))
    assert found == NO_ORDER or found.error == pytest.approx(max(jackknife, 2 / comb(len(one), 2)))


def test_chance_is_the_share_of_all_orders_that_agree_as_well() -> None:
    truth = np.arange(5.0)
    for scores in ([0, 1, 2, 3, 4], [0, 2, 1, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3]):
        values = np.array(scores, float)
        mine = pairs_in_order(values, truth)
        better = [pairs_in_order(np.array(order, float), truth) >= mine - 1e-9 for order in permutations(range(5))]
        assert agreement(values, truth).chance == pytest.approx(np.mean(better))


def test_the_same_order_is_not_without_error() -> None:
    assert agreement(np.arange(3.0), np.arange(3.0)).error == pytest.approx(2 / 3)
    assert agreement(np.arange(8.0), np.arange(8.0)).error == pytest.approx(2 / 28)


@pytest.mark.parametrize(("count", "most"), [(8, 1.5), (30, 1.3)])
def test_the_error_is_how_much_tau_moves_from_draw_to_draw(count: int, most: float) -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(300):
        truth = rng.normal(size=count)
        found.append(agreement(truth + 0.8 * rng.normal(size=count), truth))
    moved = np.std([tau.kendall for tau in found if tau.kendall is not None])
    error = np.mean([tau.error for tau in found if tau.error is not None])
    assert moved <= error <= most * moved


def test_where_one_side_is_constant_there_is_no_order() -> None:
    constant, other = np.ones(5), np.arange(5.0)
    assert agreement(constant, other) == agreement(other, constant) == NO_ORDER
    assert mean_agreement(np.stack([constant, other], axis=1)) == NO_ORDER


def test_agreement_of_repeats_is_the_mean_over_pairs() -> None:
    repeats = np.random.default_rng(0).normal(size=(9, 3)) + np.arange(9.0)[:, None] / 2
    found = mean_agreement(repeats)
    taus = [pairs_in_order(repeats[:, i], repeats[:, j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert found.kendall == pytest.approx(np.mean(taus))
    assert found.chance is None
    assert mean_agreement(repeats[:, :2]).error == agreement(repeats[:, 0], repeats[:, 1]).error


@settings(max_examples=50)
@given(st.floats(-1, 1))
def test_tau_and_correlation_say_the_same(tau: float) -> None:
    assert tau_of(correlation(tau)) == pytest.approx(tau, abs=1e-6)


@pytest.mark.parametrize("noise", [0.5, 1.0, 2.0])
def test_reliability_is_that_of_simulated_scores(noise: float) -> None:
    rng = np.random.default_rng(1)
    worth = rng.normal(size=4000)
    parts = worth[:, None] + noise * rng.normal(size=(4000, 4))
    halves = stats.kendalltau(parts[:, 0], parts[:, 1]).statistic
    whole = stats.kendalltau(parts[:, :2].mean(1), parts[:, 2:].mean(1)).statistic
    perfect = stats.kendalltau(worth, parts[:, :2].mean(1)).statistic
    assert lengthened(halves, 2) == pytest.approx(whole, abs=0.03)
    assert attainable(halves, 2) == pytest.approx(perfect, abs=0.03)


def test_lengthening_has_its_bounds() -> None:
    assert lengthened(1.0, 2) == pytest.approx(1.0)
    assert lengthened(0.0, 5) == lengthened(-0.3, 2) == attainable(-1.0, 2) == 0.0
    assert lengthened(0.4, 1) == pytest.approx(0.4)
    taus = [lengthened(0.3, times) for times in (1, 2, 5, 100)]
    assert taus == sorted(taus)


def test_spread_is_an_analysis_of_variance() -> None:
    rng = np.random.default_rng(2)
    measured = rng.normal(70, 2, size=(400, 1)) + rng.normal(0, 1, size=(400, 3))
    found = spread(measured)
    assert found.networks == pytest.approx(2, rel=0.1)
    assert found.seeds == pytest.approx(1, rel=0.1)
    few = measured[:6]
    assert spread(few).chance == pytest.approx(stats.f_oneway(*few).pvalue)


def test_networks_that_are_worth_the_same_look_different_as_often_as_chance_says() -> None:
    rng = np.random.default_rng(3)
    chances = [spread(rng.normal(size=(8, 2))).chance for _ in range(400)]
    assert np.mean([chance <= 0.05 for chance in chances if chance is not None]) == pytest.approx(0.05, abs=0.03)


def test_spread_of_single_measurements_and_of_equal_ones() -> None:
    single = spread(np.array([[1.0], [2.0], [3.0]]))
    assert (single.networks, single.seeds, single.chance) == (1.0, None, None)
    equal = spread(np.ones((4, 2)))
    assert (equal.networks, equal.seeds, equal.chance) == (0.0, 0.0, 1.0)
    exact = spread(np.array([[1.0, 1.0], [2.0, 2.0]]))
    assert (exact.seeds, exact.chance) == (0.0, 0.0)
