"""The race on every kind of supernet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from anybudget.data import DataSplits, from_tensors
from anybudget.evaluation.evaluator import Evaluator, evaluate
from anybudget.evaluation.settings import EvaluatorSettings
from anybudget.nets import build_supernet
from anybudget.recipe import load_recipe
from anybudget.search.race import Race
from anybudget.search.race_settings import RaceSettings
from anybudget.spaces import SPACES, SearchSpace
from anybudget.training.settings import Schedule
from conftest import slow_but

RECIPES = Path(__file__).parents[1] / "recipes" / "small"
SMALL = {name: load_recipe(RECIPES / f"{name}.toml").build_space() for name in SPACES}
SCHEDULE = Schedule(epochs=1, batch_size=8, learning_rate=0.02)


def some_images(space: SearchSpace) -> DataSplits:
    """Images whose brightness is their class."""
    size, channels, classes = space.settings.input_size, space.settings.input_channels, space.settings.classes
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(12 * classes) % classes
    noise = torch.randint(0, 60, (len(labels), channels, size, size), generator=draw)
    return from_tensors((noise + 180 * labels.view(-1, 1, 1, 1) // classes).to(torch.uint8), labels)


@pytest.mark.parametrize("name", slow_but(["unified", "mbconv", "nas-bench-201", "resnet-bits"], SMALL))
def test_networks_of_every_supernet_are_trained_on(name: str) -> None:
    """Weights inherited from every kind of supernet are trained, judged as they are, and the supernet keeps its own."""
    torch.manual_seed(0)
    space = SMALL[name]
    supernet = build_supernet(space).eval()
    before = {key: value.clone() for key, value in supernet.state_dict().items()}
    data = some_images(space)
    judge = Evaluator(supernet, data, EvaluatorSettings(calibration_images=16))
    rng = np.random.default_rng(0)
    field = list(dict.fromkeys(space.simplified(space.sample(rng)) for _ in range(8)))[:3]
    race = Race(judge, SCHEDULE, RaceSettings(epochs_per_round=1.0))
    (raced,) = race.run([field])
    assert [len(racer.rounds) for racer in raced.racers] == [2, 2, 1]
    winner = raced.winner
    network = race.network(winner.architecture)
    assert evaluate(network, data.validation, data).loss == winner.rounds[-1].metrics.loss
    inherited = judge.network(winner.architecture).state_dict()
    trained = network.state_dict()
    assert trained.keys() == inherited.keys()
    assert any(not torch.equal(trained[key], value) for key, value in inherited.items())
    assert all(torch.equal(before[key], value) for key, value in supernet.state_dict().items())
