"""Races of a run: what they leave, what goes on from it, and that kills change nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import anybudget
from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.errors import RunError
from anybudget.evaluation.evaluator import evaluate
from anybudget.recipe import load_recipe
from anybudget.runs.dependencies import affected
from anybudget.runs.racing import inherited_network, raced_weights
from anybudget.runs.run import Run
from anybudget.search.race import Race
from anybudget.storage.records import RacedNetwork, read_record
from anybudget.testing import check_resume
from anybudget.testing.interruption import differing_files
from conftest import call, slow_but
from stopping import stop_after

BUDGETS = [BudgetSet.parse(text) for text in ("macs<=30k", "macs<=60k, params<=1500")]
SETTINGS = ["search.race.candidates=4", "search.race.epochs_per_round=0.4", "search.random.count=8"]


@pytest.fixture(scope="module")
def begun(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a supernet and a generator, that saves itself after every step."""
    path = tmp_path_factory.mktemp("race") / "run"
    recipe = load_recipe(prepared / "tiny.toml", [*SETTINGS, f"data.source={prepared / 'images.npz'}"])
    run = Run.create(recipe.model_copy(update={"checkpoint_seconds": 0.0}), path)
    run.train_supernet()
    run.train_generator()
    return path


@pytest.fixture
def run(begun: Path, tmp_path: Path) -> Run:
    """A copy of one's own."""
    return Run.open(shutil.copytree(begun, tmp_path / "run"))


def search(path: Path) -> None:
    Run.open(path).search_with("random", BUDGETS, race=True)


def records(run: Run) -> dict[Architecture, RacedNetwork]:
    found = [read_record(path, RacedNetwork) for path in run.folder.path.glob("race/*/result.json")]
    return {record.architecture: record for record in found if record is not None}


def test_answers_have_their_race_and_weights(run: Run) -> None:
    answers = run.search_with("random", BUDGETS, race=True)
    kept = records(run)
    lines = [json.loads(line) for line in (run.folder.path / "search/random.jsonl").read_text().splitlines()]
    for answer, line in zip(answers, lines, strict=True):
        assert answer.race is not None
        assert answer.budgets.allows(dict(answer.costs))
        assert answer.architecture == answer.race.winner.architecture
        assert [Architecture.from_dict(n["architecture"], "") for n in line["race"]["networks"]] == [
            racer.architecture for racer in answer.race.racers
        ]
        winner = kept[answer.architecture]
        assert winner.weights_rounds >= len(answer.race.winner.rounds)
        network, facts = anybudget.load(run.folder.path / "race" / answer.architecture.short_id)
        measured = evaluate(network, run.data.validation, run.data)
        assert measured.loss == winner.rounds[winner.weights_rounds - 1].validation_loss
        assert facts.classes == 3
    assert set(kept) == {racer.architecture for a in answers if a.race for racer in a.race.racers}
    assert not (run.folder.path / "checkpoints").exists()


def test_weights_of_a_race_from_scratch_are_not_inherited(run: Run) -> None:
    run.recipe = load_recipe(run.folder.path / "recipe.toml", ["search.race.start=scratch"])
    (answer,) = run.search_with("random", BUDGETS[:1], race=True)
    assert records(run)[answer.architecture].weights_rounds
    assert raced_weights(run.context, answer.architecture) == {}


def test_a_question_asked_again_trains_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run.search_with("random", BUDGETS, race=True)
    before = {path: path.stat().st_mtime_ns for path in run.folder.path.glob("race/*/*")}
    monkeypatch.setattr(Race, "_run_round", None)
    again = Run.open(run.folder.path).search_with("random", BUDGETS[::-1], race=True)[::-1]
    assert [a.race for a in again] == [a.race for a in first]
    assert {path: path.stat().st_mtime_ns for path in run.folder.path.glob("race/*/*")} == before


def test_another_race_keeps_the_networks_of_the_first(run: Run) -> None:
    (first,) = run.search_with("random", BUDGETS[:1], race=True)
    run.recipe = run.recipe.model_copy(
        update={
            "search": run.recipe.search.model_copy(
                update={"race": run.recipe.search.race.model_copy(update={"learning_rate": 0.001})}
            )
        }
    )
    (second,) = run.search_with("random", BUDGETS[:1], race=True)
    assert first.race is not None
    assert second.race is not None
    assert first.race.winner.rounds[0].metrics != second.race.winner.rounds[0].metrics
    assert len(list(run.folder.path.glob("race/*.1/result.json"))) == len(first.race.racers)


