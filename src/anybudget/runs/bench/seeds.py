"""One seed of a bench, as a run: its supernet, the scores of networks, and what strategies answer.

Nothing here has read the table's accuracies: a run knows images, costs and budgets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anybudget.architecture import Architecture
from anybudget.data import balanced_order
from anybudget.evaluation.evaluator import Evaluator
from anybudget.evaluation.ranking import metrics_of
from anybudget.runs.context import RunContext
from anybudget.runs.judging import calibrated_with
from anybudget.runs.racing import RunRace
from anybudget.runs.run import Run
from anybudget.runs.searching import make_strategy, names_of
from anybudget.runtime.progress import Task
from anybudget.search import STRATEGIES
from anybudget.search.base import Strategy
from anybudget.storage.journal import Entry, Journal
from anybudget.storage.records import BenchAnswers, checked, read_record
from anybudget.tabular.harness import SeedScores

FOLDS = 4
"""Disjoint parts of the validation images on which losses are kept, for what halves of them agree on."""

GROUP = 256
"""Networks scored together: as many as are lost in a kill; those that begin alike share their start."""

FOLDER = "bench"
"""Where in a run folder scores and answers are."""


def run_seed(run: Run, networks: Sequence[Architecture], strategies: Sequence[str | type[Strategy]]) -> SeedScores:
    """Train, score networks and have every strategy answer; what has been done is kept.

    Args:
        run: of this seed, with the budgets in its recipe.
        networks: those that are scored whoever asks for them, in the order of the scores.
        strategies: which answer; a generator is trained if one of them asks it.

    Raises:
        Stopped: it was asked to stop, and has saved itself.
    """
    context = run.context
    if not run.folder.finished("supernet"):
        run.train_supernet()
    if any(kind_of(strategy).needs_generator for strategy in strategies) and not run.folder.finished("generator"):
        run.train_generator()
    with context.evaluating("bench scores") as scoring:
        path = context.folder.path / FOLDER / "scores.jsonl"
        journal = Journal(path, _scored_with(context), request=scoring.request, writes=context.folder.writes)
        score_all(context, networks, journal)
    evaluator = context.new_evaluator(journal)
    metrics = evaluator.scores(networks)
    answers = [answers_of(run, strategy, journal) for strategy in strategies]
    entries = [journal.entries[network.choices] for network in networks]
    return SeedScores(
        seed=run.recipe.seed,
        loss=np.array([found.loss for found in metrics]),
        top1=np.array([found.top1_percent for found in metrics]),
        fold_losses=np.array([[entry[_fold(number)] for entry in entries] for number in range(FOLDS)]),
        answers={found.strategy: found for found in answers},
        spent=evaluator.spent,
        training_seconds=run.folder.stages()["supernet"].seconds,
    )


def kind_of(strategy: str | type[Strategy]) -> type[Strategy]:
    """The class of a strategy that may be given by its name."""
    return STRATEGIES[strategy] if isinstance(strategy, str) else strategy


def score_all(run: RunContext, networks: Sequence[Architecture], journal: Journal) -> None:
    """Score these networks, unless the journal has them, with the loss on each fold of the validation images.

    Raises:
        Stopped: it was asked to stop; all scores are in the journal.
    """
    # What a strategy has asked for is in the journal without these losses.
    known = {choices for choices, entry in journal.entries.items() if _fold(0) in entry}
    missing = sorted((a for a in networks if a.choices not in known), key=lambda a: a.choices)
    if not missing:
        return
    evaluator = run.new_evaluator()
    labels = evaluator.subnet_evaluator.data.validation.labels.numpy()
    folds = np.empty(len(labels), dtype=np.int64)
    folds[balanced_order(labels, run.recipe.seed)] = np.arange(len(labels)) % FOLDS
    with run.progress.task("score networks", len(networks)) as task:
        task.advance(len(networks) - len(missing))
        for first in range(0, len(missing), GROUP):
            group = missing[first : first + GROUP]
            journal.add(_entries(evaluator, group, folds, task))
            journal.stop_if_asked()


def _entries(evaluator: Evaluator, group: Sequence[Architecture], folds: NDArray[np.int64], task: Task) -> list[Entry]:
    before, data = evaluator.spent.seconds, evaluator.subnet_evaluator.data
    answers = evaluator.per_image(group, task)
    share = (evaluator.spent.seconds - before) / len(group)
    metrics = metrics_of(answers, data.validation.labels.numpy(), data.classes)
    parts = [answers.losses[:, folds == number].mean(axis=1) for number in range(FOLDS)]
    return [
        (
            network.choices,
            {**found.to_dict(), "seconds": share, **{_fold(n): float(part[row]) for n, part in enumerate(parts)}},
        )
        for row, (network, found) in enumerate(zip(group, metrics, strict=True))
    ]


def _fold(number: int) -> str:
    return f"loss_on_part_{number + 1}"


def answers_of(run: Run, strategy: str | type[Strategy], journal: Journal) -> BenchAnswers:
    """What a strategy answers to the budgets of the recipe; kept in the run folder.

    Scores that the journal has count as if evaluated now, with their share of the time that scoring took; others are
    evaluated, and added to it.
    Where the recipe has a race at the end, the answers after it are there, too.
    """
    (name,) = names_of([strategy])
    context, path = run.context, run.folder.path / FOLDER / f"{name}.json"
    settings = _answered_with(run, name, generated=kind_of(strategy).needs_generator)
    found = read_record(path, BenchAnswers, "delete it to have the strategy answer again")
    if found is not None and found.settings == settings:
        return found
    budgets = run.recipe.budget_sets()
    context.check_budgets(budgets)
    with context.evaluating(f"bench {name}") as work:
        made = make_strategy(context, strategy, work, part=name, journal=journal)
        candidates = made.search(budgets)
        answers = {
            "strategy": name,
            "settings": settings,
            "limits": [next(iter(budget_set)).limit for budget_set in budgets],
            "architectures": [candidate.architecture.to_dict() for candidate in candidates],
            "losses": [loss if np.isfinite(loss := candidate.metrics.loss) else None for candidate in candidates],
            "seconds": [candidate.seconds for candidate in candidates],
            "spent": made.spent.to_dict(),
            "training": made.training.to_dict(),
        }
        if run.recipe.search.race.enabled:
            winners, spent = RunRace(context, work).answers(made, candidates)
            found_by_race = [winner.architecture.to_dict() for winner in winners]
            answers["raced"] = {"architectures": found_by_race, "spent": spent.to_dict()}
        record = checked(answers, BenchAnswers, str(path))
        run.folder.write_result(f"{FOLDER}/{name}.json", record.to_json())
    return record


def _scored_with(run: RunContext) -> dict[str, Any]:
    """What decides scores, besides the images, which the supernet's digest goes with."""
    return {**run.origin(), **calibrated_with(run.recipe), "seed": run.recipe.seed}


def _answered_with(run: Run, name: str, *, generated: bool) -> dict[str, Any]:
    """What decides the answers of a strategy, which asks the generator if they are `generated`."""
    recipe = run.recipe.model_dump(mode="json")
    search = recipe["search"]
    race = {"race": search["race"], "retrain": recipe["retrain"]} if run.recipe.search.race.enabled else {}
    return {
        **_scored_with(run.context),
        **({"generator": run.folder.digest("generator.safetensors")} if generated else {}),
        "search": {key: value for key, value in search.items() if not isinstance(value, dict)},
        "strategy": search.get(name, {}),
        "costs": recipe["costs"],
        **race,
    }
