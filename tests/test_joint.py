"""Joint training: planted problems, what trains on which images, resuming, and what it counts."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

from anybudget import from_tensors
from anybudget.budgets import Budget, BudgetSet
from anybudget.costs import build_costs
from anybudget.data import DataSource, DataSplits
from anybudget.decoding.reachability import reachable
from anybudget.errors import ConfigError, DataError, TrainingError
from anybudget.evaluation.evaluator import Evaluator
from anybudget.evaluation.settings import EvaluatorSettings
from anybudget.generator.free_distribution import FreeDistribution
from anybudget.generator.joint import DRAWS, HalvedBatches, Method, train_jointly
from anybudget.generator.joint_settings import GumbelSettings, JointSettings
from anybudget.nets import UnifiedSupernet, build_supernet
from anybudget.recipe import load_recipe, resolved
from anybudget.runtime.signals import Stopped
from anybudget.search import STRATEGIES
from anybudget.search.base import SearchContext
from anybudget.search.joint import FBNetSettings, JointStrategy
from anybudget.spaces import ChoiceBlockSpace, NASBench201Space, SearchSpace
from anybudget.spaces.blocks import Branch, ClassifierSpec, ConvSpec, InvertedBottleneckSpec
from anybudget.spaces.settings import Settings as SpaceSettings
from anybudget.storage.checkpoint import Checkpoint
from anybudget.training.loop import TrainingContext
from conftest import TRAIN, slow_but
from small_spaces import TINY_CELLS
from tiny_spaces import small_channels, small_mbconv

NAMES = ("darts", "gdas", "fbnet", "setn")
every_strategy = pytest.mark.parametrize("name", NAMES)


def joint(name: str, supernet: object, data: DataSource, seed: int = 0, **changes: object) -> JointStrategy:
    """A strategy with short trainings."""
    kind = cast(type[JointStrategy], STRATEGIES[name])
    given = {"epochs": 2, "batch_size": 12, "candidates": 2, **changes}
    settings = kind.settings_type(**given)
    evaluator = Evaluator(cast(UnifiedSupernet, supernet), data, EvaluatorSettings(calibration_images=16))
    costs = build_costs(evaluator.supernet.space)
    return kind(SearchContext(evaluator, costs, seed, cost_name="macs", data=data), settings)


class StripeSpace(ChoiceBlockSpace):
    """A layer that looks at a pixel alone or at 3x3 of them, between a pointwise stem and a classifier of means."""

    name = "stripes"

    def __init__(self) -> None:
        self.settings = SpaceSettings(input_size=8, input_channels=1, classes=2)
        blocks = [InvertedBottleneckSpec(8, 8, 1, 8, (Branch(kernel, 16),), "relu") for kernel in (1, 3)]
        self._lay_out([ConvSpec(1, 8, 1, 1, 8, "relu")], [blocks], [ClassifierSpec(8, 2)], ["k1", "k3"])


def stripes(count: int = 240) -> DataSource:
    """Lying and standing stripes, as bright as dark: only who sees more than one pixel can tell them apart."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2
    rows = (np.arange(8)[None, :, None] + rng.integers(2, size=(count, 1, 1))) % 2
    images = np.where(labels[:, None, None] == 0, np.broadcast_to(rows, (count, 8, 8)), rows.transpose(0, 2, 1))
    noisy = images * 0.6 + rng.uniform(0, 0.3, images.shape)
    return from_tensors(torch.from_numpy(noisy).float()[:, None], torch.from_numpy(labels))


@every_strategy
def test_the_only_operation_that_can_fit_is_found(name: str) -> None:
    torch.manual_seed(0)
    space = StripeSpace()
    changes: dict[str, object] = {"epochs": 12, "architecture_learning_rate": 0.05, "learning_rate": 0.1}
    if name == "gdas":
        changes["temperature"] = 5.0
    strategy = joint(name, build_supernet(space).eval(), stripes(), **changes)
    largest = max(build_costs(space)["macs"].cost(a) for a in space.enumerate())
    trained = strategy.trained(BudgetSet((Budget("macs", largest),)))
    assert float(np.exp(trained.rows[0][1])) > 0.7
    found = strategy.find(BudgetSet((Budget("macs", largest),))).architecture
    assert found.choices == (1,)
    seen = strategy.evaluator.with_weights(trained.supernet).score(found).top1_percent
    assert seen > 90


@every_strategy
def test_no_budget_is_exceeded(name: str, supernet: UnifiedSupernet, data: DataSplits) -> None:
    low, high = reachable({"macs": build_costs(supernet.space)["macs"].terms}, "macs")
    budgets = [BudgetSet((Budget("macs", low + share * (high - low)),)) for share in (0.0, 0.3)]
    strategy = joint(name, supernet, data, epochs=1)
    for candidate in strategy.search([*budgets, BudgetSet.parse("macs<=60k, params<=1300")]):
        assert candidate.budgets.allows(candidate.costs)
        assert candidate.log_probability is not None
        assert candidate.log_probability <= 0


