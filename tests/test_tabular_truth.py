"""The arithmetic of tabular truth against brute force: orders, regret, random search, hypervolume, blends."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from anybudget.errors import DataError
from anybudget.tabular.blend import WEIGHTS, average, blends
from anybudget.tabular.order import best, ceiling, floors, order
from anybudget.tabular.regret import BudgetTruth, expected_best, least_count
from anybudget.tabular.tables import read_nas_bench_201, read_nas_bench_macro
from anybudget.tabular.truth import Truth
from tiny_benchmark import SPACE, tiny

__all__ = ["tiny"]

numbers = st.lists(st.floats(0, 100), min_size=1, max_size=9)


def truth_of(percent: list[float], macs: list[float], seeds: list[list[float]] | None = None) -> Truth:
    """A made-up truth of the first networks of the tiny space."""
    networks = tuple(sorted(SPACE.enumerate(), key=lambda a: a.choices))[: len(percent)]
    values = np.array(percent)
    return Truth(
        SPACE,
        networks,
        values,
        np.array(macs),
        {"macs": np.array(macs)},
        np.array(seeds or []).reshape(-1, len(values)),
        {},
    )


@given(numbers, st.data())
def test_expected_best_is_the_mean_over_all_draws(values: list[float], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(values)))
    draws = [max(drawn) for drawn in combinations(values, count)]
    assert expected_best(np.array(values), count) == pytest.approx(np.mean(draws), abs=1e-9)
    assert expected_best(np.array(values), len(values) + 5) == max(values)
    worth = np.arange(len(values), dtype=float)  # where values are equal, the later is taken for the higher
    chosen = [max(drawn, key=lambda row: (values[row], row)) for drawn in combinations(range(len(values)), count)]
    assert expected_best(np.array(values), count, worth) == pytest.approx(np.mean(chosen), abs=1e-9)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(1, 50)), min_size=2, max_size=12), st.data())
def test_regret_by_trying_everything(rows: list[tuple[float, float]], data: st.DataObject) -> None:
    percent, macs = map(list, zip(*rows, strict=True))
    limits = (max(sorted(macs)[len(macs) // 2], min(macs)), max(macs))
    budgets = BudgetTruth(truth_of(percent, macs), limits)
    scores = np.array(data.draw(st.permutations(range(len(rows)))), dtype=float)
    count = data.draw(st.integers(1, len(rows)))
    for place, limit in enumerate(limits):
        inside = [row for row in range(len(rows)) if macs[row] <= limit]
        by_score = sorted(inside, key=lambda row: -scores[row])
        top = max(percent[row] for row in inside)
        assert budgets.picked(scores)[place] == by_score[0]
        assert budgets.regret(budgets.picked(scores))[place] == top - percent[by_score[0]]
        first = max(percent[row] for row in by_score[:count])
        assert budgets.first_regret(scores, count)[place] == top - first
    dearest = int(np.argmax(macs))
    assert budgets.violations([dearest, dearest]) == int(macs[dearest] > limits[0])


def staircase(limits: list[float], percent: list[float], lowest: float, beyond: float) -> float:
    """The area under the best answer so far, from each budget on."""
    ends = [*limits[1:], beyond]
    steps = zip(limits, ends, np.maximum.accumulate(percent), strict=True)
    return sum((end - begin) * (top - lowest) for begin, end, top in steps)


@given(st.lists(st.floats(0, 100), min_size=4, max_size=4, unique=True))
def test_hypervolume_is_the_area_under_the_staircase(percent: list[float]) -> None:
    limits = (10.0, 20.0, 40.0)
    budgets = BudgetTruth(truth_of([*percent], [5.0, 10.0, 15.0, 30.0]), limits)
    answers = [0, 2, 1]
    beyond, lowest = 40.0 * (1 + 1 / 3), min(percent)
    whole = staircase([*limits], [*budgets.best], lowest, beyond)
    there = staircase([*limits], [percent[row] for row in answers], lowest, beyond)
    found = budgets.hypervolume_ratio(answers)
    if whole > 1e-6:
        assert found == pytest.approx(there / whole, rel=1e-6)
    assert 0 <= found <= 1 + 1e-12
    ideal = [int(rows[np.argmax(budgets.truth.percent[rows])]) for rows in budgets.rows]
    assert budgets.hypervolume_ratio(ideal) == pytest.approx(1)


def test_equivalent_is_the_least_number_of_true_evaluations_that_does_as_well() -> None:
    rng = np.random.default_rng(0)
    percent, macs = rng.uniform(60, 90, 40), rng.uniform(1, 10, 40)
    budgets = BudgetTruth(truth_of(list(percent), list(macs)), (5.0, 10.0))
    regrets = [float(budgets.random_regret(count).mean()) for count in range(1, 41)]
    assert regrets == sorted(regrets, reverse=True)
    for count, regret in enumerate(regrets, start=1):
        assert budgets.equivalent(regret) == next(n for n, other in enumerate(regrets, 1) if other <= regret + 1e-9)
        assert budgets.equivalent(regret + 1e-6) <= count
    assert budgets.equivalent(99.0) == 1
    assert budgets.equivalent(0.0) == max(len(rows) for rows in budgets.rows)
    assert least_count(lambda count: -count, -7, 5) == 5


def test_a_budget_without_a_network_is_named() -> None:
    with pytest.raises(DataError, match="no network of at most 2 M"):
        BudgetTruth(truth_of([1.0, 2.0], [3e6, 4e6]), (2e6, 5e6))


@given(st.permutations(range(40)), st.permutations(range(40)))
def test_order_by_definition(scores: list[int], percent: list[int]) -> None:
    found = order(scores, np.array(percent, dtype=float))
    assert found.kendall == pytest.approx(stats.kendalltau(scores, percent).statistic)
    assert found.spearman == pytest.approx(stats.spearmanr(scores, percent).statistic)
    top = [row for row in range(40) if percent[row] >= 36]
    expected = stats.kendalltau([scores[row] for row in top], [percent[row] for row in top]).statistic
    assert found.top_kendall == pytest.approx(expected)
    both = {row for row in range(40) if scores[row] >= 38} & {row for row in range(40) if percent[row] >= 38}
    assert found.precision == len(both) / 2
    assert order(percent, np.array(percent, dtype=float)).precision == 1


def test_the_best_share_is_rounded_up_and_ties_go_to_the_first() -> None:
    assert best(np.array([3.0, 9.0, 9.0, 1.0]), 0.3).tolist() == [1, 2]
    assert best(np.array([5.0, 5.0, 5.0]), 0.1).tolist() == [0]


def test_the_ceiling_is_one_training_against_the_mean_of_the_others() -> None:
    seeds = [[1.0, 2.0, 3.0, 4.0], [2.0, 1.0, 3.0, 4.0], [1.0, 2.0, 4.0, 3.0]]
    found = ceiling(truth_of([1.0, 2.0, 3.0, 4.0], [1.0] * 4, seeds))
    assert found is not None
    rows = [stats.kendalltau(seeds[n], np.delete(seeds, n, axis=0).mean(axis=0)).statistic for n in range(3)]
    assert found.kendall == pytest.approx(np.mean(rows))
    assert ceiling(truth_of([1.0, 2.0], [1.0, 1.0])) is None


def test_a_blend_helps_where_images_are_few_and_takes_no_weight_where_they_agree() -> None:
    rng = np.random.default_rng(1)
    size = rng.permutation(200).astype(float)
    quality = size + rng.normal(0, 60, 200)
    noisy = -quality + rng.normal(0, 400, (4, 200))
    (found,) = blends(noisy, {"depth": size})
    assert found.floor == "depth"
    assert found.weight > 0
    plain = stats.kendalltau(-noisy.mean(axis=0), quality).statistic
    assert stats.kendalltau(found.scores, quality).statistic > plain
    exact = np.repeat(-rng.normal(0, 1, (1, 200)), 4, axis=0)
    (found,) = blends(exact, {"depth": size})
    assert (found.weight, found.agreement) == (0, 1)
    np.testing.assert_array_equal(found.scores, stats.rankdata(-exact[0]))


def test_a_blend_is_a_weighted_average_of_ranks() -> None:
    found = average(np.array([0.1, 0.3, 0.2]), np.array([10.0, 20.0, 30.0]), 0.5)
    assert found.tolist() == [0.5 * 3 + 0.5 * 1, 0.5 * 1 + 0.5 * 2, 0.5 * 2 + 0.5 * 3]
    assert WEIGHTS[0] == 0


@pytest.mark.slow
def test_published_anchors_of_nas_bench_macro(whole_macro_table: Path) -> None:
    truth = Truth.of(read_nas_bench_macro(whole_macro_table))
    assert len(truth.networks) == 3969
    found, top = floors(truth), ceiling(truth)
    assert (round(found["macs"].kendall or 0, 2), round(found["depth"].kendall or 0, 2)) == (0.55, 0.68)
    assert top is not None
    assert round(top.kendall or 0, 2) == 0.89
    budgets = BudgetTruth(truth, tuple(1e6 * limit for limit in range(20, 101, 5)))
    assert round(float(budgets.random_regret(50).mean()), 2) == 0.33
    assert round(float(budgets.regret(budgets.picked(truth.macs)).mean()), 2) == 2.05
    assert budgets.hypervolume_ratio(budgets.picked(truth.percent)) == 1
    assert 49 <= budgets.equivalent(float(budgets.random_regret(50).mean())) <= 50


@pytest.mark.slow
def test_published_anchors_of_nas_bench_201(whole_cell_table: Path) -> None:
    truth = Truth.of(read_nas_bench_201(whole_cell_table))
    assert len(truth.networks) == 6466
    assert ceiling(truth) is None
    assert {name: round(found.kendall or 0, 2) for name, found in floors(truth).items()} == {
        "macs": 0.6,
        "params": 0.6,
        "depth": 0.61,
    }
