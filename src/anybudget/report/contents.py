"""`RunContents`: what a run folder says, read and checked, with nothing trusted that can be computed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anybudget.architecture import Architecture
from anybudget.errors import RunError
from anybudget.report.compared import Comparison, read_comparison
from anybudget.report.measured import Measured, budgets_and_costs, read_measured
from anybudget.storage.records import Curve, Layers, Record, read_curve, read_json, read_json_lines, read_toml
from anybudget.storage.run_folder import RunFolder

STAGES = {
    "supernet": "supernet training",
    "generator": "generator training",
    "search": "search",
    "random": "random baseline",
    "retrain": "retraining",
}
"""The stages in the order they run, and their names for people."""

TRAINING_COLUMNS = ("epoch", "loss", "train_top1_percent", "learning_rate", "seconds")
GENERATOR_COLUMNS = ("epoch", "cross_entropy", "budget_gap_percent", "temperature", "seconds")


@dataclass(frozen=True, slots=True)
class Answer(Measured):
    """What the search answered to one query; `log_probability` is None for strategies without a distribution.

    `largest_class_percent` is the share of the largest class of the validation images; None if the run does not say.
    """

    largest_class_percent: float | None
    log_probability: float | None
    seconds: float
    layers: Layers


@dataclass(frozen=True, slots=True)
class Retrained:
    """One retrained network; `id` is its folder's name, `curve` is None where its weights were only inherited."""

    id: str
    architecture: Architecture
    costs: dict[str, float]
    test_top1_percent: float
    test_balanced_accuracy_percent: float | None
    test_largest_class_percent: float | None
    validation_top1_percent: float | None
    inherited: bool
    epochs: int
    seconds: float
    curve: Curve | None


@dataclass(frozen=True, slots=True)
class StageTime:
    """How long a stage took, and when it finished (ISO 8601)."""

    stage: str
    seconds: float
    finished: str


@dataclass(frozen=True, slots=True)
class RunContents:
    """Everything in a run folder that a report shows; what has not been written yet is empty or None."""

    folder: str
    recipe_text: str
    recipe: dict[str, Any]
    provenance: dict[str, str]
    stages: tuple[StageTime, ...]
    supernet: Curve | None
    generator: Curve | None
    answers: tuple[Answer, ...]
    random: tuple[Measured, ...]
    comparison: Comparison | None
    retrained: tuple[Retrained, ...]
    retraining: tuple[str, ...]


def read_run(run: Path) -> RunContents:
    """Read the run folder `run`.

    Raises:
        RunError: `run` is no run folder, or a file in it is damaged; the message names the file and line.
    """
    RunFolder.open(run)
    recipe_text, recipe = read_toml(run / "recipe.toml")
    retrained, retraining = _read_retrained(run / "retrain")
    return RunContents(
        folder=run.resolve().name,
        recipe_text=recipe_text,
        recipe=recipe,
        provenance=_read_provenance(run / "provenance.json"),
        stages=_read_stages(run / "stages.json"),
        supernet=read_curve(run / "supernet.csv", TRAINING_COLUMNS),
        generator=read_curve(run / "generator.csv", GENERATOR_COLUMNS),
        answers=tuple(_answer(record) for record in read_json_lines(run / "candidates.jsonl")),
        random=tuple(read_measured(record) for record in read_json_lines(run / "random.jsonl")),
        comparison=read_comparison(run / "compare.json"),
        retrained=retrained,
        retraining=retraining,
    )


def _answer(record: Record) -> Answer:
    budgets, costs = budgets_and_costs(record)
    return Answer(
        budgets,
        record.architecture("architecture"),
        costs,
        record.number("supernet_top1_percent"),
        record.later_number("supernet_balanced_accuracy_percent"),
        record.later_number("validation_largest_class_percent"),
        record.optional_number("log_probability"),
        record.number("seconds"),
        record.layers("layers"),
    )


def _read_provenance(path: Path) -> dict[str, str]:
    record = read_json(path)
    values = record.values if record else {}
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}


def _read_stages(path: Path) -> tuple[StageTime, ...]:
    record = read_json(path)
    if record is None:
        return ()
    known = [stage for stage in STAGES if stage in record.values]
    others = [stage for stage in record.values if stage not in STAGES]
    return tuple(_stage(stage, record.record(stage)) for stage in known + others)


def _stage(stage: str, record: Record) -> StageTime:
    seconds = record.number("seconds")
    if seconds < 0:
        raise RunError(f'{record.where}: "seconds" must not be negative, found {seconds:g}')
    return StageTime(stage, seconds, record.text("finished"))


def _read_retrained(folder: Path) -> tuple[tuple[Retrained, ...], tuple[str, ...]]:
    """The finished networks, and the ids of those whose retraining has begun but has no result yet."""
    folders = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    finished, unfinished = [], []
    for path in folders:
        record = read_json(path / "result.json")
        if record is not None:
            finished.append(_retrained(path, record))
        elif (path / "retrain.csv").exists():
            unfinished.append(path.name)
    return tuple(finished), tuple(unfinished)


def _retrained(path: Path, record: Record) -> Retrained:
    return Retrained(
        id=path.name,
        architecture=record.architecture("architecture"),
        costs=record.numbers("costs"),
        test_top1_percent=record.number("test_top1_percent"),
        test_balanced_accuracy_percent=record.later_number("test_balanced_accuracy_percent"),
        test_largest_class_percent=record.later_number("test_largest_class_percent"),
        validation_top1_percent=record.later_number("validation_top1_percent"),
        inherited=record.flag("inherited"),
        epochs=int(record.number("epochs")),
        seconds=record.number("seconds"),
        curve=read_curve(path / "retrain.csv", TRAINING_COLUMNS),
    )