def test_retraining_inherits_the_weights_of_the_race(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    network = next(iter(run.generate(BUDGETS[:1]))).architecture
    plain = run.retrain(network, inherit=True)
    (answer,) = run.search_with("random", BUDGETS[:1], race=True)
    winner = answer.architecture
    started = inherited_network(run.context, winner).state_dict()
    loaded = anybudget.load(run.folder.path / "race" / winner.short_id)[0].state_dict()
    inherited = run.evaluator.network(winner).state_dict()
    assert all(torch.equal(started[name], loaded[name]) for name in loaded)
    assert any(not torch.equal(started[name], inherited[name]) for name in loaded)
    result = run.retrain(winner, inherit=True)
    assert result["settings"]["race"] == raced_weights(run.context, winner)["race"]
    assert "race" not in plain["settings"]
    assert "race" not in run.retrain(winner, inherit=False)["settings"]
    # Another supernet's races are none of this one's.
    monkeypatch.setattr(type(run.context), "origin", lambda _self: {"supernet": "another"})
    assert raced_weights(run.context, winner) == {}


def test_damaged_weights_of_a_race_are_named(run: Run) -> None:
    (answer,) = run.search_with("random", BUDGETS[:1], race=True)
    path = run.folder.path / "race" / answer.architecture.short_id
    (path / "weights.safetensors").write_bytes(b"nothing")
    with pytest.raises(RunError, match=r"weights.safetensors: damaged or not safetensors.*search again"):
        run.retrain(answer.architecture, inherit=True)
    (path / "result.json").write_text("{}")
    with pytest.raises(RunError, match=r"result.json: .*architecture.*delete that folder"):
        run.search_with("random", BUDGETS[:1], race=True)


def test_all_strategies_run_the_same_race(run: Run) -> None:
    without = run.compare(["random", "linear"], BUDGETS, race=False)
    found = run.compare(["random", "linear"], BUDGETS, race=True)
    for plain, raced in zip(without["strategies"], found["strategies"], strict=True):
        assert "race" not in plain
        assert raced["evaluated"] == plain["evaluated"]
        for figure in ("images", "macs"):
            assert raced["spent"][figure] == pytest.approx(plain["spent"][figure] + raced["race"][figure])
        assert raced["spent"]["evaluations"] == plain["spent"]["evaluations"]
        assert raced["race"]["images"] > 0
    alone = {strategy["name"]: strategy for strategy in found["strategies"]}
    (only,) = run.compare(["linear"], BUDGETS, race=True)["strategies"]
    assert only["race"]["images"] == alone["linear"]["race"]["images"]
    assert [c["architecture"] for c in only["candidates"]] == [c["architecture"] for c in alone["linear"]["candidates"]]


@pytest.mark.parametrize("steps", slow_but([3], [0, 3, 11]))
def test_stopped_at_any_step_it_ends_the_same(steps: int, run: Run, begun: Path, tmp_path: Path) -> None:
    whole = shutil.copytree(begun, tmp_path / "whole")
    search(whole)
    stop_after(steps, lambda: search(run.folder.path))
    assert (run.folder.path / "checkpoints").is_dir()
    search(run.folder.path)
    assert not differing_files(whole, run.folder.path)


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_the_same(begun: Path, tmp_path: Path) -> None:
    work: Callable[[Path], object] = lambda path: Run.open(path).compare(["random", "linear"], BUDGETS, race=True)  # noqa: E731
    assert check_resume(begun, work, tmp_path, kills=6)


@pytest.mark.usefixtures("workshop")
def test_the_recipe_turns_it_on_for_the_whole_run(capsys: pytest.CaptureFixture[str]) -> None:
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    on = ["--set", "search.race.enabled=true", "--set", "retrain.inherit=true"]
    code, _, err = call(capsys, "run", "tiny.toml", "--out", "raced", *settings, *on)
    assert code == 0, err
    rows = [json.loads(line) for line in Path("raced/candidates.jsonl").read_text().splitlines()]
    assert all(row["race"]["networks"][0]["architecture"] == row["architecture"] for row in rows)
    (result,) = (json.loads(path.read_text()) for path in Path("raced").glob("retrain/*/result.json"))
    assert "race" in result["settings"]
    code, out, err = call(capsys, "generate", "raced", "--no-race", "--json")
    assert code == 0, err
    assert all("race" not in row for row in json.loads(out))
    code, out, err = call(capsys, "doctor", "raced", "--json")
    assert code == 0, out
    checks = {check["check"]: check["state"] for check in json.loads(out)["checks"]}
    there = sorted(Path("raced/race").iterdir())
    assert {f"race/{path.name}": "ok" for path in there}.items() <= checks.items()
    (there[0] / "result.json").write_text("{}")
    code, out, _ = call(capsys, "doctor", "raced", "--json")
    assert code == 2
    assert f"race/{there[0].name}/result.json" in out


def test_answers_depend_on_how_networks_race_if_they_do() -> None:
    rate = ["retrain.learning_rate: 0.1 -> 0.2"]
    reads = {"search", "retrain", "latency", "worth"}
    assert "search" not in affected(rate, "macs")
    assert affected(rate, "macs", raced=True).keys() == reads
    assert "search" not in affected(["retrain.epochs: 1 -> 2"], "macs", raced=True)
    assert affected(["search.race.candidates: 8 -> 16"], "macs") == {}
    assert affected(["search.race.candidates: 8 -> 16"], "macs", raced=True).keys() == reads
    assert affected(["search.race.enabled: False -> True"], "macs").keys() == reads
