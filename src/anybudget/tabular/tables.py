"""The tables of tabular benchmarks: reading NAS-Bench-Macro and NAS-Bench-201, and mapping rows to networks."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anybudget.architecture import Architecture
from anybudget.errors import DataError, reason, shorten, shown
from anybudget.reading import parse_json, read_bytes, unreadable_as
from anybudget.spaces import NASBench201Settings, NASBench201Space, SearchSpace
from anybudget.spaces.nas_bench_201 import EDGES, KERNELS, OPERATIONS
from anybudget.spaces.nas_bench_macro import NASBenchMacroSettings, NASBenchMacroSpace

SEEDS = 3
"""How often NAS-Bench-Macro trained every network."""

LARGEST = 1e100
"""Beyond any count of a network, and far from where arithmetic overflows."""

COLUMNS_201 = ("test_top1_percent", "val_top1_percent", "val_top1_percent_12_epochs", "macs", "params")

ELSEWHERE_201 = tuple(
    f"{data}_{part}_top1_percent" for data in ("cifar100", "imagenet16_120") for part in ("val", "test")
)
"""Accuracies after 200 epochs on the benchmark's other data sets, which a file of NAS-Bench-201 may have."""


@dataclass(frozen=True, eq=False)
class TabularBenchmark:
    """What a benchmark says, row by row, as it was trained: several rows may spell one network.

    `choices` is int `[rows, decisions]` of `space`, which is the benchmark's own; each of `columns` is float `[rows]`,
    accuracies in percent.
    """

    space: SearchSpace
    choices: NDArray[np.int64]
    columns: dict[str, NDArray[np.float64]]

    @cached_property
    def canonical(self) -> tuple[Architecture, ...]:
        """The canonical architecture that each row spells."""
        name = self.space.name
        return tuple(self.space.simplified(Architecture(name, tuple(row))) for row in self.choices.tolist())

    def networks(self, column: str) -> dict[Architecture, float]:
        """The column by canonical architecture, averaged over the rows that spell it: they are runs of one network."""
        return {network: math.fsum(values) / len(values) for network, values in self._by_network(column).items()}

    def cheapest(self, column: str) -> dict[Architecture, float]:
        """The column by canonical architecture, the least of the rows that spell it: for what a network costs."""
        return {network: min(values) for network, values in self._by_network(column).items()}

    def _by_network(self, column: str) -> dict[Architecture, list[float]]:
        found: dict[Architecture, list[float]] = {}
        for network, value in zip(self.canonical, self.columns[column].tolist(), strict=True):
            found.setdefault(network, []).append(value)
        return found


def read_nas_bench_macro(path: Path) -> TabularBenchmark:
    """The rows of NAS-Bench-Macro's JSON: columns `mean_acc`, `test_acc_1` to `test_acc_3`, `flops`, `params`.

    Raises:
        DataError: the file cannot be read, or a key or value is not the benchmark's.

    Source: Su et al. 2021, NAS-Bench-Macro.
    """
    with unreadable_as(DataError, path, "cannot read NAS-Bench-Macro's JSON"):
        table = parse_json(read_bytes(path))
    if not isinstance(table, dict) or not table:
        raise DataError(f"{path}: expected an object with a key of 8 digits for every network of NAS-Bench-Macro")
    space = NASBenchMacroSpace(NASBenchMacroSettings())
    digits = {str(choice) for choice in range(len(space.decisions[0].choices))}
    rows: dict[str, list[float]] = {}
    for key, entry in table.items():
        if len(key) != len(space.decisions) or not digits.issuperset(key):
            raise DataError(
                f"{path}: key {shown(key)} is no network: expected {len(space.decisions)} digits from 0 to 2"
            )
        rows[key] = _macro_row(f"{path}: key {key!r}", entry)
    names = ("mean_acc", *(f"test_acc_{seed}" for seed in range(1, SEEDS + 1)), "flops", "params")
    columns = dict(zip(names, np.array(list(rows.values())).T, strict=True))
    return TabularBenchmark(space, np.array([[int(digit) for digit in key] for key in rows]), columns)


def _macro_row(where: str, entry: Any) -> list[float]:
    if not isinstance(entry, dict):
        raise DataError(f"{where}: expected an object, found {type(entry).__name__}")
    runs = entry.get("test_acc")
    if not isinstance(runs, list) or len(runs) != SEEDS:
        raise DataError(f'{where}: "test_acc" must be a list of {SEEDS} accuracies')
    values = [entry.get("mean_acc"), *runs, entry.get("flops"), entry.get("params")]
    if not all(type(value) in (int, float) and 0 <= value <= LARGEST for value in values):
        raise DataError(
            f'{where}: "mean_acc", "test_acc", "flops" and "params" must be finite numbers, 0 or more; found '
            f"{shown(values)}"
        )
    if max(values[: 1 + SEEDS]) > 100:
        raise DataError(f'{where}: "mean_acc" and "test_acc" are in percent, at most 100; found {shown(values)}')
    return values


