"""The command `health` on a tiny recipe: its record, the report, kills, and what is asked for in vain."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from anybudget.architecture import Architecture
from anybudget.data import DataSplits
from anybudget.errors import ConfigError
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from anybudget.runs.stages import health as stage
from anybudget.storage.records import Health, read_record
from anybudget.testing import check_resume
from anybudget.worth.health import HealthSettings
from conftest import RECIPE, call, write_images
from html_tree import parse

SETTINGS = HealthSettings(networks=4, seeds=2, epochs=1)
ARGUMENTS = ("--networks", "4", "--epochs", "1")


@pytest.fixture
def small_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "POOL", 12)
    monkeypatch.setattr(stage, "RECALIBRATED", 5)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe `tiny.toml`, `run` with a supernet and nothing else, and `judged`, whose health has been looked at."""
    folder = tmp_path_factory.mktemp("health")
    (folder / "tiny.toml").write_text(RECIPE.format(source=write_images(folder / "images.npz")))
    Run.create(load_recipe(folder / "tiny.toml"), folder / "run").train_supernet()
    shutil.copytree(folder / "run", folder / "judged")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "POOL", 12)
        patch.setattr(stage, "RECALIBRATED", 5)
        Run.open(folder / "judged").health(SETTINGS)
    return folder


@pytest.fixture
def trained(begun: Path, tmp_path: Path) -> Path:
    """A copy of `run`."""
    return Path(shutil.copytree(begun / "run", tmp_path / "run"))


@pytest.fixture
def judged(begun: Path, tmp_path: Path) -> Path:
    """A copy of `judged`."""
    return Path(shutil.copytree(begun / "judged", tmp_path / "judged"))


