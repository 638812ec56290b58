"""The average of the weights while a model trains: its closed form, and what kills and rollbacks leave of it."""

import copy
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from anybudget.data import DataSplits
from anybudget.nets import build_network, build_supernet
from anybudget.recipe import load_recipe, reproducibility_settings
from anybudget.runs.run import Run
from anybudget.testing import check_resume
from anybudget.training import loss
from anybudget.training.averaging import WeightAverage, decay_at
from anybudget.training.loop import TrainingContext
from anybudget.training.retrain import train_network
from anybudget.training.samplers import UniformSampler
from anybudget.training.settings import Schedule, SupernetSchedule
from anybudget.training.supernet import train_supernet
from conftest import open_run
from stopping import check_stops
from test_augmentation import ALL as AUGMENTED
from test_divergence import Poison
from test_samplers import SPACE

ALL = ("label_smoothing=0.1", "clip_norm=1.0", "ema=0.8")
State = dict[str, Tensor]


def closed_form(values: list[Tensor], decay: float) -> Tensor:
    """Each value with its own share, and with what every later update leaves of it."""
    decays = [min(decay, 1 - count ** (-2 / 3)) for count in range(1, len(values) + 1)]
    shares = [(1 - kept) * np.prod(decays[first + 1 :]) for first, kept in enumerate(decays)]
    assert sum(shares) == pytest.approx(1)
    return sum((share * value.double() for share, value in zip(shares, values, strict=True)), torch.zeros(()).double())


def watched(train: Callable[[], object]) -> list[State]:
    """The state of the model at every update of its average while it trains."""
    states: list[State] = []
    real = WeightAverage.update_parameters

    def update(self: WeightAverage, model: nn.Module) -> None:
        states.append(copy.deepcopy(model.state_dict()))
        real(self, model)

    with mock.patch.object(WeightAverage, "update_parameters", update):
        train()
    return states


@given(
    values=st.lists(st.floats(-100, 100), min_size=1, max_size=30),
    decay=st.floats(0.05, 0.9999),
)
def test_the_average_is_its_closed_form(values: list[float], decay: float) -> None:
    model = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    average = WeightAverage(model, decay)
    for value in values:
        nn.init.constant_(model.weight, value)
        average.update_parameters(model)
    average.give_to(model)
    expected = closed_form([torch.tensor(value) for value in values], decay)
    assert model.weight.item() == pytest.approx(expected.item(), abs=1e-4)


def test_the_decay_rises_as_timm_s_does() -> None:
    """Facts of timm's `ModelEmaV3(decay=0.99, use_warmup=True)`, whose updates count from 1."""
    found = [decay_at(update, 0.99) for update in (1, 2, 3, 10, 100, 1000, 1001)]
    assert found == pytest.approx([0.0, 0.370039, 0.519250, 0.784557, 0.953584, 0.99, 0.99], abs=1e-6)


def test_a_supernet_ends_with_the_average_of_all_its_weights_touched_or_not(data: DataSplits) -> None:
    schedule = SupernetSchedule(epochs=2, batch_size=16, learning_rate=0.1, ema=0.8)
    torch.manual_seed(0)
    net = build_supernet(SPACE)
    plain = copy.deepcopy(net)
    states = watched(lambda: train_supernet(net, UniformSampler(SPACE), data, schedule))
    train_supernet(plain, UniformSampler(SPACE), data, schedule.model_copy(update={"ema": 0.0}))
    rested = 0
    for name, parameter in net.named_parameters():
        values = [state[name] for state in states]
        torch.testing.assert_close(parameter.double(), closed_form(values, 0.8), rtol=1e-5, atol=1e-6, msg=name)
        assert torch.equal(values[-1], plain.get_parameter(name)), name  # what is averaged trains as without
        if torch.equal(values[-1], values[-2]) and not torch.equal(values[-2], values[0]):
            rested += 1
            before, after = (closed_form(seen, 0.8) - values[-1] for seen in (values[:-1], values))
            torch.testing.assert_close(after, decay_at(len(values), 0.8) * before)
    assert rested


