"""Rank correlations, few images against all, ground-truth tables with their published numbers, and greedy theory."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from anybudget.architecture import Architecture
from anybudget.data import DataSplits, balanced_order
from anybudget.errors import AnyBudgetError, DataError
from anybudget.evaluation.evaluator import Evaluator, evaluate, prepare
from anybudget.evaluation.metrics import Metrics
from anybudget.evaluation.ranking import (
    Correlation,
    RankSettings,
    against,
    batch_losses,
    rank_correlation,
    rank_paths,
    rank_run,
    sample_paths,
    untrained,
)
from anybudget.evaluation.settings import EvaluatorSettings
from anybudget.nets import Supernet, UnifiedSupernet, build_supernet
from anybudget.nets.blocks import channels_last
from anybudget.spaces import UnifiedSpace, stages
from anybudget.spaces.nas_bench_macro import NASBenchMacroSettings, NASBenchMacroSpace
from tiny_spaces import tiny_macro

MACRO, CELLS = "nas_bench_macro_cifar10.json", "nas_bench_201_cifar10.npz"
SAME, REVERSED = Correlation(1.0, 1.0), Correlation(-1.0, -1.0)
values = st.lists(st.integers(-3, 3), min_size=2, max_size=12)


@given(st.lists(st.floats(allow_nan=False), min_size=2, max_size=30, unique=True))
def test_same_and_reversed_orders(numbers: list[float]) -> None:
    assert rank_correlation(numbers, numbers) == SAME
    assert rank_correlation(numbers, [-number for number in numbers]) == REVERSED


@given(st.data())
def test_ties_by_definition(data: st.DataObject) -> None:
    """Tau-b counts pairs; rho is Pearson's correlation of mean ranks."""
    one = np.array(data.draw(values))
    other = np.array(data.draw(st.lists(st.integers(-3, 3), min_size=len(one), max_size=len(one))))
    found = rank_correlation(one, other)
    signs = [np.sign(side[:, None] - side[None, :]) for side in (one, other)]
    told = [np.abs(sign).sum() for sign in signs]
    if 0 in told:
        assert found == Correlation(None, None)
        return
    assert found.kendall == pytest.approx((signs[0] * signs[1]).sum() / np.sqrt(told[0] * told[1]))
    ranks = [1 + ((sign > 0).sum(1) + (sign >= 0).sum(1) - 1) / 2 for sign in signs]
    assert found.spearman == pytest.approx(np.corrcoef(*ranks)[0, 1])


def test_lists_that_cannot_be_compared() -> None:
    assert rank_correlation([], []) == rank_correlation([1], [2]) == Correlation(None, None)
    assert rank_correlation([1, 2, np.inf], [1, 2, 3]) == SAME
    for first, second in (([1, 2], [1]), ([1, np.nan], [1, 2]), ([[1, 2]], [[1, 2]])):
        with pytest.raises(ValueError, match="without NaN"):
            rank_correlation(first, second)


@pytest.fixture
def paths(supernet: UnifiedSupernet) -> list[Architecture]:
    return sample_paths(supernet.space, 12, seed=0)


def make_evaluator(supernet: Supernet, data: DataSplits) -> Evaluator:
    return Evaluator(channels_last(supernet), data, EvaluatorSettings(calibration_images=40, batch_size=16))


def test_images_add_up_to_scores(supernet: UnifiedSupernet, data: DataSplits, paths: list[Architecture]) -> None:
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    evaluator, other = make_evaluator(supernet, data), make_evaluator(supernet, data)
    losses, correct, _ = evaluator.per_image([*paths, paths[0]])
    assert losses.shape == correct.shape == (len(paths) + 1, len(data.validation))
    assert correct.dtype == np.bool_
    for score, loss, hits in zip(other.scores([*paths, paths[0]]), losses, correct, strict=True):
        assert score.loss == pytest.approx(loss.mean(), abs=1e-6)
        assert score.top1_percent == pytest.approx(100 * hits.mean(), abs=1e-9)
    assert not evaluator.scored
    for name in ("evaluations", "images", "macs"):
        assert getattr(evaluator.spent, name) == getattr(other.spent, name) > 0
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())
    assert evaluator.per_image([])[0].shape == (0, len(data.validation))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(0, 9))
