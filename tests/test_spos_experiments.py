"""What SPOS's experiments compute from what is measured, and the networks that they compare at one limit."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from test_docs import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

from anybudget.costs import build_costs
from anybudget.decoding.reachability import reachable
from anybudget.recipe import load_recipe
from experiments import spos_fig_3, spos_runs, spos_table_7
from experiments.spos_runs import BLOCKS, LIMIT, alone, figures, gains
from experiments.spos_table_4 import BOTH, CHANNELS, OUTPUTS
from experiments.spos_table_5 import MACS, SPACES


def row(trained: float, cost: float = 200_000.0) -> dict[str, Any]:
    return {"cost": cost, "supernet": [trained / 2], "trained": [trained - 1, trained + 1]}


def test_figures_are_means_of_seeds_with_their_errors() -> None:
    outcomes = [{"a": row(60.0, 190_000.0), "b": row(58.0)}, {"a": row(64.0, 210_000.0), "b": row(61.0)}]
    assert figures(outcomes, "a") == ["200k", "31.00 ± 1.00", "62.00 ± 2.00"]
    assert gains(outcomes, "a", "b") == "2.50 ± 0.50"
    assert figures([{"c": {**row(60.0), "supernet": []}}], "c") == ["200k", "", "60.00"]


def test_the_best_so_far_never_falls_and_is_cut_to_the_shortest_search() -> None:
    best = spos_fig_3.so_far([[3.0, 1.0, 4.0, 2.0], [1.0, 5.0, 2.0]])
    assert best.tolist() == [[3.0, 3.0, 4.0], [1.0, 5.0, 5.0]]


def test_rivals_train_once_for_every_limit_and_a_path_once() -> None:
    steps = {"darts": [5.0, 6.0], "gdas": [2.0, 1.0], "fbnet": [6.0, 6.0]}
    outcome = {"steps": {spos_table_7.SHUFFLENET: steps}, "training": 60.0, "search": 6.0}
    _, costs = spos_table_7.present([outcome]).tables
    assert costs.rows == [
        ["path and evolution", "1.1", "2.0"],
        ["darts", "5.0", "50.0"],
        ["gdas", "2.0", "20.0"],
        ["fbnet", "6.0", "60.0"],
    ]


@pytest.mark.parametrize("overrides", [[], CHANNELS, BOTH, OUTPUTS, *SPACES.values()])
def test_limits_leave_a_choice_in_every_space(overrides: list[str]) -> None:
    space = load_recipe(BLOCKS, overrides).build_space()
    terms = {"macs": build_costs(space)["macs"].terms}
    low, high = reachable(terms, "macs")
    limit = int(MACS.partition("<=")[2]) if overrides in SPACES.values() else LIMIT
    assert low < 0.9 * limit < limit < high


def test_a_block_everywhere_is_as_wide_as_the_limit_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = []
    monkeypatch.setattr(spos_runs, "row", lambda run, networks, **_: rows.append(run.costs["macs"].cost(networks[0])))
    for operation in ("3x3", "7x7"):
        alone(operation, 0, tmp_path, quick=True)
    assert all(0.95 * LIMIT < cost <= LIMIT for cost in rows)
