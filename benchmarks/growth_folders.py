"""The stages of `benchmarks/growth.py` that read and write a run folder: opening it, answers on file, the report."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from anybudget.recipe import load_recipe
from anybudget.report import write_report
from anybudget.runs.answers import read_answers
from anybudget.runs.checks import check_recipe
from anybudget.runs.run import Run
from anybudget.search.base import exact_costs
from anybudget.spaces import SearchSpace
from growth_stages import SIDE, Work, unified

_RANDOM = 20
"""Random networks on file for each budget."""
_KEPT: list[tempfile.TemporaryDirectory[str]] = []
"""Folders of this process, removed at its end."""


def opening(layers: int = 10, images: int = 1000, answers: int = 0) -> list[Work]:
    """What every command does with a run before its own work: recipe, space, costs, budgets, data, answers so far."""
    folder = run_folder(layers, images, answers)

    def open_run() -> None:
        run = Run.open(folder)
        check_recipe(run.context)
        assert len(run.data.train) > 0
        assert len(read_answers(run.context)) == answers

    return [open_run]


def reporting(budgets: int) -> list[Work]:
    """The report of a run with so many answers and random networks at each of their budgets."""
    return [partial(write_report, run_folder(10, 100, budgets))]


@cache
def run_folder(layers: int, images: int, answers: int) -> Path:
    """A run that has been begun and, as its files say, has answered so many budgets."""
    _KEPT.append(tempfile.TemporaryDirectory(prefix="growth-"))
    root = Path(_KEPT[-1].name)
    rng = np.random.default_rng(0)
    labels = np.arange(images) % 10
    np.savez(root / "images.npz", x=rng.integers(0, 256, (images, SIDE, SIDE, 3), dtype=np.uint8), y=labels)
    space = unified(layers)
    training = {"epochs": 1, "batch_size": 8, "learning_rate": 0.1}
    values = {
        "name": "growth",
        "data": {"source": str(root / "images.npz")},
        "space": {"name": space.name, **json.loads(space.settings.model_dump_json())},
        "supernet": training,
        "search": {"budgets": ["macs<=100M", "macs<=100M, params<=100M"]},
        "retrain": training,
    }
    (root / "recipe.toml").write_text(tomli_w.dumps(values))
    run = Run.create(load_recipe(root / "recipe.toml"), root / "run")
    found, drawn = _rows(run, space, answers)
    run.folder.write_lines("candidates.jsonl", found)
    run.folder.write_lines("random.jsonl", drawn)
    return run.folder.path


def _rows(run: Run, space: SearchSpace, answers: int) -> tuple[Sequence[dict[str, Any]], Sequence[dict[str, Any]]]:
    """Answers and random networks, with made-up scores that rise with the budget."""
    rng = np.random.default_rng(1)
    found, drawn = [], []
    for number in range(answers):
        networks = [space.sample(rng) for _ in range(1 + _RANDOM)]
        limit = 1.02 * max(run.costs["macs"].cost(network) for network in networks) + number
        for network in networks:
            row = {
                "budgets": {"macs": limit},
                "architecture": network.to_dict(),
                "costs": exact_costs(run.costs, network),
                "supernet_top1_percent": 60 + 20 * number / answers + 5 * float(rng.random()),
            }
            if network is networks[0]:
                found.append({**row, "log_probability": -9.0, "seconds": 1.0, "layers": space.describe(network)})
            else:
                drawn.append(row)
    return found, drawn
