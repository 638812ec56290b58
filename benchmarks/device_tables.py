"""Latencies of published devices: block tables against whole networks, and tables fitted to whole networks.

The block tables of FBNet (Raspberry Pi 4, Pixel 3), as a CSV file, have to give the 5,000 networks that were measured.
For every device of FBNet and NAS-Bench-201 a table is then fitted to n whole networks drawn at random, from nothing but
multiply-adds: the error and Kendall's tau on all other networks, and how many of these keep a promise of 95% that was
made from the n networks alone, by cross-validation; means over seeds with their standard errors. Networks of
NAS-Bench-201 are the canonical ones.

Run: python benchmarks/device_tables.py [--data ../shared/data] [--seeds 5] [--networks 30 100 300]
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import kendalltau

from anybudget.architecture import Architecture
from anybudget.costs import CostTerms, build_costs
from anybudget.costs.table import TableSettings
from anybudget.latency.fitting import MeasuredNetworks, fit_latency
from anybudget.latency.promise import cross_validated, promise_of
from anybudget.latency.tying import Tying
from anybudget.spaces import NASBench201Settings, NASBench201Space, SearchSpace
from anybudget.spaces.fbnet import FBNetSettings, FBNetSpace

PROMISE = 0.95
BLOCK_DEVICES = ("raspi4", "pixel3")


@dataclass(frozen=True)
class Benchmark:
    """Networks of a space, and how long each took on every device, in ms."""

    space: SearchSpace
    choices: NDArray[np.int64]
    devices: Mapping[str, NDArray[np.float64]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--networks", type=int, nargs="+", default=[30, 100, 300])
    options = parser.parse_args()
    console = Console(width=140)
    fbnet = read_fbnet(options.data)
    for device in BLOCK_DEVICES:
        console.print(block_table(options.data, fbnet, device))
    table = Table("space", "device", "n", "MAPE %", "median %", "tau", "kept %", "margin %")
    for benchmark in (fbnet, read_cells(options.data)):
        for device in benchmark.devices:
            for n in options.networks:
                rows = np.array([fitted(benchmark, device, n, seed) for seed in range(options.seeds)])
                table.add_row(benchmark.space.name, device, str(n), *shown(rows))

    console.print(table)


def read_fbnet(data: Path) -> Benchmark:
    """5,000 random networks of FBNet's space on six devices."""
    with np.load(data / "fbnet_latency_ms.npz", allow_pickle=False) as file:
        devices = {name: file[name].astype(np.float64) for name in file if name != "arch"}
        return Benchmark(FBNetSpace(FBNetSettings()), file["arch"].astype(np.int64), devices)


def read_cells(data: Path) -> Benchmark:
    """The canonical cells of NAS-Bench-201 on six devices."""
    space = NASBench201Space(NASBench201Settings())
    with np.load(data / "nas_bench_201_cifar10.npz", allow_pickle=False) as file:
        cells = file["ops"].astype(np.int64)
    networks = [Architecture(space.name, tuple(cell)) for cell in cells.tolist()]
    canonical = np.array([space.simplified(network) == network for network in networks])
    with np.load(data / "nas_bench_201_latency_ms.npz", allow_pickle=False) as file:
        devices = {name: file[name][canonical].astype(np.float64) for name in file}
    return Benchmark(space, cells[canonical], devices)


def block_table(data: Path, benchmark: Benchmark, device: str) -> str:
    """How far the sums of a block table are from what was measured, in units of the last bit of a 32-bit float."""
    space, ms = benchmark.space, benchmark.devices[device]
    with np.load(data / "fbnet_block_latency_ms.npz", allow_pickle=False) as file:
        constant, rows = float(file[f"{device}_const"]), tuple(file[device].astype(np.float64))
    # Equal blocks differ by rounding in the file, and a table has to have one number for them.
    blocks = Tying.of(space).terms(CostTerms(constant, rows)).unary
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{device}.csv"
        with path.open("w", newline="") as text:
            csv.writer(text).writerows(lines(space, constant, blocks))
        tables = {"latency_ms": ("table", TableSettings(file=str(path)))}
        cost = build_costs(space, ["latency_ms"], tables=tables)["latency_ms"]
    sums = np.array([cost.cost(Architecture(space.name, tuple(row))) for row in benchmark.choices.tolist()])
    bits = np.abs(sums.astype(np.float32).view(np.int32) - ms.astype(np.float32).view(np.int32))
    return (
        f"{device}: {len(ms)} networks from {sum(map(len, blocks))} blocks and {constant:.6g} ms: "
        f"{np.mean(bits == 0):.1%} equal as 32-bit floats, the others by {bits.max()} unit in the last place; "
        f"largest relative difference {np.abs(sums / ms - 1).max():.1e}"
    )


def lines(space: SearchSpace, constant: float, blocks: Sequence[NDArray[np.float64]]) -> Iterator[Sequence[object]]:
    """The lines of a CSV file with a column for each operation."""
    yield ("decision", *space.decisions[0].choice_names)
    yield ("constant", constant)
    for decision, row in zip(space.decisions, blocks, strict=True):
        yield (decision.name, *row.tolist())


def fitted(benchmark: Benchmark, device: str, n: int, seed: int) -> tuple[float, ...]:
    """Mean and median error in percent, tau, share of kept promises in percent, and the margin in percent."""
    ms = benchmark.devices[device]
    order = np.random.default_rng(seed).permutation(len(ms))
    sample = MeasuredNetworks(benchmark.choices[order[:n]], ms[order[:n]])
    predicted = fit_latency(benchmark.space, sample).predict(benchmark.choices[order[n:]])
    margin = promise_of(cross_validated(benchmark.space, sample, seed=seed), sample.ms).margin(PROMISE)
    others = ms[order[n:]]
    errors = np.abs(predicted / others - 1)
    kept = np.mean(others <= predicted * (1 + margin))
    tau = float(kendalltau(predicted, others).statistic)
    return 100 * float(errors.mean()), 100 * float(np.median(errors)), tau, 100 * float(kept), 100 * margin


def shown(rows: NDArray[np.float64]) -> list[str]:
    """Mean ± standard error of every column."""
    means, errors = rows.mean(0), rows.std(0, ddof=1) / np.sqrt(len(rows))
    return [
        f"{mean:.3f} ± {error:.3f}" if number == 2 else f"{mean:.2f} ± {error:.2f}"
        for number, (mean, error) in enumerate(zip(means, errors, strict=True))
    ]


if __name__ == "__main__":
    main()
