"""Optimisers by name, and how the learning rate goes: what they move, what they leave alone, what a resume restores."""

import copy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from anybudget.data import DataSplits
from anybudget.errors import ConfigError
from anybudget.nets import build_network, build_supernet
from anybudget.nets.blocks import channels_last
from anybudget.recipe import load_recipe, reproducibility_settings
from anybudget.runs.run import Run
from anybudget.search.race_settings import RaceSettings
from anybudget.storage.checkpoint import FileCheckpoint
from anybudget.training.annealing import rate_factor
from anybudget.training.loop import TrainingContext
from anybudget.training.optimisers import BUILT_IN, check_optimiser
from anybudget.training.retrain import train_network
from anybudget.training.samplers import UniformSampler
from anybudget.training.settings import Schedule, SupernetSchedule
from anybudget.training.supernet import train_supernet
from stopping import check_stops, stop_after
from test_samplers import SPACE

TIMM = ["rmsprop-tf", "lamb", "nadamw", "lion"]
OPTIMISERS = [*BUILT_IN, *(pytest.param(name, marks=pytest.mark.timm) for name in TIMM)]
FALLS = ["cosine", "linear", "exponential", "constant"]
KEYS: dict[str, tuple[str, ...]] = {
    "sgd": ("momentum=0.9", "nesterov=true"),
    "adamw": ("decay_norms=false", "epsilon=1e-6"),
    "rmsprop-tf": ("epsilon=0.001",),
}
"""What is set besides, so that groups and coefficients of their own are saved and resumed, too."""


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_weights_beside_the_path_stay_as_they_are(optimiser: str, data: DataSplits) -> None:
    """Even those that have a momentum from steps in which they were used, and whatever the weight decay."""
    torch.manual_seed(0)
    net = build_supernet(SPACE)
    schedule = SupernetSchedule(
        epochs=1, batch_size=16, learning_rate=0.01, weight_decay=0.1, annealing="constant", optimiser=optimiser
    )
    moved: list[set[str]] = []
    used: list[set[str]] = []
    before = copy.deepcopy(dict(net.named_parameters()))

    def after_step(_optimiser: torch.optim.Optimizer, _args: object, _kwargs: object) -> None:
        now = dict(net.named_parameters())
        moved.append({name for name, value in now.items() if not torch.equal(value, before[name])})
        used.append({name for name, value in now.items() if value.grad is not None})
        before.update({name: value.detach().clone() for name, value in now.items()})

    handle = register_optimizer_step_post_hook(after_step)
    try:
        train_supernet(net, UniformSampler(SPACE), data, schedule)
    finally:
        handle.remove()
    assert len(moved) > 3
    for step, (changed, with_gradient) in enumerate(zip(moved, used, strict=True)):
        assert changed <= with_gradient, step
    rested_after_use = set().union(*used[:-1]) - used[-1]
    assert rested_after_use
    assert not rested_after_use & moved[-1]


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_every_optimiser_learns(optimiser: str, data: DataSplits) -> None:
    rate = {"sgd": 0.1, "lamb": 0.05, "lion": 0.002}.get(optimiser, 0.005)
    torch.manual_seed(0)
    network = build_network(SPACE.block_specs(SPACE.sample(np.random.default_rng(0))))
    rows: list[dict[str, float]] = []
    schedule = Schedule(epochs=12, batch_size=16, learning_rate=rate, optimiser=optimiser)
    train_network(network, data, schedule, context=TrainingContext(log=rows.append))
    assert rows[-1]["loss"] < 0.96 * rows[0]["loss"]  # 1.1 is that of guessing


QUICK = ("sgd", "cosine"), ("adamw", "exponential")
RESUMED = [
    pytest.param(
        name, fall, marks=[pytest.mark.timm] if name in TIMM else [] if (name, fall) in QUICK else [pytest.mark.slow]
    )
    for name in (*BUILT_IN, *TIMM)
    for fall in FALLS
]


@pytest.mark.parametrize(("optimiser", "fall"), RESUMED)
def test_stopped_and_resumed_it_is_as_if_never_interrupted(
    optimiser: str, fall: str, recipe_file: Path, tmp_path: Path
) -> None:
    keys = [f'optimiser="{optimiser}"', f'annealing="{fall}"', "warmup_epochs=0.5", "clip_norm=1.0", "ema=0.8"]
    keys += [*KEYS.get(optimiser, ()), *(["decay_epochs=0.7"] if fall == "exponential" else [])]
    sections = ("supernet", "retrain") if fall == "cosine" else ("retrain",)
    settings = [f"{section}.{key}" for section in sections for key in keys]
    recipe = load_recipe(recipe_file, ["checkpoint_seconds=0", "retrain.epochs=2", *settings])
    architecture = recipe.build_space().sample(np.random.default_rng(0))
    works: list[Callable[[Run], object]] = [lambda run: run.retrain(architecture)]
    if fall == "cosine":
        works.insert(0, lambda run: run.train_supernet())
    check_stops(recipe, tmp_path, *works)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_the_state_of_channels_last_weights_is_laid_out_as_they_are(
    optimiser: str, data: DataSplits, tmp_path: Path
) -> None:
    def network() -> nn.Module:
        torch.manual_seed(0)
        return channels_last(build_network(SPACE.block_specs(SPACE.sample(np.random.default_rng(3)))))

    schedule = Schedule(epochs=2, batch_size=16, learning_rate=0.01, weight_decay=0.01, optimiser=optimiser)
    whole, broken = network(), network()
    train_network(whole, data, schedule)

    def resumed() -> None:
        context = TrainingContext(checkpoint=FileCheckpoint(tmp_path / "checkpoint", {}, seconds=0))
        train_network(broken, data, schedule, context=context)

    stop_after(5, resumed)
    broken = network()
    resumed()
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), broken.parameters(), strict=True))


