"""`anybudget worth`: which networks are trained, what is said of them and kept, and what is refused before any work."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.costs import CostModel, build_costs
from anybudget.errors import BudgetError, ConfigError, DataError, RunError
from anybudget.recipe import load_recipe
from anybudget.runs.rivals import Question
from anybudget.runs.run import Run
from anybudget.runs.stages import baseline
from anybudget.runs.trainings import Measurement
from anybudget.spaces import Decision, SearchSpace
from anybudget.storage.records import TrainedNetwork, Worth, WorthAtBudget, read_record
from anybudget.testing import check_resume
from anybudget.worth.rivals import draw_random, plain_network
from anybudget.worth.settings import WorthSettings
from anybudget.worth.words import balanced_in_words
from conftest import call, write_images
from tiny_spaces import small_mbconv
from worth_records import trained

Trained = list[tuple[str, int]]
FIRST, SECOND = BudgetSet.parse("macs<=30k"), BudgetSet.parse("macs<=60k, params<=1500")


def figure_of(name: str, seed: int) -> float:
    """A test top-1 for every training: some worth of the architecture, and a little of the seed."""
    return 40 + int(name[:6], 16) % 4000 / 100 + seed % 7 / 10


def plant(monkeypatch: pytest.MonkeyPatch, figure: Callable[[str, int], float] = figure_of) -> Trained:
    """Trainings that take no time and have known figures; those that are done, in order."""
    done: Trained = []

    def train(*_args: object, name: str, seed: int, **_named: object) -> Measurement:
        found = re.fullmatch(r"train (\w+), seed (\d+)", name)
        assert found
        assert int(found[2]) == seed
        done.append((found[1], seed))
        top1 = figure(found[1], seed)
        figures = {"test_top1_percent": top1, "test_balanced_accuracy_percent": top1 / 2}
        return Measurement(nn.Identity(), [], figures, [])

    monkeypatch.setattr("anybudget.runs.trainings.train_and_measure", train)
    return done


def ask(run: Run, random: int = 4, seeds: int = 2, scored: int = 20, **named: object) -> Worth:
    return run.worth(Question(WorthSettings(random=random, seeds=seeds, scored=scored), **named))  # type: ignore[arg-type]


def role(entry: WorthAtBudget, name: str) -> list[TrainedNetwork]:
    return [network for network in entry.networks if network.role == name]


def test_the_command_trains_and_compares(
    workshop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = plant(monkeypatch)
    options = ("--random", 4, "--seeds", 2, "--scored", 20)
    code, out, err = call(capsys, "worth", "run", *options, "--json")
    assert code == 0, err
    found = read_record(workshop / "run" / "worth.json", Worth)
    assert found is not None
    assert json.loads(out) == found.to_json()
    run = Run.open(workshop / "run")
    assert [entry.budgets for entry in found.budgets] == [FIRST.limits(), SECOND.limits()]
    answers = {BudgetSet.parse(", ".join(f"{c}<={v}" for c, v in row["budgets"].items())): row["architecture"]
               for row in run.folder.read_lines("candidates.jsonl")}  # fmt: skip
    for entry, budgets in zip(found.budgets, (FIRST, SECOND), strict=True):
        assert entry.answer.architecture.to_dict() == answers[budgets]
        random = [network.architecture for network in role(entry, "random")]
        assert len(set(random)) == 4
        costs = [network.costs for network in role(entry, "random")]
        assert all(budgets.allows(cost) and cost["macs"] >= entry.floor for cost in costs)
        (first,) = role(entry, "supernet_first")
        pool = draw_random(baseline.same_cost(run.context, budgets), run.recipe.seed, 20)
        assert first.architecture == max(pool, key=lambda network: run.evaluator.score(network).rank)
        assert random == pool[:4]
        for network in entry.networks:
            name = network.architecture.short_id
            assert network.test_percent == (figure_of(name, 0), figure_of(name, 1))
            assert network.supernet == run.evaluator.score(network.architecture).to_dict()
        assert entry.summary.random.percent == pytest.approx(
            np.mean([figure_of(network.short_id, seed) for network in random for seed in (0, 1)])
        )
    assert len(done) == len(set(done)) == 2 * len({n.architecture for e in found.budgets for n in e.networks})
    code, out, err = call(capsys, "worth", "run", *options)
    assert code == 0, err
    for words in ("answer minus mean", "best of N", "plain", "macs<=60k, params<=1.5k: ", "36 test images"):
        assert words in out
    assert not (workshop / "run" / "worth.1.json").exists()


def test_asking_again_trains_only_what_is_new(workshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done, run = plant(monkeypatch), Run.open(workshop / "run")
    few = ask(run)
    before = list(done)
    assert ask(run).to_json()["budgets"] == few.to_json()["budgets"]
    assert done == before
    many = ask(Run.open(workshop / "run"), random=7)
    assert len(done) <= len(before) + 2 * 2 * 3
    for small, large in zip(few.budgets, many.budgets, strict=True):
        assert role(large, "random")[:4] == role(small, "random")
        assert role(large, "supernet_first") == role(small, "supernet_first")
    before = list(done)
    assert ask(run, seeds=3).seeds == (0, 1, 2)
    assert {seed for _, seed in done[len(before) :]} == {2}


def test_the_metric_of_the_run_counts(workshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    run = Run.open(workshop / "run")
    run.recipe = load_recipe(workshop / "tiny.toml", ["search.metric=balanced_accuracy_percent"])
    found = ask(run, budgets=[FIRST])
    answer = found.budgets[0].answer
    assert found.metric == "balanced_accuracy_percent"
    assert answer.test_percent[0] == figure_of(answer.architecture.short_id, 0) / 2
    assert answer.test_balanced_accuracy_percent == ()
    run.recipe = load_recipe(workshop / "tiny.toml", ["search.metric=loss"])
    beside = ask(run, budgets=[FIRST])
    assert beside.metric == "top1_percent"
    for network in beside.budgets[0].networks:
        assert network.test_balanced_accuracy_percent == tuple(percent / 2 for percent in network.test_percent)


def test_balanced_accuracy_stands_beside_top1() -> None:
    networks = trained([80.0, 82.0], [[70.0, 72.0], [60.0, 62.0]])
    assert balanced_in_words(networks) == ""
    halves = [tuple(percent / 2 for percent in network.test_percent) for network in networks]
    kept = [
        network.model_copy(update={"test_balanced_accuracy_percent": half})
        for network, half in zip(networks, halves, strict=True)
    ]
    assert balanced_in_words(kept) == "Balanced accuracy: answer 40.50%, random mean 33.00%."
    assert balanced_in_words([*kept[:2], networks[2]]) == ""


def test_the_last_answer_of_the_strategy_counts(workshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    run = Run.open(workshop / "run")
    with pytest.raises(RunError, match=r"random\.jsonl: has no answer to the budget macs<=30k; ask.*--strategy random"):
        ask(run, strategy="random")
    run.search_with("random", [FIRST])
    found = ask(run, budgets=[FIRST], strategy="random")
    assert found.strategy == "random"
    (row,) = run.folder.read_lines("search/random.jsonl")
    assert found.budgets[0].answer.architecture.to_dict() == row["architecture"]


def test_references_belong_to_the_budgets_whose_window_they_lie_in(
    workshop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(monkeypatch)
    run = Run.open(workshop / "run")
    (network,) = draw_random(baseline.same_cost(run.context, FIRST), 7, 1)
    Path("mine.json").write_text(network.to_json())
    code, out, err = call(capsys, "worth", "run", "--reference", "mine=mine.json", "--random", 2, "--json")
    assert code == 0, err
    first, second = Worth.model_validate(json.loads(out)).budgets
    assert [(found.name, found.architecture) for found in role(first, "reference")] == [("mine", network)]
    assert not role(second, "reference")
    assert "mine" in [other.name for other in first.summary.others]
    huge = Architecture(network.space, tuple(len(decision.choices) - 1 for decision in run.space.decisions))
    with pytest.raises(ConfigError, match=r"reference huge: costs .* macs, .* params, and no budget allows that"):
        ask(run, references=[("huge", run.space.simplified(huge))])
    with pytest.raises(ConfigError, match="reference twice: two of this name belong to macs<=30k"):
        ask(run, references=[("twice", network), ("twice", network)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-b", "macs<=31k"], "has no answer to the budget macs<=31k; ask for it with: anybudget generate"),
        (["-b", "macs<=1"], "budget macs<=1 cannot be met"),
        (["-b", "flops<=1M"], "unknown cost 'flops'"),
        (["--reference", "mine.json"], "--reference 'mine.json': write NAME=FILE"),
        (["--reference", "mine=none.json"], "none.json: cannot read an architecture"),
        (["--strategy", "luck"], "search/luck.jsonl: has no answer"),
        (["--random", "1"], "--random"),
        (["--seeds", "0"], "--seeds"),
    ],
)
def test_mistakes_are_said_before_any_training(
    workshop: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    done = plant(monkeypatch)
    code, out, err = call(capsys, "worth", "run", *arguments)
    assert (code, out, done) == (2, "", [])
    assert message in err
    assert "Traceback" not in err
    assert not (workshop / "run" / "worth.json").exists()


def test_damage_is_named_before_any_training(workshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done, run = plant(monkeypatch), Run.open(workshop / "run")
    ask(run)
    done.clear()
    last = sorted((workshop / "run" / "worth" / "trained").iterdir())[-1]
    whole = last.read_text()
    last.write_text(whole[:40])
    with pytest.raises(RunError, match=f"{last.name}.*delete that file, and the network is trained again"):
        ask(run, random=9)
    assert not done
    last.write_text(whole)
    answers = workshop / "run" / "candidates.jsonl"
    answers.write_text(answers.read_text() + "{")
    with pytest.raises(RunError, match=r"candidates\.jsonl, line 3.*mend or remove that line"):
        ask(run, random=9)
    assert not done


def test_a_budget_needs_two_networks(
    workshop: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plant(monkeypatch)
    run = Run.open(workshop / "run")
    answer = run.generate([FIRST])[0]
    run.recipe = load_recipe(workshop / "tiny.toml", ["search.random_window=1.0"])
    one = BudgetSet.parse(f"macs<={answer.costs['macs']:.0f}, params<={answer.costs['params']:.0f}")
    answers = "anybudget.runs.rivals._answers"
    monkeypatch.setattr(answers, lambda _run, _name, asked: dict.fromkeys(asked, answer.architecture))
    monkeypatch.setattr("anybudget.runs.rivals.draw_random", lambda *_args: [answer.architecture])
    with pytest.raises(RunError, match=r"1 network\(s\) within it use 100% .* needs 2 random ones; lower search"):
        ask(run, budgets=[one])
    two = draw_random(baseline.same_cost(Run.open(workshop / "run").context, FIRST), 0, 2)
    monkeypatch.setattr("anybudget.runs.rivals.draw_random", lambda *_args: two)
    found = ask(run, budgets=[FIRST])
    assert len(role(found.budgets[0], "random")) == 2
    assert "only 2 of the 4 random networks that were asked for are there" in caplog.text
    smallest = Architecture(answer.architecture.space, (0,) * len(answer.architecture.choices))
    monkeypatch.setattr(answers, lambda _run, _name, asked: dict.fromkeys(asked, run.space.simplified(smallest)))
    ask(run, budgets=[FIRST])
    assert re.search(r"macs<=30k: the answer uses [\d,]+ macs, and the random networks .* at least 30,000", caplog.text)


def test_too_few_test_images_are_refused(tmp_path: Path, workshop: Path) -> None:
    run = Run.open(workshop / "run")
    few = write_images(tmp_path / "few.npz", test=6)
    text = (workshop / "tiny.toml").read_text().replace("images.npz", str(few))
    (workshop / "few.toml").write_text(text)
    other = Run.create(load_recipe(workshop / "few.toml"), tmp_path / "few")
    with pytest.raises(DataError, match=r"18 test images are too few .*as one of them is 5\.6 points; begin a run"):
        ask(other)
    with pytest.raises(BudgetError):
        ask(run, budgets=[BudgetSet.parse("macs<=2")])


def finished(run: Run) -> set[str]:
    return set(run.folder.stages())


def test_a_recipe_can_end_with_it(workshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = plant(monkeypatch)
    path = workshop / "run"
    changes = ["worth.scored=0", "worth.picks=[2]", "worth.epochs=2"]
    recipe = load_recipe(workshop / "tiny.toml", ["worth.random=3", *changes])
    said: list[str] = []
    Run.create(recipe, path).run_all(said.append)
    stages = ("supernet", "generator", "search", "random", "retrain")
    assert said == [f"{stage}: finished before, kept" for stage in stages]
    found = read_record(path / "worth.json", Worth)
    assert found is not None
    assert (found.epochs, [entry.budgets for entry in found.budgets]) == (2, [SECOND.limits()])
    assert not role(found.budgets[0], "supernet_first")
    Run.create(recipe, path).run_all(said.append)
    assert said[-1] == "worth: finished before, kept"
    before = list(done)
    more = load_recipe(workshop / "tiny.toml", ["worth.random=4", *changes])
    Run.create(more, path).run_all(said.append)
    assert len(done) <= len(before) + 2
    assert (path / "worth.1.json").exists()


def test_what_is_kept_where_earlier_stages_run_again(workshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    path = workshop / "run"
    recipe = load_recipe(workshop / "tiny.toml", ["worth.random=2", "worth.scored=2"])
    Run.create(recipe, path).run_all(lambda _said: None)
    trained = sorted(file.name for file in (path / "worth" / "trained").iterdir())
    run = Run.open(path)
    assert "worth" in finished(run)
    run.search()
    assert "worth" not in finished(run)
    assert (path / "worth.json").exists()
    run.train_supernet()
    assert not (path / "worth.json").exists()  # its scores were those of other weights
    assert (path / "worth.1.json").exists()
    assert sorted(file.name for file in (path / "worth" / "trained").iterdir()) == trained


@pytest.mark.parametrize("change", ["worth.random=1", "worth.picks=[3]", "worth.picks=[1, 1]", "worth.seeds=0"])
def test_mistakes_in_the_recipe_are_named(recipe_file: Path, change: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(change.partition("=")[0])):
        load_recipe(recipe_file, [change])


@pytest.mark.slow
def test_it_is_resumed_in_the_middle(workshop: Path, tmp_path: Path) -> None:
    begin = tmp_path / "begin"
    shutil.copytree(workshop / "run", begin)
    recipe = begin / "recipe.toml"
    recipe.write_text(re.sub(r"checkpoint_seconds = .*", "checkpoint_seconds = 0.0", recipe.read_text()))
    assert check_resume(
        begin, lambda path: ask(Run.open(path), random=2, seeds=1, scored=4), tmp_path / "scratch", kills=3
    )


def macs_of(space: SearchSpace) -> dict[str, CostModel]:
    return build_costs(space, ["macs"])


def test_the_plain_network_is_the_largest_of_all_that_are_plain() -> None:
    space = small_mbconv(4, "k3_e3", "k5_e6", "k7_e6")
    costs = macs_of(space)
    for index, name in enumerate(space.decisions[0].choice_names):
        network = Architecture(space.name, (index,) * len(space.decisions))
        size = costs["macs"].cost(network)
        for limit in (size, 1.1 * size):
            assert plain_network(space, costs, BudgetSet.parse(f"macs<={limit}")) == (network, name)
    assert plain_network(space, costs, BudgetSet.parse("macs<=1000M")) is None  # all use less than half of it
    assert plain_network(space, costs, BudgetSet.parse("macs<=1k")) is None


def test_a_space_whose_layers_share_no_choice_has_no_plain_network() -> None:
    space = small_mbconv(3)
    space.decisions = (Decision.single("other", ("a", "b", "c")), *space.decisions[1:])
    assert plain_network(space, macs_of(space), BudgetSet.parse("macs<=50k")) is None
