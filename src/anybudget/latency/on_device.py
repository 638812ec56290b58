"""Measures the ONNX models of a folder on this device. Needs Python 3.9, NumPy and ONNX Runtime alone.

Run: python measure.py [--threads N]. It writes measured.json beside itself, after each of the parts that jobs.json
lists, so that it can be stopped and started again. Each part is measured in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path

from anybudget.runtime.rounds import Rounds, measure

RESULT = "measured.json"
JOBS = "jobs.json"


def main() -> None:
    """Measure every part that has not been measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--part", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = Path(__file__).resolve().parent
    if options.part is not None:
        measure_part(folder, options.part, options.threads)
        return
    jobs = json.loads((folder / JOBS).read_text())
    for number in range(len(jobs["jobs"])):
        if str(number) in read_result(folder, jobs, options.threads)["parts"]:
            print(f"part {number + 1} of {len(jobs['jobs'])} is measured already")
            continue
        print(f"part {number + 1} of {len(jobs['jobs'])}: {len(jobs['jobs'][number]['models'])} models")
        command = [sys.executable, str(Path(__file__).resolve()), "--part", str(number)]
        subprocess.run([*command, "--threads", str(options.threads)], check=True)
    print(f"all is measured: take {folder / RESULT} back")


def measure_part(folder: Path, number: int, threads: int) -> None:
    """Measure the models of one part, and add their times to the result."""
    jobs = json.loads((folder / JOBS).read_text())
    job = jobs["jobs"][number]
    plan, models = Rounds(**jobs["plan"]), [partial(session, folder, model, threads) for model in job["models"]]
    visits = [0, plan.visits * len(models)]

    def tell(count: int) -> None:
        visits[0] += count
        print(f"\r{100 * visits[0] // visits[1]}%", end="", flush=True)

    found = measure(models, partial(session, folder, job["probe"], threads), plan, tell=tell)
    print()
    result = read_result(folder, jobs, threads)
    result["parts"][str(number)] = asdict(found)
    part = folder / (RESULT + ".part")
    part.write_text(json.dumps(result))
    part.replace(folder / RESULT)


def read_result(folder: Path, jobs: dict, threads: int) -> dict:  # type: ignore[type-arg]
    """What has been measured so far of these jobs."""
    import onnxruntime  # type: ignore[import-untyped]

    path = folder / RESULT
    if path.exists():
        found: dict = json.loads(path.read_text())  # type: ignore[type-arg]
        if found["jobs"] == jobs["digest"] and found["threads"] == threads:
            return found
        sys.exit(f"{path} is of other jobs, or of other --threads: remove it to measure anew")
    return {
        "format": "anybudget measured",
        "jobs": jobs["digest"],
        "threads": threads,
        "processor": processor(),
        "cores": os.cpu_count() or 1,
        "system": platform.platform(),
        "version": onnxruntime.__version__,
        "parts": {},
    }


def session(folder: Path, model: dict, threads: int):  # type: ignore[no-untyped-def,type-arg]
    """Load a model; gives a call that runs it once on one image of random numbers."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    loaded = onnxruntime.InferenceSession(str(folder / model["file"]), options, providers=["CPUExecutionProvider"])
    name = loaded.get_inputs()[0].name
    x = np.random.default_rng(0).standard_normal((1, *model["shape"]), dtype=np.float32)
    return lambda: loaded.run(None, {name: x})


def processor() -> str:
    """What the system calls the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Hardware", "Model"))]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
