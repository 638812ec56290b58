"""Training in several processes that share each batch: the same weights as one process finds with the whole batch."""

from __future__ import annotations

import csv
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from anybudget.data import TrainingBatches
from anybudget.nets import build_supernet
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from anybudget.runtime.distributed import FabricProcesses, Processes
from anybudget.storage.checkpoint import read
from anybudget.training.averaging import WeightAverage
from anybudget.training.samplers import uniform_path
from conftest import RECIPE, slow_but, write_images
from stopping import stop_after

LIMIT_SECONDS = 60
LEVERS = (
    "label_smoothing=0.1",
    "clip_norm=1.0",
    "ema=0.8",
    "mixup=0.4",
    "cutmix=1.0",
    "random_erasing=0.5",
    "dropout=0.3",
    "crop_scale=0.5",
)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    path = folder / "tiny.toml"
    path.write_text(RECIPE.format(source=write_images(folder / "images.npz")))
    return path


def together(count: int, work: Callable[[], object]) -> list[int]:
    """Do the work in `count` processes that find each other as under torchrun; the exit code of each."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    sys.stdout.flush()
    sys.stderr.flush()
    children = []
    for rank in range(count):
        child = os.fork()
        if child:
            children.append(child)
            continue
        os.environ.update(
            {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(count),
                "LOCAL_WORLD_SIZE": str(count),
                "GROUP_RANK": "0",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "TORCHELASTIC_RUN_ID": "test",
            }
        )
        code = 1
        signal.alarm(LIMIT_SECONDS)  # processes that wait for each other would wait for good
        try:
            torch.set_num_threads(1)
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def furthest(first: Path, second: Path) -> float:
    """The greatest difference of any weight."""
    a, b = load_file(first), load_file(second)
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def column(path: Path, key: str) -> list[float]:
    """One column of metrics."""
    return [float(row[key]) for row in csv.DictReader(path.open())]


def train_alike(count: int, recipe: Path, folder: Path, work: Callable[[Run], object], *settings: str) -> None:
    """Do the same work in a run of one process, `folder / "one"`, and in one of several."""
    loaded = load_recipe(recipe, settings)
    work(Run.create(loaded, folder / "one"))
    assert together(count, lambda: work(Run.create(loaded, folder / "several"))) == [0] * count


@pytest.mark.parametrize("count", slow_but([2], [2, 4]))
def test_a_fair_round_is_that_of_one_process(count: int, recipe: Path, tmp_path: Path) -> None:
    """One step on all paths of a round, which train every operation of every layer equally often."""
    settings = ["supernet.epochs=1", "supernet.batch_size=48", "supernet.paths_per_step=round"]
    train_alike(count, recipe, tmp_path, Run.train_supernet, *settings)
    assert furthest(*(tmp_path / name / "supernet.safetensors" for name in ("one", "several"))) <= 1e-6
    # The counts are of all processes, and the loss is the mean over the whole batch.
    one, several = (Run.open(tmp_path / name).folder for name in ("one", "several"))
    assert one.read_json("supernet.json")["images_trained"] == several.read_json("supernet.json")["images_trained"]


def test_paths_that_share_a_batch_have_the_same_images_in_several_processes(recipe: Path, tmp_path: Path) -> None:
    settings = ["epochs=1", "batch_size=48", "paths_per_step=3", "share_batch=true", "complexity_rate=true"]
    train_alike(2, recipe, tmp_path, Run.train_supernet, *(f"supernet.{setting}" for setting in settings))
    assert furthest(*(tmp_path / name / "supernet.safetensors" for name in ("one", "several"))) <= 1e-6


def test_own_paths_average_over_those_that_used_a_weight(recipe: Path, tmp_path: Path) -> None:
    """One step of two processes on a path each: what plain autograd gives for two paths on half a batch each."""
    settings = ["supernet.epochs=1", "supernet.batch_size=84", "supernet.same_paths=false", "supernet.sampler=uniform"]
    loaded = load_recipe(recipe, [*settings, "supernet.weight_decay=0.0", "supernet.momentum=0.0"])
    path = tmp_path / "several"
    assert together(2, lambda: Run.create(loaded, path).train_supernet()) == [0, 0]

    run = Run.create(loaded, tmp_path / "one")
    torch.manual_seed(loaded.seed)
    net = build_supernet(run.space).train()
    rng = np.random.default_rng(loaded.seed)
    ((images, labels),) = TrainingBatches(run.data, run.data.train, 84, loaded.seed).epoch(1, run.device)
    gradients = []
    for rank in range(2):
        net.zero_grad()
        F.cross_entropy(net(images[rank::2], uniform_path(run.space, rng)), labels[rank::2]).backward()
        gradients.append([None if p.grad is None else p.grad.clone() for p in net.parameters()])
    found = load_file(path / "supernet.safetensors")
    users = set()
    for (name, parameter), *both in zip(net.named_parameters(), *gradients, strict=True):
        used = [gradient for gradient in both if gradient is not None]
        expected = parameter.detach()
        if used:
            expected = expected - loaded.supernet.learning_rate * torch.stack(used).mean(0)
        assert torch.allclose(found[name], expected, atol=1e-6), name
        users.add(len(used))
    assert users == {0, 1, 2}


def test_a_gradient_of_exactly_zero_counts_as_used() -> None:
    """As that of a weight behind a ReLU which let nothing pass in one of the processes."""

    def work() -> None:
        processes = FabricProcesses("cpu", devices=2)
        parameters = [torch.nn.Parameter(torch.ones(2)) for _ in range(4)]
        zero, one, nobody, slices = parameters
        zero.grad = torch.tensor([4.0, 6.0]) if processes.rank else torch.zeros(2)
        one.grad = torch.tensor([4.0, 0.0]) if processes.rank else None
        slices.grad = torch.tensor([1.0, 1.0]) if processes.rank else torch.tensor([3.0, 0.0])
        processes.average_used_gradients(parameters)
        assert zero.grad is not None
        assert zero.grad.tolist() == [2, 3]
        assert one.grad is not None
        assert one.grad.tolist() == [4, 0]
        assert nobody.grad is None
        assert slices.grad is not None
        assert slices.grad.tolist() == [2, 0.5]

    assert together(2, work) == [0, 0]


@pytest.mark.parametrize("sampler", slow_but(["greedy"], ["greedy", "uniform"]))
def test_many_steps_stay_close(sampler: str, recipe: Path, tmp_path: Path) -> None:
    settings = [f"supernet.sampler={sampler}", "supernet.greedy.score_images=9", "supernet.greedy.warmup=0.1"]
    train_alike(2, recipe, tmp_path, Run.train_supernet, *settings)
    assert furthest(*(tmp_path / name / "supernet.safetensors" for name in ("one", "several"))) <= 1e-4


def test_generator_and_retraining_stay_close(recipe: Path, tmp_path: Path) -> None:
    """Both search, and find the same; only the first writes."""
    architecture, other = (load_recipe(recipe).build_space().sample(np.random.default_rng(seed)) for seed in (0, 1))

    def work(run: Run) -> None:
        run.train_supernet()
        run.train_generator()
        run.search()
        run.retrain(architecture)
        assert run.retrain(other, inherit="try")["tried"]["epochs"] == 1

    train_alike(2, recipe, tmp_path, work)
    assert len((tmp_path / "several" / "candidates.jsonl").read_text().splitlines()) == 2
    assert not (tmp_path / "several" / "checkpoints").exists()
    for name in ("supernet.safetensors", f"retrain/{architecture.short_id}/weights.safetensors"):
        assert furthest(tmp_path / "one" / name, tmp_path / "several" / name) <= 1e-4, name
    # Adam takes steps of one size down gradients of any, so weights without one differ; the losses must not.
    for key in ("cross_entropy", "budget_gap_percent"):
        one, several = (column(tmp_path / name / "generator.csv", key) for name in ("one", "several"))
        assert several == pytest.approx(one, rel=1e-4), key


def test_work_that_all_processes_do_writes_nothing_in_those_that_are_not_the_first(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search ends by clearing its journal, which another process must not put back, nor write at the same time."""
    loaded = load_recipe(recipe, ["supernet.epochs=1", "retrain.epochs=1", "checkpoint_seconds=0"])
    Run.create(loaded, tmp_path).train_supernet()
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    monkeypatch.setenv("RANK", "1")
    other = Run.open(tmp_path)
    found = other.search_with("random", loaded.budget_sets())
    other.retrain(found[0].architecture)
    assert len(found) == 2
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files
    assert not (tmp_path / "checkpoints").exists()


