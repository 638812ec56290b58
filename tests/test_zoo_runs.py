"""Published networks trained on the data of a run: what is kept, what is refused, and that it is resumed."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import anybudget
from anybudget.cli.opening import references_of
from anybudget.errors import ConfigError, RunError
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from anybudget.spaces import UnifiedSettings, UnifiedSpace, stages
from anybudget.testing import check_resume
from anybudget.zoo import ZOO, Images
from conftest import RECIPE, call
from mistakes import missing

SIZE = 20


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grey images of 20 pixels in three classes, and what searches `unified` on them."""
    folder = tmp_path_factory.mktemp("zoo")
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    images = rng.integers(0, 90, (90, SIZE, SIZE)).astype(np.uint8)
    images[np.arange(90), 2 + 5 * labels] += 120
    np.savez(folder / "images.npz", x=images[:60], y=labels[:60], xt=images[60:], yt=labels[60:])
    path = folder / "tiny.toml"
    path.write_text(RECIPE.format(source=folder / "images.npz").replace("input_size = 8", f"input_size = {SIZE}"))
    return path


@pytest.fixture
def run(recipe: Path, tmp_path: Path) -> Run:
    return Run.create(load_recipe(recipe), tmp_path / "run")


def test_it_is_trained_kept_and_opened(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run.folder.path
    code, out, err = call(
        capsys, "retrain", folder, "--zoo", "mobilenetv2", "--zoo", "mixnet-m", "--json", "--workers", 1
    )
    assert code == 0, err
    first, second = json.loads(out)
    assert (first["zoo"], first["title"], second["zoo"]) == ("mobilenetv2", "MobileNetV2 1.0", "mixnet-m")
    assert "Sandler" in first["source"]
    images = Images(1, SIZE, 3)
    assert first["costs"]["macs"] == ZOO["mobilenetv2"].count("macs", images)
    assert second["costs"]["params"] == ZOO["mixnet-m"].count("params", images)
    assert json.loads((folder / "zoo" / "mobilenetv2" / "result.json").read_text()) == first
    network, facts = anybudget.load(folder / "zoo" / "mixnet-m")
    assert network(torch.zeros(2, 1, SIZE, SIZE)).shape == (2, 3)
    assert facts.classes == 3
    assert sum(parameter.numel() for parameter in network.parameters()) == second["costs"]["params"]
    code, out, _ = call(capsys, "doctor", folder)
    assert code == 0
    assert "zoo/mixnet-m" in out
    assert "Published networks" in run.report().read_text()


def test_another_training_keeps_the_former(run: Run) -> None:
    run.train_zoo(["spos"])
    again = run.train_zoo(["spos"])
    assert not (run.folder.path / "zoo" / "spos.1").exists()
    longer = run.train_zoo(["spos", "spos"], epochs=2)
    assert [result["epochs"] for result in longer] == [2, 2]
    former = json.loads((run.folder.path / "zoo" / "spos.1" / "result.json").read_text())
    assert former["test_top1_percent"] == again[0]["test_top1_percent"]
    assert former["epochs"] == 1


def test_it_is_what_was_published_whatever_is_added_to_answers(recipe: Path, tmp_path: Path) -> None:
    added = ["retrain.activation=hard_swish", "retrain.se_reduction=4"]
    run = Run.create(load_recipe(recipe, added), tmp_path / "run")
    (result,) = run.train_zoo(["mobilenetv2"])
    assert result["costs"]["params"] == ZOO["mobilenetv2"].count("params", Images(1, SIZE, 3))
    assert not {"activation", "se_reduction", "inherit"} & result["settings"].keys()
    assert result["settings"]["images"] == {"channels": 1, "size": SIZE, "classes": 3}


def test_training_is_resumed(recipe: Path, tmp_path: Path) -> None:
    run = Run.create(load_recipe(recipe, ["checkpoint_seconds=0", "retrain.epochs=3"]), tmp_path / "begin")
    assert check_resume(run.folder.path, lambda path: Run.open(path).train_zoo(["sgnas-c"]), tmp_path, kills=2)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ("", "--zoo NAME: anybudget zoo lists them"),
        ("candidates.jsonl --zoo spos", "give either --zoo NAME"),
        ("--zoo spos --inherit", "--inherit: network of the zoo has no weights"),
        ("--zoo sgnas", "sgnas: sgnas-a sgnas-b mixnet-m"),
    ],
)
def test_what_cannot_be_trained_is_said(
    arguments: str, names: str, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = call(capsys, "retrain", run.folder.path, *arguments.split())
    assert (code, out) == (2, "")
    assert not missing(names, err)
    assert not (run.folder.path / "zoo").exists()


def test_small_images_are_refused_before_any_work(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "retrain", finished, "--zoo", "sgnas-a")
    assert code == 2
    assert not missing("sgnas-a: images of 8 pixels are a single pixel; 17 space.input_size", err)
    assert not (finished / "zoo").exists()


def test_a_damaged_network_names_its_file(run: Run) -> None:
    run.train_zoo(["spos"])
    path = run.folder.path / "zoo" / "spos" / "network.json"
    described = json.loads(path.read_text())
    path.write_text(json.dumps({**described, "zoo": "none"}))
    with pytest.raises(RunError, match=r"network.json: damaged: unknown network of the zoo 'none'"):
        anybudget.load(path.parent)


def test_a_network_of_the_run_s_space_is_a_reference(run: Run) -> None:
    """It is compared at the widths of the run's space; only the decisions have to be the same."""
    with pytest.raises(ConfigError, match=r"sgnas-a: is no architecture of this run's space \(unified, 2 decisions"):
        references_of(run, ["sgnas-a"])
    with pytest.raises(ConfigError, match=r"NAME=FILE.* or a network of the zoo: sgnas-a"):
        references_of(run, ["sgnas"])
    settings = {"input_size": 32, "input_channels": 1, "classes": 3, "stem_width": 4}
    same = UnifiedSpace(UnifiedSettings(**settings, stages=stages((4, 2, 2), (6, 17, 2))))
    ((name, architecture),) = references_of(SimpleNamespace(space=same), ["sgnas-b"])  # type: ignore[arg-type]
    published = ZOO["sgnas-b"].found()
    assert published is not None
    assert (name, architecture) == ("sgnas-b", published[1])
    same.validate(architecture)
