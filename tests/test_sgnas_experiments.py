"""What the experiments on SGNAS compute beside the library: parameters in closed form, and figures of clouds."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from anybudget.nets import build_supernet
from anybudget.recipe import load_recipe
from anybudget.spaces import UnifiedSpace
from test_docs import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

from experiments.sgnas_fig_6a import above
from experiments.sgnas_fig_6b import parameters
from experiments.sgnas_fig_7 import judged
from experiments.sgnas_table_1 import costs_of
from experiments.sgnas_unified import RECIPE


def test_parameters_with_all_configurations_are_those_of_the_supernet() -> None:
    """And with fewer the unified block needs less, but hardly, where separate ones need a share."""
    space = load_recipe(RECIPE).build_space()
    assert isinstance(space, UnifiedSpace)
    whole = parameters(space, 80)
    assert whole["unified"] == sum(parameter.numel() for parameter in build_supernet(space).parameters())
    few = parameters(space, 6)
    assert few["unified"] < whole["unified"] < 1.2 * few["unified"]
    assert few["separate"] < 0.1 * whole["separate"]


def test_generated_networks_above_random_ones_of_their_cost() -> None:
    macs = np.geomspace(1e5, 1e6, 20)
    random = np.stack([macs, 3.0 * np.log(macs)], axis=1)
    generated = random[3:9] + np.array([0.0, 1.5])
    assert above({"random": random, "generated": generated}) == pytest.approx(1.5)


def test_delivered_costs_are_judged_as_shares_of_the_interval() -> None:
    outcome = {"requested": [10.0, 20.0, 30.0], "interval": 40.0}
    tau, r, gap = judged(outcome, [12.0, 22.0, 32.0])
    assert (tau, r, gap) == (pytest.approx(1.0), pytest.approx(1.0), pytest.approx(5.0))
    assert judged(outcome, [32.0, 22.0, 12.0])[0] == pytest.approx(-1.0)


def test_ten_budgets_cost_a_search_ten_times_and_a_generator_what_was_measured() -> None:
    search = {"evaluations": 1000, "images": 2e6, "macs": 1e12, "processor_seconds": 50.0}
    asked = {"evaluations": 64, "images": 1e6, "macs": 1e12, "processor_seconds": 20.0}
    ten = {**asked, "processor_seconds": 40.0}
    outcome = {"random": {"spent": search}, "generator": {"spent": asked, "ten": ten}}
    assert costs_of("random", [outcome])[-2:] == ["500", "1.000"]
    assert costs_of("generator", [outcome])[-2:] == ["40", "0.080"]
