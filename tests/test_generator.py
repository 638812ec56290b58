"""The generator network, its training signal, and the promise of the strategy: never over any budget."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anybudget.budgets import Budget, BudgetSet
from anybudget.costs import build_costs
from anybudget.data import DataSplits
from anybudget.decoding.decoder import decode
from anybudget.decoding.reachability import reachable
from anybudget.errors import BudgetError, ConfigError
from anybudget.evaluation.evaluator import Evaluator
from anybudget.evaluation.settings import EvaluatorSettings
from anybudget.generator.distributions import budget_gaps
from anybudget.generator.network import ArchitectureGenerator, gumbel_softmax
from anybudget.generator.settings import GeneratorSchedule
from anybudget.nets import UnifiedSupernet
from anybudget.runtime.accounting import Spending
from anybudget.search.base import SearchContext, TrainedGenerator
from anybudget.search.generator import GeneratorSettings, GeneratorStrategy
from anybudget.spaces import UnifiedSpace
from anybudget.training.loop import TrainingContext
from conftest import slow_but
from generators import generator_for, train_for

SCHEDULE = GeneratorSchedule(epochs=4, batch_size=18)


def make(space: UnifiedSpace, seed: int = 0) -> ArchitectureGenerator:
    torch.manual_seed(seed)
    return generator_for(space)


def strategy_of(
    supernet: UnifiedSupernet, data: DataSplits, *, min_use: float = 0.0, priors: int = 2, candidates: int = 4
) -> GeneratorStrategy:
    costs = build_costs(supernet.space)
    generator = make(supernet.space).eval()
    evaluator = Evaluator(supernet, data, EvaluatorSettings(calibration_images=16))
    context = SearchContext(
        evaluator, costs, min_use=min_use, cost_name="macs", generator=lambda: TrainedGenerator(generator, Spending())
    )
    return GeneratorStrategy(context, GeneratorSettings(priors=priors, candidates=candidates))


def test_output_is_a_distribution_and_depends_on_budget_and_prior(space: UnifiedSpace) -> None:
    generator = make(space)
    priors = generator.random_priors(2, np.random.default_rng(0))
    assert priors.shape == (2, 3, 24)
    assert priors.sum(-1).eq(6).all()  # one operation for each of six sub-blocks
    rows = generator(torch.tensor([0.2, 0.2]), priors)
    assert rows.shape == (2, 3, 80)
    torch.testing.assert_close(rows.exp().sum(-1), torch.ones(2, 3))
    assert not torch.allclose(rows[0], rows[1])
    assert not torch.allclose(rows[0], generator(torch.tensor([0.9]), priors[:1])[0])


def test_without_a_random_prior_nothing_but_the_budget_counts(space: UnifiedSpace) -> None:
    torch.manual_seed(0)
    generator = generator_for(space, random_prior=False)
    priors = generator.random_priors(2, np.random.default_rng(0))
    assert torch.equal(priors[0], priors[1])
    rows = generator(torch.tensor([0.2, 0.2]), priors)
    assert torch.equal(rows[0], rows[1])
    # Not even in proportion: a network without biases would only stretch its logits if the prior were all zeros.
    other = generator(torch.tensor([0.9]), priors[:1])
    assert not torch.allclose((rows[:1, 0] - rows[:1, 0].mean()) * 4.5, other[:, 0] - other[:, 0].mean(), rtol=1e-3)


def test_a_choice_s_logit_is_the_sum_of_its_operations(space: UnifiedSpace) -> None:
    generator = make(space)
    prior = generator.random_priors(1, np.random.default_rng(0))
    rows = generator(torch.tensor([0.5]), prior)[0]
    choices = space.decisions[0].choices
    index = {choice: i for i, choice in enumerate(choices)}
    # Exchanging the kernel of the first sub-block changes the logit by the same amount whatever the sixth uses.
    a, b = index[0, 1, 2, 2, 2, 2], index[1, 1, 2, 2, 2, 2]
    c, d = index[0, 1, 2, 2, 2, 3], index[1, 1, 2, 2, 2, 3]
    torch.testing.assert_close(rows[0, a] - rows[0, b], rows[0, c] - rows[0, d], rtol=1e-4, atol=1e-5)


def test_gumbel_softmax_samples_the_distribution() -> None:
    log_probabilities = torch.tensor([0.5, 0.3, 0.2]).log().expand(4000, 3).clone().requires_grad_()
    hard = gumbel_softmax(log_probabilities, 2.0, hard=True, generator=torch.Generator().manual_seed(0))
    assert set(hard.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(hard.mean(0), torch.tensor([0.5, 0.3, 0.2]), atol=0.03, rtol=0)
    (hard * torch.tensor([1.0, 0.0, 0.0])).sum().backward()
    assert log_probabilities.grad is not None
    assert log_probabilities.grad.abs().sum() > 0
    cold = gumbel_softmax(log_probabilities, 1e-3, hard=False, generator=torch.Generator().manual_seed(0))
    assert torch.equal(cold.argmax(-1), hard.argmax(-1))
    assert cold.max(-1).values.mean() > 0.99


def test_budget_term_is_the_expected_squared_gap(space: UnifiedSpace) -> None:
    terms = build_costs(space)["macs"].terms
    probabilities = (
        torch.rand(1, 3, 80, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).mul(3).softmax(-1)
    )
    budget = torch.tensor([4.0e4], dtype=torch.float64)
    rng = np.random.default_rng(0)
    draws = np.stack([rng.choice(80, size=40_000, p=row) for row in probabilities[0].numpy()], axis=1)
    expected = ((terms.costs(draws) - 4.0e4) ** 2).mean()
    assert budget_gaps(terms, probabilities, budget).item() == pytest.approx(expected, rel=0.02)


def test_training_follows_the_budget(supernet: UnifiedSupernet, data: DataSplits) -> None:
    """After training, a larger budget in gives a larger expected cost out, closer than before training."""
    cost = build_costs(supernet.space)["macs"]
    low, high = reachable({"macs": cost.terms}, "macs")
    positions = torch.tensor([0.2, 0.5, 0.8])
    generator = make(supernet.space)
    priors = generator.random_priors(3, np.random.default_rng(3))

    def gap() -> torch.Tensor:
        with torch.no_grad():
            used = cost.relaxed_cost(generator(positions, priors).exp())
        return ((used - low) / (high - low) - positions).abs().mean()

    before = gap()
    rows: list[dict[str, float]] = []
    weights = {name: value.clone() for name, value in supernet.state_dict().items()}
    schedule = SCHEDULE.model_copy(update={"epochs": 60})
    train_for(generator, supernet, data, schedule, context=TrainingContext(log=rows.append))
    assert gap() < 0.1 < before
    assert len(rows) == 60
    assert rows[0]["temperature"] == 5.0
    assert rows[1]["temperature"] == pytest.approx(4.75)
    assert all(torch.equal(weights[name], value) for name, value in supernet.state_dict().items())


@pytest.mark.parametrize("straight_through", [False, True])
def test_same_seed_same_generator(supernet: UnifiedSupernet, data: DataSplits, straight_through: bool) -> None:
    schedule = SCHEDULE.model_copy(update={"straight_through": straight_through, "networks_per_step": 2})
    first, second = make(supernet.space), make(supernet.space)
    for generator in (first, second):
        train_for(generator, supernet, data, schedule, seed=7)
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_more_networks_than_budgets_in_a_step_are_refused(supernet: UnifiedSupernet, data: DataSplits) -> None:
    schedule = SCHEDULE.model_copy(update={"budgets_per_step": 2, "networks_per_step": 3})
    with pytest.raises(ConfigError, match="networks_per_step 3 is more than the 2 of budgets_per_step"):
        train_for(make(supernet.space), supernet, data, schedule)


def test_every_step_has_the_networks_and_budgets_that_were_asked_for(
    supernet: UnifiedSupernet, data: DataSplits, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[torch.Tensor] = []
    forward = ArchitectureGenerator.forward

    def spy(self: ArchitectureGenerator, budget: torch.Tensor, prior: torch.Tensor) -> torch.Tensor:
        asked.append(budget)
        return forward(self, budget, prior)

    monkeypatch.setattr(ArchitectureGenerator, "forward", spy)
    schedule = SCHEDULE.model_copy(update={"epochs": 1, "budgets_per_step": 3, "networks_per_step": 3})
    spent = train_for(make(supernet.space), supernet, data, schedule)
    steps = len(data.validation) // schedule.batch_size
    assert [len(budgets) for budgets in asked] == [3] * steps
    assert spent.images == 3 * steps * schedule.batch_size


@pytest.mark.parametrize("count", slow_but([200], [200, 1000]))
def test_no_output_exceeds_a_budget(count: int, imagenet_space: UnifiedSpace) -> None:
    """Random generator outputs and budgets over the whole reachable interval, one and two at once: 0 violations."""
    costs = build_costs(imagenet_space)
    terms = {name: model.terms for name, model in costs.items()}
    generator = make(imagenet_space).eval()
    rng = np.random.default_rng(0)
    interval = {name: reachable(terms, name) for name in ("macs", "params")}
    outcomes = {"one": 0, "two": 0, "unreachable": 0}
    with torch.inference_mode():
        for trial in range(count):
            prior = generator.random_priors(1, rng)
            rows = (5 * generator(torch.tensor([rng.random()]), prior)[0]).log_softmax(-1).double().numpy()
            names = ("macs", "params") if trial % 2 else ("macs",)
            budgets = BudgetSet(
                tuple(Budget(n, interval[n][0] + rng.random() * (interval[n][1] - interval[n][0])) for n in names)
            )
            try:
                (found,) = decode(list(rows), terms, budgets)
            except BudgetError as error:
                assert "together" in str(error)
                outcomes["unreachable"] += 1
                continue
            assert all(terms[b.cost].cost(found.choices) <= b.limit for b in budgets)
            outcomes["two" if trial % 2 else "one"] += 1
    assert outcomes["one"] == count // 2
    assert outcomes["two"] > 0.4 * count


@settings(max_examples=15)
@given(st.floats(0, 1), st.floats(0, 1), st.sampled_from([0.0, 0.98]))
def test_candidates_meet_every_budget(first: float, second: float, min_use: float) -> None:
    space, supernet, data = _fixed()
    strategy = strategy_of(supernet, data, min_use=min_use)
    terms = {name: model.terms for name, model in build_costs(space).items()}
    limits = []
    for name, share in (("macs", first), ("params", second)):
        low, high = reachable(terms, name)
        limits.append(Budget(name, low + share * (high - low)))
    try:
        (candidate,) = strategy.search([BudgetSet(tuple(limits))])
    except BudgetError as error:
        assert "together" in str(error)
        return
    assert candidate.budgets.allows(candidate.costs)
    assert all(slack >= 0 for slack in candidate.slack.values())
    assert candidate.costs["macs"] == build_costs(space)["macs"].cost(candidate.architecture)
    assert candidate.supernet_top1_percent == strategy.evaluator.score(candidate.architecture).top1_percent
    assert candidate.log_probability is not None
    assert candidate.log_probability <= 0


_CACHE: list[tuple[UnifiedSpace, UnifiedSupernet, DataSplits]] = []


@pytest.fixture(autouse=True)
def _remember(space: UnifiedSpace, supernet: UnifiedSupernet, data: DataSplits) -> None:
    _CACHE[:] = [(space, supernet, data)]


def _fixed() -> tuple[UnifiedSpace, UnifiedSupernet, DataSplits]:
    return _CACHE[0]


def test_min_use_keeps_slack_small(supernet: UnifiedSupernet, data: DataSplits) -> None:
    low, high = reachable({"macs": build_costs(supernet.space)["macs"].terms}, "macs")
    budgets = [BudgetSet((Budget("macs", round(low + share * (high - low))),)) for share in (0.3, 0.6, 1.0)]
    for candidate in strategy_of(supernet, data, min_use=0.98).search(budgets):
        assert candidate.slack["macs"] <= 0.02 * candidate.budgets.limits()["macs"]


def test_the_best_candidate_is_returned(supernet: UnifiedSupernet, data: DataSplits) -> None:
    strategy = strategy_of(supernet, data, priors=4, candidates=10)
    budgets = BudgetSet.parse("macs<=60k")
    found = strategy.decode(budgets)
    (candidate,) = strategy.search([budgets])
    assert len(found) == 10
    assert candidate.supernet_top1_percent == max(strategy.evaluator.score(a).top1_percent for a in found)
    assert candidate.log_probability == found[candidate.architecture]
