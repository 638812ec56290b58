"""A finished run goes on with a changed recipe where no weights depend on the change; nothing is lost."""

import json
from pathlib import Path

import pytest

from anybudget.errors import RunError
from anybudget.recipe import load_recipe
from anybudget.runs.dependencies import affected
from anybudget.runs.run import Run


def test_each_key_changes_the_stages_that_depend_on_it() -> None:
    assert list(affected(["search.budgets: 1 -> 2"], "macs")) == ["search", "random", "retrain", "latency", "worth"]
    assert list(affected(["retrain.epochs: 1 -> 2"], "macs")) == ["retrain", "worth"]
    assert list(affected(["search.random_window: 0.9 -> 0.8"], "macs")) == ["random", "worth"]
    assert list(affected(["generator.epochs: 1 -> 2"], "macs")) == [
        "generator",
        "search",
        "retrain",
        "latency",
        "worth",
    ]
    every = ["supernet", "generator", "search", "random", "retrain", "latency", "worth"]
    assert list(affected(["seed: 1 -> 2"], "macs")) == every
    table = "costs.latency_ms: None -> {}"
    assert list(affected([table], "macs")) == ["search", "random", "retrain", "latency", "worth"]
    assert list(affected([table], "latency_ms")) == every[1:]
    assert affected(["name: a -> b", "search.evolution.population: 1 -> 2"], "macs") == {}


def test_a_changed_recipe_keeps_what_does_not_depend_on_it(recipe_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    run = Run.create(load_recipe(recipe_file), path)
    run.run_all(lambda _said: None)
    weights = (path / "supernet.safetensors").read_bytes()
    answers = (path / "candidates.jsonl").read_text().splitlines()
    trained = {p.name: (p / "weights.safetensors").read_bytes() for p in (path / "retrain").iterdir()}
    said: list[str] = []
    changes = ['search.budgets=["macs<=70k"]', "retrain.picks=[1]", "retrain.epochs=1"]
    Run.create(load_recipe(recipe_file, changes), path).run_all(said.append)
    assert said == ["supernet: finished before, kept", "generator: finished before, kept"]
    assert (path / "supernet.safetensors").read_bytes() == weights
    now = (path / "candidates.jsonl").read_text().splitlines()
    assert now[: len(answers)] == answers
    assert [json.loads(line)["budgets"] for line in now[len(answers) :]] == [{"macs": 70000.0}]
    kept = [(p / "weights.safetensors").read_bytes() for p in (path / "retrain").iterdir()]
    assert set(trained.values()) <= set(kept)
    assert (path / "recipe.1.toml").exists()
    assert Run.open(path).recipe.search.budgets == ["macs<=70k"]
    before = (path / "recipe.toml").read_bytes()
    with pytest.raises(RunError, match=r"generator.epochs: .*, on which its generator stage depends"):
        Run.create(load_recipe(recipe_file, ["generator.epochs=7"]), path)
    assert (path / "recipe.toml").read_bytes() == before
