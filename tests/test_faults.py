"""What may go wrong while a run goes on: damaged files, full disks, two at once, losses that are no numbers."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import pickle
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from anybudget.cli import process as cli
from anybudget.errors import AnyBudgetError, ConfigError, RunError, TrainingError
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from anybudget.runs.stages import supernet as supernet_stage
from anybudget.runs.work import as_memory_error
from anybudget.runtime.device import pick_device
from anybudget.runtime.signals import Stopped, StopRequest
from anybudget.storage.checkpoint import FileCheckpoint, read
from anybudget.storage.journal import Journal
from anybudget.storage.run_folder import RunFolder
from anybudget.testing.interruption import differing_files
from anybudget.training import sgd
from anybudget.training.loop import EpochLoop
from conftest import stop_after

SOURCE = Path(cli.__file__).parents[1]
SETTINGS = {"stage": "test", "recipe": {"seed": 1}}


@pytest.fixture
def checkpoint(tmp_path: Path) -> FileCheckpoint:
    """A checkpoint with one before it."""
    made = FileCheckpoint(tmp_path / "work.checkpoint", SETTINGS)
    for number in (1, 2):
        made.save({"number": number, "weights": torch.full((5,), float(number))})
    return made


def number_in(checkpoint: FileCheckpoint) -> int:
    state = FileCheckpoint(checkpoint.path, SETTINGS).load()
    assert state is not None
    assert torch.equal(state["weights"], torch.full((5,), float(state["number"])))
    return int(state["number"])


def truncated(content: bytes) -> bytes:
    return content[:-7]


def flipped(content: bytes) -> bytes:
    return content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]


def of_version(content: bytes, version: int) -> bytes:
    return re.sub(rb'"version": \d+', b'"version": %d' % version, content, count=1)


def pickled(_content: bytes) -> bytes:
    return pickle.dumps(Bomb())


class Bomb:
    """Unpickled, it would leave a trace."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.putenv, ("ANYBUDGET_BOMB", "went off")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (truncated, "truncated"),
        (flipped, "corrupted: its content does not match its hash"),
        (lambda content: content[:40], "damaged, or no checkpoint"),
        (lambda _content: b"", "damaged, or no checkpoint"),
        (lambda _content: b"[" * 100_000, "damaged, or no checkpoint"),
        (lambda content: of_version(content, 2), "no checkpoint of this version"),
        (lambda content: of_version(content, 9), "no checkpoint of this version"),
        (lambda _content: b'{"some": "json"}\n', "no checkpoint of this version"),
        (pickled, "damaged, or no checkpoint"),
        (lambda _content: os.urandom(2000), "damaged, or no checkpoint"),
    ],
)
def test_the_checkpoint_before_takes_over_from_a_damaged_one(
    damage: Callable[[bytes], bytes], said: str, checkpoint: FileCheckpoint, caplog: pytest.LogCaptureFixture
) -> None:
    assert number_in(checkpoint) == 2
    checkpoint.path.write_bytes(damage(checkpoint.path.read_bytes()))
    caplog.set_level(logging.WARNING)
    again = FileCheckpoint(checkpoint.path, SETTINGS)
    state = again.load()
    assert state is not None
    assert state["number"] == 1
    assert said in caplog.text
    assert "resuming from the one before, work.checkpoint.previous" in caplog.text
    # The next save replaces the damaged file, not the good one.
    again.save({"number": 3, "weights": torch.full((5,), 3.0)})
    again.path.write_bytes(b"damaged again")
    assert number_in(checkpoint) == 1
    # With none left, nothing is begun anew unasked.
    again.previous.write_bytes(b"damaged too")
    with pytest.raises(RunError, match=r"delete work.checkpoint"):
        FileCheckpoint(checkpoint.path, SETTINGS).load()
    assert "ANYBUDGET_BOMB" not in os.environ


def test_a_checkpoint_of_other_settings_is_refused_with_the_keys(checkpoint: FileCheckpoint) -> None:
    with pytest.raises(RunError, match=r"other settings \(recipe.seed: 1 -> 2\); use those, or delete it"):
        FileCheckpoint(checkpoint.path, {"stage": "test", "recipe": {"seed": 2}}).load()


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    made = FileCheckpoint(tmp_path / "a.checkpoint", SETTINGS)
    shared = torch.arange(6.0).reshape(2, 3)
    state = {
        "numbers": {0: 1, 7: 0.1 + 0.2, "big": 2**120, "none": None, "nan": float("nan"), "inf": float("inf")},
        "list": [True, "text", [shared, shared.t()]],
        "array": np.arange(3),
        "layout": torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "empty": {},
        "$tensor": "a name like ours",
    }
    made.save(state)
    found = made.load()
    assert found is not None
    assert found["numbers"] | {"nan": 0} == state["numbers"] | {"nan": 0}
    assert np.isnan(found["numbers"]["nan"])
    assert found["list"][:2] == [True, "text"]
    assert torch.equal(found["list"][2][1], shared.t())
    assert found["array"].tolist() == [0, 1, 2]
    assert torch.equal(found["layout"], state["layout"])
    assert found["half"].dtype == torch.bfloat16
    assert found["empty"] == {}
    assert found["$tensor"] == "a name like ours"
    with pytest.raises(TypeError, match=r"state.f: a checkpoint cannot hold a function"):
        made.save({"f": lambda: None})
    assert made.load() is not None


