"""The examination of an installation and of a run folder: what is there, what is wrong, and what helps."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from safetensors import SafetensorError, safe_open

from anybudget.errors import AnyBudgetError, RunError, reason
from anybudget.nets import build_supernet
from anybudget.recipe import Recipe
from anybudget.runs.context import RunContext
from anybudget.runs.data_identity import FACTS, LISTING
from anybudget.runs.environment import environment, free_bytes, size
from anybudget.runs.opening import open_run
from anybudget.runs.racing import FOLDER as RACES
from anybudget.runs.snapshots import snapshot_files
from anybudget.runs.threads import RunThreads
from anybudget.runs.trained import NETWORK, WEIGHTS, ZOO_FOLDER
from anybudget.runs.trainings import FOLDER as TRAININGS
from anybudget.runs.trainings import TRAIN_AGAIN
from anybudget.runs.unfinished import Check, UnfinishedWork
from anybudget.storage.files import UNFINISHED
from anybudget.storage.records import (
    Answer,
    Comparison,
    DataRecord,
    GeneratorSpent,
    Health,
    Measured,
    Network,
    PoolMember,
    Provenance,
    RacedNetwork,
    Ranking,
    Retrained,
    StageNote,
    SupernetSpent,
    TrainedAlone,
    Worth,
    ZooBuilt,
    ZooTrained,
    read_curve,
    read_record,
    read_records,
)
from anybudget.storage.records import Record as AnyRecord
from anybudget.storage.run_folder import RunFolder
from anybudget.training import SAMPLERS

POOL = "pool.jsonl"
"""What a sampler with a pool leaves besides."""

STAGE_FILES = {
    "supernet": ("supernet.csv", "supernet.json", "supernet.safetensors", POOL),
    "generator": ("generator.csv", "generator.json", "generator.safetensors"),
    "search": ("candidates.jsonl",),
    "random": ("random.jsonl",),
    "retrain": (),
}
"""What every finished stage leaves; retraining has a folder for each network."""

RECORDS = ("supernet.csv", "supernet.json", "generator.csv")
"""Those of them that no command needs but reports."""

NETWORK_FILES = ("architecture.json", NETWORK, FACTS, "retrain.csv", WEIGHTS, "result.json")
"""What a retrained network leaves, in the order of reading."""

COPIES = 3
"""How many checkpoints of one work are on disk while it saves itself: the last, the one before, and the new one."""


def examine(run: Path | None = None, data: str | None = None) -> dict[str, Any]:
    """What anybudget runs on, and whether a run folder is sound; nothing is changed.

    Args:
        run: the folder; None looks at the environment alone.
        data: where its data are looked for; where they lay when they were last used if None.

    Returns:
        `environment`, `run`, `checks` (each with `check`, `state` and `found`), and the number of `problems`.
    """
    checks = [] if run is None else list(examine_run(run, data))
    return {
        "environment": environment(Path.cwd() if run is None else run),
        "run": None if run is None else str(run),
        "checks": [asdict(check) for check in checks],
        "problems": sum(check.state == "problem" for check in checks),
    }


def examine_run(path: Path, data: str | None = None) -> Iterator[Check]:
    """Look at everything in a run folder; whatever is wrong with it is a check, never an error."""
    try:
        folder = RunFolder.open(path)
    except RunError as error:
        yield Check("run folder", "problem", str(error))
        return
    except OSError as error:
        yield Check("run folder", "problem", f"{reason(error)}; give the folder of a run")
        return
    writable = os.access(path, os.W_OK)
    said = "there, and may be written" if writable else "may not be written; make it writable before work is done here"
    yield Check("run folder", "ok" if writable else "note", said)
    recipe: Recipe | None = None
    try:
        run = open_run(path, data=data)
        recipe = run.recipe
        yield Check("recipe.toml", "ok", f"{recipe.name}, space {run.space.name}, seed {recipe.seed}")
        yield Check("device", "ok", f"{recipe.device}: {run.device}")
    except AnyBudgetError as error:
        where, way_out = ("device", ", in recipe.toml") if recipe else ("recipe.toml", "; mend it, or put it back")
        yield Check(where, "problem", f"{error}{way_out}")
    if recipe:
        yield _threads(run)
        yield _data(run)
    yield from _Examination(folder, recipe).checks()


def _threads(run: RunContext) -> Check:
    """How many threads a run computes with."""
    said = run.recipe.threads
    try:
        kept = RunThreads(run.folder, said).kept()
    except RunError as error:
        return Check("threads", "problem", str(error))
    if said:
        return Check("threads", "ok", f"{said}, as the recipe says")
    return Check("threads", "ok", f"{kept}, the fastest of its first training" if kept else "not timed in this run")


def _data(run: RunContext) -> Check:
    """Whether the data of a run are there, and are those that it was begun with; no image is decoded."""
    try:
        facts, listing = run.tie.facts(), run.listing
    except AnyBudgetError as error:
        return Check("data", "problem", str(error) if "; " in str(error) else f"{error}; put the data back")
    said = f"{run.source}: {len(listing.entries)} {listing.kind}, digest {listing.digest[:12]}"
    if facts is None and not (run.folder.path / "stages.json").exists():
        return Check("data", "ok", f"{said}; the first work ties the run to them")
    if facts is None:
        return Check("data", "note", f"{said}; {FACTS} does not say yet which the run uses: the next work writes it")
    if not (run.folder.path / LISTING).exists():
        return Check("data", "note", f"{said}, as begun with; {LISTING} is missing: the next work writes it again")
    return Check("data", "ok", f"{said}, as begun with")


def _rows(path: Path) -> str:
    curve = read_curve(path, ("epoch",))
    if curve is None:
        raise RunError(f"{path}: holds no row")
    return f"{len(curve.rows)} rows"


def _lines(path: Path) -> str:
    schema = SCHEMAS.get(path.name, Answer if path.parent.name == "search" else AnyRecord)
    return f"{sum(1 for _ in read_records(path, schema))} lines"


def _entries(path: Path) -> str:
    schema = NETWORK_SCHEMAS.get((path.parent.parent.name, path.name)) or SCHEMAS.get(path.name, AnyRecord)
    record = read_record(path, schema)
    return f"{len(record.model_dump())} entries" if record else "0 entries"


def _tensors(path: Path) -> str:
    try:
        with safe_open(path, framework="pt") as file:
            return f"{len(file.keys())} tensors"
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path}: damaged or not safetensors: {reason(error)}") from None


READERS: Mapping[str, Callable[[Path], str]] = {
    ".csv": _rows,
    ".json": _entries,
    ".jsonl": _lines,
    ".safetensors": _tensors,
}
"""What a file holds, in words; they raise `RunError` where it is damaged."""

SCHEMAS: Mapping[str, type[BaseModel]] = {
    "candidates.jsonl": Answer,
    "compare.json": Comparison,
    FACTS: DataRecord,
    "generator.json": GeneratorSpent,
    "health.json": Health,
    "network.json": Network,
    POOL: PoolMember,
    "provenance.json": Provenance,
    "random.jsonl": Measured,
    "rank.json": Ranking,
    "result.json": Retrained,
    "supernet.json": SupernetSpent,
    "worth.json": Worth,
}
"""What the objects of a file have to be; any object elsewhere."""


NETWORK_SCHEMAS: Mapping[tuple[str, str], type[BaseModel]] = {
    (RACES, "result.json"): RacedNetwork,
    (ZOO_FOLDER, "result.json"): ZooTrained,
    (ZOO_FOLDER, NETWORK): ZooBuilt,
}
"""Those of networks that are kept elsewhere than in `retrain`, by folder and file."""


class _Examination:
    """Looks at the files of one run folder; `recipe` is None where that is damaged."""

    def __init__(self, folder: RunFolder, recipe: Recipe | None) -> None:
        self.folder, self.path, self.recipe = folder, folder.path, recipe
        # Weights are looked at where there is always a device for them.
        self.run = RunContext(folder, recipe.model_copy(update={"device": "cpu"})) if recipe else None
        self.at_work = False
        self.stages: Mapping[str, StageNote] = {}
        self.unfinished = UnfinishedWork(folder, recipe, self.run)

    def checks(self) -> Iterator[Check]:
        """All of them."""
        yield self._work()
        yield from self._noted_stages()
        for stage, names in STAGE_FILES.items():
            yield self._stage(stage)
            finished = stage in self.stages
            for name in names:
                again = "do without, as only reports show it" if name in RECORDS else self._again(stage)
                if self.run and finished and name.endswith(".safetensors"):
                    yield self._weights(name, self.run)
                else:
                    yield from self._file(name, again, required=finished and (name != POOL or self._has_pool))
        yield from self._networks()
        yield from self._raced()
        yield from self._others()
        yield from self._unfinished()
        yield self._disk()

    @property
    def _has_pool(self) -> bool:
        return self.recipe is not None and SAMPLERS[self.recipe.supernet.sampler].has_pool

    def _work(self) -> Check:
        holder = self.folder.holder()
        if holder is None:
            return Check("at work", "ok", "nobody")
        who, locked = holder
        self.at_work = locked is not False
        if locked:
            return Check("at work", "note", who)
        if locked is None:
            return Check("at work", "note", f"perhaps {who}; this system does not tell")
        return Check("at work", "note", f"nobody; {who} was killed; the next work here resumes")

    def _noted_stages(self) -> Iterator[Check]:
        try:
            self.stages = self.folder.stages()
        except RunError as error:
            yield Check("stages.json", "problem", str(error))

    def _stage(self, stage: str) -> Check:
        noted = self.stages.get(stage)
        if noted is None:
            if stage == "generator" and self.recipe and not self.recipe.strategy.needs_generator:
                return Check(stage, "ok", f"not needed by the strategy {self.recipe.search.strategy}")
            command = f"{stage} {self.path}" if stage in ("supernet", "generator") else self._whole_run
            return Check(stage, "note", f"not finished; run: anybudget {command}")
        return Check(stage, "ok", f"finished {noted.finished}, after {noted.seconds:,.1f} s")

    @property
    def _whole_run(self) -> str:
        return f"run {self.path / 'recipe.toml'} --out {self.path}"

    def _again(self, stage: str) -> str:
        """How to have the files of a stage written again."""
        if stage not in self.stages:
            return f"run: anybudget {self._whole_run}"
        # What comes later was made with the supernet's weights.
        undo = "delete" if stage == "supernet" else f'take "{stage}" out of'
        return f"{undo} {self.path / 'stages.json'} and run: anybudget {self._whole_run}"

    def _file(self, name: str, again: str, *, required: bool = False) -> Iterator[Check]:
        """Look into one file; `again` is what to do without it, `required` whether it has to be there."""
        path = self.path / name
        if path.exists():
            try:
                yield Check(name, "ok", READERS[path.suffix](path))
            except RunError as error:
                yield Check(name, "problem", f"{error}; put it back as it was, or delete it and {again}")
        elif required:
            yield Check(name, "note" if name in RECORDS else "problem", f"missing; put it back, or {again}")

    def _weights(self, name: str, run: RunContext) -> Check:
        """Load the weights that a finished stage has left."""
        try:
            module = run.supernet if name.startswith("supernet") else run.generator
            count = sum(tensor.numel() for tensor in module.state_dict().values())
            return Check(name, "ok", f"fits the recipe; {count:,} numbers")
        except AnyBudgetError as error:
            return Check(name, "problem", str(error))
        except (MemoryError, RuntimeError) as error:
            return Check(name, "problem", f"cannot be loaded here: {reason(error)}; free some memory and look again")

    def _networks(self) -> Iterator[Check]:
        folders = sorted(path for path in self.path.glob("retrain/*") if path.is_dir())
        if not folders and "retrain" in self.stages and self.recipe and self.recipe.retrain.picks:
            yield Check("retrain", "problem", f"no network is there; {self._again('retrain')}")
        for path in (*folders, *sorted(path for path in self.path.glob(f"{ZOO_FOLDER}/*") if path.is_dir())):
            yield from self._network(path, f"{path.parent.name}/{path.name}")

    def _network(self, path: Path, name: str) -> Iterator[Check]:
        """What a retrained network has left, one of the run or one of the zoo."""
        if not (path / "result.json").exists():
            yield Check(name, "note", "retraining has begun and not ended; the same command resumes it")
            return
        of_zoo, wrong = path.parent.name == ZOO_FOLDER, []
        files = [file for file in NETWORK_FILES if not of_zoo or file != "architecture.json"]
        for file in files:
            other = "result.json" if file == "architecture.json" else "architecture.json"  # either says which it is
            which = f"--zoo {path.name.partition('.')[0]}" if of_zoo else path / other
            again = f"run: anybudget retrain {self.path} {which}"
            wrong += [found for found in self._file(f"{name}/{file}", again, required=True) if found.state != "ok"]
        yield from wrong or [Check(name, "ok", f"{len(files)} files are readable")]

    def _raced(self) -> Iterator[Check]:
        """What races have left of each network: the rounds of all, weights of those that won."""
        for path in sorted(path for path in self.path.glob(f"{RACES}/*") if path.is_dir()):
            name = f"{RACES}/{path.name}"
            again = "search again with a race, which runs its rounds anew"
            files = ["result.json", *(file for file in (NETWORK, FACTS, WEIGHTS) if (path / file).exists())]
            wrong = [found for file in files for found in self._file(f"{name}/{file}", again) if found.state != "ok"]
            yield from wrong or [Check(name, "ok", f"{len(files)} files are readable")]

    def _others(self) -> Iterator[Check]:
        """What no stage wrote."""
        yield from self._file("provenance.json", "do without, as only reports show it")
        for name in ("compare", "rank", "health", "worth"):
            yield from self._file(f"{name}.json", f"run: anybudget {name} {self.path}")
        for path in snapshot_files(self.folder):
            again = "do without, as only anybudget rank --snapshots asks for it"
            yield from self._file(f"{path.parent.name}/{path.name}", again)
        for path in sorted(self.path.glob("search/*.jsonl")):
            yield from self._file(f"search/{path.name}", f"run: anybudget search {self.path} --strategy {path.stem}")
        yield from self._trainings()

    def _trainings(self) -> Iterator[Check]:
        """The figures of networks that were trained to be compared."""
        sound = 0
        wrong: list[Check] = []
        for path in sorted(self.path.glob(f"{TRAININGS}/*.json")):
            try:
                read_record(path, TrainedAlone, TRAIN_AGAIN)
                sound += 1
            except RunError as error:
                wrong.append(Check(f"{TRAININGS}/{path.name}", "problem", str(error)))
        yield from wrong
        if sound and not wrong:
            yield Check(TRAININGS, "ok", f"{sound} trainings")

    def _unfinished(self) -> Iterator[Check]:
        """What is kept of work that has not ended, and what kills have left behind."""
        yield from self.unfinished.checks(self.stages)
        left = [path for path in self.path.rglob(f".*{UNFINISHED}") if path.is_file()]
        if left and not self.at_work:
            taken = size(sum(path.stat().st_size for path in left))
            said = f"{len(left)} unfinished file(s) of {taken}; the next work here removes them"
            yield Check("left by kills", "note", said)

    def _disk(self) -> Check:
        """Whether work that is not finished has room to save itself."""
        free = free_bytes(self.path)
        said = f"{size(free)} free"
        sizes = self.unfinished.sizes.values()
        if sizes:
            largest, copies = max((max(found), len(found)) for found in sizes)
        elif self.run and "supernet" not in self.stages:
            largest, copies = _expected_checkpoint(self.run), 0
        else:
            return Check("disk", "ok", said)
        said += f"; a checkpoint takes about {size(largest)}"
        if free is None or free >= (COPIES - copies) * largest:
            return Check("disk", "ok", said)
        return Check("disk", "problem", f"{said}, and {COPIES} are there while one is written; free some space")


def _expected_checkpoint(run: RunContext) -> int:
    """About how many bytes a checkpoint of supernet training takes: weights and momentum, once more for rollbacks."""
    with torch.device("meta"):  # which takes no memory
        tensors = build_supernet(run.space).state_dict().values()
    return (4 if run.recipe.supernet.rollbacks else 2) * sum(int(tensor.nbytes) for tensor in tensors)
