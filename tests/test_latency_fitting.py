"""Latencies of choices from measured networks: planted ones come out again, and promises made of them are kept."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from anybudget.architecture import Architecture
from anybudget.costs import CostTerms, build_costs
from anybudget.costs.latency import Promise
from anybudget.costs.table import CostTable, TableCost
from anybudget.errors import DataError
from anybudget.latency.fitting import FEWEST, MeasuredNetworks, fit_latency
from anybudget.latency.promise import cross_validated, drift, promise_of
from anybudget.latency.tying import Tying
from anybudget.spaces import (
    NASBench201Settings,
    NASBench201Space,
    SearchSpace,
    UnifiedSpace,
    stages,
)
from anybudget.spaces.fbnet import FBNetSettings, FBNetSpace
from tiny_spaces import small_channels, small_mbconv, tiny_macro

Array = NDArray[np.float64]

UNIFIED = UnifiedSpace(tiny_macro(stages=stages((4, 1, 1), (6, 1, 2)), max_expansion=3))  # 256 networks
MBCONV = small_mbconv(6)
CELL = NASBench201Space(NASBench201Settings(width=4, cells=1))
CHANNELS = small_channels()


def drawn(space: SearchSpace, count: int, seed: int = 0) -> list[Architecture]:
    rng = np.random.default_rng(seed)
    return [space.sample(rng) for _ in range(count)]


def choices_of(networks: list[Architecture]) -> NDArray[np.int64]:
    return np.array([network.choices for network in networks])


def by_block(space: SearchSpace, per_block: Callable[[object], float]) -> CostTerms:
    """A latency that is a sum over blocks, whatever a block is said to take."""
    times = [np.zeros(len(decision.choices)) for decision in space.decisions]
    constant = 0.0
    for factor in space.factors:
        if not factor.decisions:
            constant += per_block(factor.spec())
            continue
        (d,) = factor.decisions
        times[d] += np.array([per_block(factor.spec(choice)) for choice in range(len(times[d]))])
    return CostTerms(constant, tuple(times))


def planted(space: SearchSpace, seed: int = 0) -> CostTerms:
    """Random times of every block."""
    times: dict[object, float] = {}
    rng = np.random.default_rng(seed)

    def time(spec: object) -> float:
        return times.setdefault(spec, 0.0 if getattr(spec, "identity", False) else float(rng.uniform(0.2, 2.0)))

    return by_block(space, time)


def measured(space: SearchSpace, terms: CostTerms, count: int, noise: float = 0.0, seed: int = 0) -> MeasuredNetworks:
    networks = drawn(space, count, seed)
    exact = terms.costs(choices_of(networks))
    return MeasuredNetworks.of(space, networks, exact * np.exp(noise * np.random.default_rng(seed).normal(size=count)))


def without_gauge(terms: CostTerms) -> list[Array]:
    return [row - row.min() for row in terms.unary]


@pytest.mark.parametrize("seed", range(3))
def test_planted_times_of_blocks_come_out_again(seed: int) -> None:
    truth = planted(MBCONV, seed)
    model = fit_latency(MBCONV, measured(MBCONV, truth, 60))
    for found, wanted in zip(without_gauge(model.terms), without_gauge(truth), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-4)
    others = choices_of(drawn(MBCONV, 200, seed=9))
    np.testing.assert_allclose(model.predict(others), truth.costs(others), rtol=1e-5)
    assert not model.paired


def test_sub_blocks_add_up() -> None:
    """A unified layer that takes a time for each sub-block, by its kernel size, and one for each kernel size in use."""
    truth = by_block(
        UNIFIED, lambda spec: sum(0.1 * b.channels + 0.3 * b.kernel for b in getattr(spec, "branches", ())) + 1.0
    )
    model = fit_latency(UNIFIED, measured(UNIFIED, truth, 60))
    others = choices_of(list(UNIFIED.enumerate()))
    np.testing.assert_allclose(model.predict(others), truth.costs(others), rtol=1e-4)


def test_ten_networks_correct_a_block_table() -> None:
    """Blocks measured alone lack what a network has around them, and may all be too slow by a factor."""
    truth = planted(MBCONV)
    alone = CostTerms(0.0, tuple(1.7 * row for row in truth.unary))
    model = fit_latency(MBCONV, measured(MBCONV, truth, FEWEST), alone)
    others = choices_of(drawn(MBCONV, 200, seed=9))
    np.testing.assert_allclose(model.predict(others), truth.costs(others), rtol=1e-6)
    assert model.scale == pytest.approx(1 / 1.7)


def test_a_block_table_with_pairs_is_kept() -> None:
    """What two neighbouring widths take together is known from their blocks; whole networks say the scale."""
    blocks = build_costs(CHANNELS)["params"].terms
    truth = CostTerms(3.0, tuple(0.01 * row for row in blocks.unary), {p: 0.01 * t for p, t in blocks.pairwise.items()})
    model = fit_latency(CHANNELS, measured(CHANNELS, truth, 20), blocks)
    others = choices_of(list(CHANNELS.enumerate()))
    np.testing.assert_allclose(model.predict(others), truth.costs(others), rtol=1e-6)
    assert model.terms.pairwise


def test_a_prior_helps_where_networks_are_few() -> None:
    space = FBNetSpace(FBNetSettings())
    truth = planted(space)
    few = measured(space, truth, 30, noise=0.01)
    rng = np.random.default_rng(5)
    near = CostTerms(0.0, tuple(row * rng.uniform(0.9, 1.1, size=row.shape) for row in truth.unary))
    others = choices_of(drawn(space, 200, seed=9))
    models = [fit_latency(space, few, prior) for prior in (near, None)]
    with_table, with_macs = (np.abs(m.predict(others) / truth.costs(others) - 1).mean() for m in models)
    assert with_table < 0.03
    assert with_table < 0.3 * with_macs


def test_pairs_are_used_where_they_help() -> None:
    space = UnifiedSpace(tiny_macro(max_expansion=4))
    rng = np.random.default_rng(0)
    depth = [np.array([sum(op != space.skip for op in c) for c in d.choices], float) for d in space.decisions]
    plain = CostTerms(5.0, tuple(0.5 * row for row in depth))
    together = {(0, 1): 0.3 * np.outer(depth[0], depth[1]), (1, 2): 0.3 * np.outer(depth[1], depth[2])}
    networks = choices_of([space.sample(rng) for _ in range(100)])
    for truth, paired in ((plain, False), (CostTerms(5.0, plain.unary, together), True)):
        noisy = truth.costs(networks) * np.exp(0.01 * rng.normal(size=len(networks)))
        model = fit_latency(space, MeasuredNetworks(networks, noisy))
        assert model.paired == bool(model.terms.pairwise) == paired


@pytest.mark.parametrize("space", [UNIFIED, MBCONV, CELL, CHANNELS], ids=lambda space: str(space.name))
@pytest.mark.parametrize("noise", [0.02, 0.5])
def test_a_table_can_hold_every_fit(space: SearchSpace, noise: float) -> None:
    """No term is below 0, and no canonical form costs more than the choices it stands for, however noisy the times."""
    rng = np.random.default_rng(1)
    networks = drawn(space, 40)
    macs = build_costs(space)["macs"].terms.costs(choices_of(networks))
    times = (macs / macs.mean()) ** 0.3 * np.exp(noise * rng.normal(size=40))
    model = fit_latency(space, MeasuredNetworks.of(space, networks, times))
    terms = model.terms
    assert min(terms.constant, *(row.min() for row in (*terms.unary, *terms.pairwise.values()))) >= 0

    class Fitted(TableCost):
        def __init__(self) -> None:
            self.space, self.name, self.unit, self._terms = space, "latency_ms", "ms", terms

    TableCost(space, "latency_ms", CostTable.of(Fitted(), "ms"))  # refuses dearer canonical forms
    everything = np.stack(np.unravel_index(np.arange(space.size()), [len(d.choices) for d in space.decisions]), axis=1)
    given = everything[rng.permutation(len(everything))[:2000]]
    canonical = choices_of([space.simplified(Architecture(space.name, tuple(row))) for row in given.tolist()])
    assert (terms.costs(canonical) <= terms.costs(given) + 1e-9).all()


def test_equal_blocks_share_their_numbers() -> None:
    tying = Tying.of(MBCONV)
    assert tying.groups == (0, 1, 1, 1, 1, 1)  # the first layer has the stride
    assert tying.moves
    assert Tying.of(CELL).groups == (0,) * 6
    assert not Tying.of(UNIFIED).moves
    assert not Tying.of(CHANNELS).moves
    terms = fit_latency(MBCONV, measured(MBCONV, planted(MBCONV), 30, noise=0.1)).terms
    for row in terms.unary[2:]:
        np.testing.assert_array_equal(row, terms.unary[1])


def test_what_cannot_be_fitted_is_refused() -> None:
    truth = planted(MBCONV)
    with pytest.raises(DataError, match=r"9 measured networks are too few .* at least 10"):
        fit_latency(MBCONV, measured(MBCONV, truth, 9))
    with pytest.raises(DataError, match=r"11 measured networks are too few to check .* at least 12"):
        cross_validated(MBCONV, measured(MBCONV, truth, 11))
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(DataError, match="network 2 has"):
            MeasuredNetworks.of(MBCONV, drawn(MBCONV, 3), [1.0, wrong, 1.0])
    with pytest.raises(DataError, match="no time"):
        promise_of(np.array([1.0, 0.0]), np.array([1.0, 1.0]))


def kept_shares(probability: float, repetitions: int, *, held_out: int | None) -> Array:
    """In every repetition the share of 200 further networks that keep a promise, of 40 held out or by folds of 60."""
    truth = planted(MBCONV)
    shares = []
    for seed in range(repetitions):
        sample = measured(MBCONV, truth, 60 + (held_out or 0) + 200, noise=0.05, seed=seed)
        fitted, others = sample.part(np.arange(60)), sample.part(np.arange(len(sample) - 200, len(sample)))
        model = fit_latency(MBCONV, fitted)
        if held_out is None:
            promise = promise_of(cross_validated(MBCONV, fitted), fitted.ms)
        else:
            between = sample.part(np.arange(60, 60 + held_out))
            promise = promise_of(model.predict(between.choices), between.ms)
        promised = model.predict(others.choices) * (1 + promise.margin(probability))
        shares.append(float(np.mean(others.ms <= promised)))
    return np.array(shares)


@pytest.mark.parametrize(("probability", "held_out"), [(0.8, 40), (0.95, 40), (0.9, None)])
def test_promises_are_kept_as_often_as_they_say(probability: float, held_out: int | None) -> None:
    shares = kept_shares(probability, 30 if held_out else 10, held_out=held_out)
    error = shares.std(ddof=1) / np.sqrt(len(shares))
    assert shares.mean() >= probability - 3 * error
    assert shares.mean() <= probability + 0.06  # a margin that is always kept would be no use


errors = st.lists(st.floats(-0.5, 0.5), min_size=1, max_size=60)


@given(errors, st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.floats(0, 0.5))
def test_margins_grow_with_probability_errors_and_drift(
    shares: list[float], first: float, second: float, more: float
) -> None:
    low, high = sorted((first, second))
    if len(shares) < high / (1 - high):
        return
    promise = Promise(errors=shares)
    assert promise.margin(low) <= promise.margin(high)
    assert promise.margin(high) <= Promise(errors=[e + more for e in shares]).margin(high)
    assert promise.margin(high) <= Promise(errors=shares, drift=more).margin(high)
    assert sum(e <= promise.margin(high) for e in shares) >= high * len(shares)


@given(st.lists(st.floats(0.5, 2.0), min_size=2, max_size=30), st.floats(0.1, 10))
def test_drift_has_no_unit(times: list[float], unit: float) -> None:
    assert drift([unit * t for t in times]) == pytest.approx(drift(times), abs=1e-9)
    assert 0 <= drift(times) <= 1
    assert drift(times[:1]) == 0
