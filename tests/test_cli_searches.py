"""The commands `search`, `compare` and `rank` on a tiny recipe, and what a search may look at."""

import json
from pathlib import Path

import pytest
import torch

from anybudget.cli.options import STRATEGY_HELP
from anybudget.data import DataSplits, ImageSet
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from anybudget.search import STRATEGIES
from conftest import call
from mistakes import missing

FEW = [
    "search.evolution.population=4",
    "search.evolution.generations=2",
    "search.nsga2.population=4",
    "search.nsga2.generations=2",
    "search.linear.samples=12",
    "search.linear.candidates=2",
    "search.refined={priors=1,candidates=4,rounds=1}",
    "search.direct.epochs=2",
    "search.direct.batch_size=16",
    *(
        f"search.{name}.{key}"
        for name in ("darts", "gdas", "fbnet", "setn")
        for key in ("epochs=1", "batch_size=16", "candidates=2")
    ),
]


def test_every_strategy_answers_within_its_budgets(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    options = [part for text in FEW for part in ("--set", text)]
    for command in (["supernet", recipe_file, "--out", folder, *options], ["generator", folder]):
        assert call(capsys, *command)[0] == 0
    for name in STRATEGIES:
        budgets = ("-b", "macs<=50k, params<=1400", "-b", "macs<=45k")
        code, out, err = call(capsys, "search", folder, "--strategy", name, *budgets, "--json")
        assert code == 0, err
        rows = json.loads(out)
        assert [row["budgets"] for row in rows] == [{"macs": 50e3, "params": 1400.0}, {"macs": 45e3}]
        assert all(row["costs"][cost] <= limit for row in rows for cost, limit in row["budgets"].items())
        assert len((folder / "search" / f"{name}.jsonl").read_text().splitlines()) == 2
    code, out, err = call(
        capsys, "compare", folder, "--strategies", "generator,random,direct", "--budgets", "macs<=45k", "--json"
    )
    assert code == 0, err
    found = json.loads(out)
    assert json.loads((folder / "compare.json").read_text()) == found
    generator, random, direct = found["strategies"]
    assert [entry["name"] for entry in found["strategies"]] == ["generator", "random", "direct"]
    assert generator["training"]["images"] == direct["training"]["images"] == 2 * 36 // 16 * 16
    assert random["training"]["images"] == 0
    for entry in found["strategies"]:
        assert entry["spent"]["images"] == entry["training"]["images"] + entry["spent"]["evaluations"] * (32 + 36)
        assert len(entry["evaluated"]) == entry["spent"]["evaluations"] > 0
        assert 0 < entry["hypervolume"] < 1
    code, out, _ = call(capsys, "compare", folder, "--strategies", "random,linear")
    assert code == 0
    assert "hypervolume" in out
    assert "Strategies" in (folder / "report.html").read_text()


def test_help_names_every_strategy() -> None:
    known = ", ".join(STRATEGIES)
    assert STRATEGY_HELP.startswith(f"{known}; ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", "{run}", "--strategy", "luck"], "unknown strategy 'luck'; known are generator, refined"),
        (["compare", "{run}", "--strategies", "random,luck"], "unknown strategy 'luck'"),
        (["compare", "{run}", "--strategies", "random,random"], "random"),
        (["compare", "{run}", "--strategies", ""], "strategy"),
        (["search", "{run}", "--strategy", "random", "-b", "macs<=1"], "macs<=1"),
        (["rank", "{run}", "--images", "many"], "--images 'many': write numbers"),
        (
            ["rank", "{run}", "--paths", "3", "--images", "9", "--table", "{run}/none.json"],
            "none.json",
        ),
    ],
)
def test_mistakes_in_searching_end_with_one_message(
    finished: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    code, _, err = call(capsys, *(part.format(run=finished) for part in arguments))
    assert code == 2
    assert not missing(message, err), err
    assert "Traceback" not in err


def test_rank_says_how_few_images_order_paths(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "rank", finished, "--paths", "6", "--images", "9,18", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert json.loads((finished / "rank.json").read_text()) == found
    assert [row["images"] for row in found["supernets"]["trained"]["rows"]] == [9, 18, 36]
    assert set(found["supernets"]) == {"trained", "untrained"}
    code, out, _ = call(capsys, "rank", finished, "--paths", "4", "--images", "9")
    assert code == 0
    assert "untrained supernet" in out


def test_the_search_never_touches_the_test_split(
    finished: Path, recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With other test images, and with a test split that cannot be read, everything up to retraining stays the same."""
    asked = []

    def test(self: DataSplits) -> ImageSet:
        asked.append(True)
        garbage = torch.randint(0, 256, self._test.images.shape, dtype=torch.uint8)
        return ImageSet(garbage, self._test.labels.flip(0))

    monkeypatch.setattr(DataSplits, "test", test)
    run = Run.create(load_recipe(recipe_file), tmp_path / "other")
    run.train_supernet()
    run.train_generator()
    run.search()
    run.random_baseline()
    assert not asked
    for name in ("supernet.safetensors", "generator.safetensors", "random.jsonl"):
        assert (tmp_path / "other" / name).read_bytes() == (finished / name).read_bytes()
    run.retrain_picks()
    assert asked
