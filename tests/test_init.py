"""`init`, `estimate` and `run DATA`: from a folder of images to a recipe, to what it takes, to networks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anybudget.planning.timing import StepTimes, Time
from anybudget.planning.workload import Images
from anybudget.recipe import load_recipe, resolved
from anybudget.runs import planning
from anybudget.runs.context import RunContext
from anybudget.runs.estimate import estimate
from anybudget.runs.planning import Asked, plan
from anybudget.runs.probe import Part, Probe
from anybudget.storage.run_folder import RunFolder
from conftest import call
from mistakes import missing

QUICK = [
    part
    for text in (
        "supernet.epochs=1", "generator.epochs=1", "generator.batch_size=8", "search.generator.candidates=2",
        "search.random_baseline=1", "search.race.candidates=2", "search.race.epochs_per_round=0.1", "retrain.epochs=1",
        "search.calibration_images=16", 'search.budgets=["macs<=2M"]', "retrain.picks=[1]",
    )
    for part in ("--set", text)
]  # fmt: skip


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ninety small pictures of two uneven classes, in the current folder."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name, count, bright in (("dark", 72, 0), ("light", 18, 120)):
        folder = tmp_path / "pictures" / name
        folder.mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(bright, bright + 100, (36, 33, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "pictures"


@pytest.fixture
def a_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every probe finds the same times, at once."""

    def found(run: RunContext, seconds: float) -> Probe:
        del seconds
        networks = tuple(Time(0.02, 0.02) for _ in run.recipe.search.budgets)
        one = Time(0.1, 0.1)
        data = run.data
        counts = Images(len(data.train), len(data.validation), len(data.test()))
        return Probe(StepTimes(one, one, one, one, one, networks, one), counts, 2**28, 0, 1, 1)

    monkeypatch.setattr(planning, "probe", found)


def test_three_commands_lead_from_a_folder_to_a_network(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "FIRST_SECONDS", 0.05)
    monkeypatch.setattr(planning, "SECONDS", 0.1)
    code, out, err = call(capsys, "init", "pictures", "--hours", 2, "--device", "cpu")
    assert code == 0, err
    assert "anybudget run pictures.toml" in out
    recipe = load_recipe(tmp_path / "pictures.toml")
    assert recipe.data.source == str(pictures)
    assert (recipe.space.input_size, recipe.space.input_channels, recipe.space.classes) == (32, 3, 2)
    assert recipe.supernet.class_balance == 1.0
    assert (recipe.device, recipe.retrain.picks) == ("cpu", [1, 2, 3])
    assert "4.0 times the smallest" in (tmp_path / "pictures.toml").read_text()

    code, out, err = call(capsys, "estimate", "pictures.toml", "--seconds", 1, "--json", *QUICK)
    assert code == 0, err
    found = json.loads(out)
    assert set(found["stages"]) == {"start", "supernet", "generator", "search", "race", "random", "retrain"}
    assert all(took["seconds"] >= 0 and took["processor_seconds"] >= 0 for took in found["stages"].values())
    assert found["total"]["seconds"] == pytest.approx(sum(took["seconds"] for took in found["stages"].values()))
    assert all(found["least"][name]["seconds"] <= took["seconds"] for name, took in found["stages"].items())
    assert found["least_total"]["seconds"] == pytest.approx(sum(took["seconds"] for took in found["least"].values()))
    assert min(found["memory_bytes"], found["disk_bytes"], found["threads"], found["workers"]) > 0
    assert not (tmp_path / "runs").exists()

    code, out, err = call(capsys, "run", "pictures.toml", *QUICK)
    assert code == 0, err
    trained = json.loads((tmp_path / "runs" / "pictures" / "supernet.json").read_text())
    assert trained["images_trained"] == found["images_trained"]["supernet"]
    (network,) = (tmp_path / "runs" / "pictures" / "retrain").iterdir()
    assert json.loads((network / "result.json").read_text())["costs"]["macs"] <= 2e6


