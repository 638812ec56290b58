"""`search.strategy`: a run searches with any strategy, and trains a generator only for one that needs it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from anybudget.budgets import BudgetSet
from anybudget.errors import ConfigError, RunError
from anybudget.recipe import load_recipe, parse_recipe, resolved
from anybudget.runs.checks import check_recipe
from anybudget.runs.dependencies import affected, later
from anybudget.runs.doctor import examine_run
from anybudget.runs.rivals import Question
from anybudget.runs.run import Run
from anybudget.runs.searching import search_context
from anybudget.search import STRATEGIES
from anybudget.storage.changes import differences
from anybudget.testing import check_resume
from anybudget.worth.settings import WorthSettings
from conftest import RECIPES, SMALL_SEARCHES, call

EVOLUTION = ["search.strategy=evolution", "search.evolution.population=4", "search.evolution.generations=2"]
BUDGET = BudgetSet.parse("macs<=50k")


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def finished_stages(path: Path) -> list[str]:
    return list(json.loads((path / "stages.json").read_text()))


@pytest.fixture(scope="module")
def evolved(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose strategy is the evolution, begun from a recipe without `[generator]`."""
    folder = tmp_path_factory.mktemp("evolved")
    text = (prepared / "tiny.toml").read_text()
    before, after = text.index("[generator]"), text.index("[search]")
    (folder / "tiny.toml").write_text(text[:before] + text[after:])
    recipe = load_recipe(folder / "tiny.toml", [*EVOLUTION, f"data.source={prepared / 'images.npz'}"])
    Run.create(recipe, folder / "run").run_all(lambda _said: None)
    return folder / "run"


@pytest.fixture
def run(evolved: Path, tmp_path: Path) -> Run:
    """A copy of one's own."""
    return Run.open(shutil.copytree(evolved, tmp_path / "run"))


def test_the_run_searches_with_it_and_trains_no_generator(run: Run) -> None:
    path = run.folder.path
    assert finished_stages(path) == ["supernet", "search", "random", "retrain"]
    assert not list(path.glob("generator*"))
    answers = lines(path / "candidates.jsonl")
    assert [answer["budgets"] for answer in answers] == [budgets.limits() for budgets in run.recipe.budget_sets()]
    again = run.search_with("evolution", run.recipe.budget_sets())
    assert [answer["architecture"] for answer in answers] == [found.architecture.to_dict() for found in again]
    assert all(answer["log_probability"] is None for answer in answers)


def test_picks_are_retrained(run: Run) -> None:
    first = lines(run.folder.path / "candidates.jsonl")[0]
    (result,) = run.folder.path.glob("retrain/*/result.json")
    assert json.loads(result.read_text())["architecture"] == first["architecture"]


def test_generate_and_worth_ask_it(run: Run) -> None:
    (answer,) = run.generate([BUDGET])
    assert answer.architecture == run.search_with("evolution", [BUDGET])[0].architecture
    assert lines(run.folder.path / "candidates.jsonl")[-1]["architecture"] == answer.architecture.to_dict()
    worth = run.worth(Question(WorthSettings(random=2, seeds=1, epochs=1, scored=0), [BUDGET]))
    (entry,) = worth.budgets
    assert entry.networks[0].role == "answer"
    assert entry.networks[0].architecture == answer.architecture


def test_the_report_and_the_doctor_miss_no_generator(run: Run) -> None:
    page = run.report().read_text()
    assert "strategy evolution" in page
    assert "Not run yet" not in page
    found = {check.check: check for check in examine_run(run.folder.path)}
    assert (found["generator"].state, found["generator"].found) == ("ok", "not needed by the strategy evolution")


