"""The spaces of FBNet and ProxylessNAS, searched under the same multiply-adds and under the same latency.

Small copies: nine layers of both spaces' operations in one outline of stages, on the images of
`recipes/demo-shufflenet.toml`. Latency is that of ONNX Runtime on one thread of the machine: each space is profiled
once (`anybudget profile`, a short one), the limit is 45% of the way from the least to the most of what FBNet's space
promises, and the answers are measured again beside one another, in a process of their own. Evolution scores 160
networks with a uniform supernet of 36 epochs (12 leave it near guessing); all networks are trained alone, once and
from scratch. The paper holds its answers against the networks that the methods of these spaces found, by ImageNet;
here random networks within the limit stand beside them, one for each seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from anybudget.costs.latency import LatencyCost
from anybudget.decoding.reachability import parse_budgets
from anybudget.latency.blocks import Blocks
from anybudget.latency.measuring import measure_as, runtime_of
from anybudget.latency.profiling import ProfileSettings, profile_space
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from anybudget.runtime.progress import SilentProgress
from anybudget.runtime.rounds import Rounds
from experiments.base import Experiment, Outcome, Presented, ResultTable, spread
from experiments.keeping import kept
from experiments.spos_runs import BLOCKS, FBNET, PROXYLESS, drawn, figures, gains, network, row, searched, trained

SPACES = {"FBNet": FBNET, "ProxylessNAS": PROXYLESS}
MACS = "macs<=300000"
SHARE = "latency_ms<=45%"
LONGER = ["supernet.epochs=36"]
FEW_LAYERS = ["space.stages=[{width=8,repeats=2,stride=2}]"]


def measure(seed: int, folder: Path, quick: bool) -> dict[str, Any]:
    runs = {name: timed_run(name, seed, folder, quick) for name in list(SPACES)[: 1 if quick else None]}
    asked = parse_budgets(SHARE, runs["FBNet"].costs)
    latency = f"latency_ms<={next(iter(asked)).limit:.5f}"
    rows = {}
    for name, run in runs.items():
        networks = {
            "random, multiply-adds": drawn(run, MACS),
            "multiply-adds": [network(searched(run, "evolution", MACS))],
            "random, latency": drawn(run, latency),
            "latency": [network(searched(run, "evolution", latency))],
        }
        every = [one for group in networks.values() for one in group]
        times = iter(kept(run, "measured-ms", partial(quiet_ms, run, every, seed, quick)))
        for kind, group in networks.items():
            rows[f"{name}, {kind}"] = {**row(run, group), "ms": [next(times) for _ in group]}
    return {"latency_ms": next(iter(asked)).limit, "rows": rows}


def timed_run(name: str, seed: int, folder: Path, quick: bool) -> Run:
    """The run of a space that has latency as a cost, by a profile that all seeds share."""
    space, file = name.lower(), (folder / f"spos-{name.lower()}.latency.json").absolute()
    overrides = [*SPACES[name], *(FEW_LAYERS if quick else ())]
    with FileLock(f"{file}.lock"):
        if not file.exists():
            settings = ProfileSettings(seconds=60, fitted=40, checked=40)
            if quick:
                settings = ProfileSettings(runtime="torch", seconds=10, fitted=10, checked=20)
            profile_space(load_recipe(BLOCKS, overrides).build_space(), settings, file, SilentProgress())
    cost = f"costs.latency_ms={{kind='latency',file={str(file)!r}}}"
    return trained(space, seed, folder, quick, [*overrides, cost, *(() if quick else LONGER)])


def quiet_ms(run: Run, networks: Sequence[Any], seed: int, quick: bool) -> list[float]:
    """Measured latencies in ms."""
    cost = run.costs["latency_ms"]
    assert isinstance(cost, LatencyCost)
    plan = Rounds(2, 2, 2, seed=seed) if quick else Rounds(seed=seed)
    found = measure_as(cost.profile, Blocks(run.space, runtime_of(cost.profile)), networks, plan)
    return [round(times.quiet, 5) for times in found.times]


def present(outcomes: Sequence[Outcome]) -> Presented:
    seeds = [outcome["rows"] for outcome in outcomes]
    limit = float(np.mean([outcome["latency_ms"] for outcome in outcomes]))
    rows = []
    for name in seeds[0]:
        space, _, kind = name.partition(", ")
        macs, scores, top1 = figures(seeds, name)
        times = spread([float(np.mean(one[name]["ms"])) for one in seeds], 4)
        drawn = "" if kind.startswith("random") else gains(seeds, name, f"{space}, random, {kind}")
        rows.append([f"{space}: {kind.replace(', ', ' network, ')}", macs, times, scores, top1, drawn])
    title = f"Top-1 under 300k multiply-adds, and under {limit:.4f} ms"
    columns = ["space: limit of", "multiply-adds", "measured ms", "supernet top-1, %", "trained top-1, %"]
    columns.append("better than the random network, points")
    return Presented([ResultTable(title, columns, rows)])


def missing() -> str:
    return "" if find_spec("onnxruntime") else "no ONNX Runtime here; pip install onnxruntime onnx"


EXPERIMENT = Experiment(
    name="spos-table-5",
    title="SPOS, Table 5: the spaces of FBNet and ProxylessNAS under equal multiply-adds and latency",
    measure=measure,
    present=present,
    missing=missing,
)
