"""The examination of an installation and of a run folder: what is there, what is wrong, and what helps."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import psutil
import torch
from safetensors import SafetensorError, safe_open

from anybudget.errors import AnyBudgetError, RunError, reason
from anybudget.nets import build_supernet
from anybudget.recipe import Recipe, reproducibility_settings
from anybudget.runs.context import RunContext
from anybudget.runs.data_identity import FACTS, LISTING
from anybudget.runs.opening import open_run
from anybudget.runs.threads import RunThreads
from anybudget.runs.trained import NETWORK, WEIGHTS
from anybudget.runs.work import FOLDER
from anybudget.runtime.device import pick_device
from anybudget.runtime.threads import probed_threads, set_by_caller, usable_cores
from anybudget.storage import checkpoint as checkpoints
from anybudget.storage import journal
from anybudget.storage.files import UNFINISHED
from anybudget.storage.records import read_curve, read_json, read_json_lines
from anybudget.storage.run_folder import RunFolder, conflict, package_version
from anybudget.training import SAMPLERS

PACKAGES = ("anybudget", "torch", "numpy", "scipy", "pymoo", "lightning-fabric", "ray")

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

State = Literal["ok", "note", "problem"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; what was found of a problem ends with what helps."""

    check: str
    state: State
    found: str


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


def environment(folder: Path) -> dict[str, Any]:
    """Versions, devices, cores, memory, and the disk that `folder` is on."""
    versions = {name: package_version(name) for name in PACKAGES}
    cuda = torch.cuda.is_available()
    return {
        "versions": {name: None if found == "not installed" else found for name, found in versions.items()},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": str(pick_device("auto")),
        "cuda": {
            "version": torch.version.cuda,
            "devices": [_cuda_device(index) for index in range(torch.cuda.device_count())] if cuda else [],
        },
        "mps": torch.backends.mps.is_available(),
        "torch_threads": torch.get_num_threads(),
        "cores": usable_cores(),
        "auto_threads": _auto_threads(),
        "memory": memory(),
        "disk": {"folder": str(folder), "free_bytes": _free(folder)},
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
    }


def _auto_threads() -> dict[str, Any]:
    """What `threads = 0` comes to here, and why; a small network stands for one that is to be trained."""
    caller, cores, device = set_by_caller(), usable_cores(), pick_device("auto")
    if caller is None and device.type == "cpu" and cores > 1:
        found = probed_threads()
        return {"threads": found.count, "why": f"a step of a small network takes {found}; real ones are timed anew"}
    why = f"{caller} says so" if caller else "there is one core" if device.type == "cpu" else f"{device} does the work"
    return {"threads": torch.get_num_threads(), "why": why}


