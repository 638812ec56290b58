"""Order statistics, equivalents, errors and verdicts of trained networks, against enumeration and closed forms."""

from __future__ import annotations

import math
from itertools import combinations
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import nct
from scipy.stats import t as student

from anybudget.errors import ConfigError
from anybudget.storage.records import Estimate, WorthSummary
from anybudget.worth.best_of import (
    MOST,
    Normal,
    count_in_sample,
    count_of_normal,
    expected_best,
    expected_best_of_normal,
    least_count,
)
from anybudget.worth.pooling import pool
from anybudget.worth.summary import Figures, equivalent, summarise
from anybudget.worth.words import count_in_words, equivalent_in_table, verdict_in_words
from worth_records import figures, record, trained

PERCENT = st.floats(0, 100)
SAMPLES = st.lists(PERCENT, min_size=1, max_size=7)


@given(SAMPLES, st.data())
def test_the_expected_best_is_that_of_all_choices(values: list[float], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(values)))
    everything = [max(chosen) for chosen in combinations(values, count)]
    assert expected_best(values, count) == pytest.approx(fmean(everything), abs=1e-9)


@given(st.lists(st.integers(0, 100).map(float), min_size=2, max_size=7, unique=True), st.data())
def test_the_equivalent_in_the_sample_turns_the_expected_best_round(values: list[float], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(values)))
    assert count_in_sample(values, expected_best(values, count)) == count
    assert count_in_sample(values, min(values) - 1) == 0
    assert count_in_sample(values, max(values)) == count_in_sample(values, max(values) + 50) == len(values)


def test_between_whole_numbers_the_equivalent_lies_on_the_line() -> None:
    values = [1.0, 2.0, 6.0]  # the best of one 3, of two 14/3, of three 6
    assert count_in_sample(values, (3 + 14 / 3) / 2) == pytest.approx(1.5)
    assert count_in_sample(values, 2.9) == 0


def test_of_equal_bests_the_smallest_number_counts() -> None:
    assert count_in_sample([33.3, 33.3, 33.3], 33.3) == 1
    assert count_in_sample([1.0, 2.0, 2.0], 2.0) == 2  # the best of two is 2 already, whichever they are
    assert count_in_sample([1.0, 2.0, 2.0], 2.1) == 3


def test_the_expected_best_of_normal_numbers_is_the_known_one() -> None:
    root = math.sqrt(math.pi)
    known = {1: 0.0, 2: 1 / root, 3: 1.5 / root, 4: 1.02938, 5: 1.16296, 10: 1.53875, 100: 2.50759, 1000: 3.24144}
    for count, best in known.items():
        assert expected_best_of_normal(count) == pytest.approx(best, abs=2e-5)
    draws = np.random.default_rng(0).standard_normal((40_000, 30)).max(1)
    assert expected_best_of_normal(30) == pytest.approx(draws.mean(), abs=5 * draws.std() / 200)


@given(st.floats(1, 1e6))
@settings(max_examples=30)
def test_a_number_of_normal_numbers_is_found_by_their_best(count: float) -> None:
    assert count_of_normal(expected_best_of_normal(count)) == pytest.approx(count, rel=1e-4)


def test_heights_beyond_all_have_bounds() -> None:
    assert count_of_normal(-1.0) == 1.0
    assert count_of_normal(50.0) == MOST


@pytest.mark.parametrize("height", [-1.0, 0.5, 2.0, 5.0])
def test_the_range_is_that_of_the_noncentral_t_distribution(height: float) -> None:
    """For a figure without an error the posterior of (figure - mean) / σ is the exact confidence distribution."""
    values = [60.0, 62.0, 63.5, 66.0, 66.5, 70.0]
    normal = Normal.of(values)
    assert normal is not None
    figure = normal.mean + height * normal.spread
    for share, found in zip((0.05, 0.95), normal.range(figure), strict=True):
        exact = height * math.sqrt(6)  # (figure - mean) / (spread / √n), of noncentrality √n · (figure - μ) / σ
        at = expected_best_of_normal(found)
        if 1 < found < MOST:
            assert nct.sf(exact, 5, at * math.sqrt(6)) == pytest.approx(share, abs=2e-3)
        elif found == 1:
            assert nct.sf(exact, 5, 0.0) >= share - 1e-9
        else:
            assert nct.sf(exact, 5, at * math.sqrt(6)) <= share


