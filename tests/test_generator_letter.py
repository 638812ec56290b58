"""SGNAS's Algorithm 1 to the letter: an interval of budgets, one prior, a constant rate, the sampled budget loss."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from anybudget.budgets import BudgetSet
from anybudget.costs import build_costs
from anybudget.data import DataSplits
from anybudget.decoding.reachability import extremes, position
from anybudget.errors import BudgetError, ConfigError
from anybudget.generator import distributions
from anybudget.generator.distributions import budget_gaps, sampled_gaps
from anybudget.generator.interval import TrainedInterval
from anybudget.generator.network import ArchitectureGenerator
from anybudget.generator.settings import GeneratorSchedule
from anybudget.nets import UnifiedSupernet
from anybudget.recipe import load_recipe, resolved
from anybudget.runs.checks import check_recipe
from anybudget.runs.instant import open_instantly
from anybudget.runs.run import Run
from anybudget.spaces import UnifiedSpace
from anybudget.storage.changes import differences
from anybudget.testing import check_resume
from conftest import call
from generators import generator_for, train_for

LETTER = [
    "generator.low=20e3",
    "generator.high=45e3",
    "generator.priors=fixed",
    "generator.annealing=constant",
    "generator.budget_loss=sampled",
    "generator.budgets_per_step=1",
    "search.generator.priors=1",
    "search.generator.candidates=1",
]
BUDGETS = [BudgetSet.parse(text) for text in ("macs<=19k", "macs<=30k", "macs<=60k")]


@pytest.fixture(scope="module")
def trained(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose generator was trained to the letter."""
    path = tmp_path_factory.mktemp("letter") / "run"
    recipe = load_recipe(prepared / "tiny.toml", [*LETTER, f"data.source={prepared / 'images.npz'}"])
    run = Run.create(recipe.model_copy(update={"checkpoint_seconds": 0.0}), path)
    run.train_supernet()
    run.train_generator()
    return path


