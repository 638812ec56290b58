"""Profiles of another device: a folder of models that is measured there by one file, and what comes back."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from anybudget.costs.latency import Device, LatencyProfile, Running, space_digest
from anybudget.costs.records import as_record
from anybudget.errors import DataError
from anybudget.latency import on_device
from anybudget.latency.fresh import Job, Model
from anybudget.latency.profiling import Profiler, ProfileSettings
from anybudget.latency.runtimes import OnnxRuntime, Runtime
from anybudget.reading import parse_object, read_text, unreadable_as
from anybudget.runtime import rounds
from anybudget.runtime.progress import SILENT, Progress, Task
from anybudget.runtime.rounds import Measured, Rounds, Times
from anybudget.spaces import SearchSpace
from anybudget.storage.files import write_whole

SCRIPT = "measure.py"
_RUNTIME = "onnxruntime"
_SETTINGS = ProfileSettings(runtime=_RUNTIME)
Milliseconds = Annotated[float, Field(gt=0, lt=1e7, allow_inf_nan=False)]


class _Unprepared(OnnxRuntime):
    """Of what has been measured already nothing is exported."""

    version = "unknown"

    def prepare(self, module: object, shape: tuple[int, ...]) -> bytes:  # noqa: ARG002 - nothing is made of them
        """Nothing."""
        return b""

    def join(self, blocks: Sequence[bytes]) -> bytes:  # noqa: ARG002
        """Nothing."""
        return b""


class _Times(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    quiet: Milliseconds
    once: Milliseconds
    p50: Milliseconds
    p95: Milliseconds


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    times: list[_Times]
    probe_ms: Milliseconds
    calm: Annotated[float, Field(ge=0, le=1)]


class MeasuredThere(BaseModel):
    """What `measured.json` holds: the times of every part, and what they were measured on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["anybudget measured"]
    jobs: str
    threads: Annotated[int, Field(ge=1)]
    processor: Annotated[str, Field(min_length=1)]
    cores: Annotated[int, Field(ge=1)]
    system: str
    version: str
    parts: dict[int, _Part]


def write_folder(space: SearchSpace, folder: Path, progress: Progress, settings: ProfileSettings = _SETTINGS) -> None:
    """Write the models that profile a space, `jobs.json`, and the file that measures them.

    Args:
        space: whose blocks and networks are written.
        folder: where to; models that are there already are kept.
        progress: shows how many models are written.
        settings: how many networks; `threads` is said on the device.

    Raises:
        ConfigError: ONNX is not installed.
        RunError: the folder cannot be written.
    """
    jobs: list[dict[str, Any]] = []
    plan = Rounds()

    def put(model: Model) -> dict[str, Any]:
        content, shape = model
        name = f"models/{hashlib.sha256(content).hexdigest()[:16]}.onnx"
        (folder / "models").mkdir(parents=True, exist_ok=True)
        if not (folder / name).exists():
            write_whole(folder / name, content)
        return {"file": name, "shape": list(shape)}

    def write(job: Job, task: Task = SILENT) -> Measured:
        if not _times_a_visit(job):
            jobs.append({"models": [put(model) for model in job.models], "probe": put(job.probe)})
        task.advance(len(job.models) * plan.visits)
        return Measured([Times(1.0, 1.0, 1.0, 1.0)] * len(job.models), 1e-9, 1.0)

    _profile(space, write, progress, settings, OnnxRuntime())
    said = {"space": space_digest(space), "plan": asdict(plan), "jobs": jobs}
    said["digest"] = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]
    write_whole(folder / on_device.JOBS, json.dumps(said).encode())
    write_whole(folder / SCRIPT, script().encode())


def read_folder(
    space: SearchSpace, path: Path, progress: Progress, settings: ProfileSettings = _SETTINGS
) -> LatencyProfile:
    """The profile of what came back: `measured.json`, beside the `jobs.json` that it answers.

    Args:
        space: the one whose networks were written.
        path: what was measured.
        progress: shows how far it is.
        settings: those that the folder was written with.

    Raises:
        DataError: a file is missing or damaged, of another space, or not all parts are measured.
    """
    jobs_path = path.with_name(on_device.JOBS)
    with unreadable_as(DataError, jobs_path, "cannot read the jobs", "keep the folder that --remote wrote"):
        jobs = parse_object(read_text(jobs_path))
    found = _read(path)
    if jobs.get("space") != space_digest(space) or found.jobs != jobs.get("digest"):
        raise DataError(f"{path}: measured for another space, or other settings of it; write the folder again")
    missing = [number for number in range(len(jobs["jobs"])) if number not in found.parts]
    if missing:
        raise DataError(f"{path}: {len(missing)} of {len(jobs['jobs'])} parts are not measured; run {SCRIPT} again")
    parts = iter(range(len(jobs["jobs"])))

    def read(job: Job, task: Task = SILENT) -> Measured:
        times = [Times(1e-9, 1e-9, 1e-9, 1e-9)]
        if _times_a_visit(job):
            return Measured(times, 1e-9, 1.0)
        part = found.parts[next(parts)]
        if len(part.times) != len(job.models):
            raise DataError(f"{path}: a part has {len(part.times)} times for {len(job.models)} models")
        task.advance(len(job.models) * job.plan.visits)
        return Measured([Times(**row.model_dump()) for row in part.times], part.probe_ms, part.calm)

    profile = _profile(space, read, progress, settings, _Unprepared())
    there = Device(kind="cpu", processor=found.processor, cores=found.cores, system=found.system)
    running = Running(runtime=_RUNTIME, version=found.version, threads=found.threads)
    return profile.model_copy(update={"device": there, "running": running})


def script() -> str:
    """The file that is copied to the device: the module that measures here, and the one that runs it there."""
    own = inspect.getsource(on_device)
    first, rest = own.split("from __future__ import annotations\n", 1)
    used = "from anybudget.runtime.rounds import Rounds, measure\n"
    protocol = inspect.getsource(rounds).split("from __future__ import annotations\n", 1)[1]
    return f"{first}from __future__ import annotations\n{protocol}\n{rest.replace(used, '')}"


def _profile(
    space: SearchSpace,
    measure: Callable[[Job, Task], Measured],
    progress: Progress,
    settings: ProfileSettings,
    runtime: Runtime,
) -> LatencyProfile:
    """A profile whose jobs are prepared by `runtime`, and measured by `measure`."""
    with TemporaryDirectory() as folder:
        return Profiler(space, settings, Path(folder) / "journal", measure, runtime).profile(progress)


def _times_a_visit(job: Job) -> bool:
    """Whether a job only tells how long a network takes, to plan by; the device measures by the full plan."""
    return job.plan.starts == 1


def _read(path: Path) -> MeasuredThere:
    way_out = f"take it from where {SCRIPT} ran"
    with unreadable_as(DataError, path, "cannot read what was measured", way_out):
        found = parse_object(read_text(path))
    return as_record(MeasuredThere, found, str(path), way_out, DataError)
