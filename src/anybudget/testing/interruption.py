"""The check that work in a run folder survives kills: resumed after any of them, it ends the same."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

TIMES = ("seconds", "waiting_seconds", "cost_ratio", "images_corrected", "finished", "created", "command", "answered")
"""Keys that hold times, or what follows from them: nobody expects these to be the same."""
TIMED = ("provenance.json", "report.html", ".lock", "workers.json", "kernels.json", "compile.jsonl")
"""Files that are of one process's own."""


LIMIT_SECONDS = 900
"""A process that does not get on is ended after this long."""

ATTEMPTS = 4
"""How often the moments of kills are halved, if the work was done before all of them."""


def check_resume(
    begin: Path,
    work: Callable[[Path], object],
    scratch: Path,
    *,
    kills: int = 3,
    seed: int = 0,
    stop: int = signal.SIGKILL,
) -> int:
    """Check that work that is killed and resumed leaves the same files as work that is not.

    Works on copies of a run folder, each time in a process of its own, so it needs `os.fork`. The run's recipe has to
    set `device = "cpu"`: CUDA cannot be used in a forked process, and need not give the same bits twice.

    Args:
        begin: a run folder as it is before the work.
        work: does the work in the folder that it is given, from the beginning or from what it finds there.
        scratch: a folder for the copies.
        kills: how often the work is killed, each time after a random part of the time that all of it takes; together
            about that time.
        seed: draws the moments.
        stop: the signal.

    Returns:
        How often a process was really killed; one may have been done before.

    Raises:
        AssertionError: the work fails, or a file differs; says which.
    """
    whole, broken = scratch / "whole", scratch / "broken"
    _copy(begin, whole)
    started = time.perf_counter()
    assert _run(work, whole) == 0, "the work fails without any kill"
    total = time.perf_counter() - started
    draw = random.Random(seed)
    killed = 0
    for attempt in range(ATTEMPTS):
        _copy(begin, broken)
        # Spread over the work: all together about as long as it takes.
        moments = [draw.uniform(0.05, max(0.15, 1.8 / kills)) * total / 2**attempt for _ in range(kills)]
        killed = sum(_run(work, broken, after=moment, stop=stop) != 0 for moment in moments)
        if killed:
            break  # else the machine was busy when the whole work was timed, and every moment came too late
    assert _run(work, broken) == 0, f"the work fails after {killed} kills"
    different = differing_files(whole, broken)
    assert not different, f"after {killed} kills these differ: {', '.join(different)}"
    return killed


def _copy(begin: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(begin, folder)


def differing_files(first: Path, second: Path) -> list[str]:
    """Files that are in one of two run folders only, or differ in more than times."""
    names = sorted({str(p.relative_to(f)) for f in (first, second) for p in f.rglob("*") if p.is_file()})
    return [
        name for name in names if Path(name).name not in TIMED and _content(first / name) != _content(second / name)
    ]


def _run(work: Callable[[Path], object], folder: Path, after: float | None = None, stop: int = signal.SIGKILL) -> int:
    """Do the work in a new process, which gets a signal `after` some seconds; how it ended, 0 if well."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if not child:
        code = 1
        signal.alarm(LIMIT_SECONDS)
        try:
            work(folder)
            code = 0
        except BaseException:
            traceback.print_exc()  # which nobody else would say
        finally:
            sys.stderr.flush()
            os._exit(code)
    if after is not None:
        time.sleep(after)
        os.kill(child, stop)
    return os.waitpid(child, 0)[1]


def _content(path: Path) -> Any:
    if not path.exists():
        return None
    if path.suffix == ".json":
        return _timeless(json.loads(path.read_text()))
    if path.suffix == ".jsonl":
        return [_timeless(json.loads(line)) for line in path.read_text().splitlines()]
    if path.suffix == ".csv":
        return [_timeless(row) for row in csv.DictReader(io.StringIO(path.read_text()))]
    return path.read_bytes()


def _timeless(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _timeless(item) for key, item in value.items() if not key.startswith(TIMES)}
    return [_timeless(item) for item in value] if isinstance(value, list) else value
