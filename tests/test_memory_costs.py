"""Peak memory and file size: by formula, against runs and exports, and a maximum under budgets against brute force."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from anybudget.architecture import Architecture
from anybudget.budgets import Budget, BudgetSet
from anybudget.costs import CostModel, CostTerms, build_costs
from anybudget.costs.table import CostTable
from anybudget.decoding.decoder import decode
from anybudget.decoding.feasible import FeasibleSampler
from anybudget.decoding.reachability import attainable, optimum, reachable
from anybudget.decoding.window import WindowSampler
from anybudget.errors import BudgetError, ConfigError
from anybudget.nets import build_network
from anybudget.spaces import (
    BlockSpec,
    NASBench201Settings,
    NASBench201Space,
    ResNetBitsSettings,
    ResNetBitsSpace,
    SearchSpace,
    UnifiedSpace,
    stages,
)
from anybudget.spaces.blocks import Branch, ClassifierSpec
from anybudget.spaces.flow import Flow
from anybudget.spaces.nas_bench_201 import OPERATIONS, CellSpec
from anybudget.spaces.resnet_bits import BasicBlockSpec, MaxPoolSpec
from anybudget.spaces.split import SplitBottleneckSpec
from anybudget.testing import check_cost_model, randomise_norms
from conftest import open_run, slow_but
from live_values import live_bytes
from tiny_spaces import small_channels, small_mbconv, tiny_macro

UNIFIED = UnifiedSpace(tiny_macro(stages=stages((4, 1, 1), (6, 1, 2)), max_expansion=3))  # 256 networks
MBCONV = small_mbconv(3, "skip", "k3_e3", "k5_e6", "k3_e3_g2", "k3_e6_se")  # 125 encodings
CHANNELS = small_channels()  # 216 networks with pairs
CELL = NASBench201Space(NASBench201Settings(width=4, cells=1, input_size=8))
BITS = ResNetBitsSpace(ResNetBitsSettings(input_size=16, classes=3, widths=(4, 8), blocks=(1, 2)))
SPACES: dict[str, SearchSpace] = {"unified": UNIFIED, "mbconv": MBCONV, "channels": CHANNELS}
PEAK = "peak_memory_bytes"


@cache
def costs_of(kind: str) -> dict[str, CostModel]:
    return build_costs(SPACES[kind])


@cache
def everything(kind: str) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """All choices of a space, their peak memory, and their multiply-adds."""
    sizes = [range(len(decision.choices)) for decision in SPACES[kind].decisions]
    choices = np.array(list(product(*sizes)))
    networks = [Architecture(SPACES[kind].name, tuple(row)) for row in choices.tolist()]
    peak, macs = (np.array([costs_of(kind)[name].cost(a) for a in networks]) for name in (PEAK, "macs"))
    return choices, peak, macs


def network_of(specs: Sequence[BlockSpec]) -> nn.Module:
    torch.manual_seed(0)
    network = build_network(specs)
    randomise_norms(network, torch.Generator().manual_seed(0))
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.bias)  # an exporter may leave out zeros
    return network


@pytest.mark.parametrize("kind", SPACES)
def test_what_is_alive_in_a_run_is_the_peak(kind: str) -> None:
    space, rng = SPACES[kind], np.random.default_rng(0)
    for architecture in [space.sample(rng) for _ in range(3)]:
        specs = space.block_specs(architecture)
        assert costs_of(kind)[PEAK].cost(architecture) == live_bytes(network_of(specs), space.input_shape)
        assert costs_of(kind)[PEAK].count(specs) == costs_of(kind)[PEAK].cost(architecture)


def test_the_last_blocks_have_peaks_of_their_own() -> None:
    """A wide head on one pixel: more is alive in the classifier than in any layer before."""
    space = small_mbconv(1, "k3_e3")
    wide = type(space)(space.settings.model_copy(update={"head_width": 512, "classes": 700, "input_size": 4}))
    (network,) = wide.enumerate()
    peak = build_costs(wide)[PEAK].cost(network)
    assert peak == live_bytes(network_of(wide.block_specs(network)), wide.input_shape)
    assert peak == 4 * (512 + 700)


def test_a_cell_is_counted_with_all_its_edges() -> None:
    peak = build_costs(CELL)[PEAK]
    full = CellSpec(("nor_conv_3x3",) * 6, 16, 8)
    assert 4 * full.flow().peak() == live_bytes(network_of([full]), (16, 8, 8))
    rng = np.random.default_rng(0)
    for architecture in [CELL.sample(rng) for _ in range(3)]:
        assert live_bytes(network_of(CELL.block_specs(architecture)), CELL.input_shape) <= peak.cost(architecture)
    assert all(CellSpec((name,) * 6, 16, 8).flow().peak() == full.flow().peak() for name in OPERATIONS)


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        (SplitBottleneckSpec(8, 8, 1, 6, (Branch(3, 8), Branch(5, 16)), "relu", 2, 2), (8, 6, 6)),
        (SplitBottleneckSpec(8, 12, 2, 6, (Branch(3, 8), Branch(5, 16)), "relu", 2, 2, 4), (8, 6, 6)),
        (ClassifierSpec(64, 10, hidden=96, activation="relu", resolution=3), (64, 3, 3)),
        (MaxPoolSpec(7, 5), (5, 7, 7)),
    ],
)
def test_blocks_of_other_networks(spec: BlockSpec, shape: tuple[int, ...]) -> None:
    assert 4 * spec.flow().peak() == live_bytes(network_of([spec]), shape)


def test_residual_blocks_of_resnets_are_counted_in_floats() -> None:
    """Two maps of the same shape are alive in a plain block; with a projection the input of 3 pixels' width, too."""
    plain = BasicBlockSpec(4, 4, 1, 8, 2, 4)
    assert plain.flow().peak() == 3 * 4 * 8**2  # input, and both ends of the second convolution
    strided = BasicBlockSpec(4, 8, 2, 8, 2, 4)
    assert strided.flow().peak() == 4 * 8**2 + 2 * 8 * 4**2
    assert build_costs(BITS)[PEAK].cost(Architecture(BITS.name, (0, 0, 0))) > 0