def test_a_network_ends_with_averaged_statistics_too(data: DataSplits) -> None:
    torch.manual_seed(0)
    network = build_network(SPACE.block_specs(SPACE.sample(np.random.default_rng(0))))
    schedule = Schedule(epochs=2, batch_size=16, learning_rate=0.1, ema=0.7)
    states = watched(lambda: train_network(network, data, schedule))
    assert any("running_var" in name for name in states[0])
    for name, value in network.state_dict().items():
        values = [state[name] for state in states]
        if value.is_floating_point():
            torch.testing.assert_close(value.double(), closed_form(values, 0.7), rtol=1e-4, atol=1e-6, msg=name)
        else:
            assert torch.equal(value, values[-1]), name
    assert not network.training


def test_a_rollback_brings_the_average_back(data: DataSplits, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = build_supernet(SPACE)
    schedule = SupernetSchedule(epochs=2, batch_size=16, learning_rate=0.05, ema=0.9)
    per_epoch = len(data.train) // 16
    monkeypatch.setattr(loss.F, "cross_entropy", Poison(per_epoch + 3))
    context = TrainingContext(rollbacks=1)
    states = watched(lambda: train_supernet(net, UniformSampler(SPACE), data, schedule, context=context))
    assert len(states) == 2 * per_epoch + 2
    kept = states[:per_epoch] + states[per_epoch + 2 :]
    for name, parameter in net.named_parameters():
        expected = closed_form([state[name] for state in kept], 0.9)
        torch.testing.assert_close(parameter.double(), expected, rtol=1e-5, atol=1e-6, msg=name)


def test_stopped_at_many_steps_it_is_as_if_never_interrupted(recipe_file: Path, tmp_path: Path) -> None:
    """With all that can be drawn or averaged in a training: images, dropped parts, weights."""
    keys = (*ALL, *AUGMENTED, "dropout=0.2")
    settings = [f"{table}.{key}" for table in ("supernet", "retrain") for key in keys]
    settings += ["retrain.drop_path=0.4", "retrain.epochs=2", "checkpoint_seconds=0"]
    recipe = load_recipe(recipe_file, settings)
    architecture = recipe.build_space().sample(np.random.default_rng(0))
    check_stops(
        recipe,
        tmp_path,
        lambda run: run.train_supernet(),
        *(lambda run, inherit=inherit: run.retrain(architecture, inherit=inherit) for inherit in (True, False)),
    )


@pytest.mark.slow
def test_killed_it_is_as_if_never_interrupted(recipe_file: Path, tmp_path: Path) -> None:
    settings = ["checkpoint_seconds=0", "supernet.epochs=6", *(f"supernet.{key}" for key in ALL)]
    run = Run.create(load_recipe(recipe_file, settings), tmp_path / "begin")
    assert check_resume(run.folder.path, lambda path: Run.open(path).train_supernet(), tmp_path)


def test_settings_that_are_off_are_as_before_there_were_any(recipe_file: Path, tmp_path: Path) -> None:
    """So that a checkpoint, a race or a kept training from before is still of the settings of now."""
    off, on = (reproducibility_settings(load_recipe(recipe_file, keys)) for keys in ((), ["retrain.ema=0.9"]))
    names = {"label_smoothing", "clip_norm", "ema"}
    assert not names & (off["supernet"].keys() | off["retrain"].keys())
    assert names & (on["supernet"].keys() | on["retrain"].keys()) == {"ema"}
    run = open_run(recipe_file, tmp_path / "run", "retrain.ema=0.9", "supernet.clip_norm=2.0")
    again = Run.open(run.folder.path).recipe
    assert (again.retrain.ema, again.supernet.clip_norm, again.supernet.ema) == (0.9, 2.0, 0.0)