def test_the_equivalent_is_of_the_expectation_over_mean_and_spread() -> None:
    """Drawn: σ² from its posterior, the mean given σ, then the best of N."""
    rng, count, spread, mean = np.random.default_rng(1), 8, 2.0, 70.0
    sigmas = spread * np.sqrt((count - 1) / rng.chisquare(count - 1, 20_000))
    best = (
        mean
        + sigmas * (rng.standard_normal(20_000) / math.sqrt(count))
        + sigmas * rng.standard_normal((12, 20_000)).max(0)
    )
    assert Normal(mean, spread, count).equivalent(float(best.mean())) == pytest.approx(12, rel=0.05)


def test_an_answer_with_an_error_has_a_wider_range_and_more_networks_a_narrower_one() -> None:
    few, many = Normal(70.0, 2.0, 8), Normal(70.0, 2.0, 80)
    low, high = few.range(74.0)
    assert few.range(74.0, 0.5)[0] < low < many.range(74.0)[0] < many.range(74.0)[1] < high < few.range(74.0, 0.5)[1]
    assert low < few.equivalent(74.0) < high


def test_the_least_number_holds_whatever_the_distribution() -> None:
    """For a long tail and a figure whose true N is known, the bound is above that in at most 5% of cases."""
    rng = np.random.default_rng(2)
    too_high, trials, true = 0, 4000, 9.0  # a figure with 10% of networks above it
    figure = float(np.exp(1.2815515655446004))
    for _ in range(trials):
        too_high += least_count(np.exp(rng.standard_normal(24)).tolist(), figure) > true
    assert too_high / trials <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)
    assert least_count([1.0, 2.0], 3.0) == pytest.approx(1 / (1 - 0.05**0.5) - 1)
    assert least_count([1.0, 2.0], 1.0) == 0.0


@pytest.mark.parametrize("values", [[70.0, 71.0], [70.0, 70.0, 70.0]])
def test_too_few_or_equal_networks_have_no_model(values: list[float]) -> None:
    assert Normal.of(values) is None
    found = equivalent(values, Estimate(percent=75.0, error=None))
    assert (found.networks, found.extrapolated, found.low, found.high) == (len(values), True, None, None)
    assert "cannot be told" not in equivalent_in_table(found)


SPREAD = [[60.0, 61.0], [64.0, 65.0], [66.0, 67.0], [70.0, 69.0]]


def test_errors_of_one_run_are_those_of_trainings_and_of_networks() -> None:
    found = summarise([figures([72.0, 73.0], SPREAD, plain=[70.0, 71.0])])
    assert found.answer.percent == 72.5
    assert found.seed_noise == pytest.approx(math.sqrt(0.5))  # each pair differs by 1
    assert found.answer.error == pytest.approx(math.sqrt(0.5 / 2))
    means = np.array([60.5, 64.5, 66.5, 69.5])
    assert found.random.percent == means.mean()
    assert found.random.error == pytest.approx(means.std(ddof=1) / 2)
    assert found.difference.percent == pytest.approx(72.5 - means.mean())
    assert found.difference.error == pytest.approx(math.hypot(found.answer.error or 0, found.random.error or 0))
    assert found.spread == pytest.approx(math.sqrt(means.var(ddof=1) - 0.25))
    (plain,) = found.others
    assert (plain.role, plain.test.percent) == ("plain", 70.5)
    assert plain.test.error == pytest.approx(0.5)
    assert found.verdict == "better"
    assert found.equivalent.extrapolated


def test_the_interval_of_a_run_is_welch_s() -> None:
    """By numbers: noise 0.5 with 5 degrees of freedom over 2 trainings, the variance of networks with 3 over 4."""
    found = summarise([figures([72.0, 73.0], SPREAD)])
    own, between = 0.5 / 2, float(np.var([60.5, 64.5, 66.5, 69.5], ddof=1)) / 4
    freedom = (own + between) ** 2 / (own**2 / 5 + between**2 / 3)
    reach = student.ppf(0.975, freedom) * math.sqrt(own + between)
    assert found.interval == pytest.approx((72.5 - 65.25 - reach, 72.5 - 65.25 + reach))


