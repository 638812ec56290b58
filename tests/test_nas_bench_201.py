"""The NAS-Bench-201 space against the benchmark's own table, and its supernet against stand-alone networks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from anybudget.architecture import Architecture
from anybudget.costs import build_costs, counts
from anybudget.errors import ArchitectureError, ConfigError
from anybudget.nets import build_network
from anybudget.nets.cells import CellLayer, CellSupernet
from anybudget.spaces import PathEncoding
from anybudget.spaces.nas_bench_201 import EDGES, OPERATIONS, CellSpec, NASBench201Settings, NASBench201Space
from anybudget.testing import randomise_norms

SPACE = NASBench201Space(NASBench201Settings())
TINY = NASBench201Space(NASBench201Settings(input_size=8, classes=3, width=4, cells=1))
NONE, SKIP, CONV1, CONV3, POOL = range(5)
# By hand: all none; node 1 without input; an unused conv; everything a 3x3; one of each kind.
CELLS = [
    (NONE,) * 6,
    (NONE, CONV3, CONV1, SKIP, CONV3, POOL),
    (CONV3, NONE, NONE, SKIP, NONE, CONV1),
    (CONV3,) * 6,
    (CONV1, SKIP, CONV3, NONE, POOL, SKIP),
]


@pytest.fixture(scope="module")
def supernet() -> CellSupernet:
    """Random weights and random norm statistics, float64, in evaluation mode."""
    torch.manual_seed(0)
    net = CellSupernet(TINY)
    randomise_norms(net, torch.Generator().manual_seed(1))
    return net.double().eval()


@pytest.fixture
def table(cell_table: Path) -> dict[str, NDArray[np.int64]]:
    """What the benchmark says of encodings, among them all of some networks."""
    with np.load(cell_table, allow_pickle=False) as file:
        assert tuple(file["op_names"]) == OPERATIONS
        return {name: file[name].astype(np.int64) for name in ("ops", "macs", "params", "isomorphism_class")}


def images(count: int = 2, size: int = 8) -> torch.Tensor:
    return torch.randn(count, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def spelled(choices: tuple[int, ...]) -> PathEncoding:
    return PathEncoding("nas-bench-201", tuple((choice,) for choice in choices))


def architecture(choices: tuple[int, ...]) -> Architecture:
    return Architecture("nas-bench-201", choices)


def some_cells(count: int) -> Iterator[tuple[int, ...]]:
    rng = np.random.default_rng(0)
    yield from CELLS
    for _ in range(count):
        yield tuple(int(choice) for choice in rng.integers(5, size=6))


def test_costs_equal_the_table(table: dict[str, NDArray[np.int64]]) -> None:
    """The benchmark counts the classifier's bias as multiply-adds: one per class more than ours."""
    costs = build_costs(SPACE, ("macs", "params"))
    for name, excess in (("macs", SPACE.classes), ("params", 0)):
        expected = table[name] - excess
        assert (costs[name].terms.costs(table["ops"]) == expected).all()
        for row in np.random.default_rng(0).choice(len(expected), min(200, len(expected)), replace=False):
            assert costs[name].cost(architecture(tuple(table["ops"][row].tolist()))) == expected[row]


def test_classes_and_representatives_equal_the_table(table: dict[str, NDArray[np.int64]]) -> None:
    members: dict[int, set[tuple[int, ...]]] = {}
    found: dict[Architecture, set[tuple[int, ...]]] = {}
    least: dict[int, NDArray[np.int64]] = {}
    cost: dict[tuple[int, ...], NDArray[np.int64]] = {}
    for row, label, both in zip(
        map(tuple, table["ops"].tolist()),
        table["isomorphism_class"].tolist(),
        np.stack([table["macs"], table["params"]], axis=1),
        strict=True,
    ):
        members.setdefault(label, set()).add(row)
        found.setdefault(SPACE.canonical(spelled(row)), set()).add(row)
        least[label] = np.minimum(least.get(label, both), both)
        cost[row] = both
    assert sorted(map(sorted, members.values())) == sorted(map(sorted, found.values()))
    assert len(members) < len(cost)
    assert (SPACE.size(), SPACE.networks()) == (15625, 6466)
    for canonical, encodings in found.items():
        assert canonical.choices in encodings
    by_row = {row: label for label, rows in members.items() for row in rows}
    for canonical in found:
        assert (cost[canonical.choices] == least[by_row[canonical.choices]]).all()


def test_canonical_form() -> None:
    dead = (CONV3, SKIP, NONE, NONE, NONE, CONV1)  # 0->1 leads nowhere
    alive = (NONE, SKIP, NONE, NONE, NONE, CONV1)
    assert TINY.canonical(spelled(dead)) == TINY.canonical(spelled(alive)) == architecture(alive)
    assert TINY.simplified(architecture(dead)) == architecture(alive)
    everything = list(TINY.enumerate())
    assert len(everything) == len(set(everything)) == TINY.networks()
    assert TINY.describe(architecture(alive))[-1] == ["nor_conv_1x1"]
    assert [decision.name for decision in TINY.decisions] == [f"edge {s}->{t}" for s, t in EDGES]
    with pytest.raises(ArchitectureError, match="edge 0->1: operations"):
        TINY.canonical(spelled((7, 0, 0, 0, 0, 0)))


def test_a_cell_names_known_operations() -> None:
    with pytest.raises(ConfigError, match="needs 6 operations of none, skip_connect"):
        CellSpec(("none",) * 5, 4, 8)
    with pytest.raises(ConfigError, match="conv_7x7"):
        CellSpec((*("none",) * 5, "conv_7x7"), 4, 8)


