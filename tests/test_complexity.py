"""Complexity-aware rates: the rule itself, exact ends of its scale, and what training makes of it."""

import copy
import dataclasses
import math
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from anybudget.costs import build_costs
from anybudget.data import DataSplits, TrainingBatches
from anybudget.errors import ConfigError
from anybudget.nets import build_supernet
from anybudget.recipe import load_recipe
from anybudget.spaces import ResNetBitsSettings, ResNetBitsSpace, UnifiedSpace
from anybudget.training.annealing import Annealing
from anybudget.training.complexity import ComplexityRate
from anybudget.training.loop import TrainingContext
from anybudget.training.samplers import FairSampler
from anybudget.training.settings import SupernetSchedule
from anybudget.training.supernet import train_supernet
from small_spaces import NETWORKS, SPACES
from stopping import check_stops
from test_samplers import SPACE
from test_training import no_scores

LONG = Annealing(10**6, warmup=100)


@pytest.mark.parametrize("kind", SPACES)
def test_the_exponent_falls_with_the_logarithm_of_parameters_between_exact_ends(kind: str) -> None:
    space = SPACES[kind]
    rule, params = ComplexityRate(space, LONG), build_costs(space, ("params",))["params"]
    counts = np.log([params.cost(network) for network in NETWORKS[kind]])
    expected = np.interp(counts, [counts.min(), counts.max()], [4.0, 0.25])
    found = [rule.gamma(space.path_encoding(network)) for network in NETWORKS[kind]]
    assert found == pytest.approx(expected, abs=1e-9)
    assert (min(found), max(found)) == pytest.approx((0.25, 4.0), abs=1e-12)


@given(step=st.integers(100, LONG.steps - 1), index=st.integers(0, len(NETWORKS["unified"]) - 1))
def test_rate_and_weight_together_are_the_rule_and_never_above_one(step: int, index: int) -> None:
    space = SPACES["unified"]
    rule, path = ComplexityRate(space, LONG), space.path_encoding(NETWORKS["unified"][index])
    weight, rate, progress = rule.weight(path, step), rule.factor(step), LONG.progress(step)
    assert weight * rate == pytest.approx((1 - progress) ** rule.gamma(path), rel=1e-9)
    assert 0 < weight <= 1
    assert 0 < rate <= 1


def test_other_encodings_of_a_network_have_its_exponent(space: UnifiedSpace) -> None:
    rule = ComplexityRate(space, LONG)
    for path in space.fair_round(np.random.default_rng(0)):
        assert rule.gamma(path) == rule.gamma(space.path_encoding(space.canonical(path)))


@pytest.mark.parametrize("share", [False, True])
def test_training_is_gradient_descent_with_weighted_losses(share: bool, data: DataSplits) -> None:
    """Six steps of two paths after a warm-up of two, against a loop that says what should happen."""
    some = dataclasses.replace(data, train=data.train.subset(torch.arange(32)))
    torch.manual_seed(0)
    net = build_supernet(SPACE)
    reference = copy.deepcopy(net).train()
    schedule = SupernetSchedule(
        epochs=3,
        batch_size=16,
        learning_rate=0.1,
        warmup_epochs=1,
        weight_decay=0.0,
        paths_per_step=2,
        complexity_rate=True,
        share_batch=share,
    )
    rows: list[dict[str, float]] = []
    with mock.patch("anybudget.training.supernet.record_statistics"):
        train_supernet(net, FairSampler(SPACE), some, schedule, seed=5, context=TrainingContext(log=rows.append))

    rule, rng, step, waiting = ComplexityRate(SPACE, Annealing(6, 2)), np.random.default_rng(5), 0, []
    optimiser = torch.optim.SGD(reference.parameters(), lr=0.1, momentum=0.9)
    for epoch in (1, 2, 3):
        for images, labels in TrainingBatches(some, some.train, 16, 5).epoch(epoch, torch.device("cpu")):
            progress = max(0, step - 2) / 4
            optimiser.zero_grad(set_to_none=True)
            for half in range(2):
                waiting = waiting or FairSampler(SPACE).paths(rng, no_scores)
                path, part = waiting.pop(0), slice(8 * half, 8 * half + 8) if share else slice(None)
                weight = (1 - progress) ** (rule.gamma(path) - 0.25) / (2 if share else 1)
                (weight * F.cross_entropy(reference(images[part], path), labels[part])).backward()
            rate = (step + 1) / 3 if step < 2 else (1 - progress) ** 0.25
            optimiser.param_groups[0]["lr"] = 0.1 * rate
            optimiser.step()
            step += 1
    for (name, parameter), trained in zip(reference.named_parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(trained, parameter, rtol=1e-3, atol=1e-5, msg=name)
    assert [row["learning_rate"] for row in rows] == pytest.approx([0.1, 0.1 * math.sqrt(math.sqrt(0.5)), 0.0])


def test_a_space_of_equal_parameters_is_refused(data: DataSplits) -> None:
    small = {"input_size": 8, "input_channels": 1, "classes": 3, "stem_kernel": 3, "stem_stride": 1, "pool": False}
    space = ResNetBitsSpace(ResNetBitsSettings(**small, blocks=(1, 1), widths=(4, 8)))  # type: ignore[arg-type]
    schedule = SupernetSchedule(epochs=1, batch_size=16, learning_rate=0.1, complexity_rate=True)
    with pytest.raises(ConfigError, match=r"supernet\.complexity_rate: all networks of the space .* parameters"):
        train_supernet(build_supernet(space), FairSampler(space), data, schedule)


def test_stopped_and_resumed_it_is_as_if_never_interrupted(recipe_file: Path, tmp_path: Path) -> None:
    settings = ["paths_per_step=3", "share_batch=true", "complexity_rate=true", "sampler=fair-canonical", "epochs=2"]
    recipe = load_recipe(recipe_file, ["checkpoint_seconds=0", *(f"supernet.{setting}" for setting in settings)])
    check_stops(recipe, tmp_path, lambda run: run.train_supernet(), steps=(3, 4))
