"""Measures networks in a process of their own, which has loaded nothing else and computes nothing else.

What it measures comes through a pipe from the process that started it, and is never read from a file: unpickling
executes what it reads.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import IO, Any

from anybudget.errors import ConfigError, RunError, shorten
from anybudget.latency.runtimes import Conditions, Runtime
from anybudget.runtime.progress import SILENT, Task
from anybudget.runtime.rounds import Measured, Rounds, Times, measure
from anybudget.runtime.signals import current_request

Model = tuple[bytes, tuple[int, ...]]
"""What a runtime has prepared, and the shape of its input without the batch."""


@dataclass(frozen=True)
class Job:
    """Everything a process measures: the models in order, and the probe between them."""

    runtime: Runtime
    conditions: Conditions
    models: Sequence[Model]
    probe: Model
    plan: Rounds


def measure_fresh(job: Job, task: Task = SILENT) -> Measured:
    """The times of models, measured in a new process; `task` advances by one for every visit of a model.

    Raises:
        Stopped: this process was asked to stop; the other one has ended.
        ConfigError: the runtime, or the device, is not there.
        RunError: the process failed.
    """
    with tempfile.TemporaryFile("w+", errors="replace") as errors, _started(job, errors) as process:
        try:
            _hand_over(process, job)
            found = _listen(process, task)
        finally:
            process.kill()  # it has ended, or nobody wants what it has
        if found is None:
            errors.seek(0)
            last = (errors.read().strip().splitlines() or ["nothing was said"])[-1]
            raise RunError(f"the process that measures latencies ended with code {process.returncode}: {shorten(last)}")
    return found


def _started(job: Job, errors: IO[str]) -> subprocess.Popen[bytes]:
    """The process; it hears no Ctrl-C of the terminal, which is the parent's to hear."""
    threads = str(job.conditions.threads)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": threads}
    return subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdout=subprocess.PIPE,
        stderr=errors,
        stdin=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )


def _hand_over(process: subprocess.Popen[bytes], job: Job) -> None:
    """Give the process its job, all of which it reads before it says anything."""
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin as pipe:  # one that has ended says why on standard error
        pipe.write(pickle.dumps(job))


def _listen(process: subprocess.Popen[bytes], task: Task) -> Measured | None:
    """What a process says, line by line; None where it ends without a result."""
    assert process.stdout is not None
    for line in process.stdout:
        current_request().check()
        said = json.loads(line)
        if "visits" in said:
            task.advance(said["visits"])
        elif "refused" in said:
            raise ConfigError(said["refused"])
        else:
            times = [Times(**row) for row in said.pop("times")]
            return Measured(times=times, **said)
    process.wait()
    return None


def _work(said: bytes, say: Callable[[dict[str, Any]], None]) -> None:
    """What the process does."""
    job: Job = pickle.loads(said)
    try:
        probe, *networks = (
            partial(job.runtime.session, model, shape, job.conditions) for model, shape in (job.probe, *job.models)
        )
        found = measure(networks, probe, job.plan, clock=job.runtime.clock, tell=lambda visits: say({"visits": visits}))
    except ConfigError as error:
        say({"refused": str(error)})
        return
    say(asdict(found))


def _main() -> None:
    # What native libraries print on standard output must not come between the lines that are read.
    lines = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(message: dict[str, Any]) -> None:
        lines.write(json.dumps(message) + "\n")
        lines.flush()

    _work(sys.stdin.buffer.read(), say)


if __name__ == "__main__":
    _main()
