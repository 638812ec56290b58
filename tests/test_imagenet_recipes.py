"""The papers' recipes for ImageNet run end to end: three steps of every stage on a small folder of photographs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anybudget.budgets import BudgetSet
from anybudget.decoding.reachability import extremes
from anybudget.recipe import Recipe, load_recipe, parse_recipe, resolved
from anybudget.runs.run import Run
from conftest import RECIPES

STEPS = 3
CLASSES = 10
TRAIN, TEST = 12, 3
"""Images of each class in `train` and `val`; of the former a third are for validation."""
BATCH = 24
SIZE = 32

NAMES = sorted(p.stem for p in RECIPES.glob("*.toml") if 'source = "imagenet"' in p.read_text() or "imagenet" in p.stem)
WITH_TIMM = [name for name in NAMES if load_recipe(RECIPES / f"{name}.toml").retrain.optimiser not in ("sgd", "adamw")]


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder laid out as ImageNet, `train` and `val` with a folder for each class: noise with a bar per class."""
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for part, count in (("train", TRAIN), ("val", TEST)):
        for label in range(CLASSES):
            (folder / part / f"n{label:08d}").mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 120, (48, 40, 3), dtype=np.uint8)
                pixels[4 * label : 4 * label + 4] += 120
                Image.fromarray(pixels).save(folder / part / f"n{label:08d}" / f"{index}.JPEG")
    return folder


def narrow(space: dict[str, Any]) -> dict[str, Any]:
    """A space with its layers and operations, of an eighth of its widths, for small images of few classes."""
    found = {**space, "input_size": SIZE, "classes": CLASSES}
    for key in ("stem_width", "first_width", "head_width"):
        if key in found:
            found[key] = max(4, found[key] // 8)
    if "stages" in found:
        found["stages"] = [{**stage, "width": max(4, stage["width"] // 16 * 2)} for stage in found["stages"]]
    if "widths" in found:
        found["widths"] = [width // 8 for width in found["widths"]]
    return found


def small(name: str, source: Path, *, plain: bool = False) -> Recipe:
    """A recipe whose every training takes `STEPS` steps on a folder; `plain` trains by SGD, without timm."""
    data = resolved(load_recipe(RECIPES / f"{name}.toml"))
    data |= {"device": "cpu", "threads": 1, "space": narrow(data["space"])}
    # On disk, as ImageNet is.
    data["data"] |= {"source": str(source), "validation_fraction": 1 / 3, "keep": "disk", "readers": 1}
    for table in ("supernet", "retrain"):
        data[table] |= {"epochs": 1, "batch_size": BATCH, "crop_padding": min(4, data[table]["crop_padding"])}
    data["supernet"]["greedy"] |= {"warmup_iterations": 1, "score_images": CLASSES} if name.startswith("greedy") else {}
    data["retrain"] |= {"warmup_epochs": 0.0, "picks": [1]}
    if plain:
        data["retrain"] |= {"optimiser": "sgd", "epsilon": 0.0}
    data["generator"] |= {"epochs": 1, "batch_size": 12}
    search = data["search"] | {"calibration_images": 20, "random_baseline": 2}
    for strategy in ("evolution", "nsga2"):
        search[strategy] |= {"population": 4, "generations": 2}
    search["evolution"]["parents"] = 2
    search["generator"]["candidates"] = min(4, search["generator"]["candidates"])
    data["search"] = search
    return within_reach(data)


def within_reach(data: dict[str, Any]) -> Recipe:
    """The recipe with one budget, and an interval of budgets if it has one, in the middle of what its space reaches."""
    cost = BudgetSet.parse(data["search"]["budgets"][0]).budgets[0].cost
    interval = {key: data["generator"].pop(key) for key in ("low", "high") if key in data["generator"]}
    data["search"]["budgets"] = [f"{cost}<=1T"]
    recipe = parse_recipe(data, "small")
    low, high = extremes(recipe.build_costs(recipe.build_space(), RECIPES)[cost].terms)
    data["search"]["budgets"] = [f"{cost}<={round((low + high) / 2)}"]
    if interval:
        data["generator"] |= {"low": low + 0.2 * (high - low), "high": low + 0.8 * (high - low)}
    return parse_recipe(data, "small")


def variants() -> Iterator[Any]:
    """Every recipe as it is, and those that need timm without it, too."""
    for name in NAMES:
        if name in WITH_TIMM:
            yield pytest.param(name, False, marks=pytest.mark.timm, id=name)
        yield pytest.param(name, name in WITH_TIMM, id=f"{name}-sgd" if name in WITH_TIMM else name)


def test_every_recipe_of_a_paper_is_here() -> None:
    assert len(NAMES) >= 8
    assert {"fairnas", "greedynas", "sgnas", "spos"} == {name.partition("-")[0] for name in NAMES}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "plain"), list(variants()))
def test_three_steps_of_every_stage(name: str, plain: bool, photographs: Path, tmp_path: Path) -> None:
    recipe = small(name, photographs, plain=plain)
    run = Run.create(recipe, tmp_path / "run")
    run.run_all(lambda _said: None)
    path, generated = run.folder.path, recipe.search.strategy == "generator"
    stages = ["supernet", *(["generator"] if generated else []), "search", "random", "retrain"]
    assert list(json.loads((path / "stages.json").read_text())) == stages
    train = CLASSES * TRAIN * 2 // 3
    assert len(run.data.train) == train
    assert train // BATCH == STEPS
    paths = {"round": 6}.get(str(recipe.supernet.paths_per_step), recipe.supernet.paths_per_step)
    spent = json.loads((path / "supernet.json").read_text())
    assert spent["images_trained"] == STEPS * BATCH * paths
    assert bool(spent["images_scored"]) == (recipe.supernet.sampler == "greedy")
    if generated:
        assert json.loads((path / "generator.json").read_text())["images"] == 3 * 12
    (answer,) = [json.loads(line) for line in (path / "candidates.jsonl").read_text().splitlines()]
    assert all(value >= 0 for value in answer["slack"].values())
    (result,) = path.glob("retrain/*/result.json")
    found = json.loads(result.read_text())
    assert found["architecture"] == answer["architecture"]
    optimiser = "sgd" if plain else load_recipe(RECIPES / f"{name}.toml").retrain.optimiser
    assert found["settings"].get("optimiser", "sgd") == optimiser
    assert found["settings"].get("data", "train") == recipe.retrain.data
    assert (path / "report.html").exists()
