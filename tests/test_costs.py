"""Costs: published numbers, closed forms against an operator count, and the relaxed form."""

import itertools
import json
from math import prod

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from anybudget.architecture import Architecture
from anybudget.costs import CostTerms, build_costs, cost_names, counts, separated
from anybudget.costs.counted import Macs
from anybudget.errors import ArchitectureError, BudgetError
from anybudget.nets import build_network
from anybudget.spaces import BlockSpec, UnifiedSpace, derive
from conftest import FACTS
from small_spaces import SPACES
from tiny_spaces import sgnas_settings, tiny_macro

SPACE = UnifiedSpace(tiny_macro())


@pytest.mark.parametrize(
    ("name", "plain", "se"),
    [
        ("SGNAS-A", (371.15, 3.9622), (373.18, 6.0019)),
        ("SGNAS-B", (324.32, 3.7689), (326.03, 5.4823)),
        ("SGNAS-C", (279.32, 3.4030), (280.56, 4.6523)),
    ],
)
def test_published_numbers(name: str, plain: tuple[float, float], se: tuple[float, float]) -> None:
    """SGNAS Table 3: convolution multiply-adds and parameters in millions, without and with SE and h-swish."""
    kernels = json.loads((FACTS / "sgnas_published.json").read_text())[name]
    space = UnifiedSpace(sgnas_settings())
    found = space.block_specs(space.from_kernels(kernels))
    for expected, specs in ((plain, found), (se, derive(found, activation="hard_swish", se_reduction=4))):
        assert round(sum(map(counts.conv_macs, specs)) / 1e6, 2) == expected[0]
        assert round(sum(map(counts.params, specs)) / 1e6, 4) == expected[1]
        assert sum(map(counts.macs, specs)) == sum(map(counts.conv_macs, specs)) + 1280 * 1000
        network = build_network(specs)
        assert sum(parameter.numel() for parameter in network.parameters()) == sum(map(counts.params, specs))
        swish = [layer for layer in network.modules() if isinstance(layer, torch.nn.Hardswish)]
        assert bool(swish) == (specs is not found)


@pytest.mark.parametrize("changes", [{}, {"first_width": 0, "head_width": 0}, {"input_size": 9}])
@pytest.mark.parametrize("reduction", [0, 4])
def test_formulas_equal_an_operator_count(changes: dict[str, object], reduction: int) -> None:
    space = UnifiedSpace(tiny_macro(**changes))
    rng = np.random.default_rng(0)
    for _ in range(5):
        specs = derive(space.block_specs(space.sample(rng)), se_reduction=reduction)
        network = build_network(specs).eval()
        size = space.settings.input_size
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.zeros(1, 1, size, size))
        assert counter.get_total_flops() == 2 * sum(map(counts.macs, specs))
        assert sum(p.numel() for p in network.parameters()) == sum(map(counts.params, specs))


@pytest.mark.parametrize("name", cost_names())
def test_terms_and_relaxed_cost_equal_the_cost(name: str) -> None:
    model = build_costs(SPACE, [name])[name]
    rng = np.random.default_rng(0)
    architectures = [SPACE.sample(rng) for _ in range(20)]
    expected = [model.cost(architecture) for architecture in architectures]
    assert [model.terms.cost(architecture.choices) for architecture in architectures] == expected
    choices = np.array([architecture.choices for architecture in architectures])
    assert model.terms.costs(choices).tolist() == expected
    if model.terms.combine == "max":
        return
    one_hot = torch.nn.functional.one_hot(torch.from_numpy(choices), 80).double()
    assert model.relaxed_cost(one_hot).tolist() == expected


def test_relaxed_cost_is_the_expected_cost_and_differentiable() -> None:
    model = build_costs(SPACE)["macs"]
    probabilities = torch.rand(3, 80, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).softmax(-1)
    probabilities.requires_grad_()
    cost = model.relaxed_cost(probabilities)
    rng = np.random.default_rng(0)
    rows = probabilities.detach().numpy()
    draws = np.stack([rng.choice(80, size=20_000, p=row) for row in rows], axis=1)
    assert cost.item() == pytest.approx(model.terms.costs(draws).mean(), rel=0.01)
    cost.backward()
    assert probabilities.grad is not None
    assert torch.allclose(probabilities.grad, torch.from_numpy(np.stack(model.terms.unary)))