def test_the_command_line_searches_with_the_recipe_s(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    path = run.folder.path
    code, out, err = call(capsys, "search", path, "-b", "macs<=50k", "--json")
    assert code == 0, err
    assert json.loads(out)[0]["architecture"] == lines(path / "search" / "evolution.jsonl")[-1]["architecture"]
    code, _, err = call(capsys, "generate", path, "-b", "macs<=50k", "--instant")
    assert code == 2
    assert f"the generator stage has not finished; run: anybudget generator {path}" in err


def test_a_generator_can_be_trained_later_and_changes_no_answer(run: Run) -> None:
    for _ in range(2):
        run.train_generator()
        assert {"search", "retrain", "generator"} <= set(finished_stages(run.folder.path))
    assert run.propose([BUDGET])[0].costs["macs"] <= 50_000


def test_another_strategy_answers_anew_and_keeps_the_weights(evolved: Path, tmp_path: Path) -> None:
    path = shutil.copytree(evolved, tmp_path / "run")
    weights, before = (path / "supernet.safetensors").read_bytes(), lines(path / "candidates.jsonl")
    recipe = load_recipe(path / "recipe.toml", ["search.strategy=nsga2", "search.nsga2.from_pool=false"])
    said: list[str] = []
    run = Run.create(recipe, path)
    run.run_all(said.append)
    assert said == ["supernet: finished before, kept", "random: finished before, kept"]
    assert (path / "supernet.safetensors").read_bytes() == weights
    assert lines(path / "candidates.jsonl")[: len(before)] == before
    found = run.search_with("nsga2", run.recipe.budget_sets())
    last = {json.dumps(row["budgets"]): row["architecture"] for row in lines(path / "candidates.jsonl")}
    assert [last[json.dumps(f.budgets.limits())] for f in found] == [f.architecture.to_dict() for f in found]
    run = Run.create(load_recipe(path / "recipe.toml", ["search.strategy=generator"]), path)
    run.run_all(lambda _said: None)
    assert "generator" in finished_stages(path)


def test_killed_in_its_search_it_ends_the_same(recipe_file: Path, tmp_path: Path) -> None:
    recipe_file.write_text(recipe_file.read_text() + SMALL_SEARCHES)
    recipe = load_recipe(recipe_file, [*EVOLUTION, "checkpoint_seconds=0"])
    begun = Run.create(recipe, tmp_path / "begun")
    begun.train_supernet()
    assert check_resume(begun.folder.path, lambda path: Run.open(path).search(), tmp_path)


def test_a_recipe_that_names_none_is_written_as_before(recipe_file: Path) -> None:
    assert "strategy" not in resolved(load_recipe(recipe_file))["search"]
    assert "strategy" not in resolved(load_recipe(recipe_file, ["search.strategy=generator"]))["search"]
    named = load_recipe(recipe_file, ["search.strategy=evolution"])
    assert differences(resolved(load_recipe(recipe_file)), resolved(named)) == ["search.strategy: None -> 'evolution'"]


def test_an_unknown_strategy_is_refused(recipe_file: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"search\.strategy: unknown strategy 'evolve'; .*known are generator, refined"
    ):
        load_recipe(recipe_file, ["search.strategy=evolve"])
    recipe = load_recipe(recipe_file)
    with pytest.raises(ConfigError, match=r"search\.strategy: input should be a valid string, found 3"):
        parse_recipe({**resolved(recipe), "search": {**resolved(recipe)["search"], "strategy": 3}}, "tiny.toml")


@pytest.mark.parametrize("strategy", list(STRATEGIES.builtin))
def test_the_generator_s_cost_is_looked_at_where_it_is_asked_for(strategy: str, tmp_path: Path) -> None:
    """All networks of this space have the same multiply-adds."""
    recipe = load_recipe(RECIPES / "small" / "resnet-bits.toml", [f"search.strategy={strategy}", "generator.cost=macs"])
    run = Run.create(recipe, tmp_path / "run")
    if strategy in ("generator", "refined", "direct", "darts", "gdas", "fbnet", "setn"):
        with pytest.raises(ConfigError, match=r"generator\.cost: macs is .* for every network"):
            check_recipe(run.context)
    else:
        check_recipe(run.context)


@pytest.mark.parametrize("strategy", list(STRATEGIES.builtin))
def test_strategies_say_whether_they_need_a_generator(strategy: str, run: Run) -> None:
    context, kind = replace(search_context(run.context), generator=None), STRATEGIES[strategy]
    if kind.needs_generator:
        with pytest.raises(ConfigError, match="needs a trained generator"):
            kind(context)
    else:
        kind(context)


def test_batches_of_a_generator_count_where_it_is_trained(recipe_file: Path) -> None:
    three = ["devices=3", "supernet.batch_size=18", "retrain.batch_size=18"]
    with pytest.raises(ConfigError, match=r"generator\.batch_size"):
        load_recipe(recipe_file, three)
    assert load_recipe(recipe_file, [*three, "search.strategy=random"]).devices == 3


def test_answers_depend_on_the_table_of_their_strategy() -> None:
    answers = ["search", "retrain", "latency", "worth"]
    changed = ["search.evolution.population: 50 -> 20"]
    assert affected(changed, "macs") == {}
    assert list(affected(changed, "macs", strategy="evolution")) == answers
    assert affected(["search.generator.priors: 8 -> 4"], "macs", strategy="evolution") == {}
    assert list(affected(["search.generator.priors: 8 -> 4"], "macs")) == answers
    assert list(affected(["generator.epochs: 1 -> 2"], "macs", strategy="evolution")) == ["generator"]
    assert list(affected(["generator.epochs: 1 -> 2"], "macs", strategy="refined")) == ["generator", *answers]
    assert list(affected(["generator.cost: a -> b"], "macs", strategy="direct")) == ["generator", *answers]
    assert list(affected(["search.strategy: None -> 'evolution'"], "macs", strategy="evolution")) == answers
    assert list(affected(["search.race.by: 1 -> 2"], "macs", raced=True, strategy="linear")) == answers


def test_what_reads_a_generator_runs_again_after_it() -> None:
    assert later("generator", "evolution") == []
    assert later("generator", "refined") == ["search", "retrain", "latency", "worth"]
    assert later("supernet", "evolution") == ["generator", "search", "random", "retrain", "latency", "worth"]


def test_a_missing_answer_names_the_command(run: Run) -> None:
    (run.folder.path / "candidates.jsonl").unlink()
    with pytest.raises(RunError, match=r"has no answer to the budget .* anybudget generate"):
        run.retrain_picks()
