"""One floor for all strategies, queries that lose nothing, and files of architectures."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.costs import build_costs
from anybudget.errors import ArchitectureError
from anybudget.search.base import SearchContext, Strategy
from anybudget.search.compare import compare
from anybudget.search.evolution import EvolutionSettings, EvolutionStrategy
from anybudget.search.linear import LinearSettings, LinearStrategy
from anybudget.search.nsga2 import NSGA2Settings, NSGA2Strategy
from anybudget.search.random import RandomSettings, RandomStrategy
from anybudget.spaces import UnifiedSpace, stages
from anybudget.spaces.files import read_architectures
from anybudget.storage.records import Comparison, read_record
from anybudget.storage.run_folder import RunFolder
from anybudget.testing import PlantedEvaluator
from tiny_spaces import tiny_macro

SPACE = UnifiedSpace(tiny_macro(stages=stages((4, 1, 1), (6, 1, 2)), max_expansion=3))
COSTS = build_costs(SPACE)
VALUES = sorted(COSTS["macs"].cost(a) for a in SPACE.enumerate())
LIMIT = VALUES[len(VALUES) // 2]


def planted(floor: float) -> SearchContext:
    return SearchContext(PlantedEvaluator(SPACE), COSTS, min_use=floor)


MAKERS: dict[str, Callable[[float], Strategy]] = {
    "random": lambda floor: RandomStrategy(planted(floor), RandomSettings(count=20)),
    "evolution": lambda floor: EvolutionStrategy(planted(floor), EvolutionSettings(population=6, generations=3)),
    "nsga2": lambda floor: NSGA2Strategy(planted(floor), NSGA2Settings(population=6, generations=3)),
    "linear": lambda floor: LinearStrategy(planted(floor), LinearSettings(samples=20, candidates=5)),
}


@pytest.mark.parametrize("name", MAKERS)
def test_one_floor_for_every_strategy(name: str) -> None:
    budgets = BudgetSet.parse(f"macs<={LIMIT}")
    with_floor, without = MAKERS[name](0.8), MAKERS[name](0.0)
    (answer,) = with_floor.search([budgets])
    assert 0.8 * LIMIT <= answer.costs["macs"] <= LIMIT
    if name != "linear":  # whose samples are spread over all costs
        assert all(COSTS["macs"].cost(a) >= 0.8 * LIMIT for a in with_floor.evaluator.scored)
        without.search([budgets])
        assert any(COSTS["macs"].cost(a) < 0.8 * LIMIT for a in without.evaluator.scored)


def test_a_floor_that_nothing_meets_is_dropped() -> None:
    between = next(b - 1 for a, b in pairwise(VALUES) if b - a > 2)
    strategy = MAKERS["random"](1.0)
    budgets = BudgetSet.parse(f"macs<={between}")
    assert strategy.feasible(budgets).floors == {}
    assert strategy.search([budgets])[0].costs["macs"] <= between


def test_a_comparison_says_the_floor(tmp_path: Path) -> None:
    budgets = [BudgetSet.parse(f"macs<={LIMIT}")]
    found = compare([MAKERS["random"](0.8), MAKERS["evolution"](0.8)], budgets)
    assert found["min_use"] == 0.8
    assert found["floors"] == [{"macs": pytest.approx(0.8 * LIMIT)}]
    assert found["strategies"][1]["spent"]["evaluations"] == len(found["strategies"][1]["evaluated"])
    (tmp_path / "compare.json").write_text(json.dumps(found))
    comparison = read_record(tmp_path / "compare.json", Comparison)
    assert comparison is not None
    assert comparison.min_use == 0.8


def test_another_result_keeps_the_one_before(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for result in ({"a": 1, "seconds": 1.0}, {"a": 1, "seconds": 2.0}, {"a": 2}, {"a": 3}):
        folder.write_result("compare.json", result)
    assert {p.name: json.loads(p.read_text())["a"] for p in tmp_path.glob("*.json")} == {
        "compare.json": 3,
        "compare.1.json": 1,
        "compare.2.json": 2,
    }


def networks(count: int) -> list[Architecture]:
    return list(dict.fromkeys(SPACE.sample(np.random.default_rng(seed)) for seed in range(50)))[:count]


def test_architectures_are_read_from_json_lines_lists_and_objects(tmp_path: Path) -> None:
    found, path = networks(3), tmp_path / "candidates.jsonl"
    rows = [json.dumps({"architecture": a.to_dict()}) for a in found]
    path.write_text("\n".join([*rows, "", rows[0]]) + "\n")
    assert read_architectures(path, SPACE) == found
    path.write_text("[" + ",\n".join(rows) + "]")
    assert read_architectures(path, SPACE) == found
    path.write_text(json.dumps(found[0].to_dict(), indent=2))
    assert read_architectures(path, SPACE) == found[:1]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{broken", "line 2: not JSON"),
        ("[1]", "line 2: expected an object"),
        ('{"x": 1}', "line 2: expected an object"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, words: str) -> None:
    (network,), path = networks(1), tmp_path / "candidates.jsonl"
    path.write_text(f"{network.to_json()}\n{line}\n")
    with pytest.raises(ArchitectureError, match=words):
        read_architectures(path, SPACE)