def test_pairwise_terms() -> None:
    rng = np.random.default_rng(0)
    terms = CostTerms(5.0, (rng.random(2), rng.random(3)), {(0, 1): rng.random((2, 3))})
    for first in range(2):
        for second in range(3):
            probabilities = torch.zeros(2, 3, dtype=torch.float64)
            probabilities[0, first] = probabilities[1, second] = 1
            expected = 5 + terms.unary[0][first] + terms.unary[1][second] + terms.pairwise[0, 1][first, second]
            assert terms.cost((first, second)) == pytest.approx(expected)
            assert terms.relaxed(probabilities).item() == pytest.approx(expected)
            assert terms.costs(np.array([[first, second]]))[0] == pytest.approx(expected)


def random_terms(seed: int) -> CostTerms:
    rng = np.random.default_rng(seed)
    sizes = (2, 3, 4)
    pairwise = {(d, e): rng.normal(size=(sizes[d], sizes[e])) for d, e in ((0, 1), (1, 2), (0, 2))}
    return CostTerms(5.0, tuple(rng.normal(size=size) for size in sizes), pairwise)


@given(st.integers(0, 10**6))
def test_mean_and_variance_are_those_of_every_choice_weighed(seed: int) -> None:
    """Against the definition: all combinations of choices with their probabilities."""
    terms = random_terms(seed)
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.zeros(2, 3, 4, dtype=torch.float64)
    for decision, row in enumerate(terms.unary):
        logits = torch.randn(2, len(row), dtype=torch.float64, generator=generator)
        probabilities[:, decision, : len(row)] = logits.softmax(-1)
    mean, variance = terms.moments(probabilities)
    for batch in range(2):
        weights, costs = [], []
        for choices in itertools.product(*(range(len(row)) for row in terms.unary)):
            weights.append(np.prod([probabilities[batch, d, choice].item() for d, choice in enumerate(choices)]))
            costs.append(terms.cost(choices))
        expected = np.average(costs, weights=weights)
        assert mean[batch].item() == pytest.approx(expected)
        assert variance[batch].item() == pytest.approx(np.average((costs - expected) ** 2, weights=weights))


@given(st.integers(0, 10**6))
def test_separated_terms_are_the_same_cost(seed: int) -> None:
    terms = random_terms(seed)
    same = separated(terms.constant, terms.unary, terms.pairwise)
    for choices in itertools.product(*(range(len(row)) for row in terms.unary)):
        assert same.cost(choices) == pytest.approx(terms.cost(choices))
    for table in same.pairwise.values():
        assert np.allclose(table[0], 0, atol=1e-12)
        assert np.allclose(table[:, 0], 0, atol=1e-12)
    assert separated(0.0, terms.unary, {(0, 1): np.ones((2, 3))}).pairwise == {}


def test_bitops_of_floats_are_their_multiply_adds() -> None:
    """All convolutions but the first, 32 bits by 32."""
    architecture = SPACE.sample(np.random.default_rng(0))
    stem, *others = SPACE.block_specs(architecture)
    cost = build_costs(SPACE)["bitops"].cost(architecture)
    assert cost == 1024 * sum(map(counts.conv_macs, others)) > 0
    assert counts.conv_macs(stem) > 0


def test_unknown_cost_is_named() -> None:
    with pytest.raises(BudgetError, match="unknown cost 'joules'; known costs are macs"):
        build_costs(SPACE, ("joules",))


@pytest.mark.parametrize("kind", SPACES)
def test_a_cost_is_the_sum_over_the_blocks_each_counted_once(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    space, rng = SPACES[kind], np.random.default_rng(0)
    seen: list[object] = []

    def counted(spec: BlockSpec) -> int:
        seen.append(spec)
        return counts.macs(spec)

    monkeypatch.setattr(Macs, "formula", staticmethod(counted))
    architectures = [space.sample(rng) for _ in range(300)]
    expected = [float(sum(map(counts.macs, space.block_specs(architecture)))) for architecture in architectures]
    model = Macs(space)
    assert [model.cost(architecture) for architecture in architectures] == expected
    few = [factor for factor in space.factors if len(factor.decisions) <= 2]
    most = sum(prod(len(space.decisions[d].choices) for d in factor.decisions) for factor in few)
    rest = len(architectures) * (len(space.factors) - len(few))
    assert 0 < len(seen) <= most + rest


def test_costs_of_networks_that_are_none_are_refused() -> None:
    model = Macs(SPACE)
    model.cost(SPACE.sample(np.random.default_rng(0)))
    with pytest.raises(ArchitectureError, match="choice 80 is outside 0 to 79"):
        model.cost(Architecture(SPACE.name, (80,) * len(SPACE.decisions)))