def test_prefixes_are_balanced_until_a_class_runs_out(labels: list[int], seed: int) -> None:
    array = np.array(labels)
    order = balanced_order(array, seed)
    assert sorted(order) == list(range(len(labels)))
    sizes = np.bincount(array)
    for count in range(1, len(labels) + 1):
        taken = np.bincount(array[order[:count]], minlength=len(sizes))
        unspent = taken < sizes
        if unspent.any():
            assert taken.max() - taken[unspent].min() <= 1


def test_subsets_are_those_images_alone(supernet: UnifiedSupernet, data: DataSplits, paths: list[Architecture]) -> None:
    """Every coefficient against networks evaluated on the subset one by one."""
    evaluator = make_evaluator(supernet, data)
    ranking = rank_paths(evaluator, data, [*paths, paths[3]], (500, 9, 18, 36, 9), seed=5)
    assert list(ranking.scores) == paths
    assert [row.images for row in ranking.rows] == [9, 18, 36]
    networks = [evaluator.network(path) for path in paths]
    everything = [evaluate(network, data.validation, data) for network in networks]
    order = torch.from_numpy(balanced_order(data.validation.labels.numpy(), 5))
    for row in ranking.rows[:2]:
        images = data.validation.subset(order[: row.images])
        assert torch.bincount(images.labels).tolist() == [row.images // 3] * 3
        some = [evaluate(network, images, data) for network in networks]
        batch = []
        for path in paths:
            with torch.no_grad():
                logits = supernet.train()(prepare(images.images, data, supernet), path)
            batch.append(float(F.cross_entropy(logits, images.labels)))
        supernet.eval()
        np.testing.assert_allclose(batch_losses(supernet, data, paths, images), batch, rtol=1e-5)
        loss, top1 = [score.loss for score in everything], [score.top1_percent for score in everything]
        for found, first, second in (
            (row.loss, [score.loss for score in some], loss),
            (row.top1, [score.top1_percent for score in some], top1),
            (row.loss_for_top1, [-score.loss for score in some], top1),
            (row.batch_loss, batch, loss),
            (row.batch_loss_for_top1, [-nats for nats in batch], top1),
        ):
            assert found is not None
            assert found.kendall == pytest.approx(rank_correlation(first, second).kendall, abs=1e-9)
    last = ranking.rows[-1]
    assert (last.loss, last.top1, last.batch_loss, last.batch_loss_for_top1) == (SAME, SAME, None, None)


def test_batch_losses_are_no_matter_of_chance(data: DataSplits) -> None:
    """Neither dropout nor what was scored before changes them; a loss that is not a number comes last."""
    net = build_supernet(UnifiedSpace(tiny_macro(dropout=0.5)))
    paths = sample_paths(net.space, 5, seed=0)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    first = batch_losses(net, data, paths, data.validation)
    assert (batch_losses(net, data, paths[::-1], data.validation)[::-1] == first).all()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    with torch.no_grad():
        next(net.parameters()).fill_(torch.nan)
    assert np.isposinf(batch_losses(net, data, paths, data.validation)).all()
    row = rank_paths(make_evaluator(net, data), data, paths, [9]).rows[0]
    assert row.loss == row.batch_loss == Correlation(None, None)


def test_scores_against_truth(space: UnifiedSpace) -> None:
    networks = sample_paths(space, 6, seed=0)
    scores = {
        network: Metrics(3.0 - place, {"top1_percent": 50.0 + place // 2}) for place, network in enumerate(networks)
    }
    truth = {network: 90.0 + place for place, network in enumerate(networks[1:])}
    found = against(scores, truth)
    assert (found.networks, found.loss, found.picked_percent, found.best_percent) == (5, SAME, 94.0, 94.0)
    assert found.mean_percent == 92.0
    assert found.top1.kendall == pytest.approx(8 / np.sqrt(8 * 10))  # two of ten pairs are tied
    assert against(scores, {network: -value for network, value in truth.items()}).loss == REVERSED
    with pytest.raises(DataError, match="2 of 6 networks is known"):
        against(scores, dict(list(truth.items())[:2]))


def test_sampled_paths_are_distinct() -> None:
    space = NASBenchMacroSpace(NASBenchMacroSettings(stages=stages((8, 3, 1), (12, 2, 2))))
    some = sample_paths(space, 20, seed=1)
    assert some == sample_paths(space, 20, seed=1) != sample_paths(space, 20, seed=2)
    assert len(set(some)) == 20
    everything = sample_paths(space, 10**6, seed=1)
    assert set(everything) == set(space.enumerate())
    assert everything != list(space.enumerate())
    assert all(space.simplified(network) == network for network in some)


def test_rank_run_is_stable_plain_data(supernet: UnifiedSupernet, data: DataSplits) -> None:
    space = supernet.space
    evaluator = Evaluator(channels_last(supernet), data, EvaluatorSettings(calibration_images=32, seed=3))
    sampled = sample_paths(space, 8, seed=3)
    truth = {network: -score.loss for network, score in zip(sampled, evaluator.scores(sampled), strict=True)}
    others = [network for network in sample_paths(space, 12, seed=4) if network not in truth][:3]
    alone = {network: score.loss for network, score in zip(others, evaluator.scores(others), strict=True)}

    def rank(known: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
        settings = replace(RankSettings(32, seed=3, paths=8, image_counts=(9, 99)), **changes)
        return rank_run(supernet, data, settings, **{"retrained": alone, "truth": truth} | (known or {}))

    torch.manual_seed(0)
    state = torch.get_rng_state()
    report = rank()
    assert torch.equal(torch.get_rng_state(), state)
    assert report == rank() == json.loads(json.dumps(report))
    assert list(report) == [
        "space", "seed", "paths", "validation_images", "validation_largest_class_percent", "calibration_images",
        "supernets", "baselines",
    ]  # fmt: skip
    trained, control = report["supernets"]["trained"], report["supernets"]["untrained"]
    for part in (trained, control):
        assert list(part) == ["top1_percent", "balanced_accuracy_percent", "rows", "retrained", "truth"]
        assert [row["images"] for row in part["rows"]] == [9, 36]
        assert (part["truth"]["networks"], part["retrained"]["networks"]) == (8, 3)
    assert trained["truth"]["loss"] == {"kendall": 1.0, "spearman": 1.0}
    assert trained["retrained"]["loss"] == {"kendall": -1.0, "spearman": -1.0}
    assert control["truth"]["loss"]["kendall"] < 1
    assert set(report["baselines"]["truth"]) == {"macs", "params"}
    bare = rank({"retrained": dict(list(alone.items())[:2]), "truth": None})
    assert bare["supernets"]["trained"]["rows"] == trained["rows"]
    assert bare["baselines"] == {"retrained": None, "truth": None}
    assert bare["supernets"]["trained"]["retrained"] is bare["supernets"]["trained"]["truth"] is None
    for mistake, message in (
        ({"paths": 2}, "2 paths"),
        ({"image_counts": (0,)}, "0 images"),
        ({"image_counts": (1,)}, "1 images cannot order paths"),
        ({"known": {"truth": {}}}, "0 of 8"),
    ):
        with pytest.raises(AnyBudgetError, match=message):
            rank(**mistake)


def test_the_control_is_fresh(supernet: UnifiedSupernet) -> None:
    first, again, other = untrained(supernet, 1), untrained(supernet, 1), untrained(supernet, 2)
    weights = [torch.cat([p.flatten() for p in net.parameters()]) for net in (supernet, first, again, other)]
    assert torch.equal(weights[1], weights[2])
    assert not torch.equal(weights[1], weights[3])
    assert not torch.equal(weights[0], weights[1])
    assert not first.training
