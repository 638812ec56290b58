"""The run folder: atomic writes, finished stages, damaged files."""

import json
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from anybudget.errors import RunError
from anybudget.storage.run_folder import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", {"name": "tiny", "seed": 3})


def test_create_writes_recipe_and_provenance(run: RunFolder) -> None:
    assert run.recipe() == {"name": "tiny", "seed": 3}
    facts = json.loads((run.path / "provenance.json").read_text())
    assert facts["seed"] == 3
    assert facts["torch_version"] == torch.__version__
    assert {"git_commit", "created", "platform"} <= set(facts)


def test_create_keeps_what_is_there(run: RunFolder) -> None:
    run.finish("supernet", 1.5)
    again = RunFolder.create(run.path, {"name": "other"})
    assert again.recipe()["name"] == "tiny"
    assert again.finished("supernet")
    assert not again.finished("generator")


def test_a_folder_with_other_things_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match="not empty"):
        RunFolder.create(tmp_path, {"name": "tiny"})
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("calls", [1, 2, 3, 4])
def test_a_run_that_cannot_be_begun_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    left = calls
    synchronise = os.fsync

    def broken(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            raise OSError(28, "No space left on device")
        synchronise(descriptor)

    monkeypatch.setattr("os.fsync", broken)
    with pytest.raises(RunError, match="No space left"):
        RunFolder.create(tmp_path / "new" / "run", {"name": "tiny"})
    assert not list(tmp_path.iterdir())


def test_opening_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run folder"):
        RunFolder.open(tmp_path)


def test_a_failed_write_leaves_the_old_file(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    run.write_text("a.txt", "old")

    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", broken)
    with pytest.raises(RunError, match=r"a\.txt: cannot write.*No space left"):
        run.write_text("a.txt", "new")
    assert (run.path / "a.txt").read_text() == "old"
    assert not list(run.path.glob(".a.txt.*"))


def test_lines_append_and_damage_is_named(run: RunFolder) -> None:
    run.append_lines("x.jsonl", [{"a": 1}])
    run.append_lines("x.jsonl", [{"a": 2}])
    assert run.read_lines("x.jsonl") == [{"a": 1}, {"a": 2}]
    assert run.read_lines("none.jsonl") == []
    for damage, message in (
        (b'{"a"', "line 2: not JSON: Expecting ':' delimiter"),
        (b"\xff", "line 2: not JSON: 'utf-8' codec"),
        (b"[" * 100_000, "line 2: not JSON: nested too deeply"),
        (b"3", "line 2: expected a JSON object, found 3"),
    ):
        (run.path / "x.jsonl").write_bytes(b'{"a": 1}\n' + damage)
        with pytest.raises(RunError, match=rf"x\.jsonl, {message}"):
            run.read_lines("x.jsonl")
    (run.path / "folder.jsonl").mkdir()
    with pytest.raises(RunError, match=r"folder\.jsonl: cannot be read: Is a directory"):
        run.read_lines("folder.jsonl")


def test_weights_round_trip_and_are_no_pickle(run: RunFolder) -> None:
    torch.manual_seed(0)
    first, second = (nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)) for _ in range(2))
    first.to(memory_format=torch.channels_last)
    run.save_weights("w.safetensors", first)
    run.load_weights("w.safetensors", second)
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    header = (run.path / "w.safetensors").read_bytes()[8:200]
    assert header.startswith(b'{"')


def test_bad_weights_are_named(run: RunFolder) -> None:
    net = nn.Linear(2, 3)
    with pytest.raises(RunError, match=r"w\.safetensors: missing"):
        run.load_weights("w.safetensors", net)
    (run.path / "w.safetensors").write_bytes(b"not a checkpoint")
    with pytest.raises(RunError, match="damaged or not safetensors"):
        run.load_weights("w.safetensors", net)
    torch.save(net.state_dict(), run.path / "w.safetensors")  # a pickle under the right name is not loaded
    with pytest.raises(RunError, match="damaged or not safetensors"):
        run.load_weights("w.safetensors", net)
    run.save_weights("w.safetensors", nn.Linear(2, 4))
    with pytest.raises(RunError, match="weights of another network"):
        run.load_weights("w.safetensors", net)


def test_weights_that_are_no_weights_are_named(run: RunFolder) -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    run.save_weights("w.safetensors", net.half())
    with pytest.raises(RunError, match=r"w\.safetensors: damaged: the tensor 0\.weight holds torch\.float16, expected"):
        run.load_weights("w.safetensors", net.float())
    with torch.no_grad():
        net[1].running_var[1] = float("inf")
    run.save_weights("w.safetensors", net)
    with pytest.raises(RunError, match=r"the tensor 1\.running_var holds numbers that are not finite; delete .*stages"):
        run.load_weights("w.safetensors", net)
    run.save_weights("w.safetensors", nn.Sequential())
    with pytest.raises(RunError, match=r"7 of 7 tensors are missing, the first 0\.weight; delete"):
        run.load_weights("w.safetensors", net)


@pytest.mark.parametrize("text", ["{", "[]", "3", "[" * 100_000, "\xff"])
def test_damaged_stages_are_named(run: RunFolder, text: str) -> None:
    (run.path / "stages.json").write_text(text)
    with pytest.raises(RunError, match=r"stages\.json.*; delete it to run all stages again"):
        run.finished("supernet")


def test_a_missing_stage_names_its_command(run: RunFolder) -> None:
    with pytest.raises(RunError, match="run: anybudget supernet"):
        run.require("supernet", f"supernet {run.path}")
