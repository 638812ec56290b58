"""What is registered keeps the promises of `anybudget.testing`; every small recipe runs."""

import importlib
import json
import pkgutil
from collections.abc import Mapping
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

import anybudget.spaces
from anybudget.budgets import BudgetSet
from anybudget.costs import CostModel, build_costs
from anybudget.data import DataSplits, load_splits
from anybudget.evaluation.evaluator import Evaluator
from anybudget.nets import build_supernet
from anybudget.recipe import Recipe, load_recipe
from anybudget.runs.run import Run
from anybudget.search import STRATEGIES
from anybudget.search.base import SearchContext, Strategy, TrainedGenerator
from anybudget.spaces import SPACES, SearchSpace
from anybudget.testing import check_sampler, check_space, check_strategy, check_supernet
from anybudget.training import SAMPLERS
from anybudget.training.greedy import GreedySettings
from anybudget.training.samplers import Length
from conftest import FEW_STEPS, slow_but, write_images
from generators import generator_for, train_for

SMALL = {path.stem: path for path in sorted((Path(__file__).parents[1] / "recipes" / "small").glob("*.toml"))}
TINY = {
    # Five kernel multisets in each of two layers.
    "unified": [
        "space.stages=[{width=4,repeats=1,stride=1},{width=6,repeats=1,stride=2}]",
        "space.kernels=[3,5]",
        "space.min_expansion=1",
        "space.max_expansion=2",
    ],
    # Two kernels in each of three layers, two of which can be skipped: 14 networks in 18 encodings.
    "unified, layers skipped": [
        "space.stages=[{width=4,repeats=2,stride=1},{width=6,repeats=1,stride=2}]",
        "space.kernels=[3,5]",
        "space.min_expansion=1",
        "space.max_expansion=1",
        "space.skip_layers=true",
    ],
    # Three layers, two of which can be skipped: 21 networks in 27 encodings.
    "mbconv": ["space.stages=[{width=4,repeats=3,stride=2}]", "space.operations=['skip','k3_e3','k5_e6']"],
    # Costs have a term for every two neighbours.
    "shufflenet-channels": [
        "space.stages=[{width=8,repeats=2,stride=1}]",
        "space.ratios=[0.5,1.0,1.5]",
        "space.operations=['3x3']",
    ],
}
"""Spaces of 9 to 27 encodings, by the recipe that is cut down to them and how: every network can be tried."""
EVALUATE_ALL = [
    "generator.epochs=1",
    "generator.batch_size=18",
    "generator.hidden=4",
    "search.generator.priors=2",
    "search.direct.epochs=1",
    "search.direct.batch_size=18",
    *(f"search.{name}={{epochs=1,batch_size=12}}" for name in ("darts", "gdas", "fbnet", "setn")),
    "search.min_use=0.0",
    "search.refined={priors=2,candidates=8,rounds=3}",
    "search.evolution={population=6,generations=5}",
    "search.nsga2={population=6,generations=5}",
    "search.linear.samples=10",
]
"""Settings by which every strategy evaluates nearly all that there is; `random` still leaves out what is cheap."""
EVALUATED = (
    "generator.candidates",
    "direct.candidates",
    "random.count",
    "linear.candidates",
    *(f"{name}.candidates" for name in ("darts", "gdas", "fbnet", "setn")),
)
"""Settings that are how many networks a strategy evaluates."""
FILTERING = GreedySettings(sampled=6, kept=3, pool_size=5, warmup=0.1, window=4)
SCORING_SAMPLERS = {"greedy"}


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> DataSplits:
    """8x8 images of three classes."""
    return load_splits(
        str(write_images(tmp_path_factory.mktemp("tiny") / "images.npz")), seed=0, validation_fraction=0.3
    )


