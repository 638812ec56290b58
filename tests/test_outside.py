"""What is registered from outside the package, after it was imported, works like what is built in."""

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from anybudget.costs import COSTS, build_costs
from anybudget.errors import ConfigError
from anybudget.nets import SUPERNETS, build_supernet
from anybudget.recipe import load_recipe
from anybudget.registry import Registry
from anybudget.runs.run import Run
from anybudget.search import STRATEGIES
from anybudget.search.base import SearchContext
from anybudget.spaces import SPACES
from anybudget.testing import check_cost_model, check_sampler, check_space, check_strategy, check_supernet
from anybudget.training import SAMPLERS
from conftest import call
from tiny_spaces import small_mbconv

REGISTRIES: list[Registry[object]] = [SPACES, SUPERNETS, COSTS, SAMPLERS, STRATEGIES]  # type: ignore[list-item]


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module from outside, imported; what it registers is gone after the test."""
    for registry in REGISTRIES:
        monkeypatch.setattr(registry, "_loaded", dict(registry._loaded))
    monkeypatch.delitem(sys.modules, "outside_module", raising=False)
    yield importlib.import_module("outside_module")
    sys.modules.pop("outside_module", None)


def twin_recipe(recipe_file: Path, space: str = 'name = "twin"') -> Path:
    """The tiny recipe with the space from outside."""
    text = recipe_file.read_text()
    start, end = text.index("[space]"), text.index("[supernet]")
    recipe_file.write_text(f"{text[:start]}[space]\n{space}\n\n{text[end:]}")
    return recipe_file


def test_a_space_from_outside_conforms(outside: ModuleType) -> None:
    space = outside.TwinSpace(outside.TwinSettings())
    check_space(space, samples=3)
    torch.manual_seed(0)
    check_supernet(build_supernet(space), samples=2)


def test_a_recipe_names_a_space_from_outside(outside: ModuleType, recipe_file: Path) -> None:
    recipe = load_recipe(twin_recipe(recipe_file), ["space.layers=3"])
    space = recipe.build_space()
    assert type(space) is outside.TwinSpace
    assert (space.size(), space.input_shape) == (8, (1, 8, 8))
    with pytest.raises(ConfigError, match=r"unknown key space.layrs; did you mean layers\?"):
        load_recipe(recipe_file, ["space.layrs=3"])
    with pytest.raises(ConfigError, match=r"unknown search space 'twins'; did you mean 'twin'\? known are unified"):
        load_recipe(recipe_file, ["space.name=twins"])


def test_what_is_not_registered_is_not_known(recipe_file: Path) -> None:
    with pytest.raises(ConfigError, match="unknown search space 'twin'; "):
        load_recipe(twin_recipe(recipe_file))


def test_a_space_without_a_supernet_says_what_to_set(outside: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    space = outside.TwinSpace(outside.TwinSettings())
    monkeypatch.setattr(outside.TwinSpace, "supernet", "twins", raising=False)
    with pytest.raises(ConfigError, match="unknown supernet 'twins'; known are unified, choice-blocks, sliced, cell"):
        build_supernet(space)
    monkeypatch.setattr(outside.TwinSpace, "supernet", None)
    with pytest.raises(ConfigError, match="'twin' names no supernet; set `supernet` in its class to one of unified"):
        build_supernet(space)


OWN = """
[supernet.repeat]
times = 3

[search.climb]
steps = 4

[search.evolution]
population = 4
generations = 1