@pytest.mark.parametrize("size", [8, 9, 5])
def test_formulas_equal_an_operator_count(size: int) -> None:
    """Every edge that is not none is computed, also where it leads nowhere; odd sizes round up."""
    space = NASBench201Space(NASBench201Settings(input_size=size, classes=3, width=4, cells=2))
    costs = build_costs(space, ("macs", "params"))
    for choices in some_cells(4):
        for candidate in (architecture(choices), space.canonical(spelled(choices))):
            network = build_network(space.block_specs(candidate)).eval()
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                assert network(torch.zeros(2, 3, size, size)).shape == (2, 3)
            assert counter.get_total_flops() == 2 * 2 * costs["macs"].cost(candidate)
            assert sum(p.numel() for p in network.parameters()) == costs["params"].cost(candidate)


def test_stages_and_cells_are_settings() -> None:
    space = NASBench201Space(NASBench201Settings(width=8, cells=2, stages=2, dropout=0.1))
    names = [type(factor.spec(*[0] * len(factor.decisions))).__name__ for factor in space.factors]
    cells = ["CellSpec"] * 2
    assert names == ["ConvSpec", *cells, "ReductionSpec", *cells, "NormActivationSpec", "ClassifierSpec"]
    assert sum(map(counts.params, space.block_specs(architecture((NONE,) * 6)))) == 3 * 8 * 9 + 16 + (
        8 * 16 * 9 + 32 + 16 * 16 * 9 + 32 + 8 * 16 + 32 + 170
    )


def test_a_path_equals_the_extracted_network(supernet: CellSupernet) -> None:
    x = images()
    with torch.no_grad():
        for choices in some_cells(8):
            network = supernet.extract(architecture(choices))
            assert not network.training
            torch.testing.assert_close(network(x), supernet(x, spelled(choices)), rtol=0, atol=1e-10)


def test_a_one_hot_mixture_equals_the_path(supernet: CellSupernet) -> None:
    x = images()
    mixture = supernet.relaxed()
    with torch.no_grad():
        for choices in some_cells(8):
            one_hot = nn.functional.one_hot(torch.tensor(choices), 5).double()
            torch.testing.assert_close(mixture(x, one_hot), supernet(x, spelled(choices)), rtol=0, atol=1e-10)
            torch.testing.assert_close(supernet(x, one_hot), supernet(x, spelled(choices)), rtol=0, atol=1e-10)


def test_an_edge_adds_its_operations_up_by_probability(supernet: CellSupernet) -> None:
    cell = supernet.layers[0]
    assert isinstance(cell, CellLayer)
    x = torch.randn(2, 4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    others = (CONV3, NONE, CONV1, NONE, SKIP, POOL)
    probabilities = nn.functional.one_hot(torch.tensor(others), 5).double()
    probabilities[3] = torch.tensor([0.3, 0.1, 0.2, 0.15, 0.25], dtype=torch.float64)
    with torch.no_grad():
        expected = sum(
            share * cell(x, (*others[:3], operation, *others[4:])) for operation, share in enumerate(probabilities[3])
        )
        torch.testing.assert_close(cell.mixture(x, probabilities), expected, rtol=0, atol=1e-10)


def test_gradients_reach_the_probabilities_and_only_the_path_s_weights(supernet: CellSupernet) -> None:
    probabilities = torch.full((6, 5), 0.2, dtype=torch.float64, requires_grad=True)
    mixture = supernet.relaxed().train()
    (gradient,) = torch.autograd.grad(mixture(images(), probabilities).square().sum(), probabilities)
    assert (gradient[:, NONE] == 0).all()
    assert (gradient[:, SKIP:] != 0).all()
    net = CellSupernet(TINY).double()
    net(images(), architecture((CONV3, NONE, NONE, SKIP, CONV1, NONE))).square().sum().backward()
    cells = [layer for layer in net.layers if isinstance(layer, CellLayer)]
    trained = {name for cell in cells for name, weight in cell.named_parameters() if weight.grad is not None}
    assert {tuple(name.split(".")[1:3]) for name in trained} == {("0", str(CONV3)), ("4", str(CONV1))}


def test_statistics_are_recorded_and_never_left_over() -> None:
    """Training leaves the norms of cells and reductions alone; recording fills those of the path, reductions' too."""
    torch.manual_seed(0)
    net = CellSupernet(TINY).double()
    path = architecture((CONV3, NONE, NONE, SKIP, CONV1, NONE))
    before = {name: value.clone() for name, value in net.layers.named_buffers()}
    net(images(8), path)
    assert all(torch.equal(value, before[name]) for name, value in net.layers.named_buffers())
    net.reset_statistics()
    net.record_statistics(images(8), path)
    counted = {name for name, value in net.layers.named_buffers() if name.endswith("num_batches_tracked") and value}
    norms = {"conv_a", "conv_b"}
    expected = {f"{layer}.edges.{edge}.norm.num_batches_tracked" for layer in (0, 2, 4) for edge in ("0.3", "4.2")}
    assert counted == expected | {f"{layer}.{norm}.norm.num_batches_tracked" for layer in (1, 3) for norm in norms}
    net.eval()
    with torch.no_grad():
        torch.testing.assert_close(net.extract(path)(images()), net(images(), path), rtol=0, atol=1e-10)


def test_a_fair_round_trains_every_operation_of_every_edge_once() -> None:
    paths = TINY.fair_round(np.random.default_rng(0))
    assert len(paths) == 5
    for edge in range(6):
        assert sorted(path.operations[edge][0] for path in paths) == [NONE, SKIP, CONV1, CONV3, POOL]
