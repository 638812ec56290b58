"""Metrics: what they count, the one that networks are chosen by, and new ones."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.costs import build_costs
from anybudget.errors import ConfigError
from anybudget.evaluation.evaluator import count_answers
from anybudget.evaluation.metrics import METRICS, Metrics, Tally, applicable, check_metric
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from anybudget.runtime.progress import Task
from anybudget.search.base import SearchContext
from anybudget.search.compare import compare, shortfall
from anybudget.search.evolution import EvolutionStrategy
from anybudget.search.nsga2 import NSGA2Strategy
from anybudget.search.random import RandomStrategy
from anybudget.spaces import UnifiedSpace
from anybudget.testing.planted import PlantedEvaluator
from conftest import call


def tallied(logits: torch.Tensor, labels: torch.Tensor, parts: int = 1) -> Tally:
    tally = Tally.empty(labels.numpy(), logits.shape[1])
    for some, theirs in zip(logits.chunk(parts), labels.chunk(parts), strict=True):
        count_answers(tally, some, theirs)
    return tally


def test_top5_counts_labels_among_the_five_highest() -> None:
    logits = torch.arange(7.0).repeat(4, 1)  # class 6 is the answer, 2 to 6 are the five highest
    metrics = tallied(logits, torch.tensor([6, 2, 1, 0]), parts=3).metrics()
    assert (metrics.top1_percent, metrics.top5_percent, metrics.balanced_accuracy_percent) == (25.0, 50.0, 25.0)
    assert metrics.to_dict("test") == {
        "test_top1_percent": 25.0,
        "test_balanced_accuracy_percent": 25.0,
        "test_top5_percent": 50.0,
        "test_loss": metrics.loss,
    }


def test_top5_says_nothing_with_five_classes() -> None:
    metrics = tallied(torch.eye(5), torch.arange(5)).metrics()
    assert metrics.top5_percent is None
    assert "top5_percent" not in metrics.to_dict()
    assert applicable(5) == ("top1_percent", "balanced_accuracy_percent")
    with pytest.raises(
        ConfigError, match=r"search.metric: top5_percent does not apply to 5 classes; take top1_percent or"
    ):
        check_metric("top5_percent", 5)


def test_the_primary_metric_ranks_before_the_loss() -> None:
    low = Metrics(1.0, {"top1_percent": 50.0, "balanced_accuracy_percent": 40.0})
    high = Metrics(2.0, {"top1_percent": 50.0, "balanced_accuracy_percent": 45.0})
    assert low.rank > high.rank  # equal top-1, so the loss decides
    chosen = "balanced_accuracy_percent"
    assert replace(low, primary=chosen).rank < replace(high, primary=chosen).rank
    assert replace(high, primary=chosen).value == 45.0


def test_by_loss_the_lowest_is_the_best() -> None:
    low = Metrics(0.5, {"top1_percent": 40.0}, primary="loss")
    high = Metrics(0.7, {"top1_percent": 60.0}, primary="loss")
    assert low.rank > high.rank
    assert (low.value, low.merit, str(low)) == (0.5, -0.5, "loss 0.500")
    top1 = replace(high, primary="top1_percent")
    assert (top1.value, top1.merit, str(top1)) == (60.0, 60.0, "top-1 60.00%")
    assert shortfall(low, {"cost": 1.0, "loss": 2.0}) == 0.25
    assert shortfall(top1, {"cost": 1.0, "top1_percent": 0.0}) == pytest.approx(0.4)
    check_metric("loss", 2)


class _LossOpposed(PlantedEvaluator):
    """The loss is top-1, so that the best by one is the worst by the other."""

    def scores(self, architectures: Sequence[Architecture], progress: Task | None = None) -> list[Metrics]:
        for architecture, metrics in zip(architectures, super().scores(architectures, progress), strict=True):
            self._planted[architecture] = Metrics(metrics.top1_percent / 100, metrics.figures, "loss")
        return [self._planted[architecture] for architecture in architectures]


@pytest.mark.parametrize("strategy", [RandomStrategy, EvolutionStrategy, NSGA2Strategy])
def test_every_strategy_can_choose_by_loss(space: UnifiedSpace, strategy: type) -> None:
    evaluator = _LossOpposed(space)
    evaluator.metric = "loss"
    search = strategy(SearchContext(evaluator, build_costs(space), seed=1))
    found = compare([search], [BudgetSet.parse("macs<=1G")])
    assert found["metric"] == "loss"
    assert found["reference"]["loss"] == pytest.approx(np.log(space.classes))
    (candidate,) = found["strategies"][0]["candidates"]
    assert candidate["supernet_loss"] == min(metrics.loss for metrics in evaluator.scored.values())
    cost = candidate["costs"]["macs"] / found["reference"]["cost"]
    share = candidate["supernet_loss"] / found["reference"]["loss"]
    assert found["strategies"][0]["hypervolume"] == pytest.approx((1 - cost) * (1 - share))


def test_a_run_that_chooses_by_loss_says_so(
    workshop: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    code, out, err = call(capsys, "run", "tiny.toml", "--out", "chosen", "--set", "search.metric=loss")
    assert code == 0, err
    assert "chosen by their validation loss, in nats: lower is better" in out
    code, out, err = call(capsys, "compare", "chosen", "--strategies", "random,evolution")
    assert code == 0, err
    assert "chosen by loss (lower is better)" in out
    found = json.loads((workshop / "chosen" / "compare.json").read_text())
    row = next(line for line in out.splitlines() if line.strip("│ ").startswith("loss"))
    for strategy in found["strategies"]:
        losses = [evaluated["loss"] for evaluated in strategy["evaluated"]]
        assert strategy["candidates"][0]["supernet_loss"] in losses
        assert f"{strategy['candidates'][0]['supernet_loss']:.4f}" in row
    page = (workshop / "chosen" / "report.html").read_text()
    assert "chosen by their validation loss, the lowest being the best" in page
    assert "that of guessing" in page


class _Opposed(PlantedEvaluator):
    """Balanced accuracy is 100 minus top-1, so that the best by one is the worst by the other."""

    def scores(self, architectures: Sequence[Architecture], progress: Task | None = None) -> list[Metrics]:
        self.metric = "balanced_accuracy_percent"
        for architecture, metrics in zip(architectures, super().scores(architectures, progress), strict=True):
            top1 = metrics.top1_percent
            figures = {"top1_percent": top1, "balanced_accuracy_percent": 100.0 - top1}
            self._planted[architecture] = Metrics(top1, figures, self.metric)
        return [self._planted[architecture] for architecture in architectures]


@pytest.mark.parametrize("strategy", [RandomStrategy, EvolutionStrategy, NSGA2Strategy])
def test_every_strategy_chooses_by_the_primary_metric(space: UnifiedSpace, strategy: type) -> None:
    evaluator = _Opposed(space)
    search = strategy(SearchContext(evaluator, build_costs(space), seed=1))
    (found,) = search.search([BudgetSet.parse("macs<=1G")])
    best = min(evaluator.scored.values(), key=lambda metrics: metrics.top1_percent)
    assert found.metrics == best
    assert found.metrics.value == 100.0 - found.supernet_top1_percent


@pytest.fixture
def worst_class() -> Iterator[str]:
    """A metric of one's own, registered."""
    name = "worst_class_percent"
    METRICS.register(lambda tally: float(100.0 * (tally.hits / np.maximum(tally.images, 1)).min()), name=name)
    yield name
    del METRICS._loaded[name]


def test_a_registered_metric_is_chosen_by_and_stands_in_every_record(
    recipe_file: Path, tmp_path: Path, worst_class: str
) -> None:
    run = Run.create(load_recipe(recipe_file, [f"search.metric={worst_class}"]), tmp_path / "run")
    run.run_all(lambda _said: None)
    assert run.evaluator.metric == worst_class
    (result,) = (json.loads(path.read_text()) for path in run.folder.path.glob("retrain/*/result.json"))
    assert f"test_{worst_class}" in result
    for name in ("candidates.jsonl", "random.jsonl"):
        for line in (run.folder.path / name).read_text().splitlines():
            assert 0 <= json.loads(line)[f"supernet_{worst_class}"] <= 100


def test_an_unknown_metric_is_refused(recipe_file: Path) -> None:
    with pytest.raises(ConfigError, match=r"search.metric: unknown metric 'top1'; known are top1_percent, balanced"):
        load_recipe(recipe_file, ["search.metric=top1"])