[search.random]
count = 4
"""


def own_recipe(recipe_file: Path) -> Path:
    """The tiny recipe with the sampler and the settings of the strategy from outside."""
    text = recipe_file.read_text().replace("[supernet]", '[supernet]\nsampler = "repeat"\npaths_per_step = "round"')
    recipe_file.write_text(text + OWN)
    return recipe_file


def test_a_sampler_and_a_strategy_from_outside_conform(outside: ModuleType) -> None:
    check_sampler(outside.RepeatSampler, small_mbconv(3))
    check_strategy(
        lambda evaluator, costs, seed: outside.ClimbStrategy(SearchContext(evaluator, costs, seed)),
        small_mbconv(3),
        reaches_optimum=False,
    )


def test_a_recipe_sets_a_sampler_and_a_strategy_from_outside(outside: ModuleType, recipe_file: Path) -> None:
    recipe = load_recipe(own_recipe(recipe_file), ["search.climb.steps=5"])
    assert recipe.supernet.sampler_settings == outside.RepeatSettings(times=3)
    assert recipe.search.settings_of(outside.ClimbStrategy, "climb") == outside.ClimbSettings(steps=5)
    for override, message in (
        ("search.climb.stepps=5", r"unknown key search.climb.stepps; did you mean steps\?"),
        ("search.climb.steps=0", "search.climb.steps: input should be greater than or equal to 1"),
        ("search.clim={}", r"unknown key search.clim; did you mean climb\?"),
        ("supernet.sampler=repeats", r"unknown path sampler 'repeats'; did you mean 'repeat'\? known are fair"),
        ("supernet.repeat.times=one", "write a whole number, such as supernet.repeat.times=10"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_recipe(recipe_file, [override])


def test_a_name_that_is_a_key_is_refused(outside: ModuleType, recipe_file: Path) -> None:
    STRATEGIES.register(outside.ClimbStrategy, name="budgets")
    with pytest.raises(ConfigError, match=r"strategy 'budgets': \[search\] has a key of this name"):
        load_recipe(recipe_file)


def test_a_run_with_a_sampler_and_a_strategy_from_outside(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the command line, which imports the module; then from Python, by name, class and object."""
    for registry in REGISTRIES:
        monkeypatch.setattr(registry, "_loaded", dict(registry._loaded))
    monkeypatch.delitem(sys.modules, "outside_module", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    run, recipe = tmp_path / "run", own_recipe(recipe_file)
    assert call(capsys, "supernet", recipe, "--out", run)[0] == 2  # not known yet
    code, _, said = call(capsys, "--import", "outside_module", "supernet", recipe, "--out", run)
    assert code == 0, said
    code, _, said = call(capsys, "search", run, "--strategy", "climb", "-b", "macs<=60k")
    assert code == 0, said
    assert (run / "search" / "climb.jsonl").is_file()
    outside, opened = sys.modules["outside_module"], Run.open(run)
    made = opened.strategy("random")
    found = opened.compare([outside.ClimbStrategy, "evolution", made], opened.recipe.budget_sets())
    assert [strategy["name"] for strategy in found["strategies"]] == ["climb", "evolution", "random"]
    assert found["strategies"][0]["spent"]["evaluations"] <= 2 * (4 + 1)
    assert opened.search_with(made, opened.recipe.budget_sets()[:1])
    with pytest.raises(ConfigError, match="strategy climb is named more than once"):
        opened.compare(["climb", outside.ClimbStrategy], opened.recipe.budget_sets())
    sys.modules.pop("outside_module")


def test_the_strategy_of_the_page_conforms(outside: ModuleType, recipe_file: Path) -> None:
    del outside  # whose strategy has the same name, and is known no more
    STRATEGIES._loaded.pop("climb")
    page = (Path(__file__).parents[1] / "docs" / "strategies.md").read_text()
    (climbing,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "class Climb" in block]
    names: dict[str, Any] = {"__name__": "my_search"}
    exec(climbing, names)
    check_strategy(
        lambda evaluator, costs, seed: names["ClimbStrategy"](SearchContext(evaluator, costs, seed)),
        small_mbconv(3),
        reaches_optimum=False,
    )
    assert load_recipe(recipe_file, ["search.climb.steps=7"]).search.settings_of(STRATEGIES["climb"], "climb") == names[
        "ClimbSettings"
    ](steps=7)


def test_a_module_that_cannot_be_imported_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "broken_module.py").write_text("1 / 0")
    for module, reason in (("no_such_module", "No module named"), ("broken_module", "division by zero")):
        code, _, said = call(capsys, "--import", module, "doctor")
        assert code == 2
        assert f"--import '{module}': cannot be imported: " in said
        assert reason in said


def test_costs_from_outside_conform(outside: ModuleType) -> None:
    space = outside.TwinSpace(outside.TwinSettings())
    tables = {"energy_mJ": ("energy_mJ", outside.EnergySettings(per_million_macs=4.0))}
    costs = build_costs(space, tables=tables)
    assert {"kernel_px", "energy_mJ"} <= set(costs)
    assert "energy_mJ" not in build_costs(space)
    for name in ("kernel_px", "energy_mJ"):
        check_cost_model(costs[name])


def test_the_command_line_answers_budgets_on_costs_from_outside(
    outside: ModuleType, recipe_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert outside
    text = twin_recipe(recipe_file).read_text()
    recipe_file.write_text(f"{text}\n[costs.energy_mJ]\nper_million_macs = 4.0\n")
    budgets = ("--budget", "kernel_px<=45, energy_mJ<=1", "--budget", "kernel_px<=1")
    code, out, err = call(capsys, "space", recipe_file, *budgets, "--json")
    assert code == 0, err
    summary = json.loads(out)
    # The stem, and two layers of two pointwise and one depthwise convolution.
    assert summary["costs"]["kernel_px"] == {"min": 32.0, "median": 48.0, "max": 64.0}
    assert summary["costs"]["energy_mJ"]["max"] == summary["costs"]["macs"]["max"] * 4 / 2**20
    assert [row["reachable"] for row in summary["budgets"]] == [True, False]


def test_the_command_line_knows_what_installed_packages_bring(recipe_file: Path, tmp_path: Path) -> None:
    """A package with entry points, as an installer leaves it, and a process of its own."""
    package = tmp_path / "site" / "twin-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: twin\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(
        "[anybudget.spaces]\ntwin = outside_module:TwinSpace\n"
        "[anybudget.costs]\nkernel_px = outside_module:KernelCost\n"
    )
    found = subprocess.run(
        [sys.executable, "-m", "anybudget", "space", twin_recipe(recipe_file), "--budget", "kernel_px<=45", "--json"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(package.parent), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["space"] == "twin"


def test_the_space_of_the_page_conforms(outside: ModuleType, recipe_file: Path) -> None:
    assert outside
    page = (Path(__file__).parents[1] / "docs" / "spaces.md").read_text()
    (block,) = (b for b in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "@SPACES.register" in b)
    exec(block, {"__name__": "my_space"})
    sizes = "input_size = 8\ninput_channels = 1\nclasses = 3"
    space = load_recipe(twin_recipe(recipe_file, f'name = "kernels"\n{sizes}')).build_space()
    assert space.size() == 3**4
    check_space(space, samples=3)
    torch.manual_seed(0)
    check_supernet(build_supernet(space), samples=2)