class Seen:
    """A model of distributions that keeps the positions and priors it is asked for."""

    def __init__(self, generator: ArchitectureGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
        self.positions: list[torch.Tensor] = []
        self.priors: list[torch.Tensor] = []
        forward = ArchitectureGenerator.forward

        def kept(model: ArchitectureGenerator, budget: torch.Tensor, prior: torch.Tensor) -> torch.Tensor:
            if model is generator:
                self.positions.append(budget)
                self.priors.append(prior)
            return forward(model, budget, prior)

        monkeypatch.setattr(ArchitectureGenerator, "forward", kept)


def test_budgets_are_drawn_from_the_interval_alone(
    supernet: UnifiedSupernet, data: DataSplits, monkeypatch: pytest.MonkeyPatch
) -> None:
    terms = build_costs(supernet.space)["macs"].terms
    least, most = extremes(terms)
    low, high = least + 0.2 * (most - least), least + 0.3 * (most - least)
    generator = generator_for(supernet.space)
    seen = Seen(generator, monkeypatch)
    train_for(generator, supernet, data, GeneratorSchedule(epochs=3, batch_size=18, low=low, high=high))
    drawn = torch.cat(seen.positions)
    assert len(drawn) > 50
    assert 0.2 - 1e-6 <= float(drawn.min()) < 0.22
    assert 0.28 < float(drawn.max()) <= 0.3 + 1e-6


def test_one_end_may_be_left_to_the_space(space: UnifiedSpace) -> None:
    terms = build_costs(space)["macs"].terms
    least, most = extremes(terms)
    middle = (least + most) / 2
    assert TrainedInterval().positions(terms) == (0.0, 1.0)
    assert TrainedInterval(low=middle).positions(terms) == (0.5, 1.0)
    assert TrainedInterval(high=middle).positions(terms) == (0.0, 0.5)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (1.0, 0.0, r"generator\.low: 1 is outside of what networks of this space cost, from [\d,]+ to [\d,]+; take"),
        (0.0, 1e9, r"generator\.high: 1,?000,?000,?000 is outside of .*, or 0 for its end"),
    ],
)
def test_an_interval_beyond_what_is_reachable_is_refused(
    space: UnifiedSpace, low: float, high: float, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        TrainedInterval(low, high).positions(build_costs(space)["macs"].terms)


def test_an_empty_interval_is_refused_before_any_work(recipe_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"generator\.low: budgets from 50000 to 40000 \(generator\.high\) are none"):
        load_recipe(recipe_file, ["generator.low=5e4", "generator.high=4e4"])
    run = Run.create(load_recipe(recipe_file, ["generator.low=1"]), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"generator\.low: 1 is outside of what networks of this space cost"):
        run.run_all()
    assert not (tmp_path / "run" / "supernet.safetensors").exists()
    evolving = load_recipe(recipe_file, ["generator.low=1", "search.strategy=evolution"])
    check_recipe(Run.create(evolving, tmp_path / "other").context)  # trains no generator


def test_a_fixed_prior_is_the_same_always(space: UnifiedSpace) -> None:
    encodings = [decision.encoding() for decision in space.decisions]
    fixed = ArchitectureGenerator(encodings, fixed_prior=3)
    rng = np.random.default_rng(0)
    state = rng.bit_generator.state
    priors = fixed.random_priors(5, rng)
    assert all(torch.equal(prior, priors[0]) for prior in priors)
    assert rng.bit_generator.state == state
    assert torch.equal(priors[:1], fixed.random_priors(1, np.random.default_rng(7)))
    free = ArchitectureGenerator(encodings)
    assert torch.equal(priors[:1], free.random_priors(1, np.random.default_rng(3)))
    assert not torch.equal(priors[:1], ArchitectureGenerator(encodings, fixed_prior=4).random_priors(1, rng))


def test_training_and_queries_have_the_fixed_prior(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run.open(trained)
    asked = run.strategy("generator")
    (prior,) = asked._priors  # type: ignore[attr-defined]
    assert torch.equal(prior, run.generator.random_priors(1, np.random.default_rng(99))[0])
    generator = run.context.build_generator()
    seen = Seen(generator, monkeypatch)
    train_for(generator, run.supernet, run.data, run.recipe.generator)  # type: ignore[arg-type]
    assert all(torch.equal(drawn, prior.expand_as(drawn)) for drawn in seen.priors)


def test_the_rate_stays_where_it_is_to_be_constant(
    supernet: UnifiedSupernet, data: DataSplits, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    step = torch.optim.Adam.step

    def kept(optimiser: torch.optim.Adam, *arguments: object) -> object:
        rates.append(optimiser.param_groups[0]["lr"])
        return step(optimiser, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.optim.Adam, "step", kept)
    train_for(
        generator_for(supernet.space), supernet, data, GeneratorSchedule(epochs=2, batch_size=18, annealing="constant")
    )
    assert len(rates) > 2
    assert set(rates) == {1e-3}
    rates.clear()
    train_for(generator_for(supernet.space), supernet, data, GeneratorSchedule(epochs=2, batch_size=18))
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 5e-4


def test_the_sampled_gap_is_that_of_the_sample_s_own_cost(space: UnifiedSpace) -> None:
    cost = build_costs(space)["macs"]
    rng = np.random.default_rng(0)
    drawn = [space.sample(rng) for _ in range(3)]
    samples = torch.stack([torch.nn.functional.one_hot(torch.tensor(a.choices), 80).double() for a in drawn])
    budgets = torch.tensor([3.0e4, 4.0e4, 5.0e4], dtype=torch.float64)
    gaps = sampled_gaps(cost.terms, samples, budgets)
    expected = [(cost.cost(a) - float(budget)) ** 2 for a, budget in zip(drawn, budgets, strict=True)]
    assert gaps.tolist() == pytest.approx(expected)
    # Unlike the expected gap, a mixture of two networks on both sides of a budget has none.
    low, high = sorted((cost.cost(drawn[0]), cost.cost(drawn[1])))
    mixed, between = (samples[:1] + samples[1:2]) / 2, torch.tensor([(low + high) / 2], dtype=torch.float64)
    if not cost.terms.pairwise:
        assert float(sampled_gaps(cost.terms, mixed, between)) == pytest.approx(0.0, abs=1e-3)
    assert float(budget_gaps(cost.terms, mixed, between)) > 1.0


def test_the_sampled_loss_takes_the_budgets_of_the_samples(
    supernet: UnifiedSupernet, data: DataSplits, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []

    def kept(terms: object, samples: torch.Tensor, budgets: torch.Tensor) -> torch.Tensor:
        asked.append((len(samples), len(budgets)))
        return sampled_gaps(terms, samples, budgets)  # type: ignore[arg-type]

    monkeypatch.setattr(distributions, "sampled_gaps", kept)
    generator = generator_for(supernet.space)
    before = [parameter.clone() for parameter in generator.parameters()]
    schedule = GeneratorSchedule(
        epochs=1, batch_size=18, budget_loss="sampled", networks_per_step=2, budgets_per_step=5
    )
    train_for(generator, supernet, data, schedule)
    assert asked
    assert set(asked) == {(2, 2)}
    assert any(not torch.equal(a, b) for a, b in zip(before, generator.parameters(), strict=True))


def test_budgets_outside_of_the_interval_are_said_and_kept(trained: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = Run.open(trained)
    terms = {name: model.terms for name, model in run.costs.items()}
    least, most = extremes(terms["macs"])
    interval = TrainedInterval.of(run.recipe.generator)
    with caplog.at_level(logging.WARNING, "anybudget.generator.interval"):
        inside = interval.position(terms, "macs", BUDGETS[1])
        assert not caplog.messages
        below, above = (interval.position(terms, "macs", BUDGETS[index]) for index in (0, 2))
    assert inside == position(terms, "macs", BUDGETS[1])
    assert (below, above) == tuple((end - least) / (most - least) for end in (20e3, 45e3))
    assert [message.split(";")[1] for message in caplog.messages] == [
        " it is asked for 20,000",
        " it is asked for 45,000",
    ]
    assert "trained for 20,000 to 45,000 (generator.low, generator.high)" in caplog.messages[0]
    found = run.generate(BUDGETS)
    assert all(candidate.budgets.allows(candidate.costs) for candidate in found)
    recipe, instant = open_instantly(trained)
    assert recipe.generator.priors == "fixed"
    assert [proposal.budgets for proposal in instant.propose(BUDGETS)] == BUDGETS
    with pytest.raises(BudgetError, match="cannot be met"):
        run.generate([BudgetSet.parse("macs<=1")])


def test_a_run_says_first_which_of_its_budgets_are_outside(
    recipe_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = load_recipe(recipe_file, ["generator.high=40e3"])
    check_recipe(Run.create(recipe, tmp_path / "run").context)
    assert [message for message in caplog.messages if "budget macs<=60k" in message]
    assert not [message for message in caplog.messages if "budget macs<=30k:" in message]


def test_killed_it_ends_as_if_never_interrupted(trained: Path, tmp_path: Path) -> None:
    begun = shutil.copytree(trained, tmp_path / "begun")
    Run.open(begun).folder.forget(["generator"])
    for name in ("csv", "json", "safetensors"):
        (begun / f"generator.{name}").unlink()
    assert check_resume(begun, lambda path: Run.open(path).train_generator(), tmp_path)


def test_what_is_off_is_not_written(recipe_file: Path) -> None:
    plain = resolved(load_recipe(recipe_file))
    assert not {"low", "high", "priors", "annealing", "budget_loss"} & set(plain["generator"])
    assert not {"annealing", "budget_loss"} & set(plain["search"]["direct"])
    changed = differences(plain, resolved(load_recipe(recipe_file, LETTER[:5])))
    assert sorted(line.partition(":")[0] for line in changed) == [
        "generator.annealing",
        "generator.budget_loss",
        "generator.high",
        "generator.low",
        "generator.priors",
    ]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (["generator.priors=fixed", "generator.random_prior=false"], 'generator.priors: "fixed" is one prior'),
        (["generator.priors=one"], "generator.priors: input should be 'random' or 'fixed', found 'one'"),
        (["generator.low=-1"], "generator.low: input should be greater than or equal to 0, found -1"),
        (["search.direct.low=3"], "unknown key search.direct.low"),
    ],
)
def test_what_cannot_be_is_refused(
    recipe_file: Path, capsys: pytest.CaptureFixture[str], keys: list[str], said: str
) -> None:
    sets = [word for key in keys for word in ("--set", key)]
    code, _, err = call(capsys, "space", recipe_file, *sets)
    assert code == 2
    assert said in " ".join(err.split())
