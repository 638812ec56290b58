"""Runs on images that stay on disk: the files of those in memory, after kills, and when images go wrong."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anybudget.data.on_disk import KeptSplit, StoredSplit
from anybudget.errors import DataError
from anybudget.recipe import load_recipe, reproducibility_settings
from anybudget.runs.run import Run
from anybudget.testing import check_resume
from anybudget.testing.interruption import differing_files
from anybudget.training.waiting import Waits, say_if_long
from conftest import RECIPE, call

ONCE = ["supernet.epochs=3", "retrain.epochs=2", "checkpoint_seconds=0"]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    for number in range(90):
        pixels = rng.integers(0, 80, (12, 10), dtype=np.uint8)
        pixels[:, 3 * (number % 3) : 3 * (number % 3) + 4] += 100
        file = tmp_path / "images" / "abc"[number % 3] / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE.format(source=tmp_path / "images"))
    return path


def begun(recipe: Path, folder: Path, *settings: str) -> Run:
    return Run.create(load_recipe(recipe, [*ONCE, *settings]), folder)


def test_a_run_on_disk_leaves_what_one_in_memory_leaves(recipe: Path, tmp_path: Path) -> None:
    runs = {keep: begun(recipe, tmp_path / keep, f"data.keep={keep}", "data.readers=2") for keep in ("disk", "memory")}
    for keep, run in runs.items():
        run.train_supernet()
        run.train_generator()
        assert isinstance(run.data.train, StoredSplit if keep == "disk" else KeptSplit)
    different = differing_files(tmp_path / "disk", tmp_path / "memory")
    assert set(different) == {"recipe.toml"}


@pytest.mark.slow
def test_a_run_on_disk_survives_kills(recipe: Path, tmp_path: Path) -> None:
    run = begun(recipe, tmp_path / "begin", "data.keep=disk", "data.readers=2")
    assert check_resume(run.folder.path, lambda path: Run.open(path).train_supernet(), tmp_path)


def test_how_images_are_read_may_be_changed_at_any_time(recipe: Path, tmp_path: Path) -> None:
    run = begun(recipe, tmp_path / "run")
    before = (tmp_path / "run" / "recipe.toml").read_text()
    assert "keep" not in before
    assert "readers" not in before
    others = load_recipe(recipe, [*ONCE, "data.keep=disk", "data.readers=3", "data.patience=9.5"])
    assert reproducibility_settings(others) == reproducibility_settings(run.recipe)
    assert isinstance(begun(recipe, tmp_path / "run", "data.keep=disk", "data.readers=0").data.train, StoredSplit)


def test_images_that_go_wrong_while_training_lose_no_step(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is saved on the way, but what is done before an image is missed."""
    settings = ("data.keep=disk", "data.readers=2", "checkpoint_seconds=1000000", "supernet.epochs=3")
    whole = begun(recipe, tmp_path / "whole", *settings)
    whole.train_supernet()
    run = begun(recipe, tmp_path / "run", *settings)
    _ = run.data
    file = tmp_path / "images" / "b" / "40.jpg"
    content = file.read_bytes()
    count = 0

    def vanish(_waits: Waits) -> str:
        nonlocal count
        count += 1
        if count == 4:  # steps
            for other in (tmp_path / "images").rglob("*.jpg"):
                other.rename(other.with_suffix(".away"))
        return ""

    monkeypatch.setattr(Waits, "__str__", vanish)
    with pytest.raises(DataError, match="is gone, and was there when the data were opened"):
        run.train_supernet()
    monkeypatch.undo()
    for other in (tmp_path / "images").rglob("*.away"):
        other.rename(other.with_suffix(".jpg"))
    assert file.read_bytes() == content
    assert (tmp_path / "run" / "checkpoints" / "supernet.checkpoint").exists()
    code, _, err = call(capsys, "supernet", tmp_path / "run")
    assert code == 0, err
    assert "supernet: resumes from epoch" in err
    assert not differing_files(tmp_path / "whole", tmp_path / "run")


def test_wrong_keys_are_named(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for setting, said in (
        ("data.keep=ram", "'auto', 'memory' or 'disk'"),
        ("data.readers=-1", 'data.readers: input should be a whole number from 0 to 1000, or "auto", found -1'),
        ("data.readers=2.5", "data.readers"),
        ("data.patience=0.0", "data.patience"),
    ):
        code, _, err = call(capsys, "run", recipe, "--out", tmp_path / "run", "--set", setting)
        assert code == 2
        assert said in err


def test_waiting_is_kept_for_each_epoch_and_said_where_it_is_long(
    recipe: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    begun(recipe, tmp_path / "run", "data.keep=disk").train_supernet()
    with (tmp_path / "run" / "supernet.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(0 < float(row["waiting_seconds"]) <= float(row["seconds"]) for row in rows)
    say_if_long("it", [{"seconds": 100.0, "waiting_seconds": 19.0}, {"seconds": 100.0, "waiting_seconds": 19.0}])
    assert "waiting for images" not in caplog.text
    say_if_long("it", [{"seconds": 100.0, "waiting_seconds": 19.0}, {"seconds": 100.0, "waiting_seconds": 31.0}])
    assert "it: 25% of its time went into waiting for images; more data.readers" in caplog.text


def test_the_share_of_waiting_is_shown_where_it_is_not_small() -> None:
    waits = Waits()
    for _ in waits.watched(iter("abcd")):
        time.sleep(0.01)
    assert str(waits) == ""

    def late() -> Iterator[str]:
        for letter in "abcd":
            time.sleep(0.01)
            yield letter

    waits = Waits(5.0)
    assert list(waits.watched(late())) == list("abcd")
    assert waits.seconds > 5.04
    assert int(str(waits).removeprefix(", ").removesuffix("% waiting for images")) > 50


def test_an_index_is_in_the_run_folder(recipe: Path, tmp_path: Path) -> None:
    begun(recipe, tmp_path / "run", "data.keep=disk").train_supernet()
    found = json.loads((tmp_path / "run" / "data.index.json").read_text())
    assert found["findings"]["channels"] == 1
    assert sum(found["counts"][0]) > 0