@pytest.mark.usefixtures("a_clock")
def test_a_plan_is_what_is_written(pictures: Path, tmp_path: Path) -> None:
    planned = plan(str(pictures), Asked(hours=2.0, like="mobilenetv2 x0.5"))
    (tmp_path / "written.toml").write_text(planned.text)
    assert resolved(load_recipe(tmp_path / "written.toml")) == resolved(planned.recipe)
    assert len(planned.recipe.search.budgets) == 1
    assert "MobileNetV2 times 0.5" in planned.text
    assert planned.estimate.total.seconds <= 2 * 3600


@pytest.mark.usefixtures("a_clock")
def test_a_folder_is_run_as_it_is(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    del pictures
    code, _, err = call(capsys, "run", "pictures", *QUICK)
    assert code == 0, err
    assert "a recipe is planned for it" in err
    kept = tmp_path / "runs" / "pictures" / "planned.toml"
    assert "# " in kept.read_text()
    code, _, err = call(capsys, "run", "pictures", *QUICK)  # resumed by the recipe that is there
    assert code == 0, err
    assert "planned" not in err
    assert "retrain: finished before, kept" in err


def test_a_data_set_is_not_run_into_another_run(
    pictures: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = call(capsys, "run", pictures, "--out", finished)
    assert code == 2
    assert not missing("run: --out", err)


@pytest.mark.usefixtures("a_clock")
def test_a_recipe_is_not_replaced_unasked(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    del pictures
    (tmp_path / "pictures.toml").write_text("mine")
    code, _, err = call(capsys, "init", "pictures")
    assert code == 2
    assert not missing("pictures.toml: is there already; --force", err)
    assert (tmp_path / "pictures.toml").read_text() == "mine"
    code, _, err = call(capsys, "init", "pictures", "--hours", 2, "--force")
    assert code == 0, err
    assert load_recipe(tmp_path / "pictures.toml").name == "pictures"


@pytest.mark.usefixtures("a_clock")
@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ("init none", "none: no such file or folder"),
        ("init empty", "empty: not recognised as a data set"),
        ("init hollow", "hollow: class 'a' has 0"),
        ("init lonely", "lonely: has 1 class"),
        ("init few", "few: 32 or more"),
        ("init pictures --hours 0", "--hours 0"),
        ("init pictures --hours nan", "--hours nan"),
        ("init pictures --hours 0.0001", "--hours 0.0001: give --hours"),
        ("init pictures --device nonesuch", "device: 'nonesuch'"),
        ("init pictures --budget macs<=3", "budget macs<=3 cannot be met"),
        ("init pictures --budget macs<=9T", "macs<=9T: is no limit"),
        ("init pictures --budget speed<=3", "unknown cost 'speed'"),
        ("init pictures --like resnet", "--like 'resnet'"),
        ("init pictures --like mobilenetv2 --budget macs<=1M", "--budget --like"),
        ("init pictures --out recipe.yaml", "--out recipe.yaml: .toml"),
        ("run few", "few: 32 or more"),
        ("estimate none.toml", "none.toml: no such recipe"),
    ],
)
def test_what_cannot_be_planned_is_said(
    arguments: str, names: str, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    for place in ("hollow/a", "hollow/b", "lonely/a", "few/a", "few/b"):
        (tmp_path / place).mkdir(parents=True)
    for name in ("lonely/a", "few/a", "few/b"):
        for file in sorted((pictures / "dark").iterdir())[:8]:
            (tmp_path / name / file.name).write_bytes(file.read_bytes())
    code, out, err = call(capsys, *arguments.split())
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    assert not missing(names, err), err
    assert not list(tmp_path.glob("*.toml"))
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("a_clock")
def test_an_estimate_counts_workers_and_writes_nothing(recipe_file: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    run = RunContext(RunFolder(tmp_path / "run"), load_recipe(recipe_file))
    run.asked_workers = 2
    found = estimate(run, seconds=0.1)
    assert found.workers == 2
    assert sorted(tmp_path.rglob("*")) == before
    part = Part(run.data, 5, 7)
    assert (len(part.train), len(part.validation), len(part.test())) == (5, 7, len(run.data.test()))
