"""`RunContents`: what a run folder says, read and checked, with nothing trusted that can be computed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anybudget.storage.records import (
    Answer,
    Comparison,
    Curve,
    Detected,
    Health,
    Measured,
    MeasuredLatency,
    Provenance,
    Retrained,
    Worth,
    ZooTrained,
    read_curve,
    read_record,
    read_records,
    read_toml,
)
from anybudget.storage.run_folder import RunFolder

STAGES = {
    "supernet": "supernet training",
    "generator": "generator training",
    "search": "search",
    "random": "random baseline",
    "retrain": "retraining",
    "latency": "latency of the answers",
    "worth": "trained comparison",
}
"""The stages in the order they run, and their names for people."""

TRAINING_COLUMNS = ("epoch", "loss", "train_top1_percent", "learning_rate", "seconds")
GENERATOR_COLUMNS = ("epoch", "cross_entropy", "budget_gap_percent", "temperature", "seconds")
LATER_COLUMNS = ("waiting_seconds",)
"""What runs from before lack."""


@dataclass(frozen=True, slots=True)
class RetrainedNetwork:
    """One retrained network; `id` is its folder's name, `curve` is None where its weights were only inherited."""

    id: str
    result: Retrained
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
    earlier_comparisons: tuple[str, ...]
    health: Health | None
    latencies: tuple[MeasuredLatency, ...]
    worth: Worth | None
    retrained: tuple[RetrainedNetwork, ...]
    retraining: tuple[str, ...]
    zoo: tuple[ZooTrained, ...] = ()
    detectors: tuple[tuple[str, Detected], ...] = ()


def read_run(run: Path) -> RunContents:
    """Read the run folder `run`.

    Raises:
        RunError: `run` is no run folder, or a file in it is damaged; the message names the file and line.
    """
    folder = RunFolder.open(run)
    recipe_text, recipe = read_toml(run / "recipe.toml")
    retrained, retraining = _read_retrained(run / "retrain")
    return RunContents(
        folder=run.resolve().name,
        recipe_text=recipe_text,
        recipe=recipe,
        provenance=_read_provenance(run / "provenance.json"),
        stages=_read_stages(folder),
        supernet=read_curve(run / "supernet.csv", TRAINING_COLUMNS, LATER_COLUMNS),
        generator=read_curve(run / "generator.csv", GENERATOR_COLUMNS, LATER_COLUMNS),
        answers=tuple(read_records(run / "candidates.jsonl", Answer)),
        random=tuple(read_records(run / "random.jsonl", Measured)),
        comparison=read_record(run / "compare.json", Comparison),
        earlier_comparisons=_kept(run),
        health=read_record(run / "health.json", Health),
        latencies=tuple(read_records(run / "latency.jsonl", MeasuredLatency)),
        worth=read_record(run / "worth.json", Worth),
        retrained=retrained,
        retraining=retraining,
        zoo=_read_zoo(run / "zoo"),
        detectors=_read_detectors(run / "detect"),
    )


def _read_provenance(path: Path) -> dict[str, str]:
    record = read_record(path, Provenance)
    values = record.to_json() if record else {}
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}


def _read_stages(folder: RunFolder) -> tuple[StageTime, ...]:
    notes = folder.stages()
    known = [stage for stage in STAGES if stage in notes]
    others = [stage for stage in notes if stage not in STAGES]
    return tuple(StageTime(stage, notes[stage].seconds, notes[stage].finished) for stage in known + others)


def _read_retrained(folder: Path) -> tuple[tuple[RetrainedNetwork, ...], tuple[str, ...]]:
    """The finished networks, and the ids of those whose retraining has begun but has no result yet."""
    folders = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    finished, unfinished = [], []
    for path in folders:
        result = read_record(path / "result.json", Retrained)
        if result is not None:
            curve = read_curve(path / "retrain.csv", TRAINING_COLUMNS, LATER_COLUMNS)
            finished.append(RetrainedNetwork(path.name, result, curve))
        elif (path / "retrain.csv").exists():
            unfinished.append(path.name)
    return tuple(finished), tuple(unfinished)


def _read_zoo(folder: Path) -> tuple[ZooTrained, ...]:
    """The published networks that were trained here, as they were trained last."""
    paths = sorted(path for path in folder.glob("*/result.json") if "." not in path.parent.name)
    return tuple(record for path in paths if (record := read_record(path, ZooTrained)) is not None)


def _read_detectors(folder: Path) -> tuple[tuple[str, Detected], ...]:
    """The detectors that were trained on networks of the run, by their folders."""
    paths = sorted(folder.glob("*/result.json"))
    return tuple((path.parent.name, record) for path in paths if (record := read_record(path, Detected)) is not None)


def _kept(run: Path) -> tuple[str, ...]:
    """Earlier comparisons, the oldest first."""
    numbered = {
        int(path.stem.removeprefix("compare.")): path.name
        for path in run.glob("compare.[0-9]*.json")
        if path.stem.removeprefix("compare.").isdigit()
    }
    return tuple(numbered[number] for number in sorted(numbered))
