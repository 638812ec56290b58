"""Whether a supernet is a judge: scores on halves, what is trained, and the verdict on planted scores."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anybudget.architecture import Architecture
from anybudget.costs import build_costs
from anybudget.data import DataSplits
from anybudget.errors import ConfigError
from anybudget.evaluation.evaluator import Evaluator
from anybudget.evaluation.ranking import sample_paths
from anybudget.evaluation.settings import EvaluatorSettings
from anybudget.nets import UnifiedSupernet
from anybudget.storage.journal import Journal
from anybudget.worth import health as module
from anybudget.worth.halves import HalfScores, check_halves, halves, score_halves
from anybudget.worth.health import (
    HealthSettings,
    Judgement,
    TrainedNetworks,
    floors_of,
    judge,
    pool_health,
    spread_over,
)
from anybudget.worth.verdict import Findings, Verdict, verdict
from tiny_spaces import small_mbconv


def test_the_examples_of_the_docstrings_run() -> None:
    found = doctest.testmod(module)
    assert (found.failed, found.attempted) == (0, 2)


@settings(max_examples=40)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=60), st.integers(0, 5))
def test_halves_share_no_image_and_have_every_class_alike(labels: list[int], seed: int) -> None:
    given_labels = np.array(labels)
    first, second = halves(given_labels, seed)
    assert len(first) == len(second) == len(labels) // 2
    assert not set(first) & set(second)
    counts = [np.bincount(given_labels[part], minlength=5) for part in (first, second)]
    assert np.abs(counts[0] - counts[1]).max() <= 1
    assert all(
        np.array_equal(one, other) for one, other in zip(halves(given_labels, seed), (first, second), strict=True)
    )


def test_too_few_images_for_halves_are_named() -> None:
    check_halves(20, 10)
    with pytest.raises(ConfigError, match=r"19 validation images .* 10 classes each; 20 or more .*validation_fraction"):
        check_halves(19, 10)


@pytest.fixture
def evaluator(supernet: UnifiedSupernet, data: DataSplits) -> Evaluator:
    return Evaluator(supernet, data, EvaluatorSettings(32))


def test_scores_are_those_of_the_evaluator_on_all_and_on_each_half(
    evaluator: Evaluator, data: DataSplits, supernet: UnifiedSupernet
) -> None:
    networks = sample_paths(supernet.space, 5, 0)
    found = score_halves(evaluator, networks, seed=3)
    scores = evaluator.scores(networks)
    assert found.loss == pytest.approx([score.loss for score in scores])
    assert found.top1 == pytest.approx([score.top1_percent for score in scores])
    answers = evaluator.per_image(networks)
    for column, part in enumerate(halves(data.validation.labels.numpy(), 3)):
        assert found.half_losses[:, column] == pytest.approx(answers.losses[:, part].mean(1))
        assert found.half_top1[:, column] == pytest.approx(100 * answers.correct[:, part].mean(1))


def test_scores_are_kept_and_the_same_however_they_were_cut(
    evaluator: Evaluator, supernet: UnifiedSupernet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = sample_paths(supernet.space, 7, 0)
    whole = score_halves(evaluator, networks, seed=0)
    path = tmp_path / "scores.jsonl"
    monkeypatch.setattr("anybudget.worth.halves.GROUP", 2)
    score_halves(evaluator, networks[4:], seed=0, journal=Journal(path, {}))
    resumed = score_halves(evaluator, networks, seed=0, journal=Journal(path, {}))
    monkeypatch.setattr(evaluator, "per_image", None)  # everything is there
    again = score_halves(evaluator, networks, seed=0, journal=Journal(path, {}))
    for found in (resumed, again):
        for name in ("loss", "top1", "half_losses", "half_top1"):
            assert np.array_equal(getattr(found, name), getattr(whole, name)), name


def test_a_loss_that_is_no_number_is_the_worst(
    evaluator: Evaluator, supernet: UnifiedSupernet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = sample_paths(supernet.space, 3, 0)
    real = evaluator.per_image

    def broken(group: list[Architecture], _task: object) -> object:
        answers = real(group)
        answers.losses[0], answers.losses[1] = np.nan, np.inf
        return answers

    monkeypatch.setattr(evaluator, "per_image", broken)
    journal = Journal(tmp_path / "scores.jsonl", {})
    found = score_halves(evaluator, networks, seed=0, journal=journal)
    assert sorted(found.loss)[1:] == [1e9, 1e9]
    assert Journal(journal.path, {}).entries == journal.entries


def test_what_is_trained_is_spread_over_the_order() -> None:
    losses = np.random.default_rng(0).permutation(200) / 100
    chosen = spread_over(losses, 8)
    ranks = np.argsort(np.argsort(losses))[chosen]
    assert ranks.tolist() == [0, 28, 57, 85, 114, 142, 171, 199]
    assert spread_over(np.zeros(5), 5) == [0, 1, 2, 3, 4]


def test_floors_are_counted() -> None:
    space = small_mbconv(3)
    costs = build_costs(space)
    networks = sample_paths(space, 6, 0)
    floors = floors_of(space, costs, networks)
    assert floors["macs"].tolist() == [costs["macs"].cost(network) for network in networks]
    assert floors["params"].tolist() == [costs["params"].cost(network) for network in networks]
    for network, depth in zip(networks, floors["convolutions"], strict=True):
        names = [operations[0] for operations in space.describe(network)]
        first = 1 if names[0] == "skip" else 3  # the first layer changes the shape, so that a skip is a projection
        assert depth == 3 + first + 3 * sum(name != "skip" for name in names[1:])  # stem, head, classifier


def test_settings_out_of_range_are_refused() -> None:
    for values, said in (({"networks": 2}, "networks: 2"), ({"seeds": 0}, "seeds: 0"), ({"epochs": 0}, "epochs: 0")):
        with pytest.raises(ConfigError, match=said):
            HealthSettings(**values)  # type: ignore[arg-type]
    with pytest.raises(
        ConfigError, match="networks: 8 were asked for, and the tiny space has 5; ask for fewer, down to 3"
    ):
        HealthSettings().check_there(5, "the tiny space")
    HealthSettings().check_there(8, "the tiny space")


def planted(
    agreeing: float, count: int = 12, seeds: int = 2, noise: float = 0.3, spread: float = 3.0, seed: int = 0
) -> Judgement:
    """Networks whose supernet loss agrees with their worth to this correlation; floors are of no use."""
    rng = np.random.default_rng(seed)
    worth = rng.permutation(np.linspace(-1, 1, count))
    other = rng.permutation(np.linspace(-1, 1, count))
    score = agreeing * worth + np.sqrt(1 - agreeing**2) * other
    trained = 70 + spread * worth[:, None] + noise * rng.normal(size=(count, seeds))
    floors = {"convolutions": np.ones(count), "macs": rng.permutation(count).astype(float)}
    return judge(TrainedNetworks(-score, score, floors, trained))


def scores_of(reliable: bool = True, count: int = 60) -> HalfScores:
    rng = np.random.default_rng(0)
    worth = rng.normal(size=count)
    parts = worth[:, None] + (0.1 if reliable else 2.0) * rng.normal(size=(count, 2))
    return HalfScores(-parts.mean(1), parts.mean(1), -parts, parts)


RELIABLE, ORDERED = pool_health(scores_of(), None), planted(1.0)


def decided(equal: Judgement, whole: Judgement | None = None, scores: HalfScores | None = None) -> Verdict:
    pool = RELIABLE if scores is None else pool_health(scores, None)
    return verdict(Findings("macs<=1M", equal, pool, whole or ORDERED))


@pytest.mark.parametrize(
    ("state", "equal", "whole"),
    [
        ("judge", planted(1.0), planted(1.0)),
        ("weak judge", planted(0.5, count=40), planted(1.0)),
        ("size only", planted(-0.5), planted(1.0)),
        ("no judge", planted(-0.5), planted(-0.8)),
        ("nothing to find", planted(0.0, spread=0.0, noise=1.0, seed=1), planted(1.0)),
        ("undecided", planted(1.0, count=3), planted(1.0)),
    ],
)
def test_the_verdict_on_planted_scores(state: str, equal: Judgement, whole: Judgement) -> None:
    found = decided(equal, whole)
    assert found.state == state
    said = " ".join(found.sentences)
    assert f"orders {equal.networks} trained ones with tau {equal.loss.kendall:.2f}".replace("-", "−") in said
    assert "macs<=1M" in said
    assert found.advice


def test_an_order_of_networks_that_train_alike_is_not_believed_lightly() -> None:
    """Two seeds do not tell the networks apart: an agreement that chance gives once in thirty proves nothing."""
    chances = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        trained = 70 + rng.normal(size=(8, 2))
        equal = judge(TrainedNetworks(rng.normal(size=8), rng.normal(size=8), {}, trained))
        chances.append(decided(equal).state in ("judge", "weak judge"))
    assert np.mean(chances) <= 0.02


def test_what_a_judgement_says_of_the_trainings() -> None:
    trained = np.array([[60.0, 62.0], [70.0, 70.0], [65.0, 64.0], [50.0, 51.0]])
    found = judge(TrainedNetworks(np.array([0.3, 0.2, 0.1, 0.4]), np.arange(4.0), {"macs": np.arange(4.0)}, trained))
    assert (found.picked_percent, found.best_percent, found.mean_percent) == (64.5, 70.0, pytest.approx(61.5))
    assert found.loss.kendall == pytest.approx(2 / 3)
    assert found.seeds is not None
    assert found.seeds.kendall == 1.0
    assert found.attainable == pytest.approx(1.0)
    assert found.best_floor is not None
    assert found.best_floor[0] == "macs"
    single = judge(TrainedNetworks(np.arange(4.0), np.arange(4.0), {}, trained[:, :1]))
    assert (single.seeds, single.attainable, single.best_floor) == (None, None, None)


def test_advice_names_what_to_mend_first() -> None:
    def advice(*arguments: object) -> str:
        return " ".join(decided(*arguments).advice)  # type: ignore[arg-type]

    assert "data.validation_fraction" in advice(planted(-0.5), None, scores_of(reliable=False))
    assert "data.validation_fraction" not in advice(planted(-0.5))
    assert "supernet.epochs" in advice(planted(-0.5))
    assert "--seeds 2" in advice(planted(1.0, seeds=1))
    assert "--networks 6" in advice(planted(1.0, count=3))
    assert "another budget" in advice(planted(0.0, spread=0.0, noise=1.0, seed=1))
    worse = planted(0.2)
    floors = {"macs": worse.loss, "depth": planted(1.0).loss}
    better = Judgement(**{**{name: getattr(worse, name) for name in worse.__slots__}, "floors": floors})
    assert "depth alone orders these networks better" in advice(better)


def test_other_calibration_images_that_change_the_order_are_named() -> None:
    scores = scores_of()
    shuffled = HalfScores(scores.loss[::-1].copy(), scores.top1, scores.half_losses, scores.half_top1)
    for again, expected in ((shuffled, True), (scores, False)):
        found = verdict(Findings("macs<=1M", planted(1.0), pool_health(scores, again), planted(1.0)))
        assert ("search.calibration_images" in " ".join(found.advice)) is expected
        assert re.search(r"other calibration images give the same order with [−\d.]+", found.sentences[-1])
