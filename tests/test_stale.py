"""What a stage that runs again makes stale: later stages run again, and scores of the old weights are put aside."""

from __future__ import annotations

import json
from pathlib import Path

from anybudget.architecture import Architecture
from anybudget.recipe import load_recipe
from anybudget.runs.dependencies import DEPENDS, READS, later
from anybudget.runs.run import Run


def test_later_stages_are_those_that_read_the_results() -> None:
    assert later("supernet") == ["generator", "search", "random", "retrain", "latency", "worth"]
    assert later("generator") == ["search", "retrain", "latency", "worth"]
    assert later("search") == ["retrain", "latency", "worth"]
    assert later("random") == later("retrain") == later("worth") == []


def test_a_stage_depends_on_every_key_of_the_stages_it_reads() -> None:
    assert READS.keys() == DEPENDS.keys()
    for stage, read in READS.items():
        for earlier in read:
            assert set(DEPENDS[earlier]) <= set(DEPENDS[stage]), (stage, earlier)


def finished(path: Path) -> list[str]:
    return list(json.loads((path / "stages.json").read_text()))


def test_a_new_supernet_keeps_no_answers_of_the_old_weights(recipe_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    changes = ["retrain.inherit=true"]
    Run.create(load_recipe(recipe_file, changes), path).run_all(lambda _said: None)
    old = {name: (path / name).read_text() for name in ("candidates.jsonl", "random.jsonl")}
    again = Run.open(path)
    again.recipe = load_recipe(recipe_file, [*changes, "supernet.learning_rate=0.3"])
    again.train_supernet()
    assert finished(path) == ["supernet"]
    said: list[str] = []
    again.run_all(said.append)
    assert said == ["supernet: finished before, kept"]
    assert finished(path) == ["supernet", "generator", "search", "random", "retrain"]
    for name, content in old.items():
        stem, suffix = name.split(".")
        assert (path / f"{stem}.1.{suffix}").read_text() == content
    for line in (path / "candidates.jsonl").read_text().splitlines():
        row = json.loads(line)
        score = again.evaluator.score(Architecture.from_dict(row["architecture"]))
        assert row["supernet_loss"] == score.loss
    results = [p for p in path.glob("retrain/*/result.json") if "." not in p.parent.name]
    digest = again.folder.digest("supernet.safetensors")
    assert digest in [json.loads(p.read_text())["settings"]["supernet"] for p in results]


def test_a_generator_trained_again_leaves_the_baseline(recipe_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    Run.create(load_recipe(recipe_file), path).run_all(lambda _said: None)
    Run.open(path).train_generator()
    assert set(finished(path)) == {"supernet", "random", "generator"}