def test_with_a_penalty_the_distribution_follows_its_budget(supernet: UnifiedSupernet, data: DataSplits) -> None:
    cost = build_costs(supernet.space)["macs"]
    low, high = reachable({"macs": cost.terms}, "macs")
    strategy = joint("fbnet", supernet, data, epochs=6, architecture_learning_rate=0.2)
    for limit in (45_000.0, 120_000.0):
        rows = strategy.trained(BudgetSet((Budget("macs", limit),))).rows
        used = float(cost.relaxed_cost(torch.from_numpy(np.stack(rows)).exp()))
        assert abs(used - limit) < 0.1 * (high - low)


@pytest.mark.parametrize(("name", "trainings"), [("darts", 1), ("gdas", 1), ("fbnet", 2), ("setn", 1)])
def test_what_knows_no_budget_is_trained_once(
    name: str, trainings: int, supernet: UnifiedSupernet, data: DataSplits
) -> None:
    budgets = [BudgetSet.parse("macs<=50k"), BudgetSet.parse("macs<=80k")]
    strategy = joint(name, supernet, data, candidates=1)
    strategy.search(budgets)
    images = 2 * 12 * 2 * (TRAIN // 2 // 12)
    assert strategy.training.images == trainings * images
    assert strategy.training.evaluations == 0
    assert strategy.training.seconds > 0
    assert strategy.spent.evaluations == strategy.evaluator.spent.evaluations <= 2


def test_mixtures_and_paths_are_counted(data: DataSplits) -> None:
    """A mixture costs what all operations of all layers do, a path what its network does."""
    torch.manual_seed(0)
    space = small_mbconv()
    macs = build_costs(space)["macs"]
    networks = [macs.cost(network) for network in space.enumerate()]
    budgets = BudgetSet((Budget("macs", max(networks)),))
    darts, gdas = (joint(name, build_supernet(space).eval(), data, candidates=1) for name in ("darts", "gdas"))
    for strategy in (darts, gdas):
        strategy.find(budgets)
    everything = macs.terms.constant + sum(float(row.sum()) for row in macs.terms.unary)
    assert darts.training.macs == darts.training.images * everything
    assert darts.training.images == gdas.training.images
    assert min(networks) < gdas.training.macs / gdas.training.images < max(networks)


def test_several_candidates_are_judged_by_the_strategy_s_own_weights(
    supernet: UnifiedSupernet, data: DataSplits, monkeypatch: pytest.MonkeyPatch
) -> None:
    strategy = joint("setn", supernet, data, candidates=6)
    judged: list[Evaluator] = []
    own = Evaluator.with_weights

    def remembered(evaluator: Evaluator, other: object) -> Evaluator:
        judged.append(own(evaluator, cast(UnifiedSupernet, other)))
        return judged[-1]

    monkeypatch.setattr(Evaluator, "with_weights", remembered)
    budgets = BudgetSet.parse("macs<=80k")
    (answer,) = strategy.search([budgets])
    (judge,) = judged
    assert len(judge.scored) == 6
    assert judge.supernet is strategy.trained(budgets).supernet
    best = max(judge.scored, key=lambda architecture: judge.scored[architecture].rank)
    assert answer.architecture == best
    assert list(strategy.evaluator.scored) == [best]
    assert answer.metrics == strategy.evaluator.scored[best]
    assert strategy.training.evaluations == 6
    assert strategy.spent.evaluations == 7


def test_the_run_s_supernet_has_no_part_in_what_is_found(data: DataSplits) -> None:
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        strategy = joint("setn", build_supernet(small_mbconv()).eval(), data, candidates=4)
        weights = {name: value.clone() for name, value in strategy.evaluator.supernet.state_dict().items()}
        found.append(strategy.find(BudgetSet.parse("macs<=1G")))
        for name, value in strategy.evaluator.supernet.state_dict().items():
            assert torch.equal(value, weights[name])
    assert found[0] == found[1]


@every_strategy
def test_its_seed_decides(name: str, supernet: UnifiedSupernet, data: DataSplits) -> None:
    budgets = BudgetSet.parse("macs<=60k")
    rows = [np.stack(joint(name, supernet, data, seed, epochs=1).trained(budgets).rows) for seed in (0, 0, 1)]
    assert np.array_equal(rows[0], rows[1])
    assert not np.array_equal(rows[0], rows[2])


# Images.


def test_weights_and_distribution_see_images_of_their_own(data: DataSplits) -> None:
    batches = HalvedBatches(data, JointSettings(epochs=1, batch_size=12), 0)
    assert (batches.per_epoch, batches.size, len(batches.labels)) == (3, 12, TRAIN // 2)
    seen: tuple[set[bytes], set[bytes]] = (set(), set())
    for epoch in (1, 2, 3):
        for images, labels in batches.epoch(epoch, torch.device("cpu")):
            assert (len(images), len(labels)) == (24, 24)
            for half, part in zip(seen, images.chunk(2), strict=True):
                half.update(image.numpy().tobytes() for image in part)
    assert not seen[0] & seen[1]
    assert min(map(len, seen)) > 36
    whole = list(batches.epoch(2, torch.device("cpu")))
    rest = list(batches.epoch(2, torch.device("cpu"), start=1))
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(whole[1:], rest, strict=True))


def test_too_few_images_are_said(data: DataSplits) -> None:
    with pytest.raises(DataError, match="half of the 84 training images is fewer than a batch of 64"):
        HalvedBatches(data, JointSettings(), 0)


# Resuming.


class StopAt(Checkpoint):
    """Keeps the state in memory, and asks to stop after so many steps."""

    def __init__(self, steps: int) -> None:
        self.steps, self.kept = steps, cast(dict[str, object] | None, None)

    @property
    def stopping(self) -> bool:
        self.steps -= 1
        return self.steps == 0

    def due(self) -> bool:
        return False

    def load(self) -> dict[str, object] | None:
        return self.kept

    def save(self, state: object) -> None:
        self.kept = torch.load(_bytes(state), weights_only=False)

    def stop(self) -> None:
        raise Stopped(15)


def _bytes(state: object) -> object:
    import io

    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return file


SPACES: dict[str, Callable[[], SearchSpace]] = {
    "mbconv": small_mbconv,
    "channels": small_channels,
    "cells": lambda: NASBench201Space(TINY_CELLS),
}
QUICK = [("darts", "mbconv"), ("gdas", "channels"), ("fbnet", "mbconv"), ("setn", "cells")]


@pytest.mark.parametrize("named", slow_but(QUICK, product(NAMES, SPACES)), ids="-".join)
def test_stopped_and_resumed_it_ends_the_same(named: tuple[str, str], data: DataSplits) -> None:
    name, space = named[0], SPACES[named[1]]()
    kind = cast(type[JointStrategy], STRATEGIES[name])
    settings = kind.settings_type(epochs=2, batch_size=12, architecture_learning_rate=0.1, ema=0.5, dropout=0.2)
    method = Method(name, kind.for_weights, kind.for_architecture, settings)

    def ended(checkpoint: StopAt) -> tuple[dict[str, Tensor], Tensor]:
        torch.manual_seed(0)
        net, model = build_supernet(space), FreeDistribution(space)
        train_jointly(net, model, data, method, context=TrainingContext(checkpoint=checkpoint))
        return net.state_dict(), model.logits.detach()

    whole, stopped = ended(StopAt(-1)), StopAt(5)
    with pytest.raises(Stopped):
        ended(stopped)
    resumed = ended(stopped)
    assert torch.equal(whole[1], resumed[1])
    assert whole[1].abs().max() > 0
    for key, value in whole[0].items():
        assert torch.equal(value, resumed[0][key]), key


# Settings and faults.


def test_temperatures_fall_to_the_last_epoch() -> None:
    linear = GumbelSettings(epochs=5)
    assert [linear.temperature_at(epoch) for epoch in (1, 3, 5)] == pytest.approx([10, 5.05, 0.1])
    published = FBNetSettings(epochs=90)
    assert published.temperature_at(2) / published.temperature_at(1) == pytest.approx(np.exp(-0.045), abs=2e-3)
    assert GumbelSettings(epochs=1).temperature_at(1) == 10


def test_uniform_paths_are_uniform_whatever_the_distribution_says() -> None:
    rows = torch.tensor([[0.0, -50.0, -90.0], [0.0, -40.0, -torch.inf]]).log_softmax(-1)
    draws = torch.Generator().manual_seed(0)
    paths = torch.stack([DRAWS["uniform-path"](rows, 1.0, draws) for _ in range(600)])
    assert set(paths.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(paths.mean(0), torch.tensor([[1 / 3] * 3, [1 / 2, 1 / 2, 0]]), atol=0.06, rtol=0)


@pytest.mark.parametrize("rate", ["learning_rate", "architecture_learning_rate"])
def test_a_loss_that_is_not_finite_ends_training(rate: str, supernet: UnifiedSupernet, data: DataSplits) -> None:
    strategy = joint("darts", supernet, data)
    strategy.settings = strategy.settings.model_copy(update={rate: float("inf")})
    with pytest.raises(TrainingError, match="darts: the loss"):
        strategy.find(BudgetSet.parse("macs<=60k"))


def test_it_needs_data(supernet: UnifiedSupernet, data: DataSplits) -> None:
    evaluator = Evaluator(supernet, data, EvaluatorSettings(calibration_images=16))
    with pytest.raises(ConfigError, match="strategy gdas: trains on the training split"):
        STRATEGIES["gdas"](SearchContext(evaluator, build_costs(supernet.space)))


def test_a_recipe_that_sets_none_of_it_is_written_as_before(recipe_file: object) -> None:
    path = cast("str", recipe_file)
    assert not set(NAMES) & set(resolved(load_recipe(path))["search"])
    changed = load_recipe(path, ["search.gdas.epochs=3"])
    assert resolved(changed)["search"]["gdas"]["epochs"] == 3
    assert not {"darts", "fbnet", "setn"} & set(resolved(changed)["search"])
    with pytest.raises(ConfigError, match=r"search\.darts\.drop_path: a supernet has no residual blocks"):
        load_recipe(path, ["search.darts.drop_path=0.1"])