@pytest.mark.usefixtures("small_pools")
def test_the_command_judges_by_trained_networks(judged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = sorted((judged / "worth" / "trained").iterdir())
    stamps = [path.stat().st_mtime_ns for path in files]
    code, out, err = call(capsys, "health", judged, *ARGUMENTS, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert json.loads((judged / "health.json").read_text()) == found
    assert not (judged / "health.1.json").exists()  # it says the same as before
    assert [path.stat().st_mtime_ns for path in files] == stamps  # and nothing was trained again
    assert (found["epochs"], found["seeds"], found["validation_images"]) == (1, 2, 36)
    run = Run.open(judged)
    for key, pool in (("equal_cost", 12), ("whole_space", 12)):
        order = found[key]
        assert order["pool"]["networks"] == pool
        assert len(order["networks"]) == order["judgement"]["networks"] == 4
        losses = [network["supernet_loss"] for network in order["networks"]]
        assert losses == sorted(losses)
        scores = run.evaluator.scores([network_of(network) for network in order["networks"]])
        assert losses == pytest.approx([score.loss for score in scores])
    limit = run.recipe.budget_sets()[1].limits()["macs"]
    assert found["equal_cost"]["budgets"] == {"macs": limit, "params": 1500}
    costs = [network["costs"]["macs"] for network in found["equal_cost"]["networks"]]
    assert max(costs) <= limit
    assert min(costs) >= 0.9 * 0.9 * limit  # of what both budgets allow, which is a little less
    assert found["verdict"]["sentences"]
    values = {json.loads(path.read_text())["test_top1_percent"] for path in files}
    assert {
        v for key in ("equal_cost", "whole_space") for n in found[key]["networks"] for v in n["test_top1_percent"]
    } == (values)
    code, out, err = call(capsys, "health", judged, *ARGUMENTS)
    assert code == 0, err
    assert f"verdict: {found['verdict']['state']}" in out
    assert "supernet loss" in out
    page = parse((judged / "report.html").read_text())
    (section,) = [node for node in page.find("section") if node.attributes.get("id") == "health"]
    for sentence in (*found["verdict"]["sentences"], *found["verdict"]["advice"]):
        assert sentence in section.text()
    assert len(section.find("svg")) == 2
    assert sum(len(picture.find("circle")) for picture in section.find("svg")) == 8


def network_of(network: dict[str, Any]) -> Architecture:
    return Architecture.from_dict(network["architecture"])


@pytest.mark.usefixtures("small_pools")
def test_one_seed_another_budget_and_the_epochs_of_the_recipe(trained: Path) -> None:
    run = Run.open(trained)
    budgets = run.recipe.budget_sets()[0]
    found = run.health(HealthSettings(networks=3, seeds=1, budgets=budgets))
    assert found["epochs"] == run.recipe.retrain.epochs
    assert found["equal_cost"]["budgets"] == budgets.limits()
    assert found["equal_cost"]["judgement"]["seeds"] is None
    assert any("--seeds 2" in advice for advice in found["verdict"]["advice"])
    record = read_record(trained / "health.json", Health)
    assert record is not None
    assert record.to_json() == json.loads((trained / "health.json").read_text())


@pytest.mark.usefixtures("small_pools")
def test_scores_look_at_no_test_image(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_self: DataSplits) -> None:
        raise AssertionError("the test split was looked at")

    def no_trainings(*_arguments: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(stage, "train_each", no_trainings)
    run = Run.open(trained)
    _ = run.data, run.context.listing
    monkeypatch.setattr(DataSplits, "test", refused)
    with pytest.raises(ZeroDivisionError):  # all has been scored
        run.health(SETTINGS)


@pytest.mark.slow
@pytest.mark.usefixtures("small_pools")
def test_killed_and_resumed_it_finds_the_same(trained: Path, tmp_path: Path) -> None:
    assert check_resume(trained, lambda path: Run.open(path).health(SETTINGS), tmp_path / "kills", kills=2)


@pytest.mark.usefixtures("small_pools")
def test_scores_of_a_killed_one_serve_another_question(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "train_each", lambda *_arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Run.open(trained).health(SETTINGS)
    journals = sorted(path.name for path in (trained / "checkpoints").iterdir())
    assert journals == ["health-recalibrated.jsonl", "health-scores.jsonl"]
    monkeypatch.undo()
    monkeypatch.setattr(stage, "POOL", 12)
    monkeypatch.setattr(stage, "RECALIBRATED", 5)
    Run.open(trained).health(HealthSettings(networks=3, seeds=1, epochs=1))
    assert not (trained / "checkpoints").exists()


@pytest.mark.usefixtures("small_pools")
def test_what_is_asked_for_in_vain_is_named(
    trained: Path, recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*arguments: object) -> str:
        code, _, error = call(capsys, "health", *arguments)
        assert code == 2
        return error

    assert "Invalid value for '--networks'" in refused(trained, "--networks", "2")
    assert "Invalid value for '--seeds'" in refused(trained, "--seeds", "0")
    assert "networks: 900 were asked for" in refused(trained, "--networks", "900", "--budget", "macs<=31k")
    assert "cannot be met" in refused(trained, "--budget", "macs<=1")
    bare = tmp_path / "bare"
    Run.create(load_recipe(recipe_file), bare)
    assert "supernet" in refused(bare)


def test_a_space_with_too_few_networks_is_named(tmp_path: Path, image_file: Path) -> None:
    recipe = tmp_path / "few.toml"
    recipe.write_text(
        f"""
name = "few"
[data]
source = "{image_file}"
[space]
name = "mbconv"
input_size = 8
input_channels = 1
classes = 3
stem_width = 4
first_width = 0
stages = [{{ width = 4, repeats = 1, stride = 2 }}, {{ width = 4, repeats = 1, stride = 1 }}]
head_width = 8
operations = ["skip", "k3_e3"]
[supernet]
sampler = "uniform"
epochs = 1
batch_size = 16
learning_rate = 0.05
[search]
budgets = ["macs<=60k"]
random_window = 0.0
[retrain]
epochs = 1
batch_size = 16
learning_rate = 0.05
"""
    )
    run = Run.create(load_recipe(recipe), tmp_path / "few")
    with pytest.raises(
        ConfigError, match=r"networks: 5 were asked for, and .* has \d; (ask for fewer|an order needs 3)"
    ):
        run.health(HealthSettings(networks=5))


def test_too_few_validation_images_are_named_before_any_work(recipe_file: Path, tmp_path: Path) -> None:
    run = Run.create(load_recipe(recipe_file, ["data.validation_fraction=0.03"]), tmp_path / "run")
    assert len(run.data.validation) == 3
    with pytest.raises(ConfigError, match="3 validation images are too few for two halves"):
        run.health(SETTINGS)


@pytest.mark.usefixtures("small_pools")
def test_a_damaged_record_is_named(judged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = judged / "health.json"
    values = json.loads(record.read_text())
    values["equal_cost"]["networks"] = values["equal_cost"]["networks"][1:]
    record.write_text(json.dumps(values))
    code, _, error = call(capsys, "report", judged)
    assert code == 2
    assert 'health.json: "equal_cost": "networks" must hold the 4 that were judged, found 3' in error
    code, out, _ = call(capsys, "doctor", judged)
    assert code == 2
    assert "health.json" in out
    assert f"anybudget health {judged}" in " ".join(out.split())


@pytest.mark.usefixtures("small_pools")
def test_a_new_supernet_takes_its_health_with_it(judged: Path) -> None:
    Run.open(judged).train_supernet()
    assert not (judged / "health.json").exists()
    assert (judged / "health.1.json").exists()
