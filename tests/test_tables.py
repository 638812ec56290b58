"""Tables of tabular benchmarks: published numbers, rows of one network, and files that are damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anybudget.architecture import Architecture
from anybudget.errors import DataError
from anybudget.evaluation.ranking import rank_correlation
from anybudget.spaces import NASBench201Settings, NASBench201Space, UnifiedSpace, stages
from anybudget.spaces.nas_bench_macro import NASBenchMacroSettings, NASBenchMacroSpace
from anybudget.tabular.tables import (
    COLUMNS_201,
    TabularBenchmark,
    load_nas_bench_201,
    load_nas_bench_macro,
    load_table,
    read_nas_bench_201,
    read_nas_bench_macro,
)


def kendall(first: Any, second: Any) -> float:
    found = rank_correlation(first, second).kendall
    assert found is not None
    return round(found, 3)


def test_rows_of_nas_bench_macro(macro_table: Path) -> None:
    rows = read_nas_bench_macro(macro_table)
    np.testing.assert_allclose(sum(rows.columns[f"test_acc_{n}"] for n in (1, 2, 3)) / 3, rows.columns["mean_acc"])
    table = load_nas_bench_macro(macro_table)
    best = max(table, key=table.__getitem__)
    assert best.choices == (2, 2, 2, 1, 2, 2, 2, 0)
    assert round(table[best], 2) == 93.13
    assert round(table[Architecture("nas-bench-macro", (2,) * 8)], 2) == 92.95
    assert len(table) < len(rows.choices)  # some rows are of one network


@pytest.mark.slow
def test_published_numbers_of_nas_bench_macro(whole_macro_table: Path) -> None:
    rows = read_nas_bench_macro(whole_macro_table)
    mean = rows.columns["mean_acc"]
    seeds = [rows.columns[f"test_acc_{seed}"] for seed in (1, 2, 3)]
    assert len(mean) == 6561
    assert kendall(rows.columns["flops"], mean) == 0.556
    assert kendall((rows.choices > 0).sum(1), mean) == 0.693
    assert kendall(seeds[0], (seeds[1] + seeds[2]) / 2) == 0.896
    assert len(load_nas_bench_macro(whole_macro_table)) == rows.space.networks() == 3969


def test_rows_of_nas_bench_201(cell_table: Path) -> None:
    rows = read_nas_bench_201(cell_table)
    test = rows.columns["test_top1_percent"]
    assert round(test.max(), 2) == 94.37
    assert rows.columns["val_top1_percent_12_epochs"].max() < rows.columns["val_top1_percent"].max() < test.max()
    table = load_nas_bench_201(cell_table)
    assert round(max(table.values()), 2) == 94.37
    with np.load(cell_table, allow_pickle=False) as file:
        _, classes = np.unique(file["isomorphism_class"], return_inverse=True)
    means = np.bincount(classes, test) / np.bincount(classes)
    assert len(means) < len(test)
    np.testing.assert_allclose(sorted(table.values()), np.sort(means), rtol=1e-12)


@pytest.mark.slow
def test_published_numbers_of_nas_bench_201(whole_cell_table: Path) -> None:
    rows = read_nas_bench_201(whole_cell_table)
    test = rows.columns["test_top1_percent"]
    assert len(test) == 15625
    assert kendall(rows.columns["macs"], test) == 0.578
    assert kendall(rows.columns["val_top1_percent_12_epochs"], test) == 0.594
    assert kendall(rows.columns["val_top1_percent"], test) == 0.892
    assert len(load_nas_bench_201(whole_cell_table)) == rows.space.networks() == 6466


def test_rows_of_one_network_are_averaged() -> None:
    space = NASBenchMacroSpace(NASBenchMacroSettings(stages=stages((8, 3, 2))))
    choices = np.array([(1, 0, 2), (1, 2, 0), (0, 1, 2)])
    table = TabularBenchmark(space, choices, {"top1": np.array([90.0, 91.0, 50.0])}).networks("top1")
    assert table == {Architecture(space.name, (1, 2, 0)): 90.5, Architecture(space.name, (0, 1, 2)): 50.0}


ROW = {"test_acc": [1.0, 2, 3.0], "mean_acc": 2.0, "params": 5, "flops": 7}
ARRAYS: dict[str, Any] = {
    "op_names": np.array(["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]),
    "ops": np.zeros((2, 6), np.uint8),
    **{
        name: np.ones(2)
        for name in ("test_top1_percent", "val_top1_percent", "val_top1_percent_12_epochs", "macs", "params")
    },
}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("{", "cannot read NAS-Bench-Macro's JSON"),
        ("[]", "an object with a key of 8 digits"),
        ({}, "an object with a key of 8 digits"),
        ({"0123": ROW}, "key '0123'"),
        ({"00000003": ROW}, "key '00000003'"),
        ({"00000000": 3}, "key '00000000': expected an object"),
        ({"00000000": ROW | {"test_acc": [1.0]}}, "'00000000': \"test_acc\" must be a list of 3"),
        ({"00000000": ROW | {"mean_acc": "high"}}, "'00000000': .* finite numbers"),
        ({"00000000": ROW | {"mean_acc": float("nan")}}, "'00000000': .* finite numbers"),
    ],
)
def test_damaged_macro_tables_are_named(table: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text(table if isinstance(table, str) else json.dumps(table))
    with pytest.raises(DataError, match=message) as error:
        read_nas_bench_macro(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"macs": None}, "'macs' is missing"),
        ({"op_names": np.array(["none", "skip"])}, "op_names"),
        ({"ops": np.zeros((2, 5), np.uint8)}, "ops: expected integers"),
        ({"ops": np.zeros((2, 6))}, "ops: expected integers"),
        ({"ops": np.full((2, 6), 5)}, "ops: expected 0 to 4, found 5"),
        ({"macs": np.ones(3)}, "macs: expected one number"),
        ({"params": np.array(["a", "b"])}, "params: expected one number"),
        ({"test_top1_percent": np.array([1.0, np.nan])}, "test_top1_percent: .* finite"),
        ({"params": np.array([None, 1])}, "cannot read"),  # a pickle, which is never loaded
        ({"cifar100_test_top1_percent": np.array([1.0, 101.0])}, "cifar100_test_top1_percent: .* from 0 to 100"),
    ],
)
def test_damaged_cell_tables_are_named(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "table.npz"
    arrays = {name: array for name, array in (ARRAYS | change).items() if array is not None}
    np.savez(path, **arrays)
    with pytest.raises(DataError, match=message) as error:
        read_nas_bench_201(path)
    assert str(path) in str(error.value)


def test_other_data_sets_are_read_where_the_table_has_them(tmp_path: Path) -> None:
    path, wanted = tmp_path / "table.npz", "imagenet16_120_test_top1_percent"
    np.savez(path, **ARRAYS, **{wanted: np.array([44.0, 46.0]), "something_else": np.zeros(1)})
    rows = read_nas_bench_201(path)
    assert set(rows.columns) == {*COLUMNS_201, wanted}
    assert list(rows.networks(wanted).values()) == [45.0]


def test_tables_go_with_spaces(tmp_path: Path, space: UnifiedSpace) -> None:
    macro, cells, single = tmp_path / "macro.json", tmp_path / "cells.npz", tmp_path / "single.npy"
    macro.write_text(json.dumps({"00000000": ROW}))
    np.savez(cells, **ARRAYS)
    np.save(single, np.ones(3))
    small = NASBench201Space(NASBench201Settings(input_size=8, classes=3, width=4, cells=1))
    assert load_table(cells, small) == {Architecture("nas-bench-201", (0,) * 6): 1.0}
    narrow = NASBenchMacroSpace(NASBenchMacroSettings(stages=stages((8, 2, 2), (12, 3, 2), (16, 3, 2))))
    assert load_table(macro, narrow) == {Architecture("nas-bench-macro", (0,) * 8): 2.0}
    shallow = NASBenchMacroSpace(NASBenchMacroSettings(stages=stages((8, 2, 2), (12, 3, 2))))
    strideless = NASBenchMacroSpace(NASBenchMacroSettings(stages=stages((64, 2, 2), (64, 3, 1), (128, 3, 2))))
    swapped = NASBenchMacroSpace(NASBenchMacroSettings(operations=("k3_e3", "skip", "k5_e6")))
    for path, wrong, message in (
        (macro, space, "no table for the space unified"),
        (macro, shallow, "8 decisions and 3,969 networks, but this nas-bench-macro space has 5 and 189"),
        (macro, strideless, "stages and operations"),
        (macro, swapped, "stages and operations"),
        (cells, narrow, "cannot read NAS-Bench-Macro's JSON"),
        (macro, small, "cannot read NAS-Bench-201's .npz"),
        (single, small, "not an .npz archive"),
        (tmp_path / "none.json", narrow, "none.json"),
    ):
        with pytest.raises(DataError, match=message):
            load_table(path, wrong)
