"""Races of a run: made as its recipe sets them, and what they leave in `race/ID/` for later races and for retraining."""

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
from anybudget.runs.trained import NETWORK, WEIGHTS, describe
from anybudget.runs.work import Work
from anybudget.runtime.accounting import Spending
from anybudget.runtime.distributed import Processes
from anybudget.search.base import Candidate, Strategy
from anybudget.search.finalists import race_answers
from anybudget.search.race import Race, RaceContext
from anybudget.search.raced import Raced, Round
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
        context = RaceContext(self._training_context, work.journal(FOLDER), self._earlier, run.progress)
        schedule = section.schedule(run.recipe.retrain)
        self._race = Race(run.evaluator, schedule, section, seed=run.recipe.seed, context=context)

    def answers(self, strategy: Strategy, found: Sequence[Candidate]) -> tuple[list[Candidate], Spending]:
        """The answers of a strategy after the race, and what it has cost; leaves `race/ID/` for all that took part."""
        answers, spent = race_answers(self._race, strategy, found)
        for race in [answer.race for answer in answers if answer.race is not None]:
            self._keep(race)
        return answers, spent

    def _training_context(self, name: str) -> TrainingContext:
        # A search runs in one process, whatever trained the supernet.
        processes = Processes(self._run.device)
        return self._work.training_context(
            rollbacks=self._run.recipe.retrain.rollbacks, part=name, processes=processes
        )

    def _earlier(self, architecture: Architecture) -> list[Round]:
        """Rounds that earlier work has finished, if it raced as this does."""
        record = self._record(architecture)
        if record is None or record.settings != self._settings:
            return []
        metric, names = self._run.recipe.search.metric, applicable(self._run.data.classes)
        if not all(done.has(names) for done in record.rounds):
            return []  # a metric was registered since
        return [_round_of(done, names, metric) for done in record.rounds]

    def _keep(self, race: Raced) -> None:
        """Write what is known of the networks of a race, and the weights of its winner."""
        for racer in race.racers:
            architecture, rounds = racer.architecture, self._race.rounds(racer.architecture)
            former = self._record(architecture)
            wanted = len(rounds) if racer is race.winner else 0
            same = former is not None and former.settings == self._settings
            if former is not None and same and len(former.rounds) >= len(rounds) and former.weights_rounds >= wanted:
                continue
            if former is not None and not same:
                self._run.folder.keep(f"{FOLDER}/{architecture.short_id}")
            kept = former.weights_rounds if former is not None and same else 0
            self._write(architecture, rounds, wanted if wanted > kept else 0, kept)

    def _write(self, architecture: Architecture, rounds: Sequence[Round], wanted: int, kept: int) -> None:
        """Write a network's record and, if weights after `wanted` rounds are, its weights before."""
        folder, name = self._run.folder, f"{FOLDER}/{architecture.short_id}"
        if wanted:
            # The record says whose weights are there, so it must not outlive them.
            (folder.path / name / "result.json").unlink(missing_ok=True)
            folder.save_weights(f"{name}/{WEIGHTS}", self._race.network(architecture))
            folder.write_json(f"{name}/{NETWORK}", describe(self._run.recipe, architecture, derived=False))
            folder.write_json(f"{name}/{FACTS}", DataFacts.of(self._run.listing, self._run.data).to_dict())
        result = {
            "architecture": architecture.to_dict(),
            "costs": {cost: model.cost(architecture) for cost, model in self._run.costs.items()},
            "weights_rounds": wanted or kept,
            "rounds": [done.to_dict() for done in rounds],
            "settings": self._settings,
        }
        folder.write_json(f"{name}/result.json", checked(result, RacedNetwork, name).to_json())

    def _record(self, architecture: Architecture) -> RacedNetwork | None:
        return record_of(self._run, architecture)


def settings_of(run: RunContext) -> dict[str, Any]:
    """What decides what a network is after a round, as `result.json` keeps it."""
    section, recipe = run.recipe.search.race, reproducibility_settings(run.recipe)
    schedule = section.schedule(run.recipe.retrain)
    return {
        "epochs_per_round": section.epochs_per_round,
        "schedule": schedule.model_dump(mode="json", exclude={"epochs", "warmup_epochs"}),
        "rollbacks": run.recipe.retrain.rollbacks,
        "calibration_images": run.recipe.search.calibration_images,
        "seed": run.recipe.seed,
        "space": recipe["space"],
        "data": DataFacts.of(run.listing, run.data).settings(),
        **run.origin(),
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


def _round_of(done: RaceRound, names: Sequence[str], metric: str) -> Round:
    """A round as it was recorded."""
    figures = {name: done.figure(name) for name in names}
    seconds = done.seconds
    macs = done.macs_trained / done.images_trained
    return Round(
        Metrics(done.validation_loss, figures, metric),
        Spending(0, done.images_trained, done.macs_trained, seconds),
        Spending(0, done.images_scored, done.images_scored * macs),
    )
