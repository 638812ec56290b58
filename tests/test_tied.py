"""A run and its data: other data are refused with what differs, moved data are found, the doctor sees both."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from anybudget.errors import DataError, RunError
from anybudget.recipe import load_recipe
from anybudget.runs import doctor
from anybudget.runs.context import RunContext
from anybudget.runs.data_identity import FACTS, LISTING
from anybudget.runs.run import Run
from anybudget.runs.work import check_alike
from anybudget.runtime.distributed import Processes
from anybudget.runtime.progress import SilentProgress
from anybudget.storage.checkpoint import FileCheckpoint
from anybudget.storage.journal import Journal
from anybudget.storage.run_folder import RunFolder
from conftest import RECIPE, call
from stopping import stop_after

CLASSES = ("ant", "bee", "cat")


def write_folder(root: Path) -> Path:
    """Twenty grey images of each of three classes."""
    rng = np.random.default_rng(0)
    for name in CLASSES:
        (root / name).mkdir(parents=True)
        for number in range(20):
            Image.fromarray(rng.integers(0, 256, (8, 10), dtype=np.uint8)).save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, a recipe, and a run on them with a supernet."""
    folder = tmp_path_factory.mktemp("tied")
    write_folder(folder / "images")
    (folder / "r.toml").write_text(RECIPE.format(source=folder / "images").replace("epochs = 2", "epochs = 1"))
    Run.create(load_recipe(folder / "r.toml"), folder / "run").train_supernet()
    return folder


@pytest.fixture
def place(trained: Path, tmp_path: Path) -> Path:
    """A copy of `trained` of one's own, whose run has its images beside it."""
    folder = tmp_path / "place"
    shutil.copytree(trained, folder)
    for path in (folder / "r.toml", folder / "run" / "recipe.toml", folder / "run" / FACTS):
        path.write_text(path.read_text().replace(str(trained), str(folder)))
    return folder


def add_images(folder: Path, count: int = 12) -> None:
    for number in range(count):
        shutil.copy(folder / "images" / "cat" / "1.png", folder / "images" / "cat" / f"x{number}.png")


def data_check(run: Path, data: str | None = None) -> tuple[str, str]:
    found = doctor.examine(run, data=data)
    (check,) = (check for check in found["checks"] if check["check"] == "data")
    return check["state"], check["found"]


def search(run: Run) -> None:
    run.search_with("random", run.recipe.budget_sets()[:1])


def test_a_run_keeps_what_its_data_are(trained: Path) -> None:
    facts = json.loads((trained / "run" / FACTS).read_text())
    assert facts["class_names"] == list(CLASSES)
    assert (facts["classes"], facts["channels"], facts["height"], facts["width"]) == (3, 1, 8, 8)
    assert facts["source"] == str(trained / "images")
    assert facts["digest"] == Run.open(trained / "run").context.listing.digest
    assert data_check(trained / "run")[0] == "ok"


def test_images_added_after_training_are_refused_and_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_images(place)
    (place / "images" / "ant" / "3.png").unlink()
    said = "12 images were added, such as cat/x0.png; 1 image is missing: ant/3.png"
    for command in (f"search {place}/run --strategy random", f"generator {place}/run", f"rank {place}/run"):
        code, _, err = call(capsys, *command.split())
        assert code == 2
        assert said in err
        assert "put the data back as they were" in err
    state, found = data_check(place / "run")
    assert state == "problem"
    assert said in found


def test_a_killed_training_is_not_resumed_on_other_images(place: Path) -> None:
    run = Run.create(load_recipe(place / "r.toml"), place / "killed")
    stop_after(1, run.train_supernet)
    assert list((place / "killed" / "checkpoints").iterdir())
    add_images(place)
    with pytest.raises(RunError, match=r"12 images were added, such as cat/x0.png"):
        Run.open(place / "killed").train_supernet()


def test_moved_data_are_found_with_data_and_from_then_on(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "images").rename(place / "elsewhere")
    run = place / "run"
    code, _, err = call(capsys, "search", run, "--strategy", "random", "--budget", "macs<=30k")
    assert code == 2
    assert "say where with --data PATH" in err
    assert data_check(run)[0] == "problem"
    assert data_check(run, str(place / "elsewhere"))[0] == "ok"
    before = (run / "recipe.toml").read_bytes()
    asked = ("search", run, "--strategy", "random", "--budget", "macs<=30k")
    code, _, err = call(capsys, *asked, "--data", place / "elsewhere")
    assert code == 0, err
    assert "are read from" in err
    assert (run / "recipe.toml").read_bytes() == before
    assert call(capsys, *asked)[0] == 0
    assert data_check(run)[0] == "ok"
    # A recipe that names the old place goes on with the new one, and one that names a third with that.
    assert Run.create(load_recipe(place / "r.toml"), run).context.source == str(place / "elsewhere")
    shutil.copytree(place / "elsewhere", place / "third")
    assert call(capsys, "supernet", place / "r.toml", "--out", run, "--data", place / "third")[0] == 0
    again = Run.create(load_recipe(place / "r.toml", [f"data.source={place / 'third'}"]), run)
    assert again.context.listing.digest == json.loads((run / FACTS).read_text())["digest"]