def facts(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What `environment` has found, for people."""
    for name, version in found["versions"].items():
        yield name, version or "not installed"
    yield "Python", found["python"]
    yield "platform", found["platform"]
    yield "device that auto picks", found["device"]
    for device in found["cuda"]["devices"]:
        yield (
            "CUDA " + found["cuda"]["version"],
            "{name}, {capability}, {memory}".format(**device, memory=size(device["total_bytes"])),
        )
    if found["mps"]:
        yield "MPS", "there; take it with device = mps"
    yield "torch threads, cores", f"{found['torch_threads']} of {found['cores']}"
    yield "threads that auto takes", "{threads}: {why}".format(**found["auto_threads"])
    for kind in ("free", "total"):
        yield f"{kind} memory", size(found["memory"][f"{kind}_bytes"])
    yield "free disk", f"{size(found['disk']['free_bytes'])}, at {found['disk']['folder']}"
    yield "OMP_NUM_THREADS", found["omp_num_threads"] or "not set"


def memory() -> dict[str, int]:
    """Free and total memory of this machine in bytes."""
    found = psutil.virtual_memory()
    return {"free_bytes": found.available, "total_bytes": found.total}


def size(count: int | None) -> str:
    """A number of bytes for people."""
    if count is None:
        return "unknown"
    if count < 1024:
        return f"{count} bytes"
    power = min(4, int(math.log(count, 1024)))
    return f"{count / 1024**power:.1f} {('KiB', 'MiB', 'GiB', 'TiB')[power - 1]}"


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
    return f"{sum(1 for _ in read_json_lines(path))} lines"


def _entries(path: Path) -> str:
    record = read_json(path)
    return f"{len(record.values) if record else 0} entries"


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


class _Examination:
    """Looks at the files of one run folder; `recipe` is None where that is damaged."""

    def __init__(self, folder: RunFolder, recipe: Recipe | None) -> None:
        self.folder, self.path, self.recipe = folder, folder.path, recipe
        # Weights are looked at where there is always a device for them.
        self.run = RunContext(folder, recipe.model_copy(update={"device": "cpu"})) if recipe else None
        self.at_work = False
        self.stages: Mapping[str, Any] = {}
        self.sizes: dict[str, list[int]] = {}
        """Bytes of the checkpoints that are there, by the name of the last one."""

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
        return Check("at work", "note", f"nobody; {who} was killed, and the next work here goes on")

    def _noted_stages(self) -> Iterator[Check]:
        try:
            found = read_json(self.path / "stages.json")
            self.stages = found.values if found else {}
        except RunError as error:
            yield Check("stages.json", "problem", f"{error}; delete it to run all stages again")

    def _stage(self, stage: str) -> Check:
        if stage not in self.stages:
            command = f"{stage} {self.path}" if stage in ("supernet", "generator") else self._whole_run
            return Check(stage, "note", f"not finished; run: anybudget {command}")
        try:
            noted = self.stages[stage]
            return Check(stage, "ok", f"finished {noted['finished']}, after {noted['seconds']:,.1f} s")
        except (TypeError, KeyError, ValueError):
            return Check(stage, "problem", "stages.json: damaged; delete it to run all stages again")

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
        for path in folders:
            name = f"retrain/{path.name}"
            if not (path / "result.json").exists():
                yield Check(name, "note", "retraining has begun and not ended; the same command resumes it")
                continue
            wrong = []
            for file in NETWORK_FILES:
                other = "result.json" if file == "architecture.json" else "architecture.json"  # either says which it is
                again = f"run: anybudget retrain {self.path} {path / other}"
                wrong += [found for found in self._file(f"{name}/{file}", again, required=True) if found.state != "ok"]
            yield from wrong or [Check(name, "ok", f"{len(NETWORK_FILES)} files are readable")]

    def _others(self) -> Iterator[Check]:
        """What no stage wrote."""
        yield from self._file("provenance.json", "do without, as only reports show it")
        for name in ("compare", "rank"):
            yield from self._file(f"{name}.json", f"run: anybudget {name} {self.path}")
        for path in sorted(self.path.glob("search/*.jsonl")):
            yield from self._file(f"search/{path.name}", f"run: anybudget search {self.path} --strategy {path.stem}")

    def _unfinished(self) -> Iterator[Check]:
        """What is kept of work that has not ended, and what kills have left behind."""
        folder = self.path / FOLDER
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            look = self._journal if path.suffix == ".jsonl" else self._checkpoint
            if not path.name.startswith("."):
                found = look(path)
                # Work that goes on meanwhile removes its files when it is done.
                if found.state != "problem" or path.exists():
                    yield found
        left = [path for path in self.path.rglob(f".*{UNFINISHED}") if path.is_file()]
        if left and not self.at_work:
            taken = size(sum(path.stat().st_size for path in left))
            said = f"{len(left)} unfinished file(s) of {taken}; the next work here removes them"
            yield Check("left by kills", "note", said)

    def _checkpoint(self, path: Path) -> Check:
        check = partial(Check, f"{FOLDER}/{path.name}")
        last = path.with_name(path.name.removesuffix(".previous"))
        previous = last.with_name(f"{last.name}.previous")
        if last.suffix != ".checkpoint":
            return check("note", "no file of anybudget")
        try:
            found = path.stat()
            self.sizes.setdefault(last.name, []).append(found.st_size)
            state = checkpoints.read(path)
            settings = checkpoints.settings_of(path)
        except (checkpoints.DamagedError, OSError) as error:
            if path != last and _is_whole(last):
                return check("note", f"{error}; not needed, as {last.name} is whole")
            if path == last and _is_whole(previous):
                return check("note", f"{error}; work resumes from {previous.name}, which is whole")
            return check("problem", f"{error}; delete {last}* to start this work anew")
        try:
            where = f"epoch {state['loop']['epoch']}, step {state['loop']['step']}"
        except (KeyError, TypeError):
            where = "of a training unknown here"
        saved = datetime.fromtimestamp(found.st_mtime).isoformat(" ", timespec="seconds")
        return self._begun(check, settings, f"whole: {where}, saved {saved}")

    def _journal(self, path: Path) -> Check:
        check = partial(Check, f"{FOLDER}/{path.name}")
        try:
            found = journal.read(path)
        except RunError as error:
            return check("problem", str(error))
        lost = f"; damaged from line {len(found.whole) + 1} on ({found.lost} line(s)), which is evaluated again"
        return self._begun(check, found.settings, f"{len(found.entries)} scores{lost if found.lost else ''}")

    def _begun(self, check: Callable[[State, str], Check], settings: Mapping[str, Any], said: str) -> Check:
        """Whether work that was begun with these settings can be resumed."""
        stage = settings.get("stage")
        if stage in self.stages:
            return check("note", f"{said}; left by the stage {stage}, which is finished: may be deleted")
        changed = self._changes(settings)
        if changed:
            return check("problem", f"{said}, with {changed}")
        return check("note", f"{said}; {stage}: the same command resumes it")

    def _changes(self, settings: Mapping[str, Any]) -> str:
        """In what the run differs from what work was begun with, and what helps; "" if in nothing."""
        now = dict(settings)
        if self.recipe and isinstance(settings.get("recipe"), dict):
            now["recipe"] = reproducibility_settings(self.recipe)
        weights = "supernet.safetensors"
        if "supernet" in settings and (self.path / weights).is_file():
            now["supernet"] = self.folder.digest(weights)
        with suppress(RunError):  # said where the data are looked at
            facts = self.run.tie.facts() if self.run else None
            if facts is not None and "data" in settings:
                now["data"] = facts.settings()
        return conflict(settings, now)

    def _disk(self) -> Check:
        """Whether work that is not finished has room to save itself."""
        free = _free(self.path)
        said = f"{size(free)} free"
        if self.sizes:
            largest, copies = max((max(sizes), len(sizes)) for sizes in self.sizes.values())
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


def _is_whole(path: Path) -> bool:
    try:
        checkpoints.read(path)
    except checkpoints.DamagedError:
        return False
    return True


def _cuda_device(index: int) -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(index)
    return {
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "total_bytes": properties.total_memory,
    }


def _free(folder: Path) -> int | None:
    """Free bytes on the disk of a folder, or of the nearest one above that is there; None where that is not told."""
    for place in (folder, *folder.resolve().parents):
        try:
            return psutil.disk_usage(str(place)).free
        except OSError:
            continue
    return None
