"""Snapshots of a supernet in training, and how it orders networks over its training."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from anybudget.errors import ConfigError, RunError
from anybudget.recipe import load_recipe
from anybudget.runs.doctor import examine
from anybudget.runs.run import Run
from anybudget.runs.snapshots import UNFINISHED, Snapshots, load_snapshots
from conftest import call, open_run
from stopping import stop_after

EVERY = "supernet.snapshots=2"


def there(run: Run) -> list[str]:
    """The names of the snapshots."""
    return sorted(path.name for path in (run.folder.path / "snapshots").glob("*"))


def weights(path: Path) -> dict[str, torch.Tensor]:
    """What training moves: all but statistics of norms, which are gathered in the end."""
    return {key: value for key, value in load_file(path).items() if "running" not in key and "tracked" not in key}


def test_the_weights_are_kept_as_they_were(recipe_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The last one has the weights that training ends with, and the others differ."""
    run = open_run(recipe_file, tmp_path / "run", "supernet.epochs=2", "supernet.ema=0.5", "supernet.snapshots=1")
    with caplog.at_level(logging.INFO):
        run.train_supernet()
    assert "supernet: 2 snapshots of " in caplog.text
    assert there(run) == ["epoch-0001.safetensors", "epoch-0002.safetensors"]
    first, last = (weights(run.folder.path / "snapshots" / name) for name in there(run))
    final = weights(run.folder.path / "supernet.safetensors")
    assert final
    assert all(torch.equal(last[key], value) for key, value in final.items())
    assert not all(torch.equal(first[key], value) for key, value in final.items())
    loaded = {epoch: net.state_dict() for epoch, net in load_snapshots(run.context)}
    assert list(loaded) == [1, 2]
    assert all(torch.equal(loaded[1][key], value) for key, value in first.items())


@pytest.mark.slow
def test_a_stopped_training_leaves_those_of_the_former_supernet(recipe_file: Path, tmp_path: Path) -> None:
    """Until it has ended; then its own, and no others, are there: those of epochs that the former had, too."""
    plain = open_run(recipe_file, tmp_path / "plain", "supernet.epochs=4", EVERY)
    plain.train_supernet()
    run = open_run(recipe_file, tmp_path / "run", "supernet.epochs=6", EVERY, "supernet.learning_rate=0.01")
    run.train_supernet()
    before = {name: (run.folder.path / "snapshots" / name).read_bytes() for name in there(run)}
    run.recipe = plain.recipe
    steps_per_epoch = len(run.data.train) // 16
    stop_after(2 * steps_per_epoch + 1, run.train_supernet)
    assert there(run) == [*before, "unfinished"]
    assert all((run.folder.path / "snapshots" / name).read_bytes() == content for name, content in before.items())
    run.train_supernet()
    assert there(run) == there(plain)
    for name in there(plain):
        kept = [(opened.folder.path / "snapshots" / name).read_bytes() for opened in (run, plain)]
        assert kept[0] == kept[1]


def test_what_a_kill_at_the_end_leaves_is_completed(recipe_file: Path, tmp_path: Path) -> None:
    """Some have been put in place and others have not; one is of a longer training before."""
    run = open_run(recipe_file, tmp_path / "run")
    folder = run.folder.path / "snapshots"
    (run.folder.path / UNFINISHED).mkdir(parents=True)
    for path, content in (
        (folder / "epoch-0002.safetensors", "new"),
        (folder / "epoch-0006.safetensors", "old"),
        (folder / "unfinished" / "epoch-0004.safetensors", "new"),
        (folder / "unfinished" / "epoch-0006.safetensors", "of other work"),
    ):
        path.write_text(content)
    Snapshots(run.folder, 2).finish(5)
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "epoch-0002.safetensors": "new",
        "epoch-0004.safetensors": "new",
    }
    Snapshots(run.folder, 0).finish(5)
    assert not folder.exists()


def test_rank_over_training(recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = open_run(recipe_file, tmp_path / "run", "supernet.epochs=4", EVERY)
    run.train_supernet()
    code, out, err = call(capsys, "rank", run.folder.path, "--paths", "4", "--images", "9", "--snapshots")
    assert code == 0, err
    assert "over training" in out
    found = json.loads((run.folder.path / "rank.json").read_text())
    assert [row["epoch"] for row in found["snapshots"]] == [2, 4]
    last, trained = found["snapshots"][-1], found["supernets"]["trained"]
    assert last["rows"] == trained["rows"], "the last epoch is that of the trained supernet"
    assert last["trained_loss"] == {"kendall": 1.0, "spearman": 1.0}
    assert found["snapshots"][0]["top1_percent"] != trained["top1_percent"]
    assert any(check["check"] == "snapshots/epoch-0002.safetensors" for check in examine(run.folder.path)["checks"])
    (run.folder.path / "snapshots" / "epoch-0002.safetensors").write_bytes(b"no weights")
    with pytest.raises(RunError, match=r"epoch-0002.safetensors: damaged"):
        list(load_snapshots(run.context))


def test_mistakes_are_said(recipe_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"supernet.snapshots: weights are to be kept after every 3 epochs, and"):
        load_recipe(recipe_file, ["supernet.snapshots=3"])
    run = open_run(recipe_file, tmp_path / "run", "supernet.epochs=1")
    run.train_supernet()
    with pytest.raises(RunError, match=r"run: has no snapshots of its supernet; train one with supernet.snapshots"):
        run.rank(4, [9], snapshots=True)
    assert "snapshots" not in (run.folder.path / "recipe.toml").read_text()