def test_the_learning_rate_goes_as_the_schedule_says() -> None:
    common = {"epochs": 10, "batch_size": 8, "learning_rate": 1.0, "warmup_epochs": 2.0}
    linear = rate_factor(Schedule(**common, annealing="linear"), 10)
    assert [linear(step) for step in (20, 60, 100)] == [1.0, 0.5, 0.0]
    constant = rate_factor(Schedule(**common, annealing="constant"), 10)
    assert [constant(step) for step in (20, 60, 99)] == [1.0, 1.0, 1.0]
    # ×0.97 every 3 epochs, the warm-up counted: SGNAS §4.1 and timm's StepLRScheduler.
    steps = rate_factor(Schedule(**common, annealing="exponential"), 10)
    assert [steps(step) for step in (20, 29, 30, 59, 60, 99)] == pytest.approx([1, 1, 0.97, 0.97, 0.97**2, 0.97**3])
    for factor in (linear, constant, steps):
        assert [factor(step) for step in (0, 9, 19)] == pytest.approx([1 / 21, 10 / 21, 20 / 21])


def test_the_rate_grows_with_the_batch(data: DataSplits) -> None:
    rows: list[dict[str, float]] = []
    network = build_network(SPACE.block_specs(SPACE.sample(np.random.default_rng(0))))
    schedule = Schedule(epochs=1, batch_size=16, learning_rate=0.1, reference_batch=64, annealing="constant")
    train_network(network, data, schedule, context=TrainingContext(log=rows.append))
    assert [row["learning_rate"] for row in rows] == [0.025]


def test_norms_and_biases_may_have_no_weight_decay(data: DataSplits) -> None:
    """At a learning rate at which gradients move nothing, weight decay alone does."""
    torch.manual_seed(0)
    network = build_network(SPACE.block_specs(SPACE.sample(np.random.default_rng(0))))
    before = copy.deepcopy(network)
    schedule = Schedule(epochs=1, batch_size=16, learning_rate=1e-6, weight_decay=2e4, decay_norms=False, momentum=0.0)
    train_network(network, data, schedule)
    for old, new in zip(before.parameters(), network.parameters(), strict=True):
        if old.ndim == 1:
            torch.testing.assert_close(new, old, rtol=0, atol=1e-4)
        else:
            assert new.norm() < 0.97 * old.norm()


def test_a_race_anneals_in_every_round_whatever_retraining_does() -> None:
    retrain = Schedule(
        epochs=9, batch_size=8, learning_rate=0.1, annealing="exponential", decay_rate=0.5, optimiser="adamw"
    )
    schedule = RaceSettings().schedule(retrain)
    assert (schedule.annealing, schedule.optimiser) == ("cosine", "adamw")
    assert schedule.model_dump() == RaceSettings().schedule(retrain.model_copy(update={"decay_rate": 0.9})).model_dump()


def test_without_timm_its_optimisers_are_refused_before_any_work(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.delitem(sys.modules, "timm.optim", raising=False)
    run = Run.create(load_recipe(recipe_file, ["retrain.optimiser=lamb"]), tmp_path / "run")
    with pytest.raises(
        ConfigError, match=r"retrain\.optimiser = 'lamb' needs timm, .*pip install 'anybudget\[train\]'"
    ):
        run.run_all(lambda _line: None)
    assert not (tmp_path / "run" / "supernet.csv").exists()


@pytest.mark.timm
def test_an_optimiser_that_timm_does_not_know_is_named() -> None:
    schedule = Schedule(epochs=1, batch_size=8, learning_rate=0.1, optimiser="lam")
    with pytest.raises(ConfigError, match=r"supernet\.optimiser = 'lam': timm has no such .*did you mean 'lamb'"):
        check_optimiser(schedule, "supernet")


@pytest.mark.timm
def test_what_timm_cannot_make_is_said(data: DataSplits) -> None:
    network = build_network(SPACE.block_specs(SPACE.sample(np.random.default_rng(0))))
    schedule = Schedule(epochs=1, batch_size=8, learning_rate=0.1, optimiser="bnbadam8bit")
    with pytest.raises(ConfigError, match=r"optimiser 'bnbadam8bit': timm cannot make it so: .*bitsandbytes"):
        train_network(network, data, schedule)


def test_settings_that_are_not_asked_for_are_not_written(recipe_file: Path) -> None:
    plain = reproducibility_settings(load_recipe(recipe_file))
    asked = reproducibility_settings(
        load_recipe(recipe_file, ["retrain.optimiser=adamw", "supernet.decay_norms=false"])
    )
    assert not Schedule.UNSAID & (plain["supernet"].keys() | plain["retrain"].keys())
    assert Schedule.UNSAID & (asked["supernet"].keys() | asked["retrain"].keys()) == {"optimiser", "decay_norms"}
