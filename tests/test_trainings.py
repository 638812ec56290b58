"""Architectures trained alone: the same as retraining gives, kept and used again, resumed, and damage is named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from anybudget.architecture import Architecture
from anybudget.errors import ArchitectureError, RunError
from anybudget.recipe import load_recipe
from anybudget.runs.doctor import examine_run
from anybudget.runs.run import Run
from anybudget.runs.trainings import FOLDER, Training, train_each, trained_before
from anybudget.testing import check_resume
from conftest import open_run


@pytest.fixture
def run(recipe_file: Path, tmp_path: Path) -> Run:
    return open_run(recipe_file, tmp_path / "run")


def networks(run: Run, count: int) -> list[Architecture]:
    rng = np.random.default_rng(0)
    return [run.space.sample(rng) for _ in range(count)]


def files(run: Run) -> list[str]:
    return sorted(path.name for path in (run.folder.path / FOLDER).iterdir())


def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is trained from now on fails."""
    monkeypatch.setattr("anybudget.runs.trainings.train_network", lambda *_args, **_named: 1 / 0)


def test_it_is_the_training_that_retrain_does(run: Run) -> None:
    (architecture,) = networks(run, 1)
    (result,) = train_each(run.context, [Training(architecture, run.recipe.seed)])
    same = run.retrain(architecture)
    found = result.to_json()
    assert {key: found[key] for key in same.keys() & found.keys() - {"seconds", "settings"}} == {
        key: same[key] for key in same.keys() & found.keys() - {"seconds", "settings"}
    }
    assert "test_loss" in found
    assert "validation_top1_percent" in found
    assert not (run.folder.path / "checkpoints").exists()


def test_what_was_trained_is_taken_from_disk(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = networks(run, 2)
    asked = [Training(first, 0), Training(first, 1), Training(second, 0), Training(first, 0)]
    found = train_each(run.context, asked)
    assert [(result.architecture, result.seed) for result in found] == [(t.architecture, t.seed) for t in asked]
    assert found[0] == found[3]
    assert found[0].to_json()["test_loss"] != found[1].to_json()["test_loss"]
    assert len(files(run)) == 3
    untrained(monkeypatch)
    assert train_each(Run.open(run.folder.path).context, asked) == found
    with pytest.raises(ZeroDivisionError):
        train_each(run.context, [Training(first, 0, epochs=2)])


def test_other_settings_are_another_training(run: Run, recipe_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (architecture,) = networks(run, 1)
    train_each(run.context, [Training(architecture, 0)])
    untrained(monkeypatch)
    again = Run.open(run.folder.path)
    # What decides answers, or how the work is carried out, decides no training.
    for harmless in ("retrain.inherit=true", "retrain.picks=[2]", "search.budgets=['macs<=50k']", "supernet.epochs=7"):
        again.recipe = load_recipe(recipe_file, [harmless])
        assert train_each(again.context, [Training(architecture, 0)])
    for change in ("retrain.learning_rate=0.1", "retrain.activation=hard_swish", "retrain.flip=true"):
        again.recipe = load_recipe(recipe_file, [change])
        assert trained_before(again.context, Training(architecture, 0)) is None
    assert trained_before(run.context, Training(architecture, 0, epochs=1)) is not None  # the recipe's own


def test_derived_networks_are_trained_and_their_costs_counted(run: Run, recipe_file: Path) -> None:
    (architecture,) = networks(run, 1)
    run.recipe = load_recipe(recipe_file, ["retrain.se_reduction=4"])
    (result,) = train_each(run.context, [Training(architecture, 0)])
    assert result.derived
    assert result.costs == run.retrain(architecture)["costs"]
    assert result.costs["params"] > run.costs["params"].cost(architecture)


def damage(text: str, **changes: object) -> str:
    return json.dumps({**json.loads(text), **changes})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda text: text[:50], "not JSON"),
        (lambda text: damage(text, test_top1_percent="much"), '"test_top1_percent" must be a number'),
        (lambda text: damage(text, seed=5), "holds another training than its name says"),
        (lambda text: damage(text, settings={}), "holds another training than its name says"),
    ],
)
def test_a_damaged_file_is_named_before_any_training(
    run: Run, monkeypatch: pytest.MonkeyPatch, content: object, message: str
) -> None:
    first, second = networks(run, 2)
    train_each(run.context, [Training(second, 0)])
    (path,) = (run.folder.path / FOLDER).iterdir()
    path.write_text(content(path.read_text()))  # type: ignore[operator]
    untrained(monkeypatch)
    with pytest.raises(RunError, match=f"{path.name}.*{message}.*; delete that file, and the network is trained again"):
        train_each(run.context, [Training(first, 0), Training(second, 0)])


def test_an_architecture_of_another_space_is_refused(run: Run) -> None:
    with pytest.raises(ArchitectureError, match="another"):
        train_each(run.context, [Training(Architecture("another", (0,)), 0)])


class Bar:
    """Progress that remembers its bars."""

    def __init__(self) -> None:
        self.bars: list[tuple[str, int]] = []
        self.done = 0
        self.figures: list[str] = []

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Bar]:
        self.bars.append((name, total))
        yield self

    def advance(self, steps: int = 1, figure: str = "") -> None:
        self.done += steps
        self.figures.append(figure)


def test_one_bar_says_how_many_are_done_and_the_last_figure(run: Run) -> None:
    run.context.progress = bar = Bar()
    first, second = networks(run, 2)
    found = train_each(run.context, [Training(first, 0), Training(second, 0)], "worth")
    steps = len(run.data.train) // run.recipe.retrain.batch_size
    assert bar.bars == [("worth", 2 * steps)]
    assert bar.done == 2 * steps
    last = f"1 of 2 trained, last test top-1 {found[0].test_top1_percent:.2f}%"
    assert last in bar.figures
    assert any(figure.startswith(f"{last}; epoch 1/1 loss ") for figure in bar.figures)
    train_each(run.context, [Training(first, 0), Training(second, 0)], "worth")
    assert bar.done == 4 * steps


def test_what_a_kill_has_left_after_the_figures_were_written_is_removed(run: Run) -> None:
    (architecture,) = networks(run, 1)
    train_each(run.context, [Training(architecture, 0)])
    left = run.folder.path / "checkpoints" / f"worth-trained-{files(run)[0].removesuffix('.json')}.checkpoint"
    left.parent.mkdir()
    left.write_bytes(b"of a training whose figures are there")
    train_each(run.context, [Training(architecture, 0)])
    assert not left.exists()


def test_the_doctor_reads_the_figures(run: Run) -> None:
    train_each(run.context, [Training(architecture, 0) for architecture in networks(run, 2)])
    assert [check.found for check in examine_run(run.folder.path) if check.check == FOLDER] == ["2 trainings"]
    (run.folder.path / FOLDER / files(run)[0]).write_text("{")
    (check,) = [check for check in examine_run(run.folder.path) if check.check.startswith(FOLDER)]
    assert check.state == "problem"
    assert "delete that file, and the network is trained again" in check.found


def test_it_is_resumed_in_the_middle(run: Run, tmp_path: Path) -> None:
    trainings = [Training(architecture, seed, epochs=4) for architecture in networks(run, 2) for seed in (0, 1)]
    assert check_resume(
        run.folder.path, lambda path: train_each(Run.open(path).context, trainings), tmp_path / "scratch"
    )
