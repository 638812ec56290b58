"""A tabular benchmark of 45 networks on 8x8 images, made up but whole: its table, its images and its track."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from anybudget.architecture import Architecture
from anybudget.costs import build_costs
from anybudget.errors import DataError
from anybudget.reading import parse_json, read_bytes, unreadable_as
from anybudget.spaces import MBConvSpace
from anybudget.tabular import TABLES, TabularBenchmark
from anybudget.tabular.tables import TableFormat
from conftest import write_images
from tiny_spaces import small_mbconv

SPACE = small_mbconv()
SEEDS = ("seed_1", "seed_2", "seed_3")
BUDGETS = (5000, 6000, 8000, 11000)

TRACK = """
name = "tiny"
threads = 1
device = "cpu"

[track]
train_images = 60
validation_images = 24
strategies = ["random", "generator"]

[space]
name = "mbconv"
input_size = 8
input_channels = 1
classes = 3
stem_width = 4
first_width = 0
stages = [{ width = 4, repeats = 4, stride = 2 }]
head_width = 8
operations = ["skip", "k3_e3", "k5_e6"]

[supernet]
epochs = 1
batch_size = 12
learning_rate = 0.05

[generator]
cost = "table_macs"
epochs = 1
batch_size = 12

[search]
budgets = [BUDGETS]
metric = "loss"
calibration_images = 16

[search.random]
count = 6

[search.generator]
priors = 2
candidates = 4

[retrain]
epochs = 1
batch_size = 12
learning_rate = 0.05
"""


def space() -> MBConvSpace:
    """The space of the benchmark."""
    return small_mbconv()


def rows(seed: int) -> dict[str, list[float]]:
    """A table whose accuracies grow with the cost, and then with chance."""
    rng = np.random.default_rng(seed)
    macs, params = (build_costs(SPACE, (name,))[name] for name in ("macs", "params"))
    choices = [list(map(int, row)) for row in np.ndindex(3, 3, 3, 3)]
    cost = np.array([macs.cost(Architecture(SPACE.name, tuple(row))) for row in choices])
    true = 60 + 30 * cost / cost.max() + rng.normal(0, 2, len(choices))
    seeds = [true + rng.normal(0, 0.5, len(choices)) for _ in SEEDS]
    return {
        "choices": choices,  # type: ignore[dict-item]
        "macs": (cost + 100).tolist(),  # a constant that the table counts and we do not
        "params": [params.cost(Architecture(SPACE.name, tuple(row))) for row in choices],
        "mean": np.mean(seeds, axis=0).tolist(),
        **{name: values.tolist() for name, values in zip(SEEDS, seeds, strict=True)},
    }


def read(path: Path) -> TabularBenchmark:
    """The reader of the tiny table."""
    with unreadable_as(DataError, path, "cannot read the table"):
        found = parse_json(read_bytes(path))
    assert isinstance(found, dict)
    columns = {name: np.array(values, dtype=float) for name, values in found.items() if name != "choices"}
    return TabularBenchmark(SPACE, np.array(found["choices"], dtype=np.int64), columns)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `table.json`, `images.npz` and `tiny.toml`, and the benchmark known by the name of its space.

    A column `elsewhere` of other accuracies may be added to the table.
    """
    monkeypatch.setitem(TABLES, SPACE.name, TableFormat(read, "mean", "macs", SEEDS, (1, 2), ("elsewhere",)))
    (tmp_path / "table.json").write_text(json.dumps(rows(0)))
    write_images(tmp_path / "images.npz")
    said = ", ".join(f'"table_macs<={limit}"' for limit in BUDGETS)
    (tmp_path / "tiny.toml").write_text(TRACK.replace("BUDGETS", said))
    return tmp_path