def test_flow_frees_what_nobody_reads_again() -> None:
    flow = Flow(10)
    first = flow.make(20, 0)
    second = flow.make(5, first)
    assert flow.peak() == 30
    flow.add(second, 0)  # now the input is needed to the end
    assert flow.peak() == 35
    other = Flow(10)
    value = other.make(10, 0)
    kept = other.add(value, 0)
    other.make(1, value, kept)  # the sum cannot be written over what is read later
    assert other.peak() == 30


@pytest.mark.parametrize("space", [UNIFIED, MBCONV, CHANNELS, CELL, BITS], ids=lambda space: str(space.name))
@pytest.mark.parametrize("name", [PEAK, "file_bytes"])
def test_both_are_costs(space: SearchSpace, name: str) -> None:
    check_cost_model(build_costs(space)[name], samples=30)


@pytest.mark.parametrize("kind", SPACES)
def test_a_maximum_reaches_what_brute_force_reaches(kind: str) -> None:
    _, peak, macs = everything(kind)
    terms = {name: model.terms for name, model in costs_of(kind).items()}
    assert terms[PEAK].combine == "max"
    assert reachable(terms, PEAK) == (peak.min(), peak.max())
    for share in (0.1, 0.5, 0.9):
        limit = float(np.quantile(macs, share, method="lower"))
        within = BudgetSet((Budget("macs", limit),))
        assert optimum(terms, PEAK, within, largest=True) == peak[macs <= limit].max()
        assert optimum(terms, PEAK, within, largest=False) == peak[macs <= limit].min()
        limit = float(np.quantile(peak, share, method="lower"))
        within = BudgetSet((Budget(PEAK, limit),))
        assert optimum(terms, "macs", within, largest=True) == macs[peak <= limit].max()
        assert attainable(terms, PEAK, within) == limit


@settings(max_examples=60)
@given(st.sampled_from(list(SPACES)), st.floats(0, 1), st.floats(0, 1), st.integers(0, 10**6), st.booleans())
def test_decoding_within_a_maximum_is_exact(kind: str, first: float, second: float, seed: int, floor: bool) -> None:
    choices, peak, macs = everything(kind)
    limits = {
        PEAK: float(np.quantile(peak, first, method="lower")),
        "macs": float(np.quantile(macs, second, method="lower")),
    }
    rng = np.random.default_rng(seed)
    scores = [rng.normal(size=len(decision.choices)) for decision in SPACES[kind].decisions]
    worth = sum(row[choices[:, d]] for d, row in enumerate(scores))
    allowed = (peak <= limits[PEAK]) & (macs <= limits["macs"])
    terms = {name: model.terms for name, model in costs_of(kind).items()}
    budgets = BudgetSet(tuple(Budget(name, limit) for name, limit in limits.items()))
    least = 0.9 * limits[PEAK]
    if not allowed.any():
        with pytest.raises(BudgetError):
            decode(scores, terms, budgets)
        return
    if floor and (allowed & (peak >= least)).any():
        allowed &= peak >= least
        found = decode(scores, terms, budgets, 3, floors={PEAK: least})
    else:
        found = decode(scores, terms, budgets, 3)
    best = np.sort(worth[allowed])[::-1][:3]
    np.testing.assert_allclose([decoded.log_probability for decoded in found], best)


