"""`[costs.latency_ms]` with `kind = "latency"`: the margin of a promise, names with a dot, budgets in percent."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anybudget.budgets import BudgetSet
from anybudget.costs import CostModel, build_costs, title_of, unit_of
from anybudget.costs.latency import LatencyCost, LatencyProfile, LatencySettings, Promise, space_digest
from anybudget.errors import BudgetError, ConfigError
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from anybudget.spaces import SearchSpace
from anybudget.testing.spaces import check_cost_model
from conftest import call

ERRORS = [round(-0.01 + 0.001 * index, 4) for index in range(40)]
"""Of 40 networks: 95% of them lie below 0.029."""
TINY = ["search.random_baseline=2", "retrain.epochs=1", "supernet.epochs=1", "generator.epochs=1"]


def profile_of(space: SearchSpace, **changes: Any) -> dict[str, Any]:
    """A file of latencies in which kernel 3 is slow."""
    cost = {"3x3": 0.4, "5x5": 0.25, "7x7": 0.3, "skip": 0.0}
    rows = {
        decision.name: {name: sum(cost[operation] for operation in name.split("+")) for name in decision.choice_names}
        for decision in space.decisions
    }
    return {
        "format": "anybudget latency",
        "version": 1,
        "space_digest": space_digest(space),
        "device": {"kind": "cpu", "processor": "planted"},
        "running": {"runtime": "planted", "version": "1.0"},
        "table": {"space": space.name, "unit": "ms", "constant": 1.5, "decisions": rows},
        "promises": {"quiet": {"errors": ERRORS, "drift": 0.01}, "p95": {"scale": 1.5, "errors": ERRORS}},
        **changes,
    }


@pytest.fixture
def space(recipe_file: Path) -> SearchSpace:
    return load_recipe(recipe_file).build_space()


def cost_of(space: SearchSpace, folder: Path, content: Mapping[str, Any], **settings: Any) -> CostModel:
    (folder / "latency.json").write_text(json.dumps(content))
    tables = {"latency_ms": ("latency", LatencySettings(file="latency.json", **settings))}
    return build_costs(space, tables=tables, folder=folder)["latency_ms"]


def test_the_margin_is_the_conformal_one() -> None:
    """Of n errors drawn alike, the share of further ones that the margin covers is at least what was promised."""
    rng = np.random.default_rng(0)
    for count, probability in ((20, 0.9), (100, 0.95), (39, 0.95)):
        kept = [
            rng.standard_t(3) / 100 <= Promise(errors=list(rng.standard_t(3, count) / 100)).margin(probability)
            for _ in range(2000)
        ]
        assert probability - 0.015 <= np.mean(kept) <= probability + 1 / (count + 1) + 0.015


def test_too_few_networks_promise_nothing() -> None:
    assert Promise(errors=[0.1] * 19).margin(0.95) == 0.1
    with pytest.raises(ConfigError, match=r"a promise of 0.95 needs 19 networks to be measured, and the file has 18"):
        Promise(errors=[0.1] * 18).margin(0.95)


def test_budgets_limit_what_is_promised(space: SearchSpace, tmp_path: Path) -> None:
    predicted = cost_of(space, tmp_path, profile_of(space), promise=0.0)
    promised = cost_of(space, tmp_path, profile_of(space))
    loaded = cost_of(space, tmp_path, profile_of(space), quantity="p95")
    check_cost_model(promised, samples=30)
    rng = np.random.default_rng(0)
    assert isinstance(promised, LatencyCost)
    assert isinstance(loaded, LatencyCost)
    for _ in range(10):
        architecture = space.sample(rng)
        least = predicted.cost(architecture)
        assert promised.cost(architecture) == pytest.approx(least * (1 + 0.028 + 0.01), rel=1e-9)
        assert promised.predicted(architecture) == pytest.approx(least, rel=1e-9)
        assert loaded.cost(architecture) == pytest.approx(least * 1.5 * (1 + 0.028), rel=1e-9)
        assert loaded.predicted(architecture) == pytest.approx(least * 1.5, rel=1e-9)
    assert promised.note == (
        "quiet latency, promised with 95%: 3.8% above predicted; planted 1.0, 1 thread, batch 1, fp32; planted"
    )


@pytest.mark.parametrize(
    ("changes", "settings", "words"),
    [
        ({"format": "latency"}, {}, ("no file of measured latencies", "anybudget profile")),
        ({"version": 2}, {}, ("version", "found 2")),
        ({"space_digest": "0"}, {}, ("with other settings", "anybudget profile RECIPE")),
        ({"more": 1}, {}, ("unknown key more",)),
        ({"promises": {"quiet": {"errors": [0.0] * 3}}}, {}, ("promise:", "needs 19", "has 3")),
        ({"promises": {}}, {}, ("quantity", "can promise nothing")),
        ({}, {"quantity": "p50"}, ("quantity", "quiet, p95", "'p50'")),
        ({"promises": {"quiet": {"errors": [-1.0]}}}, {}, ("promises.quiet.errors.0", "greater than -1")),
        ({"running": {"runtime": "x", "version": "1", "threads": 0}}, {}, ("running.threads", "found 0")),
    ],
)
def test_what_is_wrong_with_a_profile_is_named(
    space: SearchSpace, tmp_path: Path, changes: dict[str, Any], settings: dict[str, Any], words: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError) as caught:
        cost_of(space, tmp_path, profile_of(space, **changes), **settings)
    assert all(word in str(caught.value) for word in ("costs.latency_ms: file: ", "latency.json", *words))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"space": "fbnet"}, ("'fbnet'", "'unified'")),
        ({"unit": "us"}, ("table", "expected the unit ms")),
        ({"constant": -1.0}, ("table.constant", "greater than or equal to 0")),
        ({"constant": 1e9}, ("would take", "at most 1e7")),
        ({"decisions": {}}, ("decisions: no number for",)),
    ],
)
def test_a_table_of_another_space_or_of_absurd_times_is_refused(
    space: SearchSpace, tmp_path: Path, changes: dict[str, Any], words: tuple[str, ...]
) -> None:
    table = {**profile_of(space)["table"], **changes}
    with pytest.raises(ConfigError) as caught:
        cost_of(space, tmp_path, profile_of(space, table=table))
    assert all(word in str(caught.value) for word in ("latency.json", *words))


def test_the_example_of_the_page_is_read() -> None:
    page = (Path(__file__).parents[1] / "docs" / "latency.md").read_text()
    (block,) = (b.partition("```")[0] for b in page.split("```json\n")[1:] if '"space_digest"' in b)
    assert LatencyProfile.model_validate(json.loads(block)).promises["quiet"].errors


def two_devices(recipe_file: Path, nested: bool) -> Path:
    """The tiny recipe with latencies of two devices."""
    space = load_recipe(recipe_file).build_space()
    text = recipe_file.read_text()
    for name, constant in (("phone", 3.0), ("server", 1.0)):
        content = profile_of(space)
        content["table"]["constant"] = constant
        recipe_file.with_name(f"{name}.json").write_text(json.dumps(content))
        key = f"latency_ms.{name}" if nested else f'"latency_ms.{name}"'
        text += f'\n[costs.{key}]\nkind = "latency"\nfile = "{name}.json"\n'
    recipe_file.write_text(text)
    return recipe_file


@pytest.mark.parametrize("nested", [True, False])
def test_two_devices_are_two_budgets_of_one_query(recipe_file: Path, nested: bool) -> None:
    recipe = load_recipe(
        two_devices(recipe_file, nested), ['search.budgets=["latency_ms.phone<=5, latency_ms.server<=2.9"]']
    )
    space = recipe.build_space()
    costs = recipe.build_costs(space, recipe_file.parent)
    assert [name for name in costs if "." in name] == ["latency_ms.phone", "latency_ms.server"]
    (budgets,) = recipe.budget_sets()
    assert budgets.limits() == {"latency_ms.phone": 5.0, "latency_ms.server": 2.9}
    assert BudgetSet.parse(str(budgets)) == budgets
    changed = load_recipe(recipe_file, ["costs.latency_ms.phone.promise=0", *TINY])
    tables = changed.cost_tables()
    assert [getattr(settings, "promise", None) for _, settings in tables.values()] == [0.0, 0.95]


def test_words_of_a_cost_with_a_dot() -> None:
    assert (unit_of("latency_ms.phone"), title_of("latency_ms.phone")) == ("ms", "latency, phone (ms)")
    with pytest.raises(BudgetError, match=r"a limit on latency_ms.phone is in ms already"):
        BudgetSet.parse("latency_ms.phone<=3ms")
    with pytest.raises(BudgetError, match=r"cannot read budget"):
        BudgetSet.parse("latency_ms.phone.big<=3")


@pytest.mark.parametrize("name", ["latency", "latency_us", "latency.phone_ms"])
def test_a_name_without_the_unit_is_refused(space: SearchSpace, tmp_path: Path, name: str) -> None:
    (tmp_path / "latency.json").write_text(json.dumps(profile_of(space)))
    tables = {name: ("latency", LatencySettings(file="latency.json"))}
    with pytest.raises(ConfigError, match=r"latencies are in ms, so the cost's name has to end with it"):
        build_costs(space, tables=tables, folder=tmp_path)


def test_a_run_on_two_devices_to_the_report(recipe_file: Path, tmp_path: Path) -> None:
    """Also budgets in percent of what the space reaches, which the run folder has in milliseconds."""
    asked = 'search.budgets=["latency_ms.phone<=30%", "latency_ms.phone<=80%, latency_ms.server<=70%"]'
    recipe = load_recipe(two_devices(recipe_file, nested=True), [*TINY, asked, 'generator.cost="latency_ms.phone"'])
    assert not any("%" in text for text in recipe.search.budgets)
    run = Run.create(recipe, tmp_path / "run")
    run.run_all(lambda _said: None)
    rows = [json.loads(line) for line in (tmp_path / "run" / "candidates.jsonl").read_text().splitlines()]
    assert [list(row["budgets"]) for row in rows] == [["latency_ms.phone"], ["latency_ms.phone", "latency_ms.server"]]
    assert all(row["costs"][cost] <= limit for row in rows for cost, limit in row["budgets"].items())
    assert "latency, phone (ms)" in (tmp_path / "run" / "report.html").read_text()
    assert Run.open(tmp_path / "run").recipe.search.budgets == recipe.search.budgets


def test_budgets_in_percent_of_what_is_reached(recipe_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    two_devices(recipe_file, nested=True)
    code, out, _ = call(capsys, "space", recipe_file, "--budget", "latency_ms.phone<=50%", "--json")
    found = json.loads(out)
    row = found["costs"]["latency_ms.phone"]
    assert code == 0
    limit = found["budgets"][0]["budgets"]["latency_ms.phone"]
    assert (row["min"] + row["max"]) / 2 == pytest.approx(limit, rel=1e-3)
    assert limit == float(f"{limit:.4g}")
    assert "promised with 95%" in row["note"]
    for text, word in (("macs<=101%", "at most 100%"), ("macs<=-5%", "above 0"), ("macs<=5k%", "cannot read budget")):
        code, _, err = call(capsys, "space", recipe_file, "--budget", text)
        assert (code, word in err) == (2, True), err
    with pytest.raises(BudgetError, match="known where a recipe is read; give a number"):
        BudgetSet.parse("macs<=40%")
