"""Checkpoints and journals that are damaged, of other settings, or made to run code when read."""

from __future__ import annotations

import io
import json
import logging
import os
import pickle
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from anybudget.cli import process as cli
from anybudget.errors import RunError
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from anybudget.storage.checkpoint import FileCheckpoint
from anybudget.storage.journal import Journal
from conftest import open_run
from stopping import stop_after

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
    """No unpickling and no evaluation of text; NumPy archives are opened with pickles refused.

    What the two files of latencies unpickle comes through a pipe from the process that started them, and from no file.
    """
    forbidden = re.compile(
        r"\b(pickle|dill|joblib|marshal|shelve)\b\.|torch\.load\(|(?<![.\w])(eval|exec)\(|yaml\.|__import__"
    )
    files = sorted(SOURCE.rglob("*.py"))
    assert len(files) > 100
    piped = {SOURCE / "latency" / name for name in ("fresh.py", "runtimes.py")}
    assert not [path for path in piped if re.search(r"(?<![.\w])open\(|read_bytes\(", path.read_text())]
    lines = [(path, line) for path in files if path not in piped for line in path.read_text().splitlines()]
    assert not [f"{path}: {line}" for path, line in lines if forbidden.search(line)]
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