def test_one_training_each_gives_the_answer_the_spread_of_networks() -> None:
    random = [60.0, 64.0, 66.0, 70.0]
    found = summarise([figures([72.0], [[value] for value in random])])
    assert found.answer.error is None
    assert found.seed_noise is None
    assert found.alike is None
    spread = float(np.std(random, ddof=1))
    assert found.difference.error == pytest.approx(spread * math.sqrt(1 + 1 / 4))


@pytest.mark.parametrize(
    ("answer", "random", "verdict", "words"),
    [
        ([80.0, 80.4], SPREAD, "better", "The search found something: the answer is 14.95 ± "),
        ([50.0, 50.4], SPREAD, "worse", "The search chose badly: the answer is 15.05 ± "),
        ([66.0, 66.4], SPREAD, "unresolved", "No difference was found: the answer is 0.9"),
        ([66.0], [row[:1] for row in SPREAD], "unresolved", "each network was trained once"),
        (
            [65.0, 66.0],
            [[65.0, 66.1], [66.0, 65.1], [65.2, 65.9], [66.2, 65.0]],
            "flat",
            "No difference: on this data the architecture does not matter at this size.",
        ),
    ],
)
def test_verdicts_and_their_words(answer: list[float], random: list[list[float]], verdict: str, words: str) -> None:
    found = summarise([figures(answer, random)])
    assert found.verdict == verdict
    assert words in verdict_in_words(found)
    low, high = found.interval
    assert (low > 0, high < 0) == (verdict == "better", verdict == "worse")


def test_no_difference_is_rarely_taken_for_one() -> None:
    """Where all networks are equally good, one in twenty comparisons finds something, on either side."""
    rng = np.random.default_rng(3)
    found = [summarise([Figures(rng.normal(70, 1, 2), rng.normal(70, 1, (6, 2)))]).verdict for _ in range(300)]
    assert sum(verdict in ("better", "worse") for verdict in found) / 300 == pytest.approx(0.05, abs=0.03)


def test_several_runs_have_errors_over_runs() -> None:
    runs = [figures([70.0 + i, 71.0 + i], [[60.0 + j, 61.0 + j] for j in range(3)]) for i in range(3)]
    found = summarise(runs)
    assert found.answer.percent == 71.5
    assert found.answer.error == pytest.approx(1 / math.sqrt(3))
    assert found.random.percent == 61.5
    assert found.random.error == 0.0
    assert found.random_count == 9
    assert found.difference.error == pytest.approx(1 / math.sqrt(3))
    assert found.interval[0] == pytest.approx(10 - 4.3026527 / math.sqrt(3))


def test_records_of_several_runs_are_pooled_by_budget() -> None:
    records = [record([({"macs": 10.0}, trained([70.0 + i, 71.0], SPREAD))]) for i in range(3)]
    ((budgets, found),) = pool(records)
    assert budgets.limits() == {"macs": 10.0}
    assert found == summarise([figures([70.0 + i, 71.0], SPREAD) for i in range(3)])
    ((_, single),) = pool(records[:1])
    assert single == WorthSummary.model_validate(records[0].budgets[0].summary)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 4}, "epochs: 3 and 4"),
        ({"metric": "balanced_accuracy_percent"}, "metric: top1_percent and balanced"),
        ({"seeds": [0, 1, 2]}, "seeds: "),
        ({"random_window": 0.5}, "random_window: 0.9 and 0.5"),
    ],
)
def test_runs_that_were_measured_otherwise_are_not_pooled(change: dict[str, object], message: str) -> None:
    networks = trained([70.0, 71.0], SPREAD)
    with pytest.raises(ConfigError, match=f"{message}.*measure all runs alike"):
        pool([record([({"macs": 10.0}, networks)]), record([({"macs": 10.0}, networks)], **change)])


def test_there_must_be_something_to_pool() -> None:
    networks = trained([70.0, 71.0], SPREAD)
    with pytest.raises(ConfigError, match=r"no worth\.json"):
        pool([])
    with pytest.raises(ConfigError, match="no budget in common"):
        pool([record([({"macs": 10.0}, networks)]), record([({"macs": 20.0}, networks)])])


def test_numbers_of_networks_for_people() -> None:
    assert [count_in_words(value) for value in (0.0, 2.24, 8.0, 31.46, 446.0, 12345.0, MOST)] == [
        "0",
        "2.2",
        "8",
        "31.5",
        "450",
        "12,000",
        "more than a thousand million",
    ]
