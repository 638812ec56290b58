"""The strategy `direct`, the training that it shares with the generator, and what it counts."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from anybudget.architecture import Architecture
from anybudget.budgets import Budget, BudgetSet
from anybudget.costs import CostModel, CostTerms, build_costs
from anybudget.data import DataSplits, TrainingBatches
from anybudget.decoding.reachability import reachable
from anybudget.errors import TrainingError
from anybudget.evaluation.evaluator import Evaluator
from anybudget.evaluation.settings import EvaluatorSettings
from anybudget.generator.distributions import (
    FixedPosition,
    Objective,
    mixture_macs,
    train_distributions,
)
from anybudget.generator.free_distribution import FreeDistribution
from anybudget.generator.settings import GeneratorSchedule
from anybudget.generator.training import MixtureLoss
from anybudget.nets import UnifiedSupernet
from anybudget.search.base import SearchContext
from anybudget.search.direct import DirectSettings, DirectStrategy
from anybudget.spaces import (
    BlockSpec,
    Decision,
    SearchSpace,
)
from anybudget.training.loop import TrainingContext
from generators import generator_for, train_for

SETTINGS = DirectSettings(epochs=2, batch_size=18, learning_rate=0.1, candidates=4)
VALIDATION = 36


def direct(supernet: UnifiedSupernet, data: DataSplits, seed: int = 0, **changes: object) -> DirectStrategy:
    costs = build_costs(supernet.space)
    settings = SETTINGS.model_copy(update=changes)
    evaluator = Evaluator(supernet, data, EvaluatorSettings(calibration_images=16))
    return DirectStrategy(SearchContext(evaluator, costs, seed, cost_name="macs", data=data), settings)


def test_the_distribution_follows_its_budget(supernet: UnifiedSupernet, data: DataSplits) -> None:
    cost = build_costs(supernet.space)["macs"]
    weights = {name: value.clone() for name, value in supernet.state_dict().items()}
    strategy = direct(supernet, data, epochs=60)
    uniform = float(cost.relaxed_cost(torch.full((3, 80), 1 / 80, dtype=torch.float64)))
    low, high = reachable({"macs": cost.terms}, "macs")
    for limit in (40_000.0, 80_000.0, 150_000.0):
        rows = strategy.log_probabilities(BudgetSet((Budget("macs", limit),)))
        used = float(cost.relaxed_cost(torch.from_numpy(np.stack(rows)).exp()))
        assert abs(used - limit) < 0.05 * (high - low)
        assert abs(used - limit) < 0.3 * abs(uniform - limit)
    assert all(torch.equal(weights[name], value) for name, value in supernet.state_dict().items())


def test_direct_never_exceeds_a_budget(supernet: UnifiedSupernet, data: DataSplits) -> None:
    costs = build_costs(supernet.space)
    low, high = reachable({"macs": costs["macs"].terms}, "macs")
    budgets = [BudgetSet((Budget("macs", low + share * (high - low)),)) for share in (0.0, 0.1, 0.5, 1.0)]
    budgets += [BudgetSet.parse("macs<=60k, params<=1300"), BudgetSet.parse("params<=1400")]
    for candidate in direct(supernet, data, epochs=1).search(budgets):
        assert candidate.budgets.allows(candidate.costs)
        assert candidate.log_probability is not None
        assert candidate.log_probability <= 0


@pytest.mark.parametrize("networks", [1, 2])
def test_direct_counts_what_every_budget_costs(supernet: UnifiedSupernet, data: DataSplits, networks: int) -> None:
    strategy = direct(supernet, data, networks_per_step=networks)
    strategy.search([BudgetSet.parse("macs<=50k"), BudgetSet.parse("macs<=80k")])
    images = 2 * SETTINGS.epochs * VALIDATION * networks
    assert strategy.training.evaluations == 0
    assert strategy.training.images == images
    assert strategy.training.seconds > 0
    assert strategy.spent.images == images + strategy.evaluator.spent.images
    assert strategy.spent.evaluations == strategy.evaluator.spent.evaluations == len(strategy.evaluator.scored) <= 8


def test_direct_s_seed_decides(supernet: UnifiedSupernet, data: DataSplits) -> None:
    budgets = BudgetSet.parse("macs<=60k")
    rows = [np.stack(direct(supernet, data, seed).log_probabilities(budgets)) for seed in (0, 0, 1)]
    assert np.array_equal(rows[0], rows[1])
    assert not np.array_equal(rows[0], rows[2])


def test_a_query_does_not_depend_on_those_before(supernet: UnifiedSupernet, data: DataSplits) -> None:
    first, second = BudgetSet.parse("macs<=50k"), BudgetSet.parse("macs<=90k")
    together = direct(supernet, data).search([first, second])
    assert together[1].architecture == direct(supernet, data).search([second])[0].architecture


def test_decisions_of_different_sizes_are_padded() -> None:
    decisions = Decision.single("first", ("a", "b")), Decision.single("second", ("a", "b", "c"))
    model = FreeDistribution(SimpleNamespace(decisions=decisions))  # type: ignore[arg-type]
    rows = model(torch.zeros(4), torch.zeros(4))
    assert rows.shape == (4, 2, 3)
    torch.testing.assert_close(rows[3].exp(), torch.tensor([[1 / 2, 1 / 2, 0], [1 / 3, 1 / 3, 1 / 3]]))
    (rows[0].exp() * torch.arange(3)).sum().backward()
    assert model.logits.grad is not None
    assert model.logits.grad.isfinite().all()
    assert model.logits.grad[0].abs().sum() > 0


def test_the_generator_s_training_is_counted(supernet: UnifiedSupernet, data: DataSplits) -> None:
    assert len(data.validation) == VALIDATION
    torch.manual_seed(0)
    generator = generator_for(supernet.space)
    # 36 images in batches of 16: two whole batches, the rest is dropped.
    schedule = GeneratorSchedule(epochs=3, batch_size=16, networks_per_step=2)
    spent = train_for(generator, supernet, data, schedule)
    assert spent.evaluations == 0
    assert spent.images == 3 * 2 * 16 * 2
    images, labels = torch.zeros(16, 1, 8, 8), torch.zeros(16, dtype=torch.long)
    mixture = mixture_macs(MixtureLoss(supernet), images, labels, torch.full((3, 80), 1 / 80))
    assert spent.macs == spent.images * mixture
    assert spent.seconds > 0


def test_a_mixture_costs_what_the_largest_network_does(supernet: UnifiedSupernet) -> None:
    """And besides, once a batch, the adding up of the kernels."""
    largest = reachable({"macs": build_costs(supernet.space)["macs"].terms}, "macs")[1]
    loss = MixtureLoss(supernet)
    probabilities = torch.full((3, 80), 1 / 80)
    few, many = (
        mixture_macs(loss, torch.zeros(n, 1, 8, 8), torch.zeros(n, dtype=torch.long), probabilities) for n in (2, 200)
    )
    assert largest < many < few
    assert 2 * (few - largest) == pytest.approx(200 * (many - largest))


class ConstantCost(CostModel):
    """A cost that every network has alike."""

    name, unit = "flat", "units"

    def __init__(self, space: SearchSpace) -> None:
        self.space = space

    def cost(self, architecture: Architecture) -> float:
        del architecture
        return 5.0

    def count(self, specs: Sequence[BlockSpec]) -> float:
        del specs
        return 5.0

    @property
    def terms(self) -> CostTerms:
        return CostTerms(5.0, tuple(np.zeros(len(d.choices)) for d in self.space.decisions))


def test_a_constant_cost_has_no_gap(supernet: UnifiedSupernet, data: DataSplits) -> None:
    cost = ConstantCost(supernet.space)
    evaluator = Evaluator(supernet, data, EvaluatorSettings(calibration_images=16))
    strategy = DirectStrategy(SearchContext(evaluator, {"flat": cost}, data=data), SETTINGS)
    (candidate,) = strategy.search([BudgetSet.parse("flat<=5")])
    assert candidate.slack == {"flat": 0.0}


def test_a_loss_that_is_not_finite_ends_training(supernet: UnifiedSupernet, data: DataSplits) -> None:
    with pytest.raises(TrainingError, match=r"direct: the loss became nan in epoch 1, step 2; lower its learning_rate"):
        direct(supernet, data, learning_rate=float("inf")).find(BudgetSet.parse("macs<=60k"))


def test_every_step_asks_for_what_it_trains_on(supernet: UnifiedSupernet, data: DataSplits) -> None:
    model = FreeDistribution(supernet.space)
    asked = []

    class Drawn(FixedPosition):
        def draw(self, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
            asked.append(torch.rand(4, generator=generator))
            return asked[-1], asked[-1]

    rows: list[dict[str, float]] = []
    objective = Objective(MixtureLoss(supernet), build_costs(supernet.space)["macs"].terms, SETTINGS)
    targets = Drawn(0.5, 1, torch.device("cpu"))
    batches = TrainingBatches(data, data.validation, SETTINGS.batch_size, 0)
    context = TrainingContext(log=rows.append)
    spent = train_distributions(model, objective, targets, batches, name="test", context=context)
    assert len(asked) == SETTINGS.epochs * VALIDATION // SETTINGS.batch_size == 4
    assert len({tuple(positions.tolist()) for positions in asked}) == 4
    assert spent.images == len(asked) * SETTINGS.batch_size  # one of the four distributions is sampled
    assert [row["epoch"] for row in rows] == [1, 2]
    assert not model.training
