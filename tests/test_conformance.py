"""Registered spaces, their supernets and costs keep the promises of `anybudget.testing`; every small recipe runs."""

import importlib
import json
import pkgutil
from pathlib import Path

import numpy as np
import pytest
import torch

import anybudget.spaces
from anybudget.budgets import BudgetSet
from anybudget.config import load_recipe
from anybudget.costs import build_costs
from anybudget.nets import build_supernet
from anybudget.spaces import SPACES, SearchSpace
from anybudget.stages import Run
from anybudget.testing import check_space, check_supernet

SMALL = {path.stem: path for path in sorted((Path(__file__).parents[1] / "recipes" / "small").glob("*.toml"))}
FEW_STEPS = [
    "supernet.epochs=1",
    "generator.epochs=1",
    "search.candidates=3",
    "search.priors=1",
    "search.calibration_images=64",
    "search.random_baseline=2",
    "retrain.epochs=1",
    "threads=1",
]


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
    check_supernet(build_supernet(small_space(name)), samples=3)


@pytest.mark.parametrize("name", SMALL)
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