def test_clipped_smoothed_and_averaged_weights_are_those_of_one_process(recipe: Path, tmp_path: Path) -> None:
    architecture = load_recipe(recipe).build_space().sample(np.random.default_rng(0))
    keys = [f"{table}.{key}" for table in ("supernet", "retrain") for key in LEVERS]

    def work(run: Run) -> None:
        run.train_supernet()
        run.retrain(architecture)

    train_alike(2, recipe, tmp_path, work, *keys, "supernet.epochs=1", "retrain.epochs=2")
    for name in ("supernet.safetensors", f"retrain/{architecture.short_id}/weights.safetensors"):
        assert furthest(tmp_path / "one" / name, tmp_path / "several" / name) <= 1e-5, name


@pytest.mark.slow
def test_other_optimisers_take_the_steps_of_one_process(recipe: Path, tmp_path: Path) -> None:
    # With an epsilon far above gradients that are 0 but for rounding, AdamW takes no steps in its direction.
    keys = ["optimiser=adamw", "epsilon=0.01", "decay_norms=false", "annealing=exponential", "decay_epochs=0.5"]
    settings = [f"supernet.{key}" for key in (*keys, "reference_batch=32", "epochs=1")]
    train_alike(2, recipe, tmp_path, Run.train_supernet, *settings)
    assert furthest(*(tmp_path / name / "supernet.safetensors" for name in ("one", "several"))) <= 1e-5


