"""Stage `worth`: answers of a search against random networks of the same cost, all trained alone, from scratch."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from anybudget.architecture import Architecture
from anybudget.data import largest_class_percent
from anybudget.errors import DataError
from anybudget.evaluation.evaluator import Evaluator
from anybudget.evaluation.metrics import BALANCED, Metrics
from anybudget.runs.context import RunContext
from anybudget.runs.rivals import Entry, Question, Rival, entries_of
from anybudget.runs.trainings import Training, compared_by, train_each, training_settings
from anybudget.search.base import best_first
from anybudget.storage.records import TrainedAlone, TrainedNetwork, Worth, checked
from anybudget.worth.summary import Figures, summarise

FILE = "worth.json"

FEWEST_IMAGES = 20
"""Test images that a comparison needs: with fewer, one image is more than five points."""


def worth_of_picks(run: RunContext) -> Worth:
    """Train the comparisons that `[worth]` of the recipe asks for, as a stage of the run."""
    section, budgets = run.recipe.worth, run.recipe.budget_sets()
    picked = [budgets[pick - 1] for pick in section.picks] or budgets
    return worth(run, Question(section, picked), stage=True)


def worth(run: RunContext, question: Question, *, stage: bool = False) -> Worth:
    """Train answers, random networks and their other rivals alike, and say what the search was worth.

    Writes `worth.json`, keeping a former one that says something else. Figures of trainings are kept in
    `worth/trained/`, so that asking again, for more random networks too, trains only what is new.

    Args:
        run: the run, which has a trained supernet and answers.
        question: which answers are compared with what.
        stage: whether it is noted as a stage of the run.

    Raises:
        BudgetError: a budget cannot be met.
        ConfigError: fewer than two random networks, or a reference that belongs to no budget.
        DataError: there are too few test images or classes.
        RunError: a budget has no answer, or fewer than two random networks; or a file is damaged.
    """
    settings, started = question.settings, time.perf_counter()
    _check_data(run)
    entries = entries_of(run, question)
    epochs = settings.epochs or run.recipe.retrain.epochs
    seeds = tuple(run.recipe.seed + index for index in range(settings.seeds))
    with run.evaluating("worth", stage=stage) as work:
        scores = _judge(run, run.new_evaluator(work.journal()), entries, settings.scored)
        trainings = [Training(a, seed, epochs) for a in _architectures(entries) for seed in seeds]
        results = train_each(run, trainings, "worth")
        run.replace("worth")
        found = {
            "metric": compared_by(run),
            "epochs": epochs,
            "seeds": seeds,
            "scored": settings.scored,
            "random_window": run.recipe.search.random_window,
            "strategy": question.strategy,
            "test_images": len(run.data.test()),
            "test_largest_class_percent": largest_class_percent(run.data.test().labels),
            "settings": training_settings(run, trainings[0]),
            "budgets": [_at_budget(entry, _networks(run, results, scores)) for entry in entries],
            "seconds": time.perf_counter() - started,
        }
        record = checked(found, Worth, FILE)
        run.folder.write_result(FILE, record.to_json())
    return record


def _architectures(entries: Sequence[Entry]) -> list[Architecture]:
    """What is trained, each once, the answers first."""
    rivals = [rival for entry in entries for rival in entry.rivals]
    return list(dict.fromkeys(r.architecture for r in sorted(rivals, key=lambda rival: rival.role != "answer")))


def _networks(
    run: RunContext, results: Sequence[TrainedAlone], scores: Mapping[Architecture, Metrics]
) -> dict[Architecture, dict[str, Any]]:
    """What `worth.json` says of each architecture besides its role."""
    networks: dict[Architecture, dict[str, Any]] = {}
    for result in results:
        architecture = result.architecture
        said = {"costs": result.costs, "supernet": scores[architecture].to_dict(), "test_percent": []}
        network = networks.setdefault(architecture, {"architecture": architecture, **said})
        network["test_percent"].append(result.test_figure(compared_by(run)))
        if compared_by(run) != BALANCED and result.test_balanced_accuracy_percent is not None:
            kept = network.setdefault("test_balanced_accuracy_percent", [])
            kept.append(result.test_balanced_accuracy_percent)
    return networks


def _check_data(run: RunContext) -> None:
    """Check that test figures can be compared.

    Raises:
        DataError: they cannot.
    """
    labels = run.data.test().labels
    classes = len(labels.unique())
    if len(labels) < FEWEST_IMAGES:
        raise DataError(
            f"{run.source}: {len(labels)} test images are too few to compare trained networks, as one of them is "
            f"{100 / max(1, len(labels)):.1f} points; begin a run with a test split of {FEWEST_IMAGES} or more, better "
            "thousands (data.test_fraction)"
        )
    if classes < 2:
        raise DataError(
            f"{run.source}: all {len(labels)} test images are of one class, so trained networks cannot be compared; "
            "begin a run whose test split has images of every class"
        )


def _judge(run: RunContext, evaluator: Evaluator, entries: Sequence[Entry], scored: int) -> dict[Architecture, Metrics]:
    """What the supernet says of all that are trained, and its first of the random networks, which are, too."""
    asked = [dict.fromkeys([*entry.pool, *(rival.architecture for rival in entry.rivals)]) for entry in entries]
    scores: dict[Architecture, Metrics] = {}
    with run.progress.task("worth, scores of the supernet", sum(map(len, asked))) as task:
        for entry, architectures in zip(entries, asked, strict=True):
            scores |= dict(zip(architectures, evaluator.scores(list(architectures), task), strict=True))
            if scored:
                entry.rivals.append(Rival("supernet_first", best_first({a: scores[a] for a in entry.pool})[0]))
    return scores


def _at_budget(entry: Entry, networks: Mapping[Architecture, Mapping[str, Any]]) -> dict[str, Any]:
    """The entry of one budget set, with test figures and what they say."""
    trained = [
        TrainedNetwork.model_validate({"role": rival.role, "name": rival.name, **networks[rival.architecture]})
        for rival in entry.rivals
    ]
    return {
        "budgets": entry.budgets.limits(),
        "floor": entry.floor,
        "networks": trained,
        "summary": summarise([Figures.of(trained)]),
    }
