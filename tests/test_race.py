"""The race at the end of a search: who races, who wins, what is shared, and that a kill changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.costs import build_costs
from anybudget.data import DataSplits, load_splits
from anybudget.errors import BudgetError, ConfigError, TrainingError
from anybudget.evaluation.evaluator import Evaluator, evaluate
from anybudget.evaluation.metrics import Metrics
from anybudget.evaluation.settings import EvaluatorSettings
from anybudget.nets import build_network, build_supernet
from anybudget.nets.blocks import channels_last
from anybudget.recipe import load_recipe
from anybudget.runtime.process_state import seeded
from anybudget.search.base import Candidate, Found, SearchContext, Strategy
from anybudget.search.finalists import finalists, race_answers
from anybudget.search.race import Race, RaceContext
from anybudget.search.race_settings import RaceSettings
from anybudget.search.raced import Raced, spending
from anybudget.storage.journal import Journal
from anybudget.training import SAMPLERS
from anybudget.training.loop import TrainingContext
from anybudget.training.retrain import train_along
from anybudget.training.rounds import Rounds, course_of_rounds
from anybudget.training.settings import Schedule, SupernetSchedule
from anybudget.training.sgd import training_batches
from anybudget.training.supernet import train_supernet
from conftest import write_images
from tiny_spaces import small_mbconv

SPACE = small_mbconv(3)
NETWORKS = list(SPACE.enumerate())
SCHEDULE = Schedule(epochs=9, batch_size=16, learning_rate=0.05, crop_padding=1)
SETTINGS = RaceSettings(candidates=4, epochs_per_round=0.5)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> DataSplits:
    path = write_images(tmp_path_factory.mktemp("race") / "images.npz", per_class=60)
    return load_splits(str(path), seed=0, validation_fraction=0.3)


@pytest.fixture(scope="module")
def judge(images: DataSplits) -> Evaluator:
    """An evaluator with a supernet that has learnt something."""
    torch.manual_seed(0)
    supernet = build_supernet(SPACE)
    schedule = SupernetSchedule(epochs=4, batch_size=16, learning_rate=0.05)
    train_supernet(supernet, SAMPLERS["uniform"](SPACE), images, schedule)
    return Evaluator(supernet.eval(), images, EvaluatorSettings(calibration_images=32))


def outcome(raced: Raced) -> list[tuple[Architecture, int, list[dict[str, float]]]]:
    """All that a race says, times apart."""
    return [
        (
            r.architecture,
            r.supernet_place,
            [{k: v for k, v in done.to_dict().items() if k != "seconds"} for done in r.rounds],
        )
        for r in raced.racers
    ]


def weights(race: Race, architecture: Architecture) -> dict[str, torch.Tensor]:
    return race.network(architecture).state_dict()


def test_halves_until_one_is_left(judge: Evaluator) -> None:
    (raced,) = Race(judge, SCHEDULE, SETTINGS).run([NETWORKS[:5]])
    assert [len(racer.rounds) for racer in raced.racers] == [3, 3, 2, 1, 1]
    assert sorted(racer.supernet_place for racer in raced.racers) == [1, 2, 3, 4, 5]
    for number in (1, 2, 3):
        losses = [racer.rounds[number - 1].metrics.loss for racer in raced.racers if len(racer.rounds) >= number]
        left = (len(losses) + 1) // 2
        assert max(losses[:left]) <= min(losses[left:])


def test_a_network_alone_wins_after_a_round(judge: Evaluator) -> None:
    race = Race(judge, SCHEDULE, SETTINGS)
    (raced,) = race.run([NETWORKS[3:4]])
    assert raced.winner.architecture == NETWORKS[3]
    assert len(raced.racers) == len(raced.winner.rounds) == 1
    with pytest.raises(BudgetError, match="at least one network"):
        race.run([[]])


def test_what_is_said_is_what_the_weights_do(judge: Evaluator, images: DataSplits) -> None:
    race = Race(judge, SCHEDULE, SETTINGS)
    (raced,) = race.run([NETWORKS[:3]])
    network = race.network(raced.winner.architecture)
    measured = evaluate(network, images.validation, images)
    assert measured.to_dict() == raced.winner.rounds[-1].metrics.to_dict()
    assert not network.training


def test_from_scratch_nothing_of_the_supernet_s_weights_matters(judge: Evaluator, images: DataSplits) -> None:
    torch.manual_seed(5)
    untrained = Evaluator(build_supernet(SPACE).eval(), images, EvaluatorSettings(calibration_images=32))
    settings = replace_settings(start="scratch")
    race, other = (Race(evaluator, SCHEDULE, settings, seed=2) for evaluator in (judge, untrained))
    (raced,), (again,) = (each.run([NETWORKS[:4]]) for each in (race, other))
    assert outcome(raced) == outcome(again)
    (inherited,) = Race(judge, SCHEDULE, SETTINGS, seed=2).run([NETWORKS[:4]])
    assert outcome(raced) != outcome(inherited)
    winner = raced.winner.architecture
    with seeded(2):
        explicit = channels_last(build_network(SPACE.block_specs(winner)))
        course = course_of_rounds(images, SCHEDULE, 0.5, rounds=len(raced.winner.rounds), seed=2)
        train_along(explicit, course, SCHEDULE, TrainingContext(), name="explicit")
    trained = weights(race, winner)
    for name, value in explicit.named_parameters():
        assert torch.equal(value, trained[name]), name


def test_averaged_weights_race_and_present_ones_train_on(judge: Evaluator, images: DataSplits) -> None:
    """Round by round, each judged by its average, a network comes to what one training of all rounds makes of it."""
    schedule = SCHEDULE.model_copy(update={"ema": 0.9})
    race = Race(judge, schedule, SETTINGS, seed=2)
    (raced,) = race.run([NETWORKS[:4]])
    winner, rounds = raced.winner.architecture, len(raced.winner.rounds)
    assert rounds > 1
    with seeded(2):
        whole = channels_last(judge.supernet.extract(winner))
        course = course_of_rounds(images, schedule, 0.5, rounds=rounds, seed=2)
        train_along(whole, course, schedule, TrainingContext(), name="whole")
    trained = weights(race, winner)
    for name, value in whole.named_parameters():
        assert torch.equal(value, trained[name]), name
    plain = Race(judge, SCHEDULE, SETTINGS, seed=2).network(winner, rounds).state_dict()
    assert any(not torch.equal(value, plain[name]) for name, value in whole.named_parameters())


def test_budgets_share_trainings_and_do_not_matter_to_each_other(
    judge: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = [NETWORKS[:4], NETWORKS[2:7], [NETWORKS[9]]]
    trained: list[tuple[Architecture, int]] = []
    run_round = Race._run_round

    def counted(self: Race, architecture: Architecture, number: int, progress: object) -> object:
        trained.append((architecture, number))
        return run_round(self, architecture, number, progress)  # type: ignore[arg-type]

    monkeypatch.setattr(Race, "_run_round", counted)
    together = Race(judge, SCHEDULE, SETTINGS)
    raced = together.run(fields)
    assert (
        len(trained)
        == len(set(trained))
        == len({(r.architecture, n) for f in raced for r in f.racers for n, _ in enumerate(r.rounds)})
    )
    turned = Race(judge, SCHEDULE, SETTINGS).run(fields[::-1])[::-1]
    for field, found, other in zip(fields, raced, turned, strict=True):
        alone = Race(judge, SCHEDULE, SETTINGS)
        (single,) = alone.run([field])
        assert outcome(found) == outcome(other) == outcome(single)
        winner, rounds = found.winner.architecture, len(found.winner.rounds)
        for name, value in together.network(winner, rounds).state_dict().items():
            assert torch.equal(value, weights(alone, winner)[name]), name


def test_spending_counts_what_is_shared_once(judge: Evaluator, images: DataSplits) -> None:
    first, second = Race(judge, SCHEDULE, SETTINGS).run([NETWORKS[:2], NETWORKS[1:3]])
    assert first.spent.images + second.spent.images == 4 * first.winner.rounds[0].spent.images
    assert spending([first, second]).images == 3 * first.winner.rounds[0].spent.images
    done, macs = first.winner.rounds[0], build_costs(SPACE)["macs"].cost(first.winner.architecture)
    steps = round(0.5 * (len(images.train) // 16))
    assert (done.trained.images, done.scored.images) == (steps * 16, 32 + len(images.validation))
    assert done.spent.macs == macs * done.spent.images
    assert done.spent.evaluations == 0  # no network is judged that had not been


def test_rounds_go_through_whole_epochs(images: DataSplits) -> None:
    batches, device = training_batches(images, SCHEDULE, 3), torch.device("cpu")
    rounds = Rounds(batches, 0.3)
    count = 4 * batches.per_epoch // rounds.per_epoch
    parts = [labels for r in range(1, count + 1) for _, labels in rounds.epoch(r, device)]
    whole = [labels for e in range(1, 5) for _, labels in batches.epoch(e, device)]
    assert len(parts) == count * rounds.per_epoch
    assert all(torch.equal(a, b) for a, b in zip(parts, whole, strict=False))
    rest = [pixels for pixels, _ in rounds.epoch(4, device, start=2)]
    assert all(torch.equal(a, b) for a, (b, _) in zip(rest, list(rounds.epoch(4, device))[2:], strict=True))


def test_the_learning_rate_falls_in_every_round(images: DataSplits) -> None:
    course = course_of_rounds(images, SCHEDULE, 0.5, rounds=3, seed=0)
    steps = course.batches.per_epoch
    factors = [course.factor(step) for step in range(3 * steps)]
    assert factors[0] == 1.0
    assert factors == factors[:steps] * 3
    assert all(a > b for a, b in pairwise(factors[:steps]))


class _Liar(Strategy):
    """Judges some networks, and answers with the first of them."""

    name = "liar"
    judged: Sequence[Architecture] = ()

    def find(self, budgets: BudgetSet) -> Found:
        allowed = [network for network in self.judged if self.allowed(network, budgets)]
        self.evaluator.scores(allowed)
        return Found(allowed[0])


def answered(judge: Evaluator, budgets: BudgetSet, judged: Sequence[Architecture]) -> tuple[_Liar, Candidate]:
    evaluator = Evaluator(judge.supernet, judge.subnet_evaluator.data, EvaluatorSettings(calibration_images=32))
    strategy = _Liar(SearchContext(evaluator, build_costs(SPACE)))
    strategy.judged = judged
    return strategy, strategy.search([budgets])[0]


def test_the_best_judged_networks_within_the_budgets_race(judge: Evaluator) -> None:
    costs = sorted(build_costs(SPACE)["macs"].cost(network) for network in NETWORKS)
    budgets = BudgetSet.parse(f"macs<={costs[len(costs) // 2]}")
    strategy, answer = answered(judge, budgets, NETWORKS)
    found = finalists(strategy, answer, RaceSettings(candidates=4))
    scored = strategy.evaluator.scored
    losses = sorted(scored[a].loss for a in scored)
    assert len(found) == 4
    assert answer.architecture in found
    assert [scored[a].loss for a in found[:3]] == losses[:3]
    ranked = finalists(strategy, answer, RaceSettings(candidates=100, by="metric"))
    assert set(ranked) == set(scored)  # no more were judged
    ranks = [scored[a].rank for a in ranked]
    assert ranks == sorted(ranks, reverse=True)
    assert all(build_costs(SPACE)["macs"].cost(a) <= costs[len(costs) // 2] for a in ranked)
    # Not in which order they were judged.
    other, again = answered(judge, budgets, [answer.architecture, *NETWORKS[::-1]])
    assert finalists(other, again, RaceSettings(candidates=6)) == finalists(
        strategy, answer, RaceSettings(candidates=6)
    )


def test_finds_the_better_network_where_the_supernet_is_wrong(
    judge: Evaluator, images: DataSplits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of the supernet has weights that are worth nothing, and its score does not say so."""
    good, bad = Architecture(SPACE.name, (1,) * 3), Architecture(SPACE.name, (2,) * 3)
    assert SPACE.simplified(good) == good
    assert SPACE.simplified(bad) == bad
    evaluator = Evaluator(judge.supernet, images, EvaluatorSettings(calibration_images=32))
    strategy = _Liar(SearchContext(evaluator, build_costs(SPACE)))
    strategy.judged = [bad, good]
    (answer,) = strategy.search([BudgetSet.parse("macs<=1G")])
    planted = {good: 50.0, bad: 99.0}
    for network, top1 in planted.items():
        figures = {"top1_percent": top1, "balanced_accuracy_percent": top1}
        evaluator._scores[network] = Metrics(1 - top1 / 100, figures)
    answer = replace(answer, metrics=evaluator.scored[bad])
    race = Race(evaluator, SCHEDULE, replace_settings(epochs_per_round=1.0))
    extract = judge.supernet.extract

    def wrecked(architecture: Architecture) -> torch.nn.Sequential:
        network = extract(architecture)
        if architecture == bad:
            for parameter in network.parameters():
                parameter.data.zero_()  # nothing that comes in goes on, and no gradient comes back
        return network

    monkeypatch.setattr(judge.supernet, "extract", wrecked)
    (after,), spent = race_answers(race, strategy, [answer])
    assert answer.architecture == bad
    assert after.architecture == good
    assert after.metrics == evaluator.scored[good]  # the supernet's score stays what it is
    assert after.costs == {name: model.cost(good) for name, model in build_costs(SPACE).items()}
    assert after.race is not None
    assert after.race.winner.supernet_place == 2
    assert spent.images == after.race.spent.images > 0


