"""A CUDA device does what the CPU does: every stage, mixed precision, and scores that are close."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch

from anybudget.budgets import BudgetSet
from anybudget.evaluation.ranking import sample_paths
from anybudget.nets import build_network
from anybudget.nets.compiled.build import SWITCH
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from anybudget.runtime.device import moved
from anybudget.training.retrain import train_network
from conftest import open_run
from stopping import stop_after

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here"),
]
if torch.cuda.is_available():
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read once, before any test uses cuBLAS
DEVICE = "cuda"
BUDGETS = [BudgetSet.parse("macs<=60k")]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_every_stage_takes_its_steps(precision: str, recipe_file: Path, tmp_path: Path) -> None:
    """Supernet, generator, search and retraining: on the device, with weights that are finite and within the budget."""
    run = Run.create(load_recipe(recipe_file, [f"device={DEVICE}", f"precision={precision}"]), tmp_path / "run")
    run.run_all(lambda _line: None)
    for network in (run.supernet, run.generator):
        weights = list(network.parameters())
        assert {weight.device.type for weight in weights} == {DEVICE}
        assert all(weight.isfinite().all() for weight in weights)
    (candidate,) = run.generate(BUDGETS)
    assert candidate.costs["macs"] <= 60_000
    assert len(list((run.folder.path / "retrain").iterdir())) == 1


def test_gradients_are_scaled_back_before_they_are_clipped(recipe_file: Path, tmp_path: Path) -> None:
    """Clipped as they are, gradients of a loss scaled by 2**16 would all but vanish once they are scaled back."""
    losses = []
    for precision in ("32-true", "16-mixed"):
        keys = [f"device={DEVICE}", f"precision={precision}", "supernet.clip_norm=1.0", "supernet.ema=0.8"]
        run = Run.create(load_recipe(recipe_file, [*keys, "supernet.epochs=8"]), tmp_path / precision)
        run.train_supernet()
        losses.append(float((run.folder.path / "supernet.csv").read_text().splitlines()[-1].split(",")[1]))
        assert all(weight.isfinite().all() for weight in run.supernet.parameters())
    assert losses[1] == pytest.approx(losses[0], rel=0.1)


def test_scores_are_close_to_those_of_the_cpu(recipe_file: Path, tmp_path: Path) -> None:
    run = Run.create(load_recipe(recipe_file), tmp_path / "cpu")
    run.train_supernet()
    shutil.copytree(tmp_path / "cpu", tmp_path / "gpu")
    recipe = tmp_path / "gpu" / "recipe.toml"
    recipe.write_text(recipe.read_text().replace('device = "cpu"', f'device = "{DEVICE}"'))
    other = Run.open(tmp_path / "gpu")
    assert other.device.type == DEVICE
    paths = sample_paths(run.space, 8, seed=0)
    for here, there in zip(run.evaluator.scores(paths), other.evaluator.scores(paths), strict=True):
        assert there.loss == pytest.approx(here.loss, rel=1e-3)
        assert there.top1_percent == pytest.approx(here.top1_percent, abs=101 / 36)  # an image more or less


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_stopped_run_ends_like_an_unbroken_one(precision: str, recipe_file: Path, tmp_path: Path) -> None:
    """To the last bit, where the recipe asks for deterministic algorithms."""
    keys = [f"device={DEVICE}", f"precision={precision}", "deterministic=true"]
    whole, broken = (open_run(recipe_file, tmp_path / name, *keys) for name in ("whole", "broken"))
    whole.train_supernet()
    whole.train_generator()
    stop_after(5, broken.train_supernet)
    broken = Run.open(tmp_path / "broken")
    broken.train_supernet()
    stop_after(3, broken.train_generator)
    broken = Run.open(tmp_path / "broken")
    broken.train_generator()
    for one, other in ((whole.supernet, broken.supernet), (whole.generator, broken.generator)):
        here, there = one.state_dict(), other.state_dict()
        assert all(torch.equal(here[key], there[key]) for key in here)


def test_a_graph_trains_the_same_network(recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is launched as a graph computes what is launched kernel by kernel, and leaves the same statistics."""
    run = open_run(recipe_file, tmp_path / "run", f"device={DEVICE}")
    architecture = run.space.sample(np.random.default_rng(0))
    schedule = run.recipe.retrain.model_copy(update={"epochs": 4})
    states = []
    for kernels in ("pytorch", ""):
        monkeypatch.setenv(SWITCH, kernels)
        torch.manual_seed(0)
        network = build_network(run.space.block_specs(architecture)).to(DEVICE)
        with patch.object(torch.cuda, "make_graphed_callables", wraps=torch.cuda.make_graphed_callables) as capture:
            train_network(network, run.data, schedule)
        assert capture.call_count == (kernels == "")
        states.append(network.state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-3, atol=1e-4)


def test_batches_arrive_whole() -> None:
    """Copies from pinned memory do not wait, and are not overtaken by what is written there afterwards."""
    batches = [torch.full((512, 3, 32, 32), float(number)) for number in range(20)]
    arrived = [moved(batch, torch.device(DEVICE)) for batch in batches]
    assert all(bool((batch == number).all()) for number, batch in enumerate(arrived))
    assert moved(batches[0], torch.device("cpu")) is batches[0]