@pytest.fixture(scope="session")
def few_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first of the packaged images."""
    path = tmp_path_factory.mktemp("data") / "few.npz"
    with np.load(Path(anybudget.spaces.__file__).parents[1] / "datasets" / "fashion_mnist_12k2k.npz") as packaged:
        np.savez(
            path, **{key: packaged[key][:count] for key, count in [("x", 600), ("y", 600), ("xt", 99), ("yt", 99)]}
        )
    return path


def concrete_spaces(kind: type[SearchSpace] = SearchSpace) -> set[type[SearchSpace]]:
    """Every space class of the package that has a name of its own."""
    found = {kind} if "name" in vars(kind) and kind.__module__.startswith("anybudget.") else set()
    return found.union(*map(concrete_spaces, kind.__subclasses__()))


def small_space(name: str) -> SearchSpace:
    return load_recipe(SMALL[name], ["space.input_size=12", "space.classes=3"]).build_space()


def test_every_space_is_registered_and_covered() -> None:
    for module in pkgutil.iter_modules(anybudget.spaces.__path__, "anybudget.spaces."):
        importlib.import_module(module.name)
    assert concrete_spaces() == set(SPACES.values())
    assert {load_recipe(path).build_space().name for path in SMALL.values()} == set(SPACES)


@pytest.mark.parametrize("name", SMALL)
def test_spaces_conform(name: str) -> None:
    check_space(small_space(name), samples=5)


@pytest.mark.parametrize("name", SMALL)
def test_supernets_conform(name: str) -> None:
    torch.manual_seed(0)
    check_supernet(build_supernet(small_space(name)), samples=2)


def tiny_recipe(kind: str) -> Recipe:
    sizes = ["input_size=8", "classes=3", "stem_width=4", "head_width=8"]
    recipe = SMALL[kind.partition(",")[0]]
    options = [*(f"space.{size}" for size in sizes), *TINY[kind], *EVALUATE_ALL]
    networks = load_recipe(recipe, options).build_space().networks()
    options += [f"search.{key}={networks}" for key in EVALUATED]
    return load_recipe(recipe, options)


@pytest.mark.parametrize("kind", TINY)
@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_conform(name: str, kind: str) -> None:
    check_sampler(
        lambda space: SAMPLERS[name](space, FILTERING if name == "greedy" else None, Length(100)),
        tiny_recipe(kind).build_space(),
        scores=name in SCORING_SAMPLERS,
    )


@pytest.mark.parametrize("rescore", [0.3, 2.0])
def test_greedy_sampling_that_rescores_its_pool_conforms(rescore: float) -> None:
    settings = FILTERING.model_copy(update={"rescore": rescore})
    check_sampler(
        lambda space: SAMPLERS["greedy"](space, settings, Length(100)), tiny_recipe("mbconv").build_space(), scores=True
    )


CHEAP = ("random", "linear", "evolution")
QUICK = [(name, kind) for name in STRATEGIES for kind in TINY if name in CHEAP or kind not in ("unified", "mbconv")]
QUICK[QUICK.index(("refined", "unified, layers skipped"))] = ("refined", "mbconv")  # the first is hard to decode
"""Every strategy on costs with pairs, and where equal networks have several encodings; the cheap ones on all."""


@pytest.mark.parametrize("of", slow_but(QUICK, product(STRATEGIES, TINY)), ids="-".join)
def test_strategies_conform(of: tuple[str, str], tiny_data: DataSplits, monkeypatch: pytest.MonkeyPatch) -> None:
    name, kind = of
    monkeypatch.setattr("anybudget.search.refined.CHILDREN", 20)  # there are no more networks than that
    recipe = tiny_recipe(kind)

    def make(evaluator: Evaluator, costs: Mapping[str, CostModel], seed: int) -> Strategy:
        def generator() -> TrainedGenerator:
            torch.manual_seed(seed)
            found = generator_for(evaluator.supernet.space, recipe.generator.hidden)
            return TrainedGenerator(found, train_for(found, evaluator.supernet, tiny_data, recipe.generator, seed=seed))

        context = SearchContext(
            evaluator, costs, seed, cost_name=recipe.generator.cost, data=tiny_data, generator=generator
        )
        strategy = STRATEGIES[name](context, recipe.search.settings_of(STRATEGIES[name], name))
        assert strategy.name == name
        return strategy

    check_strategy(make, recipe.build_space(), reaches_optimum=name != "random")


@pytest.mark.parametrize("name", slow_but(["unified", "nas-bench-201"], SMALL))
def test_small_recipes_run_in_few_steps(name: str, tmp_path: Path, few_images: Path) -> None:
    recipe = load_recipe(SMALL[name], [*FEW_STEPS, f"data.source={few_images}"])
    run = Run.create(recipe, tmp_path)
    run.run_all(lambda _: None)
    assert (tmp_path / "report.html").is_file()
    costs = build_costs(run.space)
    rows = [json.loads(line) for line in (tmp_path / "candidates.jsonl").read_text().splitlines()]
    assert [row["budgets"] for row in rows] == [BudgetSet.parse(text).limits() for text in recipe.search.budgets]
    for row in rows:
        choices = tuple(row["architecture"]["choices"])
        for cost, limit in row["budgets"].items():
            assert row["costs"][cost] <= limit
            assert costs[cost].terms.cost(choices) == row["costs"][cost]
    assert len(list(tmp_path.glob("retrain/*/result.json"))) == len(recipe.retrain.picks)
