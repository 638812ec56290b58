"""A training from new weights that ends below what the supernet's weights give as they are says so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from anybudget.errors import ConfigError
from anybudget.nets import build_network
from anybudget.planning.workload import Images, workload_of
from anybudget.recipe import load_recipe
from anybudget.runs import starts
from anybudget.runs.run import Run
from conftest import call
from stopping import check_stops

NOTICE = "with the supernet's as they are"
LEARNS = ["supernet.epochs=20", "supernet.learning_rate=0.2", "retrain.epochs=10", "retrain.learning_rate=0.1"]


def test_what_the_supernets_weights_do_better_is_said(
    recipe_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run.create(load_recipe(recipe_file, [*LEARNS, "retrain.learning_rate=1e-9"]), tmp_path / "run")
    run.train_supernet()
    architecture = run.space.sample(np.random.default_rng(0))
    result = run.retrain(architecture)
    (message,) = [record.getMessage() for record in caplog.records if NOTICE in record.getMessage()]
    scored = run.new_evaluator().scores([architecture])[0].top1_percent
    assert message.startswith(f"retrain {architecture.short_id}: {result['validation_top1_percent']:.2f}%")
    assert f"{scored:.2f}% {NOTICE}: train on from these (--inherit, or retrain.inherit = true)" in message

    caplog.clear()
    run.retrain(architecture, inherit=True)
    assert NOTICE not in caplog.text


@pytest.mark.parametrize(
    "settings", [["supernet.learning_rate=1e-9"], ["retrain.data=train+validation", "retrain.learning_rate=1e-9"]]
)
def test_nothing_is_said_where_new_weights_do_better_or_validation_images_are_trained_on(
    settings: list[str], recipe_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run.create(load_recipe(recipe_file, [*LEARNS, *settings]), tmp_path / "run")
    run.train_supernet()
    run.retrain(run.space.sample(np.random.default_rng(0)))
    assert NOTICE not in caplog.text


@pytest.mark.parametrize(
    ("settings", "inherited"), [(["retrain.learning_rate=1e-9"], True), (["supernet.learning_rate=1e-9"], False)]
)
def test_a_trial_says_which_weights_to_start_from(
    settings: list[str], inherited: bool, recipe_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run.create(load_recipe(recipe_file, [*LEARNS, *settings, "retrain.warmup_epochs=2"]), tmp_path / "run")
    run.train_supernet()
    architecture = run.space.sample(np.random.default_rng(0))
    known = run.retrain(architecture, inherit=inherited)
    weights = (tmp_path / "run" / "retrain" / architecture.short_id / "weights.safetensors").read_bytes()
    assert "tried" not in known

    caplog.clear()
    found = run.retrain(architecture, inherit="try")
    assert found["inherited"] is inherited
    assert found["tried"]["epochs"] == 3  # a quarter of ten, rounded up
    assert (found["tried"]["inherited"] > found["tried"]["new"]) is inherited
    assert found["settings"]["inherit"] == "try"
    # What was tried leaves no trace in the training: weights are those of a training that was told where to start.
    assert (tmp_path / "run" / "retrain" / architecture.short_id / "weights.safetensors").read_bytes() == weights
    assert (found["test_top1_percent"], known["inherited"]) == (known["test_top1_percent"], inherited)
    assert NOTICE not in caplog.text
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_both_starts_are_measured_in_evaluation_mode(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also a network that has raced, whose weights are read into one that is built anew."""
    run = Run.create(load_recipe(recipe_file), tmp_path / "run")
    run.train_supernet()
    asked, measure = [], starts.evaluate
    monkeypatch.setattr(starts, "inherited_network", lambda run, a: build_network(run.space.block_specs(a)).train())
    monkeypatch.setattr(starts, "evaluate", lambda net, *rest: asked.append(net.training) or measure(net, *rest))
    run.retrain(run.space.sample(np.random.default_rng(0)), inherit="try")
    assert asked == [False, False]


def test_a_retraining_that_is_stopped_in_the_trial_and_after_it_ends_as_one_that_was_not(
    recipe_file: Path, tmp_path: Path
) -> None:
    recipe = load_recipe(recipe_file, ["supernet.epochs=6", "retrain.epochs=8", "checkpoint_seconds=0"])
    architecture = recipe.build_space().sample(np.random.default_rng(0))
    # The trial takes 10 steps: it is stopped in it, and then in the 6th step of the training.
    check_stops(
        recipe, tmp_path, Run.train_supernet, lambda run: run.retrain(architecture, inherit="try"), steps=(3, 13)
    )


def test_the_command_tries_and_takes_no_order_besides(workshop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = json.loads((workshop / "run" / "candidates.jsonl").read_text().splitlines()[0])
    (workshop / "answer.json").write_text(json.dumps(answer["architecture"]))
    code, out, err = call(capsys, "retrain", "run", "answer.json", "--try-start", "--json")
    assert code == 0, err
    (result,) = json.loads(out)
    assert result["tried"]["metric"] == "top1_percent"
    assert result["inherited"] is (result["tried"]["inherited"] > result["tried"]["new"])
    assert "after a trial of 1 epoch, " in Run.open(Path("run")).report().read_text()
    code, out, err = call(capsys, "retrain", "run", "answer.json", "--try-start", "--epochs", 5)
    assert "with new weights after a trial of 2 epochs, " in " ".join(out.split()), err
    for wrong in (("answer.json", "--inherit"), ("--zoo", "sgnas-a")):
        code, _, err = call(capsys, "retrain", "run", *wrong, "--try-start")
        assert code == 2
        assert "--try-start" in err


def test_other_answers_are_refused(recipe_file: Path, tmp_path: Path) -> None:
    run = Run.create(load_recipe(recipe_file), tmp_path / "run")
    with pytest.raises(ConfigError, match="""inherit: expected True, False or "try", found 'perhaps'"""):
        run.retrain(run.space.sample(np.random.default_rng(0)), inherit="perhaps")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"retrain\.inherit"):
        load_recipe(recipe_file, ["retrain.inherit=perhaps"])


def test_an_estimate_counts_the_trial(recipe_file: Path) -> None:
    images = Images(train=84, validation=36, test=36)
    plain, tried = (
        workload_of(load_recipe(recipe_file, ["retrain.epochs=10", f"retrain.inherit={value}"]), images)
        for value in ("false", '"try"')
    )
    assert (plain.trial_steps, tried.trial_steps, tried.retrain_steps) == (0, 3 * (84 // 16), 10 * (84 // 16))
    per_pick = tried.trial_steps * 16
    assert tried.images_trained()["retrain"] == plain.images_trained()["retrain"] + per_pick * len(tried.picks)


def test_networks_of_a_folder_without_a_supernet_are_retrained(recipe_file: Path, tmp_path: Path) -> None:
    run = Run.create(load_recipe(recipe_file), tmp_path / "run")
    assert run.retrain(run.space.sample(np.random.default_rng(0)))["inherited"] is False
