"""Rank correlations, few images against all, ground-truth tables with their published numbers, and greedy theory."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from anybudget.architecture import Architecture
from anybudget.data import DataSplits
from anybudget.errors import AnyBudgetError, ConfigError, DataError
from anybudget.evaluation.evaluator import Evaluator, Score, evaluate, prepare
from anybudget.evaluation.ranking import (
    Correlation,
    against,
    balanced_order,
    batch_losses,
    rank_correlation,
    rank_paths,
    rank_run,
    sample_paths,
    untrained,
)
from anybudget.nets import Supernet, UnifiedSupernet, build_supernet
from anybudget.nets.blocks import channels_last
from anybudget.spaces import NASBench201Settings, NASBench201Space, UnifiedSpace, stages
from anybudget.spaces.nas_bench_macro import NASBenchMacroSettings, NASBenchMacroSpace
from anybudget.tabular.tables import (
    TabularBenchmark,
    load_nas_bench_201,
    load_nas_bench_macro,
    load_table,
    read_nas_bench_201,
    read_nas_bench_macro,
)
from anybudget.training.greedy_theory import probability_of_good, suggest_sampled
from conftest import tiny_macro

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
    return Evaluator(channels_last(supernet), data, calibration_images=40, batch_size=16)


def test_images_add_up_to_scores(supernet: UnifiedSupernet, data: DataSplits, paths: list[Architecture]) -> None:
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    evaluator, other = make_evaluator(supernet, data), make_evaluator(supernet, data)
    losses, correct = evaluator.per_image([*paths, paths[0]])
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
    scores = {network: Score(50.0 + place // 2, 3.0 - place, 50.0) for place, network in enumerate(networks)}
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
    evaluator = Evaluator(channels_last(supernet), data, calibration_images=32, seed=3)
    sampled = sample_paths(space, 8, seed=3)
    truth = {network: -score.loss for network, score in zip(sampled, evaluator.scores(sampled), strict=True)}
    others = [network for network in sample_paths(space, 12, seed=4) if network not in truth][:3]
    alone = {network: score.loss for network, score in zip(others, evaluator.scores(others), strict=True)}

    def rank(**changes: Any) -> dict[str, Any]:
        options = {"retrained": alone, "truth": truth, "paths": 8, "image_counts": (9, 99)} | changes
        return rank_run(supernet, data, seed=3, calibration_images=32, **options)

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
    bare = rank(retrained=dict(list(alone.items())[:2]), truth=None)
    assert bare["supernets"]["trained"]["rows"] == trained["rows"]
    assert bare["baselines"] == {"retrained": None, "truth": None}
    assert bare["supernets"]["trained"]["retrained"] is bare["supernets"]["trained"]["truth"] is None
    for mistake, message in (
        ({"paths": 2}, "2 paths"),
        ({"image_counts": (0,)}, "0 images"),
        ({"image_counts": (1,)}, "1 images cannot order paths"),
        ({"truth": {}}, "0 of 8"),
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


def kendall(first: Any, second: Any) -> float:
    found = rank_correlation(first, second).kendall
    assert found is not None
    return round(found, 3)


def test_published_numbers_of_nas_bench_macro(shared_data: Path) -> None:
    rows = read_nas_bench_macro(shared_data / MACRO)
    mean = rows.columns["mean_acc"]
    seeds = [rows.columns[f"test_acc_{seed}"] for seed in (1, 2, 3)]
    assert len(mean) == 6561
    assert kendall(rows.columns["flops"], mean) == 0.556
    assert kendall((rows.choices > 0).sum(1), mean) == 0.693
    assert kendall(seeds[0], (seeds[1] + seeds[2]) / 2) == 0.896
    np.testing.assert_allclose(sum(seeds) / 3, mean, atol=1e-9)
    table = load_nas_bench_macro(shared_data / MACRO)
    assert len(table) == rows.space.networks() == 3969
    best = max(table, key=table.__getitem__)
    assert best.choices == (2, 2, 2, 1, 2, 2, 2, 0)
    assert round(table[best], 2) == 93.13
    assert round(table[Architecture("nas-bench-macro", (2,) * 8)], 2) == 92.95


def test_published_numbers_of_nas_bench_201(shared_data: Path) -> None:
    rows = read_nas_bench_201(shared_data / CELLS)
    test = rows.columns["test_top1_percent"]
    assert len(test) == 15625
    assert kendall(rows.columns["macs"], test) == 0.578
    assert kendall(rows.columns["val_top1_percent_12_epochs"], test) == 0.594
    assert kendall(rows.columns["val_top1_percent"], test) == 0.892
    assert round(test.max(), 2) == 94.37
    table = load_nas_bench_201(shared_data / CELLS)
    assert len(table) == rows.space.networks() == 6466
    assert round(max(table.values()), 2) == 94.37
    with np.load(shared_data / CELLS, allow_pickle=False) as file:
        classes = file["isomorphism_class"]
    means = np.bincount(classes, test) / np.bincount(classes)
    np.testing.assert_allclose(sorted(table.values()), np.sort(means), rtol=1e-12)


def test_rows_of_one_network_are_averaged() -> None:
    space = NASBenchMacroSpace(NASBenchMacroSettings(stages=stages((8, 3, 2))))
    choices = np.array([(1, 0, 2), (1, 2, 0), (0, 1, 2)])
    table = TabularBenchmark(space, choices, {"top1": np.array([90.0, 91.0, 50.0])}).networks("top1")
    assert table == {Architecture(space.name, (1, 2, 0)): 90.5, Architecture(space.name, (0, 1, 2)): 50.0}


ROW = {"test_acc": [1.0, 2, 3.0], "mean_acc": 2.0, "params": 5, "flops": 7}
ARRAYS: dict[str, Any] = {
    "op_names": np.array(["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]),
    "ops": np.zeros((2, 6), np.uint8),
    **{
        name: np.ones(2)
        for name in ("test_top1_percent", "val_top1_percent", "val_top1_percent_12_epochs", "macs", "params")
    },
}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("{", "cannot read NAS-Bench-Macro's JSON"),
        ("[]", "an object with a key of 8 digits"),
        ({}, "an object with a key of 8 digits"),
        ({"0123": ROW}, "key '0123'"),
        ({"00000003": ROW}, "key '00000003'"),
        ({"00000000": 3}, "key '00000000': expected an object"),
        ({"00000000": ROW | {"test_acc": [1.0]}}, "'00000000': \"test_acc\" must be a list of 3"),
        ({"00000000": ROW | {"mean_acc": "high"}}, "'00000000': .* finite numbers"),
        ({"00000000": ROW | {"mean_acc": float("nan")}}, "'00000000': .* finite numbers"),
    ],
)
def test_damaged_macro_tables_are_named(table: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text(table if isinstance(table, str) else json.dumps(table))
    with pytest.raises(DataError, match=message) as error:
        read_nas_bench_macro(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"macs": None}, "'macs' is missing"),
        ({"op_names": np.array(["none", "skip"])}, "op_names"),
        ({"ops": np.zeros((2, 5), np.uint8)}, "ops: expected integers"),
        ({"ops": np.zeros((2, 6))}, "ops: expected integers"),
        ({"ops": np.full((2, 6), 5)}, "ops: expected 0 to 4, found 5"),
        ({"macs": np.ones(3)}, "macs: expected one number"),
        ({"params": np.array(["a", "b"])}, "params: expected one number"),
        ({"test_top1_percent": np.array([1.0, np.nan])}, "test_top1_percent: .* finite"),
        ({"params": np.array([None, 1])}, "cannot read"),  # a pickle, which is never loaded
    ],
)
def test_damaged_cell_tables_are_named(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "table.npz"
    arrays = {name: array for name, array in (ARRAYS | change).items() if array is not None}
    np.savez(path, **arrays)
    with pytest.raises(DataError, match=message) as error:
        read_nas_bench_201(path)
    assert str(path) in str(error.value)


def test_tables_go_with_spaces(tmp_path: Path, space: UnifiedSpace) -> None:
    macro, cells, single = tmp_path / "macro.json", tmp_path / "cells.npz", tmp_path / "single.npy"
    macro.write_text(json.dumps({"00000000": ROW}))
    np.savez(cells, **ARRAYS)
    np.save(single, np.ones(3))
    small = NASBench201Space(NASBench201Settings(input_size=8, classes=3, width=4, cells=1))
    assert load_table(cells, small) == {Architecture("nas-bench-201", (0,) * 6): 1.0}
    narrow = NASBenchMacroSpace(NASBenchMacroSettings(stages=stages((8, 2, 2), (12, 3, 2), (16, 3, 2))))
    assert load_table(macro, narrow) == {Architecture("nas-bench-macro", (0,) * 8): 2.0}
    shallow = NASBenchMacroSpace(NASBenchMacroSettings(stages=stages((8, 2, 2), (12, 3, 2))))
    strideless = NASBenchMacroSpace(NASBenchMacroSettings(stages=stages((64, 2, 2), (64, 3, 1), (128, 3, 2))))
    swapped = NASBenchMacroSpace(NASBenchMacroSettings(operations=("k3_e3", "skip", "k5_e6")))
    for path, wrong, message in (
        (macro, space, "no table for the space unified"),
        (macro, shallow, "8 decisions and 3,969 networks, but this nas-bench-macro space has 5 and 189"),
        (macro, strideless, "stages and operations"),
        (macro, swapped, "stages and operations"),
        (cells, narrow, "cannot read NAS-Bench-Macro's JSON"),
        (macro, small, "cannot read NAS-Bench-201's .npz"),
        (single, small, "not an .npz archive"),
        (tmp_path / "none.json", narrow, "none.json"),
    ):
        with pytest.raises(DataError, match=message):
            load_table(path, wrong)


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