def read_nas_bench_201(path: Path) -> TabularBenchmark:
    """The rows of an `.npz` of NAS-Bench-201; columns are those of `COLUMNS_201`, and of `ELSEWHERE_201` what it has.

    The archive holds `ops` `[rows, 6]`, indices into `op_names`, for the edges in the benchmark's order.

    Raises:
        DataError: the file cannot be read, or an array is missing or not the benchmark's.

    Source: Dong & Yang 2020 (NAS-Bench-201).
    """
    arrays = _arrays(path, ("op_names", "ops", *COLUMNS_201), ELSEWHERE_201)
    names, ops = tuple(map(str, arrays["op_names"].tolist())), arrays["ops"]
    if names != OPERATIONS:
        found = shorten(", ".join(names))
        raise DataError(f"{path}: op_names: expected {', '.join(OPERATIONS)} in this order, found {found}")
    if ops.ndim != 2 or ops.shape[1] != len(EDGES) or ops.dtype.kind not in "iu" or not len(ops):
        raise DataError(f"{path}: ops: expected integers [rows, {len(EDGES)}], found {ops.dtype} {list(ops.shape)}")
    if ops.min() < 0 or ops.max() >= len(OPERATIONS):
        raise DataError(f"{path}: ops: expected 0 to {len(OPERATIONS) - 1}, found {ops.min()} to {ops.max()}")
    columns = {}
    for name in (*COLUMNS_201, *(name for name in ELSEWHERE_201 if name in arrays)):
        if arrays[name].shape != ops.shape[:1] or arrays[name].dtype.kind not in "iuf":
            raise DataError(f"{path}: {name}: expected one number for each of the {len(ops)} rows of ops")
        columns[name] = arrays[name].astype(np.float64)
        most = 100.0 if "percent" in name else LARGEST
        if not ((columns[name] >= 0) & (columns[name] <= most)).all():  # also false for nan
            raise DataError(f"{path}: {name}: every number must be finite and from 0 to {most:g}")
    return TabularBenchmark(NASBench201Space(NASBench201Settings()), ops.astype(np.int64), columns)


def _arrays(path: Path, names: Sequence[str], optional: Sequence[str]) -> dict[str, NDArray[Any]]:
    # Looked at first because np.load answers a pickle or a single array with advice that would be wrong here.
    if not zipfile.is_zipfile(path):
        found = "a folder" if path.is_dir() else "not an .npz archive" if path.exists() else "no such file"
        raise DataError(f"{path}: cannot read NAS-Bench-201's .npz: {found}")
    arrays: dict[str, NDArray[Any]] = {}
    where = ""
    try:
        with np.load(path, allow_pickle=False) as archive:
            for name in (*names, *(name for name in optional if name in archive.files)):
                if name not in archive.files:
                    raise DataError(f"{path}: the array {name!r} is missing")
                where = f"the array {name!r}: "
                arrays[name] = archive[name]
    except DataError:
        raise
    except Exception as error:  # a damaged archive fails in zipfile, zlib or numpy, each in its own way
        raise DataError(f"{path}: cannot read NAS-Bench-201's .npz: {where}{reason(error)}") from None
    return arrays


def load_nas_bench_macro(path: Path) -> dict[Architecture, float]:
    """Test top-1 in percent on CIFAR-10, mean of three trainings, of every network of NAS-Bench-Macro.

    Raises:
        DataError: see `read_nas_bench_macro`.
    """
    return read_nas_bench_macro(path).networks("mean_acc")


def load_nas_bench_201(path: Path) -> dict[Architecture, float]:
    """Test top-1 in percent on CIFAR-10 after 200 epochs of every network of NAS-Bench-201.

    The benchmark trained equal cells separately; their results, up to 7 points apart, are averaged.

    Raises:
        DataError: see `read_nas_bench_201`.
    """
    return read_nas_bench_201(path).networks("test_top1_percent")


@dataclass(frozen=True)
class TableFormat:
    """How the table of a space is read, and what its columns mean.

    Args:
        read: gives the rows of a file.
        truth: the column of the accuracies in percent that networks are worth.
        cost: the column of the multiply-adds that budgets limit.
        seeds: columns of single trainings, whose mean the truth is; none where the table has only the mean.
        weighted: the choices that add a layer with weights, the same for every decision; their number is a depth.
        others: further columns of accuracies in percent, of other splits and data sets, that a file may have.
    """

    read: Callable[[Path], TabularBenchmark]
    truth: str
    cost: str
    seeds: tuple[str, ...]
    weighted: tuple[int, ...]
    others: tuple[str, ...] = ()


TABLES: dict[str, TableFormat] = {
    NASBenchMacroSpace.name: TableFormat(
        read_nas_bench_macro, "mean_acc", "flops", tuple(f"test_acc_{seed}" for seed in range(1, SEEDS + 1)), (1, 2)
    ),
    NASBench201Space.name: TableFormat(
        read_nas_bench_201,
        "test_top1_percent",
        "macs",
        (),
        tuple(map(OPERATIONS.index, KERNELS)),
        ("val_top1_percent", *ELSEWHERE_201),
    ),
}
"""The table of each space that has one, by the name of the space."""


def check_same_networks(benchmark: TabularBenchmark, space: SearchSpace, where: str) -> None:
    """Check that a space makes the networks of a table, at whatever width; `where` names the table in messages.

    Raises:
        DataError: it makes others.
    """
    # Equal decisions make equal networks only where identities may move alike, which depends on strides and widths.
    if space.decisions != benchmark.space.decisions or space.networks() != benchmark.space.networks():
        raise DataError(
            f"{where}: the table has {len(benchmark.space.decisions)} decisions and {benchmark.space.networks():,} "
            f"networks, but this {space.name} space has {len(space.decisions)} and {space.networks():,}; give it the "
            "benchmark's stages and operations"
        )


def load_table(path: Path, space: SearchSpace) -> dict[Architecture, float]:
    """Ground truth for `space`: test top-1 in percent of every network, from the table that goes with its name.

    Other widths and image sizes than the benchmark's are accepted: a small copy of the space can be asked whether it
    orders networks as the benchmark does.

    Raises:
        DataError: no table is known for the space, the space makes other networks than the benchmark's, or the file
            cannot be used.
    """
    if space.name not in TABLES:
        raise DataError(f"{path}: there is no table for the space {space.name}, only for {', '.join(TABLES)}")
    table = TABLES[space.name]
    benchmark = table.read(path)
    check_same_networks(benchmark, space, str(path))
    return benchmark.networks(table.truth)