def test_a_journal_keeps_what_comes_before_the_damage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "search.jsonl"
    journal = Journal(path, SETTINGS)
    journal.add(((number, 0), {"loss": number / 3}) for number in range(5))
    lines = path.read_bytes().splitlines(keepends=True)
    for damaged in (
        [*lines[:4], lines[4][:9]],
        [*lines[:4], lines[4].replace(b"1.0", b"1.5"), lines[5]],
        [*lines[:4], b"\xff\n"],
    ):
        path.write_bytes(b"".join(damaged))
        again = Journal(path, SETTINGS)
        assert list(again.entries) == [(0, 0), (1, 0), (2, 0)]
        assert again.entries[(1, 0)] == {"loss": 1 / 3}
        assert "damaged from line 5 on; 3 scores before that are kept" in caplog.text
        again.add([((9, 9), {"loss": 1.0})])
        assert list(Journal(path, SETTINGS).entries) == [(0, 0), (1, 0), (2, 0), (9, 9)]
    with pytest.raises(RunError, match=r"recipe.seed: 1 -> 3"):
        Journal(path, {"stage": "test", "recipe": {"seed": 3}})
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(RunError, match="no journal"):
        Journal(path, SETTINGS)


def test_nothing_in_the_product_executes_what_it_reads() -> None:
    """No unpickling and no evaluation of text; NumPy archives are opened with pickles refused."""
    forbidden = re.compile(
        r"\b(pickle|dill|joblib|marshal|shelve)\b\.|torch\.load\(|(?<![.\w])(eval|exec)\(|yaml\.|__import__"
    )
    files = sorted(SOURCE.rglob("*.py"))
    assert len(files) > 100
    found = [f"{path}: {line}" for path in files for line in path.read_text().splitlines() if forbidden.search(line)]
    assert not found
    loads = [line for path in files for line in path.read_text().splitlines() if "np.load(" in line]
    assert loads
    assert all("allow_pickle=False" in line for line in loads)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("supernet.safetensors", "generate {run}"),
        ("generator.safetensors", "generate {run}"),
        ("pool.jsonl", "search {run} --strategy nsga2"),
        ("recipe.toml", "generate {run}"),
        ("stages.json", "generate {run}"),
    ],
)
def test_a_pickle_in_the_place_of_a_file_is_refused(name: str, command: str, trained: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"

    class Trap:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            return os.mkdir, (str(trace),)

    pickle.loads(pickle.dumps(Trap()))
    trace.rmdir()  # the trap works
    for content in (pickle.dumps(Trap()), torch_file(Trap())):
        (trained / name).write_bytes(content)
        assert run_cli(command.format(run=trained)) == 2
        assert not trace.exists()


def torch_file(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def run_cli(command: str) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["anybudget", *command.split()])
        with pytest.raises(SystemExit) as stop:
            cli.main()
    return stop.value.code


@pytest.fixture
def trained(recipe_file: Path, tmp_path: Path) -> Path:
    run = Run.create(load_recipe(recipe_file), tmp_path / "run")
    run.train_supernet()
    run.train_generator()
    run.folder.write_lines("pool.jsonl", [])
    return run.folder.path


def open_run(recipe_file: Path, path: Path, *overrides: str) -> Run:
    return Run.create(load_recipe(recipe_file, ["checkpoint_seconds=0", *overrides]), path)


def in_a_child(work: Callable[[], object]) -> int:
    """Do it in a process of its own; its exit code, 2 after an error of ours."""
    sys.stdout.flush()
    child = os.fork()
    if not child:
        code = 1
        signal.alarm(60)
        try:
            work()
            code = 0
        except AnyBudgetError as error:
            print(error, file=sys.stderr)
            code = 2
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_full_disk_ends_with_a_clear_error_and_nothing_damaged(
    recipe_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A limit on the size of files, as the system enforces it, lets metrics be written but no checkpoint."""
    whole, path = open_run(recipe_file, tmp_path / "whole"), tmp_path / "full"
    whole.train_supernet()
    started = open_run(recipe_file, path)
    stop_after(3, started.train_supernet)
    before = (path / "checkpoints" / "supernet.checkpoint").read_bytes()

    def on_a_full_disk() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
        Run.open(path).train_supernet()

    assert in_a_child(on_a_full_disk) == 2
    said = capfd.readouterr().err
    assert "supernet.checkpoint: cannot write: File too large; free some space" in said
    assert (path / "checkpoints" / "supernet.checkpoint").read_bytes() == before
    assert not list(path.rglob("*.unfinished"))
    Run.open(path).train_supernet()
    assert not differing_files(tmp_path / "whole", path)


def test_a_folder_that_cannot_be_written_is_named(recipe_file: Path) -> None:
    for place in ("/proc/anybudget", "/dev/null/run"):
        with pytest.raises(RunError, match=place):
            open_run(recipe_file, Path(place))


@pytest.fixture
def holder(recipe_file: Path, tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A process that is at work in a run folder, and the folder."""
    run = open_run(recipe_file, tmp_path / "held")
    child = os.fork()
    if not child:
        with run.folder.locked():
            time.sleep(60)
        os._exit(0)
    deadline = time.monotonic() + 20
    while not (run.folder.path / ".holder.json").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    yield child, run.folder.path
    with contextlib.suppress(ProcessLookupError):  # the test may have ended it
        os.kill(child, signal.SIGKILL)


def test_two_processes_do_not_work_in_one_folder(holder: tuple[int, Path]) -> None:
    child, path = holder
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    with pytest.raises(RunError, match=rf"another process is at work here .process {child} on .*wait for it, end it"):
        Run.open(path).train_supernet()
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with RunFolder(path).locked():  # the lock went with the process
        pass


class Poison:
    """Makes the loss of some steps of training no number."""

    def __init__(self, *steps: int) -> None:
        self.steps, self.count, self.real = steps, 0, sgd.F.cross_entropy

    def __call__(self, *arguments: Any, **options: Any) -> torch.Tensor:
        self.count += 1
        loss = self.real(*arguments, **options)
        return loss * float("nan") if self.count in self.steps else loss


def test_a_loss_that_is_no_number_stops_with_path_and_step(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_run(recipe_file, tmp_path / "run")
    monkeypatch.setattr(sgd.F, "cross_entropy", Poison(8))
    with pytest.raises(
        TrainingError, match=r"the loss became nan in epoch 2, step 3, on path \[\d+, \d+\]; lower learn"
    ):
        run.train_supernet()
    monkeypatch.undo()
    state = read(run.folder.path / "checkpoints" / "supernet.checkpoint")
    assert state["loop"]["step"] == 2  # the last good one
    assert all(torch.isfinite(weights).all() for weights in state["model"].values())
    run.train_supernet()
    whole = open_run(recipe_file, tmp_path / "whole")
    whole.train_supernet()
    assert not differing_files(whole.folder.path, run.folder.path)


def test_weights_that_are_no_numbers_are_never_saved(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_run(recipe_file, tmp_path / "run")
    real = EpochLoop.scale_rate
    steps = iter(range(1, 100))

    def overshoot(self: EpochLoop, optimiser: torch.optim.Optimizer, schedule: Any) -> None:
        real(self, optimiser, schedule)
        if next(steps) == 4:
            optimiser.param_groups[0]["lr"] = float("inf")

    monkeypatch.setattr(EpochLoop, "scale_rate", overshoot)
    with pytest.raises(TrainingError, match="weights are not finite after epoch 1, step 4"):
        run.train_supernet()
    state = read(run.folder.path / "checkpoints" / "supernet.checkpoint")
    assert state["loop"]["step"] == 3


def test_rollback_goes_on_from_the_epoch_with_half_the_rate(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = open_run(recipe_file, tmp_path / "run", "supernet.rollbacks=2")
    monkeypatch.setattr(sgd.F, "cross_entropy", Poison(8, 13))
    run.train_supernet()
    assert "rolled back to the start of epoch 2 with 0.5 times the learning rate (rollback 1 of 2)" in caplog.text
    assert "with 0.25 times the learning rate (rollback 2 of 2)" in caplog.text
    plain = open_run(recipe_file, tmp_path / "plain")
    monkeypatch.undo()
    plain.train_supernet()
    rates = [
        float((folder / "supernet.csv").read_text().splitlines()[1].split(",")[3])
        for folder in (run.folder.path, plain.folder.path)
    ]
    assert rates[0] == rates[1]  # the first epoch was not touched
    weights = [(folder / "supernet.safetensors").read_bytes() for folder in (run.folder.path, plain.folder.path)]
    assert weights[0] != weights[1]
    again = open_run(recipe_file, tmp_path / "again", "supernet.rollbacks=2")
    monkeypatch.setattr(sgd.F, "cross_entropy", Poison(8, 13, 17, 18, 19))
    with pytest.raises(TrainingError, match="the loss became nan in epoch 2"):
        again.train_supernet()


def test_memory_that_runs_out_is_explained(recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = open_run(recipe_file, tmp_path / "run")
    monkeypatch.setattr(supernet_stage, "train_supernet", lambda *_args, **_options: torch.empty(1 << 55))
    with pytest.raises(TrainingError, match=r"out of memory .*lower batch_size, or raise accumulate"):
        run.train_supernet()


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("could not create a primitive"),
        RuntimeError("could not create a primitive descriptor for a convolution forward propagation primitive"),
        RuntimeError("could not create a memory object"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("CUDA error: out of memory"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        MemoryError(),
    ],
    ids=str,
)
def test_every_message_of_missing_memory_is_explained(error: Exception) -> None:
    advice = "lower batch_size, or raise accumulate.*search.calibration_images"
    with pytest.raises(TrainingError, match=f"out of memory .*{advice}"), as_memory_error():
        raise error


def test_other_errors_are_not_taken_for_missing_memory() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), as_memory_error():
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


def test_accumulating_trains_on_the_same_batches(recipe_file: Path, tmp_path: Path) -> None:
    """Two parts of a batch give the gradients of the whole but for the norms, which see a part at a time."""
    for parts in (1, 2):
        open_run(recipe_file, tmp_path / str(parts), f"supernet.accumulate={parts}").train_supernet()
    rows = [(tmp_path / str(parts) / "supernet.csv").read_text().splitlines()[1].split(",") for parts in (1, 2)]
    assert float(rows[0][1]) == pytest.approx(float(rows[1][1]), rel=0.1)
    assert rows[0][1] != rows[1][1]


def test_sigterm_saves_and_says_so(recipe_file: Path, tmp_path: Path) -> None:
    """A polite stop within a step: exit code 143, one line, and the same command resumes it."""
    out = tmp_path / "run"
    command = [sys.executable, "-m", "anybudget", "supernet", str(recipe_file), "--out", str(out)]
    long = [*command, "--set", "supernet.epochs=4000", "--set", "checkpoint_seconds=0"]
    process = subprocess.Popen(long, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (out / "checkpoints" / "supernet.checkpoint").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert "what has been saved is kept" in err
    assert "Traceback" not in err
    assert read(out / "checkpoints" / "supernet.checkpoint")["schedule"]["last_epoch"] > 0


def test_a_second_stop_does_not_wait() -> None:
    from anybudget.runtime.signals import stop_requests

    def impatient() -> None:
        with stop_requests() as request:
            os.kill(os.getpid(), signal.SIGINT)
            assert request.made
            os.kill(os.getpid(), signal.SIGINT)
            raise AssertionError("still here")

    with pytest.raises(Stopped) as stopped:
        impatient()
    assert stopped.value.exit_code == 130
    StopRequest().check()  # nothing has been asked of a new one


def test_settings_edited_in_a_run_folder_are_noticed(recipe_file: Path, tmp_path: Path) -> None:
    run = open_run(recipe_file, tmp_path / "run")
    stop_after(3, run.train_supernet)
    recipe = run.folder.path / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("learning_rate = 0.05", "learning_rate = 0.1", 1))
    with pytest.raises(RunError, match=r"other settings \(recipe.supernet.learning_rate: 0.05 -> 0.1\)"):
        Run.open(run.folder.path).train_supernet()


def test_how_a_run_is_carried_out_may_change(
    recipe_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    open_run(recipe_file, tmp_path / "run").train_supernet()
    again = open_run(recipe_file, tmp_path / "run", "checkpoint_seconds=9", "threads=2")
    assert again.recipe.checkpoint_seconds == 9
    assert "resumes with checkpoint_seconds: 0.0 -> 9.0; threads: 1 -> 2" in caplog.text
    with pytest.raises(RunError, match="precision"):
        open_run(recipe_file, tmp_path / "run", "precision=bf16-mixed")


def test_a_supernet_that_was_trained_again_makes_its_searches_void(trained: Path) -> None:
    run = Run.open(trained)
    with run.context.evaluating("search random") as work:
        work.journal().add([((0, 0), {"loss": 1.0, "top1_percent": 1.0, "seconds": 0.0})])
        kept = (trained / "checkpoints" / "search-random.jsonl").read_bytes()
    (trained / "checkpoints").mkdir()
    (trained / "checkpoints" / "search-random.jsonl").write_bytes(
        kept.replace(json.dumps(run.folder.digest("supernet.safetensors")).encode(), b'"another"')
    )
    with pytest.raises(RunError, match=r"a search with other settings .supernet: 'another' ->"):
        Run.open(trained).search_with("random", run.recipe.budget_sets())


def test_unknown_devices_are_no_traceback() -> None:
    with pytest.raises(ConfigError):
        pick_device("nonsense")
