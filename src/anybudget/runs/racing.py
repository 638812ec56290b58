"""Races of a run: made as its recipe sets them; what they leave in `race/ID/` for later races and for retraining."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from anybudget.architecture import Architecture
from anybudget.data import DataFacts
from anybudget.evaluation.metrics import Metrics, applicable
from anybudget.nets import build_network
from anybudget.recipe import reproducibility_settings
from anybudget.runs.context import RunContext
from anybudget.runs.data_identity import FACTS
from anybudget.runs.judging import calibrated_with
from anybudget.runs.trained import NETWORK, WEIGHTS, describe
from anybudget.runs.work import Work
from anybudget.runtime.accounting import Spending
from anybudget.runtime.distributed import Processes
from anybudget.search.base import Candidate, Strategy
from anybudget.search.finalists import race_answers
from anybudget.search.race import Race, RaceContext, training_name
from anybudget.search.raced import Round
from anybudget.storage.records import RacedNetwork, RaceRound, checked, read_record
from anybudget.storage.weights import read_weights
from anybudget.training.loop import TrainingContext

FOLDER = "race"
"""Where in a run folder networks that have raced are kept, each in a folder of its own."""

RACE_AGAIN = "delete that folder, and search again to have it back"


class RunRace:
    """The race of one piece of work in a run; several strategies may share it.

    Args:
        run: the run.
        work: what it is searching for, so that it is saved.
    """

    def __init__(self, run: RunContext, work: Work) -> None:
        self._run, self._work = run, work
        self._settings = settings_of(run)
        section = run.recipe.search.race
        context = RaceContext(self._training_context, work.journal(FOLDER), self._earlier, run.progress, run.workers)
        schedule = section.schedule(run.recipe.retrain)
        self._race = Race(run.evaluator, schedule, section, seed=run.recipe.seed, context=context)

    def answers(self, strategy: Strategy, found: Sequence[Candidate]) -> tuple[list[Candidate], Spending]:
        """The answers of a strategy after the race, and what it has cost; leaves `race/ID/` for all that took part."""
        answers, spent = race_answers(self._race, strategy, found)
        races = [answer.race for answer in answers if answer.race is not None]
        rounds: dict[Architecture, int] = {}
        for racer in [racer for race in races for racer in race.racers]:
            rounds[racer.architecture] = max(len(racer.rounds), rounds.get(racer.architecture, 0))
        winners = {race.winner.architecture for race in races}
        for architecture, most in rounds.items():
            self._keep(architecture, most if architecture in winners else 0)
            self._work.checkpoint(training_name(architecture))  # which an earlier process may have left
        return answers, spent

    def _training_context(self, name: str) -> TrainingContext:
        # A search runs in one process, whatever trained the supernet.
        processes = Processes(self._run.device)
        return self._work.training_context(rollbacks=self._run.recipe.retrain.rollbacks, part=name, processes=processes)

    def _earlier(self, architecture: Architecture) -> list[Round]:
        """Rounds that earlier work has finished, if it raced as this does."""
        record = record_of(self._run, architecture)
        if record is None or record.settings != self._settings:
            return []
        metric, names = self._run.recipe.search.metric, applicable(self._run.data.classes)
        found = [(done, done.figures(names)) for done in record.rounds]
        if not all(figures.keys() >= set(names) for _, figures in found):
            return []  # a metric has been registered since
        return [_round_of(done, Metrics(done.validation_loss, figures, metric)) for done, figures in found]

    def _keep(self, architecture: Architecture, wanted: int) -> None:
        """Write the rounds of a network and, unless 0 are wanted, its weights after so many of them.

        What raced otherwise is kept beside it; weights after more rounds of the same race stay.
        """
        folder, name = self._run.folder, f"{FOLDER}/{architecture.short_id}"
        rounds, former = self._race.rounds(architecture), record_of(self._run, architecture)
        if former is not None and former.settings != self._settings:
            folder.keep(name)
            former = None
        kept = 0 if former is None else former.weights_rounds
        if former is not None and len(former.rounds) >= len(rounds) and kept >= wanted:
            return
        if wanted > kept:
            # The record says whose weights are there, so it must not outlive them.
            (folder.path / name / "result.json").unlink(missing_ok=True)
            folder.save_weights(f"{name}/{WEIGHTS}", self._race.network(architecture, wanted))
            folder.write_json(f"{name}/{NETWORK}", describe(self._run.recipe, architecture, derived=False))
            folder.write_json(f"{name}/{FACTS}", DataFacts.of(self._run.listing, self._run.data).to_dict())
        result = {
            "architecture": architecture.to_dict(),
            "costs": {cost: model.cost(architecture) for cost, model in self._run.costs.items()},
            "weights_rounds": max(wanted, kept),
            "rounds": [done.to_dict() for done in rounds],
            "settings": self._settings,
        }
        folder.write_json(f"{name}/result.json", checked(result, RacedNetwork, name).to_json())


def settings_of(run: RunContext) -> dict[str, Any]:
    """What decides what a network is after a round, as `result.json` keeps it."""
    section, recipe = run.recipe.search.race, reproducibility_settings(run.recipe)
    schedule = section.schedule(run.recipe.retrain)
    return {
        "start": section.start,
        "epochs_per_round": section.epochs_per_round,
        "schedule": schedule.model_dump(mode="json", exclude={"epochs", "warmup_epochs"}),
        "rollbacks": run.recipe.retrain.rollbacks,
        **calibrated_with(run.recipe),
        "seed": run.recipe.seed,
        "space": recipe["space"],
        "data": DataFacts.of(run.listing, run.data).settings(),
        # What starts afresh owes nothing to a supernet: after another one has been trained, its rounds are still known.
        **(run.origin() if section.start == "supernet" else {}),
    }


def record_of(run: RunContext, architecture: Architecture) -> RacedNetwork | None:
    """What races have left of a network; None if it has not raced.

    Raises:
        RunError: the file is damaged.
    """
    return read_record(run.folder.path / FOLDER / architecture.short_id / "result.json", RacedNetwork, RACE_AGAIN)


def raced_weights(run: RunContext, architecture: Architecture) -> dict[str, str]:
    """What tells the weights that a network has from a race of this supernet, as a setting; empty if it has none."""
    record = record_of(run, architecture)
    if record is None or not record.weights_rounds or record.settings.get("supernet") != run.origin()["supernet"]:
        return {}
    return {"race": run.folder.digest(f"{FOLDER}/{architecture.short_id}/{WEIGHTS}")}


def inherited_network(run: RunContext, architecture: Architecture) -> nn.Module:
    """A network with the weights of its race, if it has raced, or else with those of the supernet, calibrated.

    Raises:
        RunError: the weights of its race are damaged.
    """
    if not raced_weights(run, architecture):
        return run.new_evaluator().network(architecture)
    network = build_network(run.space.block_specs(architecture))
    path = run.folder.path / FOLDER / architecture.short_id / WEIGHTS
    read_weights(path, network, RACE_AGAIN, described_by="its architecture")
    return network


def _round_of(done: RaceRound, metrics: Metrics) -> Round:
    """A round as it was recorded."""
    return Round(
        metrics,
        Spending(0, done.images_trained, done.macs_trained, done.seconds),
        Spending(0, done.images_scored, done.macs_scored),
    )