@pytest.mark.parametrize("kind", SPACES)
def test_windows_of_a_maximum_are_sampled_uniformly(kind: str) -> None:
    choices, peak, _ = everything(kind)
    low, high = float(np.quantile(peak, 0.3, method="lower")), float(np.quantile(peak, 0.8, method="lower"))
    space = SPACES[kind]
    sampler = WindowSampler(space, costs_of(kind)[PEAK], low, high)
    drawn = sampler._draw(4000, np.random.default_rng(0))  # the choices before equal networks are counted once
    inside = {tuple(row) for row in choices[(peak >= low) & (peak <= high)].tolist()}
    counts = dict.fromkeys(inside, 0)
    for row in drawn.tolist():
        counts[tuple(row)] += 1
    expected = 4000 / len(inside)
    square = sum((count - expected) ** 2 / expected for count in counts.values())
    assert square < len(inside) + 5 * (2 * len(inside)) ** 0.5
    with pytest.raises(BudgetError, match="no architecture has peak_memory_bytes"):
        WindowSampler(space, costs_of(kind)[PEAK], 0, float(peak.min()) - 1)


@pytest.mark.parametrize("kind", SPACES)
def test_samples_within_a_tight_peak(kind: str) -> None:
    _, peak, _ = everything(kind)
    limit = float(peak.min())
    sampler = FeasibleSampler(SPACES[kind], costs_of(kind), BudgetSet((Budget(PEAK, limit),)))
    found = sampler.sample(5, np.random.default_rng(0))
    assert found
    assert all(costs_of(kind)[PEAK].cost(network) == limit for network in found)


def test_a_maximum_is_no_sum() -> None:
    terms = CostTerms(
        1.0, (np.array([3.0, 5.0]), np.array([2.0, 9.0])), {(0, 1): np.array([[0.0, 4.0], [8, 0]])}, "max"
    )
    assert [terms.cost(choices) for choices in product(range(2), repeat=2)] == [3.0, 9.0, 8.0, 9.0]
    assert reachable({"x": terms}, "x") == (3.0, 9.0)
    with pytest.raises(BudgetError, match="cannot be relaxed"):
        terms.relaxed(torch.full((2, 2), 0.5))
    with pytest.raises(BudgetError, match="cannot be relaxed"):
        terms.moments(torch.full((2, 2), 0.5))
    with pytest.raises(ConfigError, match="a maximum over the layers, which a table cannot hold"):
        CostTable.of(costs_of("mbconv")[PEAK], "bytes")


def test_a_generator_is_not_trained_for_a_maximum(recipe_file: Path, tmp_path: Path) -> None:
    run = open_run(recipe_file, tmp_path / "run", "generator.cost=peak_memory_bytes")
    with pytest.raises(ConfigError, match=r"generator.cost: peak_memory_bytes is the greatest of its layers"):
        _ = run.context.cost


@pytest.mark.parametrize(
    "space", slow_but([MBCONV, CELL], [UNIFIED, MBCONV, CHANNELS, CELL, BITS]), ids=lambda space: str(space.name)
)
def test_files_are_as_large_as_it_says(space: SearchSpace) -> None:
    onnx_model = pytest.importorskip("anybudget.export.onnx_model")
    pytest.importorskip("onnxscript")
    network = space.sample(np.random.default_rng(1))
    specs = space.block_specs(network)
    size = len(onnx_model.to_onnx(network_of(specs), space.input_shape).SerializeToString())
    assert abs(build_costs(space)["file_bytes"].cost(network) - size) < 10_000
    if space is MBCONV:  # all but names and attributes is counted to the byte
        wider = type(space)(space.settings.model_copy(update={"head_width": 4000, "classes": 1000}))
        specs = wider.block_specs(replace(network))
        large = len(onnx_model.to_onnx(network_of(specs), space.input_shape).SerializeToString())
        said = (build_costs(s)["file_bytes"].cost(network) for s in (wider, space))
        assert large - size == pytest.approx(next(said) - next(said), abs=50)