def replace_settings(**changes: object) -> RaceSettings:
    return SETTINGS.model_copy(update=changes)


def test_a_journal_spares_finished_rounds(judge: Evaluator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def race() -> Race:
        return Race(judge, SCHEDULE, SETTINGS, context=RaceContext(journal=Journal(tmp_path / "race.jsonl", {})))

    (first,) = race().run([NETWORKS[:4]])
    monkeypatch.setattr(Race, "_run_round", None)  # nothing is left to be run
    (again,) = race().run([NETWORKS[:4]])
    assert outcome(again) == outcome(first)
    assert again.spent.seconds == first.spent.seconds


def test_rounds_whose_figures_were_lost_are_run_again(judge: Evaluator, tmp_path: Path) -> None:
    """A state that is further than the journal is no state of an earlier round."""
    journal = Journal(tmp_path / "race.jsonl", {})
    race = Race(judge, SCHEDULE, SETTINGS, context=RaceContext(journal=journal))
    (first,) = race.run([NETWORKS[:4]])
    path = tmp_path / "race.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    again = Race(judge, SCHEDULE, SETTINGS, context=RaceContext(journal=Journal(path, {})))
    again._kept = race._kept
    assert outcome(again.run([NETWORKS[:4]])[0]) == outcome(first)


def test_a_loss_that_is_no_number_names_the_settings(judge: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    extract = judge.supernet.extract

    def broken(architecture: Architecture) -> torch.nn.Sequential:
        network = extract(architecture)
        next(network.parameters()).data.fill_(torch.nan)
        return network

    monkeypatch.setattr(judge.supernet, "extract", broken)
    with pytest.raises(TrainingError, match=r"race \w+: the loss .*lower learning_rate.*\[search.race\]"):
        Race(judge, SCHEDULE, SETTINGS).run([NETWORKS[:2]])


def test_batches_that_cannot_be_cut_are_named(recipe_file: Path) -> None:
    with pytest.raises(ConfigError, match=r"search.race.batch_size: 6 in 4 parts \(retrain.accumulate\)"):
        load_recipe(recipe_file, ["retrain.accumulate=4", "search.race.batch_size=6"])


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("search.race.candidates=0", "search.race.candidates"),
        ("search.race.batch_size=1", "search.race.batch_size 1 leaves fewer than 2 images"),
        ("search.race.epochs_per_round=0.0", "search.race.epochs_per_round"),
        ("search.race.learning_rate=-1.0", "search.race.learning_rate"),
        ("search.race.by=top1", "search.race.by"),
        ("search.race.rounds=3", "unknown key search.race.rounds"),
    ],
)
def test_bad_settings_are_named(recipe_file: Path, override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words.replace(".", r"\.")):
        load_recipe(recipe_file, [override])


def test_the_schedule_is_that_of_retraining_unless_said(recipe_file: Path) -> None:
    recipe = load_recipe(recipe_file, ["retrain.momentum=0.5", "search.race.learning_rate=0.01"])
    schedule = recipe.search.race.schedule(recipe.retrain)
    assert (schedule.learning_rate, schedule.batch_size, schedule.momentum) == (0.01, 16, 0.5)
    assert not recipe.search.race.enabled