def test_paths_of_their_own_are_averaged_alike_in_all_processes(recipe: Path, tmp_path: Path) -> None:
    """What two processes leave is the average of the weights that both had after every step."""
    keys = ["supernet.same_paths=false", "supernet.epochs=1", *(f"supernet.{key}" for key in LEVERS)]
    loaded = load_recipe(recipe, keys)

    def work() -> None:
        run = Run.create(loaded, tmp_path / "run")
        weights: list[dict[str, torch.Tensor]] = []
        real = WeightAverage.give_to

        def given(self: WeightAverage, model: torch.nn.Module) -> None:
            real(self, model)
            weights.append(dict(model.named_parameters()))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(WeightAverage, "give_to", given)
            run.train_supernet()
        for name, value in weights[0].items():
            both = [torch.empty_like(value) for _ in range(2)]
            torch.distributed.all_gather(both, value.detach().contiguous())
            assert torch.equal(*both), name

    assert together(2, work) == [0, 0]


@pytest.mark.slow
def test_a_whole_run_in_two_processes(recipe: Path, tmp_path: Path) -> None:
    train_alike(2, recipe, tmp_path, lambda run: run.run_all(lambda _line: None))
    assert Run.open(tmp_path / "several").folder.finished("retrain")
    assert (tmp_path / "several" / "report.html").exists()
    assert not (tmp_path / "several" / "checkpoints").exists()


@pytest.mark.slow
def test_the_command_line_starts_its_own_processes(recipe: Path, tmp_path: Path) -> None:
    """`devices` alone does, by Fabric's launcher; one process speaks."""
    command = [sys.executable, "-m", "anybudget", "supernet", str(recipe), "--out", str(tmp_path / "run")]
    done = subprocess.run(
        [*command, "--set", "devices=2"], capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("supernet: done") == 1
    assert Run.open(tmp_path / "run").folder.finished("supernet")


def test_training_goes_on_with_another_number_of_processes(recipe: Path, tmp_path: Path) -> None:
    """Stopped after an epoch in two processes, resumed in four and then in one."""
    whole = Run.create(load_recipe(recipe, ["supernet.epochs=3"]), tmp_path / "whole")
    whole.train_supernet()
    path = tmp_path / "broken"

    def stopping_after(steps: int) -> Callable[[], None]:
        def work() -> None:
            run = Run.create(load_recipe(recipe, ["supernet.epochs=3"]), path)
            stop_after(steps, run.train_supernet)

        return work

    assert together(2, stopping_after(5)) == [0, 0]
    assert together(4, stopping_after(3)) == [0, 0, 0, 0]
    state = read(path / "checkpoints" / "supernet.checkpoint")
    assert state["loop"]["epoch"] == 2
    assert state["schedule"]["last_epoch"] == 10
    Run.open(path).train_supernet()
    assert furthest(tmp_path / "whole" / "supernet.safetensors", path / "supernet.safetensors") <= 1e-4


def test_mixed_precision_trains_as_well(recipe: Path, tmp_path: Path) -> None:
    losses = {}
    for precision in ("32-true", "bf16-mixed"):
        run = Run.create(load_recipe(recipe, [f"precision={precision}", "supernet.epochs=4"]), tmp_path / precision)
        run.train_supernet()
        run.train_generator()
        path = run.folder.path
        losses[precision] = (
            column(path / "supernet.csv", "loss")[-1],
            column(path / "generator.csv", "cross_entropy")[-1],
        )
    assert losses["bf16-mixed"] != losses["32-true"]
    assert losses["bf16-mixed"] == pytest.approx(losses["32-true"], rel=0.1)


def test_the_generator_s_supernet_is_loaded_after_the_processes_have_joined(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only then is it known which device is this process's own."""
    Run.create(load_recipe(recipe), tmp_path / "run").train_supernet()
    run = Run.open(tmp_path / "run")
    loaded = []

    class Joining(Processes):
        def __init__(self, _device: str, **_options: object) -> None:
            loaded.append([name for name in ("supernet", "generator") if name in run.context._parts])
            super().__init__()

    monkeypatch.setattr("anybudget.runs.context.FabricProcesses", Joining)
    run.train_generator()
    run.retrain(run.space.sample(np.random.default_rng(0)), inherit=True)
    assert loaded == [[]]


def test_what_was_loaded_before_is_moved_where_the_processes_say(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.create(load_recipe(recipe), tmp_path / "run")
    run.train_supernet()
    run.train_generator()
    run = Run.open(tmp_path / "run")
    networks = [run.supernet, run.generator, run.evaluator.supernet]
    other = torch.device("meta")
    monkeypatch.setattr("anybudget.runs.context.FabricProcesses", lambda _device, **_options: Processes(other))
    assert run.device.type == "cpu"
    assert run.context.processes.device == run.device == other
    assert {tensor.device for net in networks for tensor in net.state_dict().values()} == {other}