def test_other_data_are_no_moved_data(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(place / "images", place / "other")
    (place / "other" / "bee" / "7.png").write_bytes(b"1")
    code, _, err = call(capsys, "search", place / "run", "--strategy", "random", "--data", place / "other")
    assert code == 2
    assert "1 image changed size: bee/7.png" in err
    assert json.loads((place / "run" / FACTS).read_text())["source"] == str(place / "images")


def test_a_run_of_an_older_version_is_tied_by_its_next_work(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept = (place / "run" / FACTS).read_bytes()
    for name in (FACTS, LISTING):
        (place / "run" / name).unlink()
    assert data_check(place / "run")[0] == "note"
    search(Run.open(place / "run"))
    assert "it is tied to these from now on" in caplog.text
    assert (place / "run" / FACTS).read_bytes() == kept
    # Nothing says that data elsewhere are the same, as long as it is not tied.
    for name in (FACTS, LISTING):
        (place / "run" / name).unlink()
    shutil.copytree(place / "images", place / "other")
    with pytest.raises(RunError, match=r"data.source: "):
        Run.create(load_recipe(place / "r.toml", [f"data.source={place / 'other'}"]), place / "run")


def test_a_listing_that_is_lost_leaves_the_digest(place: Path) -> None:
    add_images(place)
    (place / "run" / LISTING).write_bytes(b"no listing")
    with pytest.raises(RunError, match=r"their digests differ .the listing that would say in what cannot be read"):
        _ = Run.open(place / "run").data
    (place / "run" / FACTS).write_text("{}")
    with pytest.raises(RunError, match=r"data.json: no description of data of anybudget; put the file back"):
        _ = Run.open(place / "run").data
    assert data_check(place / "run")[0] == "problem"


def test_the_same_data_in_other_splits_are_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from anybudget.data import drawing

    draw = drawing.stratified
    monkeypatch.setattr(drawing, "stratified", lambda labels, fractions, seed: draw(labels, fractions, seed + 1))
    with pytest.raises(RunError, match="the same data, but in other splits"):
        _ = Run.open(place / "run").data


def test_images_that_are_unreadable_only_now_are_named(place: Path) -> None:
    recipe = place / "run" / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("skip_unreadable = 0", "skip_unreadable = 1"))
    image = place / "images" / "ant" / "4.png"
    image.write_bytes(bytes(image.stat().st_size))
    with pytest.raises(RunError, match=r"images left out as unreadable: none then, ant/4.png now"):
        _ = Run.open(place / "run").data


def test_other_pixels_in_files_of_the_same_size_are_noted(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    facts = json.loads((place / "run" / FACTS).read_text())
    facts["mean"] = [facts["mean"][0] + 1e-4]
    (place / "run" / FACTS).write_text(json.dumps(facts))
    _ = Run.open(place / "run").data
    assert "another version of Pillow decodes them otherwise" in caplog.text


def test_unfinished_work_says_which_data_it_was_begun_with(tmp_path: Path) -> None:
    settings = {"stage": "x", "recipe": {"seed": 0, "data": {"source": "/old"}}}
    tied = {"stage": "x", "recipe": {"seed": 0, "data": {}}, "data": {"digest": "a", "splits": "b"}}
    FileCheckpoint(tmp_path / "c", settings).save({"n": 1})
    assert FileCheckpoint(tmp_path / "c", tied).load() == {"n": 1}  # of an older version: says nothing of its data
    FileCheckpoint(tmp_path / "d", tied).save({"n": 1})
    Journal(tmp_path / "j", tied).add([((0,), {"loss": 1.0})])
    other = {**tied, "data": {"digest": "c", "splits": "b"}}
    for open_it in (lambda: FileCheckpoint(tmp_path / "d", other).load(), lambda: Journal(tmp_path / "j", other)):
        with pytest.raises(RunError, match=r"other data, or the same in other splits \(data.digest: 'a' -> 'c'\); put"):
            open_it()
    both = {**other, "stage": "y"}
    with pytest.raises(RunError, match=r"other settings \(stage: 'x' -> 'y'\); use those"):
        FileCheckpoint(tmp_path / "d", both).load()


def test_other_versions_are_noted_once(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = place / "run" / "provenance.json"
    noted = json.loads(path.read_text())
    path.write_text(json.dumps({**noted, "torch_version": "0.1"}))
    run = Run.open(place / "run")
    with caplog.at_level(logging.WARNING):
        search(run)
        search(run)
    assert caplog.text.count("was begun with torch 0.1, here ") == 1


def test_retraining_from_other_weights_is_not_resumed(place: Path) -> None:
    run = Run.open(place / "run")
    architecture = run.space.sample(np.random.default_rng(0))
    stop_after(1, lambda: run.retrain(architecture, inherit=True))
    supernet = run.supernet
    next(supernet.parameters()).data.add_(1)
    run.folder.save_weights("supernet.safetensors", supernet)
    with pytest.raises(RunError, match=r"other settings .supernet: "):
        Run.open(place / "run").retrain(architecture, inherit=True)


def test_a_data_set_that_is_gone_is_no_run_error_before_there_is_a_run(place: Path) -> None:
    shutil.rmtree(place / "images")
    with pytest.raises(DataError, match="no such file or folder: give the path") as caught:
        _ = RunContext(RunFolder(place / "new"), load_recipe(place / "r.toml"), SilentProgress()).data
    assert "--data" not in str(caught.value)


@pytest.mark.parametrize(("own", "others"), [("b", 0.0), ("a", 0.5), ("a", 0.0)])
def test_processes_that_train_together_have_the_same_data(own: str, others: float) -> None:
    class Second(Processes):
        """The second of two processes, as it sees the main one."""

        def same(self, value: Any) -> Any:
            return {**value, "data": {"digest": "a"}}

        def mean(self, values: Sequence[float]) -> list[float]:
            return [value / 2 + others for value in values]

    settings = {"stage": "supernet", "data": {"digest": own}}
    if (own, others) == ("a", 0.0):
        check_alike(Second(torch.device("cpu")), settings)
        return
    with pytest.raises(RunError, match=r"one of the processes that train together has other .*data"):
        check_alike(Second(torch.device("cpu")), settings)
